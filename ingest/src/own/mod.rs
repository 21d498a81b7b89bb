//! The backend's own acts as events: what it finds, what its readers and admins do.
//!
//! They go the way of everybody's events: signed batches in a stream of their own, through the same checks, into the same
//! log. Nothing is ever added to an event of a producer; what is learnt later is an event that names it.

pub mod outbox;

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::batch::{Header, MAX_BATCH_LEN, MAX_EVENTS_PER_BATCH, StreamId, encode_body, events_hash, frame};
use shared::event::{
    Action, Actor, BodyState, ChangeSet, Context, Entity, EntityType, Event, EventId, JsonText, Outcome,
    RequestFacts, RetentionClass, Severity, TenantId, Timestamp, Trust,
};
use shared::leaf::{self, Hash, Seed};
use shared::note::{KeyName, VerifierKey};
use tokio::sync::Mutex;

use crate::clock::{Clock, random};
use crate::ledger::key::{KeyFileError, LogKey};
use crate::receive::Receiver;
use crate::store::{Store, StoreError, signing_keys};

/// What the note and the lengths take of a batch, in bytes.
const RESERVE: usize = 2_000;

/// Why an event of our own was not recorded. Trying again is safe: at worst it is recorded twice.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Our own way in refused it.
    #[error("our own events were refused: {0}")]
    Refused(String),
}

/// An event of our own before it is minted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OwnEvent {
    /// Whose log.
    pub tenant: TenantId,
    /// What happened.
    pub action: Action,
    /// How much it matters.
    pub severity: Severity,
    /// How long it is kept.
    pub class: RetentionClass,
    /// What became of it.
    pub outcome: Outcome,
    /// How sure we are of the actor.
    pub trust: Trust,
    /// Who; the backend itself if none.
    pub actor: Option<Actor>,
    /// On what.
    pub entity: Option<Entity>,
    /// What else there is to say.
    pub details: Option<Value>,
    /// What changed.
    pub changes: Option<ChangeSet>,
    /// Which part of the backend says so: `ingest/<name>`.
    pub rule: Cow<'static, str>,
    /// When it happened.
    pub occurred_at: Timestamp,
}

impl OwnEvent {
    /// An event about an entity, by the backend itself; everything else is as usual: information, successful.
    ///
    /// # Panics
    /// If `action` or `kind` has not the shape of one: both are words of this program.
    pub fn new(
        tenant: &TenantId,
        action: &str,
        rule: &'static str,
        at: Timestamp,
        kind: &str,
        id: &str,
    ) -> Self {
        Self {
            tenant: tenant.clone(),
            action: Action::try_from(action.to_owned()).expect("an action's shape"),
            severity: Severity::Info,
            class: RetentionClass::Standard,
            outcome: Outcome::Success,
            trust: Trust::System,
            actor: None,
            entity: Some(Entity {
                kind: EntityType::try_from(kind.to_owned()).expect("an entity type's shape"),
                id: Some(id.to_owned()),
                name: None,
            }),
            details: None,
            changes: None,
            rule: Cow::Borrowed(rule),
            occurred_at: at,
        }
    }

    /// The same as the act of an admin.
    #[must_use]
    pub fn by(self, admin: &str) -> Self {
        let actor = Some(Actor { id: admin.to_owned(), ..Actor::default() });
        Self { actor, trust: Trust::Verified, ..self }
    }

    /// The event, with an id of this moment.
    pub(crate) fn mint(self) -> Event {
        let ours = || Actor { id: "edgetrail".to_owned(), ..Actor::default() };
        Event {
            tenant: self.tenant,
            id: EventId::mint(self.occurred_at, &random()),
            occurred_at: self.occurred_at,
            class: self.class,
            action: self.action,
            severity: self.severity,
            outcome: self.outcome,
            reason: None,
            trust: self.trust,
            actor: Some(self.actor.unwrap_or_else(ours)),
            claimed_user: None,
            entity: self.entity,
            request: RequestFacts {
                host: "ingest".to_owned(),
                method: "-".to_owned(),
                route: "-".to_owned(),
                rule: self.rule.into_owned(),
                status: None,
                request_body: BodyState::Absent,
                response_body: BodyState::Absent,
            },
            context: Context::default(),
            details: self.details.as_ref().map(JsonText::from),
            changes: self.changes,
            compliance: Vec::new(),
            duration_ms: None,
            echo: false,
        }
    }
}

/// Where a tenant's stream of our own stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    stream: StreamId,
    seq: u64,
    prev: Hash,
}

impl Place {
    fn new() -> Self {
        Self { stream: StreamId(random()), seq: 0, prev: [0; 32] }
    }
}

