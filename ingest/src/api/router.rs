//! Every route of the backend, and what every request passes through.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, options, post};
use shared::problem::Problem;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tracing::Instrument as _;

use super::routes::{Route, Routes};
use super::{
    Answer, State, access, actors, alerts, as_of, batches, compliance, coverage, echoes, entities, erasures,
    events, executions, exports, facets, fingerprint, headers, health, histogram, holds, inbox, integrity,
    intents, live, log, me, openapi, openings, patience, policy, proof, quarantine, reconciliation,
    retention, run_metrics, saved, session, sign_in, sinks, streams, subjects, unmask, writes,
};
use crate::auth::{Capability, ReadKind};
use crate::web;

/// The routes over a state.
pub fn router(state: Arc<State>) -> Router {
    routes()
        .guarded(&state)
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(as_of::tell))
        .layer(from_fn_with_state(Arc::clone(&state), patience::limit_time))
        .layer(from_fn_with_state(Arc::clone(&state), patience::limit_head))
        .layer(from_fn(headers::add))
        .layer(from_fn(log_request))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .with_state(state)
}

/// Every route and what it needs.
pub fn table() -> Vec<Route> {
    routes().table()
}

fn routes() -> Routes {
    use Capability::{
        Access, Alerts, Erasure, Export, Openings, Oversee, Policy, Quarantine, Read, Retention, SeePersonal,
        Sinks, Unmask,
    };
    use ReadKind::{Actor, Counts, Event, Records, Search, Timeline};
    web::pages(Routes::new())
        .open("POST", "/v1/batches", post(batches::receive))
        .read("/v1/events", Read, Search, get(events::list))
        .read("/v1/events/histogram", Read, Counts, get(histogram::read))
        .read("/v1/events/facets", Read, Counts, get(facets::read))
        .read("/v1/events/live", Read, Search, get(live::read))
        .read("/v1/events/export", Export, ReadKind::Export, get(exports::stream))
        .read("/v1/exports", Export, Records, get(exports::list))
        .act("/v1/exports", Export, post(exports::ask))
        .read("/v1/exports/{id}", Export, Records, get(exports::read))
        .read("/v1/exports/{id}/manifest", Export, Records, get(exports::manifest))
        .read("/v1/exports/{id}/download", Export, ReadKind::Export, get(exports::download))
        .read("/v1/searches", Read, Records, get(saved::list))
        .act("/v1/searches", Read, post(saved::save))
        .act("/v1/searches/{id}", Read, post(saved::replace))
        .act("/v1/searches/{id}/remove", Read, post(saved::remove))
        .read("/v1/compliance/{framework}", Read, Records, get(compliance::read))
        .read("/v1/events/{id}", Read, Event, get(events::read))
        .act("/v1/events/{id}/unmask", Unmask, post(unmask::event))
        .read("/v1/events/{id}/proof", Read, Event, get(proof::read))
        .read("/v1/entities/{type}/{id}/timeline", Read, Timeline, get(entities::timeline))
        .read("/v1/actors/{id}", Read, Actor, get(actors::read))
        .read("/v1/openings", Openings, ReadKind::Openings, get(openings::lines))
        .read("/v1/absences", Openings, ReadKind::Openings, get(openings::lists))
        .read("/v1/absences/{record}", Openings, ReadKind::Openings, get(openings::list))
        .read("/v1/coverage", Read, Records, get(coverage::read))
        .read("/v1/inbox", Read, Records, get(inbox::list))
        .act("/v1/inbox/draft", Read, post(inbox::draft))
        .act("/v1/inbox/accept", Policy, post(inbox::accept))
        .act("/v1/policy", Policy, post(policy::upload))
        // One name for both: a tenant where it is read, a version where it is decided on.
        .open("GET", "/v1/policy/{name}", get(policy::served))
        .act("/v1/policy/{name}/approve", Policy, post(policy::approve))
        .act("/v1/policy/{name}/refuse", Policy, post(policy::refuse))
        .act("/v1/policy/{name}/rollback", Policy, post(policy::roll_back))
        .read("/v1/policies", Read, Records, get(policy::list))
        .read("/v1/policies/{version}", Read, Records, get(policy::read))
        .tell("/v1/policy-keys", Read, get(policy::keys))
        .read("/v1/quarantine", Quarantine, ReadKind::Quarantine, get(quarantine::list))
        .read("/v1/coverage/tables", Read, Records, get(writes::coverage))
        .read("/v1/writes", Read, Records, get(writes::list))
        .read("/v1/streams", Read, Records, get(streams::list))
        .read("/v1/intents", Read, Records, get(intents::list))
        .read("/v1/reconciliation", Read, Records, get(reconciliation::read))
        .read("/v1/echoes", Read, Records, get(echoes::list))
        .act("/v1/subjects/{id}/export", Erasure, post(subjects::export))
        .act("/v1/subjects/{id}/erase", Erasure, post(subjects::erase))
        .read("/v1/erasures", Oversee, Records, get(erasures::list))
        .read("/v1/erasures/{id}", Oversee, Records, get(erasures::read))
        .act("/v1/erasures/{id}/approve", Erasure, post(erasures::approve))
        .act("/v1/erasures/{id}/cancel", Erasure, post(erasures::cancel))
        .read("/v1/erasures/{id}/certificate", Oversee, Records, get(erasures::certificate))
        .read("/v1/retention", Read, Records, get(retention::read))
        .read("/v1/retention/preview", Oversee, Records, get(retention::preview))
        .act("/v1/retention/periods", Retention, post(retention::propose))
        .act("/v1/retention/periods/{version}/approve", Retention, post(retention::approve))
        .act("/v1/retention/periods/{version}/refuse", Retention, post(retention::refuse))
        .read("/v1/holds", Oversee, Records, get(holds::list))
        .act("/v1/holds", Retention, post(holds::place))
        .act("/v1/holds/{id}/release", Retention, post(holds::release))
        .read("/v1/access", Oversee, Records, get(access::list))
        .act("/v1/access", Access, post(access::grant))
        .act("/v1/access/{id}/revoke", Access, post(access::revoke))
        .tell("/v1/session", Read, get(session::read))
        .open("GET", "/sign-in", get(sign_in::form))
        .open("POST", "/sign-in", post(sign_in::with_credential))
        .open("GET", "/sign-in/oidc", get(sign_in::at_provider))
        .open("GET", "/sign-in/callback", get(sign_in::callback))
        .act("/sign-out", Read, post(sign_in::out))
        .act("/v1/session/unmask", Unmask, post(unmask::session))
        .read("/v1/sessions", Oversee, Records, get(session::list))
        .act("/v1/sessions/{id}/revoke", Read, post(session::revoke))
        .read("/v1/alerts", Read, Records, get(alerts::list))
        .read("/v1/alerts/{id}", Read, Records, get(alerts::read))
        .act("/v1/alerts/{id}/close", Alerts, post(alerts::close))
        .read("/v1/detection/rules", Read, Records, get(alerts::rules))
        .act("/v1/detection/trial", Alerts, post(alerts::try_rule))
        .read("/v1/executions", Read, Records, get(executions::list))
        .read("/v1/executions/{id}", Read, Records, get(executions::read))
        .read("/v1/metrics", Read, Counts, get(run_metrics::standing))
        .read("/v1/metrics/agents", Read, Counts, get(run_metrics::agents))
        .read("/v1/metrics/agents/{id}", Read, Counts, get(run_metrics::agent))
        .read("/v1/metrics/users", Read, Counts, get(run_metrics::users))
        .read("/v1/metrics/users/{id}", Read, Actor, get(run_metrics::user))
        .read("/v1/sinks", Oversee, Records, get(sinks::list))
        .act("/v1/sinks", Sinks, post(sinks::create))
        .read("/v1/sinks/{id}", Oversee, Records, get(sinks::read))
        .act("/v1/sinks/{id}", Sinks, post(sinks::change))
        .act("/v1/sinks/{id}/pause", Sinks, post(sinks::pause))
        .act("/v1/sinks/{id}/resume", Sinks, post(sinks::resume))
        .act("/v1/sinks/{id}/replay", Sinks, post(sinks::replay))
        .act("/v1/sinks/{id}/test", Sinks, post(sinks::test))
        .act("/v1/sinks/{id}/remove", Sinks, post(sinks::remove))
        .act("/v1/fingerprint", SeePersonal, post(fingerprint::test))
        .read("/v1/integrity", Read, Records, get(integrity::read))
        .open("GET", "/v1/me/activity", get(me::activity))
        .open("OPTIONS", "/v1/me/activity", options(me::preflight))
        .open("POST", "/v1/me/activity/{id}/disown", post(me::disown))
        .open("OPTIONS", "/v1/me/activity/{id}/disown", options(me::preflight))
        .open("POST", "/v1/me/export", post(me::export))
        .open("OPTIONS", "/v1/me/export", options(me::preflight))
        .tell("/v1/logs", Read, get(log::list))
        .open("GET", "/log/{log_id}/checkpoint", get(log::checkpoint))
        .open("GET", "/log/{log_id}/tile/{*path}", get(log::tile))
        .open("GET", "/openapi.json", get(openapi::serve))
        .open("GET", "/healthz", get(health::live))
        .open("GET", "/readyz", get(health::ready))
        .open("GET", "/metrics", get(health::metrics))
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
    let span = tracing::info_span!("request", %method, route, status = tracing::field::Empty);
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    span.record("status", status);
    let millis = started.elapsed().as_millis() as u64;
    tracing::info!(%method, route, status, millis, id, "request");
    metrics::counter!("edgetrail_http_requests_total", "route" => route, "status" => status.to_string())
        .increment(1);
    response
}
