//! Events in the words of OCSF 1.9 (schema.ocsf.io), one module for all of it; `docs/exports.md` has the table.
//!
//! A class is chosen only where the event has what the class requires; everything else is API Activity. What OCSF has no
//! word for stands under `unmapped`, so nothing is lost on the way.

use serde_json::{Map, Value, json};
use shared::event::{Entity, Event, JsonText, Outcome, Severity, Trust};

use super::row::Row;
use crate::table::Filed as _;

/// The version of the schema.
const VERSION: &str = "1.9.0";

const METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// The classes that events are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Authentication,
    EntityManagement,
    UserManagement,
    RoleManagement,
    ApiActivity,
}

impl Class {
    fn uid(self) -> u32 {
        match self {
            Self::Authentication => 3002,
            Self::EntityManagement => 3004,
            Self::UserManagement => 3007,
            Self::RoleManagement => 3008,
            Self::ApiActivity => 6003,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Authentication => "Authentication",
            Self::EntityManagement => "Entity Management",
            Self::UserManagement => "User Management",
            Self::RoleManagement => "Role Management",
            Self::ApiActivity => "API Activity",
        }
    }
}

/// Actions of one meaning each: the class and the activity in it.
const ACTIONS: [(&str, Class, u32); 22] = [
    ("USER_LOGIN", Class::Authentication, 1),
    ("USER_LOGIN_FAILED", Class::Authentication, 1),
    ("USER_LOGOUT", Class::Authentication, 2),
    ("SESSION_TERMINATED", Class::Authentication, 2),
    ("ADMIN_IMPERSONATION_STARTED", Class::Authentication, 7),
    ("USER_CREATED", Class::UserManagement, 1),
    ("USER_EMAIL_CHANGED", Class::UserManagement, 2),
    ("USER_EMAIL_CHANGE_FAILED", Class::UserManagement, 2),
    ("USER_PROFILE_UPDATED", Class::UserManagement, 2),
    ("PROFILE_UPDATED", Class::UserManagement, 2),
    ("SETTINGS_PROFILE_UPDATED", Class::UserManagement, 2),
    ("USER_TERMINATED", Class::UserManagement, 3),
    ("USER_REACTIVATED", Class::UserManagement, 4),
    ("USER_SUSPENDED", Class::UserManagement, 5),
    ("USER_PASSWORD_CHANGED", Class::UserManagement, 8),
    ("USER_PASSWORD_CHANGE_FAILED", Class::UserManagement, 8),
    ("USER_PASSWORD_RESET", Class::UserManagement, 9),
    ("SETTINGS_2FA_ENABLED", Class::UserManagement, 12),
    ("SETTINGS_2FA_DISABLED", Class::UserManagement, 13),
    ("SETTINGS_API_KEY_CREATED", Class::UserManagement, 18),
    ("SETTINGS_API_KEY_REVOKED", Class::UserManagement, 19),
    ("USER_ROLE_CHANGED", Class::UserManagement, 16),
];

/// The last words of actions on entities, and the activity of Entity Management.
const VERBS: [(&str, u32); 17] = [
    ("CREATED", 1),
    ("VIEWED", 2),
    ("ACCESSED", 2),
    ("UPDATED", 3),
    ("CHANGED", 3),
    ("CONFIGURED", 3),
    ("DELETED", 4),
    ("ENABLED", 8),
    ("DISABLED", 9),
    ("ACTIVATED", 10),
    ("ARCHIVED", 11),
    ("DEACTIVATED", 11),
    ("PAUSED", 12),
    ("SUSPENDED", 12),
    ("RESTORED", 13),
    ("RESUMED", 13),
    ("REACTIVATED", 13),
];

