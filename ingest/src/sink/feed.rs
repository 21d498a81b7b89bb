//! What follows a place in a tenant's log.

use std::collections::{HashMap, VecDeque};

use shared::event::Timestamp;
use shared::leaf::ENTRY_LEN;
use shared::search::Query;
use uuid::Uuid;

use super::aside::Aside;
use crate::export::Row;
use crate::store::log::LogRow;
use crate::store::search::{self, Swept};
use crate::store::{Store, StoreError, log};

/// Leaves that are looked through at once.
const STRIDE: i64 = 500;
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

/// Some events of one log in its order, and the leaf behind everything that was looked at for them.
#[derive(Debug)]
pub(super) struct Page {
    /// Where it begins.
    pub(super) begin: Place,
    pub(super) events: VecDeque<Waiting>,
    /// Those that lie between them and cannot be sent.
    pub(super) damaged: Vec<Damaged>,
    pub(super) end: i64,
    /// The first leaf of the last batch, if that may have more events.
    pub(super) cut: Option<i64>,
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

/// The events that follow in a log and that a search finds.
pub(super) async fn page(
    store: &Store,
    aside: &Aside,
    (log, leaf): (&LogRow, i64),
    query: &Query,
    now: Timestamp,
) -> Result<Page, StoreError> {
    let to = log.size.min(leaf + STRIDE);
    let mut connection = store.begin().await?;
    let rounds = log::rounds(&mut connection, &log.log_id, leaf, to).await?;
    drop(connection);
    let batches: Vec<i64> = rounds.iter().filter_map(|round| round.batch_id).collect();
    let end = rounds.last().map_or(to, |last| {
        last.first_index + i64::try_from(last.entries.len() / ENTRY_LEN).unwrap_or(i64::MAX)
    });
    let page = Page {
        begin: Place { log_id: log.log_id.clone(), leaf },
        events: VecDeque::new(),
        damaged: Vec::new(),
        end,
        cut: None,
    };
    if batches.is_empty() {
        return Ok(page);
    }
    let found = search::of_batches(store, &log.tenant_id, (query, now), &batches, MAX_LEN).await?;
    let firsts = rounds.iter().filter_map(|round| Some((round.batch_id?, round.first_index))).collect();
    aside.run(move || open(found, &firsts, page)).await
}

/// Adds what was found to a page, and whether there may be more.
fn open(
    (found, has_more): (Vec<Swept>, bool),
    firsts: &HashMap<i64, i64>,
    mut page: Page,
) -> Result<Page, StoreError> {
    let mut last = None;
    for swept in found {
        let batch = *firsts.get(&swept.batch_id).ok_or(StoreError::Damaged("batch of an event"))?;
        let at = batch + i64::from(swept.position);
        if at < page.begin.leaf {
            continue;
        }
        last = Some((batch, at));
        let id = swept.id;
        match Row::open(swept) {
            Ok(row) => page.events.push_back(Waiting { batch, leaf: at, row }),
            Err(StoreError::Damaged(_)) => page.damaged.push(Damaged { leaf: at, id }),
            Err(error) => return Err(error),
        }
    }
    if let Some((batch, last)) = last.filter(|_| has_more) {
        page.end = last + 1;
        page.cut = Some(batch);
    }
    Ok(page)
}
