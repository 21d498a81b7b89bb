//! What an exchange changed, by as much of both sides as was seen. A `from` is never invented.

use std::borrow::Cow;

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
    let (quality, mut changes) = match wanted.of {
        ChangeKind::Delete => (Quality::Exact, only(before?, wanted, "from")),
        ChangeKind::Create => {
            (Quality::Exact, only(NewSide::of(wanted, reading)?.fields(wanted), wanted, "to"))
        }
        ChangeKind::Update => update(wanted, before, &NewSide::of(wanted, reading)?),
    };
    fit(&mut changes);
    (quality == Quality::Exact || !changes.is_empty()).then_some((quality, changes))
}

/// What the request wanted, and what the response shows of it.
struct NewSide<'v> {
    wanted: Cow<'v, Value>,
    after: Cow<'v, Value>,
}

impl<'v> NewSide<'v> {
    /// None if the request holds no object to be stored.
    fn of(rule: &'v ChangeRule, reading: &'v Reading<'_>) -> Option<Self> {
        let after = rule.after.as_ref().and_then(|after| after.value(reading)).unwrap_or_default();
        let wanted = rule.request.as_ref()?.value(reading)?;
        let side = Self { wanted, after };
        side.members().is_some().then_some(side)
    }

    fn members(&self) -> Option<&Map<String, Value>> {
        match &*self.wanted {
            Value::Object(members) => Some(members),
            // PostgREST takes several rows at once; only of one can the fields be told.
            Value::Array(rows) if rows.len() == 1 => rows[0].as_object(),
            _ => None,
        }
    }

    /// The rule's fields that the request names, each as it is stored where the response shows that.
    fn fields(&self, rule: &ChangeRule) -> impl Iterator<Item = (&String, &Value)> {
        let named = self.members().into_iter().flatten().filter(|(name, _)| rule.fields.contains(name));
        named.map(|(name, value)| (name, self.after.get(name).unwrap_or(value)))
    }
}

fn update(
    rule: &ChangeRule,
    before: Option<&Map<String, Value>>,
    side: &NewSide<'_>,
) -> (Quality, Map<String, Value>) {
    let Some(before) = before else {
        let found = only(side.fields(rule), rule, "to");
        let is_told = found.values().any(|change| change.get("to").is_some());
        return (if is_told { Quality::Partial } else { Quality::Unavailable }, found);
    };
    let owned = |(name, value): (&String, &Value)| (name.clone(), value.clone());
    let mut new: Map<String, Value> = gathered(side.fields(rule).map(owned));
    // Where the whole new side is shown, what the server changed on its own counts as well.
    if let Value::Object(after) = &*side.after {
        let shown = after.iter().filter(|(name, _)| rule.fields.contains(name) && before.contains_key(*name));
        new.extend(shown.map(owned));
    }
    let known = new.keys().all(|name| before.contains_key(name));
    let old = before.iter().filter(|(name, _)| new.contains_key(*name));
    let old: Map<String, Value> = gathered(old.map(owned));
    let (unknown, new): (Map<_, _>, Map<_, _>) =
        new.into_iter().partition(|(name, _)| !before.contains_key(name));
    let found = diff::between(&Value::Object(old), &Value::Object(new), &rule.ignore);
    let told = found.into_iter().map(|(path, change)| (path.clone(), redacted(&path, change)));
    let mut told: Map<String, Value> = gathered(told);
    told.extend(only(&unknown, rule, "to"));
    (if known { Quality::Exact } else { Quality::Partial }, told)
}

/// One side alone of the rule's fields, under this word.
fn only<'s>(
    side: impl IntoIterator<Item = (&'s String, &'s Value)>,
    rule: &ChangeRule,
    word: &str,
) -> Map<String, Value> {
    let wanted =
        side.into_iter().filter(|(name, _)| rule.fields.contains(name) && !rule.ignore.contains(name));
    let told = |(name, value): (&String, &Value)| {
        let is_secret = is_hidden(name, [value]);
        let change = if is_secret { hidden() } else { json!({word: redact::value(last(name), value)}) };
        (name.clone(), change)
    };
    gathered(wanted.map(told))
}

fn redacted(path: &str, change: Value) -> Value {
    match change {
        Value::Object(sides) if !is_hidden(path, sides.values()) => Value::Object(gathered(
            sides.iter().map(|(side, value)| (side.clone(), redact::value(last(path), value))),
        )),
        _ => hidden(),
    }
}

/// Whether a change is told by nothing but its name: a secret is, and a count of tokens is none.
fn is_hidden<'s>(path: &str, sides: impl IntoIterator<Item = &'s Value> + Clone) -> bool {
    let plain = |name: &str, side: &Value| {
        matches!(side, Value::Number(_) | Value::Bool(_)) && !redact::masks(name, side)
    };
    path.split('.')
        .filter(|name| redact::is_secret_name(name))
        .any(|name| !sides.clone().into_iter().all(|side| plain(name, side)))
}

fn hidden() -> Value {
    json!({"changed": true})
}

/// The name that ends a path.
fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}
