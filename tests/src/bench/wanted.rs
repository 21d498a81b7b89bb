//! What the figures are wanted to be.

use std::fmt;

/// Where a figure should lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Bound {
    AtLeast(f64),
    Below(f64),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, "≥ {bound}"),
            Self::Below(bound) => write!(f, "< {bound}"),
        }
    }
}

/// A figure that is published.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) figure: &'static str,
    /// None where it is told for comparison.
    pub(super) bound: Option<Bound>,
    /// Behind the number, with a space before it.
    pub(super) unit: &'static str,
    pub(super) what: &'static str,
}

impl Wanted {
    pub(super) fn is_met(&self, value: f64) -> bool {
        match self.bound {
            Some(Bound::AtLeast(bound)) => value >= bound,
            Some(Bound::Below(bound)) => value < bound,
            None => true,
        }
    }
}

const fn least(figure: &'static str, bound: f64, unit: &'static str, what: &'static str) -> Wanted {
    Wanted { figure, bound: Some(Bound::AtLeast(bound)), unit, what }
}

const fn below(figure: &'static str, bound: f64, unit: &'static str, what: &'static str) -> Wanted {
    Wanted { figure, bound: Some(Bound::Below(bound)), unit, what }
}

const fn told(figure: &'static str, unit: &'static str, what: &'static str) -> Wanted {
    Wanted { figure, bound: None, unit, what }
}

/// In the order of the table.
pub(super) const WANTED: &[Wanted] = &[
    least(
        "edge.unaudited.rps_ratio",
        0.97,
        "",
        "requests a second that are not audited, the Worker to bare JavaScript",
    ),
    least("edge.unaudited.p50_ratio", 0.97, "", "their middle wait, bare JavaScript's to the Worker's"),
    least("edge.audited.rps_ratio", 0.5, "", "audited requests a second, the Worker to bare JavaScript"),
    told("edge.audited.js_capture_ratio", "", "the same to JavaScript that does the same work"),
    below("edge.low_load_added_p50_ms", 0.6, " ms", "what an audited request waits longer at low load"),
    below("edge.wasm_gzip_bytes", 250_000.0, " bytes", "the module as it is uploaded"),
    below("edge.cold_start_added_ms", 25.0, " ms", "what the first answer of a new process waits longer"),
    below(
        "edge.memory_growth_mb",
        4.0,
        " MB",
        "what the process grows by from the first tenth of the requests on",
    ),
    least(
        "ingest.copy_ratio",
        0.55,
        "",
        "events a second to rows a second of binary `COPY` into the same table",
    ),
    least(
        "ingest.single_insert_ratio",
        12.0,
        "",
        "events a second to rows a second of one `INSERT` an event",
    ),
    told("ingest.events_per_s", "", "over HTTP, signed, deduplicated, sequenced, durable before the answer"),
    below("ingest.ack_p99_ms_at_half_load", 100.0, " ms", "from when a batch is due to its answer"),
    told("sequencer.ingest_ratio", "", "what the log takes in to what arrives"),
    below(
        "publish.ack_to_checkpoint_p99_ms",
        5_000.0,
        " ms",
        "from an answer to the served head that covers the event",
    ),
    below(
        "tenants.ack_to_checkpoint_p99_ms",
        5_000.0,
        " ms",
        "the same with 500 tenants that send every second",
    ),
    least(
        "insight.ingest_ratio",
        0.8,
        "",
        "events a second with sums, rules, runs and two streams to without",
    ),
    below(
        "streams.missing_or_out_of_order",
        1.0,
        "",
        "of the events of a stream that was paused for an hour under load",
    ),
    told("streams.repeated", "", "of them, the batch that was under way when the stream was paused"),
    told("streams.catch_up_events_per_s", "", "while others go on arriving"),
    below("search.first_page_p95_ms", 100.0, " ms", "10 M events, 50 tenants, the largest has a fifth"),
    below("search.next_page_p95_ms", 100.0, " ms", ""),
    below("search.timeline_p95_ms", 100.0, " ms", "of one entity"),
    below("search.facets_p95_ms", 100.0, " ms", "30 days, twelve fields"),
    below("search.facets_filtered_p95_ms", 500.0, " ms", "30 days"),
    below("search.words_common_p95_ms", 100.0, " ms", "30 days"),
    below("search.words_rare_p95_ms", 1_000.0, " ms", "30 days"),
    below(
        "search.words_rare_indexed_p95_ms",
        100.0,
        " ms",
        "30 days of closed months with the index of words",
    ),
    below("search.single.first_page_p95_ms", 100.0, " ms", "10 M events of one tenant"),
    below("search.single.next_page_p95_ms", 100.0, " ms", ""),
    below("search.single.timeline_p95_ms", 100.0, " ms", "of one entity"),
    below("search.single.facets_p95_ms", 100.0, " ms", "30 days, twelve fields"),
    below("search.single.facets_filtered_p95_ms", 500.0, " ms", "30 days"),
    below("search.single.words_common_p95_ms", 100.0, " ms", "30 days"),
    below("search.single.words_rare_p95_ms", 1_000.0, " ms", "30 days, 820,000 events"),
    below(
        "search.single.words_rare_indexed_p95_ms",
        100.0,
        " ms",
        "30 days of closed months with the index of words",
    ),
    below("search.30000000.first_page_p95_ms", 150.0, " ms", "30 M events, 50 tenants"),
    below("search.30000000.facets_p95_ms", 300.0, " ms", "30 days, twelve fields"),
    below("search.30000000.timeline_p95_ms", 50.0, " ms", "of one entity"),
    least("export.ndjson.events_per_s", 50_000.0, "", "events a second"),
    below("export.ndjson.peak_mb", 100.0, " MB", "what the process grows by meanwhile"),
    told("export.csv.events_per_s", "", ""),
    told("export.parquet.events_per_s", "", ""),
    told("export.ocsf.events_per_s", "", ""),
    told("verify.events_per_s_core", "", "openings and tree, one thread"),
    told(
        "retention.delete_over_drop_ratio",
        "",
        "a month that goes whole: `DELETE` and `VACUUM` to the job, in time",
    ),
    told("retention.delete_over_swap_ratio", "", "a month of which 2 % stay, likewise"),
    told(
        "peers.trigger_rate_ratio",
        "",
        "what a row trigger, as supa_audit has it, leaves of the app's updates a second",
    ),
    told(
        "peers.own_table_rate_ratio",
        "",
        "what the app's own audit table, a hundred acts at a time, leaves",
    ),
    told(
        "peers.pgaudit_rate_ratio",
        "",
        "what pgaudit leaves, with statements and parameters in the server's log",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_there_once() {
        let mut names: Vec<_> = WANTED.iter().map(|wanted| wanted.figure).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), WANTED.len());
    }
}
