//! Openings against entries: what a leaf commits to is still there, or is missing as a record says.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use shared::absence::AbsenceList;
use shared::event::{Event, JsonText};
use shared::leaf::{ENTRY_LEN, StoredOpening};
use sqlx::PgConnection;

use crate::store::integrity::{self, StoredLeaf};
use crate::store::log::{self, LogRow, Round};
use crate::store::{Store, StoreError, absences};

/// Leaves that are read at once.
const PAGE: i64 = 2_000;

/// What was found among some leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Whole openings that match.
    pub open: i64,
    /// Openings that match although fields are erased, as is on record.
    pub erased: i64,
    /// Openings that are gone or were set aside, as is on record.
    pub dropped: i64,
    /// Leaves that lost something without a record.
    pub unexplained: i64,
    /// Openings that are not what the leaf commits to.
    pub mismatched: i64,
    /// The first thing that is wrong.
    pub finding: Option<String>,
}

impl Tally {
    fn blame(&mut self, words: impl FnOnce() -> String) {
        self.finding.get_or_insert_with(words);
    }
}

/// What explains that something is missing: lists whose record is in the store and names them.
#[derive(Debug)]
pub(super) struct Explained(Vec<AbsenceList>);

impl Explained {
    /// The explained absences of a tenant.
    ///
    /// # Errors
    /// If the store cannot be read, or a list is not the one it was.
    pub(super) async fn of(
        store: &Store,
        connection: &mut PgConnection,
        tenant: &str,
    ) -> Result<Self, StoreError> {
        let mut lists = Vec::new();
        for stored in absences::all(store, tenant).await? {
            let named = hex::encode(stored.list.hash());
            let span = around(stored.record_id);
            let record = integrity::record(connection, tenant, stored.record_id, span).await?;
            let details = record.and_then(|bytes| details(&bytes)).unwrap_or_default();
            if details["absence"]["sha256"] == named {
                lists.push(stored.list);
            } else {
                tracing::warn!(record = %stored.record_id, "a list of absence has no record and explains nothing");
            }
        }
        Ok(Self(lists))
    }

    fn whole(&self, log: &[u8; 16], index: u64) -> bool {
        self.0.iter().any(|list| list.lost(log, index).is_some_and(shared::absence::Lost::is_event))
    }

    fn fields(&self, log: &[u8; 16], index: u64, stored: &StoredOpening) -> bool {
        let covered =
            |tag| self.0.iter().any(|list| list.lost(log, index).is_some_and(|lost| lost.covers(tag)));
        stored.erased().into_iter().all(covered)
    }
}

/// An event's id tells when it happened; it is filed within a day of that or of its arrival.
fn around(id: uuid::Uuid) -> (DateTime<Utc>, DateTime<Utc>) {
    let (seconds, _) = id.get_timestamp().map_or((0, 0), |at| at.to_unix());
    let at = DateTime::from_timestamp(i64::try_from(seconds).unwrap_or(0), 0).unwrap_or_default();
    (at - chrono::TimeDelta::days(1), at + chrono::TimeDelta::days(1))
}

fn details(opening: &[u8]) -> Option<Value> {
    let stored = StoredOpening::decode(opening).ok()?;
    let event = Event::from_fields(&stored.fields()).ok()?;
    event.details.as_ref().map(JsonText::value)
}

/// Compares the leaves `from..to` of a log with their openings.
///
/// # Errors
/// If the store cannot be read.
pub(super) async fn compare(
    connection: &mut PgConnection,
    log: &LogRow,
    explained: &Explained,
    (from, to): (i64, i64),
) -> Result<Tally, StoreError> {
    let mut id = [0; 16];
    hex::decode_to_slice(&log.log_id, &mut id).map_err(|_| StoreError::Damaged("id of a log"))?;
    let mut tally = Tally::default();
    let mut at = from;
    while at < to {
        let end = to.min(at + PAGE);
        let rounds = log::rounds(connection, &log.log_id, at, end).await?;
        page(connection, log, &id, explained, &rounds, (at, end), &mut tally).await?;
        at = end;
    }
    Ok(tally)
}

