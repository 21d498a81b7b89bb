//! What is known of an entity at a time: the changes up to then, folded.
//!
//! Only what an event said counts. A value that was masked, shortened or not shown is unknown from then on, as is what lies
//! above or below a path that changed, and everything that an act touched of which nobody knows whether it succeeded.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use shared::event::{Event, Outcome, Quality};

use super::memory::{is_deletion, is_whole, touches};

/// A field and the event that told of it last.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    value: Option<Value>,
    at: String,
    event: String,
}

/// The fields of an entity.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    fields: BTreeMap<String, Told>,
    deleted: Option<(String, String)>,
    events: usize,
}

impl State {
    /// The state after these events, which stand in the order in which they happened.
    pub fn after(events: &[Event]) -> Self {
        let mut state = Self::default();
        for event in events.iter().filter(|event| event.outcome != Outcome::Failure) {
            state.take(event);
        }
        state
    }

    fn take(&mut self, event: &Event) {
        let succeeded = event.outcome == Outcome::Success;
        let (at, id) = (event.occurred_at.to_string(), event.id.to_string());
        let deletes =
            event.action.as_str().ends_with("_DELETED") || event.changes.as_ref().is_some_and(is_deletion);
        if succeeded && deletes {
            *self = Self { deleted: Some((at, id)), events: self.events + 1, ..Self::default() };
            return;
        }
        let Some(changes) = &event.changes else { return };
        let Value::Object(told) = changes.fields.value() else { return };
        self.events += 1;
        if succeeded {
            self.deleted = None;
        }
        let unknown = Told { value: None, at, event: id };
        let untold = told.is_empty() && changes.quality == Quality::Unavailable;
        if untold || told.contains_key("…") {
            self.fields.values_mut().for_each(|field| *field = unknown.clone());
        }
        for (path, change) in told.iter().filter(|(path, _)| path.as_str() != "…") {
            let value = self.value_after(path, change).filter(|value| succeeded && is_whole(value));
            // What lies below is part of the new value; what lies above is known no more as a whole.
            self.fields.retain(|known, _| known.len() <= path.len() || !touches(known, path));
            let above = self.fields.iter_mut().filter(|(known, _)| touches(known, path));
            above.for_each(|(_, field)| *field = unknown.clone());
            self.fields.insert(path.clone(), Told { value, ..unknown.clone() });
        }
    }

    fn value_after(&self, path: &str, change: &Value) -> Option<Value> {
        if let Some(to) = change.get("to") {
            return Some(to.clone());
        }
        // A list is known if what was taken from it was in it.
        let added = change.get("added")?.as_array()?;
        let mut list = self.fields.get(path)?.value.as_ref()?.as_array()?.clone();
        for item in change.get("removed")?.as_array()? {
            let at = list.iter().position(|known| known == item)?;
            list.remove(at);
        }
        list.extend(added.iter().cloned());
        Some(Value::Array(list))
    }

