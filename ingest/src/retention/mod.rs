//! Retention: what goes when, what is held back, and the proof that nothing went early.
//!
//! A month of events is looked at when it is over and a period more has passed. What is due goes by a swap of the month's
//! table ([`crate::store::swap`]): a record first, as an event that commits to the list of leaves that lose something, then
//! one transaction that keeps the list and removes the values. The leaves stay, so every proof still holds, and each
//! carries its class and the time it arrived, so anybody can check that it was due.

mod job;
mod periods;
mod plan;

pub use job::{Done, run};
pub use periods::{Periods, PeriodsError};
pub use plan::Preview;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use shared::event::{RetentionClass, Severity, TenantId};
use uuid::Uuid;

use crate::archive::{Archive, ArchiveError};
use crate::auth::{Admin, SecondPersonError};
use crate::clock::Clock;
use crate::own::{OwnError, OwnEvent, Recorder, outbox};
use crate::store::asking_people::{self, Matter};
use crate::store::holds::{self, Hold};
use crate::store::retention::{self, PeriodsRow};
use crate::store::{Store, StoreError, Transaction};
use crate::view::time;

/// How long a single admin's change is announced before they may put it in force alone.
const NOTICE: TimeDelta = TimeDelta::days(7);
/// How long a change that makes something go earlier can still be refused after a second admin agreed.
const COOL_OFF: TimeDelta = TimeDelta::hours(24);

