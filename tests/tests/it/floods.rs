//! A flood of failures is told in few events that add up, and costs the application nothing; a backend that asks to be
//! left alone is.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
use tests::stack::{DeliveryMode, Surroundings};
use tests::wire::{Call, Server, send};
use tokio::net::TcpStream;

use crate::scene::{SOON, Scene, Setup};
use crate::stage::{Health, Stage, details};

const ATTEMPTS: u64 = 10_000;
const CONCURRENCY: usize = 24;

/// Attackers that keep their connections.
const ATTACKERS: usize = 32;
const WAVES: u64 = 3;
const ADDRESSES: usize = 20_000;

/// A heap with no room for the drafts of three waves, were they held: the engine would end the process. Half of it is
/// enough for the Worker.
const SMALL_HEAP: &str = "--max-heap-size=32";

/// Megabytes that workerd may grow by under a flood. It grows by 62: its heap to its limit, compiled code, buffers.
const GROWTH: u64 = 120;

/// Megabytes that it may grow by once it has been under a flood as long as that.
const MARGIN: u64 = 24;

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

/// Attempts to log in, each with an address that it comes from, over connections that are kept.
struct Attack {
    worker: SocketAddr,
    host: String,
    /// The address that an attempt comes from, by its number.
    from: fn(usize) -> String,
}

impl Attack {
    fn on(scene: &Scene, from: fn(usize) -> String) -> Self {
        Self { worker: scene.worker.address(), host: scene.config.supabase_host(), from }
    }

