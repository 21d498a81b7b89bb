//! Receivers that refuse, hang or are not there: what waits, waits; who is told, is told once; and nobody else is late.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shared::event::Event;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::sinks::{Forwarding, id};
use crate::support::receiver::{Manner, Receiver};
use crate::support::{eventually, sample};

/// An address that takes connections and never says a word.
async fn black_hole() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    address.to_string()
}

/// An address at which a connection is never made: its queue is full, and what comes more is dropped.
struct Full {
    address: String,
    _kept: (tokio::net::TcpListener, Vec<tokio::task::JoinHandle<std::io::Result<TcpStream>>>),
}

async fn dropped_syn() -> Full {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("bound");
    let listener = socket.listen(1).expect("listening");
    let address = listener.local_addr().expect("an address");
    let connects = (0..8).map(|_| tokio::spawn(TcpStream::connect(address))).collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let late = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await;
    assert!(late.is_err(), "there is still room");
    Full { address: address.to_string(), _kept: (listener, connects) }
}

#[tokio::test]
async fn c20_a_black_hole_delays_no_other_sink_and_no_request() {
    let it = Forwarding::start(&[]).await;
    let receiver = Receiver::start(Manner::Takes).await;
    let full = dropped_syn().await;
    let silent = black_hole().await;
    let hanging = Receiver::start(Manner::Hangs).await;
    let mut holes = Vec::new();
    for (kind, name, field, value) in [
        ("otlp", "silent", "url", format!("http://{silent}/")),
        ("otlp", "full", "url", format!("http://{}/", full.address)),
        ("syslog", "no handshake", "address", silent.clone()),
        ("syslog", "no connection", "address", full.address.clone()),
        ("otlp", "never answers", "url", hanging.url("/")),
    ] {
        holes.push(id(&it.make(json!({"kind": kind, "name": name, field: value})).await));
    }
    it.webhook("good", &receiver).await;
    let mut producer = it.server.producer().await;
    let began = Instant::now();
    let mut times = Vec::new();
    for batch in 0..20 {
        let events: Vec<Event> = (batch * 10..batch * 10 + 10).map(sample).collect();
        let asked = Instant::now();
        assert_eq!(it.server.send(&producer.seal(&events)).await["status"], 200);
        times.push(asked.elapsed());
    }
    eventually(async || receiver.numbers().len() == 200).await;
    // Each attempt into a hole lasts a second here; none of them is waited for.
    times.sort_unstable();
    assert!(times[10] < Duration::from_millis(900), "half of the requests took longer than {:?}", times[10]);
    assert!(began.elapsed() < Duration::from_secs(60), "the good one took {:?}", began.elapsed());
    for hole in &holes {
        eventually(async || it.health(hole).await["last_error"].is_string()).await;
        let health = it.health(hole).await;
        assert_eq!(health["last_error"], "no answer within 1000 ms", "{health}");
        assert!(health["lag_events"].as_u64() >= Some(200), "its own queue grows: {health}");
    }
    it.server.stop().await;
}

#[tokio::test]
async fn c21_a_full_disk_at_the_receiver_is_told_within_the_time_and_once_until_it_recovers() {
    let it = Forwarding::start(&[]).await;
    let receiver = Receiver::start(Manner::Refuses(507)).await;
    let sink = it.webhook("hook", &receiver).await;
    let mut producer = it.server.producer().await;
    it.server.send(&producer.seal(&[sample(1), sample(2)])).await;
    let told = it.server.eventually("&action=SINK_FAILING", 1).await;
    let details = &told[0]["details"];
    assert_eq!((&details["error"], &details["name"]), (&json!("status 507"), &json!("hook")));
    let since = details["failing_since"].as_str().expect("a time").parse::<chrono::DateTime<chrono::Utc>>();
    let at = told[0]["occurred_at"].as_str().expect("a time").parse::<chrono::DateTime<chrono::Utc>>();
    let after = at.expect("a time") - since.expect("a time");
    assert!((1_500..4_000).contains(&after.num_milliseconds()), "told after {after}, of 1500 ms");
    let health = it.health(&sink).await;
    assert_eq!((&health["state"], &health["last_error"]), (&json!("failing"), &json!("status 507")));
    assert!(health["failing_since"].is_string() && health["next_attempt_at"].is_string(), "{health}");
    it.server.send(&producer.seal(&[sample(3)])).await;
    let tries = receiver.got().len();
    eventually(async || receiver.got().len() > tries + 3).await;
    assert_eq!(it.server.all("&action=SINK_FAILING").await.len(), 1, "said once");
    receiver.turn(Manner::Takes);
    eventually(async || receiver.numbers().len() == 3).await;
    assert_eq!(receiver.numbers(), [1, 2, 3], "nothing is given up");
    it.server.eventually("&action=SINK_RECOVERED", 1).await;
    let health = it.health(&sink).await;
    assert_eq!((&health["state"], &health["attempts_failed"]), (&json!("active"), &json!(0)));
    let metrics = it.server.call("GET", "/metrics").await.text();
    assert!(metrics.contains(&format!("edgetrail_sink_failures_total{{sink=\"{sink}\"}}")), "{metrics}");
    it.server.stop().await;
}

