//! A flood of failures is told in few events that add up, and costs the application nothing; a backend that asks to be
//! left alone is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use shared::event::{Event, Outcome};
use tests::keys::Keys;
use tests::stack::DeliveryMode;
use tests::wire::{Call, Server, send};
use tokio::net::TcpStream;

use crate::scene::{Scene, Setup};
use crate::stage::{Health, Stage, details};

const ATTEMPTS: u64 = 10_000;
const CONCURRENCY: usize = 24;

/// Megabytes that workerd may grow by under a flood. Passing on 20,000 requests that no rule is about takes it 144 MB:
/// its heap grows before it is collected. Four times the flood takes it 258 MB.
const GROWTH: u64 = 250;

/// The attempts that events stand for.
fn told(events: &[Event]) -> u64 {
    events.iter().map(|event| details(event)["coalesced"]["count"].as_u64().unwrap_or(1)).sum()
}

/// The resident memory of a process, in megabytes.
fn megabytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") / 1_024
}

#[tokio::test]
async fn ten_thousand_failed_logins_are_few_events_that_add_up() {
    let keys = Keys::generate();
    let router = Router::new()
        .route("/login", post(async || StatusCode::UNAUTHORIZED))
        .route("/page", get(async || "a page"));
    let origin = Server::start(router, None).await.expect("a port");
    let stage = Stage::start(&keys, origin.address(), DeliveryMode::Direct, "edge", |_| {}).await;
    assert_eq!(stage.ask(&Call::new("GET", "/page")).await.status, 200);
    let (address, start) = (stage.worker.address(), Instant::now());
    let next = Arc::new(AtomicUsize::new(0));
    let attackers: Vec<_> = (0..CONCURRENCY)
        .map(|_| {
            let (next, host) = (Arc::clone(&next), stage.host.clone());
            tokio::spawn(async move {
                while (next.fetch_add(1, Ordering::Relaxed) as u64) < ATTEMPTS {
                    let answer = send(address, &host, &Call::new("POST", "/login")).await;
                    assert_eq!(answer.expect("the origin's answer").status, 401);
                }
            })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    while attackers.iter().any(|attacker| !attacker.is_finished()) {
        let asked = Instant::now();
        assert_eq!(stage.ask(&Call::new("GET", "/page")).await.text(), "a page");
        slowest = slowest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for attacker in attackers {
        attacker.await.expect("every attempt is answered");
    }
    let windows = usize::try_from(start.elapsed().as_secs() / 10 + 2).expect("few");
    let events = stage.until("LOGIN", |events| told(events) >= ATTEMPTS).await;
    assert_eq!(told(&events), ATTEMPTS, "each attempt is told, and none twice");
    assert!(events.len() <= 21 * windows, "{} events in {windows} windows", events.len());
    assert!(events.iter().all(|event| event.outcome == Outcome::Failure));
    assert!(slowest < Duration::from_secs(3), "{slowest:?}: others are served meanwhile");
    let used = megabytes(stage.worker.pid().expect("it runs"));
    assert!(used < 512, "{used} MB");
}

#[tokio::test]
async fn a_backend_that_is_busy_is_left_alone_for_as_long_as_it_asks() {
    let keys = Keys::generate();
    let router = Router::new().route("/things", post(async || r#"{"id":"1"}"#));
    let origin = Server::start(router, None).await.expect("a port");
    let stage = Stage::start(&keys, origin.address(), DeliveryMode::Direct, "edge", |_| {}).await;
    stage.held().health = Health::Busy;
    assert_eq!(stage.ask(&Call::new("POST", "/things")).await.status, 200);
    while stage.held().offers.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stage.held().health = Health::Up;
    stage.only("THING_MADE").await;
    let offers = stage.held().offers.clone();
    assert!(offers[1] - offers[0] >= Duration::from_millis(1_900), "{:?}", offers[1] - offers[0]);
}

/// Sends requests over one connection that is kept, as an attacker would, until they are all sent; every answer is 400.
async fn attack(address: SocketAddr, host: String, next: Arc<AtomicUsize>) {
    let socket = TcpStream::connect(address).await.expect("a connection");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.expect("HTTP");
    let connection = tokio::spawn(connection);
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n as u64 >= ATTEMPTS {
            break;
        }
        let body = json!({"email": format!("user-{n}@example.com"), "password": "guessed"}).to_string();
        let request = hyper::Request::post("/auth/v1/token?grant_type=password")
            .header("host", &host)
            .header("x-forwarded-for", "203.0.113.66")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .expect("a request");
        sender.ready().await.expect("the connection is kept");
        let response = sender.send_request(request).await.expect("the origin's answer");
        assert_eq!(response.status(), 400);
        response.into_body().collect().await.expect("its body");
    }
    connection.abort();
}

#[tokio::test]
async fn c17_ten_thousand_failed_logins_from_one_address_are_one_counted_series() {
    let keys = Keys::generate();
    let refusal =
        json!({"code": 400, "error_code": "invalid_credentials", "msg": "Invalid login credentials"});
    let router = Router::new()
        .route("/auth/v1/token", post(async move || (StatusCode::BAD_REQUEST, axum::Json(refusal))))
        .route("/rest/v1/agents", get(async || "[]"));
    let origin = Server::start(router, None).await.expect("a port");
    let upstream = format!("http://{}", origin.address());
    let adjust = Box::new(move |config: &mut tests::stack::EdgeConfig| config.mounts[1].upstream = upstream);
    let scene = Scene::start(&keys, Vec::new(), Setup { adjust, ..Setup::default() }).await;
    let page = Call::new("GET", "/rest/v1/agents?select=id");
    assert_eq!(scene.supabase(&page).await.status, 200);
    let before = megabytes(scene.worker.pid().expect("it runs"));

    let (start, next) = (Instant::now(), Arc::<AtomicUsize>::default());
    let (address, host) = (scene.worker.address(), scene.config.supabase_host());
    let attackers: Vec<_> =
        (0..32).map(|_| tokio::spawn(attack(address, host.clone(), Arc::clone(&next)))).collect();
    let (mut slowest, mut peak) = (Duration::ZERO, before);
    while attackers.iter().any(|attacker| !attacker.is_finished()) {
        let asked = Instant::now();
        assert_eq!(scene.supabase(&page).await.text(), "[]");
        slowest = slowest.max(asked.elapsed());
        peak = peak.max(megabytes(scene.worker.pid().expect("it runs")));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for attacker in attackers {
        attacker.await.expect("every attempt is answered");
    }
    let took = start.elapsed();
    let windows = usize::try_from(took.as_secs() / 10 + 2).expect("few");
    let count = |event: &Value| event["details"]["coalesced"]["count"].as_u64().unwrap_or(1);
    let told = |events: &[Value]| events.iter().map(count).sum::<u64>();
    let events = scene.until("USER_LOGIN_FAILED", |events| told(events) >= ATTEMPTS).await;
    assert_eq!(told(&events), ATTEMPTS, "each attempt is told, and none twice");
    assert!(events.len() <= 21 * windows, "{} events in {windows} windows", events.len());
    assert!(slowest < Duration::from_secs(3), "{slowest:?}: others are served meanwhile");
    assert!(peak < before + GROWTH, "{before} MB before, {peak} MB at most");
    for event in &events {
        assert_eq!((&event["outcome"], &event["context"]["ip"]), (&json!("failure"), &json!("203.0.113.66")));
    }
    println!("{took:?}, {} events, slowest page {slowest:?}, {before} to {peak} MB", events.len());
}
