//! A server that answers from a recording.
//!
//! A request is matched by method, URL and body, in the recorded order: the next exchange that was not used yet wins,
//! and the last used one answers again when all are used. It looks at no header, since whatever stands in front may
//! add some. What was never recorded gets 501 and is remembered.
//!
//! The Worker reads old sides by GET requests of its own. They are no part of the recording: they get the answer
//! that was given last, use nothing up, and are not remembered.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, Response, StatusCode};
use serde_json::Value;
use shared::recording::Exchange;

use crate::wire::{Answer, Server, end_to_end, latin1};

/// What the Worker calls itself where it reads an old side.
const READER: &str = "edgetrail";

/// The most of a request body that is read: 32 MB, far over any recorded one.
const MAX_BODY: usize = 32 << 20;

/// A request that reached the origin.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The method.
    pub method: String,
    /// Path and query.
    pub url: String,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
    /// Label and number of the exchange that answered; none for the JWKS and for what was never recorded.
    pub matched: Option<(String, u32)>,
}

/// The running server.
#[derive(Debug)]
pub struct Origin {
    server: Server,
    state: Arc<Recording>,
}

#[derive(Debug)]
struct Recording {
    exchanges: Vec<Exchange>,
    jwks: Value,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    used: Vec<bool>,
    arrivals: Vec<Arrival>,
}

impl Origin {
    /// Serves the exchanges, and the JWKS, on a free loopback port.
    ///
    /// # Errors
    /// No port.
    pub async fn start(exchanges: Vec<Exchange>, jwks: Value) -> io::Result<Self> {
        let used = vec![false; exchanges.len()];
        let state =
            Arc::new(Recording { exchanges, jwks, log: Mutex::new(Log { used, arrivals: Vec::new() }) });
        let router = Router::new().fallback(answer).with_state(state.clone());
        Ok(Self { server: Server::start(router, None).await?, state })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// All requests so far, in order.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.state.log().arrivals.clone()
    }
}

impl Recording {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The exchange that answered such a request without a body last.
    fn last_used(&self, method: &str, url: &str) -> Option<&Exchange> {
        let log = self.log();
        let used = self.exchanges.iter().zip(&log.used).rev().filter(|(_, used)| **used);
        used.map(|(exchange, _)| exchange).find(|exchange| {
            let request = &exchange.request;
            request.method == method
                && request.url == url
                && request.body.as_deref().unwrap_or_default().is_empty()
        })
    }

    /// The exchange that answers, now used.
    fn choose(&self, method: &str, url: &str, body: &str) -> Option<&Exchange> {
        let mut log = self.log();
        let mut last = None;
        for (at, exchange) in self.exchanges.iter().enumerate() {
            let request = &exchange.request;
            if request.method == method
                && request.url == url
                && request.body.as_deref().unwrap_or_default() == body
            {
                last = Some(at);
                if !log.used[at] {
                    break;
                }
            }
        }
        let at = last?;
        log.used[at] = true;
        Some(&self.exchanges[at])
    }
}

async fn answer(State(state): State<Arc<Recording>>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let url = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    if head.headers.get("user-agent").is_some_and(|agent| agent == READER) {
        let read = state.last_used(head.method.as_str(), &url);
        return read.map_or_else(|| refuse(StatusCode::NOT_IMPLEMENTED), replay);
    }
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE);
    };
    let body = String::from_utf8_lossy(&body).into_owned();
    let jwks = head.method == Method::GET && url == "/auth/v1/.well-known/jwks.json";
    let exchange = (!jwks).then(|| state.choose(head.method.as_str(), &url, &body)).flatten();
    let headers = head.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.to_string(), value)
    });
    let arrival = Arrival {
        method: head.method.to_string(),
        url,
        headers: headers.collect(),
        body,
        matched: exchange.map(|exchange| (exchange.label.clone(), exchange.n)),
    };
    state.log().arrivals.push(arrival);
    match exchange {
        _ if jwks => Response::builder()
            .header("content-type", "application/json")
            .header("access-control-allow-origin", "*")
            .header("access-control-expose-headers", "X-Total-Count, Link, X-Supabase-Api-Version")
            .header("cache-control", "public, max-age=600")
            .body(Body::from(state.jwks.to_string()))
            .unwrap_or_else(|_| refuse(StatusCode::INTERNAL_SERVER_ERROR)),
        Some(exchange) => replay(exchange),
        None => refuse(StatusCode::NOT_IMPLEMENTED),
    }
}

fn replay(exchange: &Exchange) -> Response<Body> {
    let recorded = &exchange.response;
    let mut response = Response::builder().status(recorded.status);
    for (name, value) in recorded.headers.iter().filter(|(name, _)| end_to_end(name)) {
        response = response.header(name, latin1(value));
    }
    response
        .body(Body::from(recorded.body.clone().unwrap_or_default()))
        .unwrap_or_else(|_| refuse(StatusCode::INTERNAL_SERVER_ERROR))
}

fn refuse(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::from("{\"error\":\"not in the recording\"}"));
    *response.status_mut() = status;
    response
}

/// How an answer differs from what was recorded; empty if it does not.
pub(super) fn differences(recorded: &Exchange, answer: &Answer) -> Vec<String> {
    let expected = &recorded.response;
    let mut out = Vec::new();
    if expected.status != answer.status {
        out.push(format!("status {}, not {}", answer.status, expected.status));
    }
    let body = expected.body.as_deref().unwrap_or_default();
    if recorded.request.method != "HEAD" && body.as_bytes() != answer.body {
        out.push(format!("body of {} bytes, not the recorded {}", answer.body.len(), body.len()));
    }
    for (name, _) in expected.headers.iter().filter(|(name, _)| end_to_end(name)) {
        let (want, got) = (joined(&expected.headers, name), joined(&answer.headers, name));
        if want != got {
            out.push(format!("header {name}: {got:?}, not {want:?}"));
        }
    }
    out.dedup();
    out
}

/// All values of a header as one: a proxy may join fields of one name (RFC 9110, section 5.3).
fn joined(headers: &[(String, String)], name: &str) -> String {
    let values =
        headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
    values.collect::<Vec<_>>().join(", ")
}
