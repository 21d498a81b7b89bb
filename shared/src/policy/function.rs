//! The functions of the expression language.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::expression::{Expr, Facts};
use crate::gather::gathered;
use crate::json;

/// What can be done with values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// The first argument that is neither absent nor null.
    First,
    /// Items of an array, members of an object; 0 for null, absent for what is absent.
    Count,
    /// The names of an object's members.
    Keys,
    /// Whether it is there and not null.
    Present,
    /// Whether it is not null, empty, false or zero; absent for what is absent.
    Filled,
    /// Whether both are the same.
    Equals,
    /// Whether the text contains the text, or the array the item.
    Contains,
    /// Whether the text starts with the text.
    Starts,
    /// Whether the number is at least the number.
    AtLeast,
    /// Whether it is not.
    Not,
    /// Whether all are.
    All,
    /// Whether one is; absent if all are absent.
    Any,
    /// Only the named members of an object, or of each object of an array.
    Pick,
    /// The sum of those that are numbers; absent if none is.
    Sum,
    /// The text in small letters.
    Lower,
    /// A number or a flag as text.
    Text,
    /// The result beside the first case that is the same: `cases(x, case, result, …, otherwise)`.
    Cases,
    /// The second if the first is true, else the third.
    If,
    /// A part of a value by JSON pointer.
    Pointer,
    /// A keyed hash of a text: equal where the text was equal, and no way back.
    Fingerprint,
    /// The creation score of an agent's row, 0 to 10 (see [`creation_score`]).
    Intensity,
}

impl Function {
    /// Every function: its name, itself, how many arguments it takes.
    pub const ALL: &'static [(&'static str, Self, core::ops::RangeInclusive<usize>)] = &[
        ("first", Self::First, 1..=8),
        ("count", Self::Count, 1..=1),
        ("keys", Self::Keys, 1..=1),
        ("present", Self::Present, 1..=1),
        ("filled", Self::Filled, 1..=1),
        ("equals", Self::Equals, 2..=2),
        ("contains", Self::Contains, 2..=2),
        ("starts", Self::Starts, 2..=2),
        ("at_least", Self::AtLeast, 2..=2),
        ("not", Self::Not, 1..=1),
        ("all", Self::All, 1..=8),
        ("any", Self::Any, 1..=8),
        ("pick", Self::Pick, 2..=16),
        ("sum", Self::Sum, 1..=8),
        ("lower", Self::Lower, 1..=1),
        ("text", Self::Text, 1..=1),
        ("cases", Self::Cases, 3..=32),
        ("if", Self::If, 3..=3),
        ("pointer", Self::Pointer, 2..=2),
        ("fingerprint", Self::Fingerprint, 1..=1),
        ("intensity", Self::Intensity, 1..=1),
    ];
}

/// The value of a call on these facts; none where it is absent.
pub(super) fn call<'v>(
    function: Function,
    arguments: &'v [Expr],
    facts: &'v dyn Facts,
) -> Option<Cow<'v, Value>> {
    let seen = |at: usize| arguments.get(at).and_then(|argument| argument.value(facts));
    let value = |at: usize| seen(at).unwrap_or_default();
    let result = match function {
        Function::First => return first(arguments, facts),
        Function::If => return seen(if arguments[0].holds(facts) { 1 } else { 2 }),
        Function::Cases => return cases(&value(0), &arguments[1..], facts),
        Function::Pointer => return pointer(seen(0)?, seen(1)?.as_str()?),
        Function::Text => {
            let value = seen(0)?;
            match &*value {
                Value::String(_) => return Some(value),
                scalar @ (Value::Number(_) | Value::Bool(_)) => Value::from(scalar.to_string()),
                _ => return None,
            }
        }
        Function::Count => Value::from(count(seen(0)?.as_ref())?),
        Function::Keys => seen(0)?.as_object()?.keys().cloned().collect(),
        Function::Pick => pick(seen(0)?.as_ref(), &arguments[1..], facts)?,
        Function::Sum => sum(arguments, facts)?,
        Function::Lower => Value::from(seen(0)?.as_str()?.to_lowercase()),
        Function::Fingerprint => Value::from(facts.fingerprint(seen(0)?.as_str()?)?),
        Function::Intensity => Value::from(creation_score(seen(0)?.as_ref())?),
        Function::Present => Value::from(!value(0).is_null()),
        Function::Filled => Value::from(is_filled(seen(0)?.as_ref())),
        Function::Equals => Value::from(value(0) == value(1)),
        Function::Contains => Value::from(match (&*value(0), &*value(1)) {
            (Value::String(text), Value::String(part)) => text.contains(part),
            (Value::Array(items), item) => items.contains(item),
            _ => false,
        }),
        Function::Starts => Value::from(match (&*value(0), &*value(1)) {
            (Value::String(text), Value::String(start)) => text.starts_with(start),
            _ => false,
        }),
        Function::AtLeast => Value::from(match (value(0).as_f64(), value(1).as_f64()) {
            (Some(number), Some(least)) => number >= least,
            _ => false,
        }),
        Function::Not => Value::from(!arguments[0].holds(facts)),
        Function::All => Value::from(arguments.iter().all(|argument| argument.holds(facts))),
        Function::Any => {
            let mut known = arguments.iter().filter_map(|argument| argument.value(facts)).peekable();
            known.peek()?;
            Value::from(known.any(|value| *value == Value::Bool(true)))
        }
    };
    Some(Cow::Owned(result))
}

