//! Each event by itself: does it hash to the digest that was signed, is it an event, is it this tenant's, is its time
//! possible. One bad event never costs its batch: it goes to quarantine with the leaf it would have had.

use std::time::Duration;

use chrono::{DateTime, Utc};
use shared::event::{Event, RetentionClass, Timestamp};
use shared::leaf::{self, Hash, Opening};

use super::verify::Verified;
use crate::store::batches::BatchRow;
use crate::store::events::EventRow;
use crate::store::quarantine::QuarantineRow;

/// Producers retry for days, not for a year; this is also what the partitions cover.
const OLDEST_EVENT: Duration = Duration::from_hours(400 * 24);
/// A clock that is wrong by more than a day is wrong by anything.
const NEWEST_EVENT: Duration = Duration::from_hours(24);
/// Lists are sorted by the time of filing: an event from a fast clock stays at the top no longer than this.
const FILED_AHEAD: Duration = Duration::from_mins(5);
/// What is kept of an event that cannot be read. An event is at most 48,000 bytes; longer is noise.
const RAW_CAP: usize = 64 * 1024;

/// The times that are possible.
#[derive(Debug, Clone, Copy)]
pub struct Horizon {
    /// When the batch arrived.
    pub now: Timestamp,
    /// The start of the oldest month that takes events.
    pub oldest: DateTime<Utc>,
}

/// A batch ready to be written.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Its row.
    pub row: BatchRow,
    /// The events that passed.
    pub good: Vec<EventRow>,
    /// The others.
    pub bad: Vec<Bad>,
    /// The log entries of all events, in order.
    pub entries: Vec<u8>,
}

/// An event on its way to quarantine.
#[derive(Debug, Clone)]
pub struct Bad {
    /// What is kept.
    pub row: QuarantineRow,
    /// The kind of reason, for counting.
    pub kind: &'static str,
}

impl Prepared {
    /// How many rows it makes.
    pub fn len(&self) -> usize {
        self.good.len() + self.bad.len()
    }

    /// Whether it has no event; a header never says so.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A good event that the store does not take, as a quarantined one.
    pub fn demote(&self, event: &EventRow, kind: &'static str, reason: String) -> Bad {
        let start = usize::try_from(event.position).unwrap_or(0) * leaf::ENTRY_LEN;
        let entry = self.entries[start..start + leaf::ENTRY_LEN].to_vec();
        Bad {
            kind,
            row: QuarantineRow {
                position: event.position,
                claimed_digest: entry[10..].to_vec(),
                entry,
                reason,
                raw: Some(event.opening.clone()),
                received_at: event.received_at,
            },
        }
    }
}

/// Examines every event of a batch.
pub fn prepare(verified: &Verified<'_>, horizon: Horizon) -> Prepared {
    let header = &verified.header;
    let received_at = horizon.now.to_utc();
    let mut prepared = Prepared {
        row: BatchRow {
            tenant: header.tenant.to_string(),
            stream: header.stream.0.to_vec(),
            seq: i64::try_from(header.seq).expect("checked when the header was read"),
            header_hash: header.hash().to_vec(),
            prev: header.prev.to_vec(),
            header: verified.note.clone(),
            sent_at: header.sent.to_utc(),
            received_at,
            count: i16::try_from(header.count).expect("at most 100"),
            dropped: i64::try_from(header.dropped).expect("checked when the header was read"),
            prev_ok: None,
        },
        good: Vec::with_capacity(verified.body.events.len()),
        bad: Vec::new(),
        entries: Vec::with_capacity(verified.body.events.len() * leaf::ENTRY_LEN),
    };
    let events = verified.body.digests.iter().zip(&verified.body.events);
    for (position, (digest, bytes)) in (0_i16..).zip(events) {
        let examined = examine(*bytes, digest, verified, horizon);
        let class = match &examined {
            Ok(event) => event.class,
            Err(rejected) => rejected.class,
        };
        let entry = leaf::entry(class, horizon.now.millis(), digest);
        prepared.entries.extend_from_slice(&entry);
        match examined {
            Ok(event) => prepared.good.push(EventRow {
                position,
                filed_at: filed_at(event.occurred_at, horizon),
                event,
                received_at,
                opening: bytes.map(<[u8]>::to_vec).unwrap_or_default(),
            }),
            Err(rejected) => prepared.bad.push(Bad {
                kind: rejected.kind,
                row: QuarantineRow {
                    position,
                    claimed_digest: digest.to_vec(),
                    entry: entry.to_vec(),
                    reason: rejected.reason,
                    raw: bytes.map(|raw| raw[..raw.len().min(RAW_CAP)].to_vec()),
                    received_at,
                },
            }),
        }
    }
    prepared
}

struct Rejected {
    kind: &'static str,
    reason: String,
    class: RetentionClass,
}

fn examine(
    bytes: Option<&[u8]>,
    claimed: &Hash,
    verified: &Verified<'_>,
    horizon: Horizon,
) -> Result<Event, Rejected> {
    // What cannot be read, or is not what was signed, is kept as long as what matters most.
    let unknown = |kind, reason: String| Rejected { kind, reason, class: RetentionClass::Critical };
    let bytes = bytes
        .ok_or_else(|| unknown("missing", "the body ends before it, or it is over the limit".to_owned()))?;
    let opening = Opening::decode(bytes).map_err(|error| unknown("unreadable", error.to_string()))?;
    if leaf::digest(&opening) != *claimed {
        let reason = "it does not hash to the digest that was signed".to_owned();
        return Err(unknown("digest", reason));
    }
    let event = Event::from_opening(&opening).map_err(|error| unknown("malformed", error.to_string()))?;
    let known = |kind, reason: String| Rejected { kind, reason, class: event.class };
    if event.tenant != verified.header.tenant {
        return Err(known("tenant", format!("it is of tenant {}", event.tenant)));
    }
    let (at, now) = (event.occurred_at.to_utc(), horizon.now.to_utc());
    if at < now - OLDEST_EVENT || at > now + NEWEST_EVENT {
        return Err(known("time", format!("occurred_at {} is out of range", event.occurred_at)));
    }
    Ok(event)
}

fn filed_at(occurred_at: Timestamp, horizon: Horizon) -> DateTime<Utc> {
    let newest = horizon.now.to_utc() + FILED_AHEAD;
    occurred_at.to_utc().min(newest).max(horizon.oldest)
}
