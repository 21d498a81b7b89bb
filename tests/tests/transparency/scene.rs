//! The Worker between a raw client and a raw origin, and the comparison of what passes with what would without it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use shared::batch::{Body, unframe};
use tempfile::TempDir;
use tests::stack::{DeliveryMode, EdgeConfig, QueueOptions, SigningKey, Worker, edge_bundle, free_port};
use tests::wire::Server;
use tokio::net::TcpSocket;

use crate::origin::{Arrival, Origin};
use crate::raw::{Head, Raw, chunks};

/// A path that no rule names.
pub(crate) const UNAUDITED: &str = "/plain/agents/1";

/// A path of the pack `app`.
pub(crate) const AUDITED: &str = "/api/agents/1";

/// The longest that one exchange may take; nothing here waits for it but a failure.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// The rule behind [`AUDITED`] is about PUT. With this in place of the core's interface the Worker audits a path's
/// other methods as well, so that its way of copying meets answers that only a GET or HEAD has.
const ANY_METHOD: &str = r#"import * as real from "./real.js";
export * from "./real.js";
// A mutating request that no rule names would be audited as well.
const known = (path) => (path.includes("plain") ? "GET" : "PUT");
export const look = (mount, _, path, ...rest) => real.look(mount, known(path), path, ...rest);
export class Seen extends real.Seen {
  constructor(mount, _, path, ...rest) {
    super(mount, known(path), path, ...rest);
  }
}
"#;

pub(crate) struct Scene {
    pub(crate) worker: Worker,
    pub(crate) origin: Origin,
    config: EdgeConfig,
    events: Arc<AtomicUsize>,
    audited: AtomicUsize,
    _backend: Server,
    _refusing: TcpSocket,
    _dir: TempDir,
}

/// A request in every detail but the host.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    /// What follows the path.
    pub(crate) suffix: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Sent,
}

/// How a request's body is sent.
#[derive(Debug, Clone)]
pub(crate) enum Sent {
    Nothing,
    Whole(Bytes),
    Chunked(Vec<Bytes>),
}

/// What a client got.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    /// Whether it came to its proper end.
    pub(crate) whole: bool,
}

/// An exchange seen from both its ends; nothing where a side got nothing.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) answer: Option<Answer>,
    pub(crate) arrival: Option<Arrival>,
}

