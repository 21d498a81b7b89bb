//! The task that looks for what belongs to an event that came before or after it.
//!
//! What waits is in tables of its own, put there in the transaction that stores the event. An annotation is recorded
//! first and marked afterwards, and what has its annotation gets no second one, so a restart repeats nothing.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use uuid::Uuid;

use super::{completion, links};
use crate::clock::Clock;
use crate::own::{OwnError, Recorder};
use crate::store::Store;

/// How often is looked.
const EVERY: Duration = Duration::from_secs(2);

/// Follows events up.
#[derive(Debug, Clone)]
pub struct Follow {
    pub(super) store: Store,
    pub(super) recorder: Recorder,
    pub(super) clock: Clock,
}

impl Follow {
    /// Over a store, with annotations going to a recorder.
    pub fn new(store: Store, recorder: Recorder, clock: Clock) -> Self {
        Self { store, recorder, clock }
    }

    /// Works until it is stopped.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                passed = self.pass() => if let Err(error) = passed {
                    tracing::warn!(%error, "events are not followed up, trying again");
                },
                _ = stop.wait_for(|stop| *stop) => return,
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// One look at everything that waits, a page at a time.
    ///
    /// # Errors
    /// If the store refuses; the next pass takes up where this one stopped.
    pub async fn pass(&self) -> Result<(), OwnError> {
        const START: (DateTime<Utc>, Uuid) = (DateTime::UNIX_EPOCH, Uuid::nil());
        let mut after = START;
        while let Some(last) = links::page(self, after).await? {
            after = last;
        }
        after = START;
        while let Some(last) = completion::page(self, after).await? {
            after = last;
        }
        Ok(())
    }
}
