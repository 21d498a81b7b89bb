//! *This wasn't me*: an event of its own in the log, and a message to the application that goes until it arrives or three days are over.
//!
//! What waits to be told names an event and nobody. The message is made from the event when it is sent: of one that was erased
//! meanwhile nothing is told any more.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};
use shared::event::{Severity, TenantId, Timestamp};
use tokio::sync::{Notify, watch};

use super::entry::Entry;
use super::kind::Kind;
use super::{Tie, tie};
use crate::auth::Notice;
use crate::clock::Clock;
use crate::store::own_activity::{self, Disowned as Row};
use crate::store::{self, Store, StoreError, events};
use crate::view::time;
use crate::webhook::{Message, Secret, SendError, Target, send};

/// How often is looked for what is due.
const TICK: Duration = Duration::from_secs(1);
/// Messages at the same time.
const TOGETHER: i64 = 8;
/// After which the application is not told any more.
const UNTIL: TimeDelta = TimeDelta::days(3);
/// How often what was said of events that have gone is forgotten, in ticks: an hour.
const FORGET_EVERY: u64 = 3_600;

/// Where the application wants to be told.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Its address.
    pub target: Target,
    /// What it knows us by.
    pub secret: Secret,
}

/// What people disown.
#[derive(Debug)]
pub struct Disowned {
    store: Store,
    clock: Clock,
    webhook: Option<Webhook>,
    changed: Notify,
}

impl Disowned {
    /// Disowned events, told to a webhook if there is one.
    pub fn new(store: Store, clock: Clock, webhook: Option<Webhook>) -> Arc<Self> {
        Arc::new(Self { store, clock, webhook, changed: Notify::new() })
    }

    /// Whether the application is told.
    pub(crate) fn is_told(&self) -> bool {
        self.webhook.is_some()
    }

    /// Notes that somebody disowns an event of theirs; false if they did before. Nothing waits for the application.
    pub(crate) async fn disown(
        &self,
        tenant: &TenantId,
        subject: &str,
        entry: &Entry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let row = Row {
            tenant_id: tenant.to_string(),
            event_id: entry.placed.id,
            side: entry.tie.word().to_owned(),
            filed_at: entry.placed.filed_at,
            disowned_at: now.to_utc(),
            attempts: 0,
        };
        let mut transaction = self.store.begin().await?;
        let tell_at = self.webhook.as_ref().map(|_| now.to_utc());
        let is_new = own_activity::disown(&mut transaction, &row, tell_at).await?;
        if is_new {
            let details = json!({
                "action": entry.event.action,
                "occurred_at": entry.event.occurred_at.to_string(),
                "as": row.side,
                "application": if self.is_told() { "is told" } else { "has named no address" },
            });
            let what = ("event", row.event_id.to_string());
            Notice::new(tenant, "ACTIVITY_DISOWNED", subject, what, now)
                .with(Severity::Critical, details)
                .keep(&mut transaction)
                .await?;
        }
        store::commit(transaction).await?;
        self.changed.notify_one();
        Ok(is_new)
    }

    /// Tells the application until it is stopped.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        for tick in 0_u64.. {
            if let Err(error) = self.round(tick.is_multiple_of(FORGET_EVERY)).await {
                tracing::warn!(%error, "the application is not told what was disowned, trying again");
            }
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = self.changed.notified() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn round(&self, forgets: bool) -> Result<(), StoreError> {
        if forgets {
            own_activity::forget_gone(&self.store).await?;
        }
        let Some(webhook) = &self.webhook else { return Ok(()) };
        self.give_up().await?;
        let due = own_activity::due(&self.store, self.clock.now().to_utc(), TOGETHER).await?;
        join_all(due.iter().map(|row| self.tell(webhook, row))).await.into_iter().collect()
    }

    async fn give_up(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut transaction = self.store.begin().await?;
        for row in own_activity::give_up(&mut transaction, now.to_utc() - UNTIL).await? {
            let tenant =
                row.tenant_id.parse().map_err(|_| StoreError::Damaged("tenant of a disowned event"))?;
            let what = ("event", row.event_id.to_string());
            let details = json!({"attempts": row.attempts, "disowned_at": time(row.disowned_at)});
            let notice = Notice::new(&tenant, "DISOWNED_NOT_TOLD", "", what, now);
            Notice { by: None, refused: true, ..notice.with(Severity::Critical, details) }
                .keep(&mut transaction)
                .await?;
            metrics::counter!("edgetrail_webhooks_total", "result" => "given_up").increment(1);
        }
        store::commit(transaction).await
    }

    /// One attempt. If it fails, the next one is due already.
    async fn tell(&self, webhook: &Webhook, row: &Row) -> Result<(), StoreError> {
        let Some(body) = self.body(row).await? else {
            return own_activity::told(&self.store, row).await;
        };
        let id = format!("msg_{}_{}", row.event_id.simple(), row.side);
        let message = Message { id, at: self.clock.now().to_utc(), body: body.to_string() };
        let sent = send(&webhook.target, &webhook.secret, &message).await;
        let result = if sent.is_ok() { "delivered" } else { "failed" };
        metrics::counter!("edgetrail_webhooks_total", "result" => result).increment(1);
        match sent {
            Ok(()) => own_activity::told(&self.store, row).await,
            Err(error) => {
                warn(&error, row);
                Ok(())
            }
        }
    }

    /// What is told; none if the event, or whose it was, is not there any more.
    async fn body(&self, row: &Row) -> Result<Option<Value>, StoreError> {
        let (tenant, id, at) = (row.tenant_id.as_str(), row.event_id, row.filed_at);
        let Some(stored) = events::find(&self.store, tenant, id, at, at).await? else { return Ok(None) };
        let event = events::read(&stored.opening).ok_or(StoreError::Damaged("event"))?;
        let side = Tie::of(&row.side).ok_or(StoreError::Damaged("side of a disowned event"))?;
        let Some(subject) = side.subject(&event).filter(|subject| tie(&event, subject) == Some(side)) else {
            return Ok(None);
        };
        Ok(Some(json!({
            "type": "activity.disowned",
            "timestamp": time(row.disowned_at),
            "data": {
                "tenant": row.tenant_id,
                "user": subject,
                "as": row.side,
                "event": {
                    "id": event.id,
                    "action": event.action,
                    "kind": Kind::of(event.action.as_str()).word(),
                    "occurred_at": event.occurred_at.to_string(),
                    "outcome": event.outcome,
                    "session": event.context.session.filter(|_| side == Tie::Actor),
                },
            },
        })))
    }
}

fn warn(error: &SendError, row: &Row) {
    tracing::warn!(%error, attempts = row.attempts, event = %row.event_id, "the application was not told, trying again later");
}
