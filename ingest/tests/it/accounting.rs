//! What is missing of streams is noticed, once, and taken back when it arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ingest::account::Accountant;
use ingest::clock::{Clock, random};
use ingest::config;
use ingest::limits::Limits;
use serde_json::{Value, json};

use crate::support::{Producer, Server, eventually, sample};

const QUICK: [(&str, &str); 4] = [
    ("EDGETRAIL__LOG__INTERVAL_MS", "20"),
    ("EDGETRAIL__ACCOUNTING__SWEEP_MS", "30"),
    ("EDGETRAIL__ACCOUNTING__GAP_AFTER_MS", "1"),
    ("EDGETRAIL__ACCOUNTING__ENDED_AFTER_MS", "600000"),
];

/// The details of the events of an action, which a stream is named by.
async fn told(server: &Server, producer: &Producer, action: &str) -> Vec<Value> {
    let events = server.all(&format!("&action={action}&entity=stream/{}", producer.stream)).await;
    events.iter().map(|event| event["details"].clone()).collect()
}

async fn stream(server: &Server, producer: &Producer) -> Value {
    let list = server.get("/v1/streams").await.json();
    let streams = list["streams"].as_array().expect("a list");
    let name = producer.stream.to_string();
    streams.iter().find(|stream| stream["stream"] == name).expect("listed").clone()
}

/// Long enough for several sweeps.
async fn sweeps() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

#[tokio::test]
async fn a_gap_is_recorded_once_and_closed_by_a_late_arrival() {
    let server = Server::with(&QUICK).await;
    let mut producer = server.producer().await;
    let batches: Vec<_> = (0..4).map(|n| producer.seal(&[sample(n)])).collect();
    server.send(&batches[0]).await;
    server.send(&batches[3]).await;
    let gap = json!({"first_seq": 1, "last_seq": 2, "count": 2});
    eventually(async || told(&server, &producer, "EDGE_GAP").await == [gap.clone()]).await;
    sweeps().await;
    assert_eq!(told(&server, &producer, "EDGE_GAP").await.len(), 1);
    let seen = stream(&server, &producer).await;
    assert_eq!(seen["gaps"], json!([{"first_seq": 1, "last_seq": 2, "state": "open"}]));
    assert_eq!(
        json!([
            seen["state"],
            seen["tail"],
            seen["high_seq"],
            seen["batches"],
            seen["events"],
            seen["dropped"]
        ]),
        json!(["active", "open", 3, 2, 2, 0])
    );
    let events = server.all("&action=EDGE_GAP").await;
    assert_eq!(json!([events[0]["class"], events[0]["trust"]]), json!(["permanent", "system"]));

    // What arrives is taken back, and no more than that.
    server.send(&batches[2]).await;
    let closed = |seq| json!({"first_seq": seq, "last_seq": seq, "count": 1});
    eventually(async || told(&server, &producer, "EDGE_GAP_CLOSED").await == [closed(2)]).await;
    server.send(&batches[1]).await;
    eventually(async || told(&server, &producer, "EDGE_GAP_CLOSED").await.len() == 2).await;
    sweeps().await;
    assert_eq!(told(&server, &producer, "EDGE_GAP_CLOSED").await, [closed(1), closed(2)]);
    assert_eq!(told(&server, &producer, "EDGE_GAP").await.len(), 1);
    let states = stream(&server, &producer).await["gaps"].clone();
    assert_eq!(states[0]["state"], "closed");
    assert_eq!(states[1]["state"], "closed");
    server.stop().await;
}

