//! Sequencing: a transaction of its own, after the insert, that gives pending entries their indexes and signs a head.
//!
//! The lock of the log's row is the only fence. Several processes may run this at once: the others wait or step aside.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::Datelike as _;
use futures_util::{StreamExt as _, stream};
use shared::event::{RetentionClass, Timestamp};
use shared::leaf::{self, ENTRY_LEN, Hash};
use shared::note::{Checkpoint, KeyName};
use shared::tree::{CompactRange, TILE_WIDTH, leaf_hash, succession_digest};
use sqlx::PgConnection;
use tokio::sync::{Notify, watch};
use tracing::Instrument as _;

use super::key::LogKey;
use super::keyring::{self, Keyring};
use super::startup::{Gate, NotCleared};
use crate::clock::{Clock, random};
use crate::store::log::{self, CheckpointRow, LogRow, Round, Tile};
use crate::store::{Store, StoreError, log_keys, publications};

/// Batches in one round: at 100 events each 25,000 leaves, where the measured rate levels off.
const ROUND_BATCHES: i64 = 250;

/// Why a log was not advanced.
#[derive(Debug, thiserror::Error)]
pub enum SequenceError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored tree is not the one that was signed.
    #[error("log {0} does not match its last signed checkpoint; nothing is signed on top of it")]
    Diverged(String),
    /// The log names none of our keys.
    #[error("log {0} names no key that log.key_file holds")]
    OtherKey(String),
    /// A witness or the copies' storage knows better, or was not heard yet.
    #[error(transparent)]
    NotCleared(#[from] NotCleared),
}

/// Who looked at a tenant's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    /// This process, and all is well.
    Here,
    /// Another process is at it.
    Elsewhere,
}

/// The sequencer of an installation.
#[derive(Debug, Clone)]
pub struct Sequencer {
    store: Store,
    keys: Keyring,
    host: KeyName,
    clock: Clock,
    /// Present where heads wait for a quorum.
    gate: Option<Gate>,
    /// Tenants whose log could not be advanced when it was last looked at.
    failing: Arc<Mutex<BTreeSet<String>>>,
    healthy: Arc<AtomicBool>,
}

impl Sequencer {
    /// A sequencer that signs with these keys, under origins of this host.
    pub fn new(store: Store, keys: impl Into<Keyring>, host: KeyName, clock: Clock) -> Self {
        let healthy = Arc::new(AtomicBool::new(true));
        Self { store, keys: keys.into(), host, clock, gate: None, failing: Arc::default(), healthy }
    }

    /// One that signs only what a gate lets through, and whose heads are served once they are published.
    #[must_use]
    pub fn behind(self, gate: Gate) -> Self {
        Self { gate: Some(gate), ..self }
    }

    fn failing(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the last pass went through.
    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }

