//! Copies of heads in storage that neither overwrites nor deletes: S3 or R2 with Object Lock, or a directory.
//!
//! A copy lies under `<prefix>/<log id>/<size, 20 digits>` and is the signed note as it is published. It is written only
//! where nothing is yet, and read back. The retention is the bucket's own default: the credentials here then cannot
//! shorten it.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, PutMode, PutOptions, PutPayload};
use shared::note::Note;

use crate::config;
use crate::storage::{self, Opened, StorageError};

/// The largest copy that is read.
const MAX_COPY: u64 = 64 * 1024;

/// Why a copy was not made or read.
#[derive(Debug, thiserror::Error)]
pub enum WormError {
    /// The configuration does not lead to a store.
    #[error("worm.url: {0}")]
    Config(#[from] StorageError),
    /// The store did not answer, or refused.
    #[error("the copies' storage: {0}")]
    Store(String),
    /// There is a copy of this size already, of another head.
    #[error("the copies' storage holds another head of {size} entries than this log had")]
    Other {
        /// The size.
        size: u64,
    },
}

impl From<object_store::Error> for WormError {
    fn from(error: object_store::Error) -> Self {
        Self::Store(error.to_string())
    }
}

/// The storage.
#[derive(Debug, Clone)]
pub struct Worm {
    store: Arc<dyn ObjectStore>,
    writer: Arc<dyn ObjectStore>,
    prefix: Path,
}

impl Worm {
    /// The configured storage.
    ///
    /// # Errors
    /// [`WormError::Config`].
    pub fn open(config: &config::Storage) -> Result<Self, WormError> {
        let Opened { store, checked, prefix } = storage::open(config)?;
        Ok(Self { store, writer: checked, prefix })
    }

    /// Copies a head, unless its copy is there. The copy is read back: storage that says yes may still have lost it.
    ///
    /// # Errors
    /// [`WormError::Other`] if the copy of this size is of another head.
    pub async fn keep(&self, log_id: &str, size: u64, note: &str) -> Result<(), WormError> {
        let only_new = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let payload = PutPayload::from(note.as_bytes().to_vec());
        match self.writer.put_opts(&self.place(log_id, size), payload, only_new).await {
            Ok(_)
            | Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let kept = self.read(log_id, size).await?;
        match kept.as_deref().and_then(text) {
            // The same head may stand there with other cosignatures: from another process, or before a crash.
            Some(kept) if Some(&kept) == text(note).as_ref() => Ok(()),
            Some(_) => Err(WormError::Other { size }),
            None => Err(WormError::Store("a copy that was just written is not there".to_owned())),
        }
    }

    /// The sizes of the copies of a log that are at least `size`, ascending.
    ///
    /// # Errors
    /// [`WormError::Store`].
    pub async fn sizes_from(&self, log_id: &str, size: u64) -> Result<Vec<u64>, WormError> {
        let before = match size.checked_sub(1) {
            Some(before) => self.place(log_id, before),
            None => self.log(log_id),
        };
        let listed: Vec<_> =
            self.store.list_with_offset(Some(&self.log(log_id)), &before).try_collect().await?;
        let mut sizes: Vec<u64> =
            listed.iter().filter_map(|object| object.location.filename()?.parse().ok()).collect();
        sizes.sort_unstable();
        Ok(sizes)
    }

    /// A copy.
    ///
    /// # Errors
    /// [`WormError::Store`].
    pub async fn read(&self, log_id: &str, size: u64) -> Result<Option<String>, WormError> {
        let part = GetOptions { range: Some((0..MAX_COPY).into()), ..GetOptions::default() };
        match self.store.get_opts(&self.place(log_id, size), part).await {
            Ok(found) => Ok(String::from_utf8(found.bytes().await?.to_vec()).ok()),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn log(&self, log_id: &str) -> Path {
        self.prefix.clone().join(log_id)
    }

    fn place(&self, log_id: &str, size: u64) -> Path {
        self.log(log_id).join(format!("{size:020}"))
    }
}

fn text(note: &str) -> Option<String> {
    Some(Note::parse_within(note.as_bytes(), usize::try_from(MAX_COPY).ok()?).ok()?.text().to_owned())
}
