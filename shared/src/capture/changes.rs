//! What an exchange changed, by as much of both sides as was seen. A `from` is never invented.

use serde_json::{Map, Value, json};

use super::exchange::Reading;
use super::extract::fit;
use crate::diff;
use crate::event::{Outcome, Quality};
use crate::gather::gathered;
use crate::policy::{ChangeKind, ChangeRule, Rule};
use crate::redact;

/// The changes of the rule's fields, redacted. A secret is shown as changed and by nothing else.
pub(super) fn changes(
    rule: &Rule,
    outcome: Outcome,
    reading: &Reading<'_>,
) -> Option<(Quality, Map<String, Value>)> {
    let wanted = rule.changes.as_ref()?;
    if outcome == Outcome::Failure {
        return None;
    }
    let before = reading.old_side(rule).and_then(Value::as_object);
    let (quality, found) = match wanted.of {
        ChangeKind::Delete => (Quality::Exact, only(before?, wanted, |value| json!({"from": value}))),
        ChangeKind::Create => {
            (Quality::Exact, only(&new_side(wanted, reading)?, wanted, |value| json!({"to": value})))
        }
        ChangeKind::Update => update(wanted, before, reading)?,
    };
    let mut changes: Map<String, Value> =
        gathered(found.into_iter().map(|(path, change)| (path.clone(), redacted(&path, change))));
    fit(&mut changes);
    (quality == Quality::Exact || !changes.is_empty()).then_some((quality, changes))
}

/// What the request wanted of the rule's fields: the stored value where the response shows it.
fn new_side(rule: &ChangeRule, reading: &Reading<'_>) -> Option<Map<String, Value>> {
    let after = after(rule, reading);
    let wanted = rule.request.as_ref()?.value(reading).unwrap_or_default();
    let wanted = match &wanted {
        Value::Object(members) => members,
        // PostgREST takes several rows at once; only of one can the fields be told.
        Value::Array(rows) if rows.len() == 1 => rows[0].as_object()?,
        _ => return None,
    };
    let named = wanted.iter().filter(|(name, _)| rule.fields.contains(name));
    Some(gathered(named.map(|(name, value)| (name.clone(), after.get(name).unwrap_or(value).clone()))))
}

fn after(rule: &ChangeRule, reading: &Reading<'_>) -> Value {
    rule.after.as_ref().and_then(|after| after.value(reading)).unwrap_or_default()
}

fn update(
    rule: &ChangeRule,
    before: Option<&Map<String, Value>>,
    reading: &Reading<'_>,
) -> Option<(Quality, Map<String, Value>)> {
    let mut new = new_side(rule, reading)?;
    let Some(before) = before else {
        let found = only(&new, rule, |value| json!({"to": value}));
        let told = found.iter().any(|(name, change)| !is_hidden(name, change));
        return Some((if told { Quality::Partial } else { Quality::Unavailable }, found));
    };
    // Where the whole new side is shown, what the server changed on its own counts as well.
    if let Value::Object(after) = after(rule, reading) {
        let shown =
            after.into_iter().filter(|(name, _)| rule.fields.contains(name) && before.contains_key(name));
        new.extend(shown);
    }
    let known = new.keys().all(|name| before.contains_key(name));
    let old = before.iter().filter(|(name, _)| new.contains_key(*name));
    let old: Map<String, Value> = gathered(old.map(|(name, value)| (name.clone(), value.clone())));
    let (unknown, new): (Map<_, _>, Map<_, _>) =
        new.into_iter().partition(|(name, _)| !before.contains_key(name));
    let mut found = diff::between(&Value::Object(old), &Value::Object(new), &rule.ignore);
    found.extend(only(&unknown, rule, |value| json!({"to": value})));
    Some((if known { Quality::Exact } else { Quality::Partial }, found))
}

/// One side alone of the rule's fields.
fn only(
    side: &Map<String, Value>,
    rule: &ChangeRule,
    change: impl Fn(&Value) -> Value,
) -> Map<String, Value> {
    let wanted = side.iter().filter(|(name, _)| rule.fields.contains(name) && !rule.ignore.contains(name));
    gathered(wanted.map(|(name, value)| (name.clone(), change(value))))
}

/// Whether a change is told by nothing but its name: a secret is, and a count of tokens is none.
fn is_hidden(path: &str, change: &Value) -> bool {
    let plain = |name: &str, side: &Value| {
        matches!(side, Value::Number(_) | Value::Bool(_)) && !redact::masks(name, side)
    };
    path.split('.').filter(|name| redact::is_secret_name(name)).any(|name| match change {
        Value::Object(sides) => !sides.values().all(|side| plain(name, side)),
        _ => true,
    })
}

fn redacted(path: &str, change: Value) -> Value {
    if is_hidden(path, &change) {
        return json!({"changed": true});
    }
    let name = path.rsplit('.').next().unwrap_or(path);
    match change {
        Value::Object(sides) => Value::Object(gathered(
            sides.into_iter().map(|(side, value)| (side, redact::value(name, &value))),
        )),
        other => other,
    }
}