/// What an event is in OCSF.
fn classify(event: &Event) -> (Class, u32) {
    let action = event.action.as_str();
    if let Some((_, class, activity)) = ACTIONS.into_iter().find(|(name, ..)| *name == action) {
        return (class, activity);
    }
    let named = event.entity.as_ref().filter(|entity| entity.id.is_some() || entity.name.is_some());
    let verb = VERBS.into_iter().find(|(verb, _)| action.rsplit('_').next() == Some(*verb));
    match (named, verb) {
        (Some(entity), Some((_, activity @ (1 | 3 | 4)))) if entity.kind.as_str() == "role" => {
            // Create, Update, Delete are 1, 2, 3 there.
            (Class::RoleManagement, if activity == 1 { 1 } else { activity - 1 })
        }
        (Some(_), Some((_, activity))) => (Class::EntityManagement, activity),
        _ => (Class::ApiActivity, operation(&event.request.method)),
    }
}

fn operation(method: &str) -> u32 {
    match method {
        "POST" => 1,
        "GET" | "HEAD" => 2,
        "PUT" | "PATCH" => 3,
        "DELETE" => 4,
        _ => 99,
    }
}

/// An event of OCSF.
pub(crate) fn event(row: &Row) -> Value {
    let event = &row.event;
    let (class, activity) = classify(event);
    let uid = class.uid();
    let mut out = json!({
        "category_uid": uid / 1000,
        "class_uid": uid,
        "class_name": class.name(),
        "activity_id": activity,
        "type_uid": u64::from(uid) * 100 + u64::from(activity),
        "time": event.occurred_at.millis(),
        "severity_id": severity(event.severity),
        "status_id": status(event.outcome),
        "message": message(event),
        "metadata": {
            "version": VERSION,
            "product": {"name": "Edgetrail", "vendor_name": "Edgetrail", "version": env!("CARGO_PKG_VERSION")},
            "uid": event.id,
            "tenant_uid": event.tenant,
            "log_name": "audit",
            "event_code": event.action,
            "logged_time": row.stored.received_at.timestamp_millis(),
            "original_time": event.occurred_at.to_string(),
            "profiles": ["record_integrity"],
        },
        "actor": actor(row),
        "src_endpoint": source(event),
        "unmapped": unmapped(row),
    });
    put(&mut out, "status_code", event.request.status.map(|status| status.to_string()));
    put(&mut out, "status_detail", event.reason.clone());
    put(&mut out, "duration", event.duration_ms);
    put(&mut out, "http_request", request(event));
    put(&mut out, "http_response", event.request.status.map(|status| json!({"code": status})));
    put(&mut out, "attestation_list", row.digest().map(|digest| json!([attestation(&digest)])));
    match class {
        Class::Authentication => {
            out["user"] = user(row);
            out["service"] = json!({"name": event.request.host});
            let session = event.context.session.as_ref().map(|session| json!({"uid": session}));
            put(&mut out, "session", session);
        }
        Class::UserManagement => out["user"] = user(row),
        Class::EntityManagement => put(&mut out, "entity", event.entity.as_ref().map(entity)),
        Class::RoleManagement => put(&mut out, "iam_role", event.entity.as_ref().map(named)),
        Class::ApiActivity => {
            out["api"] = json!({"operation": event.action, "service": {"name": event.request.host}});
            let resource = event.entity.as_ref().filter(|it| it.id.is_some() || it.name.is_some());
            let resource = resource.map(|it| json!([entity(it)]));
            put(&mut out, "resources", resource);
        }
    }
    out
}

fn put(out: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        out[name] = value.into();
    }
}

fn severity(severity: Severity) -> u8 {
    match severity {
        Severity::Info => 1,
        Severity::Warning => 3,
        Severity::Critical => 5,
    }
}

fn status(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Unknown => 0,
        Outcome::Success => 1,
        Outcome::Failure => 2,
    }
}

fn message(event: &Event) -> String {
    let entity = event.entity.as_ref().map(|entity| match &entity.id {
        Some(id) => format!(" {}/{id}", entity.kind),
        None => format!(" {}", entity.kind),
    });
    format!("{}{}", event.action, entity.unwrap_or_default())
}

