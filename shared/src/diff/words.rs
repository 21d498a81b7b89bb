//! Changes in words, made of what is recorded and of nothing else: what was masked stays masked.

use serde_json::{Map, Value};

/// Fields that are told; the rest are counted.
const MAX_TOLD: usize = 4;

/// Characters of a value that are told.
const MAX_VALUE: usize = 40;

/// A sentence such as `changed status from draft to active, added 2 plugins`; none for no changes.
pub fn words(changes: &Map<String, Value>) -> Option<String> {
    let told: Vec<String> =
        changes.iter().take(MAX_TOLD).filter_map(|(path, change)| one(path, change)).collect();
    if told.is_empty() {
        return None;
    }
    let rest = changes.len().saturating_sub(MAX_TOLD);
    let more = match rest {
        0 => String::new(),
        1 => " and 1 more field".to_owned(),
        rest => format!(" and {rest} more fields"),
    };
    Some(format!("{}{more}", told.join(", ")))
}

fn one(path: &str, change: &Value) -> Option<String> {
    let name = path.replace('_', " ");
    let change = change.as_object()?;
    let items = |side: &str| change.get(side).and_then(Value::as_array).map_or(0, Vec::len);
    if change.contains_key("added") || change.contains_key("removed") {
        let sides = [("added", items("added")), ("removed", items("removed"))];
        let parts: Vec<String> = sides
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(verb, count)| format!("{verb} {count} {}", counted(&name, *count)))
            .collect();
        return (!parts.is_empty()).then(|| parts.join(" and "));
    }
    match (change.get("from").filter(|from| !from.is_null()), change.get("to")) {
        (Some(from), Some(Value::Null)) => Some(format!("cleared {name} (was {})", shown(from))),
        (Some(from), Some(to)) => Some(format!("changed {name} from {} to {}", shown(from), shown(to))),
        (Some(from), None) => Some(format!("{name} was {}", shown(from))),
        (None, Some(to)) => Some(format!("set {name} to {}", shown(to))),
        (None, None) => Some(format!("changed {name}")),
    }
}

/// A list's name as a count of its items needs it: `1 plugin`, `2 plugins`, but `1 plugins_required` stays.
fn counted(name: &str, count: usize) -> &str {
    match name.strip_suffix('s') {
        Some(singular) if count == 1 && !singular.ends_with('s') => singular,
        _ => name,
    }
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) if !text.is_empty() => text.clone(),
        Value::Array(items) => format!("{} items", items.len()),
        Value::Object(members) => format!("{} members", members.len()),
        other => other.to_string(),
    };
    match text.char_indices().nth(MAX_VALUE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(changes: Value) -> Option<String> {
        words(changes.as_object().expect("an object"))
    }

    #[test]
    fn changes_are_told_as_people_say_them() {
        let changes = json!({"status": {"from": "draft", "to": "active"}, "plugins": {"added": ["a", "b"], "removed": []}});
        assert_eq!(said(changes).as_deref(), Some("added 2 plugins, changed status from draft to active"));
        let changes = json!({"api_key": {"changed": true}, "bio": {"from": "x", "to": null}, "tags": {"added": [], "removed": ["a"]},
                             "name": {"to": "New"}, "x": {"to": 1}, "y": {"to": 1}});
        assert_eq!(
            said(changes).as_deref(),
            Some("changed api key, cleared bio (was x), set name to New, removed 1 tag and 2 more fields")
        );
        assert_eq!(said(json!({})), None);
        assert_eq!(said(json!({"a": {"reordered": true}})).as_deref(), Some("changed a"));
    }

    #[test]
    fn long_values_are_cut_and_nested_ones_counted() {
        let said = said(json!({"a": {"from": "x".repeat(100), "to": [1, 2]}})).expect("words");
        assert_eq!(said, format!("changed a from {}… to 2 items", "x".repeat(40)));
    }
}