/// Why something about retention was not changed.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// The periods.
    #[error(transparent)]
    Periods(#[from] PeriodsError),
    /// There is no such version or hold.
    #[error("there is none of this id")]
    Missing,
    /// It was decided.
    #[error("version {version} is {state}")]
    Decided {
        /// The version.
        version: i64,
        /// Where it stands.
        state: String,
    },
    /// A newer one counts already.
    #[error("version {0} is older than one that was approved; propose it again")]
    Overtaken(i64),
    /// One admin is not two.
    #[error(transparent)]
    Second(#[from] SecondPersonError),
    /// One admin alone has to wait.
    #[error("with one admin only, a change is announced for seven days: it can be approved from {} on", time(*.0))]
    Announced(DateTime<Utc>),
    /// A hold that would cover everything.
    #[error("a hold names an entity, an actor, an action or a time")]
    NoCondition,
    /// It was released before.
    #[error("the hold was released before")]
    Released,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The event about it. The change stands, and its event is recorded later.
    #[error(transparent)]
    Own(#[from] OwnError),
    /// The archive. What did not get there is not dropped.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// Retention over a store.
#[derive(Debug, Clone)]
pub struct Retention {
    store: Store,
    recorder: Recorder,
    clock: Clock,
    archive: Option<Archive>,
}

impl Retention {
    /// Retention that records what it does.
    pub fn new(store: Store, recorder: Recorder, clock: Clock) -> Self {
        Self { store, recorder, clock, archive: None }
    }

    /// With an archive, where events go before they are dropped.
    #[must_use]
    pub fn archiving(self, archive: Option<Archive>) -> Self {
        Self { archive, ..self }
    }

    /// The periods in force and every version, newest first.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn periods(&self, tenant: &TenantId) -> Result<(Periods, Vec<PeriodsRow>), RetentionError> {
        let mut transaction = self.store.begin().await?;
        let in_force = retention::in_force(&mut transaction, tenant.as_str(), self.now()).await?;
        let all = retention::list(&mut transaction, tenant.as_str()).await?;
        Ok((in_force.as_ref().map_or_else(Periods::default, Periods::from), all))
    }

    /// Proposes periods.
    ///
    /// # Errors
    /// [`RetentionError`]
    pub async fn propose(&self, admin: Admin<'_>, periods: Periods) -> Result<i64, RetentionError> {
        let periods = periods.checked()?;
        let person = admin.standing.person()?;
        let tenant = admin.tenant.as_str();
        let mut transaction = self.store.begin().await?;
        retention::lock(&mut transaction, tenant).await?;
        let newest = retention::list(&mut transaction, tenant).await?.first().map_or(0, |row| row.version);
        let days = |days: u32| i32::try_from(days).unwrap_or(i32::MAX);
        let row = PeriodsRow {
            version: newest + 1,
            state: "proposed".to_owned(),
            standard_days: days(periods.standard_days),
            critical_days: days(periods.critical_days),
            context_days: days(periods.context_days),
            proposed_by: admin.key.to_owned(),
            proposed_at: self.now(),
            decided_by: None,
            decided_at: None,
            effective_at: None,
        };
        retention::propose(&mut transaction, tenant, &row).await?;
        let matter = Matter::Retention(row.version);
        asking_people::remember(&mut transaction, admin.tenant, matter, person).await?;
        let now = self.in_force(&mut transaction, tenant).await?;
        let details = json!({"by": admin.key, "periods": periods, "in_force": now});
        self.tell(
            &mut transaction,
            admin,
            "RETENTION_PROPOSED",
            ("retention", row.version.to_string()),
            details,
        )
        .await?;
        self.finish(transaction).await?;
        Ok(row.version)
    }

    /// Agrees with another admin's proposal. What shortens a period counts a day later, so that it can still be refused;
    /// an admin who is the only one agrees with themselves after seven days.
    ///
    /// # Errors
    /// [`RetentionError`]
    pub async fn approve(&self, admin: Admin<'_>, version: i64) -> Result<(), RetentionError> {
        let tenant = admin.tenant.as_str();
        let mut transaction = self.store.begin().await?;
        retention::lock(&mut transaction, tenant).await?;
        let all = retention::list(&mut transaction, tenant).await?;
        let row = all.iter().find(|row| row.version == version).ok_or(RetentionError::Missing)?;
        if row.state != "proposed" {
            return Err(RetentionError::Decided { version, state: row.state.clone() });
        }
        if all.iter().any(|other| other.version > version && other.state == "approved") {
            return Err(RetentionError::Overtaken(version));
        }
        let now = self.now();
        let matter = Matter::Retention(version);
        let asked = asking_people::names(&mut transaction, admin.tenant, matter).await?;
        let agreed = admin.standing.agree(&asked, now);
        let alone = agreed == Err(SecondPersonError::SamePerson)
            && !asking_people::has_second(&mut transaction, admin.tenant, &asked, now).await?;
        if !alone {
            agreed?;
        } else if now < row.proposed_at + NOTICE {
            return Err(RetentionError::Announced(row.proposed_at + NOTICE));
        }
        let (periods, before) = (Periods::from(row), self.in_force(&mut transaction, tenant).await?);
        let effective = if periods.shortens(before) && !alone { now + COOL_OFF } else { now };
        retention::decide(&mut transaction, tenant, version, admin.key, now, Some(effective)).await?;
        asking_people::forget(&mut transaction, admin.tenant, matter).await?;
        let details = json!({
            "by": admin.key, "proposed_by": row.proposed_by, "periods": periods, "in_force": before,
            "effective_at": time(effective), "second_person": !alone,
        });
        self.tell(&mut transaction, admin, "RETENTION_CHANGED", ("retention", version.to_string()), details)
            .await?;
        self.finish(transaction).await
    }

    /// Turns a proposal down, or periods that were approved and do not count yet.
    ///
    /// # Errors
    /// [`RetentionError`]
    pub async fn refuse(&self, admin: Admin<'_>, version: i64) -> Result<(), RetentionError> {
        let tenant = admin.tenant.as_str();
        let mut transaction = self.store.begin().await?;
        retention::lock(&mut transaction, tenant).await?;
        let all = retention::list(&mut transaction, tenant).await?;
        let row = all.iter().find(|row| row.version == version).ok_or(RetentionError::Missing)?;
        let now = self.now();
        let open = row.state == "proposed" || row.effective_at.is_some_and(|effective| effective > now);
        if !open {
            return Err(RetentionError::Decided { version, state: row.state.clone() });
        }
        retention::decide(&mut transaction, tenant, version, admin.key, now, None).await?;
        asking_people::forget(&mut transaction, admin.tenant, Matter::Retention(version)).await?;
        let details = json!({"by": admin.key, "proposed_by": row.proposed_by, "periods": Periods::from(row)});
        self.tell(&mut transaction, admin, "RETENTION_REFUSED", ("retention", version.to_string()), details)
            .await?;
        self.finish(transaction).await
    }

    /// Places a hold.
    ///
    /// # Errors
    /// [`RetentionError`]
    pub async fn hold(&self, admin: Admin<'_>, hold: Hold) -> Result<Hold, RetentionError> {
        if !hold.has_condition() {
            return Err(RetentionError::NoCondition);
        }
        let mut transaction = self.store.begin().await?;
        holds::insert(&mut transaction, admin.tenant.as_str(), &hold).await?;
        let entity = ("hold", hold.hold_id.to_string());
        self.tell(&mut transaction, admin, "LEGAL_HOLD_PLACED", entity, hold_details(&hold)).await?;
        self.finish(transaction).await?;
        Ok(hold)
    }

    /// Releases a hold.
    ///
    /// # Errors
    /// [`RetentionError`]
    pub async fn release(&self, admin: Admin<'_>, id: Uuid) -> Result<Hold, RetentionError> {
        let tenant = admin.tenant.as_str();
        let mut transaction = self.store.begin().await?;
        let released = holds::release(&mut transaction, tenant, id, admin.key, self.now()).await?;
        let hold = holds::find(&mut transaction, tenant, id).await?.ok_or(RetentionError::Missing)?;
        if !released {
            return Err(RetentionError::Released);
        }
        let entity = ("hold", id.to_string());
        self.tell(&mut transaction, admin, "LEGAL_HOLD_RELEASED", entity, hold_details(&hold)).await?;
        self.finish(transaction).await?;
        Ok(hold)
    }

    async fn in_force(
        &self,
        connection: &mut sqlx::PgConnection,
        tenant: &str,
    ) -> Result<Periods, StoreError> {
        let row = retention::in_force(connection, tenant, self.now()).await?;
        Ok(row.as_ref().map_or_else(Periods::default, Periods::from))
    }

    async fn tell(
        &self,
        connection: &mut sqlx::PgConnection,
        admin: Admin<'_>,
        action: &str,
        (kind, id): (&str, String),
        details: Value,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let event = OwnEvent::new(admin.tenant, action, "ingest/retention", now, kind, &id).by(admin.key);
        let event = OwnEvent {
            severity: Severity::Critical,
            class: RetentionClass::Permanent,
            details: Some(details),
            ..event
        };
        outbox::keep(connection, &event).await
    }

    async fn finish(&self, transaction: Transaction) -> Result<(), RetentionError> {
        crate::store::commit(transaction).await?;
        // Whoever asked has their answer after the event is durable; should that fail, the job records it.
        if let Err(error) = outbox::record(&self.store, &self.recorder).await {
            tracing::warn!(%error, "a change of retention is recorded later");
        }
        Ok(())
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now().to_utc()
    }
}

/// A hold as its event tells it. The reason is an admin's free text and may name people, so it stays out of what can
/// never be erased.
fn hold_details(hold: &Hold) -> Value {
    json!({
        "entity_type": hold.entity_type, "entity_id": hold.entity_id, "actor_id": hold.actor_id,
        "action": hold.action, "from": hold.from_at.map(time), "to": hold.to_at.map(time),
        "placed_by": hold.placed_by,
    })
}
