//! Whether a log may be signed: not before a witness or the copies' storage was asked what it knows, and not if one of
//! them knows a larger or another head than the database.
//!
//! A database that was restored from a backup has gone back. Appending to it would sign a second history under sizes that
//! were signed before, which is exactly what an operator who rewrites the log would do; nobody could tell the two apart.
//! So the old origin stays where it is, and a new one whose first leaf is the old head goes on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ed25519_dalek::{Signature, VerifyingKey};
use shared::note::{Checkpoint, KeyName, Note, VerifierKey};
use sqlx::PgConnection;

use super::cosign::{CosignError, Cosigner};
use super::worm::{Worm, WormError};
use crate::clock::Clock;
use crate::store::publications::{self, Waiting};
use crate::store::{Store, StoreError, log, log_keys};

/// Copies that are compared one by one; there are more only after a long time without this check.
const COMPARED: usize = 500;

/// What is known of a log's right to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Clear,
    Refused(String),
}

/// Which logs may be signed. Clones share what they know.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    guarded: bool,
    standings: Arc<Mutex<HashMap<String, Standing>>>,
}

/// Why a log is not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotCleared {
    /// Nobody who could know better has answered yet.
    #[error("log {0} waits for an answer of a witness or the copies' storage before anything is signed")]
    Unasked(String),
    /// Somebody knows better.
    #[error("{0}")]
    Refused(String),
}

impl Gate {
    /// A gate that asks before it opens.
    pub fn guarded() -> Self {
        Self { guarded: true, ..Self::default() }
    }

    /// Whether a log with entries may be signed.
    ///
    /// # Errors
    /// [`NotCleared`] says why not.
    pub fn may_sign(&self, log: &log::LogRow) -> Result<(), NotCleared> {
        let mut standings = self.standings();
        match standings.get(&log.log_id) {
            Some(Standing::Refused(reason)) => Err(NotCleared::Refused(reason.clone())),
            Some(Standing::Clear) => Ok(()),
            // What was never signed nobody can know better, and from then on it is we who sign it.
            None if log.size == 0 => {
                standings.insert(log.log_id.clone(), Standing::Clear);
                Ok(())
            }
            None if !self.guarded => Ok(()),
            None => Err(NotCleared::Unasked(log.log_id.clone())),
        }
    }

    /// Whether nothing is to be asked any more about a log.
    pub fn is_settled(&self, log_id: &str) -> bool {
        !self.guarded || self.standings().contains_key(log_id)
    }

    /// Whether somebody was heard about a log and nobody knew better.
    pub fn is_clear(&self, log_id: &str) -> bool {
        !self.guarded || self.standings().get(log_id) == Some(&Standing::Clear)
    }

    /// Lets a log be signed, unless it was refused.
    pub fn clear(&self, log_id: &str) {
        self.standings().entry(log_id.to_owned()).or_insert(Standing::Clear);
    }

    /// Signs nothing on top of a log any more.
    pub fn refuse(&self, log_id: &str, finding: &str) {
        let reason = format!(
            "{finding}: the database has gone back (a restored backup?), and nothing is signed on log {log_id} any more; \
             `edgetrail log reopen --log {log_id}` goes on with a new origin whose first leaf is the old head"
        );
        let before = self.standings().insert(log_id.to_owned(), Standing::Refused(reason.clone()));
        if !matches!(before, Some(Standing::Refused(_))) {
            metrics::counter!("edgetrail_log_refused_total").increment(1);
            tracing::error!(log_id, reason, "a log is not signed any more");
        }
    }

