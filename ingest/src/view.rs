//! An event as readers see it: JSON made from the opening, which alone is committed to.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use shared::event::{Event, JsonText};
use shared::leaf::{StoredOpening, Tag};

use crate::store::StoreError;
use crate::store::events::StoredEvent;

/// The view of a stored event.
///
/// # Errors
/// If the stored bytes are not the event they were when they were stored.
pub fn view(stored: &StoredEvent) -> Result<Value, StoreError> {
    let damaged = || StoreError::Damaged("event");
    let opening = StoredOpening::decode(&stored.opening).map_err(|_| damaged())?;
    let event = Event::from_fields(&opening.fields()).map_err(|_| damaged())?;
    let erased: Vec<&str> = opening.erased().into_iter().map(field).collect();
    Ok(view_of(stored, &event, &erased))
}

/// The view of a stored event that was read already.
pub fn view_of(stored: &StoredEvent, event: &Event, erased: &[&str]) -> Value {
    // A column holds the actor of every other event as well: only where it was erased does it stand for it.
    let pseudonym = stored.pseudonym.as_ref().filter(|_| event.actor.is_none());
    let request = &event.request;
    let context = &event.context;
    json!({
        "id": event.id,
        "tenant": event.tenant,
        "occurred_at": event.occurred_at.to_string(),
        "received_at": time(stored.received_at),
        "filed_at": time(stored.filed_at),
        "action": event.action,
        "severity": event.severity,
        "outcome": event.outcome,
        "reason": event.reason,
        "trust": event.trust,
        "class": event.class,
        "actor": event.actor,
        "claimed_user": event.claimed_user,
        "entity": event.entity,
        "context": {
            "ip": context.ip,
            "user_agent": context.user_agent,
            "session": context.session,
            "place": context.place,
        },
        "request": {
            "host": request.host,
            "method": request.method,
            "route": request.route,
            "rule": request.rule,
            "status": request.status,
            "request_body": request.request_body,
            "response_body": request.response_body,
        },
        "details": event.details.as_ref().map(JsonText::value),
        "changes": event.changes.as_ref().map(|changes| {
            let fields = changes.fields.value();
            json!({
                "quality": changes.quality,
                "summary": fields.as_object().and_then(shared::diff::words),
                "fields": fields,
            })
        }),
        "compliance": event.compliance,
        "duration_ms": event.duration_ms,
        "echo": event.echo,
        "erased": erased,
        "pseudonym": pseudonym,
    })
}

/// What a field is called where it is missing.
pub fn field(tag: Tag) -> &'static str {
    match tag {
        Tag::ACTOR => "actor",
        Tag::CLAIMED_USER => "claimed_user",
        Tag::TARGET => "entity",
        Tag::IP => "ip",
        Tag::USER_AGENT => "user_agent",
        Tag::SESSION => "session",
        Tag::PLACE => "place",
        Tag::DETAILS => "details",
        Tag::CHANGES => "changes",
        _ => "other",
    }
}

/// RFC 3339 with milliseconds.
pub fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
