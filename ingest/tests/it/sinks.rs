//! Events on their way to other systems: each kind of receiver gets what it is promised, in order, and nobody sees a secret.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{TimeDelta, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ingest::auth::Role;
use serde_json::{Value, json};
use shared::event::{ChangeSet, Event, JsonText, Quality};
use tokio::sync::watch;

use crate::exports::is_of_ocsf;
use crate::support::receiver::{Manner, Receiver, Syslog, number};
use crate::support::{Server, eventually, new_key, sample};

/// A backend that may forward to this machine and tries again soon.
pub(crate) struct Forwarding {
    pub(crate) server: Server,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) _keys: tempfile::TempDir,
}

impl Forwarding {
    pub(crate) async fn start(more: &[(&str, &str)]) -> Self {
        let keys = tempfile::tempdir().expect("a directory");
        let key_file = keys.path().join("sinks.key").display().to_string();
        let mut variables: Vec<(String, String)> = [
            ("EDGETRAIL__LOG__INTERVAL_MS", "20"),
            ("EDGETRAIL__SINKS__ALLOW_PRIVATE", "true"),
            ("EDGETRAIL__SINKS__RETRY_MS", "40"),
            ("EDGETRAIL__SINKS__MAX_RETRY_MS", "200"),
            ("EDGETRAIL__SINKS__TIMEOUT_MS", "1000"),
            ("EDGETRAIL__SINKS__FAILING_AFTER_MS", "1500"),
            ("EDGETRAIL__SINKS__KEY_FILE", &key_file),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        variables.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let given: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (&**name, &**value)).collect();
        Self { server: Server::with(&given).await, variables: variables.clone(), _keys: keys }
    }

    /// Stops the backend and starts it on the same data.
    pub(crate) async fn restart(self) -> Self {
        let given: Vec<(&str, &str)> =
            self.variables.iter().map(|(name, value)| (&**name, &**value)).collect();
        Self { server: self.server.restart_after(&given, |_| ()).await, ..self }
    }

    /// Makes a sink and gives the whole answer.
    pub(crate) async fn make(&self, wanted: Value) -> Value {
        let made = self.server.post_as_admin("/v1/sinks", &wanted.to_string()).await;
        assert_eq!(made.status, 200, "{}", made.text());
        made.json()
    }

    /// A webhook to a receiver, of events that are not the backend's own.
    pub(crate) async fn webhook(&self, name: &str, receiver: &Receiver) -> String {
        let made = self
            .make(
                json!({"kind": "webhook", "name": name, "url": receiver.url("/hook"), "query": "NOT is:own"}),
            )
            .await;
        id(&made)
    }

