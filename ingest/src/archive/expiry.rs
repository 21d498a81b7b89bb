//! What leaves the archive: shipments whose time is over there as well, and what a stop in between left behind.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use shared::absence::{AbsenceList, Lost};
use shared::event::{RetentionClass, Severity, TenantId, Timestamp};
use uuid::Uuid;

use super::{Archive, ArchiveError, Folder, PartName, by_shipment};
use crate::own::{OwnEvent, Recorder};
use crate::store::retention::{RunRow, note_run};
use crate::store::shipments::{self, ShipmentRow};
use crate::store::{self, StoreError, absences, holds, subjects};
use crate::view::time;

impl Archive {
    /// Deletes parts that no drop stands behind, as long as the database still holds their events, and those of shipments
    /// that are over. What the database knows nothing of is left alone and told.
    ///
    /// # Errors
    /// [`ArchiveError`]
    pub async fn sweep(&self, tenant: &str) -> Result<(), ArchiveError> {
        let folder = self.folder(tenant);
        let parts = folder.parts().await?;
        for part in &parts.older {
            folder.delete(&part.to_string()).await?;
        }
        if parts.newest.is_empty() {
            return Ok(());
        }
        let mut transaction = self.store.begin().await?;
        let known = shipments::list(&mut transaction, tenant).await?;
        store::commit(transaction).await?;
        for (shipment, parts) in by_shipment(parts.newest) {
            let row = known.iter().find(|row| row.shipment_id == shipment);
            let over = match row {
                Some(row) => row.expired_by.is_some(),
                None => self.is_redundant(tenant, &folder, &parts).await?,
            };
            if over {
                for part in parts {
                    folder.delete(&part.to_string()).await?;
                }
            } else if row.is_none() {
                tracing::warn!(tenant, %shipment, "the archive holds events that this database knows nothing of");
            }
        }
        Ok(())
    }

    /// Whether the database holds every event of these parts.
    async fn is_redundant(
        &self,
        tenant: &str,
        folder: &Folder,
        parts: &[PartName],
    ) -> Result<bool, ArchiveError> {
        for part in parts {
            let rows = folder.load(part).await?;
            for some in rows.chunks(1_000) {
                let events: Vec<_> = some.iter().map(|row| (row.filed_at, row.id)).collect();
                let there = shipments::still_there(&self.store, tenant, &events).await?;
                if usize::try_from(there) != Ok(events.len()) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Lets shipments go whose time in the archive is over, each with a record. While a hold is active, none goes. How many
    /// events went.
    ///
    /// # Errors
    /// [`ArchiveError`]
    pub async fn expire(
        &self,
        recorder: &Recorder,
        tenant: &TenantId,
        now: DateTime<Utc>,
    ) -> Result<u64, ArchiveError> {
        let Some(days) = self.keep_days else { return Ok(0) };
        let mut transaction = self.store.begin().await?;
        let held = !holds::active(&mut transaction, tenant.as_str()).await?.is_empty();
        let known = shipments::list(&mut transaction, tenant.as_str()).await?;
        store::commit(transaction).await?;
        let before = now - TimeDelta::days(i64::from(days));
        let mut gone = 0;
        for row in known.iter().filter(|row| row.expired_by.is_none() && row.newest_at <= before && !held) {
            gone += self.let_go(recorder, tenant, row, days, now).await?;
        }
        Ok(gone)
    }

    async fn let_go(
        &self,
        recorder: &Recorder,
        tenant: &TenantId,
        row: &ShipmentRow,
        days: u32,
        now: DateTime<Utc>,
    ) -> Result<u64, ArchiveError> {
        // An erasure must not write a part back that goes here.
        let mut lock = subjects::begin_removing(&self.store).await?;
        subjects::lock_removal(&mut lock, tenant.as_str()).await?;
        let folder = self.folder(tenant.as_str());
        let mut parts = by_shipment(folder.parts().await?.newest);
        let parts = parts.remove(&row.shipment_id).unwrap_or_default();
        let mut leaves = Vec::new();
        for part in &parts {
            leaves.extend(folder.load(part).await?.iter().map(|row| (row.log.0, row.leaf, Lost::EVENT)));
        }
        let list = AbsenceList::of(leaves);
        let record = recorder.record(vec![expiry_event(tenant, row, days, &list, now)]).await?;
        let record: Uuid = record.first().ok_or(StoreError::Damaged("record of an expiry"))?.uuid();
        let mut transaction = self.store.begin_as_keeper().await?;
        absences::insert(&mut transaction, tenant.as_str(), record, &list).await?;
        shipments::expire(&mut transaction, tenant.as_str(), row.shipment_id, record).await?;
        let run = RunRow {
            tenant_id: tenant.to_string(),
            month: row.month,
            what: "archive".to_owned(),
            class: row.class,
            ran_at: now,
            leaves: i64::try_from(list.leaves()).unwrap_or(i64::MAX),
            held: 0,
            record_id: Some(record).filter(|_| list.leaves() > 0),
        };
        note_run(&mut transaction, &run).await?;
        store::commit(transaction).await?;
        for part in parts {
            folder.delete(&part.to_string()).await?;
        }
        store::commit(lock).await?;
        tracing::info!(%tenant, shipment = %row.shipment_id, events = list.leaves(), "archived events went");
        Ok(list.leaves())
    }
}

fn expiry_event(
    tenant: &TenantId,
    row: &ShipmentRow,
    days: u32,
    list: &AbsenceList,
    now: DateTime<Utc>,
) -> OwnEvent {
    let month = row.month.format("%Y-%m").to_string();
    let event =
        OwnEvent::new(tenant, "RETENTION_DROP", "ingest/archive", Timestamp::from(now), "partition", &month);
    OwnEvent {
        severity: Severity::Warning,
        class: RetentionClass::Permanent,
        details: Some(json!({
            "what": "archive",
            "class": if row.class == 0 { "standard" } else { "critical" },
            "period_days": days,
            "received_before": time(now - TimeDelta::days(i64::from(days))),
            "shipment": row.shipment_id,
            "absence": {
                "sha256": hex::encode(list.hash()), "leaves": list.leaves(), "runs": list.runs().len(),
            },
        })),
        ..event
    }
}
