//! More than is allowed is held back, told, and taken when it comes again.

use std::time::Duration;

use serde_json::json;

use crate::support::{Server, eventually, sample};

#[tokio::test]
async fn a_batch_over_the_limit_is_429_and_taken_when_it_comes_again() {
    let server = Server::with(&[
        ("EDGETRAIL__LIMITS__SOURCE_EVENTS_PER_SECOND", "5"),
        ("EDGETRAIL__ACCOUNTING__SWEEP_MS", "30"),
    ])
    .await;
    let [mut producer, mut other] = [server.producer().await, server.producer().await];
    let burst: Vec<_> = (0..50).map(sample).collect();
    assert_eq!(server.send(&producer.seal(&burst)).await["status"], 200);

    let over: Vec<_> = (50..60).map(sample).collect();
    let over = producer.seal(&over);
    let reply = server.post(&over.frame()).await;
    assert_eq!(reply.status, 429);
    assert!(
        reply.head.contains("retry-after: 1\r\n") || reply.head.ends_with("retry-after: 1"),
        "{}",
        reply.head
    );
    let item = reply.json()[0].clone();
    assert_eq!((&item["status"], &item["problem"]["type"]), (&json!(429), &json!("/problems/rate-limited")));
    assert_eq!(server.all("&entity_type=agent").await.len(), burst.len());

    // Another source has a limit of its own, and its batch is taken beside the one that is held back.
    let mixed = [over.frame(), other.seal(&[sample(99)]).frame()].concat();
    let reply = server.post(&mixed).await;
    assert_eq!(reply.status, 200);
    assert_eq!((&reply.json()[0]["status"], &reply.json()[1]["status"]), (&json!(429), &json!(200)));

    eventually(async || !server.all("&action=RATE_LIMITED").await.is_empty()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let item = server.send(&over).await;
    assert_eq!((&item["status"], &item["stored"]), (&json!(200), &json!(10)));
    let told = server.all("&action=RATE_LIMITED").await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["entity"]["id"], "demo");
    assert!(told[0]["details"]["refused_batches"].as_u64().is_some_and(|n| (1..=2).contains(&n)));
    assert!(told[0]["details"]["since"].is_string());
    server.stop().await;
}

#[tokio::test]
async fn a_tenants_limit_holds_over_its_sources_and_not_for_our_own_events() {
    let server = Server::with(&[
        ("EDGETRAIL__LIMITS__TENANT_EVENTS_PER_SECOND", "1"),
        ("EDGETRAIL__ACCOUNTING__SWEEP_MS", "30"),
    ])
    .await;
    let [mut one, mut other] = [server.producer().await, server.producer().await];
    let many: Vec<_> = (0..100).map(sample).collect();
    assert_eq!(server.send(&one.seal(&many)).await["status"], 200);
    assert_eq!(server.send(&other.seal(&[sample(100)])).await["status"], 429);
    eventually(async || server.all("&action=RATE_LIMITED").await.len() == 1).await;
    server.stop().await;
}

#[tokio::test]
async fn a_reader_who_asks_too_much_waits_and_nobody_else_does() {
    let server = Server::with(&[("EDGETRAIL__LIMITS__READER_REQUESTS_PER_SECOND", "1")]).await;
    let mut answers = Vec::new();
    for _ in 0..12 {
        answers.push(server.get("/v1/events").await);
    }
    assert!(answers[..10].iter().all(|answer| answer.status == 200), "ten seconds may come at once");
    let refused = answers.iter().find(|answer| answer.status == 429).expect("too many at last");
    assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
    assert_eq!(refused.json()["type"], "/problems/too-many-requests");
    assert_eq!(server.get_as_admin("/v1/events").await.status, 200);
    let page = server.get("/").await;
    assert!(page.status == 429 && page.head.contains("text/html"), "{}", page.text());
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(server.get("/v1/events").await.status, 200);
    server.stop().await;
}