    fn standings(&self) -> std::sync::MutexGuard<'_, HashMap<String, Standing>> {
        // Every change is one insert, so what a panicking thread left behind is whole.
        self.standings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who may know a log better than the database.
#[derive(Debug, Clone, Default)]
pub struct Authorities {
    /// The witnesses.
    pub cosigners: Vec<Cosigner>,
    /// The copies.
    pub worm: Option<Worm>,
}

/// What one of them said.
enum Said {
    Nothing,
    Agrees,
    Otherwise(String),
}

impl Authorities {
    /// Asks about a log's head, and settles its standing if anybody answered.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn settle(
        &self,
        store: &Store,
        gate: &Gate,
        head: &Waiting,
        clock: &Clock,
    ) -> Result<(), StoreError> {
        let mut said = Vec::new();
        if let Some(worm) = &self.worm {
            said.push(self.copies(store, worm, head).await?);
        }
        for cosigner in &self.cosigners {
            said.push(match cosigner.cosign(store, head, clock.now().to_utc()).await {
                Ok(()) => Said::Agrees,
                Err(CosignError::Store(error)) => return Err(error),
                Err(error) => about(store, head, &error).await?,
            });
        }
        for said in &said {
            if let Said::Otherwise(finding) = said {
                gate.refuse(&head.log_id, finding);
            }
        }
        if said.iter().any(|said| matches!(said, Said::Agrees)) {
            gate.clear(&head.log_id);
        }
        Ok(())
    }

    async fn copies(&self, store: &Store, worm: &Worm, head: &Waiting) -> Result<Said, StoreError> {
        match compare(store, worm, head).await {
            Ok(None) => Ok(Said::Agrees),
            Ok(Some(finding)) => Ok(Said::Otherwise(finding)),
            Err(Unread::Store(error)) => Err(error),
            Err(Unread::Worm(error)) => {
                tracing::warn!(%error, log_id = head.log_id, "copies of heads are not read");
                Ok(Said::Nothing)
            }
        }
    }

    /// The most entries that a witness says it has seen of a log whose newest head this is, if that is more than it covers.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn ahead(
        &self,
        store: &Store,
        head: &Waiting,
        clock: &Clock,
    ) -> Result<Option<u64>, StoreError> {
        let mut most = None;
        for cosigner in &self.cosigners {
            match cosigner.cosign(store, head, clock.now().to_utc()).await {
                Err(CosignError::Ahead { size, .. }) => most = most.max(Some(size)),
                Err(CosignError::Store(error)) => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(most)
    }

    /// The largest head that the copies or a witness hold of a log and that the log signed, as a note.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn largest(
        &self,
        store: &Store,
        log: &log::LogRow,
    ) -> Result<Option<(u64, String)>, StoreError> {
        let mut connection = store.begin().await?;
        let mut found: Option<(u64, String)> = None;
        let mut offer = |head: Option<(Checkpoint, String)>| {
            if let Some((checkpoint, note)) = head
                && found.as_ref().is_none_or(|(size, _)| *size < checkpoint.size)
            {
                found = Some((checkpoint.size, note));
            }
        };
        if let Some(worm) = &self.worm {
            // From the end: what others put there is passed over.
            let sizes = worm.sizes_from(&log.log_id, 0).await.unwrap_or_default();
            for size in sizes.into_iter().rev().take(COMPARED) {
                if let Ok(Some(note)) = worm.read(&log.log_id, size).await
                    && let Some(checkpoint) = signed(&mut connection, log, &note).await?
                {
                    offer(Some((checkpoint, note)));
                    break;
                }
            }
        }
        for cosigner in &self.cosigners {
            if let Ok(Some(note)) = cosigner.newest(&log.origin).await
                && let Some(checkpoint) = signed(&mut connection, log, &note).await?
            {
                offer(Some((checkpoint, note)));
            }
        }
        Ok(found)
    }
}

/// What a witness's refusal says against the log. One that is ahead may have its head from another process of ours.
pub(super) async fn finding(
    store: &Store,
    head: &Waiting,
    error: &CosignError,
) -> Result<Option<String>, StoreError> {
    match error {
        CosignError::Forked { .. } => Ok(Some(error.to_string())),
        CosignError::Ahead { size, .. } => {
            let mut connection = store.begin().await?;
            let size = i64::try_from(*size).unwrap_or(i64::MAX);
            let ours = log::checkpoint_of(&mut connection, &head.log_id, size).await?;
            Ok(ours.is_none().then(|| error.to_string()))
        }
        _ => Ok(None),
    }
}

