//! What the application's pack says about the exchanges that matter most, in the shapes that the application sends.

use serde_json::{Value, json};
use shared::capture::{Body, Draft, Exchange, Headers, Mount};
use shared::event::{Event, JsonText, Outcome, Quality, Severity, Timestamp, Trust};
use shared::policy::{Pack, Router};

const PACK: &str = include_str!("../packs/app.json");

const ALICE: &str = "11111111-1111-4111-8111-111111111111";
const AGENT: &str = "822ea53d-eb27-4f01-948b-dbaa0680b6f6";

/// One exchange.
struct Case {
    line: String,
    headers: String,
    request: String,
    status: u16,
    response: String,
    before: Option<Value>,
}

impl Case {
    fn of(line: &str, request: Value, status: u16, response: Value) -> Self {
        let text = |body: Value| if body.is_null() { String::new() } else { body.to_string() };
        Self {
            line: line.to_owned(),
            headers: "content-type: application/json".to_owned(),
            request: text(request),
            status,
            response: text(response),
            before: None,
        }
    }

    fn event(&self) -> Option<Event> {
        let router = Router::compile(vec![Pack::parse(PACK).expect("a pack")]).expect("routable");
        let mount: Mount = serde_json::from_value(json!({
            "host": "app.example.com", "upstream": "https://o.example", "tenant": "acme", "platform": "workerd",
            "packs": ["app"],
        }))
        .expect("a mount");
        let (method, target) = self.line.split_once(' ').expect("method and path");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let before = self.before.as_ref().map(Value::to_string);
        let draft = Draft::from_exchange(
            &router,
            &Exchange {
                mount: &mount,
                method,
                path,
                query,
                request_headers: &Headers::from_lines(&self.headers),
                request_body: Body { bytes: self.request.as_bytes(), cut: false },
                status: Some(self.status),
                response_headers: &Headers::from_lines(""),
                response_body: Body { bytes: self.response.as_bytes(), cut: false },
                before: before.as_deref().map(|text| Body { bytes: text.as_bytes(), cut: false }),
                intent: None,
                hash_key: Some(b"a key"),
                platform: &Value::Null,
                arrived: Timestamp::try_from(1_795_400_000_000).expect("in range"),
                duration_ms: Some(12),
            },
        )?;
        draft.into_events(&[], &mount.auth, &[[7; 10], [8; 10]]).into_iter().next()
    }

    fn told(&self) -> (Event, Value) {
        let event = self.event().expect("an event");
        let details = event.details.as_ref().map(JsonText::value).unwrap_or_default();
        (event, details)
    }
}

#[test]
fn a_new_agent_is_told_with_its_estimated_intensity() {
    let steps: Vec<u32> = (0..4).collect();
    let row = json!({
        "id": AGENT, "agent_name": "Invoice chaser", "mode": "scheduled", "status": "draft",
        "plugins_required": ["google-mail", "stripe"], "schedule_cron": "0 8 * * *", "workflow_steps": steps,
    });
    let asked = json!({"agent": {"agent_name": "Invoice chaser"}, "input_values": {"days": "private"}});
    let (event, details) =
        Case::of("POST /api/create-agent", asked, 201, json!({"success": true, "agent": row})).told();
    assert_eq!(event.entity.as_ref().and_then(|entity| entity.name.as_deref()), Some("Invoice chaser"));
    assert_eq!(details["plugins_count"], 2);
    assert_eq!(details["has_schedule"], true);
    assert_eq!(details["has_workflow"], true);
    assert_eq!(details["intensity_estimate"], 1.67);
    assert_eq!(details["input_keys"], json!(["days"]));
    assert!(!details.to_string().contains("private"));
}

#[test]
fn a_change_of_status_is_a_warning_where_the_status_did_change() {
    let line = format!("PUT /api/agents/{AGENT}");
    let agent = json!({"agent_name": "B", "status": "active"});
    let mut case = Case::of(
        &line,
        json!({"agent": agent.clone()}),
        200,
        json!({"success": true, "agent": agent.clone()}),
    );
    case.before = Some(json!([{"agent_name": "A", "status": "inactive"}]));
    let (event, details) = case.told();
    let changes = event.changes.as_ref().expect("changes");
    assert_eq!((event.severity, changes.quality), (Severity::Warning, Quality::Exact));
    assert_eq!(details["critical_change"], true);
    assert_eq!(changes.fields.value()["status"], json!({"from": "inactive", "to": "active"}));

    case.before = Some(json!([{"agent_name": "A", "status": "active"}]));
    let (event, details) = case.told();
    assert_eq!(event.severity, Severity::Info, "it was active before");
    assert_eq!(details["critical_change"], false);
}

