//! What the operator's own variables make of the same request.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::routing::{get, post, put};
use serde_json::json;
use shared::event::{BodyState, Event};
use tests::keys::{Alg, ISSUER, Keys};
use tests::stack::DeliveryMode;
use tests::wire::{Call, Server};

use crate::stage::Stage;

#[tokio::test]
async fn a_shadow_records_that_it_happened_and_looks_at_no_body_and_asks_for_no_old_side() {
    let keys = Keys::generate();
    let old_sides = Arc::new(Mutex::new(0));
    let asked = Arc::clone(&old_sides);
    let old = async move || {
        *asked.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        r#"{"name":"old"}"#
    };
    let router = Router::new()
        .route("/old/{id}", get(old))
        .route("/things/{id}", put(async || r#"{"name":"new"}"#))
        .route("/act", post(async || "done"));
    let origin = Server::start(router, None).await.expect("a port");
    let stage = Stage::start(&keys, origin.address(), DeliveryMode::Direct, "edge", |config| {
        config["shadow"] = json!(true);
    })
    .await;
    let change = Call::new("PUT", "/things/7").json(&json!({"name": "new"}));
    assert_eq!(stage.ask(&change).await.text(), r#"{"name":"new"}"#);
    assert_eq!(stage.ask(&Call::new("POST", "/act?n=1")).await.status, 200);
    let (changed, acted) = (stage.only("THING_CHANGED").await, stage.only("ACTED").await);
    assert_eq!(
        changed.entity.and_then(|entity| entity.id).as_deref(),
        Some("7"),
        "the request line is known"
    );
    assert_eq!(
        (changed.request.request_body, changed.request.response_body),
        (BodyState::Absent, BodyState::Absent)
    );
    assert!(
        changed.changes.is_none_or(|changes| changes.fields.value() == json!({})),
        "nothing of the bodies"
    );
    assert_eq!(*old_sides.lock().unwrap_or_else(PoisonError::into_inner), 0);
    assert_eq!(acted.details, None, "no intent went before it");
    assert!(stage.events("INTENT_RECORDED").is_empty());
}

#[tokio::test]
async fn a_token_that_names_no_session_gets_one_that_is_the_same_for_the_same_token_and_is_no_piece_of_it() {
    let keys = Keys::generate();
    let router = Router::new().route("/things", post(async || r#"{"id":"1"}"#));
    let origin = Server::start(router, None).await.expect("a port");
    let stage = Stage::start(&keys, origin.address(), DeliveryMode::Direct, "edge", |_| {}).await;
    let exp = tests::clock::unix_now() + 3_600;
    let token = |sub: &str| {
        keys.sign(
            &json!({"iss": ISSUER, "sub": sub, "aud": "authenticated", "role": "authenticated", "exp": exp}),
            Alg::Hs256,
        )
    };
    let (alice, bob) = (token("alice"), token("bob"));
    for token in [&alice, &alice, &bob] {
        let call = Call::new("POST", "/things").header("authorization", format!("Bearer {token}"));
        assert_eq!(stage.ask(&call).await.status, 200);
    }
    let events = stage.until("THING_MADE", |events| events.len() == 3).await;
    let of = |who: &str| -> Vec<String> {
        let is = |event: &&Event| event.actor.as_ref().is_some_and(|actor| actor.id == who);
        events.iter().filter(is).filter_map(|event| event.context.session.clone()).collect()
    };
    let (of_alice, of_bob) = (of("alice"), of("bob"));
    assert_eq!((of_alice.len(), of_bob.len()), (2, 1));
    assert!(of_alice[0] == of_alice[1] && of_alice[0] != of_bob[0]);
    for session in of_alice.iter().chain(&of_bob) {
        let hash = session.strip_prefix("hmac:").expect("a keyed hash");
        assert!(hash.len() == 16 && !alice.contains(hash) && !bob.contains(hash));
    }
}
