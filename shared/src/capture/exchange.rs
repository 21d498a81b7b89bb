//! A captured exchange and the values that expressions may ask of it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Headers, Mount};
use crate::event::{BodyState, Timestamp};
use crate::gather::gathered;
use crate::identity::Claims;
use crate::json::{self, Ending};
use crate::policy::{BeforeRule, Facts, Rule, Source};

/// What was captured of a body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Body<'a> {
    /// The bytes up to the cap.
    pub bytes: &'a [u8],
    /// Whether bytes are missing at the end.
    pub cut: bool,
}

/// Request headers that capturing reads itself, beside those that rules name.
pub const REQUEST_HEADERS: &[&str] = &[
    "accept-profile",
    "apikey",
    "authorization",
    "cf-connecting-ip",
    "cf-ray",
    "content-profile",
    "content-type",
    "cookie",
    "origin",
    "referer",
    "user-agent",
    "x-client-info",
    "x-forwarded-for",
];

/// Response headers that capturing reads itself, beside those that rules name.
pub const RESPONSE_HEADERS: &[&str] = &["content-range", "x-sb-error-code"];

/// The record that an act was intended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intent<'a> {
    /// Its event's id.
    pub id: &'a str,
    /// Whether it was durable before the origin saw the request.
    pub durable: bool,
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
    /// What was read of the old side before the request was forwarded; none if nothing was, or not in time.
    pub before: Option<Body<'a>>,
    /// The record of the intent that went before.
    pub intent: Option<Intent<'a>>,
    /// The key of fingerprints.
    pub hash_key: Option<&'a [u8]>,
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
    /// The old side; none unless it was read whole.
    before: Option<Value>,
    /// What a rule found to have changed.
    pub(super) changed: Map<String, Value>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(exchange: &'a Exchange<'a>, claims: Option<Claims>) -> Self {
        let form = exchange
            .request_headers
            .get("content-type")
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let (request, request_state) =
            if form { read_form(exchange.request_body) } else { read(exchange.request_body) };
        let (response, response_state) = read(exchange.response_body);
        let before = exchange.before.map(read).filter(|(_, state)| *state == BodyState::Complete);
        Self {
            exchange,
            parameters: BTreeMap::new(),
            claims,
            request,
            request_state,
            response,
            response_state,
            before: before.map(|(value, _)| value),
            changed: Map::new(),
        }
    }

    /// Looks at the exchange as a rule does: with the parameters of its own template, and the old side where it says.
    pub(super) fn seen_by(&mut self, rule: &Rule) {
        self.parameters = crate::policy::parameters(&rule.matches.path, self.exchange.path);
    }

    /// The old side as one object. Where several rows or none were found there is none.
    pub(super) fn old_side(&self, rule: &Rule) -> Option<&Value> {
        let at = match rule.before.as_ref()? {
            BeforeRule::Get { at, .. } => at.as_str(),
            BeforeRule::Rows { .. } | BeforeRule::Table { .. } => "",
        };
        single(json::part(self.before.as_ref()?, at)?)
    }

    pub(super) fn fingerprint_of(&self, text: &str) -> Option<String> {
        Some(fingerprint(self.exchange.hash_key?, text))
    }
}

/// What stands for a text that is not told: the first 64 bits of an HMAC, by which who has the text and the key finds it again.
pub fn fingerprint(key: &[u8], text: &str) -> String {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    format!("hmac:{}", hex::encode(&mac.finalize().into_bytes()[..8]))
}

/// An object, or the only one of an array.
fn single(value: &Value) -> Option<&Value> {
    match value {
        Value::Object(_) => Some(value),
        Value::Array(items) => match items.as_slice() {
            [item @ Value::Object(_)] => Some(item),
            _ => None,
        },
        _ => None,
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

/// Fields of a form that are read.
const MAX_FORM_FIELDS: usize = 200;

/// A form's fields as an object of texts; the last of repeated names counts, as in JSON.
fn read_form(body: Body<'_>) -> (Value, BodyState) {
    if body.bytes.is_empty() {
        return read(body);
    }
    let text = String::from_utf8_lossy(body.bytes);
    let mut fields: Vec<(String, String)> =
        crate::policy::query_pairs(&text).take(MAX_FORM_FIELDS + 1).collect();
    let many = fields.len() > MAX_FORM_FIELDS;
    if body.cut || many {
        // The last one may be half of it.
        fields.pop();
    }
    let members = fields.into_iter().map(|(name, value)| (name, Value::from(value)));
    let state = if body.cut || many { BodyState::Truncated } else { BodyState::Complete };
    (Value::Object(gathered(members)), state)
}

impl Facts for Reading<'_> {
    fn value(&self, source: &Source) -> Option<Cow<'_, Value>> {
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
        let value = match source {
            Source::Request(pointer) => return part(&self.request, self.request_state, pointer),
            Source::Response(pointer) => return part(&self.response, self.response_state, pointer),
            Source::Before(pointer) => {
                let before = self.before.as_ref()?;
                return json::part(single(before).unwrap_or(before), pointer).map(Cow::Borrowed);
            }
            Source::Changed(field) => return self.changed.get(field).map(Cow::Borrowed),
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
            Source::RequestText => text_of(self.exchange.request_body),
            Source::ResponseText => text_of(self.exchange.response_body),
            Source::Client => Some(Value::from(client(self.exchange.request_headers))),
        };
        value.map(Cow::Owned)
    }

    fn fingerprint(&self, text: &str) -> Option<String> {
        self.fingerprint_of(text)
    }
}

/// Who sent the request, by marks that anybody can send: the application's own server, or a browser.
pub(super) fn client(headers: &Headers) -> &'static str {
    let info = headers.get("x-client-info").unwrap_or_default();
    let marked =
        ["createServerClient", "supabase-js-node", "runtime=node"].iter().any(|mark| info.contains(mark));
    // A browser's client says so wherever it runs: under test it runs in Node.
    let unmarked = !info.contains("createBrowserClient")
        && headers.get("user-agent") == Some("node")
        && headers.get("origin").is_none()
        && headers.get("referer").is_none();
    if marked || unmarked { "server" } else { "browser" }
}

fn text_of(body: Body<'_>) -> Option<Value> {
    (!body.bytes.is_empty()).then(|| match String::from_utf8_lossy(body.bytes) {
        Cow::Borrowed(text) => Value::from(text),
        Cow::Owned(text) => Value::from(text),
    })
}

/// A part of a body that was read.
fn part<'b>(body: &'b Value, state: BodyState, pointer: &str) -> Option<Cow<'b, Value>> {
    match state {
        BodyState::Absent | BodyState::Unparsable => None,
        BodyState::Complete | BodyState::Truncated => json::part(body, pointer).map(Cow::Borrowed),
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
