//! The task behind the policies: records their events, and names past events by rules that came later.
//!
//! An event is never rewritten: what it would have been called is an annotation of our own. The place that was reached
//! is stored, and an event that has its annotation gets no second one, so a restart repeats nothing.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use shared::event::{Action, Actor, Entity, EntityType, Outcome, RetentionClass, Severity, TenantId, Trust};
use tokio::sync::watch;

use super::Policies;
use crate::own::{OwnError, OwnEvent, Recorder, outbox};
use crate::receive::Receiver;
use crate::store::accepted_rules::{self, Relabelling, UnmappedEvent};
use crate::store::{Store, StoreError};

/// How often is looked without being told.
const EVERY: Duration = Duration::from_secs(10);
/// Events of one rule in one go.
const TOGETHER: usize = 200;
/// Workers take up a new policy within a minute, and a queue delivers late: so long the unmapped ones are waited for.
const STRAGGLERS: Duration = Duration::from_hours(1);

/// Works until it is stopped.
pub async fn run(
    policies: Arc<Policies>,
    recorder: Recorder,
    receiver: Receiver,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        if let Err(error) = pass(&policies, &recorder, &receiver).await {
            tracing::warn!(%error, "policies are not followed up, trying again");
        }
        tokio::select! {
            () = policies.changed.notified() => {}
            () = tokio::time::sleep(EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

async fn pass(policies: &Policies, recorder: &Recorder, receiver: &Receiver) -> Result<(), OwnError> {
    outbox::record(&policies.store, recorder).await?;
    let mut more = true;
    while more {
        more = false;
        let mut last = None;
        while let Some((job, full)) = step(policies, recorder, receiver, last.as_ref()).await? {
            more |= full;
            last = Some(job);
        }
    }
    Ok(())
}

/// One batch of the next rule; whether there may be more.
async fn step(
    policies: &Policies,
    recorder: &Recorder,
    receiver: &Receiver,
    after: Option<&Relabelling>,
) -> Result<Option<(Relabelling, bool)>, OwnError> {
    let store: &Store = &policies.store;
    let mut transaction = store.begin().await?;
    let Some(job) = accepted_rules::open(&mut transaction, after).await? else { return Ok(None) };
    let limit = i64::try_from(TOGETHER).unwrap_or(i64::MAX);
    let events = accepted_rules::next_events(&mut transaction, &job, receiver.oldest(), limit).await?;
    let now = policies.clock.now();
    let annotations: Vec<OwnEvent> = events
        .iter()
        .filter(|event| !event.relabelled)
        .map(|event| annotation(&job, event, now))
        .collect::<Option<_>>()
        .ok_or(StoreError::Damaged("accepted rule"))?;
    if !annotations.is_empty() {
        recorder.record(annotations).await?;
    }
    let full = events.len() == TOGETHER;
    let done = !full && now.to_utc() >= job.active_since + STRAGGLERS;
    accepted_rules::advance(&mut transaction, &job, events.last(), done).await?;
    crate::store::commit(transaction).await?;
    Ok(Some((job, full)))
}

fn annotation(job: &Relabelling, event: &UnmappedEvent, now: shared::event::Timestamp) -> Option<OwnEvent> {
    Some(OwnEvent {
        tenant: TenantId::try_from(job.tenant_id.clone()).ok()?,
        action: Action::try_from("EVENT_RELABELED".to_owned()).ok()?,
        severity: Severity::Info,
        class: RetentionClass::Standard,
        outcome: Outcome::Success,
        trust: Trust::System,
        actor: Some(Actor { id: "edgetrail".to_owned(), ..Actor::default() }),
        entity: Some(Entity {
            kind: EntityType::try_from("event".to_owned()).ok()?,
            id: Some(event.id.to_string()),
            name: None,
        }),
        details: Some(json!({"action": job.action, "rule": job.rule, "policy_version": job.active_version})),
        changes: None,
        rule: "ingest/relabel".into(),
        occurred_at: now,
    })
}
