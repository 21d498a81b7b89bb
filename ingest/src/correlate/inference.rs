//! The old side of updates that carry only the new one: the last representation of the entity that was seen.
//!
//! The event stays as it is. What is inferred is an annotation that says so by its quality, and names only fields whose
//! old value was seen; it is the last that was *seen*, and a write that passed by the edge may lie in between. An event
//! that has its annotation gets no second one, so taking a page up again repeats nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::Value;
use shared::event::{ChangeSet, Event, JsonText, Outcome, Quality, Timestamp};
use tokio::sync::watch;
use uuid::Uuid;

use super::feed::Page;
use super::memory::{Memory, is_deletion};
use crate::clock::Clock;
use crate::own::{OwnError, OwnEvent, Recorder};
use crate::store::entity_states::{self, EntityKey, EntityState};
use crate::store::{Store, StoreError, events};

const EVERY: Duration = Duration::from_secs(1);
/// Annotations are filed after the event arrived, as far as clocks agree.
const CLOCKS: TimeDelta = TimeDelta::days(1);

/// Works until it is stopped.
pub async fn run(store: Store, recorder: Recorder, clock: Clock, mut stop: watch::Receiver<bool>) {
    loop {
        let more = match page(&store, &recorder, &clock).await {
            Ok(more) => more,
            Err(error) => {
                tracing::warn!(%error, "changes are not inferred, trying again");
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

/// Takes in a page of events; whether there was one.
async fn page(store: &Store, recorder: &Recorder, clock: &Clock) -> Result<bool, OwnError> {
    let Some(mut page) = Page::next(store, "inference").await? else { return Ok(false) };
    let mut told_of = Vec::new();
    for told in entity_states::telling_events(&mut page.transaction, &page.batches).await? {
        let event = events::read(&told.opening).ok_or(StoreError::Damaged("event"))?;
        told_of.extend(key(&event).map(|key| (key, event)));
    }

    let keys: HashSet<&EntityKey> = told_of.iter().map(|(key, _)| key).collect();
    let keys: Vec<&EntityKey> = keys.into_iter().collect();
    let mut states = HashMap::new();
    for state in entity_states::find(&mut page.transaction, &keys).await? {
        let memory = Memory::read(&state.fields, Timestamp::from(state.at).millis());
        states.insert(state.key, (memory.ok_or(StoreError::Damaged("entity state"))?, state.event_id));
    }
    let inferred = follow(&told_of, &mut states);

    let mut named: BTreeMap<&str, Vec<Uuid>> = BTreeMap::new();
    for (event, _) in &inferred {
        named.entry(event.tenant.as_str()).or_default().push(event.id.uuid());
    }
    let from = page.span.0 - CLOCKS;
    let mut done: HashSet<Uuid> = HashSet::new();
    for (tenant, ids) in named {
        done.extend(entity_states::inferred_before(&mut page.transaction, tenant, &ids, from).await?);
    }
    let now = clock.now();
    let annotations: Vec<OwnEvent> = inferred
        .into_iter()
        .filter(|(event, _)| !done.contains(&event.id.uuid()))
        .map(|(event, changes)| annotation(event, changes, now))
        .collect();
    if !annotations.is_empty() {
        recorder.record(annotations).await?;
    }

    let gone: Vec<&EntityKey> = keys.into_iter().filter(|key| !states.contains_key(key)).collect();
    entity_states::forget(&mut page.transaction, &gone).await?;
    let states: Vec<EntityState> = states
        .into_iter()
        .map(|(key, (memory, event_id))| {
            let at = Timestamp::try_from(memory.newest()).map_err(|_| StoreError::Damaged("entity state"))?;
            Ok(EntityState { key, fields: memory.fields(), event_id, at: at.to_utc() })
        })
        .collect::<Result<_, StoreError>>()?;
    entity_states::put(&mut page.transaction, &states).await?;
    page.finish().await?;
    Ok(true)
}

/// Brings the states up to date with events in their order; what could be inferred on the way.
fn follow<'a>(
    events: &'a [(EntityKey, Event)],
    states: &mut HashMap<EntityKey, (Memory, uuid::Uuid)>,
) -> Vec<(&'a Event, ChangeSet)> {
    let mut inferred = Vec::new();
    for (key, event) in events.iter().filter(|(_, event)| event.outcome != Outcome::Failure) {
        let succeeded = event.outcome == Outcome::Success;
        let deleted = event.action.as_str().ends_with("_DELETED");
        if succeeded && (deleted || event.changes.as_ref().is_some_and(is_deletion)) {
            states.remove(key);
            continue;
        }
        let Some(changes) = &event.changes else { continue };
        let (memory, last) = states.entry(key.clone()).or_default();
        let at = event.occurred_at.millis();
        if succeeded && !event.echo {
            let fields = memory.infer(changes, at);
            if !fields.is_empty() {
                let fields = JsonText::from(&Value::Object(fields));
                inferred.push((event, ChangeSet { quality: Quality::Inferred, fields }));
            }
        }
        if at >= memory.newest() {
            *last = event.id.uuid();
        }
        memory.learn(changes, at, succeeded);
    }
    inferred
}

fn key(event: &Event) -> Option<EntityKey> {
    let entity = event.entity.as_ref()?;
    Some(EntityKey {
        tenant_id: event.tenant.as_str().to_owned(),
        entity_type: entity.kind.as_str().to_owned(),
        entity_id: entity.id.clone()?,
    })
}

fn annotation(event: &Event, changes: ChangeSet, now: Timestamp) -> OwnEvent {
    let id = event.id.to_string();
    OwnEvent {
        class: event.class,
        changes: Some(changes),
        ..OwnEvent::new(&event.tenant, "CHANGES_INFERRED", "ingest/inference", now, "event", &id)
    }
}
