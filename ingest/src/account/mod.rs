//! The accountant: now and then it looks at what is owed and records what is missing.
//!
//! Each chore is one transaction under one lock, so that of several processes one does it. What it finds is recorded
//! before it is marked as found: after a crash in between it is recorded a second time, never not at all. Rows that the
//! writer also changes are locked only after recording, which itself goes through the writer.

mod gaps;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;
use shared::event::{Outcome, RetentionClass, Severity, TenantId, Timestamp};
use shared::note::{Note, VerifierKey};

use crate::clock::Clock;
use crate::config::Accounting;
use crate::limits::Limits;
use crate::own::{OwnError, OwnEvent, Recorder};
use crate::store::streams::{self, StreamKey};
use crate::store::{Store, StoreError, Transaction, commit, intents};

/// Rows of one transaction.
const AT_ONCE: i64 = 500;
const RULE: &str = "ingest/accounting";

/// Looks at what is owed.
#[derive(Debug, Clone)]
pub struct Accountant {
    /// Where the books are.
    pub store: Store,
    /// Where findings go.
    pub recorder: Recorder,
    /// The limits, whose refusals are told here.
    pub limits: Limits,
    /// The time.
    pub clock: Clock,
    /// When something is missing.
    pub ages: Accounting,
}

impl Accountant {
    /// Looks until it is aborted.
    pub async fn run(self) {
        loop {
            tokio::time::sleep(self.ages.sweep).await;
            if let Err(error) = self.sweep().await {
                tracing::warn!(%error, "the accounts are not settled, trying again");
            }
        }
    }

    /// Looks once.
    ///
    /// # Errors
    /// [`OwnError`]; the rest waits for the next time.
    pub async fn sweep(&self) -> Result<(), OwnError> {
        self.drops().await?;
        self.gaps().await?;
        self.silence().await?;
        self.orphans().await?;
        self.recorder.record(self.limits.report(self.clock.now())).await?;
        Ok(())
    }

    /// A transaction in which this process alone looks; none if another one does.
    async fn lead(&self) -> Result<Option<Transaction>, StoreError> {
        let mut transaction = self.store.begin().await?;
        let leads = streams::try_lead(&mut transaction).await?;
        Ok(leads.then_some(transaction))
    }

    async fn drops(&self) -> Result<(), OwnError> {
        loop {
            let Some(mut transaction) = self.lead().await? else { return Ok(()) };
            let drops = streams::take_drops(&mut transaction, AT_ONCE).await?;
            let mut events = Vec::with_capacity(drops.len());
            for drop in &drops {
                let event = self.about_stream("EVENTS_DROPPED", &drop.key)?;
                events.push(OwnEvent {
                    severity: Severity::Warning,
                    class: RetentionClass::Permanent,
                    details: Some(json!({"seq": drop.seq, "count": drop.count})),
                    ..event
                });
            }
            self.recorder.record(events).await?;
            commit(transaction).await?;
            if drops.len() < AT_ONCE as usize {
                return Ok(());
            }
        }
    }

    async fn silence(&self) -> Result<(), OwnError> {
        let ours = self.recorder.verifier();
        loop {
            let since = self.before(self.ages.ended_after);
            let Some(mut transaction) = self.lead().await? else { return Ok(()) };
            let silent = streams::silent(&mut transaction, since, AT_ONCE).await?;
            let mut events = Vec::new();
            for stream in silent.iter().filter(|stream| !signed_by(&ours, &stream.header)) {
                let event = self.about_stream("STREAM_ENDED", &stream.key)?;
                let details = json!({"last_seq": stream.high_seq, "tail": "unknown"});
                events.push(OwnEvent { details: Some(details), ..event });
            }
            self.recorder.record(events).await?;
            streams::end(&mut transaction, &silent, since, self.clock.now().to_utc()).await?;
            commit(transaction).await?;
            if silent.len() < AT_ONCE as usize {
                return Ok(());
            }
        }
    }

    async fn orphans(&self) -> Result<(), OwnError> {
        loop {
            let until = self.before(self.ages.intent_after);
            let Some(mut transaction) = self.lead().await? else { return Ok(()) };
            let overdue = intents::overdue(&mut transaction, until, AT_ONCE).await?;
            let mut events = Vec::with_capacity(overdue.len());
            for intent in &overdue {
                let tenant = tenant(&intent.tenant)?;
                let (now, id) = (self.clock.now(), intent.id.to_string());
                let event = OwnEvent::new(&tenant, "INTENT_ORPHANED", RULE, now, "event", &id);
                events.push(OwnEvent {
                    severity: Severity::Warning,
                    outcome: Outcome::Unknown,
                    details: Some(json!({"action": intent.action})),
                    ..event
                });
            }
            self.recorder.record(events).await?;
            intents::orphan(&mut transaction, &overdue, self.clock.now().to_utc()).await?;
            commit(transaction).await?;
            if overdue.len() < AT_ONCE as usize {
                return Ok(());
            }
        }
    }

    fn about_stream(&self, action: &str, key: &StreamKey) -> Result<OwnEvent, StoreError> {
        let tenant = tenant(&key.tenant)?;
        Ok(OwnEvent::new(&tenant, action, RULE, self.clock.now(), "stream", &hex::encode(&key.stream)))
    }

    fn before(&self, age: Duration) -> DateTime<Utc> {
        let now: Timestamp = self.clock.now();
        now.to_utc() - age
    }
}

fn tenant(slug: &str) -> Result<TenantId, StoreError> {
    slug.parse().map_err(|_| StoreError::Damaged("tenant"))
}

/// Whether a stored header was signed with a key. Its lines alone do not tell: only one of them had to verify.
fn signed_by(key: &VerifierKey, header: &str) -> bool {
    let Ok(public) = ed25519_dalek::VerifyingKey::from_bytes(&key.public) else { return false };
    let Ok(note) = Note::parse(header.as_bytes()) else { return false };
    note.signatures().iter().any(|signature| {
        signature.name == key.name
            && signature.key_id == key.id()
            && ed25519_dalek::Signature::from_slice(&signature.bytes)
                .is_ok_and(|bytes| public.verify_strict(note.text().as_bytes(), &bytes).is_ok())
    })
}
