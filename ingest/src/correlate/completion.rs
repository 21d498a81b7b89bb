//! How a run ended whose answer did not say so.
//!
//! The application's server writes down each execution, and the tokens of each call of a model. A record belongs to the
//! run of the same execution, or, where one of them names none, to the latest run of its agent before it. A record that
//! says how it ended completes a run at once; tokens alone do so when the wait is over, and leave the outcome unknown.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use shared::event::{JsonText, Outcome, TenantId};
use uuid::Uuid;

use super::Follow;
use crate::own::{OwnError, OwnEvent};
use crate::store::runs::{self, PendingRun, RunEvent};
use crate::store::{self, StoreError, Transaction, events, links};

/// The action of a run.
pub(crate) const AGENT_EXECUTED: &str = "AGENT_EXECUTED";
const OUTCOME_COMPLETED: &str = "OUTCOME_COMPLETED";
/// How far apart a run and what tells its end may be.
const WITHIN: TimeDelta = TimeDelta::minutes(30);
/// After which no end is waited for: a minute more, for the delivery.
const HOLD: TimeDelta = TimeDelta::minutes(31);
/// Runs in one go.
const PAGE: i64 = 100;
/// Runs of a page lie within this, so that what tells their ends does too.
const PAGE_SPAN: TimeDelta = TimeDelta::seconds(60);

/// One look at the page of open runs after a place; the place of its last one, or none at the end or if another process
/// is at it.
pub(super) async fn page(
    follow: &Follow,
    after: (DateTime<Utc>, Uuid),
) -> Result<Option<(DateTime<Utc>, Uuid)>, OwnError> {
    follow.store.in_turn().await;
    let mut transaction = follow.store.begin().await?;
    if !runs::try_lock(&mut transaction).await? {
        return Ok(None);
    }
    let mut page = runs::pending(&mut transaction, after, PAGE).await?;
    let Some(first) = page.first().map(|run| run.filed_at) else {
        // A transaction that is only dropped keeps the lock for a while.
        store::commit(transaction).await?;
        return Ok(None);
    };
    page.retain(|run| run.filed_at - first <= PAGE_SPAN);
    let last = page.last().map(|run| (run.filed_at, run.id));
    let mut by_tenant: BTreeMap<String, Vec<Run>> = BTreeMap::new();
    for run in page {
        by_tenant.entry(run.tenant_id.clone()).or_default().push(Run::read(run));
    }
    for (tenant, open) in by_tenant {
        complete(follow, &mut transaction, &tenant, &open).await?;
    }
    store::commit(transaction).await?;
    Ok(last)
}

async fn complete(
    follow: &Follow,
    transaction: &mut Transaction,
    tenant: &str,
    open: &[Run],
) -> Result<(), OwnError> {
    let owner = TenantId::try_from(tenant.to_owned()).map_err(|_| StoreError::Damaged("tenant of a run"))?;
    let filed = open.iter().map(|run| run.start.at);
    let (Some(first), Some(last)) = (filed.clone().min(), filed.max()) else { return Ok(()) };
    let arrived = open.iter().map(|run| run.received_at).min().unwrap_or(first);
    let ids: Vec<_> = open.iter().map(|run| run.start.id).collect();
    // A stop may have come between an annotation and its mark. Clocks of two processes may differ.
    let slack = TimeDelta::minutes(1);
    let known: HashMap<Uuid, Uuid> =
        links::annotated(transaction, tenant, OUTCOME_COMPLETED, &ids, arrived.min(first) - slack)
            .await?
            .into_iter()
            .filter_map(|(run, details)| Some((run, details["source"].as_str()?.parse().ok()?)))
            .collect();
    let mut starts = Vec::new();
    let mut reports = Vec::new();
    for event in runs::beside(transaction, tenant, (first - WITHIN, last + WITHIN)).await? {
        if event.action == AGENT_EXECUTED {
            starts.push(Start::read(event));
        } else {
            reports.push(Report::read(event));
        }
    }
    let sources: Vec<_> = reports.iter().map(|report| report.id).collect();
    let mut spent: HashSet<Uuid> = runs::spent(transaction, tenant, &sources).await?.into_iter().collect();
    spent.extend(known.values());
    reports.retain(|report| !spent.contains(&report.id));

    let now = follow.clock.now();
    let mut settled: Vec<_> = known.iter().map(|(run, source)| (*run, Some(*source))).collect();
    let mut annotations = Vec::new();
    let waiting: Vec<&Run> = open.iter().filter(|run| !known.contains_key(&run.start.id)).collect();
    let ends = recorded(&waiting, &reports, &starts);
    for run in waiting {
        let id = run.start.id;
        let over = now.to_utc() - run.received_at >= HOLD;
        let end = match ends.get(&id) {
            Some(report) => Some((report.id, report.end())),
            None if over => counted(run, &reports, &starts),
            None => continue,
        };
        settled.push((id, end.as_ref().map(|(source, _)| *source)));
        annotations.extend(end.map(|(_, details)| OwnEvent {
            details: Some(details),
            ..OwnEvent::new(&owner, OUTCOME_COMPLETED, "ingest/completion", now, "event", &id.to_string())
        }));
    }
    if !annotations.is_empty() {
        follow.recorder.record(annotations).await?;
    }
    if !settled.is_empty() {
        runs::settle(transaction, tenant, &settled).await?;
    }
    Ok(())
}

