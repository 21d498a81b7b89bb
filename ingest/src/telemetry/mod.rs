//! Logs as JSON lines on stderr, numbers for Prometheus, and, where the feature `otlp` is built in, traces. None of them ever
//! holds a key, a URL or an event's values.

pub mod metric;
#[cfg(feature = "otlp")]
pub mod traces;
pub mod vitals;

use std::sync::OnceLock;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use metric::Kind;

/// Upper bounds in seconds: a commit takes 5 ms, a restart of the store 2 s.
const LATENCY_BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Upper bounds in seconds: a queue delivers after 5 s, and goes on trying for days.
const DELIVERY_BUCKETS: &[f64] =
    &[0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0];

/// Starts logging; `EDGETRAIL_LOG` chooses the level, such as `info` or `ingest=debug`.
pub fn start_logging() {
    let filter =
        EnvFilter::try_from_env("EDGETRAIL_LOG").unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(std::io::stderr);
    let logging = tracing_subscriber::registry().with(filter).with(lines);
    // A second start, as in tests, keeps the first.
    #[cfg(feature = "otlp")]
    let _ = logging.with(traces::layer()).try_init();
    #[cfg(not(feature = "otlp"))]
    let _ = logging.try_init();
}

/// Sends the traces that wait, where there are any.
pub fn stop() {
    #[cfg(feature = "otlp")]
    traces::stop();
}

/// The process's recorder of numbers, installed at the first call.
///
/// # Panics
/// If another recorder was installed: a mistake of the program.
pub fn metrics() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let delivery = Matcher::Full("edgetrail_delivery_seconds".to_owned());
            let handle = PrometheusBuilder::new()
                .set_buckets(LATENCY_BUCKETS)
                .and_then(|builder| builder.set_buckets_for_metric(delivery, DELIVERY_BUCKETS))
                .and_then(PrometheusBuilder::install_recorder)
                .expect("no other recorder is installed");
            describe();
            handle
        })
        .clone()
}

/// Gives each metric its help text, and a first value to those without labels: what has not happened is 0, not absent.
fn describe() {
    for metric in metric::ALL {
        let metric::Metric { name, meaning, .. } = *metric;
        match metric.kind {
            Kind::Counter => describe_counter!(name, meaning),
            Kind::Gauge => describe_gauge!(name, meaning),
            Kind::Histogram => describe_histogram!(name, meaning),
        }
        match metric.kind {
            Kind::Counter if metric.labels.is_empty() => counter!(name).increment(0),
            Kind::Gauge if metric.labels.is_empty() => gauge!(name).increment(0.0),
            _ => {}
        }
    }
    gauge!("edgetrail_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}
