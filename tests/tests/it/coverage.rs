//! Every request is counted, audited or not, and a count that was lost is told.

use std::collections::BTreeMap;

use axum::Router;
use axum::routing::any;
use serde_json::{Value, json};
use shared::event::{Event, Trust};
use tests::keys::Keys;
use tests::stack::DeliveryMode;
use tests::wire::{Call, Server};

use crate::scene::{Scene, Setup};
use crate::stage::{Stage, details};

/// Requests by method, route and whether a rule is about it.
fn counted(records: &[Value]) -> BTreeMap<(String, String, bool), u64> {
    let mut counts = BTreeMap::new();
    for record in records {
        for row in record["routes"].as_array().expect("routes") {
            let text = |at: usize| row[at].as_str().unwrap_or_default().to_owned();
            let key = (text(0), text(1), row[2].as_bool().expect("mapped or not"));
            *counts.entry(key).or_default() += row[3].as_u64().expect("a count");
        }
    }
    counts
}

fn details_of(events: &[Event]) -> Vec<Value> {
    events.iter().map(details).collect()
}

async fn stage(keys: &Keys, origin: &Server, bundle: &str) -> Stage {
    Stage::start(keys, origin.address(), DeliveryMode::Direct, bundle, |config| {
        config["coverage_seconds"] = json!(1);
    })
    .await
}

async fn origin() -> Server {
    Server::start(Router::new().fallback(any(async || "{}")), None).await.expect("a port")
}

#[tokio::test]
async fn every_request_is_counted_whether_a_rule_is_about_it_or_not() {
    let keys = Keys::generate();
    let origin = origin().await;
    let stage = stage(&keys, &origin, "edge").await;
    for n in 0..30 {
        stage.ask(&Call::new("GET", format!("/pages/{n}"))).await;
        stage.ask(&Call::new("PATCH", format!("/unknown/{n}"))).await;
        stage.ask(&Call::new("POST", "/things")).await;
    }
    let total = |events: &[Event]| counted(&details_of(events)).values().sum::<u64>();
    let events = stage.until("COVERAGE_RECORDED", |events| total(events) >= 90).await;
    let key = |method: &str, route: &str, mapped| (method.to_owned(), route.to_owned(), mapped);
    let wanted = BTreeMap::from([
        (key("GET", "/pages/{id}", false), 30),
        (key("PATCH", "/unknown/{id}", false), 30),
        (key("POST", "/things", true), 30),
    ]);
    assert_eq!(counted(&details_of(&events)), wanted);
    for event in &events {
        let details = details(event);
        assert_eq!((&details["host"], &details["resets"]), (&json!(stage.host), &json!(0)));
        assert!(details["until_ms"].as_u64() >= details["since_ms"].as_u64());
        assert_eq!(event.trust, Trust::System);
    }
}

#[tokio::test]
async fn counts_that_a_stop_of_the_core_took_with_it_are_told_as_a_reset() {
    let keys = Keys::generate();
    let origin = origin().await;
    let stage = stage(&keys, &origin, "edge-faults").await;
    stage.ask(&Call::new("POST", "/things?fault=inspect")).await;
    stage.only("CAPTURE_FAILED").await;
    stage.ask(&Call::new("GET", "/pages/1")).await;
    let resets = |events: &[Event]| -> u64 {
        events.iter().filter_map(|event| details(event)["resets"].as_u64()).sum()
    };
    stage.until("COVERAGE_RECORDED", |events| resets(events) == 1).await;
}

#[tokio::test]
async fn the_backend_has_every_request_of_both_hosts_in_its_counts_and_what_no_rule_names_as_events() {
    let keys = Keys::generate();
    let origin = origin().await;
    let upstream = format!("http://{}", origin.address());
    let adjust = Box::new(move |config: &mut tests::stack::EdgeConfig| {
        config.mounts[0].upstream.clone_from(&upstream);
        config.mounts[1].upstream = upstream;
        config.coverage_seconds = Some(1);
    });
    let scene = Scene::start(&keys, Vec::new(), Setup { adjust, ..Setup::default() }).await;
    for n in 0..15 {
        let calls = [("GET", "/api/agents"), ("POST", "/api/create-agent"), ("GET", "/pricing")];
        for (method, url) in calls {
            assert_eq!(scene.app(&Call::new(method, url)).await.status, 200);
        }
        assert_eq!(scene.app(&Call::new("DELETE", format!("/api/never-heard-of/{n}"))).await.status, 200);
        assert_eq!(scene.supabase(&Call::new("GET", "/rest/v1/agents?select=id")).await.status, 200);
    }
    let counts =
        |events: &[Value]| counted(&events.iter().map(|event| event["details"].clone()).collect::<Vec<_>>());
    let events = scene.until("COVERAGE_RECORDED", |events| counts(events).values().sum::<u64>() >= 75).await;
    let by_request: BTreeMap<(String, String), u64> =
        counts(&events).into_iter().fold(BTreeMap::new(), |mut all, ((method, route, _), count)| {
            *all.entry((method, route)).or_default() += count;
            all
        });
    let key = |method: &str, route: &str| (method.to_owned(), route.to_owned());
    for (method, route) in [
        ("GET", "/api/agents"),
        ("POST", "/api/create-agent"),
        ("GET", "/pricing"),
        ("DELETE", "/api/never-heard-of/{id}"),
    ] {
        assert_eq!(by_request.get(&key(method, route)), Some(&15), "{method} {route} of {by_request:?}");
    }
    assert_eq!(by_request.values().sum::<u64>(), 75, "{by_request:?}");
    let unmapped = scene.of_action("UNMAPPED_MUTATION", 15).await;
    assert_eq!(unmapped.len(), 15);
    for event in unmapped {
        assert_eq!(event["entity"], json!({"type": "route", "id": "/api/never-heard-of/{id}"}));
        assert_eq!(
            (&event["request"]["route"], &event["severity"]),
            (&json!("/api/never-heard-of/{id}"), &json!("info"))
        );
    }
}
