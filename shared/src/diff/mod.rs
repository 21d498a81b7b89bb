//! What changed between two representations of an entity.
//!
//! Fields are named by dotted paths. Scalars give `{"from", "to"}`, arrays `{"added", "removed"}` (or
//! `{"reordered": true}`), nested objects are walked. A side that was not seen is left out, never invented.

mod words;

pub use words::words;

use serde_json::{Map, Value, json};

/// Changed fields in one set; past it the set says so under the name `…`.
const MAX_FIELDS: usize = 200;

/// Nesting that is walked; deeper objects are compared whole.
const MAX_DEPTH: usize = 8;

/// The changes from `before` to `after`, without the fields whose path is in `ignore`.
pub fn between(before: &Value, after: &Value, ignore: &[String]) -> Map<String, Value> {
    let mut changes = Changes { fields: Map::new(), ignore };
    changes.walk("", before, after, 0);
    changes.fields
}

/// The new side alone: `{"to"}` for each field of `after`.
pub fn new_side(after: &Map<String, Value>, ignore: &[String]) -> Map<String, Value> {
    let mut changes = Changes { fields: Map::new(), ignore };
    for (name, value) in after {
        changes.add(name, json!({"to": value}));
    }
    changes.fields
}

struct Changes<'a> {
    fields: Map<String, Value>,
    ignore: &'a [String],
}

impl Changes<'_> {
    fn walk(&mut self, path: &str, before: &Value, after: &Value, depth: usize) {
        match (before, after) {
            (before, after) if before == after || are_one_time(before, after) => {}
            (Value::Object(old), Value::Object(new)) if depth < MAX_DEPTH => {
                for (name, value) in old {
                    let new = new.get(name).unwrap_or(&Value::Null);
                    self.walk(&join(path, name), value, new, depth + 1);
                }
                for (name, value) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
                    self.walk(&join(path, name), &Value::Null, value, depth + 1);
                }
            }
            (Value::Array(old), Value::Array(new)) => {
                let added = missing_from(new, old);
                let removed = missing_from(old, new);
                let change = if added.is_empty() && removed.is_empty() {
                    json!({"reordered": true})
                } else {
                    json!({"added": added, "removed": removed})
                };
                self.add(path, change);
            }
            (before, after) => self.add(path, json!({"from": before, "to": after})),
        }
    }

    fn add(&mut self, path: &str, change: Value) {
        if self.ignore.iter().any(|ignored| ignored == path) {
            return;
        }
        if self.fields.len() >= MAX_FIELDS {
            self.fields.insert("…".to_owned(), json!({"more": true}));
        } else {
            self.fields.insert(path.to_owned(), change);
        }
    }
}

/// Whether both are the same point in time, written in two ways (RFC 3339).
fn are_one_time(before: &Value, after: &Value) -> bool {
    let time = |value: &Value| {
        let text = value.as_str().filter(|text| text.len() >= 20 && text.as_bytes()[4] == b'-')?;
        chrono::DateTime::parse_from_rfc3339(text).ok()
    };
    time(before).is_some_and(|one| time(after) == Some(one))
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The items of `these` that `those` has fewer of.
fn missing_from(these: &[Value], those: &[Value]) -> Vec<Value> {
    let mut rest: Vec<&Value> = those.iter().collect();
    these
        .iter()
        .filter(|item| match rest.iter().position(|other| other == item) {
            Some(at) => {
                rest.swap_remove(at);
                false
            }
            None => true,
        })
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn scalars_arrays_and_nested_objects_each_change_in_their_own_way() {
        let before = json!({"status": "draft", "plugins": ["mail"], "config": {"ai": {"temp": 1}, "same": 1}, "gone": 1});
        let after = json!({"status": "active", "plugins": ["mail", "slack"], "config": {"ai": {"temp": 2}, "same": 1}});
        assert_eq!(
            Value::Object(between(&before, &after, &[])),
            json!({
                "status": {"from": "draft", "to": "active"},
                "plugins": {"added": ["slack"], "removed": []},
                "config.ai.temp": {"from": 1, "to": 2},
                "gone": {"from": 1, "to": null},
            })
        );
    }

    #[test]
    fn noise_is_ignored_by_path() {
        let ignore = ["updated_at".to_owned(), "meta.seen".to_owned()];
        let before = json!({"updated_at": 1, "meta": {"seen": 1, "kept": 1}});
        let after = json!({"updated_at": 2, "meta": {"seen": 2, "kept": 2}});
        assert_eq!(
            Value::Object(between(&before, &after, &ignore)),
            json!({"meta.kept": {"from": 1, "to": 2}})
        );
    }

    #[test]
    fn a_repeated_item_that_goes_once_is_removed_once() {
        let changes = between(&json!({"a": [1, 1, 2]}), &json!({"a": [1, 2]}), &[]);
        assert_eq!(Value::Object(changes), json!({"a": {"added": [], "removed": [1]}}));
        let changes = between(&json!({"a": [1, 2]}), &json!({"a": [2, 1]}), &[]);
        assert_eq!(Value::Object(changes), json!({"a": {"reordered": true}}));
    }

    #[test]
    fn the_new_side_alone_has_no_from() {
        let Value::Object(after) = json!({"status": "active", "updated_at": 3}) else { unreachable!() };
        let changes = new_side(&after, &["updated_at".to_owned()]);
        assert_eq!(Value::Object(changes), json!({"status": {"to": "active"}}));
    }

    #[test]
    fn a_flood_of_fields_is_capped_and_says_so() {
        let after: Map<String, Value> = (0..500).map(|n| (format!("f{n:03}"), json!(n))).collect();
        let changes = between(&json!({}), &Value::Object(after), &[]);
        assert_eq!(changes.len(), MAX_FIELDS + 1);
        assert_eq!(changes["…"], json!({"more": true}));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::btree_map("[a-d]", inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn there_is_a_change_exactly_where_there_is_a_difference(before in any_json(), after in any_json()) {
            prop_assert!(between(&before, &before, &[]).is_empty());
            // An absent member and a null one are the same to an audience of changes.
            prop_assert_eq!(between(&before, &after, &[]).is_empty(), without_nulls(&before) == without_nulls(&after));
        }
    }

    fn without_nulls(value: &Value) -> Value {
        match value {
            Value::Object(members) => Value::Object(
                members
                    .iter()
                    .filter(|(_, value)| !value.is_null())
                    .map(|(name, value)| (name.clone(), without_nulls(value)))
                    .collect(),
            ),
            other => other.clone(),
        }
    }
}
