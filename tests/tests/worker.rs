//! The real Worker without a backend: the recording and the story pass through it unchanged, and what it puts on the
//! wire for the backend is whole. A stand-in takes the batches and says yes to each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use shared::batch::{Body, unframe};
use tests::clock::unix_now;
use tests::demo::Demo;
use tests::keys::Keys;
use tests::replay::{Origin, Target, fixture, resign};
use tests::stack::{DeliveryMode, EVENTS, EdgeConfig, QueueOptions, SigningKey, Worker, free_port};
use tests::wire::Server;

/// Every event by its digest, so that one that is delivered twice counts once.
type Store = Arc<Mutex<BTreeMap<[u8; 32], Vec<u8>>>>;

async fn take(State(store): State<Store>, body: Bytes) -> Json<Value> {
    let batches = unframe(&body).unwrap_or_default();
    let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
    for batch in &batches {
        let body = Body::parse(batch.body).expect("the Worker sends what the backend reads");
        for (digest, event) in body.digests.iter().zip(&body.events) {
            store.insert(*digest, event.unwrap_or_default().to_vec());
        }
    }
    Json(Value::from(vec![json!({ "status": 200 }); batches.len()]))
}

async fn backend() -> (Server, Store) {
    let store = Store::default();
    let router = Router::new().route("/v1/batches", post(take)).with_state(store.clone());
    (Server::start(router, None).await.expect("there is a port"), store)
}

async fn wait_for(store: &Store, count: usize) -> usize {
    let start = Instant::now();
    loop {
        let found = store.lock().unwrap_or_else(PoisonError::into_inner).len();
        if found >= count || start.elapsed() > Duration::from_secs(20) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn worker(dir: &tempfile::TempDir, config: &EdgeConfig, port: u16, keys: &Keys) -> Worker {
    let queue = QueueOptions { max_batch_timeout: 1, ..QueueOptions::default() };
    let key = SigningKey::generate();
    Worker::start(dir.path(), port, config, &key, keys.hs256_secret(), queue)
        .await
        .expect("the Worker starts")
}

#[tokio::test]
async fn the_recording_passes_unchanged() {
    let keys = Keys::from_seed("worker");
    let played = resign(&fixture().expect("the fixture is good"), &keys, unix_now()).exchanges;
    let origin = Origin::start(played.clone(), keys.jwks()).await.expect("there is a port");
    let (backend, store) = backend().await;
    let port = free_port(None).expect("there is a port");
    let (at, to) = (origin.address(), backend.address());
    let config = EdgeConfig::for_demo(port, at, at, to, DeliveryMode::Queue);
    let dir = tempfile::tempdir().expect("there is a temporary directory");
    let worker = worker(&dir, &config, port, &keys).await;
    let target = Target {
        address: worker.address(),
        app_host: config.app_host(),
        supabase_host: config.supabase_host(),
    };
    for outcome in tests::replay::play(&played, &target).await {
        let request = &outcome.request;
        assert!(outcome.differences.is_empty(), "{request}: {:?}", outcome.differences);
    }
    // Two changes of the user other than the password, and a row deleted by the browser, are named by no rule.
    let mutations = played.iter().filter(|exchange| exchange.request.method != "GET").count() - 3;
    assert!(wait_for(&store, mutations).await >= mutations, "{}", worker.output());
    assert!(
        origin
            .arrivals()
            .iter()
            .all(|arrival| arrival.matched.is_some() || arrival.url.ends_with("jwks.json"))
    );
}

#[tokio::test]
async fn the_story_gives_an_event_for_each_mutation() {
    let keys = Keys::from_seed("worker");
    let anon = keys.api_key("anon");
    let demo = Demo::start(keys.clone(), None, None).await.expect("there are ports");
    let (backend, store) = backend().await;
    let port = free_port(None).expect("there is a port");
    let config =
        EdgeConfig::for_demo(port, demo.app(), demo.supabase(), backend.address(), DeliveryMode::Queue);
    let dir = tempfile::tempdir().expect("there is a temporary directory");
    let worker = worker(&dir, &config, port, &keys).await;
    let address = worker.address();
    let story = tests::demo::play(address, &config.app_host(), &config.supabase_host(), &anon).await;
    let story = story.expect("the demo answers through the Worker as it does without");
    assert_eq!(wait_for(&store, story.mutations).await, story.mutations, "{}", worker.output());
    // What was stored is taken from the queue once it is acknowledged.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while worker.backlog(EVENTS).await.expect("workerd tells") > 0 {
        assert!(std::time::Instant::now() < until, "the queue keeps what is stored");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