fn first<'v>(arguments: &'v [Expr], facts: &'v dyn Facts) -> Option<Cow<'v, Value>> {
    let mut null = None;
    for argument in arguments {
        match argument.value(facts) {
            Some(value) if value.is_null() => null = Some(value),
            Some(value) => return Some(value),
            None => {}
        }
    }
    null
}

fn pointer<'v>(value: Cow<'v, Value>, pointer: &str) -> Option<Cow<'v, Value>> {
    match value {
        Cow::Borrowed(value) => json::part(value, pointer).map(Cow::Borrowed),
        Cow::Owned(value) => json::part(&value, pointer).cloned().map(Cow::Owned),
    }
}

fn count(value: &Value) -> Option<usize> {
    match value {
        Value::Array(items) => Some(items.len()),
        Value::Object(members) => Some(members.len()),
        Value::Null => Some(0),
        _ => None,
    }
}

fn is_filled(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

fn pick(from: &Value, names: &[Expr], facts: &dyn Facts) -> Option<Value> {
    let names: Vec<String> = names.iter().filter_map(|name| name.text(facts)).collect();
    let only = |members: &Map<String, Value>| -> Value {
        let kept = names.iter().filter_map(|name| Some((name.clone(), members.get(name)?.clone())));
        Value::Object(gathered(kept))
    };
    match from {
        Value::Object(members) => Some(only(members)),
        Value::Array(items) => Some(items.iter().filter_map(Value::as_object).map(only).collect()),
        _ => None,
    }
}

fn sum(arguments: &[Expr], facts: &dyn Facts) -> Option<Value> {
    let values: Vec<_> = arguments.iter().filter_map(|argument| argument.value(facts)).collect();
    let whole: Option<u64> = values
        .iter()
        .filter(|value| value.is_number())
        .map(|value| value.as_u64())
        .try_fold(0_u64, |total, number| total.checked_add(number?));
    let known = values.iter().any(|value| value.is_number());
    match whole {
        Some(total) => known.then(|| Value::from(total)),
        None => Some(Value::from(values.iter().filter_map(|value| value.as_f64()).sum::<f64>())),
    }
}

fn cases<'v>(value: &Value, rest: &'v [Expr], facts: &'v dyn Facts) -> Option<Cow<'v, Value>> {
    let mut pairs = rest.chunks_exact(2);
    let found = pairs.find(|pair| pair[0].value(facts).as_deref() == Some(value));
    match (found, rest.len() % 2) {
        (Some(pair), _) => pair[1].value(facts),
        (None, 1) => rest.last()?.value(facts),
        _ => None,
    }
}

/// The creation score of an agent, 0 to 10 in steps of a hundredth: half by its workflow steps (1 to 10), 0.3 by its
/// connected plugins (1 to 5), 0.2 by its input and output fields (1 to 8), and a bonus of one for a schedule and two
/// for event triggers. It is the application's own formula with its own default ranges; absent where no row was seen.
pub fn creation_score(agent: &Value) -> Option<f64> {
    let row = agent.as_object()?;
    let length = |name: &str| row.get(name).and_then(count).unwrap_or(0);
    let scaled = |count: usize, most: usize| {
        let above = count.clamp(1, most) - 1;
        10.0 * f64::from(u32::try_from(above).unwrap_or(0)) / f64::from(u32::try_from(most - 1).unwrap_or(1))
    };
    let triggers = row.get("trigger_conditions");
    let triggered = |name: &str| triggers.and_then(|all| all.get(name)).is_some_and(is_filled);
    let bonus = if triggered("schedule_cron") { 1.0 } else { 0.0 }
        + if triggered("event_triggers") { 2.0 } else { 0.0 };
    let score = 0.5 * scaled(length("workflow_steps"), 10)
        + 0.3 * scaled(length("connected_plugins"), 5)
        + 0.2 * scaled(length("input_schema") + length("output_schema"), 8)
        + bonus;
    Some((score.min(10.0) * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_creation_score_is_the_applications_own() {
        let steps: Vec<u32> = (0..10).collect();
        let full = json!({
            "workflow_steps": steps, "connected_plugins": {"a": 1, "b": 1, "c": 1, "d": 1, "e": 1},
            "input_schema": [1, 2, 3, 4], "output_schema": [1, 2, 3, 4], "trigger_conditions": {"schedule_cron": "* * *"},
        });
        assert_eq!(creation_score(&full), Some(10.0));
        assert_eq!(creation_score(&json!({})), Some(0.0));
        let half = json!({"workflow_steps": [1, 2, 3, 4], "trigger_conditions": {"event_triggers": ["x"]}});
        assert_eq!(creation_score(&half), Some(3.67));
        assert_eq!(creation_score(&json!("agent")), None);
    }
}
