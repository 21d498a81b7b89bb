//! What is remembered of one entity: the last value of each field that was seen whole, and when.
//!
//! A value that was masked, shortened or not shown is unknown from then on, and so is whatever lies above or below a path
//! that changed. An event that arrives after a newer one adds nothing; it only makes unknown what it touched.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shared::event::{ChangeSet, Quality};
use shared::{diff, redact};

/// Fields of one entity.
const MAX_FIELDS: usize = 200;
/// Bytes of all of them, as JSON.
const MAX_LEN: usize = 16_000;
/// Bytes of one value, as JSON.
const MAX_VALUE_LEN: usize = 4_100;

/// The last value of a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    /// Milliseconds since 1970.
    at: u64,
    value: Value,
}

/// The fields of an entity as they were last seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    fields: BTreeMap<String, Seen>,
    newest: u64,
}

impl Memory {
    /// Reads what [`Self::fields`] gave; `newest` is the time of the last event.
    pub fn read(fields: &str, newest: u64) -> Option<Self> {
        Some(Self { fields: serde_json::from_str(fields).ok()?, newest })
    }

    /// The fields as a JSON object.
    pub fn fields(&self) -> String {
        json!(self.fields).to_string()
    }

    /// The time of the newest event that told of the entity.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Both sides of the fields of a partial update whose old value is known and another one.
    pub fn infer(&self, changes: &ChangeSet, at: u64) -> Map<String, Value> {
        let mut inferred = Map::new();
        if changes.quality != Quality::Partial {
            return inferred;
        }
        let Value::Object(told) = changes.fields.value() else { return inferred };
        for (path, change) in told {
            let (Some(to), None) = (change.get("to"), change.get("from")) else { continue };
            let Some(seen) = self.fields.get(&path).filter(|seen| seen.at <= at) else { continue };
            if is_whole(to) && differ(&seen.value, to) {
                inferred.insert(path, json!({"from": seen.value, "to": to}));
            }
        }
        inferred
    }

    /// Takes in what an event tells; of one that is not known to have succeeded, only that its fields are unknown now.
    pub fn learn(&mut self, changes: &ChangeSet, at: u64, succeeded: bool) {
        let Value::Object(told) = changes.fields.value() else { return };
        let adds = succeeded && at >= self.newest;
        self.newest = self.newest.max(at);
        let untold = told.is_empty() && changes.quality == Quality::Unavailable;
        if untold || told.contains_key("…") {
            self.fields.retain(|_, seen| seen.at > at);
        }
        for (path, change) in &told {
            self.fields.retain(|known, seen| seen.at > at || !touches(known, path));
            if let Some(value) =
                change.get("to").filter(|value| adds && is_whole(value) && !path.contains('\0'))
            {
                self.fields.insert(path.clone(), Seen { at, value: value.clone() });
            }
        }
        while self.fields.len() > MAX_FIELDS || self.fields().len() > MAX_LEN {
            let oldest = self.fields.iter().min_by_key(|(_, seen)| seen.at).map(|(path, _)| path.clone());
            oldest.map(|path| self.fields.remove(&path));
        }
    }
}

/// Whether the changes are those of a deletion: old sides alone.
pub fn is_deletion(changes: &ChangeSet) -> bool {
    let Value::Object(told) = changes.fields.value() else { return false };
    let has = |side: &str| told.values().any(|change| change.get(side).is_some());
    changes.quality == Quality::Exact
        && has("from")
        && !["to", "added", "removed", "reordered"].into_iter().any(has)
}

