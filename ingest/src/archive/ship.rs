//! Out of a month into the archive: what is about to be dropped, part by part, each read back.

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use shared::absence::{AbsenceList, CONTEXT, Lost};
use shared::bundle::LogId;
use shared::leaf::{StoredOpening, Tag};
use uuid::Uuid;

use super::part::{self, FULL, MAX_ROWS, Row};
use super::{Archive, ArchiveError, Folder, PartName};
use crate::clock::random;
use crate::store::shipments::{self, Leave, Leaving, ShipmentRow};
use crate::store::{self, StoreError};

/// Events that lie in the archive and are still in the database.
#[derive(Debug)]
pub struct Shipment {
    /// As it is kept once they are dropped.
    pub row: ShipmentRow,
    /// Their leaves, as the record of their drop names them.
    pub leaves: AbsenceList,
}

impl Archive {
    /// Ships events. Nothing is dropped here.
    ///
    /// # Errors
    /// [`ArchiveError`]; the parts that were written are found and deleted later.
    pub async fn ship(&self, leave: Leave<'_>, now: DateTime<Utc>) -> Result<Option<Shipment>, ArchiveError> {
        let millis = u64::try_from(now.timestamp_millis()).unwrap_or(0);
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &random()).into_uuid();
        let mut loading =
            Loading { folder: self.folder(leave.tenant), leave, id, rows: Vec::new(), size: 0, bytes: 0 };
        let mut newest = None;
        let mut leaves = Vec::new();
        let mut transaction = self.store.begin_as_keeper().await?;
        let mut leaving = shipments::leaving(&mut transaction, leave);
        while let Some(event) = leaving.try_next().await? {
            newest = newest.max(Some(event.received_at));
            let row = row(event)?;
            leaves.push((row.log.0, row.leaf, Lost::EVENT));
            loading.add(row).await?;
        }
        drop(leaving);
        store::commit(transaction).await?;
        let Some(newest_at) = newest else { return Ok(None) };
        let bytes = loading.unload().await?;
        let row = ShipmentRow {
            tenant_id: leave.tenant.to_owned(),
            shipment_id: id,
            month: leave.month,
            class: leave.class,
            events: i64::try_from(leaves.len()).unwrap_or(i64::MAX),
            bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
            newest_at,
            shipped_at: now,
            expired_by: None,
        };
        Ok(Some(Shipment { row, leaves: AbsenceList::of(leaves) }))
    }

    /// Takes a shipment back whose events stay in the database after all.
    ///
    /// # Errors
    /// [`ArchiveError::Storage`]; what is left is found and deleted later.
    pub async fn take_back(&self, shipment: &ShipmentRow) -> Result<(), ArchiveError> {
        let folder = self.folder(&shipment.tenant_id);
        let parts = folder.parts_of(shipment.month, shipment.shipment_id).await?;
        for part in [parts.newest, parts.older].concat() {
            folder.delete(&part.to_string()).await?;
        }
        Ok(())
    }
}

fn row(event: Leaving) -> Result<Row, ArchiveError> {
    let damaged = |what| ArchiveError::Store(StoreError::Damaged(what));
    let stored = StoredOpening::decode(&event.opening).map_err(|_| damaged("event"))?;
    let anonymous = stored.erased().contains(&Tag::ACTOR);
    let opening = stored.erase(&CONTEXT).map_or(event.opening, |remnant| remnant.encode());
    Ok(Row {
        log: event.log_id.parse::<LogId>().map_err(|_| damaged("id of a log"))?,
        leaf: u64::try_from(event.leaf).map_err(|_| damaged("place in a log"))?,
        id: event.id,
        received_at: event.received_at,
        filed_at: event.filed_at,
        batch_id: event.batch_id,
        position: event.position,
        pseudonym: event.actor_id.filter(|_| anonymous),
        opening,
    })
}

/// A part that is being filled.
struct Loading<'a> {
    folder: Folder,
    leave: Leave<'a>,
    id: Uuid,
    rows: Vec<Row>,
    size: usize,
    bytes: u64,
}

impl Loading<'_> {
    async fn add(&mut self, row: Row) -> Result<(), ArchiveError> {
        let full = self.rows.len() >= MAX_ROWS || self.size >= FULL;
        if full || self.rows.last().is_some_and(|last| last.log != row.log) {
            self.flush().await?;
        }
        self.size += row.opening.len();
        self.rows.push(row);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ArchiveError> {
        let rows = std::mem::take(&mut self.rows);
        self.size = 0;
        let Some(first) = rows.first() else { return Ok(()) };
        let name = PartName {
            month: self.leave.month,
            shipment: self.id,
            log: first.log,
            first: first.leaf,
            revision: 0,
        };
        self.bytes += self.folder.keep_part(&name, rows).await?;
        Ok(())
    }

    async fn unload(mut self) -> Result<u64, ArchiveError> {
        self.flush().await?;
        Ok(self.bytes)
    }
}

impl Folder {
    /// Writes a part and reads it back. How many bytes it takes.
    pub(super) async fn keep_part(&self, name: &PartName, rows: Vec<Row>) -> Result<u64, ArchiveError> {
        let written = tokio::task::spawn_blocking(move || part::write(&rows)).await;
        let path = name.to_string();
        let bytes = written.expect("writing a part does not panic");
        let bytes = bytes.map_err(|source| ArchiveError::Part { path: path.clone(), source })?;
        let size = bytes.len() as u64;
        self.keep(&path, bytes).await?;
        Ok(size)
    }
}
