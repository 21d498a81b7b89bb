//! What continuous verification reads and what it found.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Doing as _, Store, StoreError};

/// One look at a log.
#[derive(Debug, Clone)]
pub struct ResultRow {
    /// Whose log.
    pub tenant_id: String,
    /// The log.
    pub log_id: String,
    /// Which of the schedules.
    pub kind: String,
    /// When the look began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
    /// The first leaf that was looked at.
    pub from_index: i64,
    /// How far the log was verified.
    pub size: i64,
    /// Leaves whose openings are whole.
    pub open: i64,
    /// Leaves of which fields are erased.
    pub erased: i64,
    /// Leaves whose openings are gone or were set aside, as is on record.
    pub dropped: i64,
    /// Leaves that lost something without a record.
    pub unexplained: i64,
    /// Leaves and tiles that are not what was signed.
    pub mismatched: i64,
    /// The first thing that is wrong.
    pub finding: Option<String>,
}

/// Whether this transaction is the first to do what has this name. Others do not wait.
///
/// # Errors
/// If the database refuses.
pub async fn try_lead(connection: &mut PgConnection, name: &str) -> Result<bool, StoreError> {
    sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock(hashtextextended($1, 7165)) as "led!""#, name)
        .fetch_one(connection)
        .await
        .doing("leading a verification")
}

/// Keeps a result.
///
/// # Errors
/// If the database refuses.
pub async fn insert(connection: &mut PgConnection, row: &ResultRow) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into integrity_results (tenant_id, log_id, kind, started_at, finished_at, from_index, size, open, erased,
             dropped, unexplained, mismatched, finding)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        row.tenant_id,
        row.log_id,
        row.kind,
        row.started_at,
        row.finished_at,
        row.from_index,
        row.size,
        row.open,
        row.erased,
        row.dropped,
        row.unexplained,
        row.mismatched,
        row.finding
    )
    .execute(connection)
    .await
    .doing("keeping a verification's result")?;
    Ok(())
}

/// The newest result of a kind for a log.
///
/// # Errors
/// If the database refuses.
pub async fn newest(
    connection: &mut PgConnection,
    log_id: &str,
    kind: &str,
) -> Result<Option<ResultRow>, StoreError> {
    sqlx::query_as!(
        ResultRow,
        "select tenant_id, log_id, kind, started_at, finished_at, from_index, size, open, erased, dropped, unexplained,
             mismatched, finding
         from integrity_results where log_id = $1 and kind = $2 order by finished_at desc, result_id desc limit 1",
        log_id,
        kind
    )
    .fetch_optional(connection)
    .await
    .doing("reading a verification's result")
}

/// The newest result of each kind for each log of a tenant.
///
/// # Errors
/// If the database refuses.
pub async fn latest(store: &Store, tenant: &str) -> Result<Vec<ResultRow>, StoreError> {
    sqlx::query_as!(
        ResultRow,
        "select distinct on (log_id, kind) tenant_id, log_id, kind, started_at, finished_at, from_index, size, open,
             erased, dropped, unexplained, mismatched, finding
         from integrity_results where tenant_id = $1 order by log_id, kind, finished_at desc, result_id desc",
        tenant
    )
    .fetch_all(store.pool())
    .await
    .doing("reading verification results")
}

/// The newest results of a tenant that found something, newest first.
///
/// # Errors
/// If the database refuses.
pub async fn failures(store: &Store, tenant: &str, limit: i64) -> Result<Vec<ResultRow>, StoreError> {
    sqlx::query_as!(
        ResultRow,
        "select tenant_id, log_id, kind, started_at, finished_at, from_index, size, open, erased, dropped, unexplained,
             mismatched, finding
         from integrity_results where tenant_id = $1 and finding is not null
         order by finished_at desc, result_id desc limit $2",
        tenant,
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("reading verification results")
}

/// When a log was opened.
///
/// # Errors
/// If the database refuses.
pub async fn opened_at(connection: &mut PgConnection, log_id: &str) -> Result<DateTime<Utc>, StoreError> {
    sqlx::query_scalar!("select created_at from logs where log_id = $1", log_id)
        .fetch_one(connection)
        .await
        .doing("reading when a log was opened")
}

/// A tenant's entries that are not in a log yet, and the time of the oldest.
///
/// # Errors
/// If the database refuses.
pub async fn pending(
    connection: &mut PgConnection,
    tenant: &str,
) -> Result<(i64, Option<DateTime<Utc>>), StoreError> {
    let row = sqlx::query!(
        r#"select coalesce(sum(n), 0) as "entries!", min(queued_at) as oldest from log_pending where tenant_id = $1"#,
        tenant
    )
    .fetch_one(connection)
    .await
    .doing("measuring pending entries")?;
    Ok((row.entries, row.oldest))
}