#[tokio::test]
async fn a_receiver_that_is_gone_or_turns_everything_down_counts_as_failing_before_the_time() {
    let it = Forwarding::start(&[("EDGETRAIL__SINKS__FAILING_AFTER_MS", "3600000")]).await;
    let (gone, refusing) =
        (Receiver::start(Manner::Refuses(410)).await, Receiver::start(Manner::Refuses(400)).await);
    let (gone_id, refusing_id) = (it.webhook("gone", &gone).await, it.webhook("refusing", &refusing).await);
    let away = Receiver::start(Manner::Refuses(503)).await;
    let away_id = it.webhook("away", &away).await;
    let mut producer = it.server.producer().await;
    it.server.send(&producer.seal(&[sample(1)])).await;
    eventually(async || it.health(&gone_id).await["state"] == "failing").await;
    assert_eq!(it.health(&gone_id).await["last_error"], "status 410");
    eventually(async || it.health(&refusing_id).await["state"] == "failing").await;
    assert!(refusing.got().len() >= 5, "{}", refusing.got().len());
    eventually(async || away.got().len() >= 8).await;
    assert_eq!(it.health(&away_id).await["state"], "active", "a server that is away may come back");
    it.server.eventually("&action=SINK_FAILING", 2).await;
    gone.turn(Manner::Takes);
    eventually(async || gone.numbers() == [1]).await;
    it.server.stop().await;
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_gets_it() {
    let it = Forwarding::start(&[]).await;
    let receiver = Receiver::start(Manner::Asks(429, 600)).await;
    let sink = it.webhook("hook", &receiver).await;
    let mut producer = it.server.producer().await;
    it.server.send(&producer.seal(&[sample(1)])).await;
    eventually(async || it.health(&sink).await["last_error"] == "status 429").await;
    let next = it.health(&sink).await["next_attempt_at"].as_str().expect("a time").to_owned();
    let wait = next.parse::<chrono::DateTime<chrono::Utc>>().expect("a time") - chrono::Utc::now();
    assert!((580..=600).contains(&wait.num_seconds()), "{wait}");
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(receiver.got().len(), 1);
    // An admin does not have to wait.
    receiver.turn(Manner::Takes);
    it.act(&sink, "resume", &json!({})).await;
    eventually(async || receiver.numbers() == [1]).await;
    it.server.stop().await;
}

#[tokio::test]
async fn an_address_that_is_private_by_now_gets_nothing_and_its_health_says_why() {
    let it = Forwarding::start(&[]).await;
    let receiver = Receiver::start(Manner::Takes).await;
    // The name was public once, as far as anybody could see.
    let url = receiver.url("/").replace("127.0.0.1", "localhost");
    let sink =
        id(&it.make(json!({"kind": "otlp", "name": "moved", "url": url.replace("http:", "https:")})).await);
    let mut variables = it.variables.clone();
    variables.retain(|(name, _)| name != "EDGETRAIL__SINKS__ALLOW_PRIVATE");
    let it = Box::pin(Forwarding { variables, ..it }.restart()).await;
    let mut producer = it.server.producer().await;
    it.server.send(&producer.seal(&[sample(1)])).await;
    eventually(async || it.health(&sink).await["last_error"].is_string()).await;
    let health = it.health(&sink).await;
    assert_eq!(health["last_error"], "the address leads to an address that is not public", "{health}");
    assert!(receiver.got().is_empty());
    let tried: Value = it.act(&sink, "test", &json!({})).await;
    assert_eq!(tried["delivered"], false);
    it.server.stop().await;
}

#[tokio::test]
async fn an_event_that_was_damaged_in_the_database_keeps_back_nothing_that_follows_and_is_told() {
    let it = Forwarding::start(&[]).await;
    let receiver = Receiver::start(Manner::Takes).await;
    let sink = it.webhook("hook", &receiver).await;
    it.act(&sink, "pause", &json!({})).await;
    let mut producer = it.server.producer().await;
    let events: Vec<Event> = (1..5).map(sample).collect();
    it.server.send(&producer.seal(&events)).await;
    let damaged = events[1].id.uuid();
    let pool = sqlx::PgPool::connect_with(it.server.database.clone()).await.expect("connected");
    let edit = sqlx::query("update events set opening = '\\x00' where id = $1").bind(damaged);
    assert_eq!(edit.execute(&pool).await.expect("changed").rows_affected(), 1);
    pool.close().await;
    it.act(&sink, "resume", &json!({})).await;
    eventually(async || receiver.numbers().len() == 3).await;
    assert_eq!(receiver.numbers(), [1, 3, 4]);
    let told = it.server.eventually("&action=SINK_EVENTS_SKIPPED", 1).await;
    let details = &told[0]["details"];
    assert_eq!((&details["count"], &details["events"][0]["id"]), (&json!(1), &json!(damaged)), "{details}");
    it.server.send(&producer.seal(&[sample(5)])).await;
    eventually(async || receiver.numbers().len() == 4).await;
    assert_eq!(it.server.all("&action=SINK_EVENTS_SKIPPED").await.len(), 1, "said once");
    let metrics = it.server.call("GET", "/metrics").await.text();
    assert!(metrics.contains(&format!("edgetrail_sink_skipped_total{{sink=\"{sink}\"}} 1")), "{metrics}");
    it.server.stop().await;
}
