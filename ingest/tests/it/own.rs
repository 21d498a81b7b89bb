//! The backend's own events: in the same log, under the same rules as everybody's.

use ingest::own::OwnEvent;
use serde_json::{Value, json};
use shared::event::{Severity, Timestamp};

use crate::support::{Dial, Server, tenant};

fn found(tenant_name: &str, n: usize) -> OwnEvent {
    let at = Timestamp::from(chrono::Utc::now());
    let about = format!("stream-{n}");
    OwnEvent {
        severity: Severity::Critical,
        details: Some(json!({"n": n, "filling": "x ".repeat(2_000)})),
        ..OwnEvent::new(&tenant(tenant_name), "EDGE_GAP", "ingest/account", at, "stream", &about)
    }
}

#[tokio::test]
async fn what_the_backend_finds_is_an_event_of_its_own_signed_stream() {
    let server = Server::start().await;
    let mut events: Vec<OwnEvent> = (0..60).map(|n| found("demo", n)).collect();
    events.push(found("other", 60));
    let ids = server.recorder.record(events).await.expect("durable");
    assert_eq!(ids.len(), 61);

    let first: Value = server.get(&format!("/v1/events/{}", ids[0])).await.json();
    assert_eq!((&first["action"], &first["severity"]), (&json!("EDGE_GAP"), &json!("critical")));
    assert_eq!((&first["trust"], &first["actor"]["id"]), (&json!("system"), &json!("edgetrail")));
    assert_eq!(first["entity"], json!({"type": "stream", "id": "stream-0"}));
    assert_eq!(first["request"]["rule"], "ingest/account");
    let all = server.get("/v1/events?limit=100").await.json();
    assert_eq!(all["events"].as_array().map(Vec::len), Some(60), "those of the other tenant are not shown");

    server.recorder.record(vec![found("demo", 61)]).await.expect("the stream goes on");
    let quarantine = server.get_as_admin("/v1/quarantine").await.json();
    assert_eq!(quarantine.to_string().matches("reason").count(), 0, "{quarantine}");
    server.stop().await;
}

#[tokio::test]
async fn a_record_that_the_store_sets_aside_counts_as_none() {
    let dial = Dial::new(chrono::Utc::now());
    let server = Server::at(&dial).await;
    // No month was made so far ahead.
    dial.turn(chrono::Utc::now() + chrono::TimeDelta::days(200));
    let at = dial.clock().now();
    let late =
        OwnEvent::new(&tenant("demo"), "RETENTION_DROP", "ingest/retention", at, "partition", "2026-01");
    let error = server.recorder.record(vec![late]).await.expect_err("nobody could find it");
    assert!(error.to_string().contains("refused"), "{error}");
    dial.turn(chrono::Utc::now());
    server.recorder.record(vec![found("demo", 1)]).await.expect("the next one is recorded");
    server.stop().await;
}
