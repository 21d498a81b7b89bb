//! How long a tenant's events are kept, and what was done about it.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Doing as _, Store, StoreError};

/// A version of a tenant's periods.
#[derive(Debug, Clone)]
pub struct PeriodsRow {
    /// Rises strictly.
    pub version: i64,
    /// `proposed`, `approved` or `refused`.
    pub state: String,
    /// Of standard events.
    pub standard_days: i32,
    /// Of critical events.
    pub critical_days: i32,
    /// Of personal context.
    pub context_days: i32,
    /// The key of the admin who proposed it.
    pub proposed_by: String,
    /// When.
    pub proposed_at: DateTime<Utc>,
    /// The key of the admin who decided.
    pub decided_by: Option<String>,
    /// When.
    pub decided_at: Option<DateTime<Utc>>,
    /// From when on it counts.
    pub effective_at: Option<DateTime<Utc>>,
}

/// What one look at a month led to.
#[derive(Debug, Clone)]
pub struct RunRow {
    /// Whose.
    pub tenant_id: String,
    /// The month.
    pub month: NaiveDate,
    /// `events` or `context`.
    pub what: String,
    /// Of the events; -1 for context.
    pub class: i16,
    /// When.
    pub ran_at: DateTime<Utc>,
    /// Leaves that lost something.
    pub leaves: i64,
    /// Events that were due and stay for a hold.
    pub held: i64,
    /// The record, if something was removed.
    pub record_id: Option<Uuid>,
}

/// Keeps every other change of this tenant's periods out until the transaction ends.
///
/// # Errors
/// If the database refuses.
pub async fn lock(connection: &mut PgConnection, tenant: &str) -> Result<(), StoreError> {
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended('retention ' || $1, 0))", tenant)
        .execute(connection)
        .await
        .doing("locking the periods")?;
    Ok(())
}

/// A tenant's versions, newest first.
///
/// # Errors
/// If the database refuses.
pub async fn list(connection: &mut PgConnection, tenant: &str) -> Result<Vec<PeriodsRow>, StoreError> {
    sqlx::query_as!(
        PeriodsRow,
        "select version, state, standard_days, critical_days, context_days, proposed_by, proposed_at, decided_by,
                decided_at, effective_at
         from retention_policies where tenant_id = $1 order by version desc limit 200",
        tenant
    )
    .fetch_all(connection)
    .await
    .doing("reading the periods")
}

/// The version in force at a time.
///
/// # Errors
/// If the database refuses.
pub async fn in_force(
    connection: &mut PgConnection,
    tenant: &str,
    at: DateTime<Utc>,
) -> Result<Option<PeriodsRow>, StoreError> {
    sqlx::query_as!(
        PeriodsRow,
        "select version, state, standard_days, critical_days, context_days, proposed_by, proposed_at, decided_by,
                decided_at, effective_at
         from retention_policies where tenant_id = $1 and effective_at <= $2 order by version desc limit 1",
        tenant,
        at
    )
    .fetch_optional(connection)
    .await
    .doing("reading the periods in force")
}

/// Proposes a version.
///
/// # Errors
/// If the database refuses.
pub async fn propose(
    connection: &mut PgConnection,
    tenant: &str,
    row: &PeriodsRow,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into retention_policies (tenant_id, version, state, standard_days, critical_days, context_days,
                                         proposed_by, proposed_at)
         values ($1, $2, 'proposed', $3, $4, $5, $6, $7)",
        tenant,
        row.version,
        row.standard_days,
        row.critical_days,
        row.context_days,
        row.proposed_by,
        row.proposed_at
    )
    .execute(connection)
    .await
    .doing("proposing periods")?;
    Ok(())
}

