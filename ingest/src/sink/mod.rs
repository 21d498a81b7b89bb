//! Forwarding a tenant's events to other systems: sinks, which pages call streams.
//!
//! A sink has a place in the tenant's log and is told what follows it, in order: places have no gap, so nothing is left out, and
//! the place moves only once the receiver said that it has everything before it. A crash in between says it twice, and every event
//! carries its id. What is sent was read from the store
//! two seconds before at most, so that an erasure reaches what still waits.
//!
//! Each sink has a task of its own ([`deliver`]) that holds no connection of the database while it waits for a receiver: one that
//! never answers delays nobody. Among several processes a lease says whose turn it is. What admins do is in [`admin`]; secrets are
//! sealed ([`vault`]) under a key that is not in the database.

mod admin;
mod deliver;
mod destination;
mod feed;
mod format;
mod send;
mod settings;
mod shelf;
pub mod vault;

use std::sync::Arc;

use rustls::ClientConfig;
use serde_json::{Value, json};
use shared::event::TenantId;
use shared::note::KeyName;
use tokio::sync::{Notify, OnceCell};
use uuid::Uuid;

pub use admin::{SinkError, Tried, Wanted};
pub use settings::{Invalid, Settings};
pub use vault::{Secret, Vault};

use self::shelf::Shelf;
use crate::clock::{Clock, random};
use crate::config;
use crate::store::sinks::{self, SinkRow};
use crate::store::{Store, StoreError, log};
use crate::view::time;

/// Every tenant's sinks.
#[derive(Debug)]
pub struct Sinks {
    store: Store,
    clock: Clock,
    config: config::Sinks,
    vault: Option<Vault>,
    /// The name that events are sent from.
    host: KeyName,
    /// This process, as it takes leases.
    me: Uuid,
    changed: Notify,
    trust: OnceCell<Arc<ClientConfig>>,
    shelf: Shelf,
}

impl Sinks {
    /// The sinks, delivered once [`Self::run`] runs.
    pub fn new(
        store: Store,
        clock: Clock,
        config: config::Sinks,
        vault: Option<Vault>,
        host: KeyName,
    ) -> Arc<Self> {
        let me = Uuid::from_bytes(random());
        Arc::new(Self {
            store,
            clock,
            config,
            vault,
            host,
            me,
            changed: Notify::new(),
            trust: OnceCell::new(),
            shelf: Shelf::default(),
        })
    }

    /// A sink as admins see it, with its health; its secret is not part of it.
    ///
    /// # Errors
    /// If the database refuses, or the sink is damaged.
    pub async fn view(&self, sink: &SinkRow) -> Result<Value, StoreError> {
        let settings = Settings::of(sink)?;
        let waiting = self.waiting(sink).await?;
        let now = self.clock.now().to_utc();
        let oldest = waiting.oldest.map(|oldest| (now - oldest).num_seconds().max(0));
        Ok(json!({
            "id": sink.sink_id,
            "name": sink.name,
            "kind": settings.kind(),
            "settings": settings.view(),
            "has_secret": sink.secret.is_some(),
            "query": sink.query,
            "max_event_bytes": sink.max_event_bytes,
            "made_by": sink.made_by,
            "made_at": time(sink.made_at),
            "health": {
                "state": sink.state,
                "sent": sink.sent,
                "attempts_failed": sink.attempts,
                "failing_since": sink.failing_since.map(time),
                "next_attempt_at": sink.next_at.map(time),
                "last_success_at": sink.last_success_at.map(time),
                "last_error": sink.last_error,
                "last_error_at": sink.last_error_at.map(time),
                "lag_events": waiting.leaves,
                "lag_seconds": oldest.unwrap_or(0),
                "oldest_waiting_at": waiting.oldest.map(time),
            },
        }))
    }

    /// What lies between a sink's place and the log's end.
    async fn waiting(&self, sink: &SinkRow) -> Result<Waiting, StoreError> {
        let logs = log::list(&self.store, Some(&sink.tenant_id)).await?;
        let here = match &sink.log_id {
            Some(id) => logs.iter().position(|log| log.log_id == *id),
            None => logs.len().checked_sub(1),
        };
        let Some(here) = here else { return Ok(Waiting::default()) };
        let newer: i64 = logs[..here].iter().map(|log| log.size).sum();
        let leaves = newer + (logs[here].size - sink.leaf).max(0);
        let mut oldest = None;
        // Of a log that is read to its end the next one is looked at.
        for (at, log) in logs[..=here].iter().enumerate().rev() {
            let leaf = if at == here { sink.leaf } else { 0 };
            if leaf < log.size {
                oldest = sinks::arrived_at(&self.store, log.key(), leaf).await?;
                break;
            }
        }
        Ok(Waiting { leaves, oldest })
    }
}

/// What a sink has not looked at.
#[derive(Debug, Clone, Copy, Default)]
struct Waiting {
    /// Places of the log.
    leaves: i64,
    /// When the first of them arrived.
    oldest: Option<chrono::DateTime<chrono::Utc>>,
}

/// The tenant of a stored sink.
fn tenant_of(sink: &SinkRow) -> Result<TenantId, StoreError> {
    sink.tenant_id.parse().map_err(|_| StoreError::Damaged("tenant of a sink"))
}
