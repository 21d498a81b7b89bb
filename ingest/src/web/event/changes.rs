//! Changed fields as a person compares them.

use serde_json::Value;

/// Characters of a value in a sentence.
const SHORT: usize = 40;

/// One side of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Side {
    /// What it was, whole.
    Known(String),
    /// Nobody saw it.
    Unseen,
}

/// What happened to one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// A value in place of another.
    Turned {
        /// Before.
        from: Side,
        /// After.
        to: Side,
    },
    /// Items of a list.
    Items {
        /// That came.
        added: Vec<String>,
        /// That went.
        removed: Vec<String>,
    },
    /// It changed, and more is not told: a secret, or an order.
    Somehow(String),
}

/// A changed field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) field: String,
    pub(super) what: What,
}

/// Reads the fields of an event's changes.
pub(super) fn read(fields: &Value) -> Vec<Change> {
    let fields = fields.as_object().into_iter().flatten();
    fields.map(|(field, change)| Change { field: field.clone(), what: what(change) }).collect()
}

fn what(change: &Value) -> What {
    let side = |name: &str| change.get(name).map_or(Side::Unseen, |value| Side::Known(text(value)));
    let items = |name: &str| -> Vec<String> {
        change.get(name).and_then(Value::as_array).into_iter().flatten().map(text).collect()
    };
    if change.get("from").is_some() || change.get("to").is_some() {
        What::Turned { from: side("from"), to: side("to") }
    } else if change.get("added").is_some() || change.get("removed").is_some() {
        What::Items { added: items("added"), removed: items("removed") }
    } else {
        What::Somehow(text(change))
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(_) | Value::Array(_) => serde_json::to_string_pretty(value).unwrap_or_default(),
        other => other.to_string(),
    }
}

/// As much of a text as a sentence takes.
pub(super) fn short(text: &str) -> String {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match flat.char_indices().nth(SHORT) {
        Some((end, _)) => format!("{}…", &flat[..end]),
        None => flat,
    }
}

impl Change {
    /// `gpt-4 → gpt-5`, as a row tells it.
    pub(super) fn told(&self) -> String {
        match &self.what {
            What::Turned { from: Side::Known(from), to: Side::Known(to) } => {
                format!("{} → {}", short(from), short(to))
            }
            What::Turned { from: Side::Unseen, to: Side::Known(to) } => format!("→ {}", short(to)),
            What::Turned { from: Side::Known(from), to: Side::Unseen } => format!("{} → ?", short(from)),
            What::Turned { from: Side::Unseen, to: Side::Unseen } | What::Somehow(_) => "changed".to_owned(),
            What::Items { added, removed } => [("+", added), ("−", removed)]
                .iter()
                .filter(|(_, items)| !items.is_empty())
                .map(|(sign, items)| format!("{sign}{}", short(&items.join(", "))))
                .collect::<Vec<_>>()
                .join(" "),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(change: Value) -> String {
        read(&json!({"model": change}))[0].told()
    }

    #[test]
    fn a_side_that_was_not_seen_is_never_shown_as_empty() {
        assert_eq!(told(json!({"from": "gpt-4", "to": "gpt-5"})), "gpt-4 → gpt-5");
        assert_eq!(told(json!({"to": 5})), "→ 5");
        assert_eq!(told(json!({"from": null, "to": "x"})), "null → x");
        assert_eq!(told(json!({"added": ["a", "b"], "removed": ["c"]})), "+a, b −c");
        assert_eq!(told(json!({"changed": true})), "changed");
        assert_eq!(read(&json!("no object")), []);
        assert_eq!(told(json!({"from": "é".repeat(50), "to": ""})), format!("{}… → ", "é".repeat(40)));
    }
}
