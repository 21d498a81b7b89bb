//! Many exchanges of one series told as one event, with a count.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::event::{Event, JsonText};

/// The exchanges that one event stands for, its own among them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coalesced {
    /// How many.
    pub count: u64,
    /// When the first arrived, in milliseconds since 1970.
    pub first_ms: u64,
    /// When the last arrived.
    pub last_ms: u64,
    /// Users that were named, the first few.
    pub claimed: Vec<String>,
}

impl Coalesced {
    /// The event of one of the exchanges as that of all.
    pub fn told_by(self, event: Event) -> Event {
        let Self { count, first_ms, last_ms, claimed } = self;
        let mut details = match event.details.as_ref().map(JsonText::value) {
            Some(Value::Object(members)) => members,
            _ => Map::new(),
        };
        let coalesced = json!({"count": count, "first_ms": first_ms, "last_ms": last_ms, "claimed": claimed});
        details.insert("coalesced".to_owned(), coalesced);
        Event { details: Some(JsonText::from(&Value::Object(details))), ..event }
    }
}
