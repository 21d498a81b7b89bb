//! The application behind the Workers. What it answers to an act follows from the act's name, so whoever asked knows to
//! the byte what must come back; what it was asked, it remembers.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Json, Path};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, delete, post};
use futures_util::stream;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::wire::{Call, Server};

/// The header that says what the body's SHA-256 is.
pub const HASH: &str = "x-body-sha256";
/// Between two events of a run.
const PACE: Duration = Duration::from_millis(120);

/// How an act fails without a trail, and how it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// An agent is created; the act goes on whatever the trail does.
    Open,
    /// An agent runs, and tells how in a stream of events; every fifth run breaks off.
    Stream,
    /// An agent is deleted; that is announced before.
    Intent,
    /// An agent is changed; without an announcement it is not.
    Closed,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Open, Self::Stream, Self::Intent, Self::Closed];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Stream => "open, stream",
            Self::Intent => "intent",
            Self::Closed => "closed",
        }
    }

    /// The action that its events have.
    pub fn action(self) -> &'static str {
        match self {
            Self::Open => "AGENT_CREATED",
            Self::Stream => "AGENT_EXECUTED",
            Self::Intent => "AGENT_DELETED",
            Self::Closed => "AGENT_UPDATED",
        }
    }

    /// The request for an act of this name.
    pub fn call(self, name: &str) -> Call {
        match self {
            Self::Open => {
                Call::new("POST", "/api/create-agent").json(&json!({"agent": {"agent_name": name}}))
            }
            Self::Stream => Call::new("POST", "/api/agent-stream").json(&json!({"agent_id": name})),
            Self::Intent => Call::new("DELETE", format!("/api/agents/{name}")),
            Self::Closed => {
                Call::new("PUT", format!("/api/agents/{name}")).json(&json!({"agent": {"description": name}}))
            }
        }
    }

    /// The application's answer to it: status and body.
    pub fn answer(self, name: &str) -> (u16, String) {
        let agent = || json!({"success": true, "agent": {"id": name, "agent_name": name}}).to_string();
        match self {
            Self::Open => (201, agent()),
            Self::Stream => (200, run(name).concat()),
            Self::Intent => (200, json!({"success": true}).to_string()),
            Self::Closed => (200, agent()),
        }
    }
}

/// The events of a run.
fn run(name: &str) -> Vec<String> {
    let event = |kind: &str, data: Value| format!("event: {kind}\ndata: {data}\n\n");
    vec![
        event("start", json!({"execution_id": name})),
        event("step", json!({"n": 1})),
        event("step", json!({"n": 2})),
        event("complete", json!({"success": true})),
    ]
}

/// Whether the run of this name breaks off.
pub fn breaks_off(name: &str) -> bool {
    name.bytes().last().is_some_and(|last| last % 5 == 0)
}

/// When the application saw each act.
pub type Seen = BTreeMap<String, Vec<Instant>>;

/// The application, running.
#[derive(Debug)]
pub struct Application {
    server: Server,
    seen: Arc<Mutex<Seen>>,
}

impl Application {
    /// Starts it on a free loopback port.
    ///
    /// # Errors
    /// There is none.
    pub async fn start() -> io::Result<Self> {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let log = Arc::clone(&seen);
        let see = move |name: &str| {
            let mut seen = log.lock().unwrap_or_else(PoisonError::into_inner);
            seen.entry(name.to_owned()).or_default().push(Instant::now());
        };
        let (create, remove, change, run) = (see.clone(), see.clone(), see.clone(), see);
        let named = |body: &Value, pointer: &str| {
            body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let router = Router::new()
            .route(
                "/api/create-agent",
                post(async move |Json(body): Json<Value>| {
                    let name = named(&body, "/agent/agent_name");
                    create(&name);
                    whole(Mode::Open, &name)
                }),
            )
            .route(
                "/api/agents/{id}",
                delete(async move |Path(name): Path<String>| {
                    remove(&name);
                    linger(&name).await;
                    whole(Mode::Intent, &name)
                })
                .put(async move |Path(name): Path<String>| {
                    change(&name);
                    linger(&name).await;
                    whole(Mode::Closed, &name)
                }),
            )
            .route(
                "/api/agent-stream",
                post(async move |Json(body): Json<Value>| {
                    let name = named(&body, "/agent_id");
                    run(&name);
                    streamed(&name)
                }),
            )
            .fallback(any(async || "{}"));
        Ok(Self { server: Server::start(router, None).await?, seen })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// What it saw.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Up to 600 ms, so that a kill finds acts that are under way.
async fn linger(name: &str) {
    let last = name.bytes().last().unwrap_or_default();
    tokio::time::sleep(Duration::from_millis(u64::from(last % 4) * 200)).await;
}

fn whole(mode: Mode, name: &str) -> Response {
    let (status, body) = mode.answer(name);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = [(HASH, sha256(body.as_bytes())), ("content-type", "application/json".to_owned())];
    (status, headers, body).into_response()
}

fn streamed(name: &str) -> Response {
    let (_, text) = Mode::Stream.answer(name);
    let mut parts: Vec<io::Result<Bytes>> = run(name).into_iter().map(|part| Ok(Bytes::from(part))).collect();
    if breaks_off(name) {
        parts.truncate(2);
        parts.push(Err(io::Error::other("the run crashed")));
    }
    let parts = stream::unfold(parts.into_iter(), async |mut parts| {
        let part = parts.next()?;
        tokio::time::sleep(PACE).await;
        Some((part, parts))
    });
    let headers = [(HASH, sha256(text.as_bytes())), ("content-type", "text/event-stream".to_owned())];
    (headers, Body::from_stream(parts)).into_response()
}

/// The SHA-256 of bytes, in hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
