//! Events that the backend makes itself, in a stream of its own: signed, stored and sequenced like any other.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use shared::batch::{Body, Header, MAX_EVENTS_PER_BATCH, StreamId, encode_body, events_hash};
use shared::event::{
    Action, Actor, BodyState, ChangeSet, Context, Entity, Event, EventId, JsonText, Outcome, RequestFacts,
    RetentionClass, Severity, TenantId, Timestamp, Trust,
};
use shared::leaf::{Hash, Seed, digest};
use shared::note::KeyName;
use tokio::sync::Mutex;

use crate::clock::random;
use crate::ledger::key::LogKey;
use crate::receive::Receiver;
use crate::receive::examine::{Horizon, prepare};
use crate::receive::verify::Verified;
use crate::receive::write::Outcome as Written;
use crate::store::StoreError;

/// An event as the backend tells it.
#[derive(Debug, Clone)]
pub struct OwnEvent {
    /// Whose log it belongs to.
    pub tenant: TenantId,
    /// Its name.
    pub action: Action,
    /// How much it matters.
    pub severity: Severity,
    /// How long it is kept.
    pub class: RetentionClass,
    /// Whether it succeeded.
    pub outcome: Outcome,
    /// How sure we are of the actor.
    pub trust: Trust,
    /// Who did it.
    pub actor: Option<Actor>,
    /// What it is about.
    pub entity: Option<Entity>,
    /// What else there is to say.
    pub details: Option<Value>,
    /// What changed.
    pub changes: Option<ChangeSet>,
    /// Which part of the backend says so: `ingest/…`.
    pub rule: &'static str,
    /// When it happened.
    pub occurred_at: Timestamp,
}

/// The way into the log for events of our own.
#[derive(Debug, Clone)]
pub struct Recorder {
    receiver: Receiver,
    key: LogKey,
    name: KeyName,
    chains: Arc<Mutex<BTreeMap<TenantId, Chain>>>,
}

#[derive(Debug, Clone, Copy)]
struct Chain {
    stream: StreamId,
    seq: u64,
    prev: Hash,
}

impl Recorder {
    /// A recorder that signs as `{origin}/own`.
    pub fn new(receiver: Receiver, key: LogKey, origin: &KeyName) -> Self {
        let name = KeyName::try_from(format!("{origin}/own")).expect("an origin leaves room");
        Self { receiver, key, name, chains: Arc::default() }
    }

    /// Stores the events and gives their ids, in order, once they are durable.
    ///
    /// # Errors
    /// If the store does not take them.
    pub async fn record(&self, events: Vec<OwnEvent>) -> Result<Vec<EventId>, StoreError> {
        let events: Vec<Event> = events.into_iter().map(event).collect();
        let ids = events.iter().map(|event| event.id).collect();
        let mut by_tenant: BTreeMap<TenantId, Vec<Event>> = BTreeMap::new();
        for event in events {
            by_tenant.entry(event.tenant.clone()).or_default().push(event);
        }
        for (tenant, events) in by_tenant {
            for batch in events.chunks(MAX_EVENTS_PER_BATCH) {
                self.store(&tenant, batch).await?;
            }
        }
        Ok(ids)
    }

    async fn store(&self, tenant: &TenantId, events: &[Event]) -> Result<(), StoreError> {
        let openings: Vec<_> = events.iter().map(|event| event.to_opening(Seed(random()))).collect();
        let digests: Vec<Hash> = openings.iter().map(digest).collect();
        let bytes: Vec<Vec<u8>> = openings.iter().map(shared::leaf::Opening::encode).collect();
        let body =
            encode_body(digests.iter().zip(bytes.iter().map(Vec::as_slice)).collect::<Vec<_>>().into_iter());
        let now = self.receiver.clock.now();
        let mut chains = self.chains.lock().await;
        let fresh = || Chain { stream: StreamId(random()), seq: 0, prev: [0; 32] };
        let chain = chains.entry(tenant.clone()).or_insert_with(fresh);
        let header = Header {
            tenant: tenant.clone(),
            stream: chain.stream,
            seq: chain.seq,
            prev: chain.prev,
            sent: now,
            count: u16::try_from(events.len()).expect("at most 100"),
            dropped: 0,
            events: events_hash(&digests),
        };
        let note = self.key.sign_text(&header.to_string(), &self.name);
        let next = Chain { seq: chain.seq + 1, prev: header.hash(), ..*chain };
        let body = Body::parse(&body).map_err(|_| StoreError::Damaged("own batch"))?;
        let prepared =
            prepare(&Verified { header, note, body }, Horizon { now, oldest: self.receiver.oldest() });
        let away = |source| StoreError::Database { doing: "recording events of our own", source };
        let answer = self.receiver.writer.submit(prepared).map_err(|_| away(sqlx::Error::PoolTimedOut))?;
        match answer.await {
            Ok(Written::Stored { .. } | Written::Duplicate) => {
                *chain = next;
                Ok(())
            }
            // Whether it was stored is not known: a new stream begins.
            _ => {
                chains.remove(tenant);
                Err(away(sqlx::Error::PoolTimedOut))
            }
        }
    }
}

fn event(own: OwnEvent) -> Event {
    Event {
        id: EventId::mint(own.occurred_at, &random()),
        tenant: own.tenant,
        occurred_at: own.occurred_at,
        class: own.class,
        action: own.action,
        severity: own.severity,
        outcome: own.outcome,
        reason: None,
        trust: own.trust,
        actor: own.actor,
        claimed_user: None,
        entity: own.entity,
        request: RequestFacts {
            host: "ingest".to_owned(),
            method: "-".to_owned(),
            route: "-".to_owned(),
            rule: own.rule.to_owned(),
            status: None,
            request_body: BodyState::Absent,
            response_body: BodyState::Absent,
        },
        context: Context::default(),
        details: own.details.as_ref().map(JsonText::from),
        changes: own.changes,
        compliance: Vec::new(),
        duration_ms: None,
        echo: false,
    }
}