/// The records that say how runs ended, each for one run: the same execution goes first, then the shortest time.
fn recorded<'a>(open: &[&Run], reports: &'a [Report], starts: &[Start]) -> HashMap<Uuid, &'a Report> {
    let mut pairs = Vec::new();
    for report in reports.iter().filter(|report| report.success.is_some() && !report.tokens_alone) {
        for run in open {
            if let Some(by_agent) = report.tells(&run.start, starts) {
                pairs.push((by_agent, (report.at - run.start.at).abs(), run.start.id, report));
            }
        }
    }
    pairs.sort_by_key(|(by_agent, apart, run, report)| (*by_agent, *apart, *run, report.id));
    let mut ends: HashMap<Uuid, &Report> = HashMap::new();
    let mut used = HashSet::new();
    for (_, _, run, report) in pairs {
        if !used.contains(&report.id) && !ends.contains_key(&run) {
            used.insert(report.id);
            ends.insert(run, report);
        }
    }
    ends
}

/// What the calls of a run used, if that is all there is; none if nothing is known.
fn counted(run: &Run, reports: &[Report], starts: &[Start]) -> Option<(Uuid, Value)> {
    let calls = || {
        let tokens = reports.iter().filter(|report| report.tokens_alone);
        tokens.filter(|report| report.tells(&run.start, starts).is_some())
    };
    let newest = calls().max_by_key(|call| (call.at, call.id))?;
    // One call without a figure makes the sum unknown.
    let sum = calls().try_fold(0_u64, |sum, call| sum.checked_add(call.tokens?));
    Some((newest.id, details(newest.id, None, sum, None)))
}

fn details(source: Uuid, success: Option<bool>, tokens: Option<u64>, duration: Option<u64>) -> Value {
    let outcome = match success {
        Some(true) => Outcome::Success,
        Some(false) => Outcome::Failure,
        None => Outcome::Unknown,
    };
    json!({
        "outcome": outcome.word(),
        "success": success,
        "tokens_used": tokens,
        "duration_ms": duration,
        "source": source,
    })
}

/// A run that waits for its end.
struct Run {
    start: Start,
    received_at: DateTime<Utc>,
}

impl Run {
    fn read(run: PendingRun) -> Self {
        let execution = text(&read_details(&run.opening)["execution_id"]);
        let start = Start { id: run.id, at: run.filed_at, agent: run.entity_id, execution };
        Self { start, received_at: run.received_at }
    }
}

/// That an agent was run, whether or not its end is known.
struct Start {
    id: Uuid,
    at: DateTime<Utc>,
    agent: Option<String>,
    execution: Option<String>,
}

impl Start {
    fn read(event: RunEvent) -> Self {
        let execution = text(&read_details(&event.opening)["execution_id"]);
        Self { id: event.id, at: event.filed_at, agent: event.entity_id, execution }
    }
}

/// What the application's server wrote down about some run.
struct Report {
    id: Uuid,
    at: DateTime<Utc>,
    agent: Option<String>,
    execution: Option<String>,
    tokens_alone: bool,
    success: Option<bool>,
    tokens: Option<u64>,
    duration: Option<u64>,
}

impl Report {
    fn read(event: RunEvent) -> Self {
        let details = read_details(&event.opening);
        let tokens_alone = event.action == "TOKEN_USAGE_RECORDED";
        let tokens = if tokens_alone {
            let sides = number(&details["input_tokens"]).zip(number(&details["output_tokens"]));
            sides.and_then(|(input, output)| input.checked_add(output))
        } else {
            number(&details["tokens_used"])
        };
        Self {
            id: event.id,
            at: event.filed_at,
            agent: text(&details["agent_id"]),
            execution: text(&details["execution_id"]),
            tokens_alone,
            success: details["status"].as_str().and_then(ended),
            tokens,
            duration: number(&details["duration_ms"]),
        }
    }

    fn end(&self) -> Value {
        details(self.id, self.success, self.tokens, self.duration)
    }

    /// Whether this is about a run; if so whether only the agent says it.
    fn tells(&self, run: &Start, starts: &[Start]) -> Option<bool> {
        if (self.at - run.at).abs() > WITHIN {
            return None;
        }
        if let (Some(one), Some(other)) = (&self.execution, &run.execution) {
            return (one == other).then_some(false);
        }
        let others = || starts.iter().filter(|start| start.id != run.id);
        let of_another = self.execution.is_some() && others().any(|start| start.execution == self.execution);
        let latest =
            !others().any(|start| start.agent == run.agent && start.at >= run.at && start.at <= self.at);
        (self.agent.is_some() && self.agent == run.agent && self.at >= run.at && latest && !of_another)
            .then_some(true)
    }
}

/// Whether a status is an end, and which.
fn ended(status: &str) -> Option<bool> {
    match status {
        "completed" | "success" | "succeeded" => Some(true),
        "failed" | "failure" | "error" | "cancelled" | "canceled" | "timeout" => Some(false),
        _ => None,
    }
}

fn read_details(opening: &[u8]) -> Value {
    events::read(opening).and_then(|event| event.details).as_ref().map(JsonText::value).unwrap_or_default()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// A whole number that is not negative; a fraction of a millisecond is dropped.
fn number(value: &Value) -> Option<u64> {
    let whole = |number: f64| (0.0..9e15).contains(&number).then_some(number as u64);
    value.as_u64().or_else(|| value.as_f64().and_then(whole))
}
