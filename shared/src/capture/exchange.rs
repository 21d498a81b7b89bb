//! A captured exchange and the values that expressions may ask of it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Headers, Mount};
use crate::event::{BodyState, Timestamp};
use crate::identity::Claims;
use crate::json::{self, Ending};
use crate::policy::{Facts, Source};

/// What was captured of a body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Body<'a> {
    /// The bytes up to the cap.
    pub bytes: &'a [u8],
    /// Whether bytes are missing at the end.
    pub cut: bool,
}

/// One request and its response, as captured.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// Where it was seen.
    pub mount: &'a Mount,
    /// The method.
    pub method: &'a str,
    /// The path as sent.
    pub path: &'a str,
    /// The query as sent, with or without its `?`.
    pub query: &'a str,
    /// The request's headers.
    pub request_headers: &'a Headers,
    /// The request's body.
    pub request_body: Body<'a>,
    /// The response's status; none if the origin did not answer.
    pub status: Option<u16>,
    /// The response's headers.
    pub response_headers: &'a Headers,
    /// The response's body.
    pub response_body: Body<'a>,
    /// What the runtime says of the request (`request.cf`).
    pub platform: &'a Value,
    /// When the request arrived.
    pub arrived: Timestamp,
    /// Milliseconds until the response's head.
    pub duration_ms: Option<u32>,
}

/// An exchange read as far as rules may look.
pub(super) struct Reading<'a> {
    pub(super) exchange: &'a Exchange<'a>,
    pub(super) parameters: BTreeMap<String, String>,
    pub(super) claims: Option<Claims>,
    pub(super) request: Value,
    pub(super) request_state: BodyState,
    pub(super) response: Value,
    pub(super) response_state: BodyState,
}

impl<'a> Reading<'a> {
    pub(super) fn new(
        exchange: &'a Exchange<'a>,
        parameters: BTreeMap<String, String>,
        claims: Option<Claims>,
    ) -> Self {
        let (request, request_state) = read(exchange.request_body);
        let (response, response_state) = read(exchange.response_body);
        Self { exchange, parameters, claims, request, request_state, response, response_state }
    }
}

fn read(body: Body<'_>) -> (Value, BodyState) {
    if body.bytes.is_empty() {
        let state = if body.cut { BodyState::Truncated } else { BodyState::Absent };
        return (Value::Null, state);
    }
    let (value, ending) = json::read(body.bytes, body.cut);
    let state = match ending {
        Ending::Complete => BodyState::Complete,
        Ending::Truncated => BodyState::Truncated,
        Ending::Unparsable => BodyState::Unparsable,
    };
    (value, state)
}

impl Facts for Reading<'_> {
    fn value(&self, source: &Source) -> Option<Value> {
        let claim = |name: &str| {
            let claims = self.claims.as_ref()?;
            match name {
                "sub" => claims.sub.as_deref(),
                "email" => claims.email.as_deref(),
                "role" => claims.role.as_deref(),
                "session_id" => claims.session_id.as_deref(),
                _ => None,
            }
        };
        match source {
            Source::Request(pointer) => body_value(&self.request, self.request_state, pointer),
            Source::Response(pointer) => body_value(&self.response, self.response_state, pointer),
            Source::RequestHeader(name) => self.exchange.request_headers.get(name).map(Value::from),
            Source::ResponseHeader(name) => self.exchange.response_headers.get(name).map(Value::from),
            Source::Path(name) => self.parameters.get(name).map(|value| Value::from(value.as_str())),
            Source::Query(name) => crate::policy::query_value(self.exchange.query, name).map(Value::from),
            Source::Filter(column) => {
                let filter = crate::policy::query_value(self.exchange.query, column)?;
                filter.strip_prefix("eq.").map(Value::from)
            }
            Source::Claim(name) => claim(name).map(Value::from),
            Source::Status => self.exchange.status.map(Value::from),
            Source::Rows => {
                self.exchange.response_headers.get("content-range").and_then(rows).map(Value::from)
            }
        }
    }
}

fn body_value(body: &Value, state: BodyState, pointer: &str) -> Option<Value> {
    match state {
        BodyState::Absent | BodyState::Unparsable => None,
        BodyState::Complete | BodyState::Truncated => body.pointer(pointer).cloned(),
    }
}

/// The rows that PostgREST says it touched: `0-2/*` are three, `*/*` none, `*/5` five.
fn rows(content_range: &str) -> Option<u64> {
    let (range, total) = content_range.split_once('/')?;
    match (range.split_once('-'), total) {
        (Some((first, last)), _) => {
            last.parse::<u64>().ok()?.checked_sub(first.parse().ok()?)?.checked_add(1)
        }
        (None, "*") => (range == "*").then_some(0),
        (None, total) => total.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_range_tells_the_rows() {
        for (range, want) in [
            ("0-0/*", Some(1)),
            ("0-24/3573", Some(25)),
            ("*/*", Some(0)),
            ("*/7", Some(7)),
            ("5-2/*", None),
            ("0-18446744073709551615/*", None),
            ("bytes 0-1/2", None),
            ("", None),
        ] {
            assert_eq!(rows(range), want, "{range}");
        }
    }
}
