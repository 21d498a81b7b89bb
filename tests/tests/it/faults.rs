//! Everything behind the response fails: every response is the origin's, and every event is there or replaced.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;

use serde_json::json;
use tests::chaos::clock::Clocks;
use tests::chaos::fault::Timekeeper;
use tests::keys::Keys;
use tests::stack::{DeliveryMode, Surroundings};
use tests::wire::{Call, Server, send};

use crate::scene::{SOON, Scene, Setup, created, creation, exchange};

const REQUESTS: usize = 300;
const CONCURRENCY: usize = 6;

#[tokio::test]
async fn a_core_that_stops_on_every_seventh_request_costs_no_response_and_no_event() {
    let keys = Keys::generate();
    let faults = ["route", "inspect", "build"];
    let urls: Vec<String> = (0..REQUESTS)
        .map(|at| match at % 7 {
            0 => format!("/api/create-agent?n={at}&fault={}", faults[at / 7 % 3]),
            _ => format!("/api/create-agent?n={at}"),
        })
        .collect();
    let answer =
        |at: usize| json!({"success": true, "agent": {"id": at.to_string(), "agent_name": "A"}}).to_string();
    let exchanges =
        urls.iter().enumerate().map(|(at, url)| exchange("POST", url, "{}", 201, &answer(at))).collect();
    let scene = Scene::start(&keys, exchanges, Setup { bundle: "edge-faults", ..Setup::default() }).await;

    let next = std::sync::Arc::new(AtomicUsize::new(0));
    let (address, host) = (scene.worker.address(), scene.config.app_host());
    let tasks: Vec<_> = (0..CONCURRENCY)
        .map(|_| {
            let (next, host, urls) = (next.clone(), host.clone(), urls.clone());
            tokio::spawn(async move {
                while let Some((at, url)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, urls.get(at)?)))
                {
                    let call = Call {
                        method: "POST".to_owned(),
                        url: url.clone(),
                        headers: Vec::new(),
                        body: Some("{}".to_owned()),
                    };
                    let got = send(address, &host, &call).await.expect("an answer");
                    assert_eq!(
                        (got.status, got.text()),
                        (
                            201,
                            json!({"success": true, "agent": {"id": at.to_string(), "agent_name": "A"}})
                                .to_string()
                        )
                    );
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("every response is the origin's");
    }
    let events = scene.at_least(REQUESTS, SOON).await;
    assert_eq!(events.len(), REQUESTS);
    let replaced: Vec<_> = events.iter().filter(|event| event["action"] == "CAPTURE_FAILED").collect();
    assert!(!replaced.is_empty(), "the stops were real");
    for event in &replaced {
        assert_eq!(
            (&event["request"]["route"], &event["outcome"]),
            (&json!("/api/create-agent"), &json!("unknown"))
        );
    }
    let whole = events.iter().filter(|event| event["action"] == "AGENT_CREATED").count();
    assert_eq!(whole + replaced.len(), REQUESTS);
    assert!(whole >= REQUESTS - REQUESTS / 7 - 1, "{whole}: a stop costs its own request at most");
}

#[tokio::test]
async fn a_core_that_runs_out_of_memory_costs_no_response() {
    let keys = Keys::generate();
    let (_, plain) = creation("a");
    let url = "/api/create-agent?fault=memory";
    let exchanges = vec![creation("a").0, exchange("POST", url, "{}", 201, r#"{"success":true}"#)];
    let scene = Scene::start(&keys, exchanges, Setup { bundle: "edge-faults", ..Setup::default() }).await;
    let hungry = Call {
        method: "POST".to_owned(),
        url: url.to_owned(),
        headers: Vec::new(),
        body: Some("{}".to_owned()),
    };
    assert_eq!(scene.app(&hungry).await.status, 201);
    for _ in 0..3 {
        assert_eq!(scene.app(&plain).await.status, 201);
    }
    let events = scene.at_least(4, SOON).await;
    let actions: Vec<_> = events.iter().filter_map(|event| event["action"].as_str()).collect();
    assert_eq!(actions, ["CAPTURE_FAILED", "AGENT_CREATED", "AGENT_CREATED", "AGENT_CREATED"]);
}

/// The Worker with a queue whose first sends fail in this way; `FAILURE` stands for the words of a failing send.
macro_rules! with_queue {
    ($failure:literal) => {
        concat!(
            "import edge from './edge.mjs';\nlet failures = 2;\n",
            "const broken = (queue) => ({ send: (...message) => (failures-- > 0 ? ",
            $failure,
            " : queue.send(...message)) });\n",
            "export default {\n",
            "  fetch: (request, env, ctx) => edge.fetch(request, { ...env, EVENTS: broken(env.EVENTS) }, ctx),\n",
            "  queue: edge.queue,\n};\n"
        )
    };
}

async fn a_broken_queue_costs_no_response_and_no_event(entry: &'static str) {
    let keys = Keys::generate();
    let names = ["a", "b", "c", "d"];
    let creations: Vec<_> = names.iter().map(|name| creation(name)).collect();
    let exchanges = creations.iter().map(|(exchange, _)| exchange.clone()).collect();
    let scene = Scene::start(&keys, exchanges, Setup { entry: Some(entry), ..Setup::default() }).await;
    for (_, call) in &creations {
        let start = Instant::now();
        assert_eq!(scene.app(call).await.status, 201);
        assert!(start.elapsed() < Duration::from_secs(5), "the response does not wait for the queue");
    }
    let events = scene.at_least(names.len(), SOON).await;
    assert_eq!(created(&events), names);
}

#[tokio::test]
async fn a_queue_that_hangs_is_tried_again() {
    a_broken_queue_costs_no_response_and_no_event(with_queue!("new Promise(() => {})")).await;
}

#[tokio::test]
async fn a_queue_that_is_full_is_tried_again() {
    a_broken_queue_costs_no_response_and_no_event(with_queue!("Promise.reject(new Error('full'))")).await;
}

#[tokio::test]
async fn a_queue_that_takes_the_bytes_and_then_fails_gets_the_same_bytes_again() {
    // As the platform does it: the buffer is gone as soon as the send begins.
    a_broken_queue_costs_no_response_and_no_event(with_queue!(
        "(structuredClone(message[0], { transfer: [message[0].buffer] }), Promise.reject(new Error('gone')))"
    ))
    .await;
}

/// A stand-in for a backend that fails: what it takes, it counts; what the real one would do is not its matter.
async fn failing_backend(failures: usize, never: bool) -> (Server, Arc<Mutex<Vec<u64>>>) {
    let taken: Arc<Mutex<Vec<u64>>> = Arc::default();
    let log = Arc::clone(&taken);
    let left = Arc::new(AtomicUsize::new(failures));
    let router = Router::new().route(
        "/v1/batches",
        post(async move |body: Bytes| {
            if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                if never {
                    std::future::pending::<()>().await;
                }
                return (StatusCode::INTERNAL_SERVER_ERROR, "oops".to_owned());
            }
            for framed in shared::batch::unframe(&body).expect("frames") {
                let note = shared::note::Note::parse(framed.note).expect("a note");
                let header: shared::batch::Header = note.text().parse().expect("a header");
                log.lock()
                    .expect("no test stops in here")
                    .extend(vec![header.seq; usize::from(header.count)]);
            }
            (StatusCode::OK, r#"[{"status":200}]"#.to_owned())
        }),
    );
    (Server::start(router, None).await.expect("a port"), taken)
}

async fn a_failing_backend_costs_no_response_and_no_event(never: bool) {
    let keys = Keys::generate();
    let (backend, taken) = failing_backend(2, never).await;
    let names = ["a", "b", "c"];
    let creations: Vec<_> = names.iter().map(|name| creation(name)).collect();
    let exchanges = creations.iter().map(|(exchange, _)| exchange.clone()).collect();
    let setup = Setup { mode: DeliveryMode::Direct, backend: Some(backend.address()), ..Setup::default() };
    let scene = Scene::start(&keys, exchanges, setup).await;
    for (_, call) in &creations {
        let start = Instant::now();
        assert_eq!(scene.app(call).await.status, 201);
        assert!(start.elapsed() < Duration::from_secs(5), "the response does not wait for the backend");
        // Each in a batch of its own.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let start = Instant::now();
    while taken.lock().expect("no test stops in here").len() < names.len() {
        assert!(start.elapsed() < SOON, "the events never came\n{}", scene.worker.output());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut seqs = taken.lock().expect("no test stops in here").clone();
    seqs.dedup();
    assert!(
        seqs.windows(2).all(|pair| pair[1] == pair[0] + 1) && seqs[0] == 0,
        "{seqs:?}: in order, without a gap"
    );
}

#[tokio::test]
async fn a_clock_that_was_ahead_and_is_set_right_holds_no_batch_up() {
    let keys = Keys::generate();
    // Tries after 1/4, 1/2, 1, 2, 4 and 5 s.
    let (backend, taken) = failing_backend(6, false).await;
    let (exchange, call) = creation("a");
    let dir = tempfile::tempdir().expect("a folder");
    let clocks = Clocks::new(dir.path()).expect("a C compiler and a PostgreSQL");
    let variables = clocks.variables(Timekeeper::Edge);
    let setup = Setup {
        mode: DeliveryMode::Direct,
        backend: Some(backend.address()),
        surroundings: Surroundings { variables, ..Surroundings::default() },
        ..Setup::default()
    };
    clocks.jump(&[Timekeeper::Edge], true).expect("our own file");
    let scene = Scene::start(&keys, vec![exchange], setup).await;
    assert_eq!(scene.app(&call).await.status, 201);
    tokio::time::sleep(Duration::from_secs(2)).await;
    clocks.right(&[Timekeeper::Edge]).expect("our own file");
    let start = Instant::now();
    while taken.lock().expect("no test stops in here").is_empty() {
        assert!(start.elapsed() < Duration::from_secs(25), "it waits for the hour that the clock had");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_backend_that_answers_500_gets_the_batch_again() {
    a_failing_backend_costs_no_response_and_no_event(false).await;
}

#[tokio::test]
async fn a_backend_that_never_answers_gets_the_batch_again() {
    a_failing_backend_costs_no_response_and_no_event(true).await;
}
