//! What follows a place in a tenant's log.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use shared::event::Timestamp;
use shared::leaf::ENTRY_LEN;
use shared::search;
use uuid::Uuid;

use super::shelf::Shelf;
use crate::export::Row;
use crate::store::log::{LogRow, Round};
use crate::store::search::{Swept, of_batches};
use crate::store::{Store, StoreError, log};

/// Leaves that are looked through at once.
const STRIDE: i64 = 1_000;
/// Openings in bytes after which no more are read: more than a batch has, so that one is never cut.
const MAX_LEN: usize = 2 << 20;

/// A place: so many leaves of a log lie behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) log_id: String,
    pub(super) leaf: i64,
}

/// An event on its way out.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The first leaf of its batch.
    pub(super) batch: i64,
    /// Its own leaf.
    pub(super) leaf: i64,
    pub(super) row: Row,
}

/// A stored event that can no longer be read: changed in the database, past us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damaged {
    /// Its own leaf.
    pub(super) leaf: i64,
    pub(super) id: Uuid,
}

/// The events of a batch that a search finds.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) id: i64,
    pub(super) events: Vec<Arc<Waiting>>,
    /// Those of them that cannot be sent.
    pub(super) damaged: Vec<Damaged>,
    /// Bytes of their openings.
    pub(super) len: usize,
    /// When it was read, or before.
    pub(super) read: Instant,
}

/// Some events of one log in its order, and the leaf behind everything that was looked at for them.
#[derive(Debug)]
pub(super) struct Page {
    /// Where it begins.
    pub(super) begin: Place,
    pub(super) events: VecDeque<Arc<Waiting>>,
    /// Those that lie between them and cannot be sent.
    pub(super) damaged: Vec<Damaged>,
    pub(super) end: i64,
    /// The first leaf of the last batch, if that may have more events.
    pub(super) cut: Option<i64>,
    /// When the first of them was read, or before.
    pub(super) read: Instant,
}

/// The log that a place is in, or the next one if it is at the end of its own; none if nothing follows.
pub(super) async fn ahead(
    store: &Store,
    tenant: &str,
    place: Option<&Place>,
) -> Result<Option<(LogRow, i64)>, StoreError> {
    // Newest first.
    let mut logs = log::list(store, Some(tenant)).await?;
    let mut leaf = 0;
    if let Some(place) = place {
        let here = logs.iter().position(|log| log.log_id == place.log_id);
        logs.truncate(here.ok_or(StoreError::Damaged("log of a sink"))? + 1);
        leaf = place.leaf;
    }
    while let Some(log) = logs.pop() {
        if leaf < log.size {
            return Ok(Some((log, leaf)));
        }
        leaf = 0;
    }
    Ok(None)
}

/// The events that follow in a log and that a search finds; what lies on the shelf is not read again.
pub(super) async fn page(
    store: &Store,
    shelf: &Shelf,
    (log, leaf): (&LogRow, i64),
    text: &str,
    now: Timestamp,
) -> Result<Page, StoreError> {
    let read = Instant::now();
    let to = log.size.min(leaf + STRIDE);
    let mut connection = store.begin().await?;
    let rounds = log::rounds(&mut connection, log.key(), leaf, to).await?;
    drop(connection);
    if rounds.is_empty() {
        return Err(StoreError::Damaged("log of a sink"));
    }
    let begin = Place { log_id: log.log_id.clone(), leaf };
    let mut page = Page { begin, events: VecDeque::new(), damaged: Vec::new(), end: leaf, cut: None, read };
    let ids: Vec<i64> = rounds.iter().filter_map(|round| round.batch_id).collect();
    let wanted = Arc::new((log.tenant_id.clone(), text.to_owned()));
    let mut batches = shelf.first_of(&wanted, &ids);
    let mut has_more = false;
    if batches.is_empty() && !ids.is_empty() {
        let query = search::parse(text).query;
        let found = of_batches(store, &log.tenant_id, (&query, now), &ids, MAX_LEN).await?;
        has_more = found.1;
        let firsts = rounds.iter().filter_map(|round| Some((round.batch_id?, round.first_index))).collect();
        batches = open(found.0, &ids, &firsts, read)?;
        // What follows the last one that events were found of was not looked at.
        if has_more {
            let looked_at = batches.iter().rposition(|batch| batch.len > 0).map_or(0, |last| last + 1);
            batches.truncate(looked_at);
        }
        let whole = batches.len() - usize::from(has_more && !batches.is_empty());
        shelf.put(&wanted, &batches[..whole]);
    }
    page.take(&rounds, &batches, has_more);
    Ok(page)
}

impl Page {
    /// Takes what is not behind it of batches that follow each other.
    fn take(&mut self, rounds: &[Round], batches: &[Arc<Batch>], is_cut: bool) {
        let mut left = batches.iter().peekable();
        for round in rounds {
            if let Some(id) = round.batch_id {
                let Some(batch) = left.next_if(|batch| batch.id == id) else { break };
                let events = batch.events.iter().filter(|event| event.leaf >= self.begin.leaf);
                self.events.extend(events.cloned());
                self.damaged.extend(batch.damaged.iter().filter(|event| event.leaf >= self.begin.leaf));
                self.read = self.read.min(batch.read);
            }
            self.end = round.first_index + i64::try_from(round.entries.len() / ENTRY_LEN).unwrap_or(i64::MAX);
            if is_cut && left.peek().is_none() && round.batch_id.is_some() {
                let seen = self.events.back().map(|event| event.leaf);
                let last = seen.max(self.damaged.last().map(|event| event.leaf));
                self.end = last.map_or(self.begin.leaf, |leaf| leaf + 1);
                self.cut = Some(round.first_index);
                break;
            }
        }
    }
}

/// What was found, by batches.
fn open(
    found: Vec<Swept>,
    ids: &[i64],
    firsts: &HashMap<i64, i64>,
    read: Instant,
) -> Result<Vec<Arc<Batch>>, StoreError> {
    let mut found = found.into_iter().peekable();
    let mut batches = Vec::with_capacity(ids.len());
    for &id in ids {
        let first = *firsts.get(&id).ok_or(StoreError::Damaged("batch of an event"))?;
        let mut batch = Batch { id, events: Vec::new(), damaged: Vec::new(), len: 0, read };
        while let Some(swept) = found.next_if(|swept| swept.batch_id == id) {
            let (event_id, leaf) = (swept.id, first + i64::from(swept.position));
            batch.len += swept.opening.len();
            match Row::open(swept) {
                Ok(row) => batch.events.push(Arc::new(Waiting { batch: first, leaf, row })),
                Err(StoreError::Damaged(_)) => batch.damaged.push(Damaged { leaf, id: event_id }),
                Err(error) => return Err(error),
            }
        }
        batches.push(Arc::new(batch));
    }
    Ok(batches)
}