    /// Checks every log against its last signed head. A log that fails is not sequenced: see [`Self::round`].
    ///
    /// # Errors
    /// The first log that fails, or the store.
    pub async fn check(&self) -> Result<(), SequenceError> {
        let mut transaction = self.store.begin().await?;
        let mut tenant = None;
        for log in log::list(&self.store, None).await? {
            // The first of each tenant is the one that grows; the others may have had keys that are gone.
            let grows = tenant.as_ref() != Some(&log.tenant_id);
            tenant = Some(log.tenant_id.clone());
            let looked = async {
                self.trusted_range(&mut transaction, &log).await?;
                if grows {
                    self.signing_keys(&mut transaction, &log).await?;
                    self.standing(&log)?;
                }
                Ok(())
            };
            if let Err(error) = looked.await {
                if grows && matches!(error, SequenceError::Diverged(_) | SequenceError::OtherKey(_)) {
                    self.failing().insert(log.tenant_id);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Sequences until told to stop, and once more then.
    pub async fn run(self, interval: Duration, stored: Arc<Notify>, mut stop: watch::Receiver<bool>) {
        loop {
            let stopping = tokio::select! {
                () = tokio::time::sleep(interval) => false,
                // The pause between rounds is what makes rounds large.
                () = async { stored.notified().await; tokio::time::sleep(interval / 4).await } => false,
                _ = stop.wait_for(|stop| *stop) => true,
            };
            self.pass().await;
            if stopping {
                return;
            }
        }
    }

    /// One pass over all tenants with pending entries.
    pub async fn pass(&self) {
        let healthy;
        match log::tenants_with_pending(&self.store).await {
            Ok(tenants) => {
                // A log that failed is looked at again though nothing waits for it: it is not well because it is quiet.
                let mut tenants = BTreeSet::from_iter(tenants);
                tenants.extend(self.failing().iter().cloned());
                // A round waits for the database more than for anything else.
                stream::iter(tenants)
                    .for_each_concurrent(
                        self.store.lanes(),
                        |tenant| async move { self.advance(&tenant).await },
                    )
                    .await;
                healthy = self.failing().is_empty();
            }
            Err(error) => {
                healthy = false;
                tracing::warn!(%error, "the sequencer cannot read the store");
            }
        }
        self.healthy.store(healthy, Ordering::Release);
        metrics::gauge!("edgetrail_sequencer_healthy").set(if healthy { 1.0 } else { 0.0 });
        if let Ok((entries, oldest)) = log::backlog(&self.store).await {
            let now = self.clock.now().to_utc();
            let age = oldest.map_or(0, |at| (now - at).num_milliseconds().max(0));
            metrics::gauge!("edgetrail_sequencer_pending_entries").set(entries as f64);
            metrics::gauge!("edgetrail_sequencer_lag_seconds").set(age as f64 / 1000.0);
        }
    }

    /// Drains one tenant's queue and remembers whether its log could be advanced.
    async fn advance(&self, tenant: &str) {
        match self.drain(tenant).await {
            Ok(Looked::Here) => {
                self.failing().remove(tenant);
            }
            Ok(Looked::Elsewhere) => {}
            Err(error) => {
                self.failing().insert(tenant.to_owned());
                // Whoever refused said so once, aloud.
                if !matches!(error, SequenceError::NotCleared(_)) {
                    tracing::error!(%error, tenant, "a log was not advanced");
                }
                metrics::counter!("edgetrail_sequencer_failures_total").increment(1);
            }
        }
    }

    async fn drain(&self, tenant: &str) -> Result<Looked, SequenceError> {
        loop {
            let mut transaction = self.store.begin().await?;
            if !log::try_lead(&mut transaction, tenant).await? {
                return Ok(Looked::Elsewhere);
            }
            let span = tracing::info_span!("sequencing", tenant);
            let taken = self.round(&mut transaction, tenant).instrument(span).await?;
            crate::store::commit(transaction).await?;
            if taken < usize::try_from(ROUND_BATCHES).unwrap_or(usize::MAX) {
                return Ok(Looked::Here);
            }
        }
    }

    /// One round for one tenant, in a transaction that the caller commits. Gives the number of batches taken.
    ///
    /// # Errors
    /// [`SequenceError`]; the transaction must be rolled back then.
    pub async fn round(&self, connection: &mut PgConnection, tenant: &str) -> Result<usize, SequenceError> {
        let now = self.clock.now();
        let (log, succession) = self.current_log(connection, tenant, now).await?;
        let mut range = self.trusted_range(connection, &log).await?;
        let keys = self.signing_keys(connection, &log).await?;
        self.standing(&log)?;
        let pending = log::take_pending(connection, tenant, ROUND_BATCHES).await?;
        if pending.is_empty() && succession.is_none() {
            return Ok(0);
        }
        let taken = pending.len();
        let mut next = log.size;
        let mut rounds = Vec::with_capacity(taken + 1);
        let runs = succession
            .map(|entry| (None, entry))
            .into_iter()
            .chain(pending.into_iter().map(|run| (Some(run.batch_id), run.entries)));
        for (batch_id, entries) in runs {
            let first_index = next;
            next += i64::try_from(entries.len() / ENTRY_LEN).expect("at most 100");
            rounds.push(Round { first_index, batch_id, entries });
        }
        let leaves: Vec<Hash> =
            rounds.iter().flat_map(|round| round.entries.chunks_exact(ENTRY_LEN).map(leaf_hash)).collect();
        let tiles = self.full_tiles(connection, &log, &leaves).await?;
        for leaf in &leaves {
            range.append(*leaf);
        }
        let origin =
            KeyName::try_from(log.origin.clone()).map_err(|_| StoreError::Damaged("origin of a log"))?;
        let root = range.root();
        let checkpoint = Checkpoint { origin: log.origin.clone(), size: range.size(), root };
        let note = keyring::sign(&keys, &checkpoint, &origin);
        let row = CheckpointRow { size: next, root: root.to_vec(), note };
        log::insert_rounds(connection, &log, &rounds).await?;
        if !tiles.is_empty() {
            log::insert_tiles(connection, &log.log_id, &tiles).await?;
        }
        let old_size = log.size;
        let log = LogRow { peaks: range.peaks().concat(), ..log };
        log::advance(connection, &log, old_size, &row, now.to_utc()).await?;
        metrics::counter!("edgetrail_log_entries_total").increment(leaves.len() as u64);
        Ok(taken)
    }

    /// The log of the tenant and year, locked. A fresh one that follows another comes with its first entry.
    async fn current_log(
        &self,
        connection: &mut PgConnection,
        tenant: &str,
        now: Timestamp,
    ) -> Result<(LogRow, Option<Vec<u8>>), SequenceError> {
        let year = now.to_utc().year();
        let log = match log::lock_newest(connection, tenant).await? {
            // A clock that runs behind does not reopen an old year.
            Some(log) if log.year >= year => log,
            old => self.open(connection, tenant, year, old.as_ref(), now).await?,
        };
        if log.size > 0 {
            return Ok((log, None));
        }
        let succession = log::succession(connection, &log.log_id).await?;
        let entry = succession.map(|(_, note)| first_entry(&note, now));
        Ok((log, entry))
    }

    /// Opens the year's log. Another process may have opened it first; then that one stands.
    async fn open(
        &self,
        connection: &mut PgConnection,
        tenant: &str,
        year: i32,
        old: Option<&LogRow>,
        now: Timestamp,
    ) -> Result<LogRow, SequenceError> {
        let mut head = None;
        if let Some(old) = old {
            self.trusted_range(connection, old).await?;
            self.standing(old)?;
            head = log::newest_checkpoint(connection, &old.log_id).await?;
        }
        let fresh = fresh_log(&self.host, tenant, year, 0, self.keys.newest());
        let previous = old.zip(head.as_ref()).map(|(old, head)| (old.log_id.as_str(), head.note.as_str()));
        open_log(connection, &fresh, previous, now, self.gate.is_some()).await?;
        let log = log::lock_newest(connection, tenant).await?;
        Ok(log.ok_or(StoreError::Damaged("log that was just opened"))?)
    }

    /// Whether a log may be signed, see [`Gate`].
    ///
    /// # Errors
    /// [`NotCleared`] says why not.
    pub fn standing(&self, log: &LogRow) -> Result<(), NotCleared> {
        self.gate.as_ref().map_or(Ok(()), |gate| gate.may_sign(log))
    }

    /// Our keys among those that a log names.
    async fn signing_keys(
        &self,
        connection: &mut PgConnection,
        log: &LogRow,
    ) -> Result<Vec<&LogKey>, SequenceError> {
        let named = log_keys::of(connection, &log.log_id).await?;
        let keys = self.keys.signing(&named);
        if keys.is_empty() { Err(SequenceError::OtherKey(log.log_id.clone())) } else { Ok(keys) }
    }

    /// The tree of a log, if it is the one its last checkpoint signs.
    async fn trusted_range(
        &self,
        connection: &mut PgConnection,
        log: &LogRow,
    ) -> Result<CompactRange, SequenceError> {
        let diverged = || {
            metrics::counter!("edgetrail_log_diverged_total").increment(1);
            SequenceError::Diverged(log.log_id.clone())
        };
        let (peaks, rest) = log.peaks.as_chunks::<32>();
        let size = u64::try_from(log.size).map_err(|_| diverged())?;
        let range = CompactRange::from_parts(size, peaks.to_vec())
            .filter(|_| rest.is_empty())
            .ok_or_else(diverged)?;
        match log::newest_checkpoint(connection, &log.log_id).await? {
            Some(signed) if signed.size == log.size && signed.root == range.root() => Ok(range),
            None if size == 0 => Ok(range),
            _ => Err(diverged()),
        }
    }

    /// The tiles that new leaves complete, on every level.
    async fn full_tiles(
        &self,
        connection: &mut PgConnection,
        log: &LogRow,
        leaves: &[Hash],
    ) -> Result<Vec<Tile>, StoreError> {
        let width = i64::try_from(TILE_WIDTH).expect("256");
        let mut tiles = Vec::new();
        let mut level = 0_i16;
        // Of the current level: how many hashes were there before, and the new ones.
        let mut old = log.size;
        let mut new: Vec<Hash> = leaves.to_vec();
        while old / width < (old + new.len() as i64) / width {
            let start = old - old % width;
            let mut hashes = if start == old {
                Vec::new()
            } else if level == 0 {
                super::tiles::leaf_hashes(connection, log.key(), start, old).await?
            } else {
                super::tiles::roots(connection, &log.log_id, level - 1, start, old).await?
            };
            hashes.append(&mut new);
            let mut roots = BTreeMap::new();
            for (at, tile) in hashes.chunks_exact(256).enumerate() {
                let index = start / width + at as i64;
                let mut range = CompactRange::default();
                for hash in tile {
                    range.append(*hash);
                }
                roots.insert(index, range.root());
                tiles.push(Tile { level, index, hashes: tile.concat(), root: range.root().to_vec() });
            }
            old = start / width;
            new = roots.into_values().collect();
            level += 1;
        }
        Ok(tiles)
    }
}

/// A log that was never appended to, under a name that tells nothing.
pub fn fresh_log(host: &KeyName, tenant: &str, year: i32, part: i32, key: &LogKey) -> LogRow {
    let log_id = hex::encode(random::<16>());
    LogRow {
        origin: format!("{host}/log/{log_id}"),
        log_id,
        tenant_id: tenant.to_owned(),
        year,
        part,
        public_key: key.public().to_vec(),
        size: 0,
        peaks: Vec::new(),
    }
}

/// Opens a log, with the log and the head that it follows. Says whether there was none yet.
///
/// # Errors
/// If the database refuses.
pub async fn open_log(
    connection: &mut PgConnection,
    fresh: &LogRow,
    previous: Option<(&str, &str)>,
    now: Timestamp,
    held_back: bool,
) -> Result<bool, StoreError> {
    if !log::open(connection, fresh, previous.map(|(log_id, _)| log_id)).await? {
        return Ok(false);
    }
    log_keys::name(connection, &fresh.log_id, &fresh.public_key, now.to_utc()).await?;
    if let Some((log_id, note)) = previous {
        log::succeed(connection, &fresh.log_id, log_id, note).await?;
    }
    if held_back {
        publications::hold(connection, &fresh.log_id, now.to_utc()).await?;
    }
    Ok(true)
}

/// Leaf 0 of a log that follows another: a commitment to the head of that one.
fn first_entry(note: &str, now: Timestamp) -> Vec<u8> {
    let digest = succession_digest(note.as_bytes());
    leaf::entry(RetentionClass::Permanent, now.millis(), &digest).to_vec()
}
