//! One line of somebody's activity: nothing of it is another person's, and nothing internal.

use serde_json::{Value, json};
use shared::event::{Event, Outcome};

use super::device::device;
use super::kind::Kind;
use super::place::country;
use super::seen::Seen;
use super::voice::sentence;
use super::{Tie, tie};
use crate::store::subjects::PlacedEvent;
use crate::store::{StoreError, events};

/// An event that is somebody's to see.
#[derive(Debug)]
pub(crate) struct Entry {
    /// As it is stored.
    pub(crate) placed: PlacedEvent,
    /// What it says.
    pub(crate) event: Event,
    /// What they have to do with it.
    pub(crate) tie: Tie,
}

impl Entry {
    /// A stored event; none if it is not the subject's to see.
    ///
    /// # Errors
    /// If the stored bytes are no event's.
    pub(crate) fn of(placed: PlacedEvent, subject: &str) -> Result<Option<Self>, StoreError> {
        let event = events::read(&placed.opening).ok_or(StoreError::Damaged("event"))?;
        Ok(tie(&event, subject).map(|tie| Self { placed, event, tie }))
    }

    /// It in words and figures.
    pub(crate) fn view(&self, subject: &str, seen: &Seen, disowned: bool) -> Value {
        let (event, filed_at) = (&self.event, self.placed.filed_at);
        let action = event.action.as_str();
        // Of a failed attempt by nobody known is told what tells whether it was oneself.
        let is_shown = self.tie == Tie::Actor || event.outcome == Outcome::Failure && event.actor.is_none();
        let context = Some(&event.context).filter(|_| is_shown);
        let device = context.and_then(|context| context.user_agent.as_deref()).and_then(device).map(|name| {
            let is_new = seen.is_new_device(&name, filed_at).filter(|_| self.tie == Tie::Actor);
            json!({"name": name, "new": is_new})
        });
        let place = context.and_then(|context| context.place.as_ref()?.country.as_deref()).map(|code| {
            let is_new = seen.is_new_place(code, filed_at).filter(|_| self.tie == Tie::Actor);
            json!({"name": country(code).unwrap_or("an unknown place"), "country": country(code).map(|_| code), "new": is_new})
        });
        json!({
            "id": event.id,
            "at": event.occurred_at.to_string(),
            "kind": Kind::of(action).word(),
            "text": sentence(event, self.tie, subject),
            "outcome": event.outcome,
            "by": match self.tie { Tie::Actor => "you", Tie::Account => "somebody_else" },
            "device": device,
            "place": place,
            "ip": event.context.ip.filter(|_| self.tie == Tie::Actor),
            "changes": self.changes(subject),
            "disowned": disowned,
        })
    }

    /// What they changed, in words.
    fn changes(&self, subject: &str) -> Option<String> {
        let withheld = self.tie.withheld(&self.event, subject);
        let is_theirs = self.tie == Tie::Actor && !withheld.contains(&shared::leaf::Tag::CHANGES);
        let fields = self.event.changes.as_ref().filter(|_| is_theirs)?.fields.value();
        fields.as_object().and_then(shared::diff::words)
    }
}