    /// Sends the attempts of these numbers; each is answered by the origin. Meanwhile `watch` is called again and again.
    async fn run(self, numbers: Range<usize>, mut watch: impl AsyncFnMut()) {
        let (attack, numbers) = (Arc::new(self), Arc::new(Mutex::new(numbers)));
        let attackers: Vec<_> = (0..ATTACKERS)
            .map(|_| tokio::spawn(attack_by(Arc::clone(&attack), Arc::clone(&numbers))))
            .collect();
        while attackers.iter().any(|attacker| !attacker.is_finished()) {
            watch().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for attacker in attackers {
            attacker.await.expect("every attempt is answered");
        }
    }
}

async fn attack_by(attack: Arc<Attack>, numbers: Arc<Mutex<Range<usize>>>) {
    let socket = TcpStream::connect(attack.worker).await.expect("a connection");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.expect("HTTP");
    let connection = tokio::spawn(connection);
    let next = || numbers.lock().unwrap_or_else(PoisonError::into_inner).next();
    while let Some(n) = next() {
        let body = json!({"email": format!("user-{n}@example.com"), "password": "guessed"}).to_string();
        let request = hyper::Request::post("/auth/v1/token?grant_type=password")
            .header("host", &attack.host)
            .header("x-forwarded-for", (attack.from)(n))
            .header("user-agent", format!("{n} of a flood, {}", "with a long name ".repeat(24)))
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

/// The whole stack in front of a Supabase that refuses every password, its Worker with a heap of limited size.
async fn scene_under_attack(keys: &Keys) -> (Scene, Server) {
    let refusal =
        json!({"code": 400, "error_code": "invalid_credentials", "msg": "Invalid login credentials"});
    let router = Router::new()
        .route("/auth/v1/token", post(async move || (StatusCode::BAD_REQUEST, axum::Json(refusal))))
        .route("/rest/v1/agents", get(async || "[]"));
    let origin = Server::start(router, None).await.expect("a port");
    let upstream = format!("http://{}", origin.address());
    let adjust = Box::new(move |config: &mut tests::stack::EdgeConfig| config.mounts[1].upstream = upstream);
    let surroundings = Surroundings { v8_flags: vec![SMALL_HEAP.to_owned()], ..Surroundings::default() };
    let setup = Setup { adjust, surroundings, ..Setup::default() };
    let scene = Scene::start(keys, Vec::new(), setup).await;
    (scene, origin)
}

#[tokio::test]
async fn c17_ten_thousand_failed_logins_from_one_address_are_one_counted_series() {
    let keys = Keys::generate();
    let (scene, _origin) = scene_under_attack(&keys).await;
    let page = Call::new("GET", "/rest/v1/agents?select=id");
    assert_eq!(scene.supabase(&page).await.status, 200);
    let pid = scene.worker.pid().expect("it runs");
    let before = megabytes(pid);

    let start = Instant::now();
    let (mut slowest, mut peak) = (Duration::ZERO, before);
    let mut waves = Vec::new();
    for _ in 0..WAVES {
        let wave = Instant::now();
        let attack = Attack::on(&scene, |_| "203.0.113.66".to_owned());
        let watch = async || {
            let asked = Instant::now();
            assert_eq!(scene.supabase(&page).await.text(), "[]");
            slowest = slowest.max(asked.elapsed());
            peak = peak.max(megabytes(pid));
        };
        attack.run(0..ATTEMPTS as usize, watch).await;
        waves.push((wave.elapsed(), megabytes(pid)));
    }
    let windows = usize::try_from(start.elapsed().as_secs() / 10 + 2).expect("few");
    let count = |event: &Value| event["details"]["coalesced"]["count"].as_u64().unwrap_or(1);
    let told = |events: &[Value]| events.iter().map(count).sum::<u64>();
    let all = ATTEMPTS * WAVES;
    let events = scene.until("USER_LOGIN_FAILED", |events| told(events) >= all).await;
    assert_eq!(told(&events), all, "each attempt is told, and none twice");
    assert!(events.len() <= 21 * windows, "{} events in {windows} windows", events.len());
    assert!(slowest < Duration::from_secs(3), "{slowest:?}: others are served meanwhile");
    assert!(peak < before + GROWTH, "{before} MB before, {peak} MB at most");
    let (first, last) = (waves[0].1, waves[waves.len() - 1].1);
    assert!(last <= first + MARGIN, "{first} MB after the first wave, {last} MB after the last");
    for event in &events {
        assert_eq!((&event["outcome"], &event["context"]["ip"]), (&json!("failure"), &json!("203.0.113.66")));
    }
    println!(
        "{} events, slowest page {slowest:?}, {before} MB, then {peak} at most, waves {waves:?}",
        events.len()
    );
}

/// Attempts that come when there are as many series as there may be, all from one address that is of none of them.
const LATE: Range<usize> = 1_100..1_200;

#[tokio::test]
async fn failed_logins_from_ever_new_addresses_take_no_more_memory_and_are_told_one_by_one() {
    let keys = Keys::generate();
    let (scene, _origin) = scene_under_attack(&keys).await;
    let pid = scene.worker.pid().expect("it runs");
    let start = Instant::now();
    let from = |n: usize| match n {
        n if LATE.contains(&n) => "203.0.113.66".to_owned(),
        n => format!("2001:db8::{:x}", n + 1),
    };
    Attack::on(&scene, from).run(0..ADDRESSES / 2, async || ()).await;
    let first = megabytes(pid);
    Attack::on(&scene, from).run(ADDRESSES / 2..ADDRESSES, async || ()).await;
    let (took, last) = (start.elapsed(), megabytes(pid));
    assert!(last <= first + MARGIN, "{first} MB after half of them, {last} MB after all");

    let mut database = scene.database().await;
    let sql = "select count(*), count(distinct ip), count(*) filter (where position('coalesced'::bytea in opening) > 0)
               from events where action = 'USER_LOGIN_FAILED'";
    let all = i64::try_from(ADDRESSES).expect("few");
    let waiting = Instant::now();
    let (events, addresses, counted): (i64, i64, i64) = loop {
        let found: (i64, i64, i64) = sqlx::query_as(sql).fetch_one(&mut database).await.expect("a count");
        if found.0 >= all {
            break found;
        }
        assert!(waiting.elapsed() < SOON, "{found:?} events, addresses, counted events");
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    let late = i64::try_from(LATE.len()).expect("few");
    assert_eq!((events, addresses, counted), (all, all - late + 1, 0), "events, addresses, counted events");
    println!("{took:?}, {first} MB after half of them, {last} MB after all");
}