impl Scene {
    /// A Worker that audits a path whatever the method.
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().expect("there is a temporary directory");
        let bundle = any_method_bundle(dir.path());
        Self::with(dir, &bundle).await
    }

    /// A Worker as it is deployed.
    pub(crate) async fn start_as_deployed() -> Self {
        let dir = tempfile::tempdir().expect("there is a temporary directory");
        Self::with(dir, &edge_bundle().expect("the Worker is built")).await
    }

    async fn with(dir: TempDir, bundle: &Path) -> Self {
        let origin = Origin::start().await;
        let events = Arc::new(AtomicUsize::new(0));
        let router = Router::new().route("/v1/batches", post(take)).with_state(events.clone());
        let backend = Server::start(router, None).await.expect("there is a port");
        // Bound but not listening: the port is ours, and whoever connects is refused.
        let refusing = TcpSocket::new_v4().expect("there is a socket");
        refusing.bind(([127, 0, 0, 1], 0).into()).expect("there is a port");
        let refuses = refusing.local_addr().expect("it is bound");
        let port = free_port(None).expect("there is a port");
        let mut config =
            EdgeConfig::for_demo(port, origin.address(), refuses, backend.address(), DeliveryMode::Direct);
        config.mounts[1].packs = vec!["app".to_owned()];
        config.mounts[1].forward_client_ip = None;
        let vars = vec![
            ("EDGETRAIL_CONFIG".to_owned(), serde_json::to_string(&config).expect("plain data")),
            ("EDGETRAIL_SIGNING_KEY".to_owned(), SigningKey::generate().signer.reveal()),
        ];
        let worker =
            Worker::start_bundle(&dir.path().join("worker"), bundle, port, vars, QueueOptions::default())
                .await
                .expect("the Worker starts");
        Self {
            worker,
            origin,
            config,
            events,
            audited: AtomicUsize::new(0),
            _backend: backend,
            _refusing: refusing,
            _dir: dir,
        }
    }

    /// The host under which the Worker serves the origin.
    pub(crate) fn host(&self) -> String {
        self.config.app_host()
    }

    /// The host behind which nobody listens.
    pub(crate) fn refusing_host(&self) -> String {
        self.config.supabase_host()
    }

    /// Who is asked, and under which host: the origin itself, or the Worker in front of it.
    pub(crate) fn parties(&self) -> [(SocketAddr, String); 2] {
        [(self.origin.address(), self.origin.address().to_string()), (self.worker.address(), self.host())]
    }

    /// One more request is to give an event.
    pub(crate) fn audits_one_more(&self) {
        self.audited.fetch_add(1, Ordering::Relaxed);
    }

    /// The same request to the origin and to the Worker.
    pub(crate) async fn both(&self, path: &str, request: &Request) -> [Seen; 2] {
        let mut seen = Vec::new();
        for (address, host) in self.parties() {
            self.origin.arrived();
            let answer = tokio::time::timeout(SOON, request.send(address, &host, path)).await;
            let answer = answer.unwrap_or_else(|_| panic!("{} {path}: no end in {SOON:?}", request.method));
            let mut arrived = self.origin.arrived();
            assert!(arrived.len() <= 1, "{} {path} reached the origin more than once", request.method);
            seen.push(Seen { answer, arrival: arrived.pop() });
        }
        if !path.contains("plain") {
            self.audits_one_more();
        }
        seen.try_into().expect("there are two parties")
    }

    /// Asserts that a request and its answer are the same with and without the Worker, audited or not.
    pub(crate) async fn same(&self, request: &Request) {
        for path in [UNAUDITED, AUDITED] {
            self.same_at(path, request).await;
        }
    }

    /// The same for one path.
    pub(crate) async fn same_at(&self, path: &str, request: &Request) {
        let what = format!("{} {path}{}", request.method, request.suffix);
        let [direct, through] = self.both(path, request).await;
        let (direct_answer, answer) = (direct.answer.as_ref(), through.answer.as_ref());
        assert!(direct_answer.is_some(), "{what}: the origin itself gave no answer");
        assert_eq!(
            answer.map(|answer| answer.shown(direct_answer)),
            direct_answer.map(|direct| direct.shown(answer)),
            "{what}: the answer\n{}",
            self.worker.output()
        );
        let (direct, through) = (direct.arrival.as_ref(), through.arrival.as_ref());
        assert_eq!(
            through.map(|arrival| arrival.shown(direct)),
            direct.map(|direct| direct.shown(through)),
            "{what}: the request"
        );
    }

    /// Asserts that every audited request gave an event, so that auditing was on all the time.
    pub(crate) async fn audited_everything(&self) {
        let wanted = self.audited.load(Ordering::Relaxed);
        assert!(wanted > 0, "nothing was audited");
        let start = Instant::now();
        loop {
            let events = self.events.load(Ordering::Relaxed);
            if events >= wanted {
                assert_eq!(events, wanted, "an exchange gives one event");
                return;
            }
            assert!(start.elapsed() < SOON, "{events} events of {wanted}\n{}", self.worker.output());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Whether an event is of a rule, and not the Worker's own word on what no rule names.
fn is_act(event: &[u8]) -> bool {
    let holds = |word: &str| event.windows(word.len()).any(|part| part == word.as_bytes());
    !holds("UNMAPPED_MUTATION") && !holds("COVERAGE_RECORDED")
}

/// A stand-in for the backend, which counts events and takes every batch: what is tested is the way of the response.
async fn take(State(events): State<Arc<AtomicUsize>>, body: Bytes) -> Json<Value> {
    let batches = unframe(&body).expect("the Worker sends batches");
    for batch in &batches {
        let body = Body::parse(batch.body).expect("the Worker sends what can be read");
        let acts = body.events.iter().flatten().filter(|event| is_act(event)).count();
        events.fetch_add(acts, Ordering::Relaxed);
    }
    Json(Value::from(vec![json!({ "status": 200 }); batches.len()]))
}

fn any_method_bundle(dir: &Path) -> PathBuf {
    let (from, to) = (edge_bundle().expect("the Worker is built"), dir.join("bundle"));
    let list = std::fs::read_to_string(from.join("modules.json")).expect("the list of its modules");
    let mut modules: Vec<Value> = serde_json::from_str(&list).expect("it is JSON");
    for module in &modules {
        let name = module["name"].as_str().expect("a module has a name");
        let target = to.join(if name == "index.js" { "real.js" } else { name });
        std::fs::create_dir_all(target.parent().expect("it lies in the folder")).expect("our own folder");
        std::fs::copy(from.join(name), target).expect("our own folder");
    }
    std::fs::write(to.join("index.js"), ANY_METHOD).expect("our own folder");
    modules.push(json!({ "name": "real.js", "kind": "esModule" }));
    let list = serde_json::to_string(&modules).expect("plain data");
    std::fs::write(to.join("modules.json"), list).expect("our own folder");
    to
}

impl Request {
    pub(crate) fn new(method: &'static str) -> Self {
        Self { method, suffix: String::new(), headers: Vec::new(), body: Sent::Nothing }
    }

    pub(crate) fn suffix(mut self, suffix: &str) -> Self {
        suffix.clone_into(&mut self.suffix);
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Sent::Whole(body.into());
        self
    }

    pub(crate) fn chunked(mut self, parts: &[&'static [u8]]) -> Self {
        self.body = Sent::Chunked(parts.iter().map(|part| Bytes::from_static(part)).collect());
        self
    }

    /// The request up to its body. Header values are written as Latin-1.
    pub(crate) fn head(&self, host: &str, path: &str) -> Vec<u8> {
        let mut text = format!("{} {path}{} HTTP/1.1\r\nHost: {host}\r\n", self.method, self.suffix);
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        match &self.body {
            Sent::Nothing => {}
            Sent::Whole(body) => text += &format!("Content-Length: {}\r\n", body.len()),
            Sent::Chunked(_) => text += "Transfer-Encoding: chunked\r\n",
        }
        text += "\r\n";
        tests::wire::latin1(&text)
    }

    /// Sends it on a connection of its own; none if that ends without an answer, or cannot be made.
    pub(crate) async fn send(&self, address: SocketAddr, host: &str, path: &str) -> Option<Answer> {
        let mut raw = Raw::connect(address).await.ok()?;
        raw.write(self.head(host, path)).await.ok()?;
        match &self.body {
            Sent::Nothing => {}
            Sent::Whole(body) => raw.write(body).await.ok()?,
            Sent::Chunked(parts) => raw.write(chunks(parts.iter().map(|part| &part[..]))).await.ok()?,
        }
        let head = raw.head().await.ok()??;
        let (body, whole) = raw.rest(head.response_body(self.method)).await;
        Some(Answer { head, body, whole })
    }
}

/// What is compared: status line or request line, headers, body.
type Shown = (String, Headers, String, bool);

/// Headers by name.
pub(crate) type Headers = BTreeMap<String, String>;

impl Answer {
    fn shown(&self, other: Option<&Self>) -> Shown {
        let headers = comparable(&self.head, other.map(|other| &other.head));
        (self.head.first.clone(), headers, digest(&self.body), self.whole)
    }
}

impl Arrival {
    fn shown(&self, other: Option<&Self>) -> Shown {
        let headers = comparable(&self.head, other.map(|other| &other.head));
        let headers = headers.into_iter().filter(|(name, _)| name != "host").collect();
        (self.head.first.clone(), headers, digest(&self.body), self.whole)
    }
}

/// The headers by name, without those of the connection (RFC 9110, section 7.6.1), a length that the other side's
/// framing does not tell, and a date that only one side adds. Values of one name are a list, whether they came in one
/// line or several (section 5.3); only cookies are each on their own.
pub(crate) fn comparable(head: &Head, other: Option<&Head>) -> Headers {
    const HOP: [&str; 6] = ["connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"];
    let one_is_chunked = other.is_some_and(|other| other.chunked() != head.chunked());
    let undated = other.is_some_and(|other| other.header("date").is_none());
    let ours = |name: &str| {
        !(HOP.contains(&name) || name == "content-length" && one_is_chunked || name == "date" && undated)
    };
    let names = head.headers.iter().map(|(name, _)| name.as_str()).filter(|name| ours(name));
    let joined = |name: &str| head.all(name).join(if name == "set-cookie" { "\n" } else { ", " });
    names.map(|name| (name.to_owned(), joined(name))).collect()
}

fn digest(body: &[u8]) -> String {
    let start = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
    format!("{} bytes, SHA-256 {}, {start:?}", body.len(), hex::encode(Sha256::digest(body)))
}

/// A number of bytes that no part of which is like another, so that losing, repeating or swapping any shows.
pub(crate) fn noise(count: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes.into()
}

/// A value that one side sets and the other waits for.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<tokio::sync::Notify>);

impl Gate {
    /// Lets one waiter through, now or when it comes.
    pub(crate) fn open(&self) {
        self.0.notify_one();
    }

    pub(crate) async fn wait(&self) {
        tokio::time::timeout(SOON, self.0.notified()).await.expect("the gate is opened");
    }
}
