//! The job: looks at every month that is due, records what goes, and lets it go.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde_json::json;
use shared::absence::{AbsenceList, CONTEXT, Lost, Run};
use shared::event::{RetentionClass, Severity, TenantId, Timestamp};
use shared::leaf::{StoredOpening, Tag};
use tokio::sync::watch;
use uuid::Uuid;

use super::periods::cutoff;
use super::plan::{Look, end_of, limits, looks, since};
use super::{Periods, Retention, RetentionError};
use crate::own::{OwnEvent, outbox};
use crate::store::retention::RunRow;
use crate::store::shipments::{Leave, ShipmentRow};
use crate::store::swap::{self, Copied, Gone, Kept, Limits, Outcome, Source, Swapped};
use crate::store::{StoreError, alerts, executions, partitions, retention, saved};
use crate::view::time;

/// What may be due at all: no period is shorter.
const YOUNGEST: TimeDelta = TimeDelta::days(7);
/// Copies of a month that went stale before they could take its place.
const COPIES: usize = 3;
/// Attempts to take a month's place while others read and write it.
const ATTEMPTS: usize = 100;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(700);
/// Runs of one list; a verifier reads two million.
const RUNS_PER_LIST: usize = 1_000_000;

/// A month that was swapped.
#[derive(Debug, Clone)]
pub struct Done {
    /// The month.
    pub month: NaiveDate,
    /// Events that went.
    pub dropped: u64,
    /// Events that stay without their context.
    pub context: u64,
    /// Events in the month now.
    pub kept: u64,
    /// How long nobody else could read or write.
    pub exclusive: Duration,
    /// How long it took to account for what goes: the lists of leaves, their records.
    pub accounting: Duration,
    /// All of it.
    pub took: Duration,
}

/// One tenant's part of a month.
#[derive(Debug)]
struct Part {
    tenant: TenantId,
    looks: Vec<Look>,
}

