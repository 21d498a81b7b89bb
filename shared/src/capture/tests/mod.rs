//! Exchanges in, events out, on a small pack that uses every part of the rule language.

use serde_json::{Value, json};

use super::{Body, Draft, Exchange, Headers, Mount};
use crate::batch::MAX_EVENT_LEN;
use crate::event::{BodyState, Event, Outcome, Quality, RetentionClass, Severity, Timestamp, Trust};
use crate::identity::Verdict;
use crate::leaf::Seed;
use crate::policy::{Pack, Router};

mod before;
mod beside;
mod floods;
mod unmapped;

const PACK: &str = r#"{
  "name": "t", "version": 1, "claimed_user": ["request-header:x-user-id", "request:/email"],
  "rules": [
    {"id": "put", "match": {"method": "PUT", "path": "/agents/{id}"}, "level": "full",
     "action": "AGENT_UPDATED", "severity": "info", "compliance": ["GDPR", "SOC2"],
     "severities": [{"when": "present(request:/status)", "is": "critical"}],
     "on_failure": {"action": "AGENT_UPDATE_FAILED", "severity": "warning"},
     "entity": {"type": "agent", "id": "path:id", "name": "response:/agent/name"},
     "outcome": {"failure": "equals(response:/success, false)", "reason": "refused"},
     "details": {"mode": "response:/agent/mode", "api_key": "request:/api_key", "keys": "keys(request:)"},
     "changes": {"request": "request:", "after": "response:/agent", "ignore": ["updated_at"],
                 "fields": ["name", "status", "password", "updated_at", "prompt"]}},
    {"id": "run", "match": {"method": "POST", "path": "/run"}, "level": "full", "action": "AGENT_EXECUTED",
     "severity": "info", "entity": {"type": "agent", "id": "request:/agent_id"},
     "outcome": {"failure": "equals(response:/success, false)", "success": "equals(response:/success, true)"}},
    {"id": "patch", "match": {"method": "PATCH", "path": "/rows"}, "level": "full", "action": "ROW_UPDATED",
     "severity": "info", "entity": {"type": "row", "id": "filter:id"},
     "outcome": {"failure": "equals(rows, 0)", "success": "at_least(rows, 1)", "reason": "no_row_matched"}},
    {"id": "login", "match": {"method": "POST", "path": "/login"}, "level": "full", "action": "USER_LOGIN",
     "severity": "info", "entity": {"type": "user", "id": "response:/user"}, "actor_token": "response:/token"},
    {"id": "remove", "match": {"method": "DELETE", "path": "/rows"}, "level": "full", "action": "ROW_DELETED",
     "severity": "warning", "entity": {"type": "row", "id": "filter:id", "name": "before:/name"},
     "before": {"rows": true}, "changes": {"of": "delete", "fields": ["name", "mode", "api_key"]},
     "details": {"status": "before:/status"}},
    {"id": "change", "match": {"method": "PUT", "path": "/rows/{id}"}, "level": "full", "action": "ROW_CHANGED",
     "severity": "info", "entity": {"type": "row", "id": "path:id"}, "fail": "intent",
     "before": {"table": "rows", "filters": {"id": "path:id", "owner": "claim:sub"}, "select": ["id", "name"]},
     "actions": [{"when": "equals(request:/archived, true)", "is": "ROW_ARCHIVED"}],
     "severities": [{"when": "present(changed:mode)", "is": "warning"}],
     "acts_for": {"action": "ACTED_AS", "severity": "critical", "entity": "user"},
     "claimed_user": ["request:/user"],
     "changes": {"request": "request:/row", "after": "response:/row", "ignore": ["updated_at"],
                 "fields": ["name", "mode", "plugins", "config", "at", "api_key", "updated_at", "prompt"]}},
    {"id": "make", "match": {"method": "POST", "path": "/rows"}, "level": "full", "action": "ROW_MADE",
     "severity": "info", "entity": {"type": "row", "id": "response:/0/id"},
     "changes": {"of": "create", "request": "request:", "after": "response:/0", "fields": ["name", "mode"]}},
    {"id": "tick", "match": {"method": "GET", "path": "/tick"}, "level": "metadata", "action": "TICKED",
     "severity": "info", "entity": {"type": "clock"}, "system": "cron"},
    {"id": "token", "match": {"method": "POST", "path": "/refresh"}, "level": "full", "action": "REFRESHED",
     "severity": "info", "entity": {"type": "session"}, "details": {"which": "fingerprint(request:/refresh)"}},
    {"id": "limits", "match": {"method": "PUT", "path": "/limits"}, "level": "full", "action": "LIMITS_CHANGED",
     "severity": "info", "entity": {"type": "system"}, "before": {"get": "/limits/now", "at": "/limits"}},
    {"id": "quiet", "match": {"method": "POST", "path": "/quiet"}, "when": "true", "level": "none", "action": "Q",
     "severity": "info", "entity": {"type": "q"}}
  ]}"#;

