//! What readers see.

use std::collections::BTreeSet;

use ingest::auth::Role;
use sqlx::{Connection as _, PgConnection};

use crate::support::{Server, new_key, sample};

#[tokio::test]
async fn pages_give_every_event_once_and_newest_first() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let mut events: Vec<_> = (0..40).map(sample).collect();
    // Equal times are the hard case: the id decides.
    let same = events[0].occurred_at;
    events[10..30].iter_mut().for_each(|event| event.occurred_at = same);
    for batch in events.chunks(13) {
        assert_eq!(server.send(&producer.seal(batch)).await["status"], 200);
    }
    let read = server.all("").await;
    let ids: BTreeSet<_> = read.iter().map(|event| event["id"].to_string()).collect();
    assert_eq!((read.len(), ids.len()), (40, 40));
    let filed: Vec<_> = read.iter().map(|event| event["filed_at"].to_string()).collect();
    assert!(filed.windows(2).all(|pair| pair[0] >= pair[1]), "{filed:?}");
    server.stop().await;
}

#[tokio::test]
async fn filters_give_what_they_name() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let events: Vec<_> = (0..30).map(sample).collect();
    server.send(&producer.seal(&events)).await;
    for (filter, count) in [
        ("&action=AGENT_CREATED", 15),
        ("&action=agent_*", 15),
        ("&action=AGENT_*,USER_LOGIN", 30),
        ("&action=NOTHING", 0),
        ("&actor=user-1", 8),
        ("&actor=user1@example.com", 8),
        ("&entity=agent/7", 1),
        ("&entity=7", 1),
        ("&entity=plan/7", 0),
        ("&entity_type=agent", 30),
        ("&severity=warning", 10),
        ("&severity=%3E=warning", 20),
        ("&outcome=failure", 6),
        ("&to=2020-01-01T00:00:00Z", 0),
        ("&from=2020-01-01T00:00:00Z", 30),
        ("&action=USER_LOGIN&outcome=failure&severity=info", 1),
    ] {
        assert_eq!(server.all(filter).await.len(), count, "{filter}");
    }
    server.stop().await;
}

#[tokio::test]
async fn one_event_is_read_back_as_it_was_made() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let event = sample(4);
    server.send(&producer.seal(std::slice::from_ref(&event))).await;
    let read = server.get(&format!("/v1/events/{}", event.id)).await;
    assert_eq!(read.status, 200, "{}", read.text());
    let read = read.json();
    assert_eq!(read["action"], "AGENT_CREATED");
    assert_eq!(read["actor"]["email"], "user0@example.com");
    assert_eq!(read["entity"]["name"], "Agent 4");
    assert_eq!(read["context"]["ip"], "203.0.113.7");
    assert_eq!(read["details"]["n"], 4);
    assert_eq!(read["occurred_at"], event.occurred_at.to_string());
    server.get(&format!("/v1/events/{}", sample(5).id)).await.problem(404);
    server.get("/v1/events/nonsense").await.problem(404);

    let other = new_key(&server.store, "other", Role::Admin).await;
    let path = format!("/v1/events/{}", event.id);
    server.get_with(&path, &other).await.problem(404);
    let list = server.get_with("/v1/events", &other).await.json();
    assert_eq!(list["events"], serde_json::json!([]));
    server.stop().await;
}

#[tokio::test]
async fn reading_needs_a_good_key() {
    let server = Server::start().await;
    for path in ["/v1/events", "/v1/quarantine", "/v1/logs", "/log/x/tile/0/000"] {
        let answer = server.call("GET", path).await;
        answer.problem(401);
        assert!(answer.head.contains("www-authenticate: bearer"), "{}", answer.head);
    }
    let key = new_key(&server.store, "demo", Role::Viewer).await;
    let changed = format!("{}0", &key[..key.len() - 1]);
    let wrong = if changed == key { format!("{}1", &key[..key.len() - 1]) } else { changed };
    server.get_with("/v1/events", &wrong).await.problem(401);
    assert_eq!(server.get_with("/v1/events", &key).await.status, 200);
    let id = key.split('_').nth(1).expect("an id");
    let mut owner = PgConnection::connect_with(&server.database).await.expect("connected");
    let revoked = ingest::store::api_keys::revoke(&mut owner, id).await;
    assert!(revoked.expect("revoked").is_some());
    server.get_with("/v1/events", &key).await.problem(401);
    server.stop().await;
}

#[tokio::test]
async fn an_unknown_parameter_is_a_problem_that_names_it() {
    let server = Server::start().await;
    let problem = server.get("/v1/events?colour=red").await.problem(400);
    assert_eq!(problem["detail"], "colour: is unknown");
    let problem = server.get("/v1/events?limit=9999").await.problem(400);
    assert!(problem["detail"].as_str().expect("text").starts_with("limit: "));
    assert_eq!(server.call("GET", "/healthz").await.status, 200);
    assert_eq!(server.call("GET", "/readyz").await.status, 200);
    server.stop().await;
}
