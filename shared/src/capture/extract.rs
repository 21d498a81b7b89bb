//! What a rule says of an exchange: outcome, reason, entity, details. Everything that leaves here is
//! redacted.

use serde_json::{Map, Value, json};

use super::exchange::Reading;
use crate::batch::MAX_TEXT_LEN;
use crate::event::{BodyState, ClaimedUser, Entity, Outcome};
use crate::policy::{EntityRule, Expr, Facts, OutcomeRule, Source};
use crate::redact;

/// Bytes of details or of changes that one event carries.
const MAX_JSON_LEN: usize = 16 * 1024;

/// Whether the act succeeded. Where the answer stands in a body that was not read whole, it is unknown.
pub(super) fn outcome(rule: &OutcomeRule, reading: &Reading<'_>) -> Outcome {
    let by_status = OutcomeRule::by_status(reading.exchange.status);
    if by_status != Outcome::Success {
        return by_status;
    }
    if rule.failure.as_ref().is_some_and(|failure| failure.holds(reading)) {
        return Outcome::Failure;
    }
    match &rule.success {
        Some(success) if success.holds(reading) => Outcome::Success,
        Some(_) => Outcome::Unknown,
        None if rule.failure.as_ref().is_some_and(|failure| unread(failure, reading)) => Outcome::Unknown,
        None => Outcome::Success,
    }
}

/// Whether an expression asks for a part of a response that was not read whole.
fn unread(expression: &Expr, reading: &Reading<'_>) -> bool {
    let damaged = matches!(reading.response_state, BodyState::Truncated | BodyState::Unparsable);
    damaged
        && expression.sources().iter().any(|source| match source {
            Source::Response(_) => reading.value(source).is_none(),
            Source::ResponseText => reading.response_state == BodyState::Truncated,
            _ => false,
        })
}

/// A short machine code for what went wrong.
pub(super) fn reason(rule: &OutcomeRule, outcome: Outcome, reading: &Reading<'_>) -> Option<String> {
    if outcome == Outcome::Success {
        return None;
    }
    let code = [
        Source::ResponseHeader("x-sb-error-code".to_owned()),
        Source::Response("/error_code".to_owned()),
        Source::Response("/code".to_owned()),
    ]
    .iter()
    .find_map(|source| reading.value(source)?.as_str().filter(|code| is_code(code)).map(str::to_owned));
    code.or_else(|| {
        Some(match (outcome, reading.exchange.status) {
            (_, None) => "no_answer".to_owned(),
            (Outcome::Unknown, _) => "not_told".to_owned(),
            (_, Some(200..=399)) => rule.reason.clone().unwrap_or_else(|| "refused".to_owned()),
            (_, Some(status)) => format!("http_{status}"),
        })
    })
}

fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        && redact::scrub(text) == text
}

pub(super) fn entity(rule: &EntityRule, reading: &Reading<'_>) -> Entity {
    let text = |expression: &Option<Expr>| {
        let text = expression.as_ref()?.text(reading)?;
        Some(redact::text(&text, MAX_TEXT_LEN)).filter(|text| !text.is_empty())
    };
    Entity { kind: rule.kind.clone(), id: text(&rule.id), name: text(&rule.name) }
}

/// The first user that the request names. A claim can be anything, also a password in the wrong field: only what looks
/// like an id or an address is kept.
pub(super) fn claimed_user(sources: &[Expr], reading: &Reading<'_>) -> Option<ClaimedUser> {
    sources.iter().find_map(|expression| {
        let id = expression.text(reading)?;
        let source = match expression.sources().first() {
            Some(Source::RequestHeader(name)) => format!("header:{name}"),
            Some(Source::Request(pointer)) => format!("body:{pointer}"),
            Some(Source::Query(name)) => format!("query:{name}"),
            Some(Source::Filter(column)) => format!("filter:{column}"),
            _ => "request".to_owned(),
        };
        let id = if is_identifier(&id) { redact::text(&id, 320) } else { redact::MASK.to_owned() };
        Some(ClaimedUser { id, source: redact::shorten_bytes(source, 120) })
    })
}

pub(super) fn is_identifier(text: &str) -> bool {
    let address = text.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && domain.contains('.')
            && !text.chars().any(|char| char.is_whitespace() || char.is_control())
            && domain.chars().all(|char| char.is_alphanumeric() || ".-".contains(char))
    });
    let phone = (7..=16).contains(&text.len())
        && text.strip_prefix('+').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    address || phone || uuid::Uuid::try_parse(text).is_ok()
}

/// The named details; names whose value is absent are left out.
pub(super) fn details<'r>(
    named: impl Iterator<Item = (&'r String, &'r Expr)>,
    reading: &Reading<'_>,
) -> Option<Value> {
    let mut details = Map::new();
    for (name, expression) in named {
        let value = expression.value(reading).unwrap_or_default();
        if !value.is_null() {
            details.insert(name.clone(), redact::value(name, &value));
        }
    }
    fit(&mut details);
    (!details.is_empty()).then_some(Value::Object(details))
}

/// Shrinks an object to [`MAX_JSON_LEN`]: the largest members go first, and their names say so.
pub(super) fn fit(members: &mut Map<String, Value>) {
    let mut total: usize = members.iter().map(|(name, value)| name.len() + json_len(value)).sum();
    if total <= MAX_JSON_LEN {
        return;
    }
    let mut lengths: Vec<(usize, String)> =
        members.iter().map(|(name, value)| (name.len() + json_len(value), name.clone())).collect();
    while total > MAX_JSON_LEN {
        let Some(at) = (0..lengths.len()).max_by_key(|at| &lengths[*at]) else { return };
        let (length, largest) = lengths.swap_remove(at);
        total -= length;
        members.insert(largest, json!(format!("[left out: {length} bytes]")));
    }
}

/// Bytes of a value as JSON.
fn json_len(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).expect("counting does not fail");
    count.0
}