struct Case {
    method: &'static str,
    path: &'static str,
    query: &'static str,
    request_headers: String,
    request: String,
    request_cut: bool,
    status: Option<u16>,
    response_headers: &'static str,
    response: String,
    response_cut: bool,
    before: Option<String>,
    verdicts: Vec<Verdict>,
}

impl Case {
    fn of(method: &'static str, path: &'static str, request: &Value, status: u16, response: &Value) -> Self {
        Self {
            method,
            path,
            query: "",
            request_headers: String::new(),
            request: request.to_string(),
            request_cut: false,
            status: Some(status),
            response_headers: "",
            response: response.to_string(),
            response_cut: false,
            before: None,
            verdicts: Vec::new(),
        }
    }

    fn event(&self) -> Option<Event> {
        self.events().into_iter().next()
    }

    fn events(&self) -> Vec<Event> {
        let Some((draft, mount)) = self.draft() else { return Vec::new() };
        assert!(!format!("{draft:?}").contains("c2ln"), "no signature stays with a draft");
        let events = draft.into_events(&self.verdicts, &mount.auth, &[[7; 10], [8; 10]]);
        for event in &events {
            let opening = event.to_opening(Seed([1; 32]));
            assert_eq!(
                Event::from_opening(&opening).as_ref(),
                Ok(event),
                "an event survives its own encoding"
            );
            assert!(opening.encode().len() <= MAX_EVENT_LEN);
        }
        events
    }

    fn draft(&self) -> Option<(Draft, Mount)> {
        let pack = Pack::parse(PACK).expect("a pack");
        let router = Router::compile(vec![pack]).expect("routable");
        let mount: Mount = serde_json::from_value(json!({
            "host": "app.example.com", "upstream": "https://o.example", "tenant": "acme", "platform": "workerd",
            "packs": ["t"],
        }))
        .expect("a mount");
        let mut draft = Draft::from_exchange(
            &router,
            &Exchange {
                mount: &mount,
                method: self.method,
                path: self.path,
                query: self.query,
                request_headers: &Headers::from_lines(&self.request_headers),
                request_body: Body { bytes: self.request.as_bytes(), cut: self.request_cut },
                status: self.status,
                response_headers: &Headers::from_lines(self.response_headers),
                response_body: Body { bytes: self.response.as_bytes(), cut: self.response_cut },
                before: self.before.as_deref().map(|text| Body { bytes: text.as_bytes(), cut: false }),
                intent: None,
                hash_key: Some(b"a key"),
                platform: &json!({"clientIp": "198.51.100.9"}),
                arrived: Timestamp::try_from(1_795_400_000_000).expect("in range"),
                duration_ms: Some(12),
            },
        )?;
        draft.take_checks();
        Some((draft, mount))
    }
}

fn details(event: &Event) -> Value {
    event.details.as_ref().map(crate::event::JsonText::value).unwrap_or_default()
}

fn changed(event: &Event) -> Value {
    event.changes.as_ref().map(|changes| changes.fields.value()).unwrap_or_default()
}

fn update(request: Value, status: u16, response: Value) -> Event {
    Case::of("PUT", "/agents/a1", &request, status, &response).event().expect("audited")
}

#[test]
fn an_update_tells_who_what_and_the_new_side_of_each_named_field() {
    let event = update(
        json!({"name": "New", "updated_at": 1, "unnamed": "never", "password": "hunter2"}),
        200,
        json!({"success": true, "agent": {"name": "New!", "mode": "scheduled", "secret_column": "x"}}),
    );
    assert_eq!(
        (event.action.as_str(), event.severity, event.outcome),
        ("AGENT_UPDATED", Severity::Info, Outcome::Success)
    );
    let entity = event.entity.as_ref().expect("an entity");
    assert_eq!((entity.id.as_deref(), entity.name.as_deref()), (Some("a1"), Some("New!")));
    assert_eq!(changed(&event), json!({"name": {"to": "New!"}, "password": {"changed": true}}));
    assert_eq!(event.changes.as_ref().map(|changes| changes.quality), Some(Quality::Partial));
    assert_eq!(event.context.ip.map(|ip| ip.to_string()).as_deref(), Some("198.51.100.9"));
    assert_eq!((event.request.route.as_str(), event.request.rule.as_str()), ("/agents/{id}", "t/put"));
    assert_eq!(event.reason, None);
}