async fn about(store: &Store, head: &Waiting, error: &CosignError) -> Result<Said, StoreError> {
    Ok(match (finding(store, head, error).await?, error) {
        (Some(finding), _) => Said::Otherwise(finding),
        // It has never cosigned this log, or has its head from another process of ours.
        (None, CosignError::Refused { status: 404, .. } | CosignError::Ahead { .. }) => Said::Agrees,
        (None, error) => {
            tracing::warn!(%error, "a witness was not heard");
            Said::Nothing
        }
    })
}

enum Unread {
    Store(StoreError),
    Worm(WormError),
}

impl From<StoreError> for Unread {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<WormError> for Unread {
    fn from(error: WormError) -> Self {
        Self::Worm(error)
    }
}

/// Holds every copy since the last one that this database knows of against it; gives what does not agree.
async fn compare(store: &Store, worm: &Worm, head: &Waiting) -> Result<Option<String>, Unread> {
    let log = log::find(store, &head.log_id).await?.ok_or(StoreError::Damaged("log"))?;
    let known = publications::last_copied(store, &head.log_id).await?.unwrap_or(0);
    let own = u64::try_from(head.size).map_err(|_| StoreError::Damaged("size of a log"))?;
    let sizes = worm.sizes_from(&head.log_id, u64::try_from(known).unwrap_or(0)).await?;
    let mut connection = store.begin().await?;
    for size in sizes.into_iter().rev().take(COMPARED) {
        let Some(note) = worm.read(&head.log_id, size).await? else { continue };
        let Some(copy) = signed(&mut connection, &log, &note).await? else {
            tracing::warn!(log_id = head.log_id, size, "a copy that the log did not sign is passed over");
            continue;
        };
        let at = i64::try_from(copy.size).unwrap_or(i64::MAX);
        match log::checkpoint_of(&mut connection, &head.log_id, at).await? {
            Some(stored) if stored.root == copy.root => {}
            None if copy.size > own => {
                return Ok(Some(format!(
                    "the copies' storage holds a head of {} entries, the database one of {own}",
                    copy.size
                )));
            }
            _ => return Ok(Some(WormError::Other { size: copy.size }.to_string())),
        }
    }
    Ok(None)
}

/// The checkpoint of a note, if one of the log's keys signed it.
///
/// # Errors
/// If the store cannot be read.
pub async fn signed(
    connection: &mut PgConnection,
    log: &log::LogRow,
    note: &str,
) -> Result<Option<Checkpoint>, StoreError> {
    let named = log_keys::of(connection, &log.log_id).await?;
    let publics = named.into_iter().filter_map(|key| <[u8; 32]>::try_from(key.public_key).ok());
    let Ok(name) = KeyName::try_from(log.origin.clone()) else { return Ok(None) };
    let keys: Vec<VerifierKey> = publics.map(|public| VerifierKey { name: name.clone(), public }).collect();
    Ok(verified(note, &keys).filter(|checkpoint| checkpoint.origin == log.origin))
}

/// The checkpoint of a note that one of the keys signed.
pub fn verified(note: &str, keys: &[VerifierKey]) -> Option<Checkpoint> {
    let note = Note::parse_within(note.as_bytes(), 64 * 1024).ok()?;
    let holds = keys.iter().any(|key| {
        let Ok(public) = VerifyingKey::from_bytes(&key.public) else { return false };
        note.signatures().iter().filter(|line| line.name == key.name && line.key_id == key.id()).any(|line| {
            Signature::from_slice(&line.bytes)
                .is_ok_and(|signature| public.verify_strict(note.text().as_bytes(), &signature).is_ok())
        })
    });
    holds.then(|| note.text().parse().ok()).flatten()
}
