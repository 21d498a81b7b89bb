//! `GET /healthz`, `GET /readyz`, `GET /metrics`: for whoever runs this.

use axum::http::header;
use axum::response::IntoResponse;
use shared::problem::Problem;

use super::{Answer, Shared};

/// The process answers.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// The process can do its work: the store answers, its schema is current, the sequencer moves.
pub(super) async fn ready(state: Shared) -> Result<&'static str, Answer> {
    let not_ready =
        |detail: &str| Answer(Problem::new(503, "not-ready", "This process is not ready").detail(detail));
    if let Err(error) = state.store.check().await {
        tracing::warn!(%error, "not ready");
        return Err(not_ready("the store does not answer or its schema is not current"));
    }
    if !state.sequencer.is_healthy() {
        return Err(not_ready("the sequencer does not advance a log"));
    }
    Ok("ok\n")
}

pub(super) async fn metrics(state: Shared) -> impl IntoResponse {
    state.metrics.run_upkeep();
    let text = state.metrics.render();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
