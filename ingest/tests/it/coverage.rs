//! How much of the traffic rules cover.

use serde_json::json;
use shared::event::JsonText;

use crate::support::{Server, counts};

const APP: &str = "app.example.com";

#[tokio::test]
async fn counts_of_the_edge_add_up_by_route_and_host() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let first = counts(1, APP, &[("GET", "/api/agents", true, 30), ("POST", "/api/new", false, 2)], 0);
    let second = counts(2, APP, &[("GET", "/api/agents", true, 5), ("POST", "/api/new", false, 3)], 10);
    let other = counts(3, "db.example.com", &[("PATCH", "/rest/v1/x", true, 50)], 0);
    let sealed = producer.seal(&[first, second, other]);
    assert_eq!(server.send(&sealed).await["stored"], 3);

    let coverage = server.get("/v1/coverage").await.json();
    let routes: Vec<_> = coverage["routes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|route| json!([route["host"], route["method"], route["route"], route["mapped"], route["count"]]))
        .collect();
    assert_eq!(
        routes,
        [
            json!(["db.example.com", "PATCH", "/rest/v1/x", true, 50]),
            json!([APP, "GET", "/api/agents", true, 35]),
            json!([APP, "POST", "/api/new", false, 5]),
        ]
    );
    let totals = &coverage["totals"];
    assert_eq!((&totals["requests"], &totals["percent_mapped"]), (&json!(100), &json!(85.0)));
    assert_eq!((&totals["requests_unlisted"], &totals["routes_unmapped"]), (&json!(10), &json!(1)));
    assert_eq!(totals["hosts"][APP]["percent_mapped"], json!(70.0));
    assert_eq!(totals["hosts"]["db.example.com"]["percent_mapped"], json!(100.0));

    let unmapped = server.get("/v1/coverage?mapped=false&host=app.example.com").await.json();
    assert_eq!(unmapped["routes"].as_array().map(Vec::len), Some(1));
    server.get("/v1/coverage?mapped=perhaps").await.problem(400);
    server.get("/v1/coverage?colour=red").await.problem(400);
    server.call("GET", "/v1/coverage").await.problem(401);
    server.stop().await;
}

#[tokio::test]
async fn a_repeated_batch_or_event_counts_once() {
    let server = Server::start().await;
    let mut producers = [server.producer().await, server.producer().await];
    let event = counts(1, APP, &[("POST", "/api/new", false, 7)], 0);
    let sealed = producers[0].seal(std::slice::from_ref(&event));
    server.send(&sealed).await;
    assert_eq!(server.send(&sealed).await["duplicate"], true);
    // The same event in another stream goes to quarantine and counts nothing.
    let item = server.send(&producers[1].seal(&[event])).await;
    assert_eq!(item["quarantined"].as_array().map(Vec::len), Some(1));
    let coverage = server.get("/v1/coverage").await.json();
    assert_eq!(coverage["routes"][0]["count"], 7);
    server.stop().await;
}

#[tokio::test]
async fn a_route_counts_as_mapped_once_a_rule_knows_it() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    server.send(&producer.seal(&[counts(1, APP, &[("POST", "/api/new", false, 9)], 0)])).await;
    server.send(&producer.seal(&[counts(2, APP, &[("POST", "/api/new", true, 1)], 0)])).await;
    let coverage = server.get("/v1/coverage").await.json();
    assert_eq!(coverage["routes"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&coverage["routes"][0]["mapped"], &coverage["routes"][0]["count"]),
        (&json!(true), &json!(10))
    );
    assert_eq!(coverage["totals"]["percent_mapped"], json!(10.0));
    server.stop().await;
}

#[tokio::test]
async fn counts_are_read_as_coverage_and_not_among_the_events() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let events = [counts(1, APP, &[("GET", "/", true, 1)], 0), crate::support::sample(2)];
    server.send(&producer.seal(&events)).await;
    for (filter, count) in
        [("", 1), ("&action=COVERAGE_RECORDED", 1), ("&action=coverage_*", 1), ("&entity=agent/2", 1)]
    {
        assert_eq!(server.all(filter).await.len(), count, "{filter}");
    }
    server.stop().await;
}

#[tokio::test]
async fn counts_that_make_no_sense_cost_nothing_else() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let long = "/x".repeat(2000);
    let mut event = counts(
        1,
        APP,
        &[
            ("GET", "/nul\0", true, 1),
            ("GET", &long, true, 1),
            ("GET", "/negative", true, -1),
            ("GET", "/much", true, i64::MAX),
            ("GET", "/good", true, 4),
        ],
        i64::MAX,
    );
    let mut details = event.details.as_ref().map(JsonText::value).expect("details");
    let rows = details["routes"].as_array_mut().expect("a list");
    rows.extend([json!(["GET", "/time", true, 1, 0, u64::MAX]), json!(["short"]), json!(7)]);
    event.details = Some(JsonText::from(&details));
    let mut nonsense = counts(2, APP, &[], 0);
    nonsense.details = Some(JsonText::from(&json!({"routes": "all", "host": 7})));
    assert_eq!(server.send(&producer.seal(&[event, nonsense])).await["stored"], 2);
    let coverage = server.get("/v1/coverage").await.json();
    assert_eq!(coverage["routes"].as_array().map(Vec::len), Some(1), "{coverage}");
    assert_eq!(coverage["totals"]["requests"], 4);
    server.stop().await;
}
