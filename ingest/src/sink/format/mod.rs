//! An event in the words of each kind of receiver. Every form carries the event's id.
//!
//! What is longer than a receiver takes is told shorter, and says so: first without details and changes, which are what is long, and
//! at last as nothing but its frame.

mod any_value;
mod cef;
mod cloudevents;
mod otlp;
mod syslog;

use std::ops::Not;

use serde::Serialize;
use serde_json::Value;
use shared::event::{Context, Event};

use crate::export::{Row, ocsf};
use crate::view::View;

pub(super) use otlp::{HEAD as OTLP_HEAD, TAIL as OTLP_TAIL};

/// Bytes of a host, a method or a route in a frame.
const FRAME_TEXT: usize = 64;

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A CloudEvent.
    CloudEvents,
    /// Syslog with JSON in it.
    Syslog,
    /// CEF in syslog.
    Cef,
    /// An event of OCSF.
    Ocsf,
    /// The event as the API gives it.
    Json,
    /// A log record of OTLP.
    Otlp,
}

/// An event as it is to be told, and whether something was left out for its length.
#[derive(Debug)]
struct Told<'a> {
    row: &'a Row,
    /// The server that tells it.
    host: &'a str,
    is_truncated: bool,
}

/// An event as the API gives it.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    view: View<'a>,
    #[serde(skip_serializing_if = "Not::not")]
    truncated: bool,
}