#[test]
fn a_named_detail_that_is_a_secret_is_masked() {
    let event = update(json!({"api_key": "short", "name": "x"}), 200, json!({"success": true}));
    assert_eq!(details(&event), json!({"api_key": "[masked]", "keys": ["api_key", "name"]}));
}

#[test]
fn a_status_change_is_graver_and_kept_longer() {
    let event = update(json!({"status": "active"}), 200, json!({"success": true}));
    assert_eq!((event.severity, event.class), (Severity::Critical, RetentionClass::Critical));
}

#[test]
fn a_failure_has_its_own_name_a_reason_and_no_changes() {
    let by_status = update(json!({"name": "x"}), 404, json!({"success": false}));
    assert_eq!((by_status.action.as_str(), by_status.severity), ("AGENT_UPDATE_FAILED", Severity::Warning));
    assert_eq!((by_status.outcome, by_status.reason.as_deref()), (Outcome::Failure, Some("http_404")));
    assert_eq!(by_status.changes, None);
    let by_body = update(json!({"name": "x"}), 200, json!({"success": false}));
    assert_eq!((by_body.outcome, by_body.reason.as_deref()), (Outcome::Failure, Some("refused")));
    let by_code = update(json!({"name": "x"}), 403, json!({"success": false, "code": "42501"}));
    assert_eq!(by_code.reason.as_deref(), Some("42501"));
}

