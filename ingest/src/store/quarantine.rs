//! Events that could not be stored as events, each with its leaf.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Doing as _, Store, StoreError};

/// A quarantined event on its way in.
#[derive(Debug, Clone)]
pub struct QuarantineRow {
    /// Its place in the batch.
    pub position: i16,
    /// The digest the header announced.
    pub claimed_digest: Vec<u8>,
    /// Its log entry.
    pub entry: Vec<u8>,
    /// Why it is here.
    pub reason: String,
    /// What arrived in its place, capped.
    pub raw: Option<Vec<u8>>,
    /// When.
    pub received_at: DateTime<Utc>,
}

/// A quarantined event as the admin sees it.
#[derive(Debug, Clone)]
pub struct Quarantined {
    /// Its batch.
    pub batch_id: i64,
    /// Its place in the batch.
    pub position: i16,
    /// The producer's stream.
    pub stream: Vec<u8>,
    /// The batch's place in the stream.
    pub seq: i64,
    /// The digest the header announced.
    pub claimed_digest: Vec<u8>,
    /// Its log entry.
    pub entry: Vec<u8>,
    /// Why it is here.
    pub reason: String,
    /// What arrived in its place, capped.
    pub raw: Option<Vec<u8>>,
    /// When.
    pub received_at: DateTime<Utc>,
}

/// Inserts quarantined events of batches of a tenant.
///
/// # Errors
/// If the database refuses.
pub async fn insert(
    connection: &mut PgConnection,
    rows: &[(&str, i64, &QuarantineRow)],
) -> Result<(), StoreError> {
    let tenant: Vec<_> = rows.iter().map(|row| row.0).collect();
    let batch: Vec<_> = rows.iter().map(|row| row.1).collect();
    let position: Vec<_> = rows.iter().map(|row| row.2.position).collect();
    let digest: Vec<_> = rows.iter().map(|row| row.2.claimed_digest.as_slice()).collect();
    let entry: Vec<_> = rows.iter().map(|row| row.2.entry.as_slice()).collect();
    let reason: Vec<_> = rows.iter().map(|row| row.2.reason.as_str()).collect();
    let raw: Vec<_> = rows.iter().map(|row| row.2.raw.as_deref()).collect();
    let received: Vec<_> = rows.iter().map(|row| row.2.received_at).collect();
    sqlx::query!(
        "insert into quarantine (tenant_id, batch_id, position, claimed_digest, entry, reason, raw, received_at)
         select * from unnest($1::text[], $2::bigint[], $3::smallint[], $4::bytea[], $5::bytea[], $6::text[],
                              $7::bytea[], $8::timestamptz[])
         on conflict do nothing",
        &tenant as _,
        &batch,
        &position,
        &digest as _,
        &entry as _,
        &reason as _,
        &raw as _,
        &received
    )
    .execute(connection)
    .await
    .doing("inserting into quarantine")?;
    Ok(())
}

/// A tenant's newest quarantined events.
///
/// # Errors
/// If the database refuses.
pub async fn newest(store: &Store, tenant: &str, limit: i64) -> Result<Vec<Quarantined>, StoreError> {
    sqlx::query_as!(
        Quarantined,
        "select q.batch_id, q.position, b.stream, b.seq, q.claimed_digest, q.entry, q.reason, q.raw, q.received_at
         from quarantine q join batches b using (tenant_id, batch_id)
         where q.tenant_id = $1 order by q.received_at desc, q.batch_id, q.position limit $2",
        tenant,
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("reading the quarantine")
}
