//! Events that belong to others: writes of the application's own server to their acts, ends to their runs.

use std::time::Duration;

use ingest::clock::{Clock, random};
use ingest::correlate::Follow;
use serde_json::{Value, json};
use shared::event::{
    Action, Actor, Entity, EntityType, Event, EventId, JsonText, Outcome, RequestFacts, Timestamp, Trust,
};
use sqlx::PgPool;

use crate::support::{Server, eventually, sample};

/// Past every wait for an act.
const MINUTE: Duration = Duration::from_secs(61);

fn event(action: &str, entity: Option<(&str, &str)>, ago: Duration) -> Event {
    let at = Timestamp::from(chrono::Utc::now() - ago);
    Event {
        id: EventId::mint(at, &random()),
        occurred_at: at,
        action: Action::try_from(action.to_owned()).expect("an action"),
        outcome: Outcome::Success,
        entity: entity.map(|(kind, id)| Entity {
            kind: EntityType::try_from(kind.to_owned()).expect("a type"),
            id: Some(id.to_owned()),
            name: None,
        }),
        details: None,
        ..sample(0)
    }
}

fn act(who: &str, entity: (&str, &str)) -> Event {
    by(who, event("AGENT_UPDATED", Some(entity), Duration::ZERO))
}

fn by(who: &str, event: Event) -> Event {
    Event { actor: Some(Actor { id: who.to_owned(), ..Actor::default() }), ..event }
}

/// A write by the application's own server, with its own key.
fn echo(action: &str, entity: (&str, &str)) -> Event {
    let event = event(action, Some(entity), Duration::ZERO);
    Event {
        echo: true,
        trust: Trust::Service,
        actor: None,
        request: RequestFacts { host: "data.example.com".to_owned(), ..event.request },
        ..event
    }
}

fn id(event: &Event) -> String {
    event.id.to_string()
}

