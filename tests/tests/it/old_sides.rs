//! The shipped rules tell from what to what an agent was changed: the row is read from the project, as the caller.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use serde_json::{Value, json};
use tests::keys::Keys;
use tests::stack::Supabase;
use tests::wire::{Call, Server};

use crate::scene::{Scene, Setup, alices_token};

const AGENT: &str = "822ea53d-eb27-4f01-948b-dbaa0680b6f6";
const PUBLISHABLE: &str = "sb_publishable_for_tests";

/// Far over the budget of 150 ms, and far under the second that a slow project takes, on a loaded machine.
const NOT_DELAYED: Duration = Duration::from_millis(700);

/// The reads of the project: path with query, and the two credentials.
type Reads = Arc<Mutex<Vec<(String, String, String)>>>;

/// A project that answers with the agent's row after a while.
async fn project(reads: &Reads, after: Duration) -> Server {
    let log = Arc::clone(reads);
    let rows = async move |uri: Uri, headers: HeaderMap| -> Response {
        let header = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let read = (uri.to_string(), header("apikey"), header("authorization"));
        log.lock().unwrap_or_else(PoisonError::into_inner).push(read);
        tokio::time::sleep(after).await;
        let row = json!([{
            "agent_name": "Invoice chaser", "description": "Old", "status": "draft", "mode": "on_demand",
            "plugins_required": ["stripe"], "schedule_cron": null,
        }]);
        ([("content-type", "application/json")], row.to_string()).into_response()
    };
    let router = Router::new().route("/rest/v1/agents", get(rows));
    Server::start(router, None).await.expect("a port")
}

async fn application() -> Server {
    let updated = async || {
        let agent = json!({"agent_name": "Invoice chaser", "description": "New", "status": "active"});
        axum::Json(json!({"success": true, "agent": agent}))
    };
    let deleted = async || axum::Json(json!({"success": true}));
    let router = Router::new()
        .route("/api/agents/{id}", put(updated).delete(deleted))
        .route("/api/create-agent", post(async || axum::Json(json!({"success": true}))));
    Server::start(router, None).await.expect("a port")
}

async fn scene(keys: &Keys, application: &Server, project: &Server) -> Scene {
    let (application, project) = (application.address(), project.address());
    let adjust = Box::new(move |config: &mut tests::stack::EdgeConfig| {
        config.mounts[0].upstream = format!("http://{application}");
        config.mounts[0].supabase =
            Some(Supabase { url: format!("http://{project}"), publishable_key: PUBLISHABLE.to_owned() });
    });
    Scene::start(keys, Vec::new(), Setup { adjust, ..Setup::default() }).await
}

fn update() -> Call {
    let agent = json!({"agent_name": "Invoice chaser", "description": "New", "status": "active"});
    Call::new("PUT", format!("/api/agents/{AGENT}")).json(&json!({ "agent": agent }))
}

fn fields_of(event: &Value) -> Value {
    event["changes"]["fields"].clone()
}

#[tokio::test]
async fn a_change_of_an_agent_is_told_from_what_to_what_and_a_deletion_keeps_what_was_there() {
    let keys = Keys::generate();
    let reads = Reads::default();
    let (application, project) = (application().await, project(&reads, Duration::ZERO).await);
    let scene = scene(&keys, &application, &project).await;
    let token = alices_token(&keys);
    let by_alice = |call: Call| call.header("authorization", format!("Bearer {token}"));
    let made = Call::new("POST", "/api/create-agent").json(&json!({"agent": {"agent_name": "A"}}));
    assert_eq!(scene.app(&by_alice(made)).await.status, 200);
    assert_eq!(reads.lock().expect("no test stops in here").len(), 0, "nothing was there before");

    assert_eq!(scene.app(&by_alice(update())).await.status, 200);
    let deletion = Call::new("DELETE", format!("/api/agents/{AGENT}"));
    assert_eq!(scene.app(&by_alice(deletion)).await.status, 200);

    let updated = scene.of_action("AGENT_UPDATED", 1).await.remove(0);
    assert_eq!(updated["changes"]["quality"], "exact");
    assert_eq!(
        fields_of(&updated),
        json!({"description": {"from": "Old", "to": "New"}, "status": {"from": "draft", "to": "active"}})
    );
    let deleted = scene.of_action("AGENT_DELETED", 1).await.remove(0);
    assert_eq!(deleted["entity"]["name"], "Invoice chaser");
    assert_eq!(
        (&deleted["details"]["status"], &deleted["details"]["plugins_count"]),
        (&json!("draft"), &json!(1))
    );

    let reads = reads.lock().expect("no test stops in here").clone();
    assert_eq!(reads.len(), 2, "one for each: {reads:?}");
    for (url, key, authorization) in reads {
        assert!(url.starts_with(&format!("/rest/v1/agents?id=eq.{AGENT}&select=agent_name,")), "{url}");
        assert_eq!((key.as_str(), authorization), (PUBLISHABLE, format!("Bearer {token}")), "as the caller");
    }
}

#[tokio::test]
async fn a_project_that_takes_a_second_delays_no_request_by_it() {
    let keys = Keys::generate();
    let reads = Reads::default();
    let (application, project) = (application().await, project(&reads, Duration::from_secs(1)).await);
    let scene = scene(&keys, &application, &project).await;
    let update = update().header("authorization", format!("Bearer {}", alices_token(&keys)));
    // The first request of an instance compiles the core.
    assert_eq!(scene.app(&Call::new("GET", "/api/agents")).await.status, 404);
    let start = Instant::now();
    assert_eq!(scene.app(&update).await.status, 200);
    let took = start.elapsed();
    assert!(took < NOT_DELAYED, "{took:?}");
    let updated = scene.of_action("AGENT_UPDATED", 1).await.remove(0);
    assert_eq!(updated["changes"]["quality"], "partial");
    assert_eq!(fields_of(&updated)["description"], json!({"to": "New"}));
    assert_eq!(reads.lock().expect("no test stops in here").len(), 1, "it was asked once");
}
