//! Which event tells why something was written.
//!
//! An event and a write belong together if they lie within the window and name the same row (entity type and id), or
//! the event names the table: `details.table`, with `details.rows` as the number of rows it may tell. One act is one
//! transaction, so an event explains rows of a single one: otherwise any act on a row would cover up every other write
//! to it nearby. Two people on both sides do not belong together. Of several pairs the surest goes first.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use shared::event::{JsonText, Trust};
use uuid::Uuid;

use crate::store::events;
use crate::store::writes::{Candidate, PendingWrite, Settled, Spent};

/// An event as far as writes are concerned.
#[derive(Debug, Clone)]
pub struct Act {
    id: Uuid,
    at: DateTime<Utc>,
    by_system: bool,
    reads: bool,
    people: Vec<String>,
    entity: Option<(String, String)>,
    table: Option<String>,
    rows: Option<i64>,
}

impl Act {
    /// Reads a candidate; none if it names neither a row nor a table.
    pub fn read(candidate: Candidate) -> Option<Self> {
        let details = events::read(&candidate.opening)
            .and_then(|event| event.details)
            .as_ref()
            .map(JsonText::value)
            .unwrap_or_default();
        let table = details["table"].as_str().map(str::to_owned);
        let entity = candidate.entity_type.zip(candidate.entity_id);
        if entity.is_none() && table.is_none() {
            return None;
        }
        let trusts = [Trust::System, Trust::Service].map(|trust| i16::from(trust.byte()));
        Some(Self {
            id: candidate.id,
            at: candidate.occurred_at,
            by_system: trusts.contains(&candidate.trust),
            reads: matches!(candidate.method.as_str(), "GET" | "HEAD"),
            people: candidate.actor_id.into_iter().chain(candidate.claimed_user).collect(),
            entity,
            table,
            rows: details["rows"].as_i64(),
        })
    }

    /// The event's id.
    pub fn id(&self) -> Uuid {
        self.id
    }

    fn names(&self, write: &PendingWrite) -> bool {
        let same_table = self.table.as_ref() == Some(&write.table_name);
        match &self.entity {
            Some((kind, id)) => {
                write.key.as_ref() == Some(id) && (same_table || write.entity_type.as_ref() == Some(kind))
            }
            None => same_table,
        }
    }

    fn is_by(&self, uid: &str) -> bool {
        self.people.iter().any(|person| person == uid)
    }
}

/// How long a write may wait.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How far apart a write and its event may be.
    pub window: Duration,
    /// After which a write without one counts as nobody's.
    pub hold: Duration,
}

/// What is decided about `writes` at `now`; the rest stays pending.
///
/// A pair that rests on time and place alone waits until the window has passed, so that a better one can still arrive;
/// one that also names the same person is taken at once.
pub fn settle(
    writes: &[PendingWrite],
    acts: &[Act],
    spent: &[Spent],
    patience: Patience,
    now: DateTime<Utc>,
) -> Vec<Settled> {
    let mut pairs = Vec::new();
    for (w, write) in writes.iter().enumerate() {
        let waited = now - write.received_at;
        let window_passed = waited.to_std().is_ok_and(|waited| waited >= patience.window);
        for (a, act) in acts.iter().enumerate() {
            let apart = (write.at - act.at).abs();
            if apart.to_std().is_ok_and(|apart| apart > patience.window) || !act.names(write) {
                continue;
            }
            let by_same = match &write.uid {
                Some(uid) if act.is_by(uid) => true,
                Some(_) if !act.people.is_empty() => continue,
                _ => false,
            };
            let sure = by_same && !act.by_system && !act.reads;
            if sure || window_passed {
                pairs.push(((act.by_system, Reverse(by_same), act.reads, apart), w, a));
            }
        }
    }
    pairs.sort_by_key(|(order, w, a)| (*order, *w, *a));

    let mut used: HashMap<Uuid, (i64, i64)> =
        spent.iter().map(|it| (it.event_id, (it.txid, it.rows))).collect();
    let mut told: HashMap<usize, &Act> = HashMap::new();
    for (_, w, a) in pairs {
        let (write, act) = (&writes[w], &acts[a]);
        if told.contains_key(&w) {
            continue;
        }
        let (txid, rows) = used.entry(act.id).or_insert((write.txid, 0));
        if *txid == write.txid && act.rows.is_none_or(|most| *rows < most) {
            *rows += 1;
            told.insert(w, act);
        }
    }

    let settled = |(w, write): (usize, &PendingWrite)| {
        let (state, event_id) = match told.get(&w) {
            Some(act) => (if act.by_system { "system" } else { "explained" }, Some(act.id)),
            None if (now - write.received_at).to_std().is_ok_and(|waited| waited >= patience.hold) => {
                ("unattributed", None)
            }
            None => return None,
        };
        Some(Settled { at: write.at, seq: write.seq, state, event_id })
    };
    writes.iter().enumerate().filter_map(settled).collect()
}
