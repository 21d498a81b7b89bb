//! What a rule that fails otherwise than open does to a request, and what is left when everything stops.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, RawQuery};
use axum::routing::{delete, post};
use serde_json::json;
use shared::event::Outcome;
use tests::keys::Keys;
use tests::stack::DeliveryMode;
use tests::wire::{Call, Server, send};

use crate::scene::{SOON, Scene, Setup};
use crate::stage::{Health, Stage, details};

/// The queries of all requests that reached the origin.
type Reached = Arc<Mutex<Vec<String>>>;

async fn origin() -> (Server, Reached) {
    let reached = Reached::default();
    let log = Arc::clone(&reached);
    let answer = async move |RawQuery(query): RawQuery| {
        log.lock().unwrap_or_else(PoisonError::into_inner).push(query.unwrap_or_default());
        "done"
    };
    let router = Router::new().route("/act", post(answer.clone())).route("/strict", post(answer));
    (Server::start(router, None).await.expect("a port"), reached)
}

fn queries(reached: &Reached) -> Vec<String> {
    reached.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

#[tokio::test]
async fn an_act_names_the_intent_that_went_before_it() {
    let keys = Keys::generate();
    let (origin, _) = origin().await;
    let stage = Stage::start(&keys, origin.address(), DeliveryMode::Direct, "edge", |_| {}).await;
    assert_eq!(stage.ask(&Call::new("POST", "/act?n=1")).await.status, 200);
    let (act, intent) = (stage.only("ACTED").await, stage.only("INTENT_RECORDED").await);
    assert_eq!((intent.outcome, details(&intent)), (Outcome::Unknown, json!({"action": "ACTED"})));
    assert_eq!(details(&act), json!({"intent": intent.id.to_string()}));
}

#[tokio::test]
async fn an_intent_that_cannot_be_recorded_in_two_seconds_lets_the_act_pass_and_says_so() {
    let keys = Keys::generate();
    let (origin, reached) = origin().await;
    let stage = Stage::start(&keys, origin.address(), DeliveryMode::Direct, "edge", |_| {}).await;
    for health in [Health::Silent, Health::Down] {
        stage.held().health = health;
        let start = Instant::now();
        assert_eq!(stage.ask(&Call::new("POST", format!("/act?n={health:?}"))).await.status, 200);
        let took = start.elapsed();
        assert!(took > Duration::from_millis(1_900) && took < Duration::from_secs(4), "{health:?}: {took:?}");
    }
    assert_eq!(queries(&reached), ["n=Silent", "n=Down"]);
    stage.held().health = Health::Up;
    for act in stage.until("ACTED", |events| events.len() == 2).await {
        assert_eq!(details(&act)["intent_durable"], json!(false));
    }
}

#[tokio::test]
async fn without_its_record_a_request_that_must_have_one_never_reaches_the_origin() {
    let keys = Keys::generate();
    let (origin, reached) = origin().await;
    let stage = Stage::start(&keys, origin.address(), DeliveryMode::Direct, "edge", |_| {}).await;
    stage.held().health = Health::Down;
    let strict = Call::new("POST", "/strict?mode=strict");
    let refused = stage.ask(&strict).await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    assert!(refused.text().contains("audit-unavailable"), "{}", refused.text());
    assert_eq!(queries(&reached), Vec::<String>::new());
    assert_eq!(
        stage.ask(&Call::new("POST", "/strict?mode=loose")).await.status,
        200,
        "another rule's request"
    );
    stage.held().health = Health::Up;
    let start = Instant::now();
    while stage.ask(&strict).await.status != 200 {
        assert!(start.elapsed() < SOON, "it passes once the backend is back");
    }
    assert_eq!(queries(&reached), ["mode=loose", "mode=strict"]);
}

#[tokio::test]
async fn the_operator_has_the_last_word_on_what_fails_how() {
    let keys = Keys::generate();
    let (origin, reached) = origin().await;
    let stage = Stage::start(&keys, origin.address(), DeliveryMode::Direct, "edge", |config| {
        config["mounts"][0]["fail"] = json!({"t/act": "closed", "t/strict": "open"});
    })
    .await;
    stage.held().health = Health::Down;
    assert_eq!(stage.ask(&Call::new("POST", "/act?n=1")).await.status, 503);
    assert_eq!(stage.ask(&Call::new("POST", "/strict?mode=strict")).await.status, 200);
    assert_eq!(queries(&reached), ["mode=strict"]);
}

#[tokio::test]
async fn whenever_the_worker_is_killed_every_act_that_the_origin_saw_has_an_intent() {
    let keys = Keys::generate();
    let (origin, reached) = origin().await;
    let mut stage = Stage::start(&keys, origin.address(), DeliveryMode::Queue, "edge", |_| {}).await;
    let mut next = 0;
    for round in 0..3 {
        let (address, host) = (stage.worker.address(), stage.host.clone());
        let calls = (0..6).map(|lane| {
            let (host, first) = (host.clone(), next + lane * 1_000);
            tokio::spawn(async move {
                for n in first..first + 1_000 {
                    if send(address, &host, &Call::new("POST", format!("/act?n={n}"))).await.is_err() {
                        return;
                    }
                }
            })
        });
        let calls: Vec<_> = calls.collect();
        next += 6_000;
        tokio::time::sleep(Duration::from_millis(700 + 130 * round)).await;
        stage.worker.kill9();
        for call in calls {
            call.await.expect("no answer is not a failure of the test");
        }
        stage.worker.restart().await.expect("it starts after a kill");
    }
    let acts: BTreeSet<String> = queries(&reached).iter().map(|query| query.replace("n=", "")).collect();
    assert!(acts.len() > 10, "{} acts", acts.len());
    let names = |events: &[shared::event::Event]| -> BTreeSet<String> {
        events.iter().filter_map(|event| event.entity.as_ref()?.id.clone()).collect()
    };
    let intents = stage.until("INTENT_RECORDED", |events| acts.is_subset(&names(events))).await;
    let recorded = stage.events("ACTED");
    assert!(recorded.len() <= intents.len(), "what is left are acts of unknown outcome");
}

/// An application whose deletions take a while, and the ids of those that it saw.
async fn slow_application(takes: Duration) -> (Server, Reached) {
    let reached = Reached::default();
    let log = Arc::clone(&reached);
    let answer = async move |Path(id): Path<String>| {
        log.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        tokio::time::sleep(takes).await;
        r#"{"success":true}"#
    };
    let router = Router::new().route("/api/agents/{id}", delete(answer));
    (Server::start(router, None).await.expect("a port"), reached)
}

/// The whole stack, in which deletions of agents fail in this way.
async fn scene_with(keys: &Keys, application: &Server, mode: DeliveryMode, fail: &'static str) -> Scene {
    let upstream = format!("http://{}", application.address());
    let adjust = Box::new(move |config: &mut tests::stack::EdgeConfig| {
        config.mounts[0].upstream = upstream;
        config.mounts[0].fail = [("app/agent.delete".to_owned(), fail.to_owned())].into();
    });
    Scene::start(keys, Vec::new(), Setup { mode, adjust, ..Setup::default() }).await
}

#[tokio::test]
async fn c19_with_the_backend_killed_a_deletion_that_must_be_audited_does_not_happen() {
    let keys = Keys::generate();
    let (application, reached) = slow_application(Duration::ZERO).await;
    let mut scene = scene_with(&keys, &application, DeliveryMode::Direct, "closed").await;
    scene.ingest.kill9();
    let refused = scene.app(&Call::new("DELETE", "/api/agents/1")).await;
    assert_eq!((refused.status, refused.header("content-type")), (503, Some("application/problem+json")));
    assert!(refused.text().contains("audit-unavailable"), "{}", refused.text());
    assert_eq!(queries(&reached), Vec::<String>::new(), "the application knows nothing of it");

    scene.ingest.restart().await.expect("it starts after a kill");
    let start = Instant::now();
    while scene.app(&Call::new("DELETE", "/api/agents/2")).await.status != 200 {
        assert!(start.elapsed() < SOON, "it passes once the backend is back");
    }
    assert_eq!(queries(&reached), ["2"]);
    let is_done = |event: &&serde_json::Value| event["outcome"] == "success";
    let acts = scene.until("AGENT_DELETED", |events| events.iter().any(|event| is_done(&event))).await;
    let act = acts.iter().find(is_done).expect("it was waited for");
    let intents = scene.of_action("INTENT_RECORDED", 1).await;
    let intent = intents.iter().find(|intent| intent["id"] == act["details"]["intent"]);
    assert_eq!(intent.expect("the act names it")["details"]["action"], "AGENT_DELETED");
    assert!(act["occurred_at"].as_str() >= intent.expect("as before")["occurred_at"].as_str());
}

#[tokio::test]
async fn a_worker_that_is_killed_in_the_middle_of_twenty_slow_acts_leaves_an_intent_of_each() {
    let keys = Keys::generate();
    let (application, reached) = slow_application(Duration::from_secs(20)).await;
    let mut scene = scene_with(&keys, &application, DeliveryMode::Queue, "intent").await;
    let (address, host) = (scene.worker.address(), scene.config.app_host());
    let calls: Vec<_> = (0..20)
        .map(|n| {
            let host = host.clone();
            tokio::spawn(async move {
                send(address, &host, &Call::new("DELETE", format!("/api/agents/a{n}"))).await
            })
        })
        .collect();
    let start = Instant::now();
    while queries(&reached).len() < 10 {
        assert!(start.elapsed() < SOON, "they reach the application");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    scene.worker.kill9();
    for call in calls {
        assert!(call.await.expect("it ends").is_err(), "nobody got an answer");
    }
    scene.worker.restart().await.expect("it starts after a kill");
    let acts: BTreeSet<String> = queries(&reached).into_iter().collect();
    let named = |events: &[serde_json::Value]| -> BTreeSet<String> {
        events.iter().filter_map(|event| event["entity"]["id"].as_str().map(str::to_owned)).collect()
    };
    let intents = scene.until("INTENT_RECORDED", |events| acts.is_subset(&named(events))).await;
    assert!(intents.iter().all(|intent| intent["outcome"] == "unknown" && intent["reason"] == "intent"));
}
