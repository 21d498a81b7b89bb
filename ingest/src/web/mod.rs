//! The pages that people read: rendered here, complete without JavaScript, and made quicker to use by one script.
//!
//! A page is an endpoint's answer ([`crate::api::answers`]) read into types and written by a template. Its address is its whole
//! state. Nothing is fetched from elsewhere, and no script or style stands in a page itself, so that the content policy can
//! forbid both.

mod act;
mod assets;
mod chart;
mod docs;
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

use axum::routing::{get, post};

use crate::api::Routes;
use crate::auth::{Capability, ReadKind};

pub(crate) use reader::turned_away;
pub(crate) use sign_in::SignInForm;

/// The pages among the routes: what each needs is what the endpoint behind it needs.
pub(crate) fn pages(routes: Routes) -> Routes {
    use Capability::{Erasure, Oversee, Read, Retention};
    use ReadKind::{Actor, Event, Records, Search, Timeline};
    routes
        .read("/", Read, Search, get(search::show))
        .tell("/complete", Read, get(search::complete))
        .read("/events/{id}", Read, Event, get(event::show))
        .read("/events/{id}/proof", Read, Event, get(event::proof))
        .read("/entities/{type}/{id}", Read, Timeline, get(entities::entity))
        .read("/actors/{id}", Read, Actor, get(entities::actor))
        .tell("/live", Read, get(live::show))
        .read("/live/rows", Read, Search, get(live::rows))
        .read("/coverage", Read, Records, get(overview::coverage))
        .read("/inbox", Read, Records, get(overview::inbox))
        .read("/integrity", Read, Records, get(overview::integrity))
        .read("/retention", Read, Records, get(overview::retention))
        .read("/streams", Read, Records, get(overview::streams))
        .read("/holds", Oversee, Records, get(holds::list))
        .act("/holds", Retention, post(holds::place))
        .act("/holds/{id}/release", Retention, post(holds::release))
        .read("/erasures", Oversee, Records, get(erasures::list))
        .act("/erasures", Erasure, post(erasures::request))
        .act("/erasures/{id}/approve", Erasure, post(erasures::approve))
        .act("/erasures/{id}/cancel", Erasure, post(erasures::cancel))
        .open("GET", "/docs", get(docs::show))
        .open("GET", "/assets/{name}", get(assets::serve))
}