#[test]
fn a_deleted_agent_keeps_its_name_mode_and_status() {
    let line = format!("DELETE /api/agents/{AGENT}");
    let mut case = Case::of(&line, Value::Null, 200, json!({"success": true, "message": "gone"}));
    case.before = Some(json!([{"agent_name": "Old", "mode": "scheduled", "status": "active"}]));
    let (event, details) = case.told();
    assert_eq!(event.severity, Severity::Critical);
    assert_eq!(event.entity.as_ref().and_then(|entity| entity.name.as_deref()), Some("Old"));
    assert_eq!((&details["mode"], &details["status"]), (&json!("scheduled"), &json!("active")));
    assert_eq!(event.changes.expect("changes").fields.value()["agent_name"], json!({"from": "Old"}));
}

#[test]
fn a_run_is_judged_by_its_answer_and_not_by_its_status() {
    let asked =
        json!({"agent_id": AGENT, "execution_type": "manual", "input_variables": {"text": "secret plans"}});
    let data = json!({
        "agent_name": "Weekly", "execution_type": "workflow_pilot", "tokens_used": 150, "raw_tokens": 100,
        "execution_time_ms": 61, "stepsFailed": 1,
    });
    let run = |answer| Case::of("POST /api/run-agent", asked.clone(), 200, answer).told();

    let (event, details) = run(json!({"success": false, "data": data.clone(), "pilot": true}));
    assert_eq!((event.outcome, event.severity), (Outcome::Failure, Severity::Warning));
    assert_eq!(details["execution_type"], "workflow_pilot");
    assert_eq!((&details["tokens_used"], &details["raw_tokens"]), (&json!(150), &json!(100)));
    assert_eq!((&details["duration_ms"], &details["manual"]), (&json!(61), &json!(true)));
    assert_eq!(details["input_keys"], json!(["text"]));
    assert!(!details.to_string().contains("secret plans"));

    let (event, details) = run(json!({"success": true, "warning": "logging failed", "agentkit": true}));
    assert_eq!((event.outcome, &details["execution_type"]), (Outcome::Success, &json!("agentkit")));
    assert_eq!(details.get("tokens_used"), None, "what is not told is not zero");

    let (_, details) = run(json!({"success": true, "queue_based": true, "data": {"execution_id": "e1"}}));
    assert_eq!((&details["queued"], &details["execution_id"]), (&json!(true), &json!("e1")));
}

#[test]
fn a_streamed_run_ends_as_its_last_events_say() {
    let streamed =
        |events| Case::of("POST /api/agent-stream", json!({"agent_id": AGENT}), 200, events).told();
    let (event, details) = streamed(
        json!({"result": {"execution_time": 900, "result": {"message": "m"}}, "complete": {"type": "complete"}}),
    );
    assert_eq!((event.outcome, &details["duration_ms"]), (Outcome::Success, &json!(900)));
    let (event, details) = streamed(json!({"error": {"type": "error", "error": "no balance"}}));
    assert_eq!((event.outcome, &details["error"]), (Outcome::Failure, &json!("no balance")));
    let (event, details) = streamed(json!({"start": {"type": "start"}}));
    assert_eq!((event.outcome, details.get("success")), (Outcome::Unknown, None));
}

#[test]
fn a_plugin_is_connected_when_the_page_of_the_callback_says_so() {
    let page = |query: &str, success: bool| {
        let mut case = Case::of(&format!("GET /oauth/callback/slack{query}"), Value::Null, 200, Value::Null);
        case.response = format!(
            "<script>window.opener.postMessage({{ plugin: 'slack',\n success: {success} }})</script>"
        );
        case.told()
    };
    let (event, _) = page("?code=abc&state=s", true);
    assert_eq!((event.action.as_str(), event.outcome), ("PLUGIN_CONNECTED", Outcome::Success));
    let (event, details) = page("?error=access_denied", false);
    assert_eq!((event.action.as_str(), event.outcome), ("PLUGIN_AUTH_FAILED", Outcome::Failure));
    assert_eq!(details["provider_error"], "access_denied");
}

