//! The archive: what retention drops from the database goes there first, if one is configured, and can still be verified.
//!
//! It is a bundle that grows ([`shared::bundle`], kind `archive`), one folder for each tenant in object storage:
//!
//! ```text
//! {tenant}/manifest.json, logs/…, absences/…    the logs as far as they are published, and the lists of absences
//! {tenant}/openings.ndjson                      the openings of the records that these lists belong to
//! {tenant}/months/2026-10/{shipment}/{log}-{first leaf}.{revision}.parquet
//!                                               events of one class that one look at the month let go
//! ```
//!
//! Events are shipped ([`ship`]), read back, and only then dropped; the record of the drop names the shipment. The logs follow
//! once the record is under a published head ([`mirror`]). What an erasure takes out of a part is written as the part's next
//! revision, and the one before is deleted ([`scrub`]). The storage itself says which parts there are.

pub mod expiry;
pub mod mirror;
pub mod part;
pub mod scrub;
pub mod ship;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use chrono::NaiveDate;
use futures_util::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};
use shared::bundle::LogId;
use uuid::Uuid;

use crate::config;
use crate::own::OwnError;
use crate::storage::{self, Opened, StorageError};
use crate::store::{Store, StoreError};
use part::{MAX_PART_LEN, PartError, Row};

/// The folder of a tenant's months.
pub const MONTHS: &str = "months";

/// Why something about the archive was not done.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The configuration does not lead to a store.
    #[error("archive.url: {0}")]
    Config(#[from] StorageError),
    /// The storage did not answer, or refused.
    #[error("the archive's storage: {0}")]
    Storage(#[from] object_store::Error),
    /// A part.
    #[error("{path}: {source}")]
    Part {
        /// Which.
        path: String,
        /// What is wrong with it.
        source: PartError,
    },
    /// The storage said yes and does not hold what was given to it.
    #[error("{0}: the archive's storage does not hold what was just written")]
    NotKept(String),
    /// What is to be dropped and what was shipped are not the same events.
    #[error("the month changed while it was shipped")]
    Changed,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The record.
    #[error(transparent)]
    Own(#[from] OwnError),
}

/// One revision of a part, as its path says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartName {
    /// The month of its events.
    pub month: NaiveDate,
    /// With which it came.
    pub shipment: Uuid,
    /// The log of its events.
    pub log: LogId,
    /// Its first leaf.
    pub first: u64,
    /// How often values were taken out of it.
    pub revision: u32,
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let month = self.month.format("%Y-%m");
        write!(
            f,
            "{MONTHS}/{month}/{}/{}-{:012}.{}.parquet",
            self.shipment, self.log, self.first, self.revision
        )
    }
}

impl PartName {
    /// Reads a path below a tenant's folder; nothing if it is no part's.
    pub fn parse(path: &str) -> Option<Self> {
        let mut steps = path.strip_prefix(MONTHS)?.strip_prefix('/')?.split('/');
        let month = NaiveDate::parse_from_str(&format!("{}-01", steps.next()?), "%Y-%m-%d").ok()?;
        let shipment = steps.next()?.parse().ok()?;
        let (log, rest) = steps.next()?.split_once('-')?;
        let (first, rest) = rest.split_once('.')?;
        let (revision, kind) = rest.split_once('.')?;
        let name = Self {
            month,
            shipment,
            log: log.parse().ok()?,
            first: first.parse().ok()?,
            revision: revision.parse().ok()?,
        };
        (kind == "parquet" && steps.next().is_none() && name.to_string() == path).then_some(name)
    }

    /// The same part after values were taken out of it.
    fn next(&self) -> Self {
        Self { revision: self.revision + 1, ..self.clone() }
    }
}

/// Parts with their older revisions, which are on their way out.
#[derive(Debug, Default)]
pub struct Parts {
    /// The newest revision of each, by month, shipment, log and first leaf.
    pub newest: Vec<PartName>,
    /// The others.
    pub older: Vec<PartName>,
}

/// A tenant's folder in the storage.
#[derive(Debug, Clone)]
pub struct Folder {
    storage: Arc<dyn ObjectStore>,
    root: Path,
}

impl Folder {
    /// The folder that a place in the storage is.
    pub fn at(opened: &Opened) -> Self {
        Self { storage: Arc::clone(&opened.store), root: opened.prefix.clone() }
    }

    /// The parts that are there.
    ///
    /// # Errors
    /// [`ArchiveError::Storage`]
    pub async fn parts(&self) -> Result<Parts, ArchiveError> {
        self.parts_below(MONTHS).await
    }

    /// The parts of a shipment.
    ///
    /// # Errors
    /// [`ArchiveError::Storage`]
    pub async fn parts_of(&self, month: NaiveDate, shipment: Uuid) -> Result<Parts, ArchiveError> {
        self.parts_below(&format!("{MONTHS}/{}/{shipment}", month.format("%Y-%m"))).await
    }

