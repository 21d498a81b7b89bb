//! `GET /healthz`, `GET /readyz`, `GET /metrics`: for whoever runs this.

use std::time::Duration;

use axum::http::header;
use axum::response::IntoResponse;
use shared::problem::Problem;

use super::{Answer, Shared};

/// A group of batches takes milliseconds, and is given up after six seconds without a store: longer is a lock that nobody lets go.
const WRITER_IS_STUCK_AFTER: Duration = Duration::from_secs(10);

/// The process answers.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// The process can do its work: the store answers and has a connection free, its schema is current, the writer and the sequencer
/// move. What is wrong stands in the detail.
pub(super) async fn ready(state: Shared) -> Result<&'static str, Answer> {
    let not_ready = |detail: &dyn std::fmt::Display| {
        tracing::warn!(%detail, "not ready");
        Answer(Problem::new(503, "not-ready", "This process is not ready").detail(detail))
    };
    let busy_for = state.receiver.writer.busy_for();
    if busy_for > WRITER_IS_STUCK_AFTER {
        return Err(not_ready(&format_args!("the writer has been at the same batches for {} s", busy_for.as_secs())));
    }
    state.store.check().await.map_err(|unready| not_ready(&unready))?;
    if !state.sequencer.is_healthy() {
        return Err(not_ready(&"the sequencer does not advance a log"));
    }
    Ok("ok\n")
}

pub(super) async fn metrics(state: Shared) -> impl IntoResponse {
    state.metrics.run_upkeep();
    let text = state.metrics.render();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
