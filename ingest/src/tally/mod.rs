//! How many events have which values, kept as sums, so that no list of values and no chart counts a month again.
//!
//! A transaction that stores events appends what they add up to, by hour ([`Hours`]): it waits for nobody, and no two
//! transactions meet in a row. A follower ([`follow`]) folds that into sums of hours and days. A question
//! ([`crate::store::search`]) adds sums, what is not folded yet, and the events of hours of which a sum cannot tell: those in
//! which its window begins or ends, and those in which an event changed or went. All of it is read from one snapshot, so the
//! answer is what counting the events would give, always.
//!
//! Another thing to count is another [`Kind`], with the fields it likes.

pub mod combination;
pub mod follow;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use shared::event::Event;

use crate::receive::rollup::COVERAGE_RECORDED;
use crate::store::search::FacetField;

/// Milliseconds of an hour.
pub const HOUR_MS: i64 = 3_600_000;
/// Milliseconds of a day.
pub const DAY_MS: i64 = 24 * HOUR_MS;

const VERSION: u8 = 1;
const HAS_VALUE: u8 = 1;
const HAS_LABEL: u8 = 2;

/// What is counted; how much of a sum is read when only one of them is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Outcomes by severity, for charts: under field 0, the value is the two bytes as digits.
    Outcomes,
    /// Values, for facets: under each field's [`FacetField::code`].
    Values,
    /// Values that occur together ([`combination`]), for facets of a search: under field 0. Of all events, also those that
    /// lists leave out unless they are asked for.
    Combinations,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Outcomes, Self::Values, Self::Combinations];

    /// What stands for it in the database.
    pub fn code(self) -> i16 {
        match self {
            Self::Outcomes => 0,
            Self::Values => 1,
            Self::Combinations => 2,
        }
    }

    /// Whether it is summed up by day as well: that pays where an hour has many values.
    pub fn has_days(self) -> bool {
        self != Self::Outcomes
    }
}

/// How many events have a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count<'a> {
    /// How many.
    pub events: u64,
    /// The greatest label that one of them gives the value: an actor's address.
    pub label: Option<Cow<'a, str>>,
}

/// Counts of one kind: by field and value, none for events without one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally<'a>(HashMap<(u8, Option<Cow<'a, str>>), Count<'a>>);

impl<'a> Tally<'a> {
    /// Adds events with a value.
    pub fn add(&mut self, field: u8, value: Option<Cow<'a, str>>, label: Option<Cow<'a, str>>, events: u64) {
        match self.0.get_mut(&(field, value.clone())) {
            Some(known) => {
                known.events = known.events.saturating_add(events);
                if label > known.label {
                    known.label = label;
                }
            }
            None => {
                self.0.insert((field, value), Count { events, label });
            }
        }
    }

    /// Adds what [`Self::encode`] wrote. None if the bytes are no such thing.
    #[must_use]
    pub fn add_encoded(&mut self, bytes: &'a [u8]) -> Option<()> {
        let (version, mut rest) = bytes.split_first()?;
        if *version != VERSION {
            return None;
        }
        while !rest.is_empty() {
            let [field, has] = *take(&mut rest, 2)? else { return None };
            let events = number(&mut rest)?;
            let mut text = |bit| match has & bit {
                0 => Some(None),
                _ => {
                    let len = usize::try_from(number(&mut rest)?).ok()?;
                    std::str::from_utf8(take(&mut rest, len)?).ok().map(|text| Some(Cow::Borrowed(text)))
                }
            };
            let (value, label) = (text(HAS_VALUE)?, text(HAS_LABEL)?);
            self.add(field, value, label, events);
        }
        Some(())
    }

    /// The bytes: for each value `field u8 | which texts follow u8 | events | [length | value] | [length | label]`, numbers
    /// as LEB128, behind a version. The same counts give the same bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_unstable_by_key(|(key, _)| *key);
        let mut bytes = vec![VERSION];
        for ((field, value), count) in sorted {
            let has = u8::from(value.is_some()) * HAS_VALUE + u8::from(count.label.is_some()) * HAS_LABEL;
            bytes.extend_from_slice(&[*field, has]);
            put_number(&mut bytes, count.events);
            for text in [value, &count.label].into_iter().flatten() {
                put_number(&mut bytes, text.len() as u64);
                bytes.extend_from_slice(text.as_bytes());
            }
        }
        bytes
    }

    /// Every field and value with its count, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, Option<&str>, &Count<'a>)> {
        self.0.iter().map(|((field, value), count)| (*field, value.as_deref(), count))
    }
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(taken)
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let [byte] = *take(rest, 1)? else { return None };
        let part = u64::from(byte & 0x7f);
        number |= part.checked_shl(shift).filter(|moved| moved >> shift == part)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or(0);
        number >>= 7;
        if number == 0 {
            return bytes.push(low);
        }
        bytes.push(low | 0x80);
    }
}

