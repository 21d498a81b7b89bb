//! `GET /healthz`, `GET /readyz`, `GET /metrics`: for whoever runs this.

use axum::http::header;
use axum::response::IntoResponse;
use shared::problem::Problem;

use super::{Answer, Shared};

/// The process answers.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// The process can do its work; what is in the way stands in the detail. A copy that does not answer is none: searches go on
/// without it.
pub(super) async fn ready(state: Shared) -> Result<String, Answer> {
    state.readiness().check().await.map_err(|reason| {
        tracing::warn!(%reason, "not ready");
        Answer(Problem::new(503, "not-ready", "This process is not ready").detail(reason))
    })?;
    Ok(match state.store.replica_lag(state.clock.now()) {
        None => "ok\n".to_owned(),
        Some(Ok(lag)) => format!("ok\nreplica: {:.1} s behind\n", lag.as_secs_f64()),
        Some(Err(reason)) => format!("ok\nreplica: {reason}\n"),
    })
}

pub(super) async fn metrics(state: Shared) -> impl IntoResponse {
    state.metrics.run_upkeep();
    let text = state.metrics.render();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
