//! What people see of themselves by a token of the application: their own acts in plain words, nothing of anybody else, and a way to
//! say that something was not them.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64};
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use shared::event::{
    Action, Actor, ChangeSet, Entity, EntityType, Event, JsonText, Outcome, Place, Quality, Severity, Trust,
};
use sqlx::Connection as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::{Dial, Response, Server, call, eventually, sample_at};

const SECRET: &str = "a secret of the project, 32 bytes or more";
const APP: &str = "[access.app]\nissuer = 'https://ref.example/auth/v1'\ntenant = 'demo'\n\
                   hs256_key = 'a secret of the project, 32 bytes or more'\n\
                   [own_activity]\norigins = ['https://app.example.com']\n";
const WEBHOOK_KEY: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const FAST: [(&str, &str); 1] = [("EDGETRAIL__LOG__INTERVAL_MS", "20")];
const ALICE: &str = "5b1f-alice";
const BOB: &str = "77aa-bob";
const FIREFOX: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0";
const SAFARI: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                      Version/17.5 Mobile/15E148 Safari/604.1";
const ORIGIN: (&str, &str) = ("origin", "http://test");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

pub(crate) fn token_with(subject: &str, changes: &[(&str, Value)], secret: &str) -> String {
    let mut payload = json!({
        "iss": "https://ref.example/auth/v1", "aud": "authenticated", "sub": subject,
        "email": format!("{subject}@example.com"), "role": "authenticated", "exp": 4_000_000_000_u64,
    });
    for (name, value) in changes {
        payload[*name] = value.clone();
    }
    let data = format!("{}.{}", BASE64.encode(r#"{"alg":"HS256"}"#), BASE64.encode(payload.to_string()));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(data.as_bytes());
    format!("{data}.{}", BASE64.encode(mac.finalize().into_bytes()))
}

fn token(subject: &str) -> String {
    token_with(subject, &[], SECRET)
}

/// Something that somebody proven did.
pub(crate) fn act(minutes_ago: i64, action: &str, subject: &str, entity: Option<(&str, &str)>) -> Event {
    let mut event = sample_at(Utc::now() - TimeDelta::minutes(minutes_ago), 0);
    event.action = Action::try_from(action.to_owned()).expect("an action");
    event.outcome = Outcome::Success;
    event.severity = Severity::Info;
    event.actor = Some(Actor {
        id: subject.to_owned(),
        email: Some(format!("{subject}@example.com")),
        ..Actor::default()
    });
    event.entity = entity.map(|(kind, id)| Entity {
        kind: EntityType::try_from(kind.to_owned()).expect("a type"),
        id: Some(id.to_owned()),
        name: Some(format!("name of {id}")),
    });
    event.context.user_agent = Some(FIREFOX.to_owned());
    event.context.session = Some(format!("session of {subject}"));
    event.context.place = Some(Place { country: Some("DE".to_owned()), ..Place::default() });
    event.details = Some(JsonText::from(&json!({"note": format!("note of {subject}")})));
    event
}

async fn started(events: &[Event]) -> Server {
    started_with(APP, events).await
}

async fn started_with(toml: &str, events: &[Event]) -> Server {
    let server = Server::configured(toml, &FAST).await;
    let mut producer = server.producer().await;
    let sent = server.send(&producer.seal(events)).await;
    assert_eq!(sent["status"], 200, "{sent}");
    server
}

async fn activity(server: &Server, subject: &str, query: &str) -> Value {
    let answer = server.get_with(&format!("/v1/me/activity{query}"), &token(subject)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn texts(told: &Value) -> Vec<&str> {
    let activity = told["activity"].as_array().expect("a list");
    activity.iter().map(|entry| entry["text"].as_str().expect("text")).collect()
}

#[tokio::test]
async fn people_read_their_own_acts_in_plain_words_and_nothing_of_anybody_else() {
    let mut phone = act(5, "USER_LOGIN", ALICE, Some(("user", ALICE)));
    phone.context.user_agent = Some(SAFARI.to_owned());
    phone.context.session = Some("another session".to_owned());
    phone.context.place = Some(Place { country: Some("FR".to_owned()), ..Place::default() });
    let mut renamed = act(8, "AGENT_UPDATED", ALICE, Some(("agent", "a-1")));
    let fields = json!({"name": {"from": "Old", "to": "New"}});
    renamed.changes = Some(ChangeSet { quality: Quality::Exact, fields: JsonText::from(&fields) });
    let mut asserted = act(4, "AGENT_CREATED", ALICE, Some(("agent", "claimed")));
    asserted.trust = Trust::Asserted;
    let server = started(&[
        act(10, "USER_LOGIN", ALICE, Some(("user", ALICE))),
        act(9, "AGENT_CREATED", BOB, Some(("agent", "b-1"))),
        renamed,
        act(7, "USER_PASSWORD_CHANGED", BOB, Some(("user", ALICE))),
        act(6, "DATA_ACCESSED", BOB, Some(("user", ALICE))),
        phone,
        asserted,
        act(3, "ADMIN_ROLE_GRANTED", ALICE, Some(("user", BOB))),
        act(2, "AGENT_RUN", ALICE, Some(("agent", "a-1"))),
        act(1, "PROFILE_VIEWED", ALICE, Some(("user", ALICE))),
    ])
    .await;
    let told = activity(&server, ALICE, "").await;
    assert_eq!(
        texts(&told),
        [
            "You ran agent name of a-1",
            "You granted admin role on user",
            "You signed in",
            "Somebody else who is signed in changed your password",
            "You updated agent name of a-1",
            "You signed in",
        ]
    );
    for alien in ["bob", "batch", "rule", "route", "session", "trust", "severity", "note of"] {
        assert!(!told.to_string().contains(alien), "{alien}: {told:#}");
    }
    let phone = &told["activity"][2];
    assert_eq!(phone["device"], json!({"name": "Safari on an iPhone", "new": true}));
    assert_eq!(phone["place"], json!({"name": "France", "country": "FR", "new": true}));
    assert_eq!((&phone["ip"], &phone["by"]), (&json!("203.0.113.7"), &json!("you")));
    let by_another = &told["activity"][3];
    assert_eq!(
        (&by_another["device"], &by_another["place"], &by_another["ip"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!(
        told["activity"][5]["device"]["new"],
        Value::Null,
        "the first that is known is not called new"
    );
    assert!(told["activity"][4]["changes"].as_str().is_some_and(|words| words.contains("New")), "{told:#}");
    assert_eq!(told["devices"][0]["name"], "Firefox on Windows");
    assert_eq!(told["places"].as_array().map(Vec::len), Some(2));
    assert_eq!(texts(&activity(&server, BOB, "").await).len(), 3);
    assert_eq!(texts(&activity(&server, "nobody", "").await), [""; 0]);
    server.stop().await;
}

#[tokio::test]
async fn a_list_is_narrowed_and_turned_over_and_another_persons_cursor_is_none() {
    let mut events: Vec<Event> =
        (0..9).map(|n| act(60 - n, "AGENT_UPDATED", ALICE, Some(("agent", "a")))).collect();
    events.push(act(30, "USER_LOGIN", ALICE, None));
    events.push(act(29, "AGENT_RUN", ALICE, None));
    events.push(act(28, "SESSION_REFRESHED", ALICE, None));
    let server = started(&events).await;
    for (kind, count) in [("sign-ins", 1), ("changes", 9), ("runs", 1), ("other", 1)] {
        assert_eq!(texts(&activity(&server, ALICE, &format!("?kind={kind}")).await).len(), count, "{kind}");
    }
    let mut seen = Vec::new();
    let mut query = "?limit=4".to_owned();
    let mut first = None;
    loop {
        let page = activity(&server, ALICE, &query).await;
        seen.extend(page["activity"].as_array().expect("a list").iter().map(|entry| entry["id"].to_string()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        first.get_or_insert(next.to_owned());
        query = format!("?limit=4&cursor={next}");
    }
    assert_eq!(seen.len(), 11);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 11, "each once");
    let first = first.expect("more than one page");
    for (subject, query) in [
        (BOB, format!("?limit=4&cursor={first}")),
        (ALICE, format!("?kind=changes&cursor={first}")),
        (ALICE, "?cursor=AAAA".to_owned()),
        (ALICE, "?kind=secrets".to_owned()),
        (ALICE, "?limit=0".to_owned()),
        (ALICE, "?from=yesterday".to_owned()),
        (ALICE, "?actor=77aa-bob".to_owned()),
    ] {
        let answer = server.get_with(&format!("/v1/me/activity{query}"), &token(subject)).await;
        let problem = answer.problem(400);
        let name = query[1..]
            .split(['=', '&'])
            .rfind(|word| ["cursor", "kind", "limit", "from", "actor"].contains(word));
        assert!(
            problem["detail"].as_str().is_some_and(|text| text.starts_with(name.expect("a name"))),
            "{problem}"
        );
    }
    let window = format!("?from={}", (Utc::now() - TimeDelta::minutes(31)).format("%Y-%m-%dT%H:%M:%SZ"));
    assert_eq!(texts(&activity(&server, ALICE, &window).await).len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn only_a_valid_token_of_the_application_opens_it_and_it_opens_nothing_else() {
    let server = started(&[act(5, "USER_LOGIN", ALICE, None)]).await;
    let bad = [
        token_with(ALICE, &[("exp", json!(1_000_000_000))], SECRET),
        token_with(ALICE, &[("iss", json!("https://evil.example"))], SECRET),
        token_with(ALICE, &[("aud", json!("other"))], SECRET),
        token_with(ALICE, &[("role", json!("service_role"))], SECRET),
        token_with(ALICE, &[("sub", Value::Null)], SECRET),
        token_with(ALICE, &[], "another secret of 32 bytes or even more"),
        "a.b.c".to_owned(),
        server.admin_key().to_owned(),
        server.auditor_key().to_owned(),
    ];
    for token in &bad {
        server.get_with("/v1/me/activity", token).await.problem(401);
        server.post_with("/v1/me/export", token, "").await.problem(401);
    }
    server.call("GET", "/v1/me/activity").await.problem(401);
    server.call("POST", "/v1/me/activity/018f0000-0000-7000-8000-000000000000/disown").await.problem(401);
    let alice = token(ALICE);
    for path in
        ["/v1/events", "/v1/session", "/v1/actors/5b1f-alice", "/v1/coverage", "/v1/access", "/v1/openings"]
    {
        server.get_with(path, &alice).await.problem(401);
    }
    server.post_with("/v1/subjects/5b1f-alice/export", &alice, "").await.problem(401);
    server.stop().await;

    let unset = Server::configured(&APP.replace("tenant = 'demo'\n", ""), &FAST).await;
    let answer = unset.get_with("/v1/me/activity", &alice).await.problem(401);
    assert!(answer["detail"].as_str().is_some_and(|text| text.contains("access.app.tenant")), "{answer}");
    unset.stop().await;
}

#[tokio::test]
async fn pages_of_the_applications_sites_may_ask_and_no_others() {
    let server = started(&[act(5, "USER_LOGIN", ALICE, None)]).await;
    let bearer = format!("Bearer {}", token(ALICE));
    let path = "/v1/me/activity";
    for (origin, allowed) in [
        ("https://app.example.com", true),
        ("https://app.example.com.evil.example", false),
        ("http://app.example.com", false),
        ("null", false),
    ] {
        let asked = [("origin", origin), ("access-control-request-method", "GET")];
        let preflight = server.call_with("OPTIONS", path, &asked).await;
        assert_eq!(preflight.status, 204);
        let answer = server.call_with("GET", path, &[("origin", origin), ("authorization", &bearer)]).await;
        let refused = server.call_with("GET", path, &[("origin", origin)]).await;
        for told in [&preflight, &answer, &refused] {
            let line = format!("access-control-allow-origin: {origin}\r\n");
            assert_eq!(format!("{}\r\n", told.head).contains(&line), allowed, "{origin}: {}", told.head);
            assert!(!told.head.contains("allow-credentials"), "{}", told.head);
            assert!(told.head.contains("vary: origin"), "{}", told.head);
        }
        assert_eq!(preflight.head.contains("access-control-allow-headers: authorization"), allowed);
    }
    let elsewhere = [("origin", "https://app.example.com"), ("authorization", bearer.as_str())];
    assert!(!server.call_with("GET", "/v1/events", &elsewhere).await.head.contains("access-control"));
    let component = server.call("GET", "/assets/edgetrail-activity.js").await;
    assert!(component.head.contains("access-control-allow-origin: *"), "{}", component.head);
    server.stop().await;
}

#[tokio::test]
async fn reading_is_on_record_and_has_a_limit() {
    let variables =
        [FAST[0], ("EDGETRAIL__ACCESS__RECORD_READS", "true"), ("EDGETRAIL__ACCESS__READS_WINDOW_MS", "10")];
    let server = Server::configured(APP, &variables).await;
    let mut refused = None;
    for _ in 0..130 {
        let answer = server.get_with("/v1/me/activity", &token(ALICE)).await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a limit");
    refused.problem(429);
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    assert_eq!(
        server.get_with("/v1/me/activity", &token(BOB)).await.status,
        200,
        "each has a limit of his own"
    );
    eventually(async || {
        let read = server.all("&action=AUDIT_READ&actor=5b1f-alice").await;
        read.iter().any(|event| event["details"]["kind"] == "own_activity")
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_download_has_the_runs_that_they_asked_for_and_none_that_only_names_them() {
    let run = |minutes_ago, subject: &str, id: &str| Event {
        details: Some(JsonText::from(&json!({"execution_id": id, "success": true, "tokens_used": 5}))),
        ..act(minutes_ago, "AGENT_EXECUTED", subject, Some(("agent", id)))
    };
    let mut claimed = run(7, ALICE, "claimed");
    claimed.trust = Trust::Asserted;
    claimed.details =
        Some(JsonText::from(&json!({"execution_id": "claimed", "success": true, "user_id": ALICE})));
    let server = started(&[run(9, ALICE, "hers"), run(8, BOB, "his"), claimed]).await;
    server.sequenced(3).await;
    eventually(async || {
        let runs = server.get("/v1/executions").await.json();
        runs["executions"].as_array().is_some_and(|runs| runs.len() == 3)
    })
    .await;
    let named = server.get("/v1/executions?user=5b1f-alice").await.json();
    assert_eq!(named["executions"].as_array().map(Vec::len), Some(2), "one of them is a claim: {named}");
    let answer = server.post_with("/v1/me/export?format=ndjson", &token(ALICE), "").await;
    let text = answer.text();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let runs: Vec<Value> = lines.map(|line| line["run"].clone()).filter(|run| !run.is_null()).collect();
    let told: Vec<_> = runs.iter().map(|run| (&run["id"], &run["status"])).collect();
    assert_eq!(told, [(&json!("hers"), &json!("completed"))], "{text}");
    server.stop().await;
}

#[tokio::test]
async fn a_download_holds_what_is_theirs_with_proofs_and_comes_once_an_hour() {
    let server = started(&[
        act(9, "USER_LOGIN", ALICE, Some(("user", ALICE))),
        act(8, "AGENT_CREATED", BOB, Some(("agent", ALICE))),
        act(7, "USER_PASSWORD_CHANGED", BOB, Some(("user", ALICE))),
        act(6, "PROFILE_UPDATED", BOB, Some(("user", BOB))),
        act(5, "ADMIN_ROLE_GRANTED", ALICE, Some(("user", BOB))),
    ])
    .await;
    server.sequenced(5).await;
    let alice = token(ALICE);
    let answer = server.post_with("/v1/me/export?format=ndjson", &alice, "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.head.contains("attachment"), "{}", answer.head);
    let text = answer.text();
    for alien in ["77aa-bob@example.com", "note of 77aa-bob", "session of 77aa-bob", "name of 77aa-bob"] {
        assert!(!text.contains(alien), "{alien}: {text}");
    }
    let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let events: Vec<_> = lines.iter().filter(|line| line["action"].is_string()).collect();
    let told: Vec<_> = events
        .iter()
        .map(|line| (line["action"].as_str().expect("text"), line["as"].as_str().expect("text")))
        .collect();
    // The event of the download itself may be stored before the list is read.
    let told: Vec<_> = told.into_iter().filter(|(action, _)| *action != "SUBJECT_EXPORTED").collect();
    assert_eq!(
        told,
        [("ADMIN_ROLE_GRANTED", "actor"), ("USER_PASSWORD_CHANGED", "subject"), ("USER_LOGIN", "actor")]
    );
    let changed = events.iter().find(|line| line["action"] == "USER_PASSWORD_CHANGED").expect("one");
    assert!(
        changed["proof"].is_string() && changed["actor"].is_null() && changed["context"]["ip"].is_null(),
        "{changed:#}"
    );
    assert!(lines.iter().any(|line| line["summary"]["events"].as_u64() >= Some(3)), "{text}");

    let again = server.post_with("/v1/me/export", &alice, "").await;
    again.problem(429);
    assert!(again.head.contains("retry-after: "), "{}", again.head);
    for _ in 0..2 {
        server.post_with("/v1/me/export", &token("nobody"), "").await.problem(404);
    }
    server.post_with("/v1/me/export?format=xml", &token(BOB), "").await.problem(400);
    let recorded = server.eventually("&action=SUBJECT_EXPORTED", 1).await;
    assert_eq!(
        (&recorded[0]["actor"]["id"], &recorded[0]["details"]["by"]),
        (&json!(ALICE), &json!("themselves"))
    );
    server.stop().await;
}

/// A server of the application that is told, and answers as it is set to.
struct Sink {
    port: u16,
    told: Arc<Mutex<Vec<(String, String)>>>,
    status: Arc<Mutex<Option<u16>>>,
}

impl Sink {
    /// One that answers with a status, or never.
    async fn open(status: Option<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (told, status) = (Arc::<Mutex<Vec<_>>>::default(), Arc::new(Mutex::new(status)));
        let (heard, answers) = (Arc::clone(&told), Arc::clone(&status));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (heard, answers) = (Arc::clone(&heard), Arc::clone(&answers));
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    let (head, body) = loop {
                        let mut piece = [0; 4_096];
                        let read = stream.read(&mut piece).await.expect("a request");
                        bytes.extend_from_slice(&piece[..read]);
                        let text = String::from_utf8_lossy(&bytes).into_owned();
                        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                        let length =
                            header(head, "content-length").and_then(|text| text.parse::<usize>().ok());
                        if length.is_some_and(|length| body.len() >= length) {
                            break (head.to_owned(), body.to_owned());
                        }
                    };
                    heard.lock().expect("no panic").push((head, body));
                    let status = *answers.lock().expect("no panic");
                    match status {
                        Some(status) => {
                            let answer = format!(
                                "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                            );
                            let _ = stream.write_all(answer.as_bytes()).await;
                        }
                        None => tokio::time::sleep(std::time::Duration::from_secs(60)).await,
                    }
                });
            }
        });
        Self { port, told, status }
    }

    fn config(&self) -> String {
        format!(
            "{APP}[own_activity.webhook]\nurl = 'http://127.0.0.1:{}/hook'\nsecret = 'whsec_{WEBHOOK_KEY}'\n\
             allow_private = true\n",
            self.port
        )
    }

    fn told(&self) -> Vec<(String, String)> {
        self.told.lock().expect("no panic").clone()
    }

    async fn heard(&self, count: usize) -> Vec<(String, String)> {
        eventually(async || self.told().len() >= count).await;
        let told = self.told();
        assert_eq!(told.len(), count, "{told:?}");
        told
    }
}

fn header(head: &str, name: &str) -> Option<String> {
    let line = head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}: ")))?;
    line.split_once(": ").map(|(_, value)| value.trim().to_owned())
}

/// Asserts that a message is signed as Standard Webhooks say.
fn check_signature((head, body): &(String, String)) {
    let of = |name| header(head, name).unwrap_or_else(|| panic!("no {name}: {head}"));
    let key = STANDARD.decode(WEBHOOK_KEY).expect("base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length");
    mac.update(format!("{}.{}.{body}", of("webhook-id"), of("webhook-timestamp")).as_bytes());
    assert_eq!(of("webhook-signature"), format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())));
}

async fn say_not_me(server: &Server, subject: &str, id: &str) -> Response {
    server.post_with(&format!("/v1/me/activity/{id}/disown"), &token(subject), "").await
}

#[tokio::test]
async fn an_event_is_disowned_once_by_whose_it_is_and_the_application_is_told() {
    let sink = Sink::open(Some(204)).await;
    let login = act(5, "USER_LOGIN", ALICE, Some(("user", ALICE)));
    let changed = act(4, "USER_PASSWORD_CHANGED", BOB, Some(("user", ALICE)));
    let bobs = act(3, "AGENT_CREATED", BOB, None);
    let server = started_with(&sink.config(), &[login.clone(), changed.clone(), bobs.clone()]).await;
    say_not_me(&server, ALICE, &bobs.id.to_string()).await.problem(404);
    say_not_me(&server, ALICE, "no-id").await.problem(404);
    let id = login.id.to_string();
    let said = say_not_me(&server, ALICE, &id).await.json();
    assert_eq!((&said["already"], &said["application_is_told"]), (&json!(false), &json!(true)));
    assert!(said["next"].as_str().is_some_and(|text| text.contains("password")), "{said}");
    assert_eq!(say_not_me(&server, ALICE, &id).await.json()["already"], true);
    let recorded = server.eventually("&action=ACTIVITY_DISOWNED", 1).await;
    assert_eq!(recorded[0]["severity"], "critical");
    assert_eq!((&recorded[0]["actor"]["id"], &recorded[0]["entity"]["id"]), (&json!(ALICE), &json!(id)));
    let told = sink.heard(1).await;
    check_signature(&told[0]);
    let body: Value = serde_json::from_str(&told[0].1).expect("JSON");
    assert_eq!((&body["type"], &body["data"]["user"]), (&json!("activity.disowned"), &json!(ALICE)));
    assert_eq!(body["data"]["event"]["id"], json!(id));

    // The same event, seen from both sides, is two statements.
    let shared = changed.id.to_string();
    assert_eq!(say_not_me(&server, ALICE, &shared).await.json()["already"], false);
    assert_eq!(say_not_me(&server, BOB, &shared).await.json()["already"], false);
    let told = sink.heard(3).await;
    let mut users: Vec<String> = told[1..]
        .iter()
        .map(|(_, body)| serde_json::from_str::<Value>(body).expect("JSON")["data"]["user"].to_string())
        .collect();
    users.sort();
    assert_eq!(users, [format!("\"{ALICE}\""), format!("\"{BOB}\"")]);
    let told = activity(&server, ALICE, "?kind=sign-ins").await;
    assert_eq!(told["activity"][0]["disowned"], true);
    server.stop().await;
}

#[tokio::test]
async fn a_sink_that_hangs_delays_nobody() {
    let sink = Sink::open(None).await;
    let login = act(5, "USER_LOGIN", ALICE, None);
    let server = started_with(&sink.config(), std::slice::from_ref(&login)).await;
    let began = std::time::Instant::now();
    assert_eq!(say_not_me(&server, ALICE, &login.id.to_string()).await.status, 200);
    sink.heard(1).await;
    server.eventually("&action=ACTIVITY_DISOWNED", 1).await;
    assert_eq!(texts(&activity(&server, ALICE, "").await).len(), 2);
    server.stop().await;
    assert!(began.elapsed() < std::time::Duration::from_secs(9), "nothing waits for the sink's ten seconds");
}

#[tokio::test]
async fn what_does_not_arrive_is_sent_again_and_given_up_after_three_days() {
    let sink = Sink::open(Some(500)).await;
    let now = Utc::now();
    let dial = Dial::new(now);
    let server = Server::configured_at(&dial, &sink.config()).await;
    let login = act(5, "USER_LOGIN", ALICE, None);
    let mut producer = server.producer().await;
    server.send(&producer.seal(std::slice::from_ref(&login))).await;
    say_not_me(&server, ALICE, &login.id.to_string()).await;
    let first = sink.heard(1).await;
    dial.turn(now + TimeDelta::seconds(31));
    let told = sink.heard(2).await;
    told.iter().for_each(check_signature);
    assert_eq!(
        header(&told[1].0, "webhook-id"),
        header(&first[0].0, "webhook-id"),
        "a receiver knows it again"
    );
    assert_eq!(told[0].1, told[1].1);
    *sink.status.lock().expect("no panic") = Some(410);
    dial.turn(now + TimeDelta::days(2));
    sink.heard(3).await;
    dial.turn(now + TimeDelta::days(3) + TimeDelta::seconds(1));
    let given_up = server.eventually("&action=DISOWNED_NOT_TOLD", 1).await;
    assert_eq!(given_up[0]["details"]["attempts"], 3);
    dial.turn(now + TimeDelta::days(5));
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert_eq!(sink.told().len(), 3, "nothing more is sent");
    server.stop().await;
}

#[tokio::test]
async fn what_was_said_of_an_event_goes_with_the_event() {
    let login = act(5, "USER_LOGIN", ALICE, None);
    let server = started(std::slice::from_ref(&login)).await;
    say_not_me(&server, ALICE, &login.id.to_string()).await;
    let mut connection = sqlx::PgConnection::connect_with(&server.database).await.expect("a connection");
    let count = async |connection: &mut sqlx::PgConnection| -> i64 {
        sqlx::query_scalar("select count(*) from activity_disowned")
            .fetch_one(connection)
            .await
            .expect("a count")
    };
    ingest::store::own_activity::forget_gone(&server.store).await.expect("done");
    assert_eq!(count(&mut connection).await, 1);
    sqlx::query("delete from events where actor_id = '5b1f-alice' and action = 'USER_LOGIN'")
        .execute(&mut connection)
        .await
        .expect("the owner may");
    ingest::store::own_activity::forget_gone(&server.store).await.expect("done");
    assert_eq!(count(&mut connection).await, 0);
    server.stop().await;
}

/// Signs in on the page; the answer.
async fn sign_in(server: &Server, origin: (&str, &str), token: &str) -> Response {
    call(&server.address, "POST", "/me/sign-in", &[origin, FORM], format!("token={token}").as_bytes()).await
}

fn cookie(answer: &Response) -> Option<String> {
    let line = answer.raw_head.lines().find(|line| line.contains("__Host-edgetrail-me="))?;
    Some(line.split_once(": ")?.1.split(';').next()?.to_owned())
}

fn action<'p>(page: &'p str, start: &str) -> &'p str {
    let found = page
        .split("action=\"")
        .filter_map(|rest| rest.split('"').next())
        .find(|path| path.starts_with(start));
    found.unwrap_or_else(|| panic!("no form for {start}: {page}"))
}

#[tokio::test]
async fn a_session_of_ones_own_opens_ones_own_pages_and_nothing_else() {
    let hostile = "<script>window.hit=1</script>\"'&";
    let mut login = act(5, "AGENT_CREATED", ALICE, Some(("agent", "a")));
    login.entity.as_mut().expect("one").name = Some(hostile.to_owned());
    login.context.place = Some(Place { country: Some(hostile.to_owned()), ..Place::default() });
    let server = started(&[login.clone(), act(4, "AGENT_CREATED", BOB, None)]).await;
    let outside = call(&server.address, "GET", "/me", &[], &[]).await;
    assert_eq!(outside.status, 200);
    assert!(outside.text().contains("action=\"/me/sign-in\"") && outside.head.contains("script-src 'self'"));
    assert_eq!(sign_in(&server, ("origin", "https://evil.example"), &token(ALICE)).await.status, 403);
    let answer = sign_in(&server, ORIGIN, &token(ALICE)).await;
    assert_eq!((answer.status, answer.head.contains("location: /me\r\n")), (303, true), "{}", answer.head);
    let set = answer.raw_head.lines().find(|line| line.contains("__Host-edgetrail-me=")).expect("a cookie");
    assert!(set.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax"), "{set}");
    let cookie = cookie(&answer).expect("a session");
    let get = async |path: &str| call(&server.address, "GET", path, &[("cookie", &cookie)], &[]).await;

    let page = get("/me").await;
    let text = page.text();
    assert!(text.contains("You created agent") && text.contains("5b1f-alice@example.com"), "{text}");
    assert!(!text.contains(hostile) && !text.contains("bob"), "{text}");
    assert!(!text.contains("<style") && !text.contains(" style="), "{text}");
    assert!(!text.contains(&token(ALICE)[..40]), "no token in a page");

    // Nothing of what readers of a log see, and not the API that takes tokens.
    for path in ["/v1/events", "/v1/session", "/v1/me/activity", "/v1/actors/5b1f-alice"] {
        get(path).await.problem(401);
    }
    assert!(get("/").await.head.contains("location: /sign-in"));
    let as_reader = cookie.replace("__Host-edgetrail-me=", "__Host-edgetrail=");
    call(&server.address, "GET", "/v1/events", &[("cookie", &as_reader)], &[]).await.problem(401);

    let question = get(&format!("/me/activity/{}", login.id)).await.text();
    let deny = action(&question, "/me/activity/").to_owned();
    let bare = deny.split('?').next().expect("a path").to_owned();
    let post = async |path: &str, origin: (&str, &str)| {
        call(&server.address, "POST", path, &[("cookie", &cookie), origin, FORM], &[]).await
    };
    assert_eq!(post(&bare, ORIGIN).await.status, 403, "a form without the session's word");
    assert_eq!(post(&deny, ("origin", "https://evil.example")).await.status, 403);
    let said = post(&deny, ORIGIN).await;
    assert!(said.status == 303 && said.head.contains("location: /me?said=not-me"), "{}", said.head);
    server.eventually("&action=ACTIVITY_DISOWNED", 1).await;
    assert!(get("/me").await.text().contains("You said this was not you"));

    let download = post(action(&text, "/me/export"), ORIGIN).await;
    assert!(download.status == 200 && download.text().contains("\"summary\""), "{}", download.text());
    let out = post(action(&text, "/me/sign-out"), ORIGIN).await;
    assert!(out.raw_head.contains("Max-Age=0"), "{}", out.raw_head);
    server.stop().await;
}

#[tokio::test]
async fn a_session_ends_with_the_token_and_wrong_tokens_lock_their_address_out() {
    let now: DateTime<Utc> = Utc::now();
    let dial = Dial::new(now);
    let server = Server::configured_at(&dial, APP).await;
    let short = token_with(ALICE, &[("exp", json!(now.timestamp() + 120))], SECRET);
    let cookie = cookie(&sign_in(&server, ORIGIN, &short).await).expect("a session");
    let page = async || call(&server.address, "GET", "/me", &[("cookie", &cookie)], &[]).await.text();
    assert!(page().await.contains("What happened in your account"));
    dial.turn(now + TimeDelta::seconds(121));
    assert!(page().await.contains("action=\"/me/sign-in\""));
    for _ in 0..20 {
        let wrong = sign_in(&server, ORIGIN, &short).await;
        assert_eq!((wrong.status, wrong.head.contains("set-cookie")), (401, false));
        assert!(wrong.text().contains("role=\"alert\""));
    }
    let locked = sign_in(&server, ORIGIN, &token(ALICE)).await;
    assert_eq!(locked.status, 429, "{}", locked.text());
    assert!(locked.head.contains("retry-after: "));
    let long = sign_in(&server, ORIGIN, &"a".repeat(30_000)).await;
    assert!([413, 429].contains(&long.status), "{}", long.status);
    server.stop().await;
}