/// What events add up to, by tenant, kind and hour.
#[derive(Debug, Default)]
pub struct Hours<'a>(BTreeMap<(&'a str, Kind, i64), Tally<'a>>);

impl<'a> Hours<'a> {
    /// Adds a stored event.
    pub fn add(&mut self, event: &'a Event, filed_at: DateTime<Utc>) {
        let hour = filed_at.timestamp_millis().div_euclid(HOUR_MS);
        let key = |kind| (event.tenant.as_str(), kind, hour);
        let combined = combination::of_event(event);
        self.0.entry(key(Kind::Combinations)).or_default().add(0, Some(combined.into()), None, 1);
        if event.action.as_str() == COVERAGE_RECORDED {
            return;
        }
        let cell = cell(event.outcome.byte(), event.severity.byte());
        self.0.entry(key(Kind::Outcomes)).or_default().add(0, Some(cell.into()), None, 1);
        let values = self.0.entry(key(Kind::Values)).or_default();
        for field in FacetField::ALL {
            let (value, label) = value(field, event);
            values.add(field.code(), value, label, 1);
        }
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every sum, in the order of its key: tenant, kind, hour, counts.
    pub fn rows(&self) -> impl Iterator<Item = (&'a str, Kind, DateTime<Utc>, Vec<u8>)> {
        self.0.iter().map(|((tenant, kind, hour), tally)| {
            (
                *tenant,
                *kind,
                DateTime::from_timestamp_millis(hour * HOUR_MS).unwrap_or_default(),
                tally.encode(),
            )
        })
    }
}

/// An outcome and a severity in one value.
pub fn cell(outcome: u8, severity: u8) -> String {
    format!("{outcome} {severity}")
}

/// What [`cell`] put together.
pub fn of_cell(value: &str) -> Option<(i16, i16)> {
    let (outcome, severity) = value.split_once(' ')?;
    Some((outcome.parse().ok()?, severity.parse().ok()?))
}

/// What an event's column says in a facet's words, and how its value is labelled.
fn value(field: FacetField, event: &Event) -> (Option<Cow<'_, str>>, Option<Cow<'_, str>>) {
    let text = |text| Some(Cow::Borrowed(text));
    let digits = |number: u16| Some(Cow::Owned(number.to_string()));
    let request = &event.request;
    let value = match field {
        FacetField::Action => text(event.action.as_str()),
        FacetField::Actor => {
            let actor = event.actor.as_ref();
            let label = actor.and_then(|actor| actor.email.as_deref()).map(Cow::Borrowed);
            return (actor.map(|actor| Cow::Borrowed(actor.id.as_str())), label);
        }
        FacetField::Entity => event.entity.as_ref().and_then(|entity| text(entity.kind.as_str())),
        FacetField::Severity => digits(event.severity.byte().into()),
        FacetField::Outcome => digits(event.outcome.byte().into()),
        FacetField::Trust => digits(event.trust.byte().into()),
        FacetField::Country => event.context.place.as_ref().and_then(|place| text(place.country.as_deref()?)),
        FacetField::Host => text(&request.host),
        FacetField::Method => text(&request.method),
        FacetField::Route => text(&request.route),
        FacetField::Rule => text(&request.rule),
        FacetField::Status => request.status.and_then(|status| digits(status / 100)),
    };
    (value, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally<'static> {
        let mut tally = Tally::default();
        tally.add(1, Some("a".into()), Some("x@example.com".into()), 300);
        tally.add(1, None, None, 7);
        tally.add(2, Some(String::new().into()), None, u64::MAX);
        tally
    }

    #[test]
    fn what_was_written_is_added_again() {
        let bytes = tally().encode();
        let mut read = Tally::default();
        read.add(1, Some("a".into()), Some("y@example.com".into()), 1);
        read.add_encoded(&bytes).expect("it is one");
        let count = |field, value| {
            let found = read.iter().find(|(f, v, _)| (*f, *v) == (field, value));
            found.map(|(_, _, count)| (count.events, count.label.as_deref()))
        };
        assert_eq!(count(1, Some("a")), Some((301, Some("y@example.com"))));
        assert_eq!(count(1, None), Some((7, None)));
        assert_eq!(count(2, Some("")), Some((u64::MAX, None)));
    }

    #[test]
    fn bytes_that_are_cut_or_changed_never_panic() {
        let bytes = tally().encode();
        let whole_entries =
            (1..bytes.len()).filter(|len| Tally::default().add_encoded(&bytes[..*len]).is_some());
        // Behind the version, and behind each of the three entries but the last.
        assert_eq!(whole_entries.count(), 3);
        for at in 0..bytes.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = byte;
                // It may still be one; it must not be the end of the program.
                let _ = Tally::default().add_encoded(&changed);
            }
        }
        assert_eq!(Tally::default().add_encoded(&[]), None);
        assert_eq!(Tally::default().add_encoded(&[2]), None);
    }
}
