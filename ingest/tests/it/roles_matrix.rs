//! Every route for every role, of the own tenant and of another: who may is written down here by hand, and a route of the
//! server that is not here fails.

use std::collections::BTreeMap;

use ingest::api::table;
use ingest::auth::Role;

use crate::support::{Server, call, new_key, sample};

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    Anybody,
    /// Whom a token of the application proves; a reader's key opens nothing there.
    Themselves,
    Readers,
    /// Investigators and above.
    Investigators,
    /// Investigators and admins: who audits changes nothing.
    Investigating,
    /// Auditors and admins.
    Overseers,
    Admins,
}

impl May {
    fn allows(self, role: Role) -> bool {
        match self {
            Self::Anybody | Self::Readers => true,
            Self::Themselves => false,
            Self::Investigators => role != Role::Viewer,
            Self::Investigating => matches!(role, Role::Investigator | Role::Admin),
            Self::Overseers => matches!(role, Role::Auditor | Role::Admin),
            Self::Admins => role == Role::Admin,
        }
    }
}

const MATRIX: &[(&str, &str, May)] = &[
    ("POST", "/v1/batches", May::Anybody),
    ("GET", "/v1/events", May::Readers),
    ("GET", "/v1/events/histogram", May::Readers),
    ("GET", "/v1/events/facets", May::Readers),
    ("GET", "/v1/events/{id}", May::Readers),
    ("POST", "/v1/events/{id}/unmask", May::Investigators),
    ("GET", "/v1/events/{id}/proof", May::Readers),
    ("GET", "/v1/entities/{type}/{id}/timeline", May::Readers),
    ("GET", "/v1/actors/{id}", May::Readers),
    ("GET", "/v1/openings", May::Overseers),
    ("GET", "/v1/absences", May::Overseers),
    ("GET", "/v1/absences/{record}", May::Overseers),
    ("GET", "/v1/alerts", May::Readers),
    ("GET", "/v1/alerts/{id}", May::Readers),
    ("POST", "/v1/alerts/{id}/close", May::Investigating),
    ("GET", "/v1/detection/rules", May::Readers),
    ("POST", "/v1/detection/trial", May::Investigating),
    ("GET", "/v1/executions", May::Readers),
    ("GET", "/v1/executions/{id}", May::Readers),
    ("GET", "/v1/metrics", May::Readers),
    ("GET", "/v1/metrics/agents", May::Readers),
    ("GET", "/v1/metrics/agents/{id}", May::Readers),
    ("GET", "/v1/metrics/users", May::Readers),
    ("GET", "/v1/metrics/users/{id}", May::Readers),
    ("GET", "/v1/sinks", May::Overseers),
    ("POST", "/v1/sinks", May::Admins),
    ("GET", "/v1/sinks/{id}", May::Overseers),
    ("POST", "/v1/sinks/{id}", May::Admins),
    ("POST", "/v1/sinks/{id}/pause", May::Admins),
    ("POST", "/v1/sinks/{id}/resume", May::Admins),
    ("POST", "/v1/sinks/{id}/replay", May::Admins),
    ("POST", "/v1/sinks/{id}/test", May::Admins),
    ("POST", "/v1/sinks/{id}/remove", May::Admins),
    ("POST", "/v1/fingerprint", May::Overseers),
    ("GET", "/v1/coverage", May::Readers),
    ("GET", "/v1/inbox", May::Readers),
    ("POST", "/v1/inbox/draft", May::Readers),
    ("POST", "/v1/inbox/accept", May::Admins),
    ("POST", "/v1/policy", May::Admins),
    ("GET", "/v1/policy/{name}", May::Anybody),
    ("POST", "/v1/policy/{name}/approve", May::Admins),
    ("POST", "/v1/policy/{name}/refuse", May::Admins),
    ("POST", "/v1/policy/{name}/rollback", May::Admins),
    ("GET", "/v1/policies", May::Readers),
    ("GET", "/v1/policies/{version}", May::Readers),
    ("GET", "/v1/policy-keys", May::Readers),
    ("GET", "/v1/quarantine", May::Overseers),
    ("GET", "/v1/coverage/tables", May::Readers),
    ("GET", "/v1/writes", May::Readers),
    ("GET", "/v1/streams", May::Readers),
    ("GET", "/v1/intents", May::Readers),
    ("GET", "/v1/reconciliation", May::Readers),
    ("GET", "/v1/echoes", May::Readers),
    ("POST", "/v1/subjects/{id}/export", May::Admins),
    ("POST", "/v1/subjects/{id}/erase", May::Admins),
    ("GET", "/v1/erasures", May::Overseers),
    ("GET", "/v1/erasures/{id}", May::Overseers),
    ("POST", "/v1/erasures/{id}/approve", May::Admins),
    ("POST", "/v1/erasures/{id}/cancel", May::Admins),
    ("GET", "/v1/erasures/{id}/certificate", May::Overseers),
    ("GET", "/v1/retention", May::Readers),
    ("GET", "/v1/retention/preview", May::Overseers),
    ("POST", "/v1/retention/periods", May::Admins),
    ("POST", "/v1/retention/periods/{version}/approve", May::Admins),
    ("POST", "/v1/retention/periods/{version}/refuse", May::Admins),
    ("GET", "/v1/holds", May::Overseers),
    ("POST", "/v1/holds", May::Admins),
    ("POST", "/v1/holds/{id}/release", May::Admins),
    ("GET", "/v1/access", May::Overseers),
    ("POST", "/v1/access", May::Admins),
    ("POST", "/v1/access/{id}/revoke", May::Admins),
    ("GET", "/sign-in", May::Anybody),
    ("POST", "/sign-in", May::Anybody),
    ("GET", "/sign-in/oidc", May::Anybody),
    ("GET", "/sign-in/callback", May::Anybody),
    ("POST", "/sign-out", May::Readers),
    ("GET", "/v1/session", May::Readers),
    ("POST", "/v1/session/unmask", May::Investigators),
    ("GET", "/v1/sessions", May::Overseers),
    // One's own session; another's is for admins, which is a test of its own.
    ("POST", "/v1/sessions/{id}/revoke", May::Admins),
    ("GET", "/v1/integrity", May::Readers),
    ("GET", "/v1/events/live", May::Readers),
    // Investigators unmask first.
    ("GET", "/v1/events/export", May::Overseers),
    ("GET", "/v1/exports", May::Investigators),
    ("POST", "/v1/exports", May::Overseers),
    ("GET", "/v1/exports/{id}", May::Investigators),
    ("GET", "/v1/exports/{id}/manifest", May::Investigators),
    ("GET", "/v1/exports/{id}/download", May::Investigators),
    ("GET", "/v1/compliance/{framework}", May::Readers),
    ("GET", "/v1/searches", May::Readers),
    ("POST", "/v1/searches", May::Readers),
    ("POST", "/v1/searches/{id}", May::Readers),
    ("POST", "/v1/searches/{id}/remove", May::Readers),
    ("GET", "/", May::Readers),
    ("GET", "/complete", May::Readers),
    ("GET", "/events/{id}", May::Readers),
    ("GET", "/events/{id}/proof", May::Readers),
    ("GET", "/entities/{type}/{id}", May::Readers),
    ("GET", "/actors/{id}", May::Readers),
    ("GET", "/live", May::Readers),
    ("GET", "/live/rows", May::Readers),
    ("GET", "/coverage", May::Readers),
    ("GET", "/inbox", May::Readers),
    ("GET", "/integrity", May::Readers),
    ("GET", "/retention", May::Readers),
    ("GET", "/streams", May::Readers),
    ("GET", "/sinks", May::Overseers),
    ("POST", "/sinks", May::Admins),
    ("GET", "/sinks/{id}", May::Overseers),
    ("POST", "/sinks/{id}", May::Admins),
    ("POST", "/sinks/{id}/{act}", May::Admins),
    ("GET", "/holds", May::Overseers),
    ("POST", "/holds", May::Admins),
    ("POST", "/holds/{id}/release", May::Admins),
    ("GET", "/erasures", May::Overseers),
    ("POST", "/erasures", May::Admins),
    ("POST", "/erasures/{id}/approve", May::Admins),
    ("POST", "/erasures/{id}/cancel", May::Admins),
    ("GET", "/dashboard", May::Readers),
    ("GET", "/runs", May::Readers),
    ("GET", "/runs/{id}", May::Readers),
    ("GET", "/agents", May::Readers),
    ("GET", "/agents/{id}", May::Readers),
    ("GET", "/alerts", May::Readers),
    ("POST", "/alerts/{id}/close", May::Investigating),
    ("GET", "/entities", May::Readers),
    ("GET", "/actors", May::Readers),
    ("POST", "/searches", May::Readers),
    ("POST", "/searches/{id}/remove", May::Readers),
    ("POST", "/unmask", May::Investigators),
    ("GET", "/exports", May::Investigators),
    ("POST", "/exports", May::Investigators),
    ("GET", "/compliance", May::Readers),
    ("GET", "/compliance/{framework}", May::Readers),
    ("GET", "/policies", May::Readers),
    ("GET", "/policies/{version}", May::Readers),
    ("POST", "/policies/{version}/approve", May::Admins),
    ("POST", "/policies/{version}/refuse", May::Admins),
    ("GET", "/access", May::Overseers),
    ("POST", "/access", May::Admins),
    ("POST", "/access/{id}/revoke", May::Admins),
    ("POST", "/access/sessions/{id}/end", May::Admins),
    ("POST", "/retention/periods", May::Admins),
    ("POST", "/retention/periods/{version}/approve", May::Admins),
    ("POST", "/retention/periods/{version}/refuse", May::Admins),
    ("GET", "/assets/{name}", May::Anybody),
    ("GET", "/assets/edgetrail-activity.js", May::Anybody),
    ("GET", "/v1/me/activity", May::Themselves),
    ("POST", "/v1/me/activity/{id}/disown", May::Themselves),
    ("POST", "/v1/me/export", May::Themselves),
    ("OPTIONS", "/v1/me/activity", May::Anybody),
    ("OPTIONS", "/v1/me/activity/{id}/disown", May::Anybody),
    ("OPTIONS", "/v1/me/export", May::Anybody),
    // Who has no session of their own is shown where to get one; a test of its own tries who has.
    ("GET", "/me", May::Anybody),
    ("POST", "/me/sign-in", May::Anybody),
    ("POST", "/me/sign-out", May::Anybody),
    ("GET", "/me/activity/{id}", May::Anybody),
    ("POST", "/me/activity/{id}/disown", May::Anybody),
    ("POST", "/me/export", May::Anybody),
    ("GET", "/v1/logs", May::Readers),
    ("GET", "/log/{log_id}/checkpoint", May::Anybody),
    // Tiles ask by themselves, unless the log is public.
    ("GET", "/log/{log_id}/tile/{*path}", May::Readers),
    ("GET", "/docs", May::Anybody),
    ("GET", "/openapi.json", May::Anybody),
    ("GET", "/healthz", May::Anybody),
    ("GET", "/readyz", May::Anybody),
    ("GET", "/metrics", May::Anybody),
];