#[tokio::test]
async fn a_young_hole_is_not_recorded() {
    let mut settings = QUICK;
    settings[2].1 = "600000";
    let server = Server::with(&settings).await;
    let mut producer = server.producer().await;
    producer.seq = 5;
    server.send(&producer.seal(&[sample(1)])).await;
    sweeps().await;
    assert!(told(&server, &producer, "EDGE_GAP").await.is_empty());
    assert_eq!(stream(&server, &producer).await["gaps"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn the_highest_place_of_a_stream_costs_nothing() {
    let server = Server::with(&QUICK).await;
    let mut producer = server.producer().await;
    producer.seq = i64::MAX as u64 - 1;
    producer.dropped = i64::MAX as u64;
    for n in 0..2 {
        assert_eq!(server.send(&producer.seal(&[sample(n)])).await["status"], 200);
    }
    eventually(async || told(&server, &producer, "EDGE_GAP").await.len() == 1).await;
    let seen = stream(&server, &producer).await;
    assert_eq!(json!([seen["high_seq"], seen["dropped"]]), json!([i64::MAX, i64::MAX]));
    server.stop().await;
}

#[tokio::test]
async fn what_a_producer_dropped_is_recorded_once_for_each_batch() {
    let server = Server::with(&QUICK).await;
    let mut producer = server.producer().await;
    producer.dropped = 3;
    let first = producer.seal(&[sample(1)]);
    producer.dropped = 0;
    let second = producer.seal(&[sample(2)]);
    producer.dropped = 4;
    let third = producer.seal(&[sample(3)]);
    for sealed in [&first, &second, &third, &first] {
        assert_eq!(server.send(sealed).await["status"], 200);
    }
    eventually(async || told(&server, &producer, "EVENTS_DROPPED").await.len() == 2).await;
    sweeps().await;
    let told = told(&server, &producer, "EVENTS_DROPPED").await;
    let told: BTreeMap<u64, u64> =
        told.iter().filter_map(|drop| Some((drop["seq"].as_u64()?, drop["count"].as_u64()?))).collect();
    assert_eq!(told, BTreeMap::from([(0, 3), (2, 4)]));
    assert_eq!(stream(&server, &producer).await["dropped"], 7);
    server.stop().await;
}

#[tokio::test]
async fn a_silent_stream_has_ended_and_nobody_knows_its_tail() {
    let mut settings = QUICK;
    settings[3].1 = "500";
    let server = Server::with(&settings).await;
    let mut producer = server.producer().await;
    server.send(&producer.seal(&[sample(1)])).await;
    assert_eq!(stream(&server, &producer).await["state"], "active");
    let ended = |last| json!({"last_seq": last, "tail": "unknown"});
    eventually(async || told(&server, &producer, "STREAM_ENDED").await == [ended(0)]).await;
    let seen = stream(&server, &producer).await;
    assert_eq!((&seen["state"], &seen["tail"]), (&json!("ended"), &json!("unknown")));

    // Our own stream carried that and falls silent too, without a word.
    eventually(async || {
        let list = server.get("/v1/streams").await.json();
        let streams = list["streams"].as_array().expect("a list").clone();
        streams.len() == 2 && streams.iter().all(|stream| stream["state"] == "ended")
    })
    .await;
    assert_eq!(server.all("&action=STREAM_ENDED").await.len(), 1);

    // Who speaks again is active again.
    server.send(&producer.seal(&[sample(2)])).await;
    assert_eq!(stream(&server, &producer).await["state"], "active");
    eventually(async || told(&server, &producer, "STREAM_ENDED").await == [ended(1), ended(0)]).await;
    server.stop().await;
}

#[tokio::test]
async fn several_processes_record_each_finding_once() {
    let mut settings = QUICK;
    settings[1].1 = "600000";
    let server = Server::with(&settings).await;
    let mut producer = server.producer().await;
    producer.seq = 1;
    producer.dropped = 2;
    server.send(&producer.seal(&[sample(1)])).await;
    let accountant = || Accountant {
        store: server.store.clone(),
        recorder: server.recorder.clone(),
        limits: Limits::new(config::Limits::default()),
        clock: Clock::system(),
        ages: config::Accounting {
            gap_after: Duration::ZERO,
            ended_after: Duration::ZERO,
            intent_after: Duration::ZERO,
            sweep: Duration::ZERO,
        },
    };
    let [one, other, third] = [accountant(), accountant(), accountant()];
    for _ in 0..5 {
        let all = tokio::join!(one.sweep(), other.sweep(), third.sweep());
        assert!(all.0.is_ok() && all.1.is_ok() && all.2.is_ok(), "{all:?}");
    }
    for action in ["EDGE_GAP", "EVENTS_DROPPED", "STREAM_ENDED"] {
        assert_eq!(told(&server, &producer, action).await.len(), 1, "{action}");
    }
    server.stop().await;
}

#[tokio::test]
async fn gaps_are_what_a_recount_finds_whatever_the_order_of_arrival() {
    let server = Server::with(&QUICK).await;
    let producers = [server.producer().await, server.producer().await, server.producer().await];
    for mut producer in producers {
        let mut batches: Vec<_> = (0..60).map(|n| (n, producer.seal(&[sample(n)]))).collect();
        let key = || u64::from_be_bytes(random());
        batches.sort_by_cached_key(|_| key());
        let lost = usize::try_from(key() % 20).expect("small");
        batches.truncate(60 - lost);
        let mut arrived = BTreeSet::new();
        for (seq, sealed) in &batches {
            assert_eq!(server.send(sealed).await["status"], 200);
            arrived.insert(*seq);
        }
        let high = *arrived.last().expect("some");
        let missing: BTreeSet<u64> = (0..high).filter(|seq| !arrived.contains(seq)).collect();
        let open = async || -> BTreeSet<u64> {
            let seen = stream(&server, &producer).await;
            let gaps = seen["gaps"].as_array().expect("a list").clone();
            gaps.iter().filter(|gap| gap["state"] == "open").flat_map(places).collect()
        };
        eventually(async || open().await == missing).await;
        sweeps().await;
        assert_eq!(open().await, missing);
        // The log says the same: what was told missing, less what was taken back, each once.
        let all = async |action| -> Vec<u64> {
            let told = told(&server, &producer, action).await;
            told.iter().flat_map(places).collect()
        };
        let (mut gone, back) = (all("EDGE_GAP").await, all("EDGE_GAP_CLOSED").await);
        for seq in back {
            let at = gone.iter().position(|gone| *gone == seq).expect("told missing before");
            gone.swap_remove(at);
        }
        gone.sort_unstable();
        assert_eq!(gone, missing.into_iter().collect::<Vec<_>>());
    }
    server.stop().await;
}

fn places(range: &Value) -> std::ops::RangeInclusive<u64> {
    let end = |name: &str| range[name].as_u64().expect("a number");
    end("first_seq")..=end("last_seq")
}