async fn page(
    connection: &mut PgConnection,
    log: &LogRow,
    id: &[u8; 16],
    explained: &Explained,
    rounds: &[Round],
    (from, to): (i64, i64),
    tally: &mut Tally,
) -> Result<(), StoreError> {
    let batches: Vec<i64> = rounds.iter().filter_map(|round| round.batch_id).collect();
    let keyed = |leaves: Vec<StoredLeaf>| -> HashMap<(i64, i16), Vec<u8>> {
        leaves.into_iter().map(|leaf| ((leaf.batch_id, leaf.position), leaf.opening)).collect()
    };
    let span = arrival(rounds);
    let openings = keyed(integrity::openings(connection, &log.tenant_id, &batches, span).await?);
    let aside = keyed(integrity::set_aside(connection, &log.tenant_id, &batches).await?);
    let mut seen = from;
    for round in rounds {
        let (entries, _) = round.entries.as_chunks::<ENTRY_LEN>();
        for ((index, position), entry) in (round.first_index..).zip(0_i16..).zip(entries) {
            if !(from..to).contains(&index) {
                continue;
            }
            if index != seen {
                tally.mismatched += 1;
                tally.blame(|| format!("leaf {seen}: its entry is gone"));
            }
            seen = index + 1;
            let leaf = u64::try_from(index).map_err(|_| StoreError::Damaged("place in a log"))?;
            let Some(batch) = round.batch_id else {
                succession(connection, log, entry, tally).await?;
                continue;
            };
            match (openings.get(&(batch, position)), aside.get(&(batch, position))) {
                (Some(bytes), _) => opened(bytes, entry, id, leaf, explained, tally),
                (None, Some(kept)) if kept.as_slice() == entry => tally.dropped += 1,
                (None, _) if explained.whole(id, leaf) => tally.dropped += 1,
                (None, _) => {
                    tally.unexplained += 1;
                    tally.blame(|| format!("leaf {leaf}: its event is gone, and no record says why"));
                }
            }
        }
    }
    if seen != to {
        tally.mismatched += 1;
        tally.blame(|| format!("leaf {seen}: its entry is gone"));
    }
    Ok(())
}

fn opened(
    bytes: &[u8],
    entry: &[u8; ENTRY_LEN],
    id: &[u8; 16],
    leaf: u64,
    explained: &Explained,
    tally: &mut Tally,
) {
    let stored = StoredOpening::decode(bytes).ok().filter(|stored| stored.digest() == entry[10..]);
    match stored {
        Some(stored) if !explained.fields(id, leaf, &stored) => {
            tally.unexplained += 1;
            tally.blame(|| format!("leaf {leaf}: fields are erased, and no record says why"));
        }
        Some(stored) if stored.erased().is_empty() => tally.open += 1,
        Some(_) => tally.erased += 1,
        None => {
            tally.mismatched += 1;
            tally.blame(|| format!("leaf {leaf}: its event is not the one that was recorded"));
        }
    }
}

/// Leaf 0 of a log that follows another commits to the head of that one.
async fn succession(
    connection: &mut PgConnection,
    log: &LogRow,
    entry: &[u8; ENTRY_LEN],
    tally: &mut Tally,
) -> Result<(), StoreError> {
    let note = log::succession(connection, &log.log_id).await?.map(|(_, note)| note);
    let holds = note.is_some_and(|note| {
        let mut hash = Sha256::new();
        hash.update(crate::ledger::sequencer::SUCCESSION_DOMAIN);
        hash.update(note);
        hash.finalize()[..] == entry[10..]
    });
    if holds {
        tally.open += 1;
    } else {
        tally.mismatched += 1;
        tally.blame(|| "leaf 0: it does not commit to the head of the log before".to_owned());
    }
    Ok(())
}

/// When the entries arrived, first and last.
fn arrival(rounds: &[Round]) -> (DateTime<Utc>, DateTime<Utc>) {
    let times = rounds.iter().flat_map(|round| {
        let (entries, _) = round.entries.as_chunks::<ENTRY_LEN>();
        entries.iter().map(|entry| {
            let millis = entry[2..10].iter().fold(0_i64, |number, byte| number << 8 | i64::from(*byte));
            DateTime::from_timestamp_millis(millis).unwrap_or_default()
        })
    });
    let (first, last) = times.fold((DateTime::<Utc>::MAX_UTC, DateTime::UNIX_EPOCH), |(first, last), at| {
        (first.min(at), last.max(at))
    });
    (first.min(last), last)
}
