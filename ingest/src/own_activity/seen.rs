//! Which devices and countries somebody was seen with before, so that what is new can be told as new.
//!
//! Told from the acts of the last ninety days: addresses and user agents are not kept longer. Where that does not reach, nothing is
//! said; a guess would frighten people or lull them.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::device::device;
use super::place::country;
use crate::store::own_activity::{self, Sighting};
use crate::store::{Store, StoreError, events};
use crate::view::time;

/// How far back.
const SINCE: TimeDelta = TimeDelta::days(90);
/// Acts that are looked at.
const ACTS: i64 = 20_000;
/// Of each list, those seen last.
const LISTED: usize = 20;

/// How long something was seen with somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    first: DateTime<Utc>,
    last: DateTime<Utc>,
    events: i64,
}

/// What somebody was seen with.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    devices: BTreeMap<String, Span>,
    /// By code.
    places: BTreeMap<String, Span>,
    /// Whether every act of the time was looked at.
    complete: bool,
}

impl Seen {
    /// What a subject was seen with until now.
    pub(crate) async fn read(
        store: &Store,
        tenant: &str,
        subject: &str,
        now: DateTime<Utc>,
    ) -> Result<Self, StoreError> {
        let sightings = own_activity::sightings(store, tenant, subject, now - SINCE, ACTS).await?;
        Self::of(&sightings).ok_or(StoreError::Damaged("event"))
    }

    fn of(sightings: &[Sighting]) -> Option<Self> {
        let mut seen = Self::default();
        for sighting in sightings {
            let context = events::read(&sighting.opening)?.context;
            if let Some(device) = context.user_agent.as_deref().and_then(device) {
                note(&mut seen.devices, device, sighting);
            }
            if let Some(code) =
                context.place.and_then(|place| place.country).filter(|code| country(code).is_some())
            {
                note(&mut seen.places, code, sighting);
            }
        }
        seen.complete = sightings.iter().map(|sighting| sighting.events).sum::<i64>() < ACTS;
        Some(seen)
    }

    /// Whether an act was the first on a device; none if that is not known.
    pub(crate) fn is_new_device(&self, device: &str, filed_at: DateTime<Utc>) -> Option<bool> {
        self.is_new(&self.devices, device, filed_at)
    }

    /// Whether an act was the first from a country; none if that is not known.
    pub(crate) fn is_new_place(&self, code: &str, filed_at: DateTime<Utc>) -> Option<bool> {
        self.is_new(&self.places, code, filed_at)
    }

    fn is_new(&self, spans: &BTreeMap<String, Span>, name: &str, filed_at: DateTime<Utc>) -> Option<bool> {
        let first = spans.get(name)?.first;
        if filed_at > first {
            return Some(false);
        }
        // The first of all that is known is new to us, not to them.
        let has_earlier = spans.values().any(|span| span.first < first);
        (filed_at == first && self.complete && has_earlier).then_some(true)
    }

    /// The devices, those used last first.
    pub(crate) fn devices(&self) -> Value {
        listed(&self.devices, |device| json!({"name": device}))
    }

    /// The countries, those seen last first.
    pub(crate) fn places(&self) -> Value {
        listed(&self.places, |code| json!({"name": country(code).unwrap_or(code), "country": code}))
    }
}

fn note(spans: &mut BTreeMap<String, Span>, name: String, sighting: &Sighting) {
    let Sighting { first, last, events, .. } = *sighting;
    let span = spans.entry(name).or_insert(Span { first, last, events: 0 });
    span.first = span.first.min(first);
    span.last = span.last.max(last);
    span.events += events;
}

fn listed(spans: &BTreeMap<String, Span>, told: impl Fn(&str) -> Value) -> Value {
    let mut spans: Vec<_> = spans.iter().collect();
    spans.sort_by_key(|(_, span)| std::cmp::Reverse(span.last));
    let each = spans.into_iter().take(LISTED).map(|(name, span)| {
        let mut told = told(name);
        told["first_seen"] = time(span.first).into();
        told["last_seen"] = time(span.last).into();
        told["events"] = span.events.into();
        told
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use shared::event::{Place, Trust};
    use shared::leaf::Seed;

    use super::*;
    use crate::own_activity::tests::event;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_400_000 + minute * 60, 0).expect("a time")
    }

    fn sighting(minute: i64, agent: &str, country: &str) -> Sighting {
        let mut event = event("USER_LOGIN", Trust::Verified, Some("u-1"), None);
        event.context.user_agent = Some(agent.to_owned());
        event.context.place = Some(Place { country: Some(country.to_owned()), ..Place::default() });
        let opening = event.to_opening(Seed([7; 32])).encode();
        Sighting { first: at(minute), last: at(minute + 5), events: 3, opening }
    }

    const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0";
    const SAFARI: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                          Version/17.4 Safari/605.1.15";

    #[test]
    fn the_first_act_on_another_device_is_new_and_the_later_ones_are_not() {
        let seen =
            Seen::of(&[sighting(0, FIREFOX, "DE"), sighting(10, SAFARI, "DE"), sighting(20, SAFARI, "FR")]);
        let seen = seen.expect("events");
        assert_eq!(seen.is_new_device("Safari on a Mac", at(10)), Some(true));
        assert_eq!(seen.is_new_device("Safari on a Mac", at(11)), Some(false));
        assert_eq!(seen.is_new_place("FR", at(20)), Some(true));
        assert_eq!(seen.is_new_place("DE", at(20)), Some(false));
        let devices = seen.devices();
        assert_eq!((&devices[0]["name"], &devices[0]["events"]), (&json!("Safari on a Mac"), &json!(6)));
        assert_eq!(seen.places()[0]["name"], "France");
    }

    #[test]
    fn where_the_memory_does_not_reach_nothing_is_called_new() {
        let mut seen = Seen::of(&[sighting(0, FIREFOX, "DE"), sighting(10, SAFARI, "DE")]).expect("events");
        assert_eq!(seen.is_new_device("Firefox on Linux", at(0)), None, "the first that is known");
        assert_eq!(seen.is_new_device("Firefox on Linux", at(-5)), None, "before what is known");
        assert_eq!(seen.is_new_device("Chrome on Windows", at(5)), None);
        seen.complete = false;
        assert_eq!(seen.is_new_device("Safari on a Mac", at(10)), None);
    }
}
