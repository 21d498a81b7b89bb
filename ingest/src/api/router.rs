//! Every route of the backend, and what every request passes through.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use shared::problem::Problem;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};

use super::{
    Answer, Shared, State, actors, batches, compliance, coverage, echoes, entities, erasures, events,
    exports, facets, health, histogram, holds, inbox, integrity, intents, log, openings, policy, proof,
    quarantine, reconciliation, retention, streams, subjects, writes,
};

/// The routes over a state.
pub fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/v1/batches", post(batches::receive))
        .route("/v1/events", get(events::list))
        .route("/v1/events/histogram", get(histogram::read))
        .route("/v1/events/facets", get(facets::read))
        .route("/v1/events/export", get(exports::stream))
        .route("/v1/events/{id}", get(events::read))
        .route("/v1/events/{id}/proof", get(proof::read))
        .route("/v1/exports", get(exports::list).post(exports::ask))
        .route("/v1/exports/{id}", get(exports::read))
        .route("/v1/exports/{id}/manifest", get(exports::manifest))
        .route("/v1/exports/{id}/download", get(exports::download))
        .route("/v1/entities/{type}/{id}/timeline", get(entities::timeline))
        .route("/v1/actors/{id}", get(actors::read))
        .route("/v1/openings", get(openings::lines))
        .route("/v1/absences", get(openings::lists))
        .route("/v1/absences/{record}", get(openings::list))
        .route("/v1/coverage", get(coverage::read))
        .route("/v1/compliance/{framework}", get(compliance::read))
        .route("/v1/inbox", get(inbox::list))
        .route("/v1/inbox/draft", post(inbox::draft))
        .route("/v1/inbox/accept", post(inbox::accept))
        .route("/v1/policy", post(policy::upload))
        // One name for both: a tenant where it is read, a version where it is decided on.
        .route("/v1/policy/{name}", get(policy::served))
        .route("/v1/policy/{name}/approve", post(policy::approve))
        .route("/v1/policy/{name}/refuse", post(policy::refuse))
        .route("/v1/policy/{name}/rollback", post(policy::roll_back))
        .route("/v1/policies", get(policy::list))
        .route("/v1/policies/{version}", get(policy::read))
        .route("/v1/policy-keys", get(policy::keys))
        .route("/v1/quarantine", get(quarantine::list))
        .route("/v1/coverage/tables", get(writes::coverage))
        .route("/v1/writes", get(writes::list))
        .route("/v1/streams", get(streams::list))
        .route("/v1/intents", get(intents::list))
        .route("/v1/reconciliation", get(reconciliation::read))
        .route("/v1/echoes", get(echoes::list))
        .route("/v1/subjects/{id}/export", post(subjects::export))
        .route("/v1/subjects/{id}/erase", post(subjects::erase))
        .route("/v1/erasures", get(erasures::list))
        .route("/v1/erasures/{id}", get(erasures::read))
        .route("/v1/erasures/{id}/approve", post(erasures::approve))
        .route("/v1/erasures/{id}/cancel", post(erasures::cancel))
        .route("/v1/erasures/{id}/certificate", get(erasures::certificate))
        .route("/v1/retention", get(retention::read))
        .route("/v1/retention/preview", get(retention::preview))
        .route("/v1/retention/periods", post(retention::propose))
        .route("/v1/retention/periods/{version}/approve", post(retention::approve))
        .route("/v1/retention/periods/{version}/refuse", post(retention::refuse))
        .route("/v1/holds", get(holds::list).post(holds::place))
        .route("/v1/holds/{id}/release", post(holds::release))
        .route("/v1/integrity", get(integrity::read))
        .route("/v1/logs", get(log::list))
        .route("/log/{log_id}/checkpoint", get(log::checkpoint))
        .route("/log/{log_id}/tile/{*path}", get(log::tile))
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(Arc::clone(&state), limit_time))
        .layer(from_fn(log_request))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .with_state(state)
}

async fn no_route() -> Answer {
    Answer::not_found("no such path")
}

async fn no_method() -> Answer {
    Answer(Problem::new(405, "method-not-allowed", "This path does not take that method"))
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let words =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = words, "a handler panicked");
    Answer(Problem::new(500, "internal", "Something broke on our side")).into_response()
}

async fn limit_time(state: Shared, request: Request, next: Next) -> Response {
    match tokio::time::timeout(state.http.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            Answer(Problem::new(503, "timeout", "The request took longer than is allowed")).into_response()
        }
    }
}

/// One line per request: the route's template, never the path, the query or a header.
async fn log_request(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "-".to_owned(), |path| path.as_str().to_owned());
    let id =
        request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let response = next.run(request).await;
    let status = response.status().as_u16();
    let millis = started.elapsed().as_millis() as u64;
    tracing::info!(%method, route, status, millis, id, "request");
    metrics::counter!("edgetrail_http_requests_total", "route" => route, "status" => status.to_string())
        .increment(1);
    response
}
