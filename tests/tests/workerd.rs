//! What the stack relies on in bare workerd: durable queue, retries by the consumer, dead letters that stay, the
//! peer's address.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tests::stack::{DEAD_LETTERS, EVENTS, QueueOptions, Worker, free_port, workspace_root};
use tests::wire::{Call, Server, send};

/// Takes deliveries and says for each whether it is to come again.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<SinkState>>);

#[derive(Default)]
struct SinkState {
    deliveries: Vec<(Instant, Value)>,
    retry_in: Option<u32>,
}

impl Sink {
    fn state(&self) -> MutexGuard<'_, SinkState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bodies of all deliveries from a queue.
    fn bodies(&self, queue: &str) -> Vec<Vec<String>> {
        let of = |delivery: &Value| {
            let messages = delivery["messages"].as_array().cloned();
            let bodies = messages.unwrap_or_default().into_iter();
            bodies.map(|message| message["body"].as_str().unwrap_or_default().to_owned()).collect()
        };
        let state = self.state();
        let ours = state.deliveries.iter().filter(|(_, delivery)| delivery["queue"] == queue);
        ours.map(|(_, delivery)| of(delivery)).collect()
    }

    async fn wait(&self, count: usize) {
        let start = Instant::now();
        while self.state().deliveries.len() < count {
            assert!(start.elapsed() < Duration::from_secs(20), "{:?}", self.state().deliveries);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn deliver(State(sink): State<Sink>, body: String) -> Json<Value> {
    let delivery: Value = serde_json::from_str(&body).unwrap_or_default();
    let count = delivery["messages"].as_array().map_or(0, Vec::len);
    let mut state = sink.state();
    state.deliveries.push((Instant::now(), delivery));
    Json(Value::from(vec![json!(state.retry_in); count]))
}

struct Probe {
    worker: Worker,
    sink: Sink,
    server: Server,
    dir: tempfile::TempDir,
}

async fn probe(queue: QueueOptions) -> Probe {
    let dir = tempfile::tempdir().expect("there is a temporary directory");
    let sink = Sink::default();
    let router = Router::new().route("/", post(deliver)).with_state(sink.clone());
    let server = Server::start(router, None).await.expect("there is a port");
    let worker = start(&dir, &server, queue).await;
    Probe { worker, sink, server, dir }
}

async fn start(dir: &tempfile::TempDir, server: &Server, queue: QueueOptions) -> Worker {
    let vars = vec![("SINK".to_owned(), format!("http://{}/", server.address()))];
    let bundle = workspace_root().join("tests/fixtures/probe");
    let port = free_port(None).expect("there is a port");
    Worker::start_bundle(dir.path(), &bundle, port, vars, queue).await.expect("workerd starts")
}

impl Probe {
    async fn backlog(&self, queue: &str) -> u64 {
        self.worker.backlog(queue).await.expect("workerd tells")
    }

    async fn send(&self, messages: &[&str]) {
        let url = format!("/send?m={}", messages.join("&m="));
        let answer = send(self.worker.address(), "probe", &Call::new("GET", url)).await;
        assert_eq!(answer.expect("workerd answers").status, 202);
    }
}

fn quick() -> QueueOptions {
    QueueOptions { max_batch_timeout: 1, ..QueueOptions::default() }
}

#[tokio::test]
async fn the_queue_survives_a_crash() {
    let mut probe = probe(QueueOptions { max_batch_timeout: 3, ..QueueOptions::default() }).await;
    probe.send(&["a", "b", "c"]).await;
    probe.worker.kill9();
    assert!(probe.sink.bodies("audit").is_empty());
    probe.worker.restart().await.expect("workerd starts again");
    probe.sink.wait(1).await;
    assert_eq!(probe.sink.bodies("audit"), [["a", "b", "c"]]);
}

#[tokio::test]
async fn the_consumer_says_when_to_try_again() {
    let probe = probe(quick()).await;
    probe.sink.state().retry_in = Some(2);
    probe.send(&["again"]).await;
    probe.sink.wait(1).await;
    probe.sink.state().retry_in = None;
    probe.sink.wait(2).await;
    let state = probe.sink.state();
    let (first, second) = (&state.deliveries[0], &state.deliveries[1]);
    let waited = second.0 - first.0;
    assert!(waited >= Duration::from_millis(1900) && waited < Duration::from_secs(8));
    assert_eq!(first.1["messages"][0]["attempts"], 1);
    assert_eq!(second.1["messages"][0]["attempts"], 2);
}

#[tokio::test]
async fn dead_letters_wait_for_a_consumer() {
    let mut few = QueueOptions { max_retries: 1, ..quick() };
    let mut probe = probe(few).await;
    probe.sink.state().retry_in = Some(0);
    probe.send(&["dead"]).await;
    probe.sink.wait(2).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(probe.sink.state().deliveries.len(), 2);
    probe.sink.state().retry_in = None;
    assert_eq!(probe.backlog(EVENTS).await, 0);
    assert_eq!(probe.backlog(DEAD_LETTERS).await, 1);

    // The same storage, now with a consumer for the dead.
    probe.worker.stop();
    few.replay_dead_letters = true;
    probe.worker = start(&probe.dir, &probe.server, few).await;
    probe.sink.wait(3).await;
    assert_eq!(probe.sink.bodies("audit-dlq"), [["dead"]]);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(probe.backlog(DEAD_LETTERS).await, 0);
}

#[tokio::test]
async fn the_peer_is_known() {
    let probe = probe(quick()).await;
    let call = Call::new("GET", "/x").header("x-forwarded-for", "203.0.113.7");
    let answer = send(probe.worker.address(), "app.localhost:1", &call).await;
    let seen = answer.expect("workerd answers").json();
    // Address and port of the peer, and nothing else: no country, no colo.
    let peer = seen["cf"]["clientIp"].as_str().unwrap_or_default();
    assert!(peer.starts_with("127.0.0.1:"), "{seen}");
    assert_eq!(seen["cf"].as_object().map(serde_json::Map::len), Some(1));
    assert_eq!(seen["url"], "http://app.localhost:1/x");
}
