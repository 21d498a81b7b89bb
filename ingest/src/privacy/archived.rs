//! An erasure in the archive: part by part, the list of what is lost first, then the part anew without it.

use std::collections::HashSet;

use shared::absence::{AbsenceList, Lost};
use shared::event::{Event, TenantId};
use shared::leaf::Tag;
use uuid::Uuid;

use super::find::open;
use super::person::{Relation, Who, judge};
use super::{Privacy, PrivacyError};
use crate::archive::part::Row;
use crate::archive::{Archive, PartName};
use crate::store::erasures::{self, Request};
use crate::store::{self, absences, subjects};

impl Privacy {
    /// Removes whatever the archive holds of a person, and what it says of the events that say something of them.
    pub(super) async fn remove_archived(
        &self,
        tenant: &TenantId,
        request: &Request,
        who: &Who,
        spreads: &[Uuid],
    ) -> Result<(), PrivacyError> {
        let Some(archive) = &self.archive else { return Ok(()) };
        let spreads: HashSet<String> = spreads.iter().map(Uuid::to_string).collect();
        for part in archive.folder(tenant.as_str()).parts().await?.newest {
            self.remove_from(archive, tenant, request, &part, |event| theirs(event, who, &spreads)).await?;
        }
        archive.clear_older(tenant.as_str()).await?;
        Ok(())
    }

    async fn remove_from(
        &self,
        archive: &Archive,
        tenant: &TenantId,
        request: &Request,
        part: &PartName,
        theirs: impl Fn(&Event) -> Option<Theirs>,
    ) -> Result<(), PrivacyError> {
        let owner = tenant.as_str();
        // Two that write a part anew at the same time would bring back what the other took out.
        let mut lock = subjects::begin_removing(&self.store).await?;
        subjects::lock_removal(&mut lock, owner).await?;
        let Some(part) = archive.newest(owner, part).await? else { return Ok(()) };
        let rows = archive.folder(owner).load(&part).await?;
        let mut left = Vec::with_capacity(rows.len());
        let mut lost = Vec::new();
        for row in rows {
            let (opening, event) = open(&row.opening)?;
            let Some(found) = theirs(&event) else {
                left.push(row);
                continue;
            };
            if found.whole {
                lost.push((row.log.0, row.leaf, Lost::EVENT));
            } else if let Some(remnant) = opening.erase(&found.tags) {
                lost.push((row.log.0, row.leaf, Lost::fields(&found.tags)));
                let acted = found.tags.contains(&Tag::ACTOR);
                let stands =
                    if acted { request.pseudonym.clone().filter(|_| found.by) } else { row.pseudonym };
                left.push(Row { opening: remnant.encode(), pseudonym: stands, ..row });
            } else {
                left.push(row);
            }
        }
        if !lost.is_empty() {
            let events = i64::try_from(lost.len()).unwrap_or(i64::MAX);
            let list = AbsenceList::of(lost);
            let record = self.record(tenant, request, &list).await?;
            let mut transaction = subjects::begin_removing(&self.store).await?;
            absences::insert(&mut transaction, owner, record, &list).await?;
            let now = self.clock.now().to_utc();
            erasures::add_pass(&mut transaction, owner, request.id, record, events, now).await?;
            store::commit(transaction).await?;
            archive.replace(owner, &part, left).await?;
            metrics::counter!("edgetrail_erased_events_total").increment(list.leaves());
        }
        Ok(store::commit(lock).await?)
    }

    /// Shows the archive what was erased; should that fail, retention does it.
    pub(super) async fn mirror(&self, tenant: &TenantId) {
        let Some(archive) = &self.archive else { return };
        match archive.mirror_soon(tenant, &self.clock).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!(%tenant, "the record of an erasure waits for a published head"),
            Err(error) => tracing::warn!(%error, "the archive does not show an erasure yet"),
        }
    }
}

/// What of an archived event goes.
struct Theirs {
    whole: bool,
    tags: Vec<Tag>,
    by: bool,
}

fn theirs(event: &Event, who: &Who, spreads: &HashSet<String>) -> Option<Theirs> {
    let entity = event.entity.as_ref().filter(|entity| entity.kind.as_str() == "event");
    let said_later = event.request.host == "ingest"
        && entity.and_then(|entity| entity.id.as_ref()).is_some_and(|id| spreads.contains(id));
    let free = if said_later { vec![Tag::DETAILS, Tag::CHANGES] } else { Vec::new() };
    match judge(event, who) {
        Some(finding) => Some(Theirs {
            whole: finding.whole,
            by: finding.relation == Relation::Actor,
            tags: [finding.tags, free].concat(),
        }),
        None if said_later => Some(Theirs { whole: false, by: false, tags: free }),
        None => None,
    }
}
