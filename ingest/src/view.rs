//! An event as readers see it: JSON made from the opening, which alone is committed to.

use std::net::IpAddr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use shared::event::{
    Action, Actor, BodyState, ClaimedUser, ComplianceFlag, Entity, Event, EventId, JsonText, Outcome, Place,
    Quality, RetentionClass, Severity, TenantId, Trust,
};
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
    serde_json::to_value(View::of_read(stored, event, erased)).expect("an event is JSON")
}

/// A stored event as it is written: without a tree of values in between, which costs more than everything else about a line.
#[derive(Debug, Serialize)]
pub struct View<'a> {
    id: EventId,
    tenant: &'a TenantId,
    occurred_at: String,
    received_at: String,
    filed_at: String,
    action: &'a Action,
    severity: Severity,
    outcome: Outcome,
    reason: Option<&'a str>,
    trust: Trust,
    class: RetentionClass,
    actor: &'a Option<Actor>,
    claimed_user: &'a Option<ClaimedUser>,
    entity: &'a Option<Entity>,
    context: ContextView<'a>,
    request: RequestView<'a>,
    details: Option<Document<'a>>,
    changes: Option<ChangesView<'a>>,
    compliance: &'a [ComplianceFlag],
    duration_ms: Option<u32>,
    echo: bool,
    erased: &'a [&'a str],
    pseudonym: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct ContextView<'a> {
    ip: Option<IpAddr>,
    user_agent: Option<&'a str>,
    session: Option<&'a str>,
    place: &'a Option<Place>,
}

#[derive(Debug, Serialize)]
struct RequestView<'a> {
    host: &'a str,
    method: &'a str,
    route: &'a str,
    rule: &'a str,
    status: Option<u16>,
    request_body: BodyState,
    response_body: BodyState,
}

#[derive(Debug, Serialize)]
struct ChangesView<'a> {
    quality: Quality,
    fields: Document<'a>,
    summary: Option<String>,
}

/// A document of a producer's.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Document<'a> {
    /// As it was committed to.
    Text(&'a RawValue),
    /// Written anew: a line break in it would end a line that is not over.
    Value(Value),
}

impl<'a> Document<'a> {
    fn of(text: &'a JsonText) -> Self {
        let whole = Some(text.as_str()).filter(|text| !text.contains(['\n', '\r']));
        whole
            .and_then(|text| serde_json::from_str(text).ok())
            .map_or_else(|| Self::Value(text.value()), Self::Text)
    }
}

impl<'a> View<'a> {
    /// Of a stored event that was read already, and the names of what is erased of it.
    pub fn of(stored: &'a StoredEvent, event: &'a Event, erased: &'a [&'a str]) -> Self {
        Self::with(stored, event, erased, Document::of)
    }

    /// The same for what does not write texts of JSON as they are: its documents are read.
    pub fn of_read(stored: &'a StoredEvent, event: &'a Event, erased: &'a [&'a str]) -> Self {
        Self::with(stored, event, erased, |text| Document::Value(text.value()))
    }

    fn with(
        stored: &'a StoredEvent,
        event: &'a Event,
        erased: &'a [&'a str],
        document: impl Fn(&'a JsonText) -> Document<'a>,
    ) -> Self {
        let (request, context) = (&event.request, &event.context);
        Self {
            id: event.id,
            tenant: &event.tenant,
            occurred_at: event.occurred_at.to_string(),
            received_at: time(stored.received_at),
            filed_at: time(stored.filed_at),
            action: &event.action,
            severity: event.severity,
            outcome: event.outcome,
            reason: event.reason.as_deref(),
            trust: event.trust,
            class: event.class,
            actor: &event.actor,
            claimed_user: &event.claimed_user,
            entity: &event.entity,
            context: ContextView {
                ip: context.ip,
                user_agent: context.user_agent.as_deref(),
                session: context.session.as_deref(),
                place: &context.place,
            },
            request: RequestView {
                host: &request.host,
                method: &request.method,
                route: &request.route,
                rule: &request.rule,
                status: request.status,
                request_body: request.request_body,
                response_body: request.response_body,
            },
            details: event.details.as_ref().map(&document),
            changes: event.changes.as_ref().map(|changes| ChangesView {
                quality: changes.quality,
                fields: document(&changes.fields),
                summary: changes.fields.value().as_object().and_then(shared::diff::words),
            }),
            compliance: &event.compliance,
            duration_ms: event.duration_ms,
            echo: event.echo,
            erased,
            // A column holds the actor of every other event as well: only where it was erased does it stand for it.
            pseudonym: stored.pseudonym.as_deref().filter(|_| event.actor.is_none()),
        }
    }
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