/// A path of a route that names an event of tenant `demo` where it names one, and nothing that is there elsewhere.
fn path(template: &str, event: &str) -> String {
    template
        .replace("/v1/events/{id}", &format!("/v1/events/{event}"))
        .replace("{*path}", "0/000")
        .replace("{type}", "agent")
        .replace("{id}", "018f0000-0000-7000-8000-000000000000")
        .replace("{act}", "pause")
        .replace("{record}", "018f0000-0000-7000-8000-000000000000")
        .replace("{version}", "99")
        .replace("{name}", "99")
        .replace("{framework}", "soc2")
        .replace("{log_id}", &format!("test/log/{}", "0".repeat(32)).replace('/', "%2F"))
}

#[test]
fn every_route_of_the_server_is_in_the_matrix_and_nothing_else() {
    let mut routes: Vec<(&str, &str)> = table().iter().map(|route| (route.method, route.path)).collect();
    let mut written: Vec<(&str, &str)> = MATRIX.iter().map(|(method, path, _)| (*method, *path)).collect();
    routes.sort_unstable();
    written.sort_unstable();
    assert_eq!(routes, written);
}

#[tokio::test]
async fn every_role_gets_through_where_it_may_and_nowhere_else() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let event = sample(4);
    server.send(&producer.seal(std::slice::from_ref(&event))).await;
    let id = event.id.to_string();
    let mut keys = BTreeMap::new();
    for tenant in ["demo", "other"] {
        for role in Role::ALL {
            keys.insert((tenant, role), new_key(&server.store, tenant, role).await);
        }
    }
    for (method, template, may) in MATRIX {
        let path = path(template, &id);
        let nobody = call(&server.address, method, &path, &[], b"{}").await;
        // A page sends them to where they can sign in.
        let is_refused =
            nobody.status == 401 || nobody.status == 303 && nobody.head.contains("location: /sign-in");
        assert_eq!(is_refused, *may != May::Anybody, "nobody: {method} {path}: {}", nobody.text());
        if *may == May::Anybody {
            continue;
        }
        for ((tenant, role), key) in &keys {
            // These do not end by themselves.
            if ["/v1/events/live", "/live/rows"].contains(template) {
                continue;
            }
            let bearer = format!("Bearer {key}");
            let answer = call(&server.address, method, &path, &[("authorization", &bearer)], b"{}").await;
            let who = format!("{role} of {tenant}: {method} {path}: {} {}", answer.status, answer.text());
            if *may == May::Themselves {
                assert_eq!(answer.status, 401, "{who}");
                continue;
            }
            assert_eq!(answer.status == 403, !may.allows(*role), "{who}");
            assert!(![401, 405].contains(&answer.status) && answer.status < 500, "{who}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn another_tenants_things_are_not_there() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let event = sample(4);
    server.send(&producer.seal(std::slice::from_ref(&event))).await;
    let granted =
        server.post_as_admin("/v1/access", r#"{"who":"a@example.com","role":"viewer"}"#).await.json();
    let hold = server.post_as_admin("/v1/holds", r#"{"reason":"a case","entity_id":"4"}"#).await.json();
    let stranger = new_key(&server.store, "other", Role::Admin).await;
    for path in [
        format!("/v1/events/{}", event.id),
        format!("/v1/events/{}/proof", event.id),
        "/v1/entities/agent/4/timeline".to_owned(),
        "/v1/actors/user-0".to_owned(),
    ] {
        assert_ne!(server.get(&path).await.status, 404, "{path}");
        server.get_with(&path, &stranger).await.problem(404);
    }
    for path in [
        format!("/v1/events/{}/unmask", event.id),
        format!("/v1/access/{}/revoke", granted["id"].as_str().expect("an id")),
        format!("/v1/holds/{}/release", hold["id"].as_str().expect("an id")),
    ] {
        server.post_with(&path, &stranger, r#"{"reason":"because of it"}"#).await.problem(404);
    }
    for search in ["", "?q=%22Agent%204%22", "?q=tenant:demo", "?q=NOT%20action:X", "?entity=agent/4"] {
        let found = server.get_with(&format!("/v1/events{search}"), &stranger).await.json();
        let theirs = found["events"].as_array().expect("a list").iter().filter(|it| it["tenant"] != "other");
        assert_eq!(theirs.count(), 0, "{search}");
    }
    let theirs = server.get_with("/v1/access", &stranger).await.json();
    assert_eq!(theirs["grants"], serde_json::json!([]));
    server.stop().await;
}

#[tokio::test]
async fn an_auditors_key_ends_by_itself() {
    let now = chrono::Utc::now();
    let dial = crate::support::Dial::new(now);
    let server = Server::at(&dial).await;
    let text = ingest::auth::ApiKeyText::mint([7; 6], [8; 32]);
    let end = now + chrono::TimeDelta::days(1);
    let key = ingest::auth::ApiKey {
        id: text.id().to_owned(),
        tenant: crate::support::tenant("demo"),
        tenure: ingest::auth::Tenure::new(Role::Auditor, Some(end)).expect("it ends"),
        person: None,
        sha256: text.sha256().to_vec(),
    };
    ingest::store::api_keys::upsert(&server.store, &key, "audit").await.expect("registered");
    assert_eq!(server.get_with("/v1/openings", text.reveal()).await.status, 200);
    dial.turn(end + chrono::TimeDelta::milliseconds(1));
    server.get_with("/v1/openings", text.reveal()).await.problem(401);
    server.stop().await;
}
