//! The old side of a change is read before the request goes on, and costs no more than its budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use futures_util::stream;
use serde_json::json;
use shared::event::Quality;
use tests::keys::Keys;
use tests::stack::DeliveryMode;
use tests::wire::{Call, Server};

use crate::scene::alices_token;
use crate::stage::Stage;

/// Far over the budget of 150 ms, and far under what the slow answers take, on a loaded machine.
const NOT_DELAYED: Duration = Duration::from_millis(900);

/// Has old sides that are there, late, late in the middle of their body, and not there. It counts who asked.
async fn origin(reads: Arc<AtomicUsize>) -> Server {
    let old = async move |Path(id): Path<String>, headers: HeaderMap| -> Response {
        reads.fetch_add(1, Ordering::Relaxed);
        assert!(headers.contains_key("authorization"), "it is read with the caller's own credentials");
        match id.as_str() {
            "here" => json!({"name": "Old"}).to_string().into_response(),
            "late" => {
                tokio::time::sleep(Duration::from_secs(2)).await;
                json!({"name": "Old"}).to_string().into_response()
            }
            "drip" => {
                let parts = stream::unfold(0, async |part| {
                    tokio::time::sleep(Duration::from_secs(part)).await;
                    let bytes = [r#"{"name":"#, r#""Old"}"#].get(usize::try_from(part).ok()?)?;
                    Some((Ok::<_, std::io::Error>(Bytes::from_static(bytes.as_bytes())), part + 1))
                });
                Body::from_stream(parts).into_response()
            }
            _ => axum::http::StatusCode::NOT_FOUND.into_response(),
        }
    };
    let router = Router::new()
        .route("/old/{id}", get(old))
        .route("/things/{id}", put(async || r#"{"ok":true}"#))
        .route("/things", post(async || r#"{"id":"new"}"#));
    Server::start(router, None).await.expect("a port")
}

#[tokio::test]
async fn a_change_says_from_what_and_an_old_side_that_is_late_delays_nobody() {
    let keys = Keys::generate();
    let reads = Arc::new(AtomicUsize::new(0));
    let origin = origin(Arc::clone(&reads)).await;
    let stage = Stage::start(&keys, origin.address(), DeliveryMode::Direct, "edge", |_| {}).await;
    let bearer = format!("Bearer {}", alices_token(&keys));
    // The first request of an instance compiles the core.
    let made = Call::new("POST", "/things").header("authorization", bearer.clone());
    assert_eq!(stage.ask(&made.json(&json!({}))).await.status, 200);
    assert_eq!(reads.load(Ordering::Relaxed), 0, "no rule asks for an old side of what is made");
    for (at, id) in ["here", "late", "drip", "missing"].into_iter().enumerate() {
        let call = Call::new("PUT", format!("/things/{id}")).header("authorization", bearer.clone());
        let start = Instant::now();
        let answer = stage.ask(&call.json(&json!({"name": "New"}))).await;
        let took = start.elapsed();
        assert_eq!((answer.status, answer.text()), (200, r#"{"ok":true}"#.to_owned()), "{id}");
        assert!(took < NOT_DELAYED, "{id}: {took:?}");
        assert_eq!(reads.load(Ordering::Relaxed), at + 1, "{id}: one read");
    }
    let events = stage.until("THING_CHANGED", |events| events.len() == 4).await;
    for event in events {
        let id = event.entity.as_ref().and_then(|entity| entity.id.clone()).expect("an id");
        let changes = event.changes.as_ref().expect("changes");
        let (quality, fields) = match id.as_str() {
            "here" => (Quality::Exact, json!({"name": {"from": "Old", "to": "New"}})),
            _ => (Quality::Partial, json!({"name": {"to": "New"}})),
        };
        assert_eq!((changes.quality, changes.fields.value()), (quality, fields), "{id}");
    }
}