/// The same task in another process, later.
async fn pass_later(server: &Server, later: Duration) {
    let clock = Clock::from_fn(move || Timestamp::from(chrono::Utc::now() + later));
    let follow = Follow::new(server.store.clone(), server.recorder.clone(), clock);
    // What the server's own task is at just now is left to it.
    for _ in 0..2 {
        follow.pass().await.expect("passed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn echoes(server: &Server, state: &str) -> Vec<Value> {
    let answer = server.get(&format!("/v1/echoes?state={state}")).await.json();
    answer["echoes"].as_array().expect("a list").clone()
}

async fn run(server: &Server, sql: &'static str) {
    let owner = PgPool::connect_with(server.database.clone()).await.expect("connected");
    sqlx::raw_sql(sql).execute(&owner).await.expect("done");
}

#[tokio::test]
async fn an_echo_is_linked_to_its_act_once_also_when_a_stop_came_before_the_mark() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let (written, edited) = (echo("DATABASE_WRITTEN", ("row", "7")), act("u1", ("agent", "7")));
    // The echo arrives first.
    server.send(&producer.seal(std::slice::from_ref(&written))).await;
    pass_later(&server, Duration::ZERO).await;
    assert_eq!(echoes(&server, "pending").await.len(), 1);
    server.send(&producer.seal(std::slice::from_ref(&edited))).await;
    let links = server.eventually("&action=ECHO_LINKED", 1).await;
    assert_eq!(links[0]["entity"], json!({"type": "event", "id": id(&written)}));
    assert_eq!(links[0]["details"], json!({"act": id(&edited)}));
    assert_eq!(links[0]["request"]["rule"], "ingest/links");

    run(&server, "update echo_links set state = 'pending', act_id = null").await;
    let server = server.restart().await;
    tokio::join!(pass_later(&server, Duration::ZERO), pass_later(&server, Duration::ZERO));
    while echoes(&server, "linked").await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    pass_later(&server, MINUTE).await;
    assert_eq!(echoes(&server, "linked").await[0]["act"], id(&edited));
    server.eventually("&action=ECHO_LINKED", 1).await;
    server.stop().await;
}

#[tokio::test]
async fn a_forged_echo_without_an_act_stays_unlinked_and_is_shown() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let lone = echo("AGENT_DELETED", ("agent", "1"));
    // Somebody else's act on the same agent is no excuse, nor is what failed, was long ago, or went the same way.
    let forged = Event { trust: Trust::Verified, ..by("u9", echo("AGENT_DELETED", ("agent", "2"))) };
    let others = act("u1", ("agent", "2"));
    let failed = Event { outcome: Outcome::Failure, ..act("u1", ("agent", "1")) };
    let old = by("u1", event("AGENT_UPDATED", Some(("agent", "1")), Duration::from_secs(20)));
    let beside = act("u1", ("agent", "1"));
    let beside = Event { request: lone.request.clone(), ..beside };
    let all = [lone.clone(), forged.clone(), others, failed, old, beside];
    server.send(&producer.seal(&all)).await;
    eventually(async || {
        pass_later(&server, MINUTE).await;
        !echoes(&server, "unlinked").await.is_empty()
    })
    .await;
    let found = echoes(&server, "unlinked").await;
    assert_eq!(found.len(), 2, "{found:?}");
    let first = found.iter().find(|echo| echo["id"] == id(&lone)).expect("shown");
    assert_eq!((&first["action"], &first["act"]), (&json!("AGENT_DELETED"), &Value::Null));
    assert_eq!(first["entity"], json!({"type": "agent", "id": "1"}));
    assert_eq!(server.get("/v1/echoes").await.json()["echoes"].as_array().map(Vec::len), Some(2));
    server.get("/v1/echoes?state=lost").await.problem(400);
    assert!(server.all("&action=ECHO_LINKED").await.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_person_who_did_exactly_one_thing_nearby_is_enough() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let of = |who: &str, row: &str| Event {
        trust: Trust::Verified,
        ..by(who, echo("PROFILE_UPDATED", ("profile", row)))
    };
    let (one, two) = (of("u1", "p1"), of("u2", "p2"));
    let only = act("u1", ("settings", "a"));
    let read = act("u1", ("agent", "b"));
    let read = Event { request: RequestFacts { method: "GET".to_owned(), ..read.request.clone() }, ..read };
    let all =
        [one.clone(), two.clone(), only.clone(), read, act("u2", ("agent", "c")), act("u2", ("agent", "d"))];
    server.send(&producer.seal(&all)).await;
    pass_later(&server, Duration::from_secs(1)).await;
    assert!(server.all("&action=ECHO_LINKED").await.is_empty(), "a second act may still come");
    pass_later(&server, MINUTE).await;
    let links = server.eventually("&action=ECHO_LINKED", 1).await;
    assert_eq!(
        (&links[0]["entity"]["id"], &links[0]["details"]["act"]),
        (&json!(id(&one)), &json!(id(&only)))
    );
    assert_eq!(echoes(&server, "unlinked").await[0]["id"], id(&two));
    server.stop().await;
}

fn run_of(agent: &str, details: Value, ago: u64) -> Event {
    let event = event("AGENT_EXECUTED", Some(("agent", agent)), Duration::from_secs(ago));
    Event { outcome: Outcome::Unknown, details: Some(JsonText::from(&details)), ..event }
}

fn record(action: &str, details: Value) -> Event {
    Event { details: Some(JsonText::from(&details)), ..echo(action, ("execution", "e")) }
}

/// What was said of a run, if anything.
async fn completed(server: &Server, run: &Event) -> Option<Value> {
    let of = server.all(&format!("&action=OUTCOME_COMPLETED&entity=event/{}", run.id)).await;
    assert!(of.len() <= 1, "{of:?}");
    of.first().map(|event| event["details"].clone())
}

#[tokio::test]
async fn a_run_is_completed_by_its_execution_or_by_its_agent_and_once() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let by_id = run_of("a", json!({"execution_id": "x1"}), 60);
    let by_agent = run_of("b", json!({}), 60);
    let early = run_of("c", json!({}), 90);
    let latest = run_of("c", json!({}), 60);
    let known = Event { outcome: Outcome::Success, ..run_of("d", json!({"execution_id": "x4"}), 30) };
    let before = run_of("d", json!({}), 60);
    let running = run_of("e", json!({"execution_id": "x5"}), 60);
    let x1 = json!({"execution_id": "x1", "agent_id": "other", "status": "completed", "tokens_used": 40, "duration_ms": 9});
    let x1 = record("EXECUTION_RECORDED", x1);
    let of_b =
        record("EXECUTION_RECORDED", json!({"execution_id": "x2", "agent_id": "b", "status": "failed"}));
    let of_c = record("EXECUTION_RECORDED", json!({"agent_id": "c", "status": "completed"}));
    let of_d =
        record("EXECUTION_RECORDED", json!({"execution_id": "x4", "agent_id": "d", "status": "completed"}));
    let of_e =
        record("EXECUTION_RECORDED", json!({"execution_id": "x5", "agent_id": "e", "status": "running"}));
    let runs = [&by_id, &by_agent, &early, &latest, &known, &before, &running].map(Event::clone);
    server.send(&producer.seal(&runs)).await;
    server.send(&producer.seal(&[x1.clone(), of_b.clone(), of_c, of_d, of_e])).await;
    server.eventually("&action=OUTCOME_COMPLETED", 3).await;
    assert_eq!(
        completed(&server, &by_id).await,
        Some(
            json!({"outcome": "success", "success": true, "tokens_used": 40, "duration_ms": 9, "source": id(&x1)})
        )
    );
    assert_eq!(
        completed(&server, &by_agent).await,
        Some(json!({
            "outcome": "failure", "success": false, "tokens_used": null, "duration_ms": null, "source": id(&of_b)
        }))
    );
    assert!(completed(&server, &latest).await.is_some(), "a record is of the latest run before it");

    run(&server, "update open_runs set state = 'pending', source_id = null").await;
    let server = server.restart().await;
    pass_later(&server, Duration::from_secs(31 * 60)).await;
    server.eventually("&action=OUTCOME_COMPLETED", 3).await;
    for run in [&early, &before, &known, &running] {
        assert_eq!(completed(&server, run).await, None);
    }
    server.stop().await;
}

