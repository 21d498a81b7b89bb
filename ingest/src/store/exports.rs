//! Exports: one row each, which is the export's manifest.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Doing as _, Store, StoreError};

/// An export.
#[derive(Debug, Clone)]
pub struct ExportRow {
    /// Whose events.
    pub tenant_id: String,
    /// Its id.
    pub export_id: Uuid,
    /// The key it was asked for with.
    pub made_by: String,
    /// The canonical search.
    pub query: String,
    /// Filed at or after.
    pub window_from: DateTime<Utc>,
    /// Filed before.
    pub window_to: Option<DateTime<Utc>>,
    /// The snapshot: what arrived later is not in it.
    pub until_at: DateTime<Utc>,
    /// The word for its format.
    pub format: String,
    /// Whether it is compressed.
    pub gzip: bool,
    /// Whether each event comes with its proof.
    pub proofs: bool,
    /// Whether it is made into a file, in the background.
    pub job: bool,
    /// `queued`, `running`, `complete`, `cut_off` or `expired`.
    pub state: String,
    /// Events so far.
    pub rows: i64,
    /// Bytes so far, before compression.
    pub bytes: i64,
    /// SHA-256 of them, once it has ended.
    pub sha256: Option<Vec<u8>>,
    /// When it was asked for.
    pub began_at: DateTime<Utc>,
    /// When somebody worked on it last.
    pub progressed_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

/// How far an export is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The word for its state.
    pub state: &'static str,
    /// Events.
    pub rows: i64,
    /// Bytes, before compression.
    pub bytes: i64,
    /// SHA-256 of them.
    pub sha256: Option<&'a [u8; 32]>,
    /// When.
    pub at: DateTime<Utc>,
    /// Whether nothing comes after it.
    pub ended: bool,
}

/// Adds an export.
///
/// # Errors
/// If the database refuses.
pub async fn insert(store: &Store, row: &ExportRow) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into exports (tenant_id, export_id, made_by, query, window_from, window_to, until_at, format, gzip,
             proofs, job, state, began_at, progressed_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13)",
        row.tenant_id,
        row.export_id,
        row.made_by,
        row.query,
        row.window_from,
        row.window_to,
        row.until_at,
        row.format,
        row.gzip,
        row.proofs,
        row.job,
        row.state,
        row.began_at
    )
    .execute(store.pool())
    .await
    .doing("adding an export")?;
    Ok(())
}

/// An export by its id.
///
/// # Errors
/// If the database refuses.
pub async fn find(store: &Store, tenant: &str, id: Uuid) -> Result<Option<ExportRow>, StoreError> {
    sqlx::query_as!(
        ExportRow,
        "select tenant_id, export_id, made_by, query, window_from, window_to, until_at, format, gzip, proofs, job,
             state, rows, bytes, sha256, began_at, progressed_at, ended_at
         from exports where tenant_id = $1 and export_id = $2",
        tenant,
        id
    )
    .fetch_optional(store.pool())
    .await
    .doing("reading an export")
}

/// A tenant's exports, newest first.
///
/// # Errors
/// If the database refuses.
pub async fn list(store: &Store, tenant: &str, limit: i64) -> Result<Vec<ExportRow>, StoreError> {
    sqlx::query_as!(
        ExportRow,
        "select tenant_id, export_id, made_by, query, window_from, window_to, until_at, format, gzip, proofs, job,
             state, rows, bytes, sha256, began_at, progressed_at, ended_at
         from exports where tenant_id = $1 order by export_id desc limit $2",
        tenant,
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("reading exports")
}

/// Says how far an export is.
///
/// # Errors
/// If the database refuses.
pub async fn progress(store: &Store, tenant: &str, id: Uuid, now: Progress<'_>) -> Result<(), StoreError> {
    sqlx::query!(
        "update exports set state = $3, rows = $4, bytes = $5, sha256 = $6, progressed_at = $7::timestamptz,
             ended_at = case when $8 then $7::timestamptz end
         where tenant_id = $1 and export_id = $2",
        tenant,
        id,
        now.state,
        now.rows,
        now.bytes,
        now.sha256.map(<[u8; 32]>::as_slice),
        now.at,
        now.ended
    )
    .execute(store.pool())
    .await
    .doing("saying how far an export is")?;
    Ok(())
}

/// Takes the oldest job that waits, or that nobody has worked on since `stale`, of a tenant of which no other runs.
///
/// # Errors
/// If the database refuses.
pub async fn claim(
    store: &Store,
    now: DateTime<Utc>,
    stale: DateTime<Utc>,
) -> Result<Option<ExportRow>, StoreError> {
    sqlx::query_as!(
        ExportRow,
        "update exports set state = 'running', progressed_at = $1, rows = 0, bytes = 0
         where (tenant_id, export_id) = (
             select e.tenant_id, e.export_id from exports e
             where e.job and (e.state = 'queued' or e.state = 'running' and e.progressed_at < $2)
               and not exists (select 1 from exports o where o.tenant_id = e.tenant_id and o.job
                   and o.state = 'running' and o.progressed_at >= $2)
             order by e.began_at limit 1 for update skip locked)
         returning tenant_id, export_id, made_by, query, window_from, window_to, until_at, format, gzip, proofs, job,
             state, rows, bytes, sha256, began_at, progressed_at, ended_at",
        now,
        stale
    )
    .fetch_optional(store.pool())
    .await
    .doing("taking a job of an export")
}

/// Lets the files of jobs that ended before a time go, and says which.
///
/// # Errors
/// If the database refuses.
pub async fn expire(store: &Store, before: DateTime<Utc>) -> Result<Vec<ExportRow>, StoreError> {
    sqlx::query_as!(
        ExportRow,
        "update exports set state = 'expired' where job and state = 'complete' and ended_at < $1
         returning tenant_id, export_id, made_by, query, window_from, window_to, until_at, format, gzip, proofs, job,
             state, rows, bytes, sha256, began_at, progressed_at, ended_at",
        before
    )
    .fetch_all(store.pool())
    .await
    .doing("letting exports go")
}