/// Signs and records events of our own. Clones share their streams.
#[derive(Debug, Clone)]
pub struct Recorder {
    store: Store,
    receiver: Receiver,
    clock: Clock,
    key: LogKey,
    name: KeyName,
    places: Arc<Mutex<HashMap<TenantId, Place>>>,
}

impl Recorder {
    /// A recorder with the key in `own.key` beside the log's key, made at the first start.
    ///
    /// # Errors
    /// If the key cannot be read or made.
    pub fn new(
        store: Store,
        receiver: Receiver,
        clock: Clock,
        log_key_file: &Path,
        origin: &KeyName,
    ) -> Result<Self, KeyFileError> {
        let name = KeyName::try_from(format!("{origin}/own")).expect("a name with a word more");
        let key = LogKey::load_or_create("own.key", &beside(log_key_file), &name)?;
        Ok(Self { store, receiver, clock, key, name, places: Arc::default() })
    }

    /// The public half of its key.
    pub fn verifier(&self) -> VerifierKey {
        VerifierKey { name: self.name.clone(), public: self.key.public() }
    }

    /// Records events; when it returns they are durable. Their ids are in the order of the events.
    ///
    /// # Errors
    /// [`OwnError`]; some of the events may be stored.
    pub async fn record(&self, events: Vec<OwnEvent>) -> Result<Vec<EventId>, OwnError> {
        let mut ids = Vec::with_capacity(events.len());
        let actions: Vec<_> = events.iter().map(|event| event.action.to_string()).collect();
        let mut by_tenant: HashMap<TenantId, Vec<(Hash, Vec<u8>)>> = HashMap::new();
        for event in events {
            let event = event.mint();
            ids.push(event.id);
            let opening = event.to_opening(Seed(random()));
            by_tenant.entry(event.tenant).or_default().push((leaf::digest(&opening), opening.encode()));
        }
        // One at a time, so that the streams have an order.
        let mut places = self.places.lock().await;
        for (tenant, events) in by_tenant {
            for batch in batches(events) {
                self.send(&tenant, &batch, &mut places).await?;
            }
        }
        for action in actions {
            metrics::counter!("edgetrail_own_events_total", "action" => action).increment(1);
        }
        Ok(ids)
    }

    async fn send(
        &self,
        tenant: &TenantId,
        events: &[(Hash, Vec<u8>)],
        places: &mut HashMap<TenantId, Place>,
    ) -> Result<(), OwnError> {
        if !places.contains_key(tenant) {
            signing_keys::upsert(&self.store, &self.verifier(), std::slice::from_ref(tenant)).await?;
            self.receiver.signers.renew().await?;
        }
        // Whatever becomes of a failed batch, its place is never signed a second time: the stream ends there.
        let place = places.remove(tenant).unwrap_or_else(Place::new);
        let header = Header {
            tenant: tenant.clone(),
            stream: place.stream,
            seq: place.seq,
            prev: place.prev,
            sent: self.clock.now(),
            count: u16::try_from(events.len()).expect("at most a hundred"),
            dropped: 0,
            events: events_hash(events.iter().map(|(digest, _)| digest)),
        };
        let note = self.key.sign_note(&header.to_string(), &self.name);
        let body = encode_body(events.iter().map(|(digest, opening)| (digest, opening.as_slice())));
        let framed = frame(&note, &body);
        let frames = shared::batch::unframe(&framed).map_err(|error| OwnError::Refused(error.to_string()))?;
        for framed in frames {
            let receipt = self.receiver.accept(framed).await.receipt().await;
            let receipt = receipt.map_err(|problem| OwnError::Refused(problem.title.to_string()))?;
            // What was set aside is kept, and yet nobody could point to it as a record.
            if let Some((_, reason)) = receipt.quarantined.into_iter().next() {
                return Err(OwnError::Refused(reason));
            }
        }
        places
            .insert(tenant.clone(), Place { stream: place.stream, seq: place.seq + 1, prev: header.hash() });
        Ok(())
    }
}

fn beside(log_key_file: &Path) -> PathBuf {
    log_key_file.with_file_name("own.key")
}

/// The events in batches that keep to both limits.
fn batches(events: Vec<(Hash, Vec<u8>)>) -> Vec<Vec<(Hash, Vec<u8>)>> {
    let mut batches: Vec<Vec<(Hash, Vec<u8>)>> = Vec::new();
    let mut size = usize::MAX;
    for (digest, opening) in events {
        let needed = digest.len() + 4 + opening.len();
        match batches.last_mut() {
            Some(last) if last.len() < MAX_EVENTS_PER_BATCH && size + needed <= MAX_BATCH_LEN - RESERVE => {
                last.push((digest, opening));
                size += needed;
            }
            _ => {
                batches.push(vec![(digest, opening)]);
                size = needed;
            }
        }
    }
    batches
}
