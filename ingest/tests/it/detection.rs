//! What rules find: each find raises one alert with its evidence, whatever order events come in and whatever stops.

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use shared::event::{Action, Actor, Entity, Event, Outcome, Timestamp};

use crate::support::{Server, eventually, followed, sample};

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
    followed(server, "detection").await;
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

/// A number that looks random, from a state.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// What a handful of people do in ten days, the good and the bad, oldest first.
fn ten_days(state: &mut u64, count: u64) -> Vec<Event> {
    const DEEDS: [&str; 10] = [
        "USER_LOGIN_FAILED",
        "USER_LOGIN_FAILED",
        "USER_LOGIN",
        "MFA_VERIFICATION_FAILED",
        "AGENT_DELETED",
        "DATA_EXPORTED",
        "SETTINGS_2FA_DISABLED",
        "ADMIN_ROLE_GRANTED",
        "TOKEN_REUSE_DETECTED",
        "AGENT_EXECUTED",
    ];
    const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0";
    let mut ago_ms = 10 * 86_400_000_i64;
    let (mut deed, mut who) = ("", 0);
    (0..count)
        .map(|n| {
            // In bursts: most follow the one before at once, by the same person.
            let is_another = next(state).is_multiple_of(24);
            if is_another || deed.is_empty() {
                who = next(state) % 5;
                deed = DEEDS[usize::try_from(next(state) % 10).expect("small")];
            }
            let step = 1 + next(state) % if is_another { 5_400_000 } else { 20_000 };
            ago_ms -= i64::try_from(step).expect("small");
            let mut event = named(n, deed, &format!("u-{who}"));
            // Admins are elsewhere now and then, and accounts at two ends of the world.
            let is_elsewhere = next(state).is_multiple_of(3);
            let (country, network, device) = match deed {
                "ADMIN_ROLE_GRANTED" if is_elsewhere => ("FR", "198.51.100.7", "curl/8.0"),
                "USER_LOGIN" if is_elsewhere => ("JP", "203.0.113.7", FIREFOX),
                _ => ("DE", "203.0.113.7", FIREFOX),
            };
            event.context.ip = network.parse().ok();
            event.context.user_agent = Some(device.to_owned());
            event.context.place =
                Some(shared::event::Place { country: Some(country.to_owned()), ..Default::default() });
            let has_failed = next(state).is_multiple_of(3);
            event.outcome = if has_failed { Outcome::Failure } else { Outcome::Success };
            event.request.status = Some(if has_failed { 403 } else { 200 });
            let on_oneself = next(state).is_multiple_of(2);
            event.entity = Some(Entity {
                kind: "agent".to_owned().try_into().expect("a kind"),
                id: Some(if on_oneself { format!("u-{who}") } else { "a-1".to_owned() }),
                name: None,
            });
            let tokens = if next(state).is_multiple_of(12) { 90_000 } else { 1_000 + next(state) % 500 };
            event.details = Some(shared::event::JsonText::from(&json!({"tokens_used": tokens})));
            at(event, TimeDelta::milliseconds(ago_ms))
        })
        .collect()
}