#[tokio::test]
async fn tokens_alone_complete_a_run_when_the_wait_is_over_and_unknown_ones_are_never_nought() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let (whole, part) = (run_of("a", json!({"execution_id": "x1"}), 60), run_of("b", json!({}), 60));
    let calls = [
        json!({"execution_id": "x1", "input_tokens": 10, "output_tokens": 5}),
        json!({"execution_id": "x1", "input_tokens": 1, "output_tokens": 2}),
        json!({"agent_id": "b", "input_tokens": 7, "output_tokens": 7}),
        json!({"agent_id": "b", "input_tokens": 7}),
    ]
    .map(|details| record("TOKEN_USAGE_RECORDED", details));
    server.send(&producer.seal(&[whole.clone(), part.clone()])).await;
    server.send(&producer.seal(&calls)).await;
    pass_later(&server, Duration::from_secs(60)).await;
    assert!(server.all("&action=OUTCOME_COMPLETED").await.is_empty(), "the record may still come");
    pass_later(&server, Duration::from_secs(31 * 60)).await;
    let whole = completed(&server, &whole).await.expect("completed");
    assert_eq!(
        (&whole["tokens_used"], &whole["outcome"], &whole["success"]),
        (&json!(18), &json!("unknown"), &Value::Null)
    );
    let part = completed(&server, &part).await.expect("completed");
    assert_eq!(part["tokens_used"], Value::Null);
    server.stop().await;
}
