//! From a route that no rule names to a rule, and to the names of what it was.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shared::event::JsonText;

use crate::support::{Server, counts, sample, unmapped};

const APP: &str = "app.example.com";
const ROUTE: &str = "/api/foo-bars/{id}";

async fn drafted(server: &Server) -> Value {
    let body = json!({"host": APP, "method": "PUT", "route": ROUTE}).to_string();
    let draft = server.post_as_admin("/v1/inbox/draft", &body).await;
    assert_eq!(draft.status, 200, "{}", draft.text());
    draft.json()
}

/// Accepts a draft and has another admin approve it.
async fn accepted(server: &Server, draft: &Value) -> i64 {
    let answer = server.post_as_admin("/v1/inbox/accept", &draft.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let version = answer.json()["version"].as_i64().expect("a version");
    let other = server.another_admin().await;
    let approved = server.post_with(&format!("/v1/policy/{version}/approve"), &other, "").await;
    assert_eq!(approved.status, 200, "{}", approved.text());
    version
}

#[tokio::test]
async fn unmapped_mutating_routes_are_listed_with_an_example() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let mut series = unmapped(3, "PUT", ROUTE);
    series.details = Some(JsonText::from(&json!({"coalesced": {"count": 40}})));
    let events = [
        unmapped(1, "PUT", ROUTE),
        unmapped(2, "POST", "/api/once"),
        series.clone(),
        sample(4),
        counts(
            5,
            APP,
            &[("PUT", ROUTE, false, 7), ("DELETE", "/api/counted", false, 3), ("GET", "/x", false, 9)],
            0,
        ),
    ];
    assert_eq!(server.send(&producer.seal(&events)).await["stored"], 5);
    let inbox = server.get("/v1/inbox").await.json();
    let items: Vec<_> = inbox["inbox"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|item| json!([item["method"], item["route"], item["count"], item["example"]]))
        .collect();
    assert_eq!(
        items,
        [
            json!(["PUT", ROUTE, 41, series.id]),
            json!(["DELETE", "/api/counted", 3, null]),
            json!(["POST", "/api/once", 1, events[1].id]),
        ]
    );
    // Once a rule knows it, it is no longer there.
    server.send(&producer.seal(&[counts(10, APP, &[("PUT", "/api/foo-bars/{fooBar}", true, 1)], 0)])).await;
    let inbox = server.get("/v1/inbox").await.json();
    assert_eq!(inbox["inbox"].as_array().map(Vec::len), Some(2), "{inbox}");
    server.stop().await;
}

#[tokio::test]
async fn a_draft_is_a_rule_in_the_applications_naming() {
    let server = Server::start().await;
    let draft = drafted(&server).await;
    assert_eq!((&draft["pack"], &draft["host"]), (&json!("app"), &json!(APP)));
    assert_eq!(draft["rule"]["action"], "FOO_BAR_UPDATED");
    assert_eq!(draft["rule"]["level"], "full");
    for body in [r#"{"host":"a","method":"GET","route":"/x"}"#, r#"{"host":"a"}"#, "[]", "", "\0"] {
        server.post_as_admin("/v1/inbox/draft", body).await.problem(400);
    }
    server.stop().await;
}

