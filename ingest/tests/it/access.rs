//! Grants, and reading as events of the log.

use ingest::auth::Role;
use serde_json::{Value, json};

use crate::support::{Dial, Server, new_key, sample};

/// A backend that records reads, each window a tenth of a second.
async fn watching() -> Server {
    Server::with(&[
        ("EDGETRAIL__LOG__INTERVAL_MS", "20"),
        ("EDGETRAIL__ACCESS__RECORD_READS", "true"),
        ("EDGETRAIL__ACCESS__READS_WINDOW_MS", "100"),
    ])
    .await
}

fn texts(reads: &Value, list: &str, member: &str) -> Vec<String> {
    let items = reads["details"][list].as_array().expect("a list");
    items.iter().map(|item| item[member].as_str().expect("text").to_owned()).collect()
}

#[tokio::test]
async fn what_a_reader_looks_at_is_one_event_of_each_kind() {
    let server = watching().await;
    let mut producer = server.producer().await;
    let event = sample(4);
    server.send(&producer.seal(std::slice::from_ref(&event))).await;
    let key = new_key(&server.store, "demo", Role::Investigator).await;
    let who = key.split('_').nth(1).expect("an id").to_owned();
    for path in [
        "/v1/events?q=action%3Aagent_*%20outcome%3Asuccess",
        "/v1/events?q=outcome%3Asuccess%20%20action%3AAGENT_*",
        "/v1/events?actor=user-0",
        "/v1/logs",
        "/v1/session",
    ] {
        assert_eq!(server.get_with(path, &key).await.status, 200, "{path}");
    }
    assert_eq!(server.get_with(&format!("/v1/events/{}", event.id), &key).await.status, 200);
    server.get_with("/v1/events/018f0000-0000-7000-8000-000000000000", &key).await.problem(404);
    server.get_with("/v1/openings", &key).await.problem(403);

    let told = server.eventually(&format!("&action=AUDIT_READ&actor={who}"), 2).await;
    let of = |kind: &str| {
        told.iter().find(|event| event["entity"]["id"] == kind).unwrap_or_else(|| panic!("{kind}: {told:?}"))
    };
    let search = of("search");
    assert_eq!((&search["details"]["reads"], &search["details"]["unmasked"]), (&json!(3), &json!(0)));
    assert_eq!(search["trust"], "verified");
    let searches = texts(search, "searches", "text");
    assert!(searches.contains(&"actor:user-0".to_owned()), "{searches:?}");
    assert!(searches.contains(&"action:AGENT_* outcome:success".to_owned()), "{searches:?}");
    let one = of("event");
    assert_eq!(one["details"]["reads"], 1, "what is not there was not read");
    assert_eq!(texts(one, "objects", "object"), [event.id.to_string()]);
    server.stop().await;
}

#[tokio::test]
async fn reads_of_an_open_window_are_recorded_at_a_stop() {
    let server =
        Server::with(&[("EDGETRAIL__LOG__INTERVAL_MS", "20"), ("EDGETRAIL__ACCESS__RECORD_READS", "true")])
            .await;
    let key = new_key(&server.store, "demo", Role::Viewer).await;
    let who = key.split('_').nth(1).expect("an id").to_owned();
    assert_eq!(server.get_with("/v1/streams", &key).await.status, 200);
    let server = server.restart().await;
    let told = server.all(&format!("&action=AUDIT_READ&actor={who}")).await;
    assert_eq!(told.len(), 1);
    assert_eq!(texts(&told[0], "objects", "object"), ["/v1/streams"]);
    server.stop().await;
}

#[tokio::test]
async fn a_grant_is_given_replaced_and_revoked_and_each_is_an_event() {
    let server = Server::start().await;
    for (body, named) in [
        (json!({"who": "", "role": "viewer"}), "who: "),
        (json!({"who": "a b", "role": "viewer"}), "who: "),
        (json!({"who": "a@example.com", "role": "root"}), "role: "),
        (json!({"who": "a@example.com", "role": "auditor"}), "expires_at: "),
        (
            json!({"who": "a@example.com", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z"}),
            "expires_at: ",
        ),
    ] {
        let problem = server.post_as_admin("/v1/access", &body.to_string()).await.problem(400);
        assert!(problem["detail"].as_str().expect("text").starts_with(named), "{problem}");
    }
    let grant = |role: &str| json!({"who": "Alice@Example.com", "role": role}).to_string();
    let first = server.post_as_admin("/v1/access", &grant("viewer")).await.json();
    assert_eq!(first["who"], "alice@example.com");
    let second = server.post_as_admin("/v1/access", &grant("investigator")).await.json();
    let revoke = |grant: &Value| format!("/v1/access/{}/revoke", grant["id"].as_str().expect("an id"));
    server.post_as_admin(&revoke(&first), "").await.problem(404);
    assert_eq!(server.post_as_admin(&revoke(&second), "").await.status, 200);
    server.post_as_admin(&revoke(&second), "").await.problem(404);

    let listed = server.get_as_admin("/v1/access").await.json();
    assert_eq!(listed["grants"].as_array().map(Vec::len), Some(2));
    assert!(listed.to_string().contains("\"role\":\"auditor\""), "the test's own keys are listed");
    assert!(!listed.to_string().contains("sha256"));
    let told = server.eventually("&action=ACCESS_*", 3).await;
    let actions: Vec<_> = told.iter().map(|event| event["action"].as_str().expect("text")).collect();
    assert_eq!(actions, ["ACCESS_REVOKED", "ACCESS_GRANTED", "ACCESS_GRANTED"]);
    assert!(told.iter().all(|event| event["severity"] == "critical"), "{told:?}");
    server.stop().await;
}

#[tokio::test]
async fn an_admin_by_grant_counts_as_a_second_admin_a_week_later() {
    let now = chrono::Utc::now();
    let dial = Dial::new(now);
    let server = Server::at(&dial).await;
    let shorter = json!({"standard_days": 180, "critical_days": 2557, "context_days": 30}).to_string();
    server.post_as_admin("/v1/retention/periods", &shorter).await;
    let approve = "/v1/retention/periods/1/approve";
    assert_eq!(server.post_as_admin(approve, "").await.problem(403)["type"], "/problems/announced");
    server.post_as_admin("/v1/access", r#"{"who":"bob@example.com","role":"admin"}"#).await;
    assert_eq!(server.post_as_admin(approve, "").await.problem(403)["type"], "/problems/announced");
    dial.turn(now + chrono::TimeDelta::days(8));
    assert_eq!(server.post_as_admin(approve, "").await.problem(403)["type"], "/problems/second-person");
    server.stop().await;
}
