//! What the recordings do not show of the pack for Supabase.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use shared::capture::{Headers, pre_read};
use shared::event::{Event, Outcome, Quality, Severity, Timestamp};
use shared::recording::{Exchange, RecordedRequest, RecordedResponse};

use crate::recorded::{Side, read};

const BROWSER: (&str, &str) = ("x-client-info", "supabase-ssr/0.6.1 createBrowserClient");
const SERVER: (&str, &str) = ("x-client-info", "supabase-js-node/2.75.1");

/// An exchange of the browser's client.
fn exchange(method: &str, url: &str, request: Value, status: u16, response: Value) -> Exchange {
    let body = |body: Value| (!body.is_null()).then(|| body.to_string());
    Exchange {
        label: "supabase-client".to_owned(),
        n: 1,
        name: None,
        at: "2026-11-23T03:21:56.964Z".to_owned(),
        ms: 1,
        request: RecordedRequest {
            method: method.to_owned(),
            url: url.to_owned(),
            headers: vec![(BROWSER.0.to_owned(), BROWSER.1.to_owned())],
            body: body(request),
            cut: false,
        },
        response: RecordedResponse { status, headers: Vec::new(), body: body(response), cut: false },
    }
}

fn sent_by(client: (&str, &str), mut exchange: Exchange) -> Exchange {
    exchange.request.headers = vec![(client.0.to_owned(), client.1.to_owned())];
    exchange
}

fn answered(name: &str, value: &str, mut exchange: Exchange) -> Exchange {
    exchange.response.headers.push((name.to_owned(), value.to_owned()));
    exchange
}

fn event(exchange: &Exchange, before: Option<Value>) -> Event {
    let before = before.map(|before| before.to_string());
    let mut events = Side::of("supabase").events(exchange, before.as_deref());
    assert_eq!(events.len(), 1, "{events:#?}");
    events.remove(0)
}

fn nothing(exchange: &Exchange) -> bool {
    Side::of("supabase").events(exchange, None).is_empty()
}

fn detail(event: &Event, name: &str) -> Value {
    let details = event.details.as_ref().map_or("{}", |details| details.as_str());
    serde_json::from_str::<Value>(details).expect("JSON")[name].clone()
}

fn changes(event: &Event) -> (Quality, Value) {
    let changes = event.changes.as_ref().expect("changes");
    (changes.quality, serde_json::from_str(changes.fields.as_str()).expect("JSON"))
}

#[test]
fn a_deleted_agent_keeps_its_name_and_all_that_it_was() {
    let old = json!([{"id": "a1", "agent_name": "Weekly report", "mode": "scheduled", "status": "active"}]);
    let delete = answered(
        "content-range",
        "*/*",
        exchange("DELETE", "/rest/v1/agents?id=eq.a1", Value::Null, 204, Value::Null),
    );
    let event = event(&delete, Some(old));
    assert_eq!((event.action.as_str(), event.outcome), ("AGENT_DELETED", Outcome::Success));
    assert_eq!(event.entity.as_ref().and_then(|entity| entity.name.as_deref()), Some("Weekly report"));
    assert_eq!(
        changes(&event),
        (
            Quality::Exact,
            json!({"id": {"from": "a1"}, "agent_name": {"from": "Weekly report"}, "mode": {"from": "scheduled"},
                   "status": {"from": "active"}})
        )
    );
}

#[test]
fn a_delete_that_meets_no_row_failed_and_one_that_tells_nothing_is_unknown() {
    let delete = |range| {
        answered(
            "content-range",
            range,
            exchange("DELETE", "/rest/v1/agents?id=eq.a1", Value::Null, 204, Value::Null),
        )
    };
    assert_eq!(event(&delete("*/*"), Some(json!([]))).outcome, Outcome::Failure);
    assert_eq!(event(&delete("*/0"), None).outcome, Outcome::Failure);
    assert_eq!(event(&delete("*/1"), None).outcome, Outcome::Success);
    assert_eq!(event(&delete("*/*"), None).outcome, Outcome::Unknown);
}

#[test]
fn a_browser_that_says_it_is_the_server_leaves_an_event_all_the_same() {
    let archive =
        exchange("PATCH", "/rest/v1/agents?id=eq.a1", json!({"is_archived": true}), 204, Value::Null);
    let archive = answered("content-range", "0-0/*", archive);
    let honest = event(&archive, None);
    assert_eq!((honest.action.as_str(), honest.echo), ("AGENT_ARCHIVED", false));
    let forged = event(&sent_by(SERVER, archive), None);
    assert_eq!((forged.action.as_str(), forged.echo), ("DATABASE_WRITTEN", true));
    assert_eq!(detail(&forged, "table"), "agents");
    assert_eq!(detail(&forged, "columns"), json!(["is_archived"]));
}

#[test]
fn what_browsers_write_to_tables_that_no_rule_names_is_unmapped() {
    let write = exchange("POST", "/rest/v1/token_usage", json!({"cost_usd": 0}), 201, Value::Null);
    assert_eq!(event(&write, None).action.as_str(), "UNMAPPED_MUTATION");
    assert_eq!(event(&sent_by(SERVER, write), None).action.as_str(), "TOKEN_USAGE_RECORDED");
}

