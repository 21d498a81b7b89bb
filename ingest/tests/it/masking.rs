//! Personal data is masked for viewers and investigators, and shown for a reason that is on record.

use ingest::auth::Role;
use serde_json::{Value, json};

use crate::support::{Server, new_key, sample};

/// What a viewer must not find in any answer about the sample event.
const PERSONAL: [&str; 4] = ["user0@example.com", "203.0.113.7", "\"session-1\"", "\"user_agent\":\"test\""];

async fn filled() -> (Server, String) {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let event = sample(4);
    server.send(&producer.seal(std::slice::from_ref(&event))).await;
    (server, event.id.to_string())
}

#[tokio::test]
async fn no_reading_route_shows_personal_data_to_a_masked_reader() {
    let (server, id) = filled().await;
    crate::support::eventually(async || server.get(&format!("/v1/events/{id}/proof")).await.status == 200)
        .await;
    for role in [Role::Viewer, Role::Investigator] {
        let key = new_key(&server.store, "demo", role).await;
        for path in [
            "/v1/events".to_owned(),
            format!("/v1/events/{id}"),
            format!("/v1/events/{id}/proof"),
            "/v1/events/facets".to_owned(),
            "/v1/entities/agent/4/timeline".to_owned(),
            "/v1/actors/user-0".to_owned(),
        ] {
            let answer = server.get_with(&path, &key).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            for personal in PERSONAL {
                assert!(
                    !answer.text().contains(personal),
                    "{role}: {path} shows {personal}: {}",
                    answer.text()
                );
            }
        }
        let proof = server.get_with(&format!("/v1/events/{id}/proof"), &key).await.json();
        assert!(proof["proof"].is_string() && proof["opening"].is_null(), "{proof}");
    }
    for role in [Role::Auditor, Role::Admin] {
        let key = new_key(&server.store, "demo", role).await;
        let event = server.get_with(&format!("/v1/events/{id}"), &key).await.json();
        assert_eq!(event["actor"]["email"], "user0@example.com");
        assert_eq!(event["masked"], Value::Null);
    }
    server.stop().await;
}

#[tokio::test]
async fn one_event_is_unmasked_for_a_reason_and_that_is_an_event() {
    let (server, id) = filled().await;
    let path = format!("/v1/events/{id}/unmask");
    let investigator = new_key(&server.store, "demo", Role::Investigator).await;
    let viewer = new_key(&server.store, "demo", Role::Viewer).await;
    let reason = json!({"reason": "ticket 1234: who deleted it"}).to_string();
    server.post_with(&path, &viewer, &reason).await.problem(403);
    for body in ["", "{}", r#"{"reason":"  x "}"#, r#"{"reason":"long enough","minutes":5}"#] {
        server.post_with(&path, &investigator, body).await.problem(400);
    }
    let shown = server.post_with(&path, &investigator, &reason).await.json();
    assert_eq!(shown["actor"]["email"], "user0@example.com");
    assert_eq!(shown["context"]["ip"], "203.0.113.7");
    let again = server.get_with(&format!("/v1/events/{id}"), &investigator).await.json();
    assert_eq!(again["actor"]["email"], "u***@example.com", "it was for once");

    let told = server.eventually("&action=EVENT_UNMASKED", 1).await;
    assert_eq!(told[0]["details"]["reason"], "ticket 1234: who deleted it");
    assert_eq!(told[0]["entity"], json!({"type": "event", "id": id}));
    assert_eq!(told[0]["actor"]["id"], investigator.split('_').nth(1).expect("an id"));
    server.stop().await;
}

#[tokio::test]
async fn a_reason_in_the_header_unmasks_one_answer() {
    let (server, _) = filled().await;
    for (role, status) in [(Role::Viewer, 403), (Role::Investigator, 200)] {
        let key = new_key(&server.store, "demo", role).await;
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str()), ("x-unmask-reason", "ticket 1234: a break-in")];
        let answer = server.call_with("GET", "/v1/events?entity=agent/4", &headers).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.text().contains("user0@example.com"), status == 200);
    }
    let told = server.eventually("&action=PERSONAL_DATA_UNMASKED", 1).await;
    assert_eq!(told[0]["details"], json!({"reason": "ticket 1234: a break-in", "for": "one answer"}));
    assert_eq!(told[0]["entity"]["id"], "/v1/events");
    server.stop().await;
}

#[tokio::test]
async fn a_masked_reader_does_not_find_out_by_searching_what_is_masked() {
    let (server, _) = filled().await;
    let investigator = new_key(&server.store, "demo", Role::Investigator).await;
    for search in [
        "user0",
        "NOT+user0",
        "(action:X+OR+%22example.com%22)",
        "name:Agent*",
        "session:session-1",
        "ip:203.0.113.7",
        "ip:203.0.113.0/25",
        "actor:user0@*",
        "-user:*x*",
    ] {
        for path in
            ["events", "events/facets", "events/histogram", "events/live", "entities/agent/4/timeline"]
        {
            let path = format!("/v1/{path}?q={search}");
            let problem = server.get_with(&path, &investigator).await.problem(403);
            assert_eq!(problem["type"], "/problems/unmask-to-search", "{path}");
        }
        assert_eq!(server.get(&format!("/v1/events?q={search}")).await.status, 200, "{search}");
    }
    for search in
        ["actor:user0@example.com", "ip:203.0.113.0/24", "actor:user-0", "has:actor", "entity:agent/4"]
    {
        let found = server.get_with(&format!("/v1/events?q={search}"), &investigator).await;
        assert_eq!(found.json()["events"].as_array().map(Vec::len), Some(1), "{search}: {}", found.text());
    }
    let bearer = format!("Bearer {investigator}");
    let headers = [("authorization", bearer.as_str()), ("x-unmask-reason", "ticket 1234: a break-in")];
    assert_eq!(server.call_with("GET", "/v1/events?q=user0", &headers).await.status, 200);
    server.stop().await;
}
