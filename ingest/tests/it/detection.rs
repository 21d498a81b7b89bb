//! What rules find: each find raises one alert with its evidence, whatever order events come in and whatever stops.

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use shared::event::{Action, Actor, Entity, Event, Outcome, Timestamp};

use crate::support::{Server, eventually, sample};

const MALLORY: &str = "mallory@example.com";

fn named(n: u64, action: &str, actor: &str) -> Event {
    let country =
        sample(n).context.place.map(|place| shared::event::Place { country: Some("DE".to_owned()), ..place });
    let mut event = sample(n);
    event.action = Action::try_from(action.to_owned()).expect("an action");
    event.actor = Some(Actor { id: actor.to_owned(), ..Actor::default() });
    event.context.place = country;
    event
}

fn at(event: Event, ago: TimeDelta) -> Event {
    Event { occurred_at: Timestamp::from(Utc::now() - ago), ..event }
}

fn failed(n: u64, account: &str, ago: TimeDelta) -> Event {
    let event = named(n, "USER_LOGIN_FAILED", "unused");
    let actor = Some(Actor { email: Some(account.to_owned()), id: account.to_owned(), ..Actor::default() });
    at(Event { outcome: Outcome::Failure, actor, ..event }, ago)
}

async fn alerts(server: &Server, rule: &str) -> Vec<Value> {
    let all = server.get("/v1/alerts").await.json();
    let all = all["alerts"].as_array().expect("alerts").iter();
    all.filter(|alert| alert["rule"] == rule).cloned().collect()
}

/// The task has looked at everything that was stored before.
async fn looked(server: &Server) {
    eventually(async || {
        let mut transaction = server.store.begin().await.expect("begun");
        let behind: bool = sqlx::query_scalar(
            "select exists (select from batches where batch_id >
                 (select coalesce(max(batch_id), -1) from correlate_cursors where name = 'detection'))",
        )
        .fetch_one(&mut *transaction)
        .await
        .expect("asked");
        !behind
    })
    .await;
}

#[tokio::test]
async fn many_failures_are_one_alert_with_its_evidence_and_one_event() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    // The later half comes first: what counts is when it happened.
    let late: Vec<_> = (0..6).map(|n| failed(n, MALLORY, TimeDelta::seconds(60 - n as i64))).collect();
    let early: Vec<_> = (6..11).map(|n| failed(n, MALLORY, TimeDelta::seconds(200 - n as i64))).collect();
    server.send(&producer.seal(&late)).await;
    looked(&server).await;
    assert!(alerts(&server, "brute-force").await.is_empty(), "six are not ten");
    server.send(&producer.seal(&early)).await;
    eventually(async || !alerts(&server, "brute-force").await.is_empty()).await;
    server.send(&producer.seal(&[failed(11, MALLORY, TimeDelta::seconds(1))])).await;
    server.send(&producer.seal(&[failed(12, "bob@example.com", TimeDelta::seconds(1))])).await;
    looked(&server).await;
    let raised = alerts(&server, "brute-force").await;
    assert_eq!(raised.len(), 1, "the same is said once: {raised:?}");
    let alert = &raised[0];
    assert_eq!((&alert["alike"]["account"], &alert["severity"]), (&json!(MALLORY), &json!("warning")));
    assert!(alert["events"].as_u64().is_some_and(|events| events >= 10), "{alert}");
    let evidence = alert["evidence"].as_array().expect("ids");
    for id in evidence {
        let event = server.get(&format!("/v1/events/{}", id.as_str().expect("an id"))).await.json();
        assert_eq!((&event["action"], &event["actor"]["id"]), (&json!("USER_LOGIN_FAILED"), &json!(MALLORY)));
    }
    let told = server.eventually("&action=SECURITY_ALERT_RAISED", 1).await;
    assert_eq!(
        (&told[0]["details"]["rule"], &told[0]["entity"]["id"]),
        (&json!("brute-force"), &alert["id"])
    );
    server.stop().await;
}

