//! The pages that people read: rendered here, complete without JavaScript, and made quicker to use by one script.
//!
//! A page is an endpoint's answer ([`crate::api::answers`]) read into types and written by a template. Its address is its whole
//! state. Nothing is fetched from elsewhere, and no script or style stands in a page itself, so that the content policy can
//! forbid both.

mod access;
mod act;
mod alerts;
mod assets;
mod chart;
mod compliance;
mod dashboard;
mod docs;
mod entities;
mod erasures;
mod event;
mod exports;
mod failure;
mod frame;
mod holds;
mod index;
mod live;
mod me;
mod overview;
mod policies;
mod ranking;
mod reader;
mod retention;
mod runs;
mod saved;
mod search;
mod sentence;
mod sign_in;
mod sinks;
mod term;
mod time;
mod url;

use axum::routing::{get, post};

use crate::api::Routes;
use crate::auth::{Capability, ReadKind};

pub(crate) use reader::turned_away;
pub(crate) use sentence::{deed, deed_on};
pub(crate) use sign_in::SignInForm;

/// The pages among the routes: what each needs is what the endpoint behind it needs.
pub(crate) fn pages(routes: Routes) -> Routes {
    use Capability::{Access, Alerts, Erasure, Export, Oversee, Policy, Read, Retention, Sinks, Unmask};
    use ReadKind::{Actor, Counts, Event, Records, Search, Timeline};
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
        .read("/dashboard", Read, Counts, get(dashboard::show))
        .read("/runs", Read, Records, get(runs::list))
        .read("/runs/{id}", Read, Records, get(runs::show))
        .read("/agents", Read, Counts, get(runs::agents))
        .read("/agents/{id}", Read, Counts, get(runs::agent))
        .read("/alerts", Read, Search, get(alerts::list))
        .act("/alerts/{id}/close", Alerts, post(alerts::close))
        .read("/entities", Read, Search, get(index::entities))
        .read("/actors", Read, Counts, get(index::actors))
        .act("/searches", Read, post(saved::save))
        .act("/searches/{id}/remove", Read, post(saved::remove))
        .act("/unmask", Unmask, post(exports::unmask))
        .read("/exports", Export, Records, get(exports::list))
        .act("/exports", Export, post(exports::ask))
        .read("/compliance", Read, Records, get(compliance::list))
        .read("/compliance/{framework}", Read, Records, get(compliance::show))
        .read("/policies", Read, Records, get(policies::list))
        .read("/policies/{version}", Read, Records, get(policies::show))
        .act("/policies/{version}/approve", Policy, post(policies::approve))
        .act("/policies/{version}/refuse", Policy, post(policies::refuse))
        .read("/access", Oversee, Records, get(access::list))
        .act("/access", Access, post(access::grant))
        .act("/access/{id}/revoke", Access, post(access::revoke))
        .act("/access/sessions/{id}/end", Access, post(access::end_session))
        .read("/retention", Read, Records, get(retention::show))
        .act("/retention/periods", Retention, post(retention::propose))
        .act("/retention/periods/{version}/approve", Retention, post(retention::approve))
        .act("/retention/periods/{version}/refuse", Retention, post(retention::refuse))
        .read("/streams", Read, Records, get(overview::streams))
        .read("/sinks", Oversee, Records, get(sinks::list))
        .act("/sinks", Sinks, post(sinks::create))
        .read("/sinks/{id}", Oversee, Records, get(sinks::show))
        .act("/sinks/{id}", Sinks, post(sinks::change))
        .act("/sinks/{id}/{act}", Sinks, post(sinks::act))
        .read("/holds", Oversee, Records, get(holds::list))
        .act("/holds", Retention, post(holds::place))
        .act("/holds/{id}/release", Retention, post(holds::release))
        .read("/erasures", Oversee, Records, get(erasures::list))
        .act("/erasures", Erasure, post(erasures::request))
        .act("/erasures/{id}/approve", Erasure, post(erasures::approve))
        .act("/erasures/{id}/cancel", Erasure, post(erasures::cancel))
        .open("GET", "/docs", get(docs::show))
        .open("GET", "/me", get(me::show))
        .open("POST", "/me/sign-in", post(me::sign_in))
        .open("POST", "/me/sign-out", post(me::sign_out))
        .open("GET", "/me/activity/{id}", get(me::confirm))
        .open("POST", "/me/activity/{id}/disown", post(me::disown))
        .open("POST", "/me/export", post(me::download))
        .open("GET", "/assets/edgetrail-activity.js", get(assets::component))
        .open("GET", "/assets/{name}", get(assets::serve))
}
