//! The stored events in the order of their batches, for tasks that must see each once and none too early.
//!
//! Batches are numbered before they are committed, and several are stored at a time: one with a lower number may appear
//! after one with a higher. So a task reads up to the newest batch only once every transaction that was storing at that
//! moment has ended.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::store::{self, Store, StoreError, Transaction, cursors};

/// Batches of one page, unless fewer are asked for.
pub const PAGE: i64 = 50;
/// A transaction takes a few milliseconds.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// After which it is left to the next pass.
const LOOKS: usize = 100;

/// Some batches that a task has not seen, and its cursor, locked.
#[derive(Debug)]
pub struct Page {
    /// What the task writes goes with the cursor.
    pub transaction: Transaction,
    /// The batches' numbers.
    pub batches: Vec<i64>,
    /// The first and the last arrival.
    pub span: (DateTime<Utc>, DateTime<Utc>),
    task: &'static str,
}

impl Page {
    /// The next page of a task; none if it has seen everything.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn next(store: &Store, task: &'static str) -> Result<Option<Self>, StoreError> {
        Self::next_of(store, task, PAGE).await
    }

    /// The same with fewer batches.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn next_of(
        store: &Store,
        task: &'static str,
        batches: i64,
    ) -> Result<Option<Self>, StoreError> {
        store.in_turn().await;
        let Some(newest) = settled(store).await? else { return Ok(None) };
        let mut transaction = store.begin().await?;
        let after = cursors::lock(&mut transaction, task).await?;
        let places = cursors::batches(&mut transaction, after, newest, batches).await?;
        let arrivals = || places.iter().map(|place| place.received_at);
        let Some(span) = arrivals().min().zip(arrivals().max()) else {
            // Keeps the cursor's row, which the first look makes.
            store::commit(transaction).await?;
            return Ok(None);
        };
        let batches = places.iter().map(|place| place.batch_id).collect();
        Ok(Some(Self { transaction, batches, span, task }))
    }

    /// The task has taken the page in.
    ///
    /// # Errors
    /// If the database refuses; then the page comes again.
    pub async fn finish(mut self) -> Result<(), StoreError> {
        if let Some(last) = self.batches.last() {
            cursors::advance(&mut self.transaction, self.task, *last).await?;
        }
        store::commit(self.transaction).await
    }
}

/// The newest batch up to which none is missing; none if transactions do not end.
async fn settled(store: &Store) -> Result<Option<i64>, StoreError> {
    let newest = cursors::newest_batch(store).await?;
    let mut writers = cursors::writers(store, None).await?;
    for _ in 0..LOOKS {
        if writers.is_empty() {
            return Ok(Some(newest));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        writers = cursors::writers(store, Some(&writers)).await?;
    }
    Ok(None)
}