/// Whether one path is the other, or lies above it.
pub(super) fn touches(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Unequal, and not the same point in time written in two ways.
fn differ(one: &Value, other: &Value) -> bool {
    one != other && !diff::between(one, other, &[]).is_empty()
}

/// Whether nothing of a value was masked or left out at the edge.
pub(super) fn is_whole(value: &Value) -> bool {
    let mask = redact::MASK.trim_end_matches(']');
    let whole = |text: &str| {
        !text.contains(mask) && !text.contains("… [") && !text.starts_with('…') && !text.contains('\0')
    };
    fn every(value: &Value, whole: &dyn Fn(&str) -> bool) -> bool {
        match value {
            Value::String(text) => whole(text),
            Value::Array(items) => items.iter().all(|item| every(item, whole)),
            Value::Object(members) => members.iter().all(|(name, value)| whole(name) && every(value, whole)),
            Value::Null | Value::Bool(_) | Value::Number(_) => true,
        }
    }
    every(value, &whole) && value.to_string().len() <= MAX_VALUE_LEN
}

#[cfg(test)]
mod tests {
    use shared::event::JsonText;

    use super::*;

    fn changes(quality: Quality, fields: Value) -> ChangeSet {
        ChangeSet { quality, fields: JsonText::from(&fields) }
    }

    fn created(fields: Value) -> Memory {
        let mut memory = Memory::default();
        memory.learn(&changes(Quality::Exact, fields), 10, true);
        memory
    }

    fn inferred(memory: &Memory, at: u64, fields: Value) -> Value {
        Value::Object(memory.infer(&changes(Quality::Partial, fields), at))
    }

    #[test]
    fn the_old_side_is_what_was_last_seen_and_only_where_it_differs() {
        let memory = created(json!({"status": {"to": "draft"}, "name": {"to": "A"}, "bio": {"to": null}}));
        let update = json!({"status": {"to": "active"}, "name": {"to": "A"}, "bio": {"to": "x"}, "model": {"to": "m"}});
        assert_eq!(
            inferred(&memory, 20, update),
            json!({"status": {"from": "draft", "to": "active"}, "bio": {"from": null, "to": "x"}})
        );
        assert_eq!(inferred(&memory, 9, json!({"status": {"to": "active"}})), json!({}), "seen only later");
    }

    #[test]
    fn what_was_masked_shortened_or_not_shown_is_unknown_from_then_on() {
        let long = format!("{}… [2000 characters]", "x".repeat(1000));
        let hidden = [
            json!({"to": "[masked]"}),
            json!({"to": {"card": "[masked:card]"}}),
            json!({"to": long}),
            json!({"to": [1, "… 7 more"]}),
            json!({"to": {"a": 1, "…": "7 more"}}),
            json!({"to": "x".repeat(5000)}),
            json!({"changed": true}),
            json!({"added": ["x"], "removed": []}),
        ];
        for change in hidden {
            let mut memory = created(json!({"field": {"to": "old"}, "other": {"to": 1}}));
            memory.learn(&changes(Quality::Partial, json!({"field": change})), 20, true);
            assert_eq!(inferred(&memory, 30, json!({"field": {"to": "new"}})), json!({}), "{change}");
            assert_eq!(
                inferred(&memory, 30, json!({"other": {"to": 2}})),
                json!({"other": {"from": 1, "to": 2}})
            );
        }
    }

    #[test]
    fn an_update_that_changed_nothing_leaves_all_known_and_one_that_is_not_told_leaves_none() {
        let mut memory = created(json!({"a": {"to": 1}}));
        memory.learn(&changes(Quality::Exact, json!({})), 20, true);
        assert_eq!(inferred(&memory, 30, json!({"a": {"to": 2}})), json!({"a": {"from": 1, "to": 2}}));
        memory.learn(&changes(Quality::Unavailable, json!({})), 21, true);
        assert_eq!(inferred(&memory, 30, json!({"a": {"to": 2}})), json!({}));
    }

    #[test]
    fn a_change_within_makes_the_whole_unknown_and_the_other_way_round() {
        let mut memory =
            created(json!({"config": {"to": {"ai": 1}}, "meta.a": {"to": 1}, "configured": {"to": 1}}));
        memory.learn(&changes(Quality::Exact, json!({"config.ai": {"from": 1, "to": 2}})), 20, true);
        memory.learn(&changes(Quality::Partial, json!({"meta": {"to": {"a": 2}}})), 21, true);
        assert_eq!(inferred(&memory, 30, json!({"config": {"to": {}}, "meta.a": {"to": 3}})), json!({}));
        assert_eq!(
            inferred(&memory, 30, json!({"config.ai": {"to": 3}})),
            json!({"config.ai": {"from": 2, "to": 3}})
        );
        assert_eq!(
            inferred(&memory, 30, json!({"configured": {"to": 3}})),
            json!({"configured": {"from": 1, "to": 3}})
        );
    }

    #[test]
    fn a_late_or_doubtful_event_only_makes_unknown() {
        let mut memory = created(json!({"a": {"to": 1}, "b": {"to": 1}}));
        memory.learn(&changes(Quality::Partial, json!({"b": {"to": 2}})), 20, true);
        memory.learn(
            &changes(Quality::Partial, json!({"a": {"to": 5}, "b": {"to": 5}, "c": {"to": 5}})),
            15,
            true,
        );
        let update = json!({"a": {"to": 9}, "b": {"to": 9}, "c": {"to": 9}});
        assert_eq!(inferred(&memory, 30, update.clone()), json!({"b": {"from": 2, "to": 9}}));
        memory.learn(&changes(Quality::Partial, json!({"b": {"to": 3}})), 25, false);
        assert_eq!(inferred(&memory, 30, update), json!({}));
    }

    #[test]
    fn what_is_remembered_has_a_bound_and_the_oldest_goes_first() {
        let mut memory = created(json!({"oldest": {"to": 1}}));
        let many: Map<String, Value> = (0..200).map(|n| (format!("f{n}"), json!({"to": n}))).collect();
        memory.learn(&changes(Quality::Partial, Value::Object(many)), 20, true);
        assert_eq!(memory.fields.len(), 200);
        assert!(!memory.fields.contains_key("oldest"));
        for n in 0..6 {
            let long = json!({format!("long{n}"): {"to": "x".repeat(4000)}});
            memory.learn(&changes(Quality::Partial, long), 30 + n, true);
        }
        assert!(memory.fields().len() <= MAX_LEN && memory.fields.contains_key("long5"));
        assert_eq!(Memory::read(&memory.fields(), memory.newest()), Some(memory));
    }

    #[test]
    fn a_deletion_has_old_sides_alone() {
        let gone = json!({"name": {"from": "Gone"}, "key": {"changed": true}});
        assert!(is_deletion(&changes(Quality::Exact, gone)));
        assert!(!is_deletion(&changes(Quality::Exact, json!({"name": {"from": "A", "to": "B"}}))));
        assert!(!is_deletion(&changes(Quality::Exact, json!({}))));
    }
}