#[tokio::test]
async fn sequences_new_values_and_roles_of_ones_own_are_found() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let ago = TimeDelta::minutes;
    let oneself = |n, entity: &str| Event {
        entity: Some(Entity {
            kind: "user".to_owned().try_into().expect("a kind"),
            id: Some(entity.to_owned()),
            name: None,
        }),
        ..at(named(n, "ADMIN_ROLE_GRANTED", "u-1"), ago(3))
    };
    let mut events = vec![
        at(named(1, "SETTINGS_2FA_DISABLED", "u-1"), ago(30)),
        at(named(2, "DATA_EXPORTED", "u-1"), ago(20)),
        at(named(3, "DATA_EXPORTED", "u-2"), ago(20)),
        oneself(4, "u-1"),
        oneself(5, "u-3"),
    ];
    events.extend((10..18).map(|n| failed(n, MALLORY, ago(10))));
    let success = Event {
        actor: Some(Actor { id: "u-9".to_owned(), email: Some(MALLORY.to_owned()), ..Actor::default() }),
        ..at(named(20, "USER_LOGIN", "u-9"), ago(5))
    };
    events.push(success);
    server.send(&producer.seal(&events)).await;
    eventually(async || !alerts(&server, "success-after-failures").await.is_empty()).await;
    looked(&server).await;
    let of = async |rule: &str| {
        alerts(&server, rule).await.iter().map(|alert| alert["alike"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(of("success-after-failures").await, [json!({"account": MALLORY})]);
    assert_eq!(of("export-without-second-factor").await, [json!({"actor": "u-1"})]);
    assert_eq!(of("self-granted-role").await, [json!({"actor": "u-1"})]);
    assert_eq!(of("first-admin-action").await, [json!({"actor": "u-1"})], "one of them: it is the same act");
    assert!(of("mass-deletion").await.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_stop_repeats_nothing_and_a_rule_does_not_look_at_what_was_before_it() {
    let server = Server::with(&[("EDGETRAIL__DETECTION__SHIPPED", "false")]).await;
    let mut producer = server.producer().await;
    let reused = |n| Event { ..named(n, "TOKEN_REUSE_DETECTED", "u-1") };
    server.send(&producer.seal(&[reused(1)])).await;
    looked(&server).await;
    let server = server.restart().await;
    server.send(&producer.seal(&[named(2, "TOKEN_REUSE_DETECTED", "u-2")])).await;
    eventually(async || !alerts(&server, "token-reuse").await.is_empty()).await;
    let server = server.restart().await;
    server.send(&producer.seal(&[named(3, "USER_LOGIN", "u-3")])).await;
    looked(&server).await;
    let raised = alerts(&server, "token-reuse").await;
    assert_eq!(raised.len(), 1, "{raised:?}");
    assert_eq!(raised[0]["alike"]["account"], "u-2");
    server.stop().await;
}

#[tokio::test]
async fn a_rule_is_tried_on_what_is_stored_and_its_faults_are_told_by_place() {
    let server = Server::with(&[("EDGETRAIL__DETECTION__SHIPPED", "false")]).await;
    let mut producer = server.producer().await;
    let days = [40, 20, 10, 0].map(TimeDelta::days);
    let events: Vec<_> = days
        .into_iter()
        .enumerate()
        .flat_map(|(day, ago)| {
            (0..5_u64).map(move |n| failed(day as u64 * 10 + n, MALLORY, ago + TimeDelta::minutes(1)))
        })
        .collect();
    server.send(&producer.seal(&events)).await;
    let rule = "[[rule]]\nid = 'five'\ntitle = 'Five'\nseverity = 'warning'\nfind = 'action:USER_LOGIN_FAILED'\n\
                by = ['account']\ncount = { at_least = 5, within = '10m' }\n";
    let tried = |text: &str, last: &str| json!({"rule": text, "last": last}).to_string();
    let answer = server.post_as_admin("/v1/detection/trial", &tried(rule, "30d")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    assert_eq!(answer["fired"], 3, "three times within 30 days: {answer}");
    assert_eq!(answer["alerts"][0]["alike"]["account"], MALLORY);
    assert!(server.get("/v1/alerts").await.json()["alerts"].as_array().expect("none").is_empty());
    let broken = rule.replace("at_least = 5", "at_least = 'five'");
    let problem = server.post_as_admin("/v1/detection/trial", &tried(&broken, "30d")).await.problem(400);
    assert_eq!((&problem["line"], &problem["type"]), (&json!(7), &json!("/problems/unreadable-rule")));
    server.post_as_admin("/v1/detection/trial", &tried(rule, "30 moons")).await.problem(400);
    server.post_as_admin("/v1/detection/trial", &tried("", "30d")).await.problem(400);
    server.stop().await;
}

#[tokio::test]
async fn an_alert_is_closed_once_and_forgets_whom_it_named_when_they_are_erased() {
    let server = Server::with(&[
        ("EDGETRAIL__PRIVACY__COOL_OFF_MS", "1"),
        ("EDGETRAIL__PRIVACY__SWEEP_MS", "100"),
        ("EDGETRAIL__LOG__INTERVAL_MS", "20"),
    ])
    .await;
    let mut producer = server.producer().await;
    server.send(&producer.seal(&[named(1, "TOKEN_REUSE_DETECTED", "u-1")])).await;
    eventually(async || !alerts(&server, "token-reuse").await.is_empty()).await;
    let alert = alerts(&server, "token-reuse").await.remove(0);
    let close = format!("/v1/alerts/{}/close", alert["id"].as_str().expect("an id"));
    server.post_with(&close, server.viewer_key(), "").await.problem(403);
    let closed = server.post_as_admin(&close, r#"{"note":"u-1 told us"}"#).await.json();
    assert_eq!((&closed["state"], &closed["note"]), (&json!("closed"), &json!("u-1 told us")));
    server.post_as_admin(&close, "").await.problem(409);
    let open = server.get("/v1/alerts?state=open").await.json();
    assert!(open["alerts"].as_array().expect("a list").is_empty(), "{open}");

    let other = server.another_admin().await;
    let wish = json!({"mode": "erase", "legal_basis": "consent withdrawn"}).to_string();
    let asked = server.post_as_admin("/v1/subjects/u-1/erase", &wish).await.json();
    let erasure = format!("/v1/erasures/{}", asked["id"].as_str().expect("an id"));
    server.post_with(&format!("{erasure}/approve"), &other, "").await;
    eventually(async || server.get_as_admin(&erasure).await.json()["state"] == "done").await;
    let left = alerts(&server, "token-reuse").await.remove(0);
    assert_eq!((&left["alike"], &left["note"]), (&Value::Null, &Value::Null), "{left}");
    server.stop().await;
}
