//! What the application wrote down of credits: what was taken or given, and what is left. Beside runs, not of them: a credit
//! names a user and an agent, and no execution.

use chrono::{DateTime, Utc};
use serde_json::Value;
use shared::event::{Event, JsonText, Outcome};
use uuid::Uuid;

/// The actions that speak of credits.
pub const ACTIONS: [&str; 4] =
    ["CREDITS_RECORDED", "CREDITS_CHANGED", "SUBSCRIPTION_RECORDED", "SUBSCRIPTION_CHANGED"];

/// No figure can be more: sums of many still fit.
const MOST: f64 = 1e12;
const MAX_ID_LEN: usize = 200;

/// What one event says of credits. What it does not say is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credit {
    /// The event.
    pub event_id: Uuid,
    /// When.
    pub at: DateTime<Utc>,
    /// Whose.
    pub user_id: String,
    /// Given, or taken if negative.
    pub delta: Option<i64>,
    /// What is left.
    pub balance: Option<i64>,
}

impl Credit {
    /// What an event that is filed at a time says of credits; none if nothing.
    pub fn read(event: &Event, at: DateTime<Utc>) -> Option<Self> {
        let entity = event.entity.as_ref().filter(|entity| entity.kind.as_str() == "subscription")?;
        let user = entity.id.as_deref().filter(|id| (1..=MAX_ID_LEN).contains(&id.len()))?;
        if !ACTIONS.contains(&event.action.as_str()) || event.outcome == Outcome::Failure {
            return None;
        }
        let details = event.details.as_ref().map(JsonText::value).unwrap_or_default();
        let changes = event.changes.as_ref().map(|changes| changes.fields.value()).unwrap_or_default();
        let balance = figure(&details["balance_after"])
            .or_else(|| figure(&details["balance"]))
            .or_else(|| figure(&changes["balance"]["to"]));
        let delta = figure(&details["credits_delta"]);
        (delta.is_some() || balance.is_some()).then(|| Self {
            event_id: event.id.uuid(),
            at,
            user_id: user.to_owned(),
            delta,
            balance,
        })
    }
}

/// A whole number that can be; a fraction is dropped.
fn figure(value: &Value) -> Option<i64> {
    value.as_f64().filter(|number| number.abs() <= MOST).map(|number| number as i64)
}
