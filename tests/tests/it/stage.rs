//! The real Worker between an origin of the test's own and a stand-in for the backend, with a small pack of rules: for
//! what the Worker does before and beside a response. What the real backend makes of it is the other tests' matter.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use shared::batch::{Body, unframe};
use shared::event::{Event, JsonText};
use shared::leaf::Opening;
use tempfile::TempDir;
use tests::keys::Keys;
use tests::stack::{DeliveryMode, EdgeConfig, QueueOptions, SigningKey, Worker, edge_bundle, free_port};
use tests::wire::{Answer, Call, Server};

use crate::scene::{SOON, ask, tail};

/// The rules, one for each thing that a test looks at.
fn pack() -> Value {
    json!({"name": "t", "version": 1, "defaults": {"severity": "info"}, "rules": [
        {"id": "change", "match": {"method": "PUT", "path": "/things/{id}"}, "level": "full",
         "action": "THING_CHANGED", "entity": {"type": "thing", "id": "path:id"},
         "before": {"get": "/old/{id}"}, "changes": {"request": "request:", "fields": ["name"]}},
        {"id": "make", "match": {"method": "POST", "path": "/things"}, "level": "full",
         "action": "THING_MADE", "entity": {"type": "thing", "id": "response:/id"}},
        {"id": "run", "match": {"method": "POST", "path": "/run"}, "level": "full", "stream": true,
         "action": "RUN", "entity": {"type": "run"}, "details": {"tokens": "response:/done/tokens"},
         "outcome": {"failure": "equals(response:/done/ok, false)", "success": "equals(response:/done/ok, true)"}},
        {"id": "login", "match": {"method": "POST", "path": "/login"}, "level": "metadata",
         "action": "LOGIN", "entity": {"type": "user"}},
        {"id": "act", "match": {"method": "POST", "path": "/act"}, "level": "metadata", "fail": "intent",
         "action": "ACTED", "entity": {"type": "act", "id": "query:n"}},
        {"id": "strict", "match": {"method": "POST", "path": "/strict", "query": {"mode": "strict"}},
         "level": "metadata", "fail": "closed", "action": "ACTED_STRICTLY", "entity": {"type": "act"}},
        {"id": "loose", "match": {"method": "POST", "path": "/strict"}, "level": "metadata",
         "action": "ACTED_LOOSELY", "entity": {"type": "act"}},
    ]})
}

/// How the stand-in for the backend is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Up,
    /// It refuses.
    Down,
    /// It never answers.
    Silent,
    /// It asks to be left alone for two seconds.
    Busy,
}

#[derive(Debug)]
pub struct Held {
    pub health: Health,
    /// Every event by its digest, so that one that is delivered twice counts once.
    events: BTreeMap<[u8; 32], Event>,
    /// ETag and signed note of the policy that is served.
    pub policy: Option<(String, String)>,
    /// When each batch was offered.
    pub offers: Vec<Instant>,
    /// What came with each question for a policy.
    pub questions: Vec<Option<String>>,
}

type Shared = Arc<Mutex<Held>>;

pub struct Stage {
    pub worker: Worker,
    pub host: String,
    held: Shared,
    _backend: Server,
    _dir: TempDir,
}

