//! The pages that people read: rendered here, complete without JavaScript, and made quicker to use by one script.
//!
//! A page is an endpoint's answer ([`crate::api::answers`]) read into types and written by a template. Its address is its whole
//! state. Nothing is fetched from elsewhere, and no script or style stands in a page itself, so that the content policy can
//! forbid both.

mod act;
mod assets;
mod chart;
mod entities;
mod erasures;
mod event;
mod failure;
mod frame;
mod holds;
mod live;
mod overview;
mod reader;
mod search;
mod sentence;
mod sign_in;
mod term;
mod time;
mod url;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::api::State;

/// The pages' routes.
pub(crate) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/", get(search::show))
        .route("/complete", get(search::complete))
        .route("/events/{id}", get(event::show))
        .route("/events/{id}/proof", get(event::proof))
        .route("/entities/{type}/{id}", get(entities::entity))
        .route("/actors/{id}", get(entities::actor))
        .route("/live", get(live::show))
        .route("/live/rows", get(live::rows))
        .route("/coverage", get(overview::coverage))
        .route("/inbox", get(overview::inbox))
        .route("/integrity", get(overview::integrity))
        .route("/retention", get(overview::retention))
        .route("/holds", get(holds::list).post(holds::place))
        .route("/holds/{id}/release", post(holds::release))
        .route("/streams", get(overview::streams))
        .route("/erasures", get(erasures::list).post(erasures::request))
        .route("/erasures/{id}/approve", post(erasures::approve))
        .route("/erasures/{id}/cancel", post(erasures::cancel))
        .route("/sign-in", get(sign_in::show).post(sign_in::enter))
        .route("/sign-out", post(sign_in::leave))
        .route("/assets/{name}", get(assets::serve))
}
