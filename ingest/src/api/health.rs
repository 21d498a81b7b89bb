//! `GET /healthz`, `GET /readyz`, `GET /metrics`: for whoever runs this.

use axum::http::header;
use axum::response::IntoResponse;
use shared::problem::Problem;

use super::{Answer, Shared};

/// The process answers.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// The process can do its work; what is in the way stands in the detail.
pub(super) async fn ready(state: Shared) -> Result<&'static str, Answer> {
    state.readiness().check().await.map_err(|reason| {
        tracing::warn!(%reason, "not ready");
        Answer(Problem::new(503, "not-ready", "This process is not ready").detail(reason))
    })?;
    Ok("ok\n")
}

pub(super) async fn metrics(state: Shared) -> impl IntoResponse {
    state.metrics.run_upkeep();
    let text = state.metrics.render();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
