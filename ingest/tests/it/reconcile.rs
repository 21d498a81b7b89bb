//! The application's own audit rows held against what the edge saw.

use std::time::Duration;

use ingest::clock::{Clock, random};
use ingest::correlate::Reconciler;
use serde_json::{Value, json};
use shared::event::{Action, Actor, Entity, EntityType, Event, EventId, JsonText, Outcome, Timestamp};

use crate::support::{Server, sample};

/// Two minutes ago, so that the window of every act has passed.
fn base() -> u64 {
    Timestamp::from(chrono::Utc::now()).millis() - 120_000
}

fn at(millis: u64) -> Timestamp {
    Timestamp::try_from(millis).expect("a time")
}

fn act(millis: u64, action: &str, entity: &str, actor: &str) -> Event {
    Event {
        id: EventId::mint(at(millis), &random()),
        occurred_at: at(millis),
        action: Action::try_from(action.to_owned()).expect("an action"),
        outcome: Outcome::Success,
        actor: Some(Actor { id: actor.to_owned(), ..Actor::default() }),
        entity: Some(Entity {
            kind: EntityType::try_from("agent".to_owned()).expect("a type"),
            id: Some(entity.to_owned()),
            name: None,
        }),
        details: None,
        ..sample(0)
    }
}

fn written(millis: u64, rows: &Value) -> Event {
    let details = Some(JsonText::from(&json!({"rows": rows})));
    Event { details, echo: true, ..act(millis, "APP_AUDIT_WRITTEN", "row", "app") }
}

/// Reads everything, and decides as if the window had passed.
async fn reconcile(server: &Server) {
    let ahead = Clock::from_fn(|| at(Timestamp::from(chrono::Utc::now()).millis() + 61_000));
    let reconciler = Reconciler::new(server.store.clone(), server.recorder.clone(), ahead);
    while reconciler.pass().await.expect("passed") {}
    reconciler.pass().await.expect("passed");
}

async fn figures(server: &Server) -> Value {
    let answer = server.get("/v1/reconciliation").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["actions"].clone()
}

#[tokio::test]
async fn each_act_is_in_both_audits_or_in_one_of_them() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let base = base();
    let claims = json!([
        {"action": "agent_created", "entity_type": "agent", "entity_id": "1", "user_id": "u1"},
        {"action": "AGENT_CREATED", "entity_type": "agent", "entity_id": "2", "user_id": "u1"},
        {"action": "AGENT_CREATED", "entity_type": "agent", "entity_id": "3", "user_id": "u1"},
        {"action": "USER_LOGIN", "entity_type": "user", "entity_id": null, "user_id": "u1"},
        {"entity_id": "no action"},
    ]);
    let events = [
        // Confirmed although the case differs; also by the function's arguments.
        act(base, "AGENT_CREATED", "1", "u1"),
        act(base, "AGENT_DELETED", "8", "u2"),
        written(base + 1_000, &json!({"p_action": "agent_deleted", "p_entity_id": 8, "p_user_id": "u2"})),
        // By the actor where the row names no entity.
        act(base, "USER_LOGIN", "session", "u1"),
        // Not by an echo, nor by an act a minute away.
        Event { echo: true, ..act(base, "AGENT_CREATED", "2", "u1") },
        act(base - 70_000, "AGENT_CREATED", "3", "u1"),
        written(base + 1_000, &claims),
        // Ours alone; a failed act and one of an action that the application never audits do not count.
        act(base, "AGENT_CREATED", "4", "u1"),
        act(base, "USER_LOGIN", "session", "u3"),
        Event { outcome: Outcome::Failure, ..act(base, "AGENT_CREATED", "5", "u1") },
        act(base, "SETTINGS_CHANGED", "6", "u1"),
    ];
    let reply = server.send(&producer.seal(&events)).await;
    assert_eq!(reply["stored"], events.len(), "{reply}");
    reconcile(&server).await;

    assert_eq!(
        figures(&server).await,
        json!([
            // Of 3 it is not known that they belong together, so it stands on both sides.
            {"action": "AGENT_CREATED", "confirmed": 1, "only_theirs": 2, "only_ours": 2, "pending": 0},
            {"action": "AGENT_DELETED", "confirmed": 1, "only_theirs": 0, "only_ours": 0, "pending": 0},
            {"action": "USER_LOGIN", "confirmed": 1, "only_theirs": 0, "only_ours": 1, "pending": 0},
        ])
    );
    let alone = server.eventually("&action=APP_AUDIT_ONLY", 2).await;
    let mut claimed: Vec<_> = alone.iter().map(|event| event["details"]["entity_id"].clone()).collect();
    claimed.sort_by_key(Value::to_string);
    assert_eq!(claimed, ["2", "3"]);
    assert_eq!(alone[0]["severity"], "warning");
    assert_eq!(alone[0]["details"]["event"], json!(events[6].id));
    assert_eq!(alone[0]["details"]["action"], "AGENT_CREATED");
    server.stop().await;
}

#[tokio::test]
async fn a_claim_waits_for_its_event_and_is_decided_once() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let base = base();
    let claim =
        json!([{"action": "AGENT_CREATED", "entity_id": "1"}, {"action": "AGENT_CREATED", "entity_id": "2"}]);
    server.send(&producer.seal(&[written(base, &claim)])).await;
    for _ in 0..200 {
        if figures(&server).await != json!([]) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let pending =
        json!([{"action": "AGENT_CREATED", "confirmed": 0, "only_theirs": 0, "only_ours": 0, "pending": 2}]);
    assert_eq!(figures(&server).await, pending);

    server.send(&producer.seal(&[act(base + 5_000, "AGENT_CREATED", "1", "u1")])).await;
    let decided =
        json!([{"action": "AGENT_CREATED", "confirmed": 1, "only_theirs": 1, "only_ours": 0, "pending": 0}]);
    for _ in 0..2 {
        reconcile(&server).await;
        assert_eq!(figures(&server).await, decided);
    }
    server.eventually("&action=APP_AUDIT_ONLY", 1).await;
    assert_eq!(server.get("/v1/reconciliation?state=x").await.status, 400);
    server.stop().await;
}
