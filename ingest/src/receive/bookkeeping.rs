//! What new batches say about their streams and about announced acts, kept in the transaction that stores them.
//!
//! Only what was stored counts, and nothing here may cost a batch: a claim that is no id or no action is passed over.

use std::collections::{BTreeMap, HashSet};

use shared::event::{Action, Event, EventId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::examine::Prepared;
use crate::store::StoreError;
use crate::store::intents::{self, Intent};
use crate::store::streams::{self, Arrival};

/// The action of an event that announces an act.
const ANNOUNCEMENT: &str = "INTENT_RECORDED";
/// Details are compact JSON: only those with these bytes are looked into.
const MEMBER: &str = "\"intent\":\"";

/// Keeps the books of new batches, those events excepted that went to quarantine.
pub(super) async fn keep(
    connection: &mut PgConnection,
    new: &[(i64, &Prepared)],
    quarantined: &HashSet<(i64, i16)>,
) -> Result<(), StoreError> {
    if new.is_empty() {
        return Ok(());
    }
    streams::add(connection, &arrivals(new)).await?;
    let drops: Vec<_> = new
        .iter()
        .map(|(_, batch)| &batch.row)
        .filter(|row| row.dropped > 0)
        .map(|row| (row.tenant.as_str(), row.stream.as_slice(), row.seq, row.dropped))
        .collect();
    if !drops.is_empty() {
        streams::queue_drops(connection, &drops).await?;
    }
    let intents = intents(new, quarantined);
    if !intents.is_empty() {
        intents::merge(connection, &intents).await?;
    }
    Ok(())
}

fn arrivals<'a>(new: &[(i64, &'a Prepared)]) -> Vec<Arrival<'a>> {
    let mut arrivals: BTreeMap<(&str, &[u8]), Arrival<'a>> = BTreeMap::new();
    for (_, batch) in new {
        let row = &batch.row;
        let one = Arrival {
            tenant: &row.tenant,
            stream: &row.stream,
            first_seq: row.seq,
            high_seq: row.seq,
            batches: 1,
            events: i64::from(row.count),
            dropped: row.dropped,
            first_at: row.received_at,
            last_at: row.received_at,
        };
        arrivals
            .entry((&row.tenant, &row.stream))
            .and_modify(|all| {
                all.first_seq = all.first_seq.min(one.first_seq);
                all.high_seq = all.high_seq.max(one.high_seq);
                all.batches += 1;
                all.events += one.events;
                all.dropped = all.dropped.saturating_add(one.dropped);
                all.first_at = all.first_at.min(one.first_at);
                all.last_at = all.last_at.max(one.last_at);
            })
            .or_insert(one);
    }
    arrivals.into_values().collect()
}

fn intents(new: &[(i64, &Prepared)], quarantined: &HashSet<(i64, i16)>) -> Vec<Intent> {
    let mut intents: BTreeMap<(&str, Uuid), Intent> = BTreeMap::new();
    for (id, batch) in new {
        let tenant = batch.row.tenant.as_str();
        let stored = batch.good.iter().filter(|row| !quarantined.contains(&(*id, row.position)));
        for event in stored.map(|row| &row.event) {
            let announces = event.action.as_str() == ANNOUNCEMENT;
            let Some(id) = (if announces { Some(event.id.uuid()) } else { kept(event) }) else { continue };
            let intent = intents.entry((tenant, id)).or_insert_with(|| Intent {
                tenant: tenant.to_owned(),
                id,
                action: None,
                opened_at: None,
                closed_at: None,
                orphaned_at: None,
            });
            if announces {
                intent.action = announced(event);
                intent.opened_at = Some(batch.row.received_at);
            } else {
                intent.closed_at = Some(batch.row.received_at);
            }
        }
    }
    intents.into_values().collect()
}

/// The act that is announced.
fn announced(event: &Event) -> Option<String> {
    let details = event.details.as_ref()?.value();
    let action = details.get("action")?.as_str()?.to_owned();
    Action::try_from(action).ok().map(|action| action.as_str().to_owned())
}

/// The announcement an event keeps.
fn kept(event: &Event) -> Option<Uuid> {
    let details = event.details.as_ref().filter(|details| details.as_str().contains(MEMBER))?.value();
    let id: Uuid = details.get("intent")?.as_str()?.parse().ok()?;
    EventId::try_from(id).ok().map(EventId::uuid)
}