    /// As readers see it. The order of a list is that in which its items were told.
    pub fn view(&self) -> Value {
        let mut fields = Map::new();
        let mut unknown = Map::new();
        for (path, told) in &self.fields {
            let source = json!({"at": told.at, "event": told.event});
            match &told.value {
                Some(value) => {
                    fields.insert(path.clone(), json!({"value": value, "at": told.at, "event": told.event}));
                }
                None => {
                    unknown.insert(path.clone(), source);
                }
            }
        }
        let deleted = self.deleted.as_ref().map(|(at, event)| json!({"at": at, "event": event}));
        json!({"fields": fields, "unknown": unknown, "deleted": deleted, "events": self.events})
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::event::{
        Action, BodyState, ChangeSet, Context, EventId, JsonText, RequestFacts, RetentionClass, Severity,
        Timestamp, Trust,
    };

    use super::*;

    fn event(n: u64, action: &str, outcome: Outcome, quality: Quality, fields: Value) -> Event {
        let at = Timestamp::try_from(n).expect("a time");
        let words = String::new;
        Event {
            tenant: "demo".parse().expect("a slug"),
            id: EventId::mint(at, &[0; 10]),
            occurred_at: at,
            class: RetentionClass::Standard,
            action: Action::try_from(action.to_owned()).expect("an action"),
            severity: Severity::Info,
            outcome,
            reason: None,
            trust: Trust::Verified,
            actor: None,
            claimed_user: None,
            entity: None,
            request: RequestFacts {
                host: words(),
                method: words(),
                route: words(),
                rule: words(),
                status: None,
                request_body: BodyState::Absent,
                response_body: BodyState::Absent,
            },
            context: Context::default(),
            details: None,
            changes: Some(ChangeSet { quality, fields: JsonText::from(&fields) }),
            compliance: Vec::new(),
            duration_ms: None,
            echo: false,
        }
    }

    fn done(n: u64, fields: Value) -> Event {
        event(n, "AGENT_UPDATED", Outcome::Success, Quality::Exact, fields)
    }

    fn known(events: &[Event]) -> Value {
        let view = State::after(events).view();
        let fields = view["fields"].as_object().expect("fields").iter();
        let values: Map<String, Value> =
            fields.map(|(path, told)| (path.clone(), told["value"].clone())).collect();
        let unknown: Vec<&String> = view["unknown"].as_object().expect("unknown").keys().collect();
        json!([values, unknown])
    }

    #[test]
    fn changes_follow_each_other_and_a_failed_act_changes_nothing() {
        let events = [
            done(1, json!({"status": {"to": "draft"}, "plugins": {"to": ["mail"]}})),
            done(
                2,
                json!({"status": {"from": "draft", "to": "active"}, "plugins": {"added": ["slack"], "removed": []}}),
            ),
            event(3, "AGENT_UPDATED", Outcome::Failure, Quality::Partial, json!({"status": {"to": "never"}})),
        ];
        assert_eq!(known(&events), json!([{"status": "active", "plugins": ["mail", "slack"]}, []]));
        assert_eq!(known(&events[..1]), json!([{"status": "draft", "plugins": ["mail"]}, []]));
    }

    #[test]
    fn what_is_not_said_is_unknown_and_never_a_guess() {
        let first = done(1, json!({"a": {"to": 1}, "key": {"to": "k"}, "c.d": {"to": 1}, "l": {"to": [1]}}));
        let later = [json!({"key": {"changed": true}}), json!({"key": {"to": "[masked]"}})];
        for change in later {
            let found = known(&[first.clone(), done(2, change)]);
            assert_eq!(found, json!([{"a": 1, "c.d": 1, "l": [1]}, ["key"]]));
        }
        let found = known(&[
            first.clone(),
            done(2, json!({"c": {"to": {"d": 2}}, "l": {"added": [], "removed": [9]}})),
        ]);
        assert_eq!(found, json!([{"a": 1, "key": "k", "c": {"d": 2}}, ["l"]]));
        let doubtful = event(2, "AGENT_UPDATED", Outcome::Unknown, Quality::Partial, json!({"a": {"to": 2}}));
        assert_eq!(known(&[first.clone(), doubtful]), json!([{"key": "k", "c.d": 1, "l": [1]}, ["a"]]));
        let untold = event(2, "AGENT_UPDATED", Outcome::Success, Quality::Unavailable, json!({}));
        assert_eq!(known(&[first, untold]), json!([{}, ["a", "c.d", "key", "l"]]));
    }

    #[test]
    fn after_a_deletion_nothing_is_left_until_something_is_told_again() {
        let first = done(1, json!({"a": {"to": 1}}));
        let gone = event(2, "AGENT_DELETED", Outcome::Success, Quality::Exact, json!({"a": {"from": 1}}));
        let state = State::after(&[first.clone(), gone.clone()]).view();
        assert_eq!((&state["fields"], state["deleted"]["at"].is_string()), (&json!({}), true));
        let again = State::after(&[first, gone, done(3, json!({"b": {"to": 2}}))]).view();
        assert_eq!((again["fields"]["b"]["value"].clone(), &again["deleted"]), (json!(2), &Value::Null));
    }
}