#[test]
fn power_is_granted_critically_by_whichever_route() {
    let line = "POST /api/admin/settings/admin-users";
    for (line, request, action) in [
        (line, json!({"action": "add", "email": "bob@example.com", "role": "admin"}), "ADMIN_ROLE_GRANTED"),
        (line, json!({"action": "remove", "userId": ALICE}), "ADMIN_ROLE_REVOKED"),
        ("PUT /api/admin/system-config", json!({"updates": {"admin_users": []}}), "ADMIN_ROLE_GRANTED"),
        ("POST /api/admin/system-config", json!({"key": "admin_users", "value": []}), "ADMIN_ROLE_GRANTED"),
    ] {
        let (event, _) = Case::of(line, request, 200, json!({"success": true})).told();
        assert_eq!((event.action.as_str(), event.severity), (action, Severity::Critical), "{line}");
        assert_eq!(event.claimed_user, None, "the user named is the one acted on");
    }
    let (event, details) =
        Case::of("PUT /api/admin/system-config", json!({"updates": {"smtp_host": "x"}}), 200, json!({}))
            .told();
    assert_eq!((event.action.as_str(), event.severity), ("SYSTEM_CONFIG_CHANGED", Severity::Info));
    assert_eq!(details["keys_changed"], json!(["smtp_host"]));
}

#[test]
fn a_new_api_key_is_named_and_not_shown() {
    let answer = json!({
        "success": true, "apiKey": "nf_live_0123456789abcdef0123456789abcdef",
        "keyData": {"id": "k1", "name": "CI", "key_preview": "nf_live_0123…", "expires_at": "2026-12-23T00:00:00Z"},
    });
    let (event, _) = Case::of("POST /api/user/api-keys", json!({"name": "CI"}), 200, answer).told();
    assert_eq!(event.entity.as_ref().and_then(|entity| entity.id.as_deref()), Some("k1"));
    assert!(!format!("{event:?}").contains("nf_live_"));
}

#[test]
fn a_password_leaves_no_trace_but_that_it_changed() {
    let asked = json!({"currentPassword": "old-secret", "newPassword": "new-secret"});
    let line = "POST /api/user/change-password";
    let (event, _) = Case::of(line, asked.clone(), 200, json!({"success": true})).told();
    assert_eq!((event.action.as_str(), event.severity), ("USER_PASSWORD_CHANGED", Severity::Critical));
    assert!(!format!("{event:?}").contains("-secret"));
    let (event, _) = Case::of(line, asked, 401, json!({"error": "Invalid password"})).told();
    assert_eq!((event.action.as_str(), event.outcome), ("USER_PASSWORD_CHANGE_FAILED", Outcome::Failure));
}

#[test]
fn what_the_browser_claims_for_the_applications_trail_is_kept_as_a_claim() {
    let mut case = Case::of(
        "POST /api/audit/log",
        json!({"action": "USER_LOGIN", "entityType": "user", "entityId": ALICE, "details": {"forged": true}}),
        200,
        json!({"success": true}),
    );
    case.headers = format!("x-user-id: {ALICE}");
    let (event, details) = case.told();
    assert_eq!((event.action.as_str(), event.trust), ("APP_AUDIT_CLAIMED", Trust::Anonymous));
    assert_eq!(event.claimed_user.map(|claimed| claimed.id).as_deref(), Some(ALICE));
    assert_eq!(details["claimed_action"], "USER_LOGIN");
}

#[test]
fn a_webhook_acts_for_itself_once_the_application_took_it() {
    let paid = json!({"id": "evt_1", "type": "invoice.payment_failed", "data": {"object": {"subscription": "sub_1"}}});
    let (event, _) = Case::of("POST /api/stripe/webhook", paid, 200, json!({"received": true})).told();
    assert_eq!((event.action.as_str(), event.severity), ("PAYMENT_FAILED", Severity::Warning));
    assert_eq!((event.trust, event.actor.map(|actor| actor.id).as_deref()), (Trust::System, Some("webhook")));
}

#[test]
fn reading_agents_in_another_name_is_an_event_and_reading_ones_own_is_not() {
    let mut case = Case::of("GET /api/agents", Value::Null, 200, json!({"success": true, "agents": []}));
    assert!(case.event().is_none());
    case.headers = format!("x-user-id: {ALICE}");
    assert_eq!(case.told().0.action.as_str(), "DATA_ACCESSED");
}

#[test]
fn tokens_are_refreshed_by_a_view_only_where_its_answer_says_so() {
    let line = format!("GET /api/agents/{AGENT}");
    let view = |refresh: Value| {
        Case::of(&line, Value::Null, 200, json!({"success": true, "agent": {}, "pluginRefresh": refresh}))
            .event()
    };
    assert!(view(Value::Null).is_none());
    let event = view(json!({"ready": ["slack"], "failed": []})).expect("an event");
    assert_eq!(event.action.as_str(), "PLUGIN_TOKENS_REFRESHED");
}
