//! Every number that this program tells: the one list that the recorder, `docs/metrics.md` and the tests go by.
//!
//! A metric that is not here has no help text and no line in the documentation, and a test says so.

use Kind::{Counter, Gauge, Histogram};

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only rises, from zero at the start of the process.
    Counter,
    /// It is as it is now.
    Gauge,
    /// Observations in buckets.
    Histogram,
}

impl Kind {
    /// Its word in Prometheus' text.
    pub fn word(self) -> &'static str {
        match self {
            Counter => "counter",
            Gauge => "gauge",
            Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels, in order; their values are words of ours, tenants, hosts of mounts, ids of logs or rules.
    pub labels: &'static [&'static str],
    /// What is counted or measured.
    pub unit: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

impl Metric {
    /// Its row in `docs/metrics.md`.
    pub fn row(&self) -> String {
        let labels: Vec<_> = self.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
        let Self { name, kind, unit, meaning, .. } = self;
        format!("| `{name}` | {} | {labels} | {unit} | {meaning} |", kind.word())
    }
}

const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    unit: &'static str,
    meaning: &'static str,
) -> Metric {
    Metric { name, kind, labels, unit, meaning }
}

/// All of them, as the documentation lists them.
pub const ALL: &[Metric] = &[
    // What arrives.
    metric(
        "edgetrail_batches_total",
        Counter,
        &["result"],
        "batches",
        "Batches that reached the writer, by what became of them",
    ),
    metric(
        "edgetrail_refused_batches_total",
        Counter,
        &["status"],
        "batches",
        "Batches answered with a problem, by its status",
    ),
    metric("edgetrail_events_stored_total", Counter, &[], "events", "Events stored"),
    metric(
        "edgetrail_quarantined_events_total",
        Counter,
        &["reason"],
        "events",
        "Signed events that are none of this version, put into quarantine",
    ),
    metric(
        "edgetrail_dropped_events_total",
        Counter,
        &[],
        "events",
        "Events that producers say they dropped before a batch",
    ),
    metric(
        "edgetrail_equivocations_total",
        Counter,
        &[],
        "places",
        "Places in a stream for which two headers were signed",
    ),
    metric(
        "edgetrail_prev_mismatches_total",
        Counter,
        &[],
        "batches",
        "Headers that do not name the one before",
    ),
    metric(
        "edgetrail_delivery_seconds",
        Histogram,
        &[],
        "seconds",
        "From the sealing of a batch at the edge to its arrival here: the age of what the queue delivers",
    ),
    metric("edgetrail_ingest_seconds", Histogram, &[], "seconds", "From queueing a batch to its commit"),
    metric("edgetrail_writer_queue_depth", Gauge, &[], "batches", "Batches that wait for the writer"),
    metric(
        "edgetrail_writer_busy_seconds",
        Gauge,
        &[],
        "seconds",
        "How long the writer has been at the batches it writes now",
    ),
    metric(
        "edgetrail_backlog_bytes",
        Gauge,
        &[],
        "bytes",
        "What requests with batches hold at this time, of `http.max_backlog_bytes`",
    ),
    // What the edges say, read from the database by every process: take the maximum, not the sum.
    metric(
        "edgetrail_edge_events",
        Gauge,
        &["tenant", "fate"],
        "events",
        "Of streams heard of within 24 hours: events that `arrived`, and that the edge says it `dropped`",
    ),
    metric(
        "edgetrail_edge_streams",
        Gauge,
        &["tenant", "state"],
        "streams",
        "Streams heard of within 24 hours, `active` or `ended`",
    ),
    metric(
        "edgetrail_edge_missing_batches",
        Gauge,
        &["tenant"],
        "batches",
        "Batches that were signed and did not arrive, by recorded gaps that are open",
    ),
    metric(
        "edgetrail_edge_requests",
        Gauge,
        &["tenant", "host", "rule"],
        "requests",
        "Requests that the Worker counted on a mount, on routes that a rule names (`named`) or not (`unnamed`)",
    ),
    metric(
        "edgetrail_edge_silence_seconds",
        Gauge,
        &["tenant"],
        "seconds",
        "Since the newest batch of an edge arrived",
    ),
    metric(
        "edgetrail_tenants_left_out",
        Gauge,
        &[],
        "tenants",
        "Tenants beyond the 100 that have metrics of their own",
    ),
    // The log.
    metric("edgetrail_log_entries_total", Counter, &[], "entries", "Entries appended to logs"),
    metric(
        "edgetrail_sequencer_lag_seconds",
        Gauge,
        &[],
        "seconds",
        "Age of the oldest entry that is not in a log",
    ),
    metric("edgetrail_sequencer_pending_entries", Gauge, &[], "entries", "Entries that are not in a log"),
    metric("edgetrail_sequencer_healthy", Gauge, &[], "0 or 1", "1 if the last pass advanced every log"),
    metric("edgetrail_sequencer_failures_total", Counter, &[], "logs", "Logs that a pass could not advance"),
    metric(
        "edgetrail_log_diverged_total",
        Counter,
        &[],
        "looks",
        "Looks that found a log other than its signed head",
    ),
    metric(
        "edgetrail_log_refused_total",
        Counter,
        &[],
        "logs",
        "Logs of which a witness or a copy knows a larger or another head",
    ),
    metric("edgetrail_published_heads_total", Counter, &[], "heads", "Heads published with their quorum"),
    metric(
        "edgetrail_publication_failures_total",
        Counter,
        &[],
        "attempts",
        "Attempts to publish a head that lacked something",
    ),
    metric(
        "edgetrail_publication_lag_seconds",
        Gauge,
        &[],
        "seconds",
        "Age of the newest head that waits for its quorum",
    ),
    metric(
        "edgetrail_integrity_failures_total",
        Counter,
        &["kind"],
        "looks",
        "Looks at a log that found something wrong, by schedule",
    ),
    metric(
        "edgetrail_integrity_unexplained",
        Gauge,
        &["kind", "log"],
        "leaves",
        "Leaves that are wrong or missing without a record, by schedule and log",
    ),
    metric(
        "edgetrail_verification_age_seconds",
        Gauge,
        &["tenant", "kind"],
        "seconds",
        "Since a tenant's logs were last verified by a schedule; the oldest counts",
    ),
    // What follows the events.
    metric(
        "edgetrail_follower_lag_seconds",
        Gauge,
        &["task"],
        "seconds",
        "Age of the oldest batch that a task (detection, links, ...) has not followed; 0 if it is up to date",
    ),
    metric(
        "edgetrail_tally_pending",
        Gauge,
        &["kind"],
        "rows",
        "Sums that wait to be folded (`new`), and spans that must be counted again (`stale`)",
    ),
    metric("edgetrail_alerts_total", Counter, &["rule"], "alerts", "Alerts raised, by rule"),
    metric(
        "edgetrail_own_events_total",
        Counter,
        &["action"],
        "events",
        "Events that this backend recorded of itself: gaps, drops, orphaned intents, findings, reads, decisions",
    ),
    metric(
        "edgetrail_witnessed_writes_total",
        Counter,
        &[],
        "writes",
        "Writes that watched databases reported",
    ),
    metric(
        "edgetrail_settled_writes_total",
        Counter,
        &["state"],
        "writes",
        "Watched writes, by whether an event tells them",
    ),
    metric(
        "edgetrail_witness_errors_total",
        Counter,
        &[],
        "reads",
        "Watched databases that could not be read",
    ),
    metric("edgetrail_webhooks_total", Counter, &["result"], "calls", "Webhooks about people's own activity"),
    metric(
        "edgetrail_sink_sent_total",
        Counter,
        &["sink"],
        "events",
        "Events that a receiver took, repeated ones too",
    ),
    metric(
        "edgetrail_sink_failures_total",
        Counter,
        &["sink"],
        "attempts",
        "Attempts to forward that failed",
    ),
    metric(
        "edgetrail_sink_skipped_total",
        Counter,
        &["sink"],
        "events",
        "Stored events that could not be read and were not forwarded",
    ),
    metric(
        "edgetrail_sink_lag_seconds",
        Gauge,
        &["sink"],
        "seconds",
        "Age of the oldest event that a sink has not looked at; 0 if there is none",
    ),
    // What goes.
    metric(
        "edgetrail_retention_dropped_events_total",
        Counter,
        &[],
        "events",
        "Events that retention dropped",
    ),
    metric(
        "edgetrail_retention_cleared_contexts_total",
        Counter,
        &[],
        "events",
        "Events whose address, user agent, session and place went",
    ),
    metric("edgetrail_retention_failures_total", Counter, &[], "passes", "Passes of retention that failed"),
    metric(
        "edgetrail_erased_events_total",
        Counter,
        &[],
        "events",
        "Events of which erasures removed fields",
    ),
    // The process.
    metric("edgetrail_ready", Gauge, &[], "0 or 1", "1 if `/readyz` would say so"),
    metric(
        "edgetrail_http_requests_total",
        Counter,
        &["route", "status"],
        "requests",
        "Requests to this backend",
    ),
    metric(
        "edgetrail_http_idle_connections",
        Gauge,
        &[],
        "connections",
        "Connections without a request under way",
    ),
    metric(
        "edgetrail_http_connections_ended_total",
        Counter,
        &["reason"],
        "connections",
        "Connections that this backend ended or refused: `full`, `displaced`, `idle`, `slow-head`, `answer-unread`",
    ),
    metric("edgetrail_sign_in_failures_total", Counter, &["reason"], "attempts", "Sign-ins that failed"),
    metric(
        "edgetrail_database_connections",
        Gauge,
        &["state"],
        "connections",
        "Connections of the everyday pool, `used` or `idle`",
    ),
    metric(
        "edgetrail_replica_in_use",
        Gauge,
        &[],
        "0 or 1",
        "1 while searches are read from the copy that `database.read_url` names",
    ),
    metric(
        "edgetrail_replica_lag_seconds",
        Gauge,
        &[],
        "seconds",
        "How far that copy is behind, by what it has replayed",
    ),
    metric(
        "edgetrail_postgres_restarts_total",
        Counter,
        &[],
        "restarts",
        "Times the private PostgreSQL was started again",
    ),
    metric(
        "edgetrail_vitals_failures_total",
        Counter,
        &[],
        "readings",
        "Times the gauges that come from the database could not be read; they stay as they were",
    ),
    metric("edgetrail_build_info", Gauge, &["version"], "1", "Always 1; the version that runs"),
];
