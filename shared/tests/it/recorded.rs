//! Whole recordings of real traffic, and exactly the events that the packs make of them.
//!
//! Every exchange goes through the capture as in the Worker, without one: signatures count as valid, and nothing was
//! read before. `EDGETRAIL_WRITE_GOLDEN=1` writes the golden files.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use shared::capture::{Body, Draft, Exchange, Headers, Mount, Scanner};
use shared::event::{Event, JsonText, Timestamp};
use shared::identity::Verdict;
use shared::policy::{Pack, Router};
use shared::recording::{self, Exchange as Recorded};
use shared::redact::is_secret_name;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

pub(crate) fn read(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// One host, with its pack.
pub(crate) struct Side {
    pub(crate) mount: Mount,
    pub(crate) router: Router,
}

impl Side {
    pub(crate) fn of(pack: &str) -> Self {
        let mount = json!({
            "host": format!("{pack}.localhost"), "upstream": "http://127.0.0.1:1", "tenant": "acme",
            "platform": "workerd", "packs": [pack],
            "auth": {"issuer": "http://127.0.0.1:54321/auth/v1", "audience": "authenticated"},
        });
        let pack = Pack::parse(&read(&format!("edge/packs/{pack}.json"))).expect("a pack");
        Self {
            mount: serde_json::from_value(mount).expect("a mount"),
            router: Router::compile(vec![pack]).expect("routable"),
        }
    }

    /// The events of an exchange; `before` is what a read before it would have answered.
    pub(crate) fn events(&self, recorded: &Recorded, before: Option<&str>) -> Vec<Event> {
        let (path, query) = recorded.request.url.split_once('?').unwrap_or((&recorded.request.url, ""));
        let body = |body: &Option<String>| body.clone().unwrap_or_default();
        let (request, response) = (body(&recorded.request.body), body(&recorded.response.body));
        let request_headers = recorded.request.headers.iter().cloned().collect::<Headers>();
        let response_headers = recorded.response.headers.iter().cloned().collect::<Headers>();
        let whole = |text| Body { bytes: str::as_bytes(text), cut: false };
        let response =
            if self.streams(&recorded.request.method, path, query) { scanned(&response) } else { response };
        let exchange = Exchange {
            mount: &self.mount,
            method: &recorded.request.method,
            path,
            query,
            request_headers: &request_headers,
            request_body: whole(&request),
            status: Some(recorded.response.status),
            response_headers: &response_headers,
            response_body: whole(&response),
            before: before.map(whole),
            intent: None,
            hash_key: Some(b"recorded"),
            platform: &json!({"clientIp": "203.0.113.7:4711"}),
            arrived: arrival(recorded),
            duration_ms: Some(7),
        };
        let Some(mut draft) = Draft::from_exchange(&self.router, &exchange) else { return Vec::new() };
        let verdicts = vec![Verdict::Valid; draft.take_checks().len()];
        draft.into_events(&verdicts, &self.mount.auth, &[[0; 10], [1; 10]])
    }

    fn streams(&self, method: &str, path: &str, query: &str) -> bool {
        let plan = self.router.plan(method, path, query);
        plan.and_then(|plan| self.router.plans().nth(plan)).is_some_and(|(_, plan)| plan.stream)
    }
}

/// What the Worker keeps of a stream of events.
fn scanned(stream: &str) -> String {
    let mut scanner = Scanner::new();
    scanner.feed(stream.as_bytes());
    String::from_utf8(scanner.finish()).expect("JSON")
}

fn arrival(recorded: &Recorded) -> Timestamp {
    let at = chrono::DateTime::parse_from_rfc3339(&recorded.at).expect("a time");
    Timestamp::from(at.to_utc())
}

/// What the golden files hold of an event: all but ids, times and places.
fn told(n: u32, event: &Event) -> Value {
    let mut told = Map::new();
    let mut tell = |name: &str, value: Value| {
        if !value.is_null() {
            told.insert(name.to_owned(), value);
        }
    };
    let request = &event.request;
    tell("n", json!(n));
    tell("action", json!(event.action));
    tell("severity", json!(event.severity));
    tell("outcome", json!(event.outcome));
    tell("reason", json!(event.reason));
    tell("trust", json!(event.trust));
    tell("actor", json!(event.actor.as_ref().map(|actor| actor.email.as_ref().unwrap_or(&actor.id))));
    tell("claimed", json!(event.claimed_user.as_ref().map(|user| format!("{} ({})", user.id, user.source))));
    tell("entity", json!(event.entity));
    tell("request", json!(format!("{} {} {:?}", request.method, request.route, request.status.unwrap_or(0))));
    tell("rule", json!(request.rule));
    tell("details", parsed(event.details.as_ref().map(JsonText::as_str)));
    tell("quality", json!(event.changes.as_ref().map(|changes| changes.quality)));
    tell("changes", parsed(event.changes.as_ref().map(|changes| changes.fields.as_str())));
    tell("compliance", json!(event.compliance));
    tell("echo", if event.echo { json!(true) } else { Value::Null });
    Value::Object(told)
}

fn parsed(text: Option<&str>) -> Value {
    text.map(|text| serde_json::from_str(text).expect("JSON")).unwrap_or_default()
}

/// Every text that stands under the name of a secret in a body.
fn secrets(recording: &[Recorded]) -> Vec<String> {
    fn walk(name: &str, value: &Value, found: &mut Vec<String>) {
        match value {
            Value::String(text) if text.len() >= 8 && is_secret_name(name) => found.push(text.clone()),
            Value::Array(items) => items.iter().for_each(|item| walk(name, item, found)),
            Value::Object(members) => members.iter().for_each(|(name, value)| walk(name, value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for recorded in recording {
        for body in [&recorded.request.body, &recorded.response.body].into_iter().flatten() {
            let body: Value = serde_json::from_str(body).unwrap_or_default();
            walk("", &body, &mut found);
        }
    }
    assert!(found.len() >= 4, "the recording has secrets: {}", found.len());
    found
}

fn golden(pack: &str, name: &str) {
    let side = Side::of(pack);
    let recording = recording::parse(&read(&format!("tests/fixtures/{name}.jsonl"))).expect("a recording");
    let of_one = |recorded: &Recorded| {
        let told = |event| told(recorded.n, event).to_string();
        side.events(recorded, None).iter().map(told).collect::<Vec<_>>()
    };
    let lines: Vec<String> = recording.iter().flat_map(of_one).collect();
    let found = format!("[\n{}\n]\n", lines.join(",\n"));
    for secret in secrets(&recording) {
        assert!(!found.contains(&secret), "a secret of the recording {name} is in an event");
    }
    let path = format!("tests/golden/{name}.json");
    if std::env::var_os("EDGETRAIL_WRITE_GOLDEN").is_some() {
        fs::write(file(&path), &found).expect("the golden file");
    }
    let wanted = fs::read_to_string(file(&path)).unwrap_or_default();
    let different = found.lines().zip(wanted.lines()).find(|(found, wanted)| found != wanted);
    assert!(
        found == wanted,
        "the events are not those of {path} (EDGETRAIL_WRITE_GOLDEN=1 writes it): {different:#?}"
    );
}

#[test]
fn what_browsers_ask_of_the_application_gives_the_golden_events() {
    golden("app", "client-to-app");
}

#[test]
fn what_the_applications_server_asks_of_its_database_gives_the_golden_events() {
    golden("supabase", "app-to-supabase");
}

#[test]
fn what_the_client_library_asks_of_supabase_gives_the_golden_events() {
    golden("supabase", "supabase-js");
}
