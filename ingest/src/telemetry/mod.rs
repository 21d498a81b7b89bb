//! Logs as JSON lines on stderr and numbers for Prometheus. Neither ever holds a key, a URL or an event's values.

use std::sync::OnceLock;

use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// Upper bounds in seconds: a commit takes 5 ms, a restart of the store 2 s.
const LATENCY_BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Starts logging; `EDGETRAIL_LOG` chooses the level, such as `info` or `ingest=debug`.
pub fn start_logging() {
    let filter =
        EnvFilter::try_from_env("EDGETRAIL_LOG").unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    // A second start, as in tests, keeps the first.
    let _ = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .try_init();
}

/// The process's recorder of numbers, installed at the first call.
///
/// # Panics
/// If another recorder was installed: a mistake of the program.
pub fn metrics() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let handle = PrometheusBuilder::new()
                .set_buckets(LATENCY_BUCKETS)
                .and_then(PrometheusBuilder::install_recorder)
                .expect("no other recorder is installed");
            describe();
            handle
        })
        .clone()
}

fn describe() {
    describe_counter!("edgetrail_batches_total", "Batches that reached the writer, by result");
    describe_counter!("edgetrail_refused_batches_total", "Batches answered with a problem, by status");
    describe_counter!("edgetrail_events_stored_total", "Events stored");
    describe_counter!("edgetrail_quarantined_events_total", "Events put into quarantine, by reason");
    describe_counter!("edgetrail_equivocations_total", "Places in a stream with two signed headers");
    describe_counter!("edgetrail_prev_mismatches_total", "Headers that do not name the one before");
    describe_gauge!("edgetrail_writer_queue_depth", "Batches waiting for the writer");
    describe_histogram!("edgetrail_ingest_seconds", "From queueing a batch to its commit");
    describe_counter!("edgetrail_log_entries_total", "Entries appended to logs");
    describe_gauge!("edgetrail_sequencer_lag_seconds", "Age of the oldest entry that is not in a log");
    describe_gauge!("edgetrail_sequencer_pending_entries", "Entries that are not in a log");
    describe_gauge!("edgetrail_sequencer_healthy", "1 if the last pass advanced every log");
    describe_counter!("edgetrail_sequencer_failures_total", "Logs that a pass could not advance");
    describe_counter!("edgetrail_log_diverged_total", "Logs that do not match their signed head");
    describe_counter!(
        "edgetrail_log_refused_total",
        "Logs of which a witness or a copy knows a larger or another head"
    );
    describe_counter!("edgetrail_published_heads_total", "Heads that were published with their quorum");
    describe_counter!(
        "edgetrail_publication_failures_total",
        "Attempts to publish a head that lacked something"
    );
    describe_gauge!("edgetrail_publication_lag_seconds", "Age of the newest head that waits for its quorum");
    describe_counter!(
        "edgetrail_integrity_failures_total",
        "Looks at a log that found something wrong, by schedule"
    );
    describe_gauge!(
        "edgetrail_integrity_unexplained",
        "Leaves that are wrong or missing without a record, by schedule and log"
    );
    describe_counter!("edgetrail_postgres_restarts_total", "Times the private PostgreSQL was started again");
    describe_counter!("edgetrail_http_requests_total", "Requests, by route and status");
}
