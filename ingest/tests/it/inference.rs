//! Old sides that were seen before, as annotations.

use ingest::clock::random;
use serde_json::{Value, json};
use shared::event::{
    Action, ChangeSet, Entity, EntityType, Event, EventId, JsonText, Outcome, Quality, Timestamp,
};
use sqlx::Executor as _;
use sqlx::postgres::PgPool;

use crate::support::{Producer, Server, sample};

/// An act on agent `id` that changed something.
fn act(action: &str, id: &str, quality: Quality, fields: Value) -> Event {
    let now = Timestamp::from(chrono::Utc::now());
    Event {
        id: EventId::mint(now, &random()),
        occurred_at: now,
        action: Action::try_from(action.to_owned()).expect("an action"),
        outcome: Outcome::Success,
        entity: Some(Entity {
            kind: EntityType::try_from("agent".to_owned()).expect("a type"),
            id: Some(id.to_owned()),
            name: None,
        }),
        changes: Some(ChangeSet { quality, fields: JsonText::from(&fields) }),
        ..sample(0)
    }
}

fn created(id: &str, fields: Value) -> Event {
    act("AGENT_CREATED", id, Quality::Exact, fields)
}

fn updated(id: &str, fields: Value) -> Event {
    act("AGENT_UPDATED", id, Quality::Partial, fields)
}

async fn send(server: &Server, producer: &mut Producer, events: &[Event]) {
    let reply = server.send(&producer.seal(events)).await;
    assert_eq!((&reply["status"], &reply["stored"]), (&json!(200), &json!(events.len())), "{reply}");
}

/// What was inferred of events, once it is this many.
async fn inferred(server: &Server, count: usize) -> Vec<(String, Value)> {
    let found = server.eventually("&action=CHANGES_INFERRED", count).await;
    let about = |event: &Value| event["entity"]["id"].as_str().expect("an id").to_owned();
    found.iter().map(|event| (about(event), event["changes"].clone())).collect()
}

#[tokio::test]
async fn an_update_is_told_by_what_was_seen_at_creation_and_the_event_stays_as_it_is() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let first = created("7", json!({"status": {"to": "draft"}, "name": {"to": "A"}}));
    let update = updated("7", json!({"status": {"to": "active"}, "name": {"to": "A"}, "model": {"to": "m"}}));
    send(&server, &mut producer, &[first]).await;
    send(&server, &mut producer, std::slice::from_ref(&update)).await;

    let found = inferred(&server, 1).await;
    assert_eq!(found[0].0, update.id.to_string());
    assert_eq!(found[0].1["quality"], "inferred");
    assert_eq!(found[0].1["fields"], json!({"status": {"from": "draft", "to": "active"}}));
    let event = server.get(&format!("/v1/events/{}", update.id)).await.json();
    assert_eq!(event["changes"]["quality"], "partial");
    assert_eq!(event["changes"]["fields"]["status"], json!({"to": "active"}));
    assert_eq!(event["annotations"][0]["changes"]["fields"], found[0].1["fields"]);
    assert_eq!(event["annotations"][0]["request"]["rule"], "ingest/inference");
    server.stop().await;
}

#[tokio::test]
async fn no_old_side_is_ever_invented() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let failed = Event { outcome: Outcome::Failure, ..updated("3", json!({"status": {"to": "never"}})) };
    let echo = Event { echo: true, ..updated("4", json!({"status": {"to": "by the server"}})) };
    let last = updated("4", json!({"status": {"to": "active"}}));
    let events = [
        // Never seen, or seen and masked, or deleted in between, or another entity's.
        updated("1", json!({"status": {"to": "active"}})),
        created("2", json!({"note": {"to": "[masked]"}, "key": {"changed": true}, "gone": {"to": 1}})),
        updated("2", json!({"note": {"to": "x"}, "key": {"to": "y"}})),
        act("AGENT_REMOVED", "2", Quality::Exact, json!({"gone": {"from": 1}})),
        updated("2", json!({"gone": {"to": 2}})),
        created("3", json!({"status": {"to": "draft"}})),
        failed,
        updated("3", json!({"status": {"to": "draft"}})),
        // An echo tells what is there now, and is not annotated itself.
        created("4", json!({"status": {"to": "draft"}})),
        echo,
        last.clone(),
    ];
    send(&server, &mut producer, &events).await;
    let found = inferred(&server, 1).await;
    assert_eq!(found[0].0, last.id.to_string());
    assert_eq!(found[0].1["fields"], json!({"status": {"from": "by the server", "to": "active"}}));
    server.stop().await;
}

#[tokio::test]
async fn a_restart_repeats_nothing_even_if_the_cursor_was_not_stored() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    send(&server, &mut producer, &[created("7", json!({"n": {"to": 1}}))]).await;
    send(&server, &mut producer, &[updated("7", json!({"n": {"to": 2}}))]).await;
    inferred(&server, 1).await;

    let server = server.restart().await;
    send(&server, &mut producer, &[updated("7", json!({"n": {"to": 3}}))]).await;
    let found = inferred(&server, 2).await;
    assert_eq!(
        found[0].1["fields"],
        json!({"n": {"from": 2, "to": 3}}),
        "what was seen outlives the process"
    );

    let admin = PgPool::connect_with(server.database.clone()).await.expect("connected");
    let back =
        ["delete from entity_states", "update correlate_cursors set batch_id = 0 where name = 'inference'"];
    for statement in back {
        admin.execute(statement).await.expect("as if it had stopped in between");
    }
    send(&server, &mut producer, &[updated("7", json!({"n": {"to": 4}}))]).await;
    let found = inferred(&server, 3).await;
    assert_eq!(found[0].1["fields"], json!({"n": {"from": 3, "to": 4}}));
    server.stop().await;
}

#[tokio::test]
async fn a_batch_that_is_committed_late_is_waited_for() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let admin = PgPool::connect_with(server.database.clone()).await.expect("connected");
    let mut storing = admin.begin().await.expect("begun");
    sqlx::query(
        "insert into batches (tenant_id, stream, seq, header_hash, prev, header, sent_at, received_at, count, dropped)
         values ('other', '\\x00', 0, '\\x00', '\\x00', '', now(), now(), 0, 0)",
    )
    .execute(&mut *storing)
    .await
    .expect("a number is taken");
    send(&server, &mut producer, &[created("7", json!({"n": {"to": 1}}))]).await;
    send(&server, &mut producer, &[updated("7", json!({"n": {"to": 2}}))]).await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert!(server.all("&action=CHANGES_INFERRED").await.is_empty(), "the lower number may still appear");
    storing.commit().await.expect("committed");
    inferred(&server, 1).await;
    server.stop().await;
}