    async fn parts_below(&self, folder: &str) -> Result<Parts, ArchiveError> {
        let mut all: Vec<PartName> =
            self.list(folder).await?.iter().filter_map(|path| PartName::parse(path)).collect();
        all.sort_unstable();
        let mut parts = Parts::default();
        for name in all {
            let same = |last: &PartName| {
                (last.month, last.shipment, last.log, last.first)
                    == (name.month, name.shipment, name.log, name.first)
            };
            if let Some(before) = parts.newest.pop_if(|last| same(last)) {
                parts.older.push(before);
            }
            parts.newest.push(name);
        }
        Ok(parts)
    }

    /// The events of a part.
    ///
    /// # Errors
    /// [`ArchiveError`]
    pub async fn load(&self, name: &PartName) -> Result<Vec<Row>, ArchiveError> {
        let path = name.to_string();
        let wrong = |source| ArchiveError::Part { path: path.clone(), source };
        let found = self.storage.get(&self.path(&path)).await?;
        if found.meta.size > MAX_PART_LEN {
            return Err(wrong(PartError::Parquet(format!("{} bytes are over the limit", found.meta.size))));
        }
        let bytes = found.bytes().await?.to_vec();
        let read = tokio::task::spawn_blocking(move || part::read(bytes)).await;
        read.expect("panics are caught").map_err(wrong)
    }

    /// The bytes of a file; of one over the limit, as much as shows that. Nothing if it is not there.
    ///
    /// # Errors
    /// [`ArchiveError::Storage`]
    pub async fn file(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, ArchiveError> {
        match self.storage.get(&self.path(path)).await {
            Ok(found) => {
                let end = found.meta.size.min(limit as u64 + 1);
                if end == found.meta.size {
                    return Ok(Some(found.bytes().await?.to_vec()));
                }
                Ok(Some(self.storage.get_range(&self.path(path), 0..end).await?.to_vec()))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The paths of the files below a folder of it.
    ///
    /// # Errors
    /// [`ArchiveError::Storage`]
    pub async fn list(&self, below: &str) -> Result<Vec<String>, ArchiveError> {
        let folder = self.path(below);
        let root = self.root.parts().count();
        let relative = |path: &Path| {
            path.parts().skip(root).map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/")
        };
        let found: Vec<_> = self.storage.list(Some(&folder)).try_collect().await?;
        Ok(found.iter().map(|object| relative(&object.location)).collect())
    }

    async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<(), ArchiveError> {
        self.storage.put(&self.path(path), PutPayload::from(bytes)).await?;
        Ok(())
    }

    /// Writes a file and reads it back: storage that says yes may still have lost it.
    async fn keep(&self, path: &str, bytes: Vec<u8>) -> Result<(), ArchiveError> {
        let bytes = bytes::Bytes::from(bytes);
        self.storage.put(&self.path(path), PutPayload::from(bytes.clone())).await?;
        let kept = self.storage.get(&self.path(path)).await?.bytes().await?;
        if kept == bytes { Ok(()) } else { Err(ArchiveError::NotKept(path.to_owned())) }
    }

    async fn delete(&self, path: &str) -> Result<(), ArchiveError> {
        match self.storage.delete(&self.path(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn path(&self, path: &str) -> Path {
        path.split('/').fold(self.root.clone(), Path::join)
    }
}

/// The archive of an installation.
#[derive(Debug, Clone)]
pub struct Archive {
    opened: Opened,
    keep_days: Option<u32>,
    store: Store,
}

impl Archive {
    /// The configured archive.
    ///
    /// # Errors
    /// [`ArchiveError::Config`]
    pub fn open(config: &config::Archive, store: Store) -> Result<Self, ArchiveError> {
        Ok(Self { opened: storage::open(&config.storage)?, keep_days: config.keep_days, store })
    }

    /// A tenant's folder.
    pub fn folder(&self, tenant: &str) -> Folder {
        Folder { storage: Arc::clone(&self.opened.store), root: self.opened.prefix.clone().join(tenant) }
    }
}

/// Parts by their shipment.
fn by_shipment(parts: Vec<PartName>) -> BTreeMap<Uuid, Vec<PartName>> {
    let mut shipments: BTreeMap<Uuid, Vec<PartName>> = BTreeMap::new();
    for part in parts {
        shipments.entry(part.shipment).or_default().push(part);
    }
    shipments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_told_by_its_path_and_nothing_else_is_a_part() {
        let path =
            format!("months/2026-10/{}/{}-000000000007.2.parquet", Uuid::from_u128(9), "ab".repeat(16));
        let name = PartName::parse(&path).expect("a part");
        assert_eq!((name.first, name.revision, name.to_string()), (7, 2, path.clone()));
        for other in [
            path.replace("2026-10", "2026-13"),
            path.replace(".2.", ".02."),
            path.replace("parquet", "csv"),
            path.replace("months/", ""),
            format!("{path}/x"),
            "months".to_owned(),
        ] {
            assert_eq!(PartName::parse(&other), None, "{other}");
        }
    }
}
