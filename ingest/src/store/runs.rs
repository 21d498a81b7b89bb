//! Runs whose answer did not say how they ended, and what other events say of it.

use chrono::{DateTime, Utc};
use shared::event::Outcome;
use sqlx::PgConnection;
use uuid::Uuid;

use super::links::{Awaiting, Followed};
use super::{Doing as _, StoreError};

/// A run that waits for its end.
#[derive(Debug, Clone)]
pub struct PendingRun {
    /// Whose.
    pub tenant_id: String,
    /// The event.
    pub id: Uuid,
    /// Its partition key.
    pub filed_at: DateTime<Utc>,
    /// When it arrived.
    pub received_at: DateTime<Utc>,
    /// The agent.
    pub entity_id: Option<String>,
    /// The committed bytes, for the details.
    pub opening: Vec<u8>,
}

/// An event about some run: its start, its record or its use of tokens.
#[derive(Debug, Clone)]
pub struct RunEvent {
    /// The event.
    pub id: Uuid,
    /// Its partition key.
    pub filed_at: DateTime<Utc>,
    /// What happened.
    pub action: String,
    /// On which.
    pub entity_id: Option<String>,
    /// The committed bytes, for the details.
    pub opening: Vec<u8>,
}

/// Adds runs that were stored just now.
///
/// # Errors
/// If the database refuses.
pub async fn insert(connection: &mut PgConnection, runs: &[Awaiting<'_>]) -> Result<(), StoreError> {
    let tenants: Vec<_> = runs.iter().map(|it| it.tenant).collect();
    let ids: Vec<_> = runs.iter().map(|it| it.id).collect();
    let filed: Vec<_> = runs.iter().map(|it| it.filed_at).collect();
    let received: Vec<_> = runs.iter().map(|it| it.received_at).collect();
    sqlx::query!(
        "insert into open_runs (tenant_id, run_id, filed_at, received_at)
         select * from unnest($1::text[], $2::uuid[], $3::timestamptz[], $4::timestamptz[]) on conflict do nothing",
        &tenants as _,
        &ids,
        &filed,
        &received
    )
    .execute(connection)
    .await
    .doing("adding open runs")?;
    Ok(())
}

/// Whether this transaction is now the only one that completes runs.
///
/// # Errors
/// If the database refuses.
pub async fn try_lock(connection: &mut PgConnection) -> Result<bool, StoreError> {
    sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock(hashtextextended('runs', 0)) as "locked!""#)
        .fetch_one(connection)
        .await
        .doing("locking open runs")
}

/// The oldest pending runs after one.
///
/// # Errors
/// If the database refuses.
pub async fn pending(
    connection: &mut PgConnection,
    after: (DateTime<Utc>, Uuid),
    limit: i64,
) -> Result<Vec<PendingRun>, StoreError> {
    sqlx::query_as!(
        PendingRun,
        "select e.tenant_id, e.id, e.filed_at, e.received_at, e.entity_id, e.opening
         from open_runs r
         join events e on e.tenant_id = r.tenant_id and e.filed_at = r.filed_at and e.id = r.run_id
         where r.state = 'pending' and (r.filed_at, r.run_id) > ($1, $2)
         order by r.filed_at, r.run_id limit $3",
        after.0,
        after.1,
        limit
    )
    .fetch_all(connection)
    .await
    .doing("reading open runs")
}

/// Starts, records and uses of tokens between two times; of the latter two not those that failed.
///
/// # Errors
/// If the database refuses.
pub async fn beside(
    connection: &mut PgConnection,
    tenant: &str,
    span: (DateTime<Utc>, DateTime<Utc>),
) -> Result<Vec<RunEvent>, StoreError> {
    sqlx::query_as!(
        RunEvent,
        "select id, filed_at, action, entity_id, opening from events
         where tenant_id = $1 and filed_at >= $2 and filed_at <= $3 and method <> '-'
             and (action = 'AGENT_EXECUTED'
                 or action in ('EXECUTION_RECORDED', 'TOKEN_USAGE_RECORDED') and outcome <> $4)",
        tenant,
        span.0,
        span.1,
        i16::from(Outcome::Failure.byte())
    )
    .fetch_all(connection)
    .await
    .doing("reading events beside runs")
}

/// Those of these events that have completed a run.
///
/// # Errors
/// If the database refuses.
pub async fn spent(
    connection: &mut PgConnection,
    tenant: &str,
    sources: &[Uuid],
) -> Result<Vec<Uuid>, StoreError> {
    sqlx::query_scalar!(
        r#"select source_id as "source_id!" from open_runs where tenant_id = $1 and source_id = any($2)"#,
        tenant,
        sources
    )
    .fetch_all(connection)
    .await
    .doing("reading what completed runs")
}

/// Settles runs.
///
/// # Errors
/// If the database refuses.
pub async fn settle(
    connection: &mut PgConnection,
    tenant: &str,
    settled: &[Followed],
) -> Result<(), StoreError> {
    let ids: Vec<_> = settled.iter().map(|it| it.0).collect();
    let sources: Vec<_> = settled.iter().map(|it| it.1).collect();
    sqlx::query!(
        "update open_runs r set source_id = u.source_id,
             state = case when u.source_id is null then 'open' else 'completed' end
         from unnest($2::uuid[], $3::uuid[]) as u (run_id, source_id)
         where r.tenant_id = $1 and r.run_id = u.run_id and r.state = 'pending'",
        tenant,
        &ids,
        &sources as _
    )
    .execute(connection)
    .await
    .doing("settling runs")?;
    Ok(())
}