/// Who acted, as far as it is proven; else the application that was used.
fn actor(row: &Row) -> Value {
    let event = &row.event;
    let mut out = json!({"app_name": event.request.host});
    if event.actor.is_some() || row.pseudonym().is_some() {
        out["user"] = proven(row);
    }
    let session = event.context.session.as_ref().map(|session| json!({"uid": session}));
    put(&mut out, "session", session);
    out
}

fn proven(row: &Row) -> Value {
    let kind = match row.event.trust {
        Trust::System => 3,
        Trust::Service => 4,
        Trust::Verified | Trust::Asserted | Trust::Anonymous => 1,
    };
    let mut out = json!({"type_id": kind});
    match &row.event.actor {
        Some(actor) => {
            out["uid"] = Value::from(actor.id.as_str());
            put(&mut out, "email_addr", actor.email.clone());
        }
        None => put(&mut out, "uid", row.pseudonym()),
    }
    out
}

/// Whom it is about: the entity if it is a user, else who acted, else who was named.
fn user(row: &Row) -> Value {
    let event = &row.event;
    let about = event.entity.as_ref().filter(|entity| entity.kind.as_str() == "user" && entity.id.is_some());
    if let Some(entity) = about {
        let mut out = named(entity);
        out["type_id"] = Value::from(1);
        return out;
    }
    if event.actor.is_some() || row.pseudonym().is_some() {
        return proven(row);
    }
    let name = event.claimed_user.as_ref().map_or("unknown", |user| user.id.as_str());
    json!({"type_id": 0, "name": name})
}

fn entity(entity: &Entity) -> Value {
    let mut out = named(entity);
    out["type"] = Value::from(entity.kind.as_str());
    out
}

fn named(entity: &Entity) -> Value {
    let mut out = json!({});
    put(&mut out, "uid", entity.id.clone());
    put(&mut out, "name", entity.name.clone());
    out
}

/// From where. The backend's own acts come from itself, and where no address is known that is said.
fn source(event: &Event) -> Value {
    match event.context.ip {
        Some(ip) => {
            let mut out = json!({"ip": ip});
            let place = event.context.place.as_ref();
            let country = place.and_then(|place| place.country.as_ref());
            put(&mut out, "location", country.map(|country| json!({"country": country})));
            out
        }
        None if event.request.host == "ingest" => json!({"svc_name": "edgetrail"}),
        None => json!({"name": "unknown"}),
    }
}

fn request(event: &Event) -> Option<Value> {
    let method = METHODS.into_iter().find(|method| *method == event.request.method)?;
    let mut out = json!({
        "http_method": method,
        "url": {"hostname": event.request.host, "path": event.request.route},
    });
    put(&mut out, "user_agent", event.context.user_agent.clone());
    let ray = event.context.place.as_ref().and_then(|place| place.ray.clone());
    put(&mut out, "uid", ray);
    Some(out)
}

/// The digest that the event's leaf in the log commits to.
fn attestation(digest: &[u8; 32]) -> Value {
    let fingerprint = json!({
        "algorithm": "SHA-256",
        "algorithm_id": 3,
        "encoding": "Hex",
        "encoding_id": 1,
        "value": hex::encode(digest),
    });
    json!({"fingerprint": fingerprint, "authority_uid": "edgetrail"})
}

fn unmapped(row: &Row) -> Value {
    let event = &row.event;
    let mut out = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            out.insert(name.to_owned(), value);
        }
    };
    put("trust", Some(Value::from(event.trust.word())));
    put("class", Some(Value::from(event.class.word())));
    put("rule", Some(Value::from(event.request.rule.as_str())));
    put("claimed_user", event.claimed_user.as_ref().map(|user| json!(user)));
    put("details", event.details.as_ref().map(JsonText::value));
    let changes = event.changes.as_ref();
    put("changes", changes.map(|it| json!({"quality": it.quality, "fields": it.fields.value()})));
    put("compliance", (!event.compliance.is_empty()).then(|| json!(event.compliance)));
    put("echo", event.echo.then_some(Value::Bool(true)));
    put("erased", (!row.erased.is_empty()).then(|| json!(row.erased)));
    Value::Object(out)
}
