//! A served policy is in force soon after it is served; one that may not be leaves the last good one in force.

use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::any;
use ed25519_dalek::Signer as _;
use serde_json::{Value, json};
use tests::keys::Keys;
use tests::stack::{DeliveryMode, SigningKey};
use tests::wire::{Call, Server};

use crate::scene::SOON;
use crate::stage::Stage;

/// A policy that names what no compiled-in rule names.
fn policy(action: &str, more: &Value) -> Value {
    let mut rule = json!({"id": "new", "match": {"method": "POST", "path": "/new"}, "level": "metadata",
        "action": action, "severity": "info", "entity": {"type": "thing"}});
    rule.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    json!({"packs": [{"name": "more", "version": 1, "extends": "t", "rules": [rule]}]})
}

fn signed(key: &SigningKey, tenant: &str, version: u64, policy: &Value) -> Option<(String, String)> {
    let text = format!("edgetrail-policy/v1\ntenant {tenant}\nversion {version}\n{policy}\n");
    let signature = ed25519_dalek::SigningKey::from_bytes(&key.signer.seed).sign(text.as_bytes());
    let note = shared::note::assemble(&text, &key.signer.name, key.signer.id, &signature.to_bytes());
    Some((format!("\"{tenant}-{version}-{action}\"", action = policy.to_string().len()), note))
}

/// What a request is recorded as now.
async fn recorded(stage: &Stage, wanted: &str, seen: usize) -> bool {
    stage.ask(&Call::new("POST", "/new")).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    stage.events(wanted).len() > seen
}

async fn comes_into_force(stage: &Stage, action: &str) {
    let start = Instant::now();
    while !recorded(stage, action, 0).await {
        assert!(start.elapsed() < SOON, "{action} is not in force\n{}", stage.worker.output());
    }
}

#[tokio::test]
async fn a_served_policy_comes_into_force_and_a_bad_one_does_not() {
    let keys = Keys::generate();
    let origin = Server::start(Router::new().fallback(any(async || "{}")), None).await.expect("a port");
    let trusted = SigningKey::generate();
    let verifier = trusted.verifier.to_string();
    let stage = Stage::start(&keys, origin.address(), DeliveryMode::Direct, "edge-faults", |config| {
        config["policy"] = json!({"keys": [verifier], "every_ms": 300});
    })
    .await;
    assert!(recorded(&stage, "UNMAPPED_MUTATION", 0).await, "no rule names it");
    stage.held().policy = signed(&trusted, "demo", 5, &policy("FIRST", &json!({})));
    comes_into_force(&stage, "FIRST").await;
    stage.held().policy = signed(&trusted, "demo", 7, &policy("SECOND", &json!({})));
    comes_into_force(&stage, "SECOND").await;
    let stranger = SigningKey::generate();
    let bad = [
        signed(&stranger, "demo", 8, &policy("STRANGE", &json!({}))),
        signed(&trusted, "other", 9, &policy("OF_ANOTHER", &json!({}))),
        signed(&trusted, "demo", 6, &policy("OLDER", &json!({}))),
        signed(&trusted, "demo", 10, &policy("CLOSED", &json!({"fail": "closed"}))),
        signed(&trusted, "demo", 11, &policy("LEAKY", &json!({"details": {"p": "request:/password"}}))),
        signed(&trusted, "demo", 12, &json!({"packs": []})),
        Some(("\"nothing\"".to_owned(), "not a note".to_owned())),
    ];
    for (at, bad) in bad.into_iter().enumerate() {
        stage.held().policy = bad;
        let questions = stage.held().questions.len();
        // Asked for more than once, so that a refusal has had its time.
        while stage.held().questions.len() < questions + 3 {
            stage.ask(&Call::new("GET", "/page")).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let seen = stage.events("SECOND").len();
        assert!(recorded(&stage, "SECOND", seen).await, "{at}: the last good one stays in force");
        let told = stage.worker.output().matches("was not picked up").count();
        assert_eq!(told, at + 1, "{at}: a refusal is told once\n{}", stage.worker.output());
    }
    stage.ask(&Call::new("POST", "/new?fault=inspect")).await;
    stage.until("CAPTURE_FAILED", |events| events.len() == 1).await;
    let seen = stage.events("SECOND").len();
    assert!(recorded(&stage, "SECOND", seen).await, "a reset of the core does not lose it");
    for action in ["STRANGE", "OF_ANOTHER", "OLDER", "CLOSED", "LEAKY"] {
        assert!(stage.events(action).is_empty(), "{action}");
    }
}
