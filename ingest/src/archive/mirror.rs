//! The logs beside the events: what a verifier needs of them, copied once the records of the drops are under published heads.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shared::bundle::{
    ABSENCES, Kind, LogId, LogItem, MANIFEST, MAX_MANIFEST_LEN, Manifest, OPENINGS, OpeningLine,
    absence_path, checkpoint_path, previous_path, tile_path, tiles_of,
};
use shared::event::{TenantId, Timestamp};
use shared::tree::{TILE_WIDTH, TileRef};

use super::{Archive, ArchiveError, Folder};
use crate::clock::Clock;
use crate::ledger::{key, tiles};
use crate::store::log::{LogKey, LogRow};
use crate::store::{self, Store, StoreError, absences, log, log_keys, shipments};

/// How long a record is waited for, to be under a published head.
const TRIES: usize = 50;
const PAUSE: Duration = Duration::from_millis(200);

/// A log as it is published.
struct Head {
    item: LogItem,
    note: String,
    /// The head of the log before that its leaf 0 names.
    previous: Option<String>,
}

impl Archive {
    /// [`Self::mirror`], and again for a while if a record waits for its head. False if it still does.
    ///
    /// # Errors
    /// [`ArchiveError`]
    pub async fn mirror_soon(&self, tenant: &TenantId, clock: &Clock) -> Result<bool, ArchiveError> {
        for _ in 0..TRIES {
            if self.mirror(tenant, clock.now()).await? {
                return Ok(true);
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(false)
    }

    /// Brings a tenant's folder up to date, if something went to the archive or was removed since. False if a record waits
    /// for its head, so that it is to be tried again.
    ///
    /// # Errors
    /// [`ArchiveError`]
    pub async fn mirror(&self, tenant: &TenantId, now: Timestamp) -> Result<bool, ArchiveError> {
        let slug = tenant.as_str();
        let mut transaction = self.store.begin().await?;
        let shipped = !shipments::list(&mut transaction, slug).await?.is_empty();
        store::commit(transaction).await?;
        if !shipped {
            return Ok(true);
        }
        let folder = self.folder(slug);
        let lists = absences::raw(&self.store, slug, None).await?;
        let there: BTreeSet<String> = folder.list(ABSENCES).await?.into_iter().collect();
        let manifest = folder.manifest().await?;
        if manifest.is_some() && lists.iter().all(|(record, _)| there.contains(&absence_path(*record))) {
            return Ok(true);
        }
        let heads = self.heads(slug).await?;
        let records = shipments::records(&self.store, slug).await?;
        let covered = records.iter().all(|record| {
            let head = heads.iter().find(|head| head.item.log_id.to_string() == record.log_id);
            head.is_some_and(|head| u64::try_from(record.leaf).is_ok_and(|leaf| leaf < head.item.size))
        });
        if !covered || records.iter().filter(|record| record.has_list).count() < lists.len() {
            return Ok(false);
        }
        let sizes: BTreeMap<LogId, u64> =
            manifest.iter().flat_map(|manifest| &manifest.logs).map(|log| (log.log_id, log.size)).collect();
        for head in &heads {
            let before = sizes.get(&head.item.log_id).copied().unwrap_or(0);
            self.copy_tiles(&folder, slug, &head.item, before).await?;
            folder.put(&checkpoint_path(head.item.log_id), head.note.clone().into_bytes()).await?;
            if let Some(previous) = &head.previous {
                folder.put(&previous_path(head.item.log_id), previous.clone().into_bytes()).await?;
            }
        }
        let mut lines = String::new();
        for record in records {
            let log: LogId = record.log_id.parse().map_err(|_| StoreError::Damaged("id of a log"))?;
            let leaf = u64::try_from(record.leaf).map_err(|_| StoreError::Damaged("place in a log"))?;
            let line = OpeningLine {
                place: Some((log, leaf)),
                id: Some(record.id),
                opening: Some(record.opening),
                ..OpeningLine::default()
            };
            lines.push_str(&line.to_json());
        }
        folder.put(OPENINGS, lines.into_bytes()).await?;
        let manifest = Manifest {
            kind: Kind::Archive,
            tenant: tenant.clone(),
            made_at: now.to_string(),
            logs: heads.into_iter().map(|head| head.item).collect(),
        };
        folder.put(MANIFEST, manifest.to_json().into_bytes()).await?;
        // The lists come last: while one is missing, all of this is done again.
        for (record, list) in lists {
            let path = absence_path(record);
            if !there.contains(&path) {
                folder.put(&path, list).await?;
            }
        }
        Ok(true)
    }

    /// A tenant's logs that are published, the oldest first.
    async fn heads(&self, tenant: &str) -> Result<Vec<Head>, ArchiveError> {
        let mut logs = log::list(&self.store, Some(tenant)).await?;
        logs.sort_by_key(|log| (log.year, log.part));
        let mut heads = Vec::with_capacity(logs.len());
        for row in logs {
            if let Some((_, head)) = log::published(&self.store, &row.log_id).await? {
                let size = u64::try_from(head.size).unwrap_or(0);
                let (item, previous) = item(&self.store, &row, size).await?;
                heads.push(Head { item, note: head.note, previous });
            }
        }
        Ok(heads)
    }

    /// Copies what the head covers and is not there since the head before.
    async fn copy_tiles(
        &self,
        folder: &Folder,
        tenant: &str,
        log: &LogItem,
        before: u64,
    ) -> Result<(), ArchiveError> {
        let log_id = log.log_id.to_string();
        let full = |tile: &TileRef| u64::from(tile.width) == TILE_WIDTH;
        let there: BTreeSet<String> =
            tiles_of(before).filter(full).map(|tile| tile_path(log.log_id, tile)).collect();
        let mut wanted = BTreeSet::new();
        for tile in tiles_of(log.size) {
            let path = tile_path(log.log_id, tile);
            if !there.contains(&path) {
                let bytes =
                    tiles::read(&self.store, LogKey { tenant, log_id: &log_id }, tile, log.size).await?;
                folder.put(&path, bytes.ok_or(StoreError::Damaged("tile"))?).await?;
            }
            wanted.insert(path);
        }
        for tile in tiles_of(before).filter(|tile| !full(tile)) {
            let path = tile_path(log.log_id, tile);
            if !wanted.contains(&path) {
                folder.delete(&path).await?;
            }
        }
        Ok(())
    }
}

impl Folder {
    async fn manifest(&self) -> Result<Option<Manifest>, ArchiveError> {
        let bytes = self.file(MANIFEST, MAX_MANIFEST_LEN).await?;
        // One that cannot be read is written anew.
        Ok(bytes.and_then(|bytes| Manifest::parse(&bytes).ok()))
    }
}

async fn item(store: &Store, log: &LogRow, size: u64) -> Result<(LogItem, Option<String>), ArchiveError> {
    let damaged = || StoreError::Damaged("key of a log");
    let mut connection = store.begin().await?;
    let named = log_keys::of(&mut connection, &log.log_id).await?;
    let previous = log::succession(&mut connection, &log.log_id).await?;
    store::commit(connection).await?;
    let verifier = |public: &[u8]| key::verifier(&log.origin, public).ok_or_else(damaged);
    let key = verifier(&log.public_key)?;
    let others = named.iter().map(|named| verifier(&named.public_key)).collect::<Result<Vec<_>, _>>()?;
    let id = |text: &str| text.parse().map_err(|_| StoreError::Damaged("id of a log"));
    let (before, named) = previous.unzip();
    let item = LogItem {
        log_id: id(&log.log_id)?,
        origin: log.origin.clone(),
        others: others.into_iter().filter(|other| *other != key).collect(),
        key,
        size,
        previous: before.map(|log_id| id(&log_id)).transpose()?,
    };
    Ok((item, named))
}
