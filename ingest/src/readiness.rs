//! Whether this process can do its work, as `/readyz` and `edgetrail_ready` tell it.

use std::time::Duration;

use tokio::sync::watch;

use crate::ledger::sequencer::Sequencer;
use crate::receive::write::Writer;
use crate::store::{Store, Unready};

/// A group of batches takes milliseconds, and is given up after six seconds without a store: longer is a lock that nobody lets go.
const WRITER_IS_STUCK_AFTER: Duration = Duration::from_secs(10);

/// What is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// The store.
    #[error(transparent)]
    Store(#[from] Unready),
    /// The writer has been at the same batches for so many seconds.
    #[error("the writer has been at the same batches for {0} s")]
    Writer(u64),
    /// A log is not advanced.
    #[error("the sequencer does not advance a log")]
    Sequencer,
    /// Whoever spreads requests should send them elsewhere; what comes is still taken.
    #[error("this process is stopping")]
    Leaving,
}

/// What the work needs.
#[derive(Debug, Clone)]
pub struct Readiness {
    /// Batches are stored here.
    pub store: Store,
    /// And by it.
    pub writer: Writer,
    /// And get their places from it.
    pub sequencer: Sequencer,
    /// Until this process is told to stop.
    pub leaving: watch::Receiver<bool>,
}

impl Readiness {
    /// Looks; at most a few seconds.
    ///
    /// # Errors
    /// [`NotReady`] names the first thing that is in the way.
    pub async fn check(&self) -> Result<(), NotReady> {
        if *self.leaving.borrow() {
            return Err(NotReady::Leaving);
        }
        let busy_for = self.writer.busy_for();
        if busy_for > WRITER_IS_STUCK_AFTER {
            return Err(NotReady::Writer(busy_for.as_secs()));
        }
        self.store.check().await?;
        if self.sequencer.is_healthy() { Ok(()) } else { Err(NotReady::Sequencer) }
    }
}
