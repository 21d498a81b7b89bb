//! Batches and their idempotency: the row of a batch decides whether its events are new.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Doing as _, StoreError};

/// The row of a batch.
#[derive(Debug, Clone)]
pub struct BatchRow {
    /// Whose events.
    pub tenant: String,
    /// The producer's stream.
    pub stream: Vec<u8>,
    /// The place in the stream.
    pub seq: i64,
    /// SHA-256 of the header's text.
    pub header_hash: Vec<u8>,
    /// The hash the header gives for the one before it.
    pub prev: Vec<u8>,
    /// The signed note as received.
    pub header: String,
    /// When it was sealed.
    pub sent_at: DateTime<Utc>,
    /// When it arrived.
    pub received_at: DateTime<Utc>,
    /// Events in the body.
    pub count: i16,
    /// Events the producer had to discard before.
    pub dropped: i64,
    /// Whether the chain of headers holds at this place; none while no neighbour is known.
    pub prev_ok: Option<bool>,
}

/// A batch's identity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchKey {
    /// Whose events.
    pub tenant: String,
    /// The producer's stream.
    pub stream: Vec<u8>,
    /// The place in the stream.
    pub seq: i64,
}

impl BatchRow {
    /// The batch's identity.
    pub fn key(&self) -> BatchKey {
        BatchKey { tenant: self.tenant.clone(), stream: self.stream.clone(), seq: self.seq }
    }
}

/// A stored batch, as far as its neighbours and repeats need it.
#[derive(Debug, Clone)]
pub struct Known {
    /// Which.
    pub key: BatchKey,
    /// SHA-256 of its header's text.
    pub header_hash: Vec<u8>,
    /// The hash it gives for the one before it.
    pub prev: Vec<u8>,
}

/// The stored ones among these batches and their direct neighbours.
///
/// # Errors
/// If the database refuses.
pub async fn known(connection: &mut PgConnection, keys: &[BatchKey]) -> Result<Vec<Known>, StoreError> {
    let around: Vec<(&str, &[u8], i64)> = keys
        .iter()
        .flat_map(|key| {
            (-1..=1).filter_map(|step| {
                Some((key.tenant.as_str(), key.stream.as_slice(), key.seq.checked_add(step)?))
            })
        })
        .collect();
    let tenants: Vec<_> = around.iter().map(|key| key.0).collect();
    let streams: Vec<_> = around.iter().map(|key| key.1).collect();
    let seqs: Vec<_> = around.iter().map(|key| key.2).collect();
    let rows = sqlx::query!(
        "select distinct b.tenant_id, b.stream, b.seq, b.header_hash, b.prev
         from unnest($1::text[], $2::bytea[], $3::bigint[]) as k (tenant_id, stream, seq)
         join batches b using (tenant_id, stream, seq)",
        &tenants as _,
        &streams as _,
        &seqs
    )
    .fetch_all(connection)
    .await
    .doing("looking batches up")?;
    Ok(rows
        .into_iter()
        .map(|row| Known {
            key: BatchKey { tenant: row.tenant_id, stream: row.stream, seq: row.seq },
            header_hash: row.header_hash,
            prev: row.prev,
        })
        .collect())
}

/// Inserts the batches that are new and gives their identities. The order of `rows` is the order of locking: callers
/// sort it, so that two processes with the same batches cannot wait for each other.
///
/// # Errors
/// If the database refuses.
pub async fn insert(
    connection: &mut PgConnection,
    rows: &[&BatchRow],
) -> Result<Vec<(BatchKey, i64)>, StoreError> {
    fn each<'a, T>(rows: &[&'a BatchRow], read: impl Fn(&'a BatchRow) -> T) -> Vec<T> {
        rows.iter().map(|row| read(row)).collect()
    }
    let inserted = sqlx::query!(
        "insert into batches (tenant_id, stream, seq, header_hash, prev, header, sent_at, received_at, count, dropped,
                              prev_ok)
         select * from unnest($1::text[], $2::bytea[], $3::bigint[], $4::bytea[], $5::bytea[], $6::text[],
                              $7::timestamptz[], $8::timestamptz[], $9::smallint[], $10::bigint[], $11::boolean[])
         on conflict (tenant_id, stream, seq) do nothing
         returning batch_id, tenant_id, stream, seq",
        &each(rows, |row| row.tenant.as_str()) as _,
        &each(rows, |row| row.stream.as_slice()) as _,
        &each(rows, |row| row.seq),
        &each(rows, |row| row.header_hash.as_slice()) as _,
        &each(rows, |row| row.prev.as_slice()) as _,
        &each(rows, |row| row.header.as_str()) as _,
        &each(rows, |row| row.sent_at),
        &each(rows, |row| row.received_at),
        &each(rows, |row| row.count),
        &each(rows, |row| row.dropped),
        &each(rows, |row| row.prev_ok) as _
    )
    .fetch_all(connection)
    .await
    .doing("inserting batches")?;
    Ok(inserted
        .into_iter()
        .map(|row| {
            let key = BatchKey { tenant: row.tenant_id, stream: row.stream, seq: row.seq };
            (key, row.batch_id)
        })
        .collect())
}

/// Keeps the proof that a second header was signed for a place in a stream. True if it was not known yet.
///
/// # Errors
/// If the database refuses.
pub async fn record_equivocation(connection: &mut PgConnection, row: &BatchRow) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "insert into equivocations (tenant_id, stream, seq, header_hash, header, received_at)
         values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
        row.tenant,
        row.stream,
        row.seq,
        row.header_hash,
        row.header,
        row.received_at
    )
    .execute(connection)
    .await
    .doing("recording an equivocation")?;
    Ok(done.rows_affected() == 1)
}
