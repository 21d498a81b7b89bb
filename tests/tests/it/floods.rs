//! A flood of failures is told in few events that add up, and costs the application nothing; a backend that asks to be
//! left alone is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use shared::event::{Event, Outcome};
use tests::keys::Keys;
use tests::stack::DeliveryMode;
use tests::wire::{Call, Server, send};

use crate::stage::{Health, Stage, details};

const ATTEMPTS: u64 = 10_000;
const CONCURRENCY: usize = 24;

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