#[test]
fn a_refresh_token_used_twice_is_critical_and_named_by_its_fingerprint_only() {
    let refresh = |status, response| {
        let body = json!({"refresh_token": "rt-1234567890"});
        exchange("POST", "/auth/v1/token?grant_type=refresh_token", body, status, response)
    };
    let reused = event(&refresh(400, json!({"code": "refresh_token_already_used"})), None);
    assert_eq!((reused.action.as_str(), reused.severity), ("TOKEN_REUSE_DETECTED", Severity::Critical));
    assert_eq!(reused.reason.as_deref(), Some("refresh_token_already_used"));
    assert!(detail(&reused, "refresh").as_str().is_some_and(|refresh| refresh.starts_with("hmac:")));
    let expired = event(&refresh(400, json!({"code": "session_expired"})), None);
    assert_eq!(expired.action.as_str(), "SESSION_REFRESH_FAILED");
    assert!(nothing(&refresh(200, json!({"access_token": "x"}))));
}

#[test]
fn the_first_verified_factor_turns_the_second_factor_on() {
    let verify = exchange("POST", "/auth/v1/factors/f1/verify", json!({"challenge_id": "c"}), 200, json!({}));
    let user = |status: &str| json!({"id": "u1", "factors": [{"id": "f1", "status": status}]});
    assert_eq!(event(&verify, Some(user("unverified"))).action.as_str(), "SETTINGS_2FA_ENABLED");
    assert_eq!(event(&verify, Some(user("verified"))).action.as_str(), "MFA_VERIFIED");
    assert_eq!(event(&verify, None).action.as_str(), "MFA_VERIFIED");
}

#[test]
fn a_sign_up_with_a_known_address_failed_although_the_answer_says_200() {
    let signup = |identities: Value| {
        let answer = json!({"id": "u9", "email": "bob@example.com", "identities": identities});
        exchange("POST", "/auth/v1/signup", json!({"email": "bob@example.com", "password": "x"}), 200, answer)
    };
    let known = event(&signup(json!([])), None);
    assert_eq!(
        (known.action.as_str(), known.reason.as_deref()),
        ("USER_SIGNUP_FAILED", Some("user_already_exists"))
    );
    assert_eq!(event(&signup(json!([{"provider": "email"}])), None).action.as_str(), "USER_CREATED");
}

#[test]
fn a_browser_that_rewrites_the_applications_audit_is_critical_whether_or_not_it_succeeds() {
    let url = "/rest/v1/audit_trail?user_id=eq.u1";
    for (range, outcome) in [("0-3/*", Outcome::Success), ("*/*", Outcome::Failure)] {
        let rewrite = exchange("PATCH", url, json!({"details": {}}), 204, Value::Null);
        let event = event(&answered("content-range", range, rewrite), None);
        assert_eq!((event.action.as_str(), event.severity), ("APP_AUDIT_REWRITTEN", Severity::Critical));
        assert_eq!((event.outcome, event.echo), (outcome, false));
    }
}

#[test]
fn only_a_whole_read_of_the_audit_by_a_browser_is_an_export() {
    let read =
        |query: &str| exchange("GET", &format!("/rest/v1/audit_trail?{query}"), Value::Null, 200, json!([]));
    assert_eq!(event(&read("select=*&user_id=eq.u1"), None).action.as_str(), "DATA_ACCESSED");
    assert!(nothing(&read("select=*&limit=20")));
    assert!(nothing(&read("select=id,action")));
    assert!(nothing(&sent_by(SERVER, read("select=*"))));
    assert!(nothing(&exchange("GET", "/rest/v1/profiles?select=*&id=eq.u1", Value::Null, 200, json!([]))));
}

#[test]
fn the_old_side_is_read_for_browsers_and_the_applications_server_is_not_slowed_down() {
    let side = Side::of("supabase");
    let read = |method: &str, path: &str, client: (&str, &str)| {
        let claims = BASE64_URL_SAFE_NO_PAD.encode(r#"{"sub":"u1","exp":1795400100}"#);
        let token = format!("Bearer eyJhbGciOiJFUzI1NiJ9.{claims}.c2ln");
        let headers: Headers = [client, ("apikey", "anon"), ("authorization", token.as_str())]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter()
            .collect();
        let now = Timestamp::try_from(1_795_400_000_000).expect("a time");
        pre_read(&side.router, &side.mount, method, path, "id=eq.a1&select=id", &headers, now)
    };
    let agents = read("PATCH", "/rest/v1/agents", BROWSER).expect("a read");
    assert_eq!(agents.url, "http://127.0.0.1:1/rest/v1/agents?id=eq.a1&select=*&limit=2");
    let user = read("POST", "/auth/v1/factors/f1/verify", BROWSER).expect("a read");
    assert_eq!(user.url, "http://127.0.0.1:1/auth/v1/user");
    assert!(user.headers.contains(&("apikey".to_owned(), "anon".to_owned())));
    assert_eq!(read("PATCH", "/rest/v1/agents", SERVER), None);
    assert_eq!(read("DELETE", "/rest/v1/profiles", SERVER), None);
    assert_eq!(read("POST", "/rest/v1/agents", BROWSER), None);
}

#[test]
fn every_rule_is_in_the_list() {
    let list = read("docs/rules-supabase.md");
    for rule in Side::of("supabase").router.rules() {
        let row = format!("| `{}` | ", rule.id);
        assert_eq!(list.matches(&row).count(), 1, "{}", rule.id);
    }
}