#[tokio::test]
async fn an_accepted_rule_is_served_and_names_past_events_without_changing_them() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let events =
        [unmapped(1, "PUT", ROUTE), unmapped(2, "PUT", ROUTE), unmapped(3, "POST", ROUTE), sample(4)];
    server.send(&producer.seal(&events)).await;
    let path = format!("/v1/events/{}", events[0].id);
    let before = server.get(&path).await.json();
    assert_eq!(before["annotations"], json!([]));

    let draft = drafted(&server).await;
    let version = accepted(&server, &draft).await;
    let annotations = server.eventually("&action=EVENT_RELABELED", 2).await;
    let named: BTreeSet<_> =
        annotations.iter().map(|event| event["entity"]["id"].clone().to_string()).collect();
    assert_eq!(named, events[..2].iter().map(|event| json!(event.id).to_string()).collect());

    let mut after = server.get(&path).await.json();
    let annotation = after["annotations"][0].clone();
    assert_eq!(annotation["details"]["action"], "FOO_BAR_UPDATED");
    assert_eq!(annotation["details"]["policy_version"], version);
    assert_eq!(
        annotation["details"]["rule"],
        format!("inbox-app/{}", draft["rule"]["id"].as_str().expect("text"))
    );
    assert_eq!((&annotation["actor"]["id"], &annotation["trust"]), (&json!("edgetrail"), &json!("system")));
    after["annotations"] = json!([]);
    assert_eq!(after, before);

    let served = server.call("GET", "/v1/policy/demo").await.text();
    assert!(served.contains(r#""name":"inbox-app""#) && served.contains(r#""extends":"app""#), "{served}");
    let inbox = server.get("/v1/inbox").await.json();
    assert_eq!(inbox["inbox"].as_array().map(Vec::len), Some(1), "{inbox}");
    server.stop().await;
}

#[tokio::test]
async fn relabelling_goes_on_after_a_restart_and_repeats_nothing() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    for batch in 0..5 {
        let events: Vec<_> = (batch * 90..(batch + 1) * 90).map(|n| unmapped(n, "PUT", ROUTE)).collect();
        assert_eq!(server.send(&producer.seal(&events)).await["stored"], 90);
    }
    let draft = drafted(&server).await;
    accepted(&server, &draft).await;
    let server = server.restart().await;
    server.eventually("&action=EVENT_RELABELED", 450).await;
    // The place that was reached is lost, as in a crash right after the events: still no second annotation.
    let server = {
        let mut transaction = server.store.begin().await.expect("begun");
        sqlx::query("update accepted_rules set at_filed = null, at_id = null")
            .execute(&mut *transaction)
            .await
            .expect("forgotten");
        transaction.commit().await.expect("committed");
        server.restart().await
    };
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    let annotated: Vec<_> = server.all("&action=EVENT_RELABELED").await;
    let distinct: BTreeSet<_> = annotated.iter().map(|event| event["entity"]["id"].to_string()).collect();
    assert_eq!((annotated.len(), distinct.len()), (450, 450));
    server.stop().await;
}

#[tokio::test]
async fn rules_are_added_to_ones_own_proposal_and_never_to_anothers() {
    let server = Server::start().await;
    let draft = drafted(&server).await;
    let second = json!({"host": APP, "pack": "app", "rule": {
        "id": "post.once", "match": {"method": "POST", "path": "/api/once"}, "level": "full",
        "action": "ONCE_CREATED", "severity": "info", "entity": {"type": "once"}}});
    let rules = |answer: &Value| answer["packs"][0]["rules"].as_array().map(Vec::len);
    let one = server.post_as_admin("/v1/inbox/accept", &draft.to_string()).await.json();
    let both = server.post_as_admin("/v1/inbox/accept", &second.to_string()).await.json();
    assert_eq!((rules(&one), rules(&both)), (Some(1), Some(2)));
    let other = server.another_admin().await;
    let theirs = server.post_with("/v1/inbox/accept", &other, &second.to_string()).await.json();
    assert_eq!(rules(&theirs), Some(1));
    // Theirs was made on what was active then: it would undo the other.
    let approve = |version: &Value| format!("/v1/policy/{version}/approve");
    assert_eq!(server.post_with(&approve(&both["version"]), &other, "").await.status, 200);
    let stale = server.post_as_admin(&approve(&theirs["version"]), "").await.problem(409);
    assert!(stale["detail"].as_str().is_some_and(|text| text.contains("propose it again")), "{stale}");

    let twice = server.post_as_admin("/v1/inbox/accept", &second.to_string()).await.problem(422);
    assert!(twice["detail"].as_str().is_some_and(|text| text.contains("same id")), "{twice}");
    let viewer = crate::support::new_key(&server.store, "demo", ingest::auth::Role::Viewer).await;
    server.post_with("/v1/inbox/accept", &viewer, &second.to_string()).await.problem(403);
    for pack in ["", "inbox-app", "A/b"] {
        let mut bad = second.clone();
        bad["pack"] = json!(pack);
        server.post_as_admin("/v1/inbox/accept", &bad.to_string()).await.problem(422);
    }
    server.stop().await;
}
