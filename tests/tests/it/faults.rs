//! Planted stops of the core: every response is the origin's, and every event is there or replaced.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tests::keys::Keys;
use tests::wire::{Call, send};

use crate::scene::{SOON, Scene, Setup, exchange};

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