    pub(crate) async fn act(&self, sink: &str, what: &str, body: &Value) -> Value {
        let path = format!("/v1/sinks/{sink}/{what}");
        let answer = self.server.post_as_admin(&path, &body.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    pub(crate) async fn health(&self, sink: &str) -> Value {
        self.server.get(&format!("/v1/sinks/{sink}")).await.json()["health"].clone()
    }
}

pub(crate) fn id(sink: &Value) -> String {
    sink["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn a_webhook_is_signed_and_brings_cloudevents_in_the_order_of_the_log() {
    let it = Forwarding::start(&[]).await;
    let mut producer = it.server.producer().await;
    it.server.send(&producer.seal(&[sample(1)])).await;
    eventually(async || it.server.get("/v1/logs").await.json()["logs"][0]["size"] == 1).await;
    let receiver = Receiver::start(Manner::Takes).await;
    let made = it
        .make(json!({"kind": "webhook", "name": "hook", "url": receiver.url("/hook"), "query": "NOT is:own"}))
        .await;
    let secret = made["secret"].as_str().expect("shown once").to_owned();
    let events: Vec<Event> = (2..6).map(sample).collect();
    it.server.send(&producer.seal(&events)).await;
    eventually(async || receiver.numbers().len() == 4).await;
    assert_eq!(receiver.numbers(), [2, 3, 4, 5], "from now on, in order");

    let got = &receiver.got()[0];
    let key = STANDARD.decode(secret.trim_start_matches("whsec_")).expect("base64");
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).expect("a key");
    mac.update(format!("{}.{}.", got.header("webhook-id"), got.header("webhook-timestamp")).as_bytes());
    mac.update(&got.body);
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(got.header("webhook-signature"), expected);
    assert_eq!(got.header("content-type"), "application/cloudevents-batch+json");
    let first = &receiver.events()[0];
    assert_eq!(
        (&first["specversion"], &first["id"], &first["subject"]),
        (&json!("1.0"), &json!(events[0].id), &json!("agent/2"))
    );
    assert_eq!(first["type"], "io.edgetrail.event.AGENT_CREATED");
    assert_eq!(first["source"], "//localhost/tenants/demo");
    assert_eq!(first["data"]["actor"]["email"], "user2@example.com", "nothing is masked");

    // What was sent is noted once the receiver has answered.
    eventually(async || it.health(&id(&made)).await["sent"] == 4).await;
    let health = it.health(&id(&made)).await;
    assert_eq!(health["state"], "active");
    assert!(health["last_success_at"].is_string() && health["last_error"].is_null(), "{health}");
    let metrics = it.server.call("GET", "/metrics").await.text();
    assert!(metrics.contains(&format!("edgetrail_sink_sent_total{{sink=\"{}\"}} 4", id(&made))), "{metrics}");
    assert!(metrics.contains(&format!("edgetrail_sink_lag_seconds{{sink=\"{}\"}}", id(&made))), "{metrics}");
    it.server.stop().await;
}

#[tokio::test]
async fn one_by_one_each_message_has_the_id_of_its_event() {
    let it = Forwarding::start(&[]).await;
    let receiver = Receiver::start(Manner::Takes).await;
    it.make(json!({
        "kind": "webhook", "name": "hook", "url": receiver.url("/hook"), "format": "single",
        "query": "action:USER_LOGIN",
    }))
    .await;
    let mut producer = it.server.producer().await;
    let events: Vec<Event> = (0..6).map(sample).collect();
    it.server.send(&producer.seal(&events)).await;
    eventually(async || receiver.got().len() == 3).await;
    assert_eq!(receiver.numbers(), [1, 3, 5], "what the search finds, and nothing else");
    for (got, event) in receiver.got().iter().zip(events.iter().skip(1).step_by(2)) {
        assert_eq!(got.header("content-type"), "application/cloudevents+json");
        assert_eq!(got.header("webhook-id"), format!("msg_{}", event.id.uuid().simple()));
    }
    it.server.stop().await;
}

#[tokio::test]
async fn syslog_and_cef_go_over_tls_that_is_checked() {
    let syslog = Syslog::start().await;
    let authority = syslog.authority.display().to_string();
    let it = Forwarding::start(&[("EDGETRAIL__SINKS__CA_FILE", &authority)]).await;
    for kind in ["syslog", "cef"] {
        it.make(json!({"kind": kind, "name": kind, "address": syslog.address, "query": "NOT is:own"})).await;
    }
    let mut producer = it.server.producer().await;
    let mut long = sample(3);
    long.details = Some(JsonText::from(&json!({"text": "x".repeat(20_000)})));
    let events = [sample(1), sample(2), long];
    it.server.send(&producer.seal(&events)).await;
    eventually(async || syslog.got().len() == 6).await;
    let (cef, plain): (Vec<String>, Vec<String>) =
        syslog.got().into_iter().partition(|message| message.contains(" CEF:0|Edgetrail|Edgetrail|"));
    for (message, event) in plain.iter().zip(&events) {
        let head = format!(
            "1 {} localhost edgetrail - {} [edgetrail@32473 id=\"{}\"",
            event.occurred_at, event.action, event.id
        );
        assert!(message[message.find('>').expect("a priority") + 1..].starts_with(&head), "{message}");
        let json = &message[message.find("] {").expect("JSON") + 2..];
        assert_eq!(serde_json::from_str::<Value>(json).expect("JSON")["id"], json!(event.id));
    }
    assert!(plain[2].len() <= 8_192 && plain[2].contains("truncated=\"true\""), "{}", plain[2].len());
    for (message, event) in cef.iter().zip(&events) {
        assert!(message.contains(&format!("externalId={} ", event.id)), "{message}");
        assert!(message.contains(" src=203.0.113.7 "), "{message}");
    }
    it.server.stop().await;
}

#[tokio::test]
async fn a_receiver_of_syslog_without_a_trusted_certificate_gets_nothing() {
    let syslog = Syslog::start().await;
    let it = Forwarding::start(&[]).await;
    let made = it.make(json!({"kind": "syslog", "name": "logs", "address": syslog.address})).await;
    let mut producer = it.server.producer().await;
    it.server.send(&producer.seal(&[sample(1)])).await;
    eventually(async || it.health(&id(&made)).await["last_error"].is_string()).await;
    let health = it.health(&id(&made)).await;
    let error = health["last_error"].as_str().expect("an error");
    assert!(error.contains("certificate"), "{error}");
    assert!(syslog.got().is_empty());
    assert!(health["lag_events"].as_u64() >= Some(1), "{health}");
    it.server.stop().await;
}

#[tokio::test]
async fn ocsf_goes_with_a_token_and_keeps_to_the_schema() {
    let it = Forwarding::start(&[]).await;
    let (lines, array) = (Receiver::start(Manner::Takes).await, Receiver::start(Manner::Takes).await);
    for (name, receiver, format) in [("lines", &lines, "ndjson"), ("array", &array, "array")] {
        it.make(json!({
            "kind": "ocsf", "name": name, "url": receiver.url("/ocsf"), "format": format, "secret": "hunter2-token",
        }))
        .await;
    }
    let mut producer = it.server.producer().await;
    let events: Vec<Event> = (0..4).map(sample).collect();
    it.server.send(&producer.seal(&events)).await;
    let of_lines = || -> Vec<Value> {
        let text = lines.got().into_iter().flat_map(|got| got.body).collect::<Vec<u8>>();
        let text = String::from_utf8(text).expect("text");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let of_array = || -> Vec<Value> {
        let arrays = array.got().into_iter().map(|got| got.json());
        arrays.flat_map(|array| array.as_array().expect("an array").clone()).collect()
    };
    // With the events about the sinks themselves.
    eventually(async || of_lines().len() >= 6 && of_array().len() >= 5).await;
    for event in of_lines().iter().chain(&of_array()) {
        is_of_ocsf(event);
    }
    let ids: Vec<Value> = of_lines().iter().map(|event| event["metadata"]["uid"].clone()).collect();
    assert!(events.iter().all(|event| ids.contains(&json!(event.id))), "{ids:?}");
    let got = &lines.got()[0];
    assert_eq!(got.header("authorization"), "Bearer hunter2-token");
    assert_eq!(got.header("content-type"), "application/x-ndjson");
    it.server.stop().await;
}

#[tokio::test]
async fn objects_are_named_by_their_place_and_a_repeat_writes_the_same() {
    let it = Forwarding::start(&[]).await;
    let dir = tempfile::tempdir().expect("a directory");
    let url = format!("file://{}", dir.path().display());
    let made = it.make(json!({"kind": "objects", "name": "lake", "url": url, "query": "NOT is:own"})).await;
    let mut producer = it.server.producer().await;
    for batch in 0..3 {
        let events: Vec<Event> = (batch * 10..batch * 10 + 10).map(sample).collect();
        it.server.send(&producer.seal(&events)).await;
    }
    let sink = id(&made);
    eventually(async || it.health(&sink).await["sent"] == 30).await;
    let before = files(dir.path());
    assert_eq!(before.len(), 3, "one for each batch");
    let log = it.server.get("/v1/logs").await.json()["logs"][0]["log_id"].as_str().expect("a log").to_owned();
    assert!(before.iter().all(|(path, _)| path.starts_with(&format!("demo/{log}/"))), "{before:?}");
    let numbers: Vec<u64> = before
        .iter()
        .flat_map(|(_, text)| text.lines())
        .filter_map(|line| serde_json::from_str::<Value>(line).expect("JSON")["details"]["n"].as_u64())
        .collect();
    assert_eq!(numbers, (0..30).collect::<Vec<_>>());
    it.act(&sink, "replay", &json!({"from": Utc::now() - TimeDelta::hours(1)})).await;
    eventually(async || it.health(&sink).await["sent"] == 60).await;
    assert_eq!(files(dir.path()), before);
    it.server.stop().await;
}

/// Every file under a directory by its path, and what it holds.
fn files(dir: &std::path::Path) -> Vec<(String, String)> {
    let (mut found, mut waiting) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(next).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let name = path.strip_prefix(dir).expect("below").display().to_string();
                found.push((name, std::fs::read_to_string(path).expect("text")));
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn s3_is_written_to_with_the_sinks_own_key_at_the_address_that_was_checked() {
    let it = Forwarding::start(&[]).await;
    let receiver = Receiver::start(Manner::Takes).await;
    it.make(json!({
        "kind": "objects", "name": "lake", "url": "s3://audit/events", "endpoint": receiver.url(""),
        "region": "eu-central-1", "access_key_id": "AKID", "secret": "s3-secret", "query": "NOT is:own",
    }))
    .await;
    let mut producer = it.server.producer().await;
    it.server.send(&producer.seal(&[sample(1), sample(2)])).await;
    eventually(async || !receiver.got().is_empty()).await;
    let got = &receiver.got()[0];
    assert_eq!(got.method, "PUT");
    assert!(got.path.starts_with("/audit/events/demo/") && got.path.ends_with(".ndjson"), "{}", got.path);
    let authorization = got.header("authorization");
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKID/"), "{authorization}");
    assert!(authorization.contains("/eu-central-1/s3/"), "{authorization}");
    assert_eq!(String::from_utf8_lossy(&got.body).lines().count(), 2);
    it.server.stop().await;
}

#[tokio::test]
async fn otlp_records_have_the_shape_of_the_protocol_and_a_partial_success_is_none() {
    let it = Forwarding::start(&[]).await;
    let receiver = Receiver::start(Manner::Answers(r#"{"partialSuccess":{"rejectedLogRecords":"1"}}"#)).await;
    let made = it
        .make(json!({"kind": "otlp", "name": "otel", "url": receiver.url("/v1/logs"), "query": "NOT is:own"}))
        .await;
    let mut producer = it.server.producer().await;
    let event = sample(3);
    it.server.send(&producer.seal(std::slice::from_ref(&event))).await;
    eventually(async || it.health(&id(&made)).await["last_error"].is_string()).await;
    let health = it.health(&id(&made)).await;
    assert_eq!((&health["last_error"], &health["sent"]), (&json!("turned down: 1 log records"), &json!(0)));
    receiver.turn(Manner::Answers("{}"));
    eventually(async || it.health(&id(&made)).await["sent"] == 1).await;
    let got = receiver.got().last().expect("a request").json();
    let record = &got["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
    let nanos = (u128::from(event.occurred_at.millis()) * 1_000_000).to_string();
    assert_eq!((&record["timeUnixNano"], &record["eventName"]), (&json!(nanos), &json!("USER_LOGIN")));
    let attributes = record["attributes"].as_array().expect("a list");
    let id = attributes.iter().find(|it| it["key"] == "edgetrail.event.id").expect("an id");
    assert_eq!(id["value"]["stringValue"], json!(event.id));
    assert!(record["body"]["kvlistValue"]["values"].is_array());
    it.server.stop().await;
}

#[tokio::test]
async fn c22_an_event_that_is_too_long_for_a_sink_is_shortened_and_the_next_one_follows() {
    let it = Forwarding::start(&[]).await;
    let receiver = Receiver::start(Manner::Takes).await;
    it.make(json!({
        "kind": "webhook", "name": "small", "url": receiver.url("/"), "max_event_bytes": 4096, "query": "NOT is:own",
    }))
    .await;
    let mut producer = it.server.producer().await;
    let mut long = sample(1);
    long.details = Some(JsonText::from(&json!({"text": "x".repeat(30_000)})));
    assert_eq!(it.server.send(&producer.seal(&[long.clone(), sample(2)])).await["status"], 200);
    eventually(async || receiver.events().len() == 2).await;
    let events = receiver.events();
    assert_eq!((&events[0]["id"], &events[0]["truncated"]), (&json!(long.id), &json!(true)));
    assert!(events[0]["data"]["details"].is_null() && events[0].to_string().len() <= 4_096);
    assert!(events[1]["truncated"].is_null() && number(&events[1]) == Some(2));
    it.server.stop().await;
}

#[tokio::test]
async fn c23_an_admin_finds_out_whether_a_token_was_used_and_its_text_is_nowhere() {
    let keys = tempfile::tempdir().expect("a directory");
    let key_file = keys.path().join("hash.key");
    std::fs::write(&key_file, "the edge's key\n").expect("written");
    let key_file = key_file.display().to_string();
    let it = Forwarding::start(&[("EDGETRAIL__FINGERPRINT__KEY_FILE", &key_file)]).await;
    let used = "opaque-token-that-leaked-0001";
    let mut event = sample(1);
    event.context.session = Some(shared::capture::fingerprint(b"the edge's key", used));
    let mut beside = sample(2);
    let fingerprint = shared::capture::fingerprint(b"the edge's key", "refresh-token-0002");
    beside.details = Some(JsonText::from(&json!({"refresh": fingerprint})));
    let mut producer = it.server.producer().await;
    it.server.send(&producer.seal(&[event, beside, sample(3)])).await;
    let tested = async |value: &str| {
        let body = json!({"value": value}).to_string();
        it.server.post_as_admin("/v1/fingerprint", &body).await.json()
    };
    let found = tested(used).await;
    assert_eq!((&found["events"], &found["complete"]), (&json!(1), &json!(true)), "{found}");
    // The test is an event that names the fingerprint; it is no use of the value.
    it.server.eventually("&action=FINGERPRINT_TESTED", 1).await;
    assert_eq!(tested("refresh-token-0002").await["events"], 1);
    assert_eq!(tested("never-used").await["events"], 0);
    let again = tested(used).await;
    assert_eq!(again["events"], 1, "{again}");
    let query = again["query"].as_str().expect("a query").replace(' ', "%20").replace('"', "%22");
    let found = it.server.all(&format!("&q={query}")).await;
    assert_eq!(found.len(), 1, "the search that it names finds the same");
    let told = it.server.eventually("&action=FINGERPRINT_TESTED", 4).await;
    assert!(!json!(told).to_string().contains(used));
    for body in [json!(used), json!({"value": used, "more": 1}), json!([used])] {
        let problem = it.server.post_as_admin("/v1/fingerprint", &body.to_string()).await.problem(400);
        assert!(!problem.to_string().contains(used), "{problem}");
    }
    let viewer = it.server.viewer_key().to_owned();
    it.server.post_with("/v1/fingerprint", &viewer, &json!({"value": used}).to_string()).await.problem(403);
    it.server.stop().await;
}

#[tokio::test]
async fn c24_a_paused_sink_resumes_where_it_was_and_a_repeat_has_the_same_ids() {
    let it = Forwarding::start(&[]).await;
    let receiver = Receiver::start(Manner::Takes).await;
    let sink = it.webhook("hook", &receiver).await;
    let mut producer = it.server.producer().await;
    it.server.send(&producer.seal(&[sample(1), sample(2)])).await;
    eventually(async || receiver.numbers().len() == 2).await;
    // A pause that comes before the place has moved lets them come again, with the same ids.
    eventually(async || it.health(&sink).await["lag_events"] == 0).await;
    assert_eq!(it.act(&sink, "pause", &json!({})).await["health"]["state"], "paused");
    let paused_at = Utc::now();
    it.server.send(&producer.seal(&[sample(3), sample(4)])).await;
    eventually(async || it.health(&sink).await["lag_events"].as_u64() >= Some(2)).await;
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    assert_eq!(receiver.numbers(), [1, 2]);
    assert!(it.health(&sink).await["oldest_waiting_at"].is_string());
    it.act(&sink, "resume", &json!({})).await;
    eventually(async || receiver.numbers().len() == 4).await;
    assert_eq!(receiver.numbers(), [1, 2, 3, 4]);
    it.act(&sink, "replay", &json!({"from": paused_at})).await;
    eventually(async || receiver.numbers().len() >= 6).await;
    assert_eq!(receiver.numbers()[4..], [3, 4]);
    let ids: Vec<Value> = receiver.events().iter().map(|event| event["id"].clone()).collect();
    assert_eq!(ids[2..4], ids[4..6]);
    for (action, count) in
        [("SINK_CREATED", 1), ("SINK_PAUSED", 1), ("SINK_RESUMED", 1), ("SINK_REPLAYED", 1)]
    {
        let told = it.server.eventually(&format!("&action={action}"), count).await;
        assert_eq!((&told[0]["entity"]["id"], &told[0]["trust"]), (&json!(sink), &json!("verified")));
    }
    it.server.stop().await;
}

#[tokio::test]
async fn c25_the_history_of_an_entity_says_how_well_each_old_side_is_known() {
    let server = Server::start().await;
    let changed = |n: u64, quality: Quality| {
        let mut event = sample(4);
        event.occurred_at =
            shared::event::Timestamp::try_from(event.occurred_at.millis() + n).expect("a time");
        event.id = shared::event::EventId::mint(event.occurred_at, &ingest::clock::random());
        event.changes = Some(ChangeSet {
            quality,
            fields: JsonText::from(&json!({format!("field_{n}"): {"from": "a", "to": "b"}})),
        });
        event
    };
    let all = [Quality::Exact, Quality::Inferred, Quality::Partial, Quality::Unavailable];
    let events: Vec<Event> = all.iter().zip(1..).map(|(quality, n)| changed(n, *quality)).collect();
    let mut producer = server.producer().await;
    server.send(&producer.seal(&events)).await;
    let history = server.get("/v1/entities/agent/4/timeline").await.json();
    let told: Vec<&str> = history["events"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|event| event["changes"]["quality"].as_str().expect("a word"))
        .collect();
    assert_eq!(told, ["unavailable", "partial", "inferred", "exact"]);
    for (event, words) in events.iter().zip([
        "Both sides were seen.",
        "The old side is the last one that was seen",
        "Only the new side was seen",
        "What it was before is not available.",
    ]) {
        let page = server.get(&format!("/events/{}", event.id)).await.text();
        assert!(page.contains(words), "{words}");
    }
    server.stop().await;
}

#[tokio::test]
async fn only_admins_make_sinks_and_a_secret_is_never_shown_again() {
    let it = Forwarding::start(&[]).await;
    let receiver = Receiver::start(Manner::Takes).await;
    let wanted = json!({"kind": "ocsf", "name": "siem", "url": receiver.url("/x?key=in-the-query"), "secret": "hunter2-token"});
    for role in [Role::Viewer, Role::Investigator, Role::Auditor] {
        let key = new_key(&it.server.store, "demo", role).await;
        it.server.post_with("/v1/sinks", &key, &wanted.to_string()).await.problem(403);
    }
    let sink = id(&it.make(wanted).await);
    let mut moved = json!({"kind": "ocsf", "name": "siem", "url": receiver.url("/elsewhere")});
    let path = format!("/v1/sinks/{sink}");
    let problem = it.server.post_as_admin(&path, &moved.to_string()).await.problem(422);
    assert!(problem["detail"].as_str().is_some_and(|text| text.starts_with("secret: ")), "{problem}");
    moved["secret"] = json!("other-token");
    assert_eq!(it.server.post_as_admin(&path, &moved.to_string()).await.status, 200);
    let shown = [
        it.server.get("/v1/sinks").await.text(),
        it.server.get(&path).await.text(),
        it.server.get("/sinks").await.text(),
        it.server.get(&format!("/sinks/{sink}")).await.text(),
        json!(it.server.eventually("&action=SINK_CHANGED", 1).await).to_string(),
        json!(it.server.eventually("&action=SINK_CREATED", 1).await).to_string(),
    ];
    let mut transaction = it.server.store.begin().await.expect("begun");
    let stored: Vec<String> = sqlx::query_scalar("select sinks::text || encode(secret, 'escape') from sinks")
        .fetch_all(&mut *transaction)
        .await
        .expect("read");
    drop(transaction);
    for text in shown.iter().chain(&stored) {
        for secret in ["hunter2-token", "other-token", "in-the-query"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }
    let stranger = new_key(&it.server.store, "other", Role::Admin).await;
    it.server.get_with(&path, &stranger).await.problem(404);
    for what in ["pause", "resume", "test", "remove"] {
        it.server.post_with(&format!("{path}/{what}"), &stranger, "").await.problem(404);
    }
    it.act(&sink, "remove", &json!({})).await;
    it.server.get(&path).await.problem(404);
    it.server.eventually("&action=SINK_DELETED", 1).await;
    it.server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_sink_is_told_by_its_field() {
    let server = Server::start().await;
    let secret = json!("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    for (wanted, said) in [
        (json!({"kind": "pigeon", "name": "x"}), "kind: "),
        (json!({"kind": "otlp", "name": "x"}), "url: is missing"),
        (json!({"kind": "otlp", "name": "", "url": "https://a.example/"}), "name: "),
        (json!({"kind": "otlp", "name": "x", "url": "http://a.example/"}), "url: "),
        (
            json!({"kind": "otlp", "name": "x", "url": "https://127.0.0.1/"}),
            "url: leads to an address that is not public",
        ),
        (
            json!({"kind": "otlp", "name": "x", "url": "https://a.example/", "address": "a"}),
            "address: has no use",
        ),
        (
            json!({"kind": "otlp", "name": "x", "url": "https://a.example/", "query": "severty:info"}),
            "query: ",
        ),
        (
            json!({"kind": "otlp", "name": "x", "url": "https://a.example/", "max_event_bytes": 1}),
            "max_event_bytes: ",
        ),
        (json!({"kind": "ocsf", "name": "x", "url": "https://a.example/", "format": "xml"}), "format: "),
        (json!({"kind": "syslog", "name": "x", "address": "10.0.0.1:6514"}), "address: "),
        (json!({"kind": "objects", "name": "x", "url": "file:///etc"}), "url: "),
        (
            json!({"kind": "objects", "name": "x", "url": "s3://b", "endpoint": "https://10.0.0.1"}),
            "endpoint: ",
        ),
    ] {
        let problem = server.post_as_admin("/v1/sinks", &wanted.to_string()).await.problem(422);
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(detail.starts_with(said), "{wanted}: {detail}");
    }
    // Without a key there is nowhere to keep a secret.
    let wanted = json!({"kind": "webhook", "name": "x", "url": "https://a.example/", "secret": secret});
    let problem = server.post_as_admin("/v1/sinks", &wanted.to_string()).await.problem(409);
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("sinks.key_file")), "{problem}");
    let made =
        server.post_as_admin("/v1/sinks", r#"{"kind":"otlp","name":"x","url":"https://a.invalid/"}"#).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let twice =
        server.post_as_admin("/v1/sinks", r#"{"kind":"otlp","name":"x","url":"https://b.invalid/"}"#).await;
    assert_eq!(twice.problem(409)["type"], "/problems/name-taken");
    server.stop().await;
}

#[tokio::test]
async fn an_event_that_was_erased_while_it_waited_is_sent_as_its_frame() {
    let quick = [("EDGETRAIL__PRIVACY__COOL_OFF_MS", "1"), ("EDGETRAIL__PRIVACY__SWEEP_MS", "100")];
    let it = Forwarding::start(&quick).await;
    let receiver = Receiver::start(Manner::Takes).await;
    let sink = it.webhook("hook", &receiver).await;
    let named = id(&it
        .make(json!({"kind": "otlp", "name": "of user1@example.com", "url": "https://a.invalid/", "query": "actor:user1@example.com"}))
        .await);
    it.act(&sink, "pause", &json!({})).await;
    let mut producer = it.server.producer().await;
    it.server.send(&producer.seal(&[sample(1), sample(2)])).await;
    let other = it.server.another_admin().await;
    let body = json!({"mode": "erase", "legal_basis": "Art. 17"}).to_string();
    let asked = it.server.post_as_admin("/v1/subjects/user-1/erase", &body).await.json();
    let path = format!("/v1/erasures/{}", asked["id"].as_str().expect("an id"));
    assert_eq!(it.server.post_with(&format!("{path}/approve"), &other, "").await.status, 200);
    eventually(async || it.server.get_as_admin(&path).await.json()["state"] == "done").await;
    it.act(&sink, "resume", &json!({})).await;
    eventually(async || receiver.events().len() >= 2).await;
    let events = receiver.events();
    let erased = &events[0]["data"];
    assert!(!events[0].to_string().contains("user1@example.com"), "{erased}");
    assert!(erased["erased"].as_array().is_some_and(|fields| fields.contains(&json!("actor"))), "{erased}");
    assert_eq!(events[1]["data"]["actor"]["email"], "user2@example.com");
    // The filter named them: without it more would be sent, so the sink waits for another.
    let sink = it.server.get(&format!("/v1/sinks/{named}")).await.json();
    assert_eq!((&sink["query"], &sink["health"]["state"]), (&Value::Null, &json!("paused")));
    assert!(!sink.to_string().contains("user1"), "{sink}");
    let problem = it.server.post_as_admin(&format!("/v1/sinks/{named}/resume"), "").await.problem(409);
    assert_eq!(problem["type"], "/problems/filter-lost");
    it.server.stop().await;
}

#[tokio::test]
async fn two_processes_send_nothing_twice() {
    let it = Forwarding::start(&[]).await;
    let receiver = Receiver::start(Manner::Takes).await;
    it.webhook("hook", &receiver).await;
    let other = ingest::sink::Sinks::new(
        it.server.store.clone(),
        ingest::clock::Clock::system(),
        ingest::config::Sinks {
            key_file: None,
            allow_private: true,
            ca: Vec::new(),
            timeout: std::time::Duration::from_secs(1),
            retry: std::time::Duration::from_millis(40),
            max_retry: std::time::Duration::from_millis(200),
            failing_after: std::time::Duration::from_secs(60),
        },
        Some(
            ingest::sink::Vault::load_or_create(std::path::Path::new(&it.variables[6].1))
                .expect("the same key"),
        ),
        "localhost".to_owned().try_into().expect("a name"),
    );
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(Arc::clone(&other).run(stopped));
    let mut producer = it.server.producer().await;
    for batch in 0..40 {
        let events: Vec<Event> = (batch * 10..batch * 10 + 10).map(sample).collect();
        it.server.send(&producer.seal(&events)).await;
    }
    eventually(async || receiver.numbers().len() >= 400).await;
    let _ = stop.send(true);
    running.await.expect("no panic");
    assert_eq!(receiver.numbers(), (0..400).collect::<Vec<_>>());
    it.server.stop().await;
}

#[tokio::test]
async fn a_stream_that_was_paused_under_load_catches_up_with_nothing_missing_and_in_order() {
    let it = Forwarding::start(&[]).await;
    let receiver = Receiver::start(Manner::Takes).await;
    let sink = it.webhook("hook", &receiver).await;
    it.act(&sink, "pause", &json!({})).await;
    let mut producer = it.server.producer().await;
    let mut send = async |server: &Server, from: u64, to: u64| {
        for batch in (from..to).step_by(100) {
            let events: Vec<Event> = (batch..batch + 100).map(sample).collect();
            assert_eq!(server.send(&producer.seal(&events)).await["status"], 200);
        }
    };
    send(&it.server, 0, 4_000).await;
    it.act(&sink, "resume", &json!({})).await;
    eventually(async || !receiver.numbers().is_empty()).await;
    // What it says now is not what it does: it keeps the events, and they come again.
    receiver.turn(Manner::Refuses(503));
    send(&it.server, 4_000, 5_000).await;
    let it = Box::pin(it.restart()).await;
    receiver.turn(Manner::Takes);
    send(&it.server, 5_000, 6_000).await;
    for _ in 0..600 {
        if receiver.numbers().last() == Some(&5_999) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let mut seen = BTreeSet::new();
    let fresh: Vec<u64> = receiver.events().iter().filter_map(number).filter(|n| seen.insert(*n)).collect();
    assert_eq!(fresh, (0..6_000).collect::<Vec<_>>());
    it.server.stop().await;
}

#[tokio::test]
async fn a_sink_is_made_tried_out_and_paused_on_pages_that_show_its_secret_once() {
    let it = Forwarding::start(&[]).await;
    let receiver = Receiver::start(Manner::Takes).await;
    let bearer = format!("Bearer {}", it.server.admin_key());
    let post = async |path: &str, form: &str| {
        let kind = "application/x-www-form-urlencoded";
        let headers = [("authorization", &*bearer), ("content-type", kind)];
        crate::support::call(&it.server.address, "POST", path, &headers, form.as_bytes()).await
    };
    let url = receiver.url("/hook").replace(':', "%3A").replace('/', "%2F");
    let made = post("/sinks", &format!("name=hook&kind=webhook&url={url}&query=&secret=&format=")).await;
    assert!(made.status == 200 && made.text().contains("whsec_"), "{}", made.text());
    let sink = id(&it.server.get("/v1/sinks").await.json()["sinks"][0]);
    let tried = post(&format!("/sinks/{sink}/test"), "").await.text();
    assert!(tried.contains("The message arrived.") && !tried.contains("whsec_"), "{tried}");
    assert_eq!(receiver.events()[0]["data"]["details"], json!({"test": true}));
    assert_eq!(post(&format!("/sinks/{sink}/pause"), "").await.status, 303);
    let list = it.server.get("/sinks").await.text();
    assert!(list.contains(">paused<") && list.contains(">hook<"), "{list}");
    assert_eq!(post(&format!("/sinks/{sink}/replay"), "from=2026-01-01T00%3A00").await.status, 303);
    assert_eq!(post(&format!("/sinks/{sink}/paint"), "").await.status, 404);
    assert_eq!(post(&format!("/sinks/{sink}/remove"), "").await.status, 303);
    assert!(it.server.get("/sinks").await.text().contains("Nothing is forwarded"));
    it.server.stop().await;
}

#[tokio::test]
async fn sinks_are_listed_paused_resumed_and_repeated_from_a_terminal() {
    let it = Forwarding::start(&[]).await;
    let receiver = Receiver::start(Manner::Takes).await;
    let sink = it.webhook("hook", &receiver).await;
    let url = format!("http://{}", it.server.address);
    let key = it.server.admin_key().to_owned();
    let run = async |arguments: &[&str]| {
        let all = [&["sinks"][..], arguments].concat();
        let variables = [("EDGETRAIL_URL", &*url), ("EDGETRAIL_API_KEY", &*key)];
        crate::support::audit::edgetrail_with(&all, &variables).await
    };
    let (status, out, err) = run(&["pause", &sink]).await;
    assert_eq!((status, out.as_str()), (0, "hook is paused\n"), "{err}");
    let (_, out, _) = run(&["list"]).await;
    assert!(out.starts_with("NAME") && out.contains("hook") && out.contains("paused"), "{out}");
    assert_eq!(run(&["resume", &sink]).await.1, "hook is active\n");
    let (status, out, err) = run(&["replay", &sink, "--from", "2026-01-01T00:00:00Z"]).await;
    assert_eq!((status, out.as_str()), (0, "hook is active\n"), "{err}");
    let (status, _, err) = run(&["pause", "none"]).await;
    assert_eq!((status, err.lines().count()), (1, 1), "{err}");
    it.server.stop().await;
}