/// Decides on a version: it counts from a time on, or is refused.
///
/// # Errors
/// If the database refuses.
pub async fn decide(
    connection: &mut PgConnection,
    tenant: &str,
    version: i64,
    by: &str,
    at: DateTime<Utc>,
    effective_at: Option<DateTime<Utc>>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "update retention_policies
         set state = case when $5::timestamptz is null then 'refused' else 'approved' end,
             decided_by = $3, decided_at = $4, effective_at = $5
         where tenant_id = $1 and version = $2",
        tenant,
        version,
        by,
        at,
        effective_at
    )
    .execute(connection)
    .await
    .doing("deciding on periods")?;
    Ok(())
}

/// Tenants that have a log, and so events.
///
/// # Errors
/// If the database refuses.
pub async fn tenants(connection: &mut PgConnection) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar!("select distinct tenant_id from logs order by tenant_id")
        .fetch_all(connection)
        .await
        .doing("listing tenants")
}

/// Tenants whose log has entries that wait since before a time: their events have no place yet.
///
/// # Errors
/// If the database refuses.
pub async fn unsequenced(
    connection: &mut PgConnection,
    before: DateTime<Utc>,
) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar!("select distinct tenant_id from log_pending where queued_at < $1", before)
        .fetch_all(connection)
        .await
        .doing("looking for pending entries")
}

/// Looks at months after a time, by tenant.
///
/// # Errors
/// If the database refuses.
pub async fn runs_since(
    connection: &mut PgConnection,
    tenant: &str,
    since: DateTime<Utc>,
) -> Result<Vec<RunRow>, StoreError> {
    sqlx::query_as!(
        RunRow,
        "select tenant_id, month, what, class, ran_at, leaves, held, record_id
         from retention_runs where tenant_id = $1 and ran_at >= $2",
        tenant,
        since
    )
    .fetch_all(connection)
    .await
    .doing("reading what retention did")
}

/// What retention removed of a tenant's, newest first.
///
/// # Errors
/// If the database refuses.
pub async fn drops(store: &Store, tenant: &str, limit: i64) -> Result<Vec<RunRow>, StoreError> {
    sqlx::query_as!(
        RunRow,
        "select tenant_id, month, what, class, ran_at, leaves, held, record_id
         from retention_runs where tenant_id = $1 and record_id is not null
         order by ran_at desc, month desc, what, class limit $2",
        tenant,
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("reading what retention dropped")
}

/// Notes what a look led to.
///
/// # Errors
/// If the database refuses.
pub async fn note_run(connection: &mut PgConnection, run: &RunRow) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into retention_runs (tenant_id, month, what, class, ran_at, leaves, held, record_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing",
        run.tenant_id,
        run.month,
        run.what,
        run.class,
        run.ran_at,
        run.leaves,
        run.held,
        run.record_id
    )
    .execute(connection)
    .await
    .doing("noting what retention did")?;
    Ok(())
}

/// When a change last made months due again that were looked at: a hold that was released.
///
/// # Errors
/// If the database refuses.
pub async fn last_release(
    connection: &mut PgConnection,
    tenant: &str,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    sqlx::query_scalar!("select max(released_at) from legal_holds where tenant_id = $1", tenant)
        .fetch_one(connection)
        .await
        .doing("reading released holds")
}

/// Deletes what was derived from events and is older. How many rows.
///
/// # Errors
/// If the database refuses.
pub async fn clear(
    connection: &mut PgConnection,
    tenant: &str,
    before: DateTime<Utc>,
) -> Result<i64, StoreError> {
    sqlx::query_scalar!(r#"select retention_clear($1, $2) as "cleared!""#, tenant, before)
        .fetch_one(connection)
        .await
        .doing("clearing what was derived")
}

/// Takes the lock of the one process that does retention, until the transaction ends. False if another has it.
///
/// # Errors
/// If the database refuses.
pub async fn try_lead(connection: &mut PgConnection) -> Result<bool, StoreError> {
    let doing = "leading retention";
    // A month may take longer than a transaction may otherwise be idle.
    sqlx::query!("set local idle_in_transaction_session_timeout = 0")
        .execute(&mut *connection)
        .await
        .doing(doing)?;
    sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock(7163) as "led!""#)
        .fetch_one(connection)
        .await
        .doing(doing)
}