impl<'a> Told<'a> {
    fn shown(&'a self) -> Shown<'a> {
        let Row { stored, event, erased } = self.row;
        Shown { view: View::of(stored, event, erased), truncated: self.is_truncated }
    }

    /// The same with its documents read.
    fn shown_read(&'a self) -> Shown<'a> {
        let Row { stored, event, erased } = self.row;
        Shown { view: View::of_read(stored, event, erased), truncated: self.is_truncated }
    }

    fn written(&self, format: Format) -> Vec<u8> {
        match format {
            Format::Syslog => syslog::message(self),
            Format::Cef => cef::message(self),
            Format::CloudEvents => json(&cloudevents::Envelope::of(self)),
            Format::Otlp => otlp::record(self),
            Format::Json => json(&self.shown()),
            Format::Ocsf => {
                let mut value = ocsf::event(self.row);
                if self.is_truncated {
                    value["unmapped"]["truncated"] = Value::Bool(true);
                }
                json(&value)
            }
        }
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("an event is JSON")
}

/// An event in a format, at most so many bytes long.
pub(super) fn write(format: Format, row: &Row, host: &str, max: usize) -> Vec<u8> {
    let whole = Told { row, host, is_truncated: false }.written(format);
    if whole.len() <= max {
        return whole;
    }
    let shorter = |event: Event| {
        let row = Row { stored: row.stored.clone(), event, erased: row.erased.clone() };
        Told { row: &row, host, is_truncated: true }.written(format)
    };
    let plain = Event { details: None, changes: None, ..row.event.clone() };
    let written = shorter(plain.clone());
    if written.len() <= max { written } else { shorter(frame(plain)) }
}

/// What tells an event from others, and nothing that can be long.
fn frame(event: Event) -> Event {
    let cut = |text: &str| shared::redact::shorten_bytes(text, FRAME_TEXT);
    let mut frame = Event {
        reason: None,
        actor: None,
        claimed_user: None,
        context: Context::default(),
        compliance: Vec::new(),
        ..event
    };
    if let Some(entity) = &mut frame.entity {
        (entity.id, entity.name) = (None, None);
    }
    let request = &mut frame.request;
    for text in [&mut request.host, &mut request.method, &mut request.route, &mut request.rule] {
        *text = cut(text);
    }
    frame
}

/// The entity in a word or two, for people.
fn message(event: &Event) -> String {
    match event.entity.as_ref().map(|entity| (&entity.kind, &entity.id)) {
        Some((kind, Some(id))) => format!("{} {kind}/{id}", event.action),
        Some((kind, None)) => format!("{} {kind}", event.action),
        None => event.action.to_string(),
    }
}

/// Events for the tests of formats.
#[cfg(test)]
mod sample {
    use serde_json::json;
    use shared::event::{
        Actor, BodyState, ChangeSet, Entity, EventId, JsonText, Outcome, Place, Quality, RequestFacts,
        RetentionClass, Severity, Timestamp, Trust,
    };
    use shared::leaf::Seed;

    use super::*;
    use crate::store::search::Swept;

    /// The same event every time.
    pub(super) fn event() -> Event {
        let at = Timestamp::try_from(1_790_000_000_123).expect("a time");
        Event {
            tenant: "demo".parse().expect("a slug"),
            id: EventId::mint(at, &[7; 10]),
            occurred_at: at,
            class: RetentionClass::Standard,
            action: "AGENT_UPDATED".to_owned().try_into().expect("an action"),
            severity: Severity::Warning,
            outcome: Outcome::Success,
            reason: None,
            trust: Trust::Verified,
            actor: Some(Actor {
                id: "user-1".to_owned(),
                email: Some("ada@example.com".to_owned()),
                ..Actor::default()
            }),
            claimed_user: None,
            entity: Some(Entity {
                kind: "agent".to_owned().try_into().expect("a type"),
                id: Some("42".to_owned()),
                name: Some("Invoice bot".to_owned()),
            }),
            request: RequestFacts {
                host: "app.example.com".to_owned(),
                method: "PATCH".to_owned(),
                route: "/api/agents/{id}".to_owned(),
                rule: "app/agent-update".to_owned(),
                status: Some(200),
                request_body: BodyState::Complete,
                response_body: BodyState::Complete,
            },
            context: Context {
                ip: Some("203.0.113.7".parse().expect("an address")),
                user_agent: Some("Mozilla/5.0".to_owned()),
                session: Some("hmac:0011223344556677".to_owned()),
                place: Some(Place { country: Some("DE".to_owned()), ..Place::default() }),
            },
            details: Some(JsonText::from(&json!({"via": "page"}))),
            changes: Some(ChangeSet {
                quality: Quality::Exact,
                fields: JsonText::from(&json!({"name": {"from": "Bot", "to": "Invoice bot"}})),
            }),
            compliance: Vec::new(),
            duration_ms: Some(12),
            echo: false,
        }
    }

    pub(super) fn row(event: &Event) -> Row {
        let at = event.occurred_at.to_utc();
        let swept = Swept {
            id: event.id.uuid(),
            filed_at: at,
            received_at: at + chrono::TimeDelta::milliseconds(80),
            opening: event.to_opening(Seed([1; 32])).encode(),
            pseudonym: None,
            batch_id: 1,
            position: 0,
        };
        Row::open(swept).expect("an event")
    }

    pub(super) fn written(format: Format) -> String {
        let bytes = write(format, &row(&event()), "audit.example.com", 1_000_000);
        String::from_utf8(bytes).expect("text")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::event::JsonText;

    use super::*;

    const ALL: [Format; 6] =
        [Format::CloudEvents, Format::Syslog, Format::Cef, Format::Ocsf, Format::Json, Format::Otlp];

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn every_format_carries_the_id_of_the_event_on_one_line() {
        let id = sample::event().id.to_string();
        for format in ALL {
            let written = sample::written(format);
            assert!(written.contains(&id) && !written.contains('\n'), "{format:?}: {written}");
        }
    }

    #[test]
    fn the_documentation_shows_what_is_written() {
        let docs = include_str!("../../../../docs/streams.md");
        let lacking: Vec<String> = ALL
            .into_iter()
            .map(|format| {
                let written = sample::written(format);
                serde_json::from_str::<Value>(&written).map_or(written, |value| format!("{value:#}"))
            })
            .filter(|shown| !docs.contains(shown))
            .collect();
        assert!(lacking.is_empty(), "docs/streams.md lacks\n{}", lacking.join("\n@@\n"));
    }

    #[test]
    fn c22_an_oversize_event_is_told_shorter_and_says_so() {
        let mut long = sample::event();
        long.details = Some(JsonText::from(&json!({"text": "x".repeat(20_000)})));
        let row = sample::row(&long);
        for format in ALL {
            let written = text(write(format, &row, "audit.example.com", 8_192));
            assert!(written.len() <= 8_192, "{format:?}: {}", written.len());
            assert!(written.contains("truncated") && written.contains("ada@example.com"), "{written}");
            assert!(!sample::written(format).contains("truncated"), "{format:?}: a short one is whole");
        }
    }

    #[test]
    fn c22_a_frame_fits_the_smallest_limit_whatever_an_event_holds() {
        let mut long = sample::event();
        let text_of = |len: usize| "\u{e9}\\\"".repeat(len / 4);
        long.actor.as_mut().expect("an actor").id = text_of(700);
        long.request.route = text_of(700);
        long.request.host = text_of(700);
        long.reason = Some(text_of(700));
        long.context.user_agent = Some(text_of(700));
        let row = sample::row(&long);
        for format in ALL {
            let written = text(write(format, &row, "audit.example.com", 4_096));
            assert!(written.len() <= 4_096, "{format:?}: {} {written}", written.len());
            assert!(written.contains(&long.id.to_string()) && written.contains("truncated"), "{written}");
        }
    }
}