#[tokio::test]
async fn a_trial_of_each_rule_finds_what_it_raised_as_events_came() {
    let server = Server::with(&[("EDGETRAIL__ACCESS__RECORD_READS", "false")]).await;
    let mut producer = server.producer().await;
    // An event before which there is nothing, and at which the task begins.
    server.send(&producer.seal(&[at(named(0, "SEEN", "nobody"), TimeDelta::days(11))])).await;
    looked(&server).await;
    let mut state = 7;
    let events = ten_days(&mut state, 3_000);
    let mut rest = events.as_slice();
    while !rest.is_empty() {
        let some = usize::try_from(1 + next(&mut state) % 90).expect("small").min(rest.len());
        assert_eq!(server.send(&producer.seal(&rest[..some])).await["stored"], some);
        rest = &rest[some..];
        if next(&mut state).is_multiple_of(9) {
            looked(&server).await;
        }
    }
    looked(&server).await;
    let demo = crate::support::tenant("demo");
    let live = ingest::store::alerts::list(&server.store, "demo", None, None, 100_000).await.expect("listed");
    let span = (Utc::now() - TimeDelta::days(12), Utc::now());
    let rules = ingest::detect::rule::read(ingest::detect::SHIPPED).expect("right");
    let mut fired = Vec::new();
    for rule in rules.iter().filter(|rule| !rule.is_by_clock()) {
        let trial = ingest::detect::trial::run(&server.store, &demo, rule, span).await.expect("tried");
        let sorted = |mut all: Vec<_>| {
            all.sort_unstable();
            all
        };
        let tried = sorted(
            trial
                .said
                .iter()
                .map(|said| {
                    let alike: Vec<String> = said.alike.iter().map(|(_, value)| value.clone()).collect();
                    let fired = &said.fired;
                    (alike, fired.events, fired.first_at, fired.last_at, fired.evidence.clone())
                })
                .collect(),
        );
        let raised = sorted(
            live.iter()
                .filter(|alert| alert.rule == rule.id)
                .map(|alert| {
                    let events = usize::try_from(alert.events).expect("few");
                    let alike = alert.alike.clone().expect("nobody was erased");
                    (alike, events, alert.first_at, alert.last_at, alert.evidence.clone())
                })
                .collect(),
        );
        assert_eq!(raised, tried, "{}", rule.id);
        if !raised.is_empty() {
            fired.push(rule.id.as_str());
        }
    }
    for rule in [
        "brute-force",
        "second-factor-guessing",
        "impossible-travel",
        "admin-new-country",
        "admin-new-network",
        "admin-new-device",
        "mass-deletion",
        "mass-export",
        "permission-probing",
        "self-granted-role",
        "token-reuse",
        "token-spike",
    ] {
        assert!(fired.contains(&rule), "{rule} had nothing to say: {fired:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn many_accounts_are_asked_about_together_and_get_the_answers_that_each_would_get() {
    const ACCOUNTS: usize = 2_000;
    const EACH: usize = 5;
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let events: Vec<_> = (0..ACCOUNTS * EACH)
        .map(|n| {
            let ago = TimeDelta::milliseconds(i64::try_from(ACCOUNTS * EACH - n).expect("small") * 50);
            failed(n as u64, &format!("a{}@example.com", n % ACCOUNTS), ago)
        })
        .collect();
    for some in events.chunks(100) {
        assert_eq!(server.send(&producer.seal(some)).await["stored"], 100);
    }
    looked(&server).await;

    let rule = ingest::detect::rule::read(ingest::detect::SHIPPED).expect("right").remove(0);
    let span = (Utc::now() - TimeDelta::hours(1), Utc::now());
    let question = |n: usize| ingest::store::search::Question {
        tenant: "demo".to_owned(),
        key: vec![format!("a{n}@example.com")],
        span,
    };
    let questions: Vec<_> = (0..ACCOUNTS).map(question).collect();
    let mut transaction = server.store.begin().await.expect("begun");
    let mut answers = async |questions: &[ingest::store::search::Question]| {
        let (nothing, most) = (ingest::store::search::Reading::Nothing, ingest::store::search::Most(50_000));
        ingest::store::search::alike(&mut transaction, &rule.wanted(), &rule.by, questions, nothing, most)
            .await
            .expect("answered")
    };
    let together = answers(&questions).await;
    assert!(together.iter().all(|events| events.len() == EACH));
    for n in (0..ACCOUNTS).step_by(20) {
        assert_eq!(answers(&questions[n..=n]).await[0], together[n], "account {n}");
    }
    transaction.rollback().await.expect("ended");
    server.stop().await;
}

#[tokio::test]
async fn rules_and_alerts_are_read_tried_and_closed_from_a_terminal() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    server.send(&producer.seal(&[named(1, "TOKEN_REUSE_DETECTED", "u-1")])).await;
    eventually(async || !alerts(&server, "token-reuse").await.is_empty()).await;
    let url = format!("http://{}", server.address);
    let run = async |arguments: &[&str]| {
        let variables = [("EDGETRAIL_URL", url.as_str()), ("EDGETRAIL_API_KEY", server.admin_key())];
        crate::support::audit::edgetrail_with(&[&["detection"], arguments].concat(), &variables).await
    };
    let (status, out, err) = run(&["rules"]).await;
    assert_eq!(status, 0, "{err}");
    let silence = out.lines().find(|line| line.starts_with("audit-silence")).expect("the rule");
    assert!(
        silence.contains("critical") && silence.contains("silence") && silence.contains("host"),
        "{silence}"
    );
    let (_, out, _) = run(&["rules", "--json"]).await;
    let rules: Value = serde_json::from_str(&out).expect("JSON");
    assert!(rules["rules"].as_array().is_some_and(|rules| rules.len() >= 25), "{rules}");

    let (_, out, _) = run(&["alerts", "--state", "open"]).await;
    let line = out.lines().find(|line| line.contains("token-reuse")).expect("the alert");
    let id = line.split_whitespace().next_back().expect("an id").to_owned();
    let (_, out, _) = run(&["alerts", "--json"]).await;
    assert!(
        out.lines().all(|line| serde_json::from_str::<Value>(line).is_ok_and(|it| it["rule"].is_string()))
    );
    let (status, out, err) = run(&["close", &id, "--note", "a retry"]).await;
    assert_eq!((status, out), (0, format!("{id}: closed\n")), "{err}");
    let (status, _, err) = run(&["close", &id]).await;
    assert!(status == 1 && err.contains("closed before"), "{err}");
    let (_, out, _) = run(&["alerts", "--state", "open"]).await;
    assert!(!out.contains(&id), "{out}");

    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("rule.toml");
    let rule = "[[rule]]\nid = \"one\"\ntitle = \"One\"\nseverity = \"info\"\nfind = \"action:TOKEN_*\"\n";
    std::fs::write(&file, rule).expect("written");
    let path = file.to_str().expect("text");
    let (status, out, err) = run(&["try", path, "--last", "7d"]).await;
    assert!(status == 0 && out.contains("would have fired 1 times"), "{out}{err}");
    std::fs::write(&file, format!("{rule}shoe = 1\n")).expect("written");
    let (status, _, err) = run(&["try", path]).await;
    assert!(status == 1 && err.contains("cannot be used"), "{err}");
    let (status, _, err) = run(&["try", "/nowhere.toml"]).await;
    assert!(status == 2 && err.contains("/nowhere.toml"), "{err}");
    server.stop().await;
}

#[tokio::test]
async fn a_person_gets_the_alerts_that_name_them_and_what_is_closed_goes_with_its_events() {
    let server = Server::with(&[("EDGETRAIL__RETENTION__AUTOMATIC", "false")]).await;
    let mut producer = server.producer().await;
    let events = [
        named(1, "TOKEN_REUSE_DETECTED", "u-1"),
        named(2, "TOKEN_REUSE_DETECTED", "u-2"),
        at(named(3, "TOKEN_REUSE_DETECTED", "u-3"), TimeDelta::minutes(5)),
    ];
    server.send(&producer.seal(&events)).await;
    eventually(async || alerts(&server, "token-reuse").await.len() == 3).await;
    let reply = server.post_as_admin("/v1/subjects/u-1/export", "").await;
    let head = reply.text();
    let head = head.lines().find(|line| line.starts_with("{\"export\"")).expect("a head").to_owned();
    let head: Value = serde_json::from_str(&head).expect("JSON");
    let theirs = head["export"]["alerts"].as_array().expect("alerts");
    assert_eq!(theirs.len(), 1, "{head}");
    assert_eq!(
        (&theirs[0]["rule"], &theirs[0]["alike"]),
        (&json!("token-reuse"), &json!({"account": "u-1"}))
    );

    let of = async |account: &str| {
        let all = alerts(&server, "token-reuse").await;
        all.into_iter().find(|alert| alert["alike"]["account"] == account)
    };
    let close =
        format!("/v1/alerts/{}/close", of("u-1").await.expect("raised")["id"].as_str().expect("an id"));
    server.post_as_admin(&close, "").await;
    let mut transaction = server.store.begin_as_keeper().await.expect("begun");
    let (old, young) = (Utc::now() + TimeDelta::days(1), Utc::now() - TimeDelta::days(1));
    let none = ingest::store::alerts::expire(&mut transaction, "demo", (old, young)).await.expect("done");
    assert_eq!(none, 0, "they are critical, and critical events are kept longer");
    let some = ingest::store::alerts::expire(&mut transaction, "demo", (young, old)).await.expect("done");
    assert_eq!(some, 3, "one goes, two lose whom they name");
    transaction.commit().await.expect("committed");
    let left = alerts(&server, "token-reuse").await;
    assert_eq!(left.len(), 2, "what nobody has looked at stays");
    assert!(left.iter().all(|alert| alert["alike"].is_null()), "{left:?}");
    server.stop().await;
}