/// Looks at what is due every so often, until it is stopped.
pub async fn run(retention: Retention, every: Duration, mut stop: watch::Receiver<bool>) {
    loop {
        if let Err(error) = retention.pass().await {
            tracing::error!(%error, "retention did not come to its end, trying again later");
            metrics::counter!("edgetrail_retention_failures_total").increment(1);
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

impl Retention {
    /// Records what waits to be recorded and does what is due, unless another process is at it. The months that were
    /// swapped.
    ///
    /// # Errors
    /// [`RetentionError`]; months that came before it in time are done.
    pub async fn pass(&self) -> Result<Vec<Done>, RetentionError> {
        outbox::record(&self.store, &self.recorder).await?;
        let mut lead = self.store.begin_as_keeper().await?;
        if !retention::try_lead(&mut lead).await? {
            return Ok(Vec::new());
        }
        let now = self.now();
        let waiting = retention::unsequenced(&mut lead, now - YOUNGEST).await?;
        let mut tenants = Vec::new();
        for tenant in retention::tenants(&mut lead).await? {
            if waiting.contains(&tenant) {
                tracing::error!(tenant, "the log is days behind: nothing of the tenant's is dropped");
                continue;
            }
            let periods = self.in_force(&mut lead, &tenant).await?;
            self.clear(&tenant, periods).await?;
            if let Some(archive) = &self.archive {
                archive.sweep(&tenant).await?;
            }
            tenants.push((tenant, periods));
        }
        let mut done = Vec::new();
        let months = partitions::months(&mut lead).await?;
        for month in months.into_iter().filter(|month| end_of(*month) <= now - YOUNGEST) {
            let mut parts = Vec::new();
            for (tenant, periods) in &tenants {
                let looks = self.due(tenant, *periods, month, now).await?;
                let tenant = TenantId::try_from(tenant.clone()).map_err(|_| StoreError::Damaged("tenant"))?;
                if !looks.is_empty() {
                    parts.push(Part { tenant, looks });
                }
            }
            if !parts.is_empty() {
                done.extend(self.month(month, &parts, now).await?);
            }
        }
        for (tenant, _) in tenants {
            let tenant = TenantId::try_from(tenant).map_err(|_| StoreError::Damaged("tenant"))?;
            self.keep_archive(&tenant).await?;
        }
        // Holds the lock until here.
        drop(lead);
        Ok(done)
    }

    /// Lets go what is over in the archive, and brings the logs there up to date.
    async fn keep_archive(&self, tenant: &TenantId) -> Result<(), RetentionError> {
        let Some(archive) = &self.archive else { return Ok(()) };
        archive.expire(&self.recorder, tenant, self.now()).await?;
        if archive.mirror_soon(tenant, &self.clock).await? {
            return Ok(());
        }
        tracing::warn!(%tenant, "records of drops wait for a published head, the archive's logs follow later");
        Ok(())
    }

    async fn clear(&self, tenant: &str, periods: Periods) -> Result<(), RetentionError> {
        let mut transaction = self.store.begin_as_keeper().await?;
        let before = cutoff(self.now(), periods.standard_days);
        let rows = retention::clear(&mut transaction, tenant, before).await?;
        let searches = saved::expire(&mut transaction, tenant, before).await?;
        let of_alerts = (before, cutoff(self.now(), periods.critical_days));
        let alerts = alerts::expire(&mut transaction, tenant, of_alerts).await?;
        let runs = executions::expire(&mut transaction, tenant, before).await?;
        crate::store::commit(transaction).await?;
        if rows > 0 || searches > 0 || alerts > 0 || runs > 0 {
            tracing::info!(
                tenant,
                rows,
                searches,
                alerts,
                runs,
                "what is kept beside events that are gone went too"
            );
        }
        Ok(())
    }

    /// What of a month to look at closely. A look that finds nothing is noted.
    async fn due(
        &self,
        tenant: &str,
        periods: Periods,
        month: NaiveDate,
        now: DateTime<Utc>,
    ) -> Result<Vec<Look>, RetentionError> {
        let mut looks = looks(periods, month, now);
        if looks.is_empty() {
            return Ok(looks);
        }
        let mut transaction = self.store.begin_as_keeper().await?;
        let runs = retention::runs_since(&mut transaction, tenant, since(now)).await?;
        let changed = [
            retention::last_release(&mut transaction, tenant).await?,
            retention::in_force(&mut transaction, tenant, now).await?.and_then(|row| row.effective_at),
        ];
        let changed = changed.into_iter().flatten().max();
        looks.retain(|look| !look.was_done(month, &runs, changed));
        let mut due = Vec::new();
        for look in looks {
            if swap::anything(&mut transaction, &limits(tenant, &[look]), month).await? {
                due.push(look);
            } else {
                let run = run_row(tenant, month, look, now, 0, None);
                retention::note_run(&mut transaction, &run).await?;
            }
        }
        crate::store::commit(transaction).await?;
        Ok(due)
    }

    async fn month(
        &self,
        month: NaiveDate,
        parts: &[Part],
        now: DateTime<Utc>,
    ) -> Result<Option<Done>, RetentionError> {
        let started = std::time::Instant::now();
        for attempt in 0..COPIES {
            // A list that did not agree is not asked again.
            let source = if attempt == 0 { Source::List } else { Source::Events };
            let limits: Vec<Limits> =
                parts.iter().map(|part| limits(part.tenant.as_str(), &part.looks)).collect();
            let (copied, context) = self.copy(month, limits, source).await?;
            let recording = std::time::Instant::now();
            let losses = losses(&copied, context)?;
            let Some(shipments) = self.ship(month, parts, &losses, now).await? else { continue };
            let (outcome, dropped, context) =
                self.record(month, parts, losses, shipments, &copied, now).await?;
            let accounting = copied.found_in + recording.elapsed();
            if outcome.lists.is_empty() {
                swap::discard(&self.store, &copied, &outcome).await?;
                return Ok(None);
            }
            if let Some(exclusive) = self.swap(&copied, &outcome).await? {
                let kept = u64::try_from(copied.kept).unwrap_or(0);
                let took = started.elapsed();
                tracing::info!(%month, dropped, context, kept, ?exclusive, ?took, "a month was swapped");
                metrics::counter!("edgetrail_retention_dropped_events_total").increment(dropped);
                metrics::counter!("edgetrail_retention_cleared_contexts_total").increment(context);
                return Ok(Some(Done { month, dropped, context, kept, exclusive, accounting, took }));
            }
            self.take_back(outcome.shipments.iter()).await?;
            tracing::info!(%month, "the month changed while it was copied, copying it again");
        }
        tracing::warn!(%month, "the month changes all the time, it is left for later");
        Ok(None)
    }

    /// Copies what stays. The leaves that lose their context, by tenant.
    async fn copy(
        &self,
        month: NaiveDate,
        limits: Vec<Limits>,
        source: Source,
    ) -> Result<(Copied, BTreeMap<String, Vec<Run>>), RetentionError> {
        let some_context = limits.iter().any(|limits| limits.context.is_some());
        let mut copying = swap::begin(&self.store, month, limits, source).await?;
        copying.copy_whole().await?;
        let mut lost: BTreeMap<String, Vec<Run>> = BTreeMap::new();
        if some_context && copying.something_stays() {
            copying.open_due().await?;
            loop {
                let due = copying.next_due().await?;
                if due.is_empty() {
                    break;
                }
                let mut kept = Vec::with_capacity(due.len());
                for mut event in due {
                    let opening = StoredOpening::decode(&event.opening)
                        .map_err(|_| StoreError::Damaged("opening of an event"))?;
                    let there: Vec<Tag> = opening.fields().iter().map(|field| field.tag).collect();
                    let remnant = event.leaf.as_ref().zip(opening.erase(&CONTEXT));
                    let cleared = remnant.is_some();
                    if let Some(((log, index), remnant)) = remnant {
                        let tags: Vec<Tag> = CONTEXT.into_iter().filter(|tag| there.contains(tag)).collect();
                        let run = Run {
                            log: log_id(log)?,
                            first: place(*index)?,
                            count: 1,
                            lost: Lost::fields(&tags),
                        };
                        lost.entry(event.tenant.clone()).or_default().push(run);
                        event.opening = remnant.encode();
                    }
                    kept.push(Kept { event, cleared });
                }
                copying.copy_due(kept).await?;
            }
        }
        Ok((copying.finish().await?, lost))
    }

    /// Archives what goes, if there is an archive; none if that is not any more what was found to go.
    async fn ship(
        &self,
        month: NaiveDate,
        parts: &[Part],
        losses: &BTreeMap<(String, i16), Vec<Run>>,
        now: DateTime<Utc>,
    ) -> Result<Option<Vec<ShipmentRow>>, RetentionError> {
        let mut shipped = Vec::new();
        let Some(archive) = &self.archive else { return Ok(Some(shipped)) };
        for part in parts {
            for look in part.looks.iter().filter(|look| look.class >= 0) {
                let tenant = part.tenant.as_str();
                let goes = losses.get(&(tenant.to_owned(), look.class)).cloned().unwrap_or_default();
                if goes.is_empty() {
                    continue;
                }
                let leave = Leave { tenant, month, class: look.class, before: look.cutoff };
                let shipment = archive.ship(leave, now).await?;
                let same = shipment.as_ref().is_some_and(|it| it.leaves == AbsenceList::of_runs(goes));
                shipped.extend(shipment.map(|shipment| shipment.row));
                if !same {
                    self.take_back(shipped.iter()).await?;
                    return Ok(None);
                }
            }
        }
        Ok(Some(shipped))
    }

    async fn take_back(&self, shipments: impl Iterator<Item = &ShipmentRow>) -> Result<(), RetentionError> {
        let Some(archive) = &self.archive else { return Ok(()) };
        for shipment in shipments {
            archive.take_back(shipment).await?;
        }
        Ok(())
    }

    /// Records what goes; when it returns the records are durable.
    async fn record(
        &self,
        month: NaiveDate,
        parts: &[Part],
        mut losses: BTreeMap<(String, i16), Vec<Run>>,
        shipments: Vec<ShipmentRow>,
        copied: &Copied,
        now: DateTime<Utc>,
    ) -> Result<(Outcome, u64, u64), RetentionError> {
        let mut outcome = Outcome::default();
        let (mut dropped, mut context) = (0, 0);
        let mut events = Vec::new();
        let mut about = Vec::new();
        for part in parts {
            let tenant = part.tenant.as_str();
            for look in &part.looks {
                let held = copied.held(tenant, look.class);
                let lost = losses.remove(&(tenant.to_owned(), look.class)).unwrap_or_default();
                if lost.is_empty() {
                    outcome.runs.push(run_row(tenant, month, *look, now, held, None));
                }
                let archive = shipments.iter().find(|it| it.tenant_id == tenant && it.class == look.class);
                let archive = archive.map(|shipment| shipment.shipment_id);
                let lost = AbsenceList::of_runs(lost);
                *(if look.class < 0 { &mut context } else { &mut dropped }) += lost.leaves();
                for runs in lost.runs().chunks(RUNS_PER_LIST) {
                    let list = AbsenceList::of_runs(runs.to_vec());
                    events.push(drop_event(&part.tenant, month, *look, held, archive, &list, now));
                    about.push((part, *look, held, list));
                }
            }
        }
        outcome.shipments = shipments;
        let records = self.recorder.record(events).await?;
        let mut leaves: BTreeMap<(&str, i16), (i64, Uuid)> = BTreeMap::new();
        for ((part, look, held, list), record) in about.into_iter().zip(records) {
            let tenant = part.tenant.as_str();
            let count = i64::try_from(list.leaves()).unwrap_or(i64::MAX);
            match leaves.entry((tenant, look.class)) {
                std::collections::btree_map::Entry::Vacant(first) => {
                    first.insert((count, record.uuid()));
                    outcome.runs.push(run_row(tenant, month, look, now, held, Some((count, record.uuid()))));
                }
                std::collections::btree_map::Entry::Occupied(more) => {
                    let (_, first) = more.get();
                    let run = outcome.runs.iter_mut().find(|run| run.record_id == Some(*first));
                    run.into_iter().for_each(|run| run.leaves += count);
                }
            }
            outcome.lists.push((tenant.to_owned(), record.uuid(), list));
        }
        Ok((outcome, dropped, context))
    }

    /// Puts the copy in place; none if it went stale.
    async fn swap(&self, copied: &Copied, outcome: &Outcome) -> Result<Option<Duration>, RetentionError> {
        for _ in 0..ATTEMPTS {
            match swap::swap(&self.store, copied, outcome).await? {
                Swapped::Done(exclusive) => return Ok(Some(exclusive)),
                Swapped::Changed => return Ok(None),
                Swapped::Busy => tokio::time::sleep(ATTEMPT_PAUSE).await,
            }
        }
        Ok(None)
    }
}

/// The leaves that lose something, by tenant and class; -1 for context.
fn losses(
    copied: &Copied,
    context: BTreeMap<String, Vec<Run>>,
) -> Result<BTreeMap<(String, i16), Vec<Run>>, StoreError> {
    let mut losses: BTreeMap<(String, i16), Vec<Run>> = BTreeMap::new();
    for gone in &copied.gone {
        let runs = losses.entry((gone.tenant.clone(), gone.class)).or_default();
        let before = runs.len();
        runs.extend(runs_of(gone)?);
        let leaves: i64 = runs[before..].iter().map(|run| i64::from(run.count)).sum();
        if leaves != gone.count {
            return Err(StoreError::Damaged("place of an event in its batch"));
        }
    }
    losses.extend(context.into_iter().map(|(tenant, runs)| ((tenant, -1), runs)));
    Ok(losses)
}

/// The runs of neighbouring positions of a batch.
fn runs_of(gone: &Gone) -> Result<Vec<Run>, StoreError> {
    // An event without a place in a log could be dropped without anybody's notice: it is an error, not a drop.
    let (log, first) = gone.first.as_ref().ok_or(StoreError::Damaged("place of an event in its log"))?;
    let (log, first) = (log_id(log)?, place(*first)?);
    let mut bits = u128::from(gone.positions[0]) | u128::from(gone.positions[1]) << 64;
    let mut runs = Vec::new();
    let mut at = 0;
    while bits != 0 {
        let zeros = bits.trailing_zeros();
        at += zeros;
        bits >>= zeros;
        let count = bits.trailing_ones();
        runs.push(Run { log, first: first + u64::from(at), count, lost: Lost::EVENT });
        at += count;
        bits = bits.checked_shr(count).unwrap_or(0);
    }
    Ok(runs)
}

fn log_id(text: &str) -> Result<[u8; 16], StoreError> {
    let mut id = [0; 16];
    hex::decode_to_slice(text, &mut id).map_err(|_| StoreError::Damaged("id of a log"))?;
    Ok(id)
}

fn place(index: i64) -> Result<u64, StoreError> {
    u64::try_from(index).map_err(|_| StoreError::Damaged("place in a log"))
}

fn drop_event(
    tenant: &TenantId,
    month: NaiveDate,
    look: Look,
    held: i64,
    archive: Option<Uuid>,
    list: &AbsenceList,
    now: DateTime<Utc>,
) -> OwnEvent {
    let mut details = json!({
        "what": look.what,
        "class": look.class_word(),
        "period_days": look.days,
        "received_before": time(look.cutoff),
        "held": held,
        "absence": {
            "sha256": hex::encode(list.hash()), "leaves": list.leaves(), "runs": list.runs().len(),
        },
    });
    if let Some(shipment) = archive {
        details["archive"] = json!(shipment);
    }
    let name = month.format("%Y-%m").to_string();
    let event =
        OwnEvent::new(tenant, "RETENTION_DROP", "ingest/retention", Timestamp::from(now), "partition", &name);
    OwnEvent {
        severity: Severity::Warning,
        class: RetentionClass::Permanent,
        details: Some(details),
        ..event
    }
}

fn run_row(
    tenant: &str,
    month: NaiveDate,
    look: Look,
    now: DateTime<Utc>,
    held: i64,
    record: Option<(i64, Uuid)>,
) -> RunRow {
    RunRow {
        tenant_id: tenant.to_owned(),
        month,
        what: look.what.to_owned(),
        class: look.class,
        ran_at: now,
        leaves: record.map_or(0, |(leaves, _)| leaves),
        held,
        record_id: record.map(|(_, id)| id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_become_runs_of_neighbours() {
        let gone = |positions| Gone {
            tenant: "demo".to_owned(),
            class: 0,
            count: 0,
            positions,
            first: Some(("00".repeat(16), 1000)),
        };
        let runs = |positions| {
            let runs = runs_of(&gone(positions)).expect("it has a place");
            runs.iter().map(|run| (run.first, run.count)).collect::<Vec<_>>()
        };
        assert_eq!(runs([0, 0]), []);
        assert_eq!(runs([0b1011, 0]), [(1000, 2), (1003, 1)]);
        assert_eq!(runs([1 << 63, 0b101]), [(1063, 2), (1066, 1)]);
        assert_eq!(runs([u64::MAX, u64::MAX]), [(1000, 128)]);
    }
}
