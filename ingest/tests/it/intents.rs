//! Announced acts: each is matched with its event, in either order, or found orphaned.

use serde_json::{Value, json};
use shared::event::{Action, Event, EventId, JsonText, Outcome};

use crate::support::{Server, eventually, sample};

fn intent(n: u64) -> Event {
    Event {
        action: Action::try_from("INTENT_RECORDED".to_owned()).expect("an action"),
        outcome: Outcome::Unknown,
        details: Some(JsonText::from(&json!({"action": "USER_DELETED"}))),
        ..sample(n)
    }
}

fn act(n: u64, intent: EventId) -> Event {
    Event { details: Some(JsonText::from(&json!({"n": n, "intent": intent}))), ..sample(n) }
}

async fn list(server: &Server, state: &str) -> Vec<Value> {
    let list = server.get(&format!("/v1/intents?state={state}")).await.json();
    list["intents"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn an_act_closes_its_intent_in_either_order_and_in_one_batch() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let intents = [intent(1), intent(2), intent(3)];
    let acts: Vec<_> = intents.iter().zip(11..).map(|(intent, n)| act(n, intent.id)).collect();

    server.send(&producer.seal(&intents[..1])).await;
    let open = list(&server, "open").await;
    assert_eq!(open.len(), 1);
    assert_eq!(open[0]["id"], intents[0].id.to_string());
    assert_eq!((&open[0]["action"], &open[0]["state"]), (&json!("USER_DELETED"), &json!("open")));
    server.send(&producer.seal(&acts[..1])).await;

    server.send(&producer.seal(&acts[1..2])).await;
    server.send(&producer.seal(&intents[1..2])).await;

    server.send(&producer.seal(&[acts[2].clone(), intents[2].clone()])).await;

    assert!(list(&server, "open").await.is_empty());
    let closed = list(&server, "closed").await;
    assert_eq!(closed.len(), 3);
    for intent in closed {
        assert_eq!(intent["action"], "USER_DELETED");
        assert!(intent["opened_at"].is_string() && intent["closed_at"].is_string(), "{intent}");
    }
    assert_eq!(server.get("/v1/intents").await.json()["intents"].as_array().map(Vec::len), Some(3));
    server.get("/v1/intents?state=lost").await.problem(400);
    server.stop().await;
}

#[tokio::test]
async fn an_intent_without_its_act_is_orphaned_once_and_can_still_be_closed() {
    let server = Server::with(&[
        ("EDGETRAIL__ACCOUNTING__SWEEP_MS", "30"),
        ("EDGETRAIL__ACCOUNTING__INTENT_AFTER_MS", "200"),
    ])
    .await;
    let mut producer = server.producer().await;
    let [lonely, kept] = [intent(1), intent(2)];
    server.send(&producer.seal(&[lonely.clone(), kept.clone(), act(3, kept.id)])).await;
    eventually(async || !list(&server, "orphaned").await.is_empty()).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;

    let events = server.all("&action=INTENT_ORPHANED").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["entity"], json!({"type": "event", "id": lonely.id}));
    assert_eq!(events[0]["details"], json!({"action": "USER_DELETED"}));
    assert_eq!(events[0]["outcome"], "unknown");

    server.send(&producer.seal(&[act(4, lonely.id)])).await;
    assert!(list(&server, "orphaned").await.is_empty());
    assert_eq!(list(&server, "closed").await.len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn claims_that_name_no_intent_cost_nothing() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let with = |n, details: Value| Event { details: Some(JsonText::from(&details)), ..sample(n) };
    let mut odd = intent(1);
    odd.details = Some(JsonText::from(&json!({"action": "no\u{0}action"})));
    let events = [
        odd,
        with(2, json!({"intent": "to sell"})),
        with(3, json!({"intent": 7})),
        with(4, json!({"inner": {"intent": sample(9).id}})),
    ];
    let item = server.send(&producer.seal(&events)).await;
    assert_eq!((&item["status"], &item["stored"]), (&json!(200), &json!(4)));
    let list = server.get("/v1/intents").await.json();
    assert_eq!(list["intents"].as_array().map(Vec::len), Some(1));
    assert_eq!(list["intents"][0]["action"], Value::Null);
    server.stop().await;
}