#[test]
fn what_the_body_does_not_tell_is_unknown_and_never_guessed() {
    let mut case = Case::of("POST", "/run", &json!({"agent_id": "a1"}), 200, &json!({"success": true}));
    assert_eq!(case.event().map(|event| event.outcome), Some(Outcome::Success));
    case.response = json!({"success": false}).to_string();
    assert_eq!(case.event().map(|event| event.outcome), Some(Outcome::Failure));
    for (response, cut, state) in [
        (r#"{"data":{"output":"long"#, true, BodyState::Truncated),
        ("<html>", false, BodyState::Unparsable),
        (r#"{"other":1}"#, false, BodyState::Complete),
    ] {
        case.response = response.to_owned();
        case.response_cut = cut;
        let event = case.event().expect("audited");
        assert_eq!((event.outcome, event.request.response_body), (Outcome::Unknown, state), "{response}");
        assert_eq!(event.reason.as_deref(), Some("not_told"));
    }
    case.status = None;
    case.response = String::new();
    let event = case.event().expect("audited");
    assert_eq!((event.outcome, event.reason.as_deref()), (Outcome::Unknown, Some("no_answer")));
}

#[test]
fn a_truncated_body_still_gives_what_came_before_the_cut() {
    let mut case = Case::of("POST", "/run", &json!({}), 200, &json!({}));
    case.request = r#"{"agent_id":"a1","input_variables":{"pdf":"JVBERi0"#.to_owned();
    case.request_cut = true;
    case.response = r#"{"success":true,"data":{"out"#.to_owned();
    case.response_cut = true;
    let event = case.event().expect("audited");
    assert_eq!(event.outcome, Outcome::Success);
    assert_eq!(event.entity.and_then(|entity| entity.id).as_deref(), Some("a1"));
    assert_eq!(event.request.request_body, BodyState::Truncated);
}

#[test]
fn rows_tell_whether_a_patch_changed_anything() {
    let mut case = Case::of("PATCH", "/rows", &json!({"a": 1}), 204, &json!(null));
    case.query = "?id=eq.r1&select=*";
    case.response = String::new();
    for (range, outcome, reason) in [
        ("content-range: 0-0/*", Outcome::Success, None),
        ("content-range: */*", Outcome::Failure, Some("no_row_matched")),
        ("", Outcome::Unknown, Some("not_told")),
    ] {
        case.response_headers = range;
        let event = case.event().expect("audited");
        assert_eq!((event.outcome, event.reason.as_deref()), (outcome, reason), "{range}");
        assert_eq!(event.entity.and_then(|entity| entity.id).as_deref(), Some("r1"));
    }
}

#[test]
fn a_claimed_user_is_kept_beside_the_actor_and_only_if_it_looks_like_one() {
    let mut case = Case::of("PUT", "/agents/a1", &json!({"email": "bob@example.com"}), 200, &json!({}));
    let claimed = |case: &Case| case.event().and_then(|event| event.claimed_user).expect("a claim");
    assert_eq!(
        (claimed(&case).id.as_str(), claimed(&case).source.as_str()),
        ("bob@example.com", "body:/email")
    );
    case.request = json!({"email": "my secret passphrase!"}).to_string();
    assert_eq!(claimed(&case).id, "[masked]");
    case.request_headers = "x-user-id: 11111111-1111-4111-8111-111111111111".to_owned();
    assert_eq!(claimed(&case).source, "header:x-user-id");
}

/// A token without a real signature: verdicts are given by the test.
fn token(claims: &Value) -> String {
    use base64::Engine as _;
    let encode = |text: String| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.c2ln", encode(r#"{"alg":"ES256","kid":"k"}"#.to_owned()), encode(claims.to_string()))
}

#[test]
fn the_verdict_decides_the_trust_and_the_token_never_shows() {
    let claims = json!({"sub": "u1", "email": "u1@example.com", "role": "authenticated", "exp": 1_795_400_100,
                        "session_id": "s1", "aal": "aal1"});
    let mut case = Case::of("PUT", "/agents/a1", &json!({"name": "x"}), 200, &json!({}));
    let token = token(&claims);
    case.request_headers = format!("authorization: Bearer {token}\nuser-agent: Mozilla/5.0 {token}");
    for (verdicts, trust) in [
        (vec![Verdict::Valid], Trust::Verified),
        (vec![Verdict::Invalid], Trust::Asserted),
        (vec![], Trust::Asserted),
    ] {
        case.verdicts = verdicts;
        let event = case.event().expect("audited");
        assert_eq!(event.trust, trust);
        assert_eq!(event.actor.as_ref().map(|actor| actor.id.as_str()), Some("u1"));
        assert_eq!(event.context.session.as_deref(), Some("s1"));
        let stored = event.to_opening(Seed([0; 32])).encode();
        let stored = String::from_utf8_lossy(&stored).into_owned();
        for part in token.split('.').filter(|part| part.len() > 8) {
            assert!(!stored.contains(part), "a piece of the token was kept");
        }
    }
}

#[test]
fn a_login_is_by_whom_the_issued_token_names() {
    let issued = token(&json!({"sub": "u2", "role": "authenticated", "exp": 1_795_400_100}));
    let mut case = Case::of("POST", "/login", &json!({}), 200, &json!({"token": issued, "user": "u2"}));
    let anon = token(&json!({"role": "anon", "iss": "supabase"}));
    case.request_headers = format!("authorization: Bearer {anon}");
    case.verdicts = vec![Verdict::Invalid, Verdict::Valid];
    let event = case.event().expect("audited");
    assert_eq!((event.trust, event.actor.map(|actor| actor.id).as_deref()), (Trust::Verified, Some("u2")));
    case.status = Some(400);
    case.response = json!({"code": "invalid_credentials"}).to_string();
    let event = case.event().expect("audited");
    assert_eq!((event.trust, event.actor, event.outcome), (Trust::Anonymous, None, Outcome::Failure));
    assert_eq!(event.reason.as_deref(), Some("invalid_credentials"));
}

#[test]
fn what_no_rule_audits_gives_no_event() {
    assert_eq!(Case::of("POST", "/quiet", &json!({}), 200, &json!({})).event(), None);
    assert_eq!(Case::of("GET", "/agents/a1", &json!({}), 200, &json!({})).event(), None);
}

#[test]
fn an_event_stays_within_its_limit_whatever_is_changed() {
    let long = "word ".repeat(8_000);
    let event = update(
        json!({"prompt": long, "name": "n".repeat(5_000), "status": vec!["x y z"; 4_000]}),
        200,
        json!({"agent": {"name": "ü".repeat(3_000), "mode": {"deep": vec![long.clone(); 20]}}}),
    );
    assert!(details(&event)["mode"].to_string().contains("left out"));
    assert!(event.entity.and_then(|entity| entity.name).is_some_and(|name| name.len() <= 768));
}
