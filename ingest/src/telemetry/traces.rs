//! Traces by OTLP over HTTP, to the collector that `OTEL_EXPORTER_OTLP_ENDPOINT` names; without one there are none.
//!
//! Only spans of our own leave, without the log lines in them: a span holds a route's template, a tenant, counts and a status,
//! nobody's data and no secret.

use std::sync::OnceLock;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// The layer that turns our spans into traces, if there is a collector.
pub fn layer<S>() -> Option<impl Layer<S> + Send + Sync>
where
    S: Send + Sync + Subscriber + for<'span> LookupSpan<'span>,
{
    std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT")?;
    crate::tls::use_ring();
    let exporter = match SpanExporter::builder().with_http().build() {
        Ok(exporter) => exporter,
        Err(error) => {
            eprintln!("edgetrail: no traces: {error}");
            return None;
        }
    };
    let named = Resource::builder().with_service_name("edgetrail").build();
    let provider = SdkTracerProvider::builder().with_resource(named).with_batch_exporter(exporter).build();
    let tracer = PROVIDER.get_or_init(|| provider).tracer("edgetrail");
    let ours = filter_fn(|metadata| metadata.is_span() && metadata.target().starts_with("ingest"));
    let spans = tracing_opentelemetry::layer().with_tracer(tracer);
    Some(spans.with_location(false).with_threads(false).with_tracked_inactivity(false).with_filter(ours))
}

/// Sends what waits; nothing is sent after it.
pub fn stop() {
    if let Some(provider) = PROVIDER.get()
        && let Err(error) = provider.shutdown()
    {
        tracing::warn!(%error, "the last traces were not sent");
    }
}
