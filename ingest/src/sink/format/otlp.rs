//! OTLP logs as JSON (the OpenTelemetry protocol over HTTP): one record for each event.

use std::fmt;
use std::io::Write as _;

use serde::Serialize as _;
use shared::event::Severity;

use super::any_value::{AnyValue, Attributes, text};
use super::{Told, message};

/// What stands before the records of a request.
pub(in super::super) const HEAD: &str = concat!(
    r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"edgetrail"}}]},"#,
    r#""scopeLogs":[{"scope":{"name":"edgetrail","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""},"logRecords":["#
);
/// What stands behind them.
pub(in super::super) const TAIL: &str = "]}]}]}";

const NANOS: u64 = 1_000_000;

/// Bytes that most records have at most.
const USUAL: usize = 6_000;

/// An event as a record: the whole of it is the body, and what one filters by an attribute.
pub(super) fn record(told: &Told<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL);
    write(&mut out, told).expect("an event has the kinds that JSON has");
    out
}

fn write(out: &mut Vec<u8>, told: &Told<'_>) -> fmt::Result {
    let event = &told.row.event;
    let (number, word) = match event.severity {
        Severity::Info => (9, "INFO"),
        Severity::Warning => (13, "WARN"),
        Severity::Critical => (21, "FATAL"),
    };
    let occurred = event.occurred_at.millis() * NANOS;
    let received = u64::try_from(told.row.stored.received_at.timestamp_millis()).unwrap_or(0) * NANOS;
    write!(
        out,
        r#"{{"timeUnixNano":"{occurred}","observedTimeUnixNano":"{received}","severityNumber":{number},"severityText":"{word}","eventName":"#
    )
    .map_err(|_| fmt::Error)?;
    text(out, event.action.as_str());
    out.extend_from_slice(br#","body":"#);
    told.shown_read().serialize(AnyValue(out))?;
    out.extend_from_slice(br#","attributes":["#);
    let (context, actor, request) = (&event.context, event.actor.as_ref(), &event.request);
    let mut attributes = Attributes::of(out);
    attributes.put("edgetrail.event.id", Some(event.id))?;
    attributes.put("edgetrail.tenant", Some(event.tenant.as_str()))?;
    attributes.put("edgetrail.outcome", Some(event.outcome.word()))?;
    attributes.put("edgetrail.message", Some(message(event)))?;
    attributes.put("edgetrail.truncated", told.is_truncated.then_some(true))?;
    attributes.put("user.id", actor.map(|actor| &actor.id))?;
    attributes.put("user.email", actor.and_then(|actor| actor.email.as_deref()))?;
    attributes.put("session.id", context.session.as_deref())?;
    attributes.put("client.address", context.ip)?;
    attributes.put("user_agent.original", context.user_agent.as_deref())?;
    attributes.put("server.address", Some(&request.host))?;
    attributes.put("http.request.method", Some(&request.method))?;
    attributes.put("http.route", Some(&request.route))?;
    attributes.put("http.response.status_code", request.status)?;
    out.extend_from_slice(b"]}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_request_of_records_is_json() {
        let text = format!("{HEAD}{{}},{{}}{TAIL}");
        let read: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(read["resourceLogs"][0]["scopeLogs"][0]["logRecords"], json!([{}, {}]));
    }
}
