//! What follows a place in a tenant's log.

use std::collections::HashMap;

use shared::event::Timestamp;
use shared::leaf::ENTRY_LEN;
use shared::search::Query;

use crate::export::Row;
use crate::store::log::LogRow;
use crate::store::{Store, StoreError, log, search, sinks};

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

/// Some events of one log in its order, and the place behind everything that was looked at for them.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) log_id: String,
    pub(super) events: Vec<Waiting>,
    pub(super) end: Place,
    /// Whether the batch of the last event may have more.
    pub(super) is_cut: bool,
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
    log: &LogRow,
    leaf: i64,
    query: &Query,
    now: Timestamp,
) -> Result<Page, StoreError> {
    let to = log.size.min(leaf + STRIDE);
    let mut connection = store.begin().await?;
    let rounds = log::rounds(&mut connection, &log.log_id, leaf, to).await?;
    drop(connection);
    let firsts: HashMap<i64, i64> =
        rounds.iter().filter_map(|round| Some((round.batch_id?, round.first_index))).collect();
    let batches: Vec<i64> = rounds.iter().filter_map(|round| round.batch_id).collect();
    let end = rounds.last().map_or(to, |last| {
        last.first_index + i64::try_from(last.entries.len() / ENTRY_LEN).unwrap_or(i64::MAX)
    });
    let mut page = Page {
        log_id: log.log_id.clone(),
        events: Vec::new(),
        end: Place { log_id: log.log_id.clone(), leaf: end },
        is_cut: false,
    };
    let Some(span) = sinks::arrivals(store, &batches).await? else { return Ok(page) };
    let (found, has_more) =
        search::of_batches(store, &log.tenant_id, (query, now), &batches, span, MAX_LEN).await?;
    for swept in found {
        let batch = *firsts.get(&swept.batch_id).ok_or(StoreError::Damaged("batch of an event"))?;
        let at = batch + i64::from(swept.position);
        if at >= leaf {
            page.events.push(Waiting { batch, leaf: at, row: Row::open(swept)? });
        }
    }
    if let Some(last) = page.events.last().filter(|_| has_more) {
        page.end.leaf = last.leaf + 1;
        page.is_cut = true;
    }
    Ok(page)
}