impl Stage {
    /// Starts the Worker in front of this origin; `adjust` may change its configuration.
    pub async fn start(
        keys: &Keys,
        origin: SocketAddr,
        mode: DeliveryMode,
        bundle: &str,
        adjust: impl FnOnce(&mut Value),
    ) -> Self {
        let held = Arc::new(Mutex::new(Held {
            health: Health::Up,
            events: BTreeMap::new(),
            policy: None,
            offers: Vec::new(),
            questions: Vec::new(),
        }));
        let router = Router::new()
            .route("/v1/batches", post(take))
            .route("/v1/policy/demo", get(serve_policy))
            .with_state(Arc::clone(&held));
        let backend = Server::start(router, None).await.expect("a port");
        let port = free_port(None).expect("a port");
        let config = EdgeConfig::for_demo(port, origin, origin, backend.address(), mode);
        let host = config.app_host();
        let mut config = serde_json::to_value(config).expect("plain data");
        config["mounts"][0]["packs"] = json!(["t"]);
        config["packs"] = json!([pack()]);
        adjust(&mut config);
        let vars = vec![
            ("EDGETRAIL_CONFIG".to_owned(), config.to_string()),
            ("EDGETRAIL_SIGNING_KEY".to_owned(), SigningKey::generate().signer.reveal()),
            ("EDGETRAIL_HASH_KEY".to_owned(), "a key for tests".to_owned()),
            ("SUPABASE_JWT_SECRET".to_owned(), keys.hs256_secret().to_owned()),
        ];
        let dir = tempfile::tempdir().expect("a folder");
        let bundle = edge_bundle().expect("a built worker").with_file_name(bundle);
        let queue = QueueOptions { max_batch_timeout: 1, ..QueueOptions::default() };
        let worker = Worker::start_bundle(dir.path(), &bundle, port, vars, queue).await.expect("a worker");
        Self { worker, host, held, _backend: backend, _dir: dir }
    }

    pub async fn ask(&self, call: &Call) -> Answer {
        ask(self.worker.address(), &self.host, call).await
    }

    pub fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The events of an action, oldest first.
    pub fn events(&self, action: &str) -> Vec<Event> {
        let mut events: Vec<Event> =
            self.held().events.values().filter(|event| event.action.as_str() == action).cloned().collect();
        events.sort_by_key(|event| event.occurred_at);
        events
    }

    /// Waits until the events of an action are enough.
    pub async fn until(&self, action: &str, enough: impl Fn(&[Event]) -> bool) -> Vec<Event> {
        let start = Instant::now();
        loop {
            let events = self.events(action);
            if enough(&events) {
                return events;
            }
            let log = self.worker.output();
            assert!(start.elapsed() < SOON, "{action}: {} events\n{}", events.len(), tail(&log));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The only event of an action.
    pub async fn only(&self, action: &str) -> Event {
        let mut events = self.until(action, |events| !events.is_empty()).await;
        assert_eq!(events.len(), 1, "{action}");
        events.remove(0)
    }
}

/// The details of an event; null if it has none.
pub fn details(event: &Event) -> Value {
    event.details.as_ref().map(JsonText::value).unwrap_or_default()
}

async fn take(State(held): State<Shared>, body: Bytes) -> Response {
    let health = {
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        held.offers.push(Instant::now());
        held.health
    };
    match health {
        Health::Up => {}
        Health::Down => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Health::Silent => std::future::pending::<()>().await,
        Health::Busy => return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "2")]).into_response(),
    }
    let batches = unframe(&body).unwrap_or_default();
    let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
    for batch in &batches {
        let body = Body::parse(batch.body).expect("the Worker sends what the backend reads");
        for (digest, event) in body.digests.iter().zip(&body.events) {
            let opening = Opening::decode(event.unwrap_or_default()).expect("an opening");
            held.events.insert(*digest, Event::from_opening(&opening).expect("an event"));
        }
    }
    axum::Json(Value::from(vec![json!({ "status": 200 }); batches.len()])).into_response()
}

async fn serve_policy(State(held): State<Shared>, headers: HeaderMap) -> Response {
    let asked = headers.get("if-none-match").and_then(|etag| etag.to_str().ok()).map(str::to_owned);
    let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
    held.questions.push(asked.clone());
    match &held.policy {
        None => StatusCode::NOT_FOUND.into_response(),
        Some((etag, _)) if asked.as_ref() == Some(etag) => StatusCode::NOT_MODIFIED.into_response(),
        Some((etag, note)) => ([("etag", etag.clone())], note.clone()).into_response(),
    }
}
