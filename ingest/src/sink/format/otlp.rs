//! OTLP logs as JSON (the OpenTelemetry protocol over HTTP): one record for each event.

use serde_json::{Map, Value, json};
use shared::event::Severity;

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

/// An event as a record: the whole of it is the body, and what one filters by an attribute.
pub(super) fn record(told: &Told<'_>) -> Value {
    let event = &told.row.event;
    let (number, text) = match event.severity {
        Severity::Info => (9, "INFO"),
        Severity::Warning => (13, "WARN"),
        Severity::Critical => (21, "FATAL"),
    };
    let received = told.row.stored.received_at.timestamp_millis();
    let mut attributes = Vec::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            attributes.push(pair(key, &value));
        }
    };
    let context = &event.context;
    let actor = event.actor.as_ref();
    put("edgetrail.event.id", Some(json!(event.id)));
    put("edgetrail.tenant", Some(json!(event.tenant)));
    put("edgetrail.outcome", Some(json!(event.outcome)));
    put("edgetrail.message", Some(message(event).into()));
    put("edgetrail.truncated", told.is_truncated.then_some(Value::Bool(true)));
    put("user.id", actor.map(|actor| actor.id.as_str().into()));
    put("user.email", actor.and_then(|actor| actor.email.as_deref()).map(Value::from));
    put("session.id", context.session.as_deref().map(Value::from));
    put("client.address", context.ip.map(|ip| ip.to_string().into()));
    put("user_agent.original", context.user_agent.as_deref().map(Value::from));
    put("server.address", Some(event.request.host.as_str().into()));
    put("http.request.method", Some(event.request.method.as_str().into()));
    put("http.route", Some(event.request.route.as_str().into()));
    put("http.response.status_code", event.request.status.map(Value::from));
    let mut record = json!({
        "timeUnixNano": (event.occurred_at.millis() * NANOS).to_string(),
        "observedTimeUnixNano": (u64::try_from(received).unwrap_or(0) * NANOS).to_string(),
        "severityNumber": number,
        "severityText": text,
        "eventName": event.action,
    });
    record["body"] = any(&told.json());
    record["attributes"] = Value::Array(attributes);
    record
}

/// An object of one member. The macro would copy the value, and at every level of an event all levels below it.
fn one(name: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), value)]))
}

fn pair(key: &str, value: &Value) -> Value {
    Value::Object(Map::from_iter([("key".to_owned(), key.into()), ("value".to_owned(), any(value))]))
}

/// A JSON value as an `AnyValue`. Whole numbers are texts there, as JSON has none of 64 bits.
fn any(value: &Value) -> Value {
    match value {
        // An empty AnyValue is the null of OTLP.
        Value::Null => Value::Object(Map::new()),
        Value::Bool(truth) => json!({"boolValue": truth}),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => json!({"intValue": whole.to_string()}),
            (None, Some(real)) => json!({"doubleValue": real}),
            (None, None) => json!({"stringValue": number.to_string()}),
        },
        Value::String(text) => json!({"stringValue": text}),
        Value::Array(items) => one("arrayValue", one("values", items.iter().map(any).collect())),
        Value::Object(members) => {
            one("kvlistValue", one("values", members.iter().map(|(key, value)| pair(key, value)).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_of_json_has_one_of_otlp() {
        let value = json!({"a": [1, true, null, 1.5, "x"], "b": u64::MAX});
        assert_eq!(
            any(&value),
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
