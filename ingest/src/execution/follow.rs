//! The task that joins runs from the events as they are stored.
//!
//! Its place, the reports, the runs and what they add up to are one transaction. A page of events changes the runs near its
//! reports ([`join::REACH`]) and no others, so those alone are joined anew; a report that comes late, twice or in another order
//! leaves the rows that it would have left in its turn.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;
use uuid::Uuid;

use super::credits::Credit;
use super::{Execution, Report, fold, join};
use crate::correlate::feed::Page;
use crate::store::executions::{self, Around, Joined};
use crate::store::{Store, StoreError, Transaction, events};

/// The place of this task among those that follow events.
pub const TASK: &str = "executions";
const EVERY: Duration = Duration::from_secs(1);

/// Joins runs until it is stopped.
pub async fn run(store: Store, mut stop: watch::Receiver<bool>) {
    loop {
        let more = match page(&store).await {
            Ok(more) => more,
            Err(error) => {
                tracing::warn!(%error, "runs are not joined, trying again");
                false
            }
        };
        let pause = if more { Duration::ZERO } else { EVERY };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Takes a page of events in; whether there was one.
///
/// # Errors
/// If the store refuses; then the page comes again.
pub async fn page(store: &Store) -> Result<bool, StoreError> {
    let Some(mut page) = Page::next(store, TASK).await? else { return Ok(false) };
    let mut by_tenant: BTreeMap<String, Vec<Report>> = BTreeMap::new();
    let mut credits: BTreeMap<String, Vec<Credit>> = BTreeMap::new();
    for told in executions::events_of_runs(&mut page.transaction, &page.batches).await? {
        // What is damaged is for the verification to tell; it must not keep all runs after it from being joined.
        let Some(event) = events::read(&told.opening) else { continue };
        if let Some(report) = Report::read(&event, told.filed_at) {
            by_tenant.entry(told.tenant_id).or_default().push(report);
        } else if let Some(credit) = Credit::read(&event, told.filed_at) {
            credits.entry(told.tenant_id).or_default().push(credit);
        }
    }
    for (tenant, credits) in credits {
        executions::add_credits(&mut page.transaction, &tenant, &credits).await?;
    }
    for (tenant, reports) in by_tenant {
        take_in(&mut page.transaction, &tenant, reports).await?;
    }
    page.finish().await?;
    Ok(true)
}

/// Takes reports in: the runs near them are what all reports say of them.
async fn take_in(
    transaction: &mut Transaction,
    tenant: &str,
    mut reports: Vec<Report>,
) -> Result<(), StoreError> {
    let new = executions::add_reports(transaction, tenant, &reports).await?;
    reports.retain(|report| new.contains(&report.event_id));
    if reports.is_empty() {
        return Ok(());
    }
    let ids: HashSet<String> = reports.iter().filter_map(|report| report.execution_id.clone()).collect();
    let named = executions::named(transaction, tenant, &ids.iter().cloned().collect::<Vec<_>>()).await?;
    let touched = Touched::by(&reports, &named, ids);
    let near = executions::around(transaction, tenant, &touched.surroundings()).await?;
    let mut known: BTreeMap<Uuid, Joined> =
        named.into_iter().chain(near).map(|joined| (joined.report.event_id, joined)).collect();
    let others: HashSet<&String> =
        known.values().filter_map(|joined| joined.report.execution_id.as_ref()).collect();
    let others: Vec<String> =
        others.into_iter().filter(|id| !touched.executions.contains(*id)).cloned().collect();
    for joined in executions::named(transaction, tenant, &others).await? {
        known.insert(joined.report.event_id, joined);
    }
    known.extend(reports.into_iter().filter(|report| !touched.is_named(report)).map(|report| {
        let joined = Joined { report, run_key: None };
        (joined.report.event_id, joined)
    }));
    let changes = Changes::of(&touched, &known, &new);
    executions::assign(transaction, tenant, &changes.assigned).await?;
    executions::replace(transaction, tenant, &changes.gone, &changes.runs).await
}

/// Where runs may have changed.
struct Touched {
    executions: HashSet<String>,
    /// Of each agent, when.
    times: HashMap<String, Vec<DateTime<Utc>>>,
}

impl Touched {
    fn by(reports: &[Report], named: &[Joined], executions: HashSet<String>) -> Self {
        let mut times: HashMap<String, Vec<DateTime<Utc>>> = HashMap::new();
        for report in reports.iter().chain(named.iter().map(|joined| &joined.report)) {
            if let Some(agent) = &report.agent_id {
                times.entry(agent.clone()).or_default().push(report.begun_at());
            }
        }
        Self { executions, times }
    }

    fn is_named(&self, report: &Report) -> bool {
        report.execution_id.as_ref().is_some_and(|id| self.executions.contains(id))
    }

    /// Spans of agents whose reports tell what the touched runs are, none of them overlapping.
    fn surroundings(&self) -> Vec<Around> {
        let mut spans = Vec::new();
        for (agent, times) in &self.times {
            let mut times = times.clone();
            times.sort_unstable();
            let mut open: Option<Around> = None;
            for time in times {
                let (from, to) = (time - join::REACH, time + join::REACH);
                match &mut open {
                    Some(span) if from <= span.to => span.to = to,
                    _ => spans.extend(open.replace(Around { agent: agent.clone(), from, to })),
                }
            }
            spans.extend(open);
        }
        spans
    }

    /// Whether a run may be another than before: it, or the one before or after it, has a new beginning.
    fn reaches(&self, agent: Option<&str>, begun_at: DateTime<Utc>) -> bool {
        let Some(times) = agent.and_then(|agent| self.times.get(agent)) else { return false };
        times.iter().any(|time| {
            let after = begun_at - *time;
            after <= join::WITHIN && after >= -TimeDelta::minutes(60)
        })
    }
}

/// What becomes of the runs near some reports.
struct Changes {
    /// Keys of runs that are written anew or are none any more.
    gone: Vec<String>,
    runs: Vec<Execution>,
    /// Reports whose run is another than before.
    assigned: Vec<(Uuid, Option<String>)>,
}

impl Changes {
    fn of(touched: &Touched, known: &BTreeMap<Uuid, Joined>, new: &HashSet<Uuid>) -> Self {
        let reports: Vec<Report> = known.values().map(|joined| joined.report.clone()).collect();
        let mut gone: HashSet<String> = HashSet::new();
        let mut homes: HashMap<Uuid, String> = HashMap::new();
        let mut runs = Vec::new();
        for run in join(&reports) {
            let is_touched = touched.reaches(run.agent, run.begun_at)
                || run.reports.iter().any(|it| new.contains(&it.event_id) || touched.is_named(it));
            if !is_touched {
                continue;
            }
            gone.insert(run.key.clone());
            for report in &run.reports {
                gone.extend(known.get(&report.event_id).and_then(|joined| joined.run_key.clone()));
                homes.insert(report.event_id, run.key.clone());
            }
            runs.extend(fold(&run.key, &run.reports));
        }
        let moved = known.values().filter_map(|joined| {
            let home = homes.get(&joined.report.event_id);
            let was_touched = joined.run_key.as_ref().is_some_and(|key| gone.contains(key));
            let is_other = home != joined.run_key.as_ref() && (home.is_some() || was_touched);
            is_other.then(|| (joined.report.event_id, home.cloned()))
        });
        let assigned = moved.collect();
        Self { gone: gone.into_iter().collect(), runs, assigned }
    }
}
