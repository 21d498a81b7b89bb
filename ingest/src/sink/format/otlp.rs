//! OTLP logs as JSON (the OpenTelemetry protocol over HTTP): one record for each event.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;
use shared::event::{Action, Event, Severity};

use super::{Told, json, message};
use crate::view::view_of;

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

/// A log record.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    time_unix_nano: String,
    observed_time_unix_nano: String,
    severity_number: u8,
    severity_text: &'static str,
    event_name: &'a Action,
    body: AnyValue<'a>,
    attributes: Vec<KeyValue<'a>>,
}

/// A value of any kind. Whole numbers are texts, as JSON has none of 64 bits.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
enum AnyValue<'a> {
    BoolValue(bool),
    IntValue(String),
    DoubleValue(f64),
    StringValue(Cow<'a, str>),
    ArrayValue(Values<AnyValue<'a>>),
    KvlistValue(Values<KeyValue<'a>>),
    /// The null of OTLP.
    #[serde(untagged)]
    Nothing {},
}

#[derive(Debug, PartialEq, Serialize)]
struct Values<T> {
    values: Vec<T>,
}

#[derive(Debug, PartialEq, Serialize)]
struct KeyValue<'a> {
    key: &'a str,
    value: AnyValue<'a>,
}

/// An event as a record: the whole of it is the body, and what one filters by an attribute.
pub(super) fn record<'a>(told: &Told<'a>) -> Vec<u8> {
    let event: &'a Event = &told.row.event;
    let (severity_number, severity_text) = match event.severity {
        Severity::Info => (9, "INFO"),
        Severity::Warning => (13, "WARN"),
        Severity::Critical => (21, "FATAL"),
    };
    let received = told.row.stored.received_at.timestamp_millis();
    let mut attributes = Vec::new();
    let mut put = |key: &'static str, value: Option<AnyValue<'a>>| {
        attributes.extend(value.map(|value| KeyValue { key, value }));
    };
    let text = |text: String| AnyValue::StringValue(text.into());
    let (context, actor) = (&event.context, event.actor.as_ref());
    put("edgetrail.event.id", Some(text(event.id.to_string())));
    put("edgetrail.tenant", Some(event.tenant.as_str().into()));
    put("edgetrail.outcome", Some(event.outcome.word().into()));
    put("edgetrail.message", Some(text(message(event))));
    put("edgetrail.truncated", told.is_truncated.then_some(AnyValue::BoolValue(true)));
    put("user.id", actor.map(|actor| actor.id.as_str().into()));
    put("user.email", actor.and_then(|actor| actor.email.as_deref()).map(AnyValue::from));
    put("session.id", context.session.as_deref().map(AnyValue::from));
    put("client.address", context.ip.map(|ip| text(ip.to_string())));
    put("user_agent.original", context.user_agent.as_deref().map(AnyValue::from));
    put("server.address", Some(event.request.host.as_str().into()));
    put("http.request.method", Some(event.request.method.as_str().into()));
    put("http.route", Some(event.request.route.as_str().into()));
    put("http.response.status_code", event.request.status.map(|code| AnyValue::IntValue(code.to_string())));
    let mut whole = view_of(&told.row.stored, event, &told.row.erased);
    if told.is_truncated {
        whole["truncated"] = Value::Bool(true);
    }
    json(&Record {
        time_unix_nano: (event.occurred_at.millis() * NANOS).to_string(),
        observed_time_unix_nano: (u64::try_from(received).unwrap_or(0) * NANOS).to_string(),
        severity_number,
        severity_text,
        event_name: &event.action,
        body: AnyValue::from(&whole),
        attributes,
    })
}

impl<'a> From<&'a str> for AnyValue<'a> {
    fn from(text: &'a str) -> Self {
        Self::StringValue(text.into())
    }
}

impl<'a> From<&'a Value> for AnyValue<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Nothing {},
            Value::Bool(truth) => Self::BoolValue(*truth),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Self::IntValue(whole.to_string()),
                (None, Some(real)) => Self::DoubleValue(real),
                (None, None) => Self::StringValue(number.to_string().into()),
            },
            Value::String(text) => text.as_str().into(),
            Value::Array(items) => {
                Self::ArrayValue(Values { values: items.iter().map(Self::from).collect() })
            }
            Value::Object(members) => Self::KvlistValue(Values {
                values: members.iter().map(|(key, value)| KeyValue { key, value: value.into() }).collect(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_value_of_json_has_one_of_otlp() {
        let value = json!({"a": [1, true, null, 1.5, "x"], "b": u64::MAX});
        assert_eq!(
            serde_json::to_value(AnyValue::from(&value)).expect("JSON"),
            json!({"kvlistValue": {"values": [
                {"key": "a", "value": {"arrayValue": {"values": [
                    {"intValue": "1"}, {"boolValue": true}, {}, {"doubleValue": 1.5}, {"stringValue": "x"},
                ]}}},
                {"key": "b", "value": {"doubleValue": 18_446_744_073_709_551_615.0}},
            ]}})
        );
    }

    #[test]
    fn a_request_of_records_is_json() {
        let text = format!("{HEAD}{{}},{{}}{TAIL}");
        let read: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(read["resourceLogs"][0]["scopeLogs"][0]["logRecords"], json!([{}, {}]));
    }
}
