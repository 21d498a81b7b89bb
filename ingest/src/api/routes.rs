//! The table of routes: what each needs, and how reading it is recorded. A route cannot be added without saying both.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts as _, MatchedPath, Query, RawPathParams, Request};
use axum::http::{Extensions, Method, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::MethodRouter;
use shared::problem::Problem;

use super::reader::Reader;
use super::{Answer, State, search};
use crate::auth::{Capability, Read, ReadKind};
use crate::web;

/// Parameters that are handed to the search's reader, in bytes; a longer query was refused before.
const MAX_QUERY: usize = 16 * 1024;

/// A route and what it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// `GET`, `POST` or `OPTIONS`.
    pub method: &'static str,
    /// Its template.
    pub path: &'static str,
    /// What a reader must be able to do; none if anybody may ask, and the handler decides about the rest.
    pub needs: Option<Capability>,
    /// How it is recorded; none if it is not, or if its act is an event anyway.
    pub reading: Option<ReadKind>,
}

/// Routes as they are put together.
pub(crate) struct Routes {
    router: Router<Arc<State>>,
    table: Vec<Route>,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self { router: Router::new(), table: Vec::new() }
    }

    /// A route for anybody.
    pub(crate) fn open(
        self,
        method: &'static str,
        path: &'static str,
        handler: MethodRouter<Arc<State>>,
    ) -> Self {
        self.add(Route { method, path, needs: None, reading: None }, handler)
    }

    /// A route that reads; every read is recorded.
    pub(crate) fn read(
        self,
        path: &'static str,
        needs: Capability,
        reading: ReadKind,
        handler: MethodRouter<Arc<State>>,
    ) -> Self {
        self.add(Route { method: "GET", path, needs: Some(needs), reading: Some(reading) }, handler)
    }

    /// A route that tells readers of themselves or of the log's public part.
    pub(crate) fn tell(
        self,
        path: &'static str,
        needs: Capability,
        handler: MethodRouter<Arc<State>>,
    ) -> Self {
        self.add(Route { method: "GET", path, needs: Some(needs), reading: None }, handler)
    }

    /// A route that does something; whoever carries it out records it.
    pub(crate) fn act(
        self,
        path: &'static str,
        needs: Capability,
        handler: MethodRouter<Arc<State>>,
    ) -> Self {
        self.add(Route { method: "POST", path, needs: Some(needs), reading: None }, handler)
    }

    fn add(mut self, route: Route, handler: MethodRouter<Arc<State>>) -> Self {
        self.table.push(route);
        Self { router: self.router.route(route.path, handler), table: self.table }
    }

    /// The table.
    pub(super) fn table(self) -> Vec<Route> {
        self.table
    }

    /// The routes, each behind what it needs.
    pub(super) fn guarded(self, state: &Arc<State>) -> Router<Arc<State>> {
        let routes = self.table.iter().map(|route| ((route.method, route.path), *route)).collect();
        let guard = Guard { state: Arc::clone(state), routes: Arc::new(routes) };
        self.router.route_layer(from_fn_with_state(guard, guarded))
    }
}

#[derive(Clone)]
struct Guard {
    state: Arc<State>,
    routes: Arc<HashMap<(&'static str, &'static str), Route>>,
}

impl Guard {
    fn route(&self, request: &Request) -> Option<Route> {
        // A handler of GET answers HEAD as well.
        let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
        let path = request.extensions().get::<MatchedPath>()?;
        self.routes.get(&(method.as_str(), path.as_str())).copied()
    }
}

/// Who asks, whether they may, and that they did.
async fn guarded(
    axum::extract::State(guard): axum::extract::State<Guard>,
    request: Request,
    next: Next,
) -> Response {
    // Another method than those of the table ends at the answer for that.
    let Some(Route { needs: Some(needs), reading, path, .. }) = guard.route(&request) else {
        return next.run(request).await;
    };
    let (mut parts, body) = request.into_parts();
    let reader = Reader::from_request_parts(&mut parts, &guard.state).await;
    let turned_away = |answer: Answer| {
        if path.starts_with("/v1/") { answer.into_response() } else { web::turned_away(&parts, answer) }
    };
    let reader = match reader.and_then(|reader| reader.require(needs).map(|()| reader)) {
        Ok(reader) => reader,
        Err(answer) => return turned_away(answer),
    };
    if let Err(seconds) = guard.state.readers.admit(&reader.tenant, &reader.key, guard.state.clock.now()) {
        let problem = Problem::new(429, "too-many-requests", "You ask more than is allowed");
        let answer = Answer(problem.detail(format_args!("try again in {seconds} seconds")));
        let mut response = turned_away(answer);
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        return response;
    }
    let object = match reading {
        Some(_) => object(&mut parts).await,
        None => String::new(),
    };
    let uri = parts.uri.clone();
    let response = next.run(Request::from_parts(parts, body)).await;
    if let Some(kind) = reading
        && response.status().is_success()
    {
        guard.state.reads.note(Read {
            tenant: reader.tenant,
            who: reader.key,
            means: reader.means,
            kind,
            at: guard.state.clock.now(),
            search: searched(kind, &uri),
            object,
            masked: reader.is_masked,
        });
    }
    response
}

/// What a path names, such as an event's id; the route where it names nothing.
async fn object(parts: &mut axum::http::request::Parts) -> String {
    let named: Vec<String> = match RawPathParams::from_request_parts(parts, &()).await {
        Ok(parameters) => parameters.iter().map(|(_, value)| value.to_owned()).collect(),
        Err(_) => Vec::new(),
    };
    if named.is_empty() { template(&parts.extensions) } else { named.join("/") }
}

/// The route of a request.
pub(super) fn template(extensions: &Extensions) -> String {
    extensions.get::<MatchedPath>().map_or_else(|| "-".to_owned(), |path| path.as_str().to_owned())
}

/// The search of a request, in its canonical form.
fn searched(kind: ReadKind, uri: &Uri) -> Option<String> {
    let searches =
        [ReadKind::Search, ReadKind::Counts, ReadKind::Timeline, ReadKind::Actor, ReadKind::Export];
    if !searches.contains(&kind) || uri.query().is_none_or(|query| query.len() > MAX_QUERY) {
        return None;
    }
    let parameters = Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
    let search = search::read(Ok(parameters), |_, _| Ok(true)).ok()?;
    Some(search.query.to_string()).filter(|text| !text.is_empty())
}
