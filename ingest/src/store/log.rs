//! The logs: pending entries, rounds, tiles, checkpoints.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Doing as _, Store, StoreError};

/// The head of a log.
#[derive(Debug, Clone)]
pub struct LogRow {
    /// Its random id.
    pub log_id: String,
    /// Whose log.
    pub tenant_id: String,
    /// The UTC year it was opened in.
    pub year: i32,
    /// The origin on its checkpoints.
    pub origin: String,
    /// Which of the year's logs: above 0 for one that was opened anew.
    pub part: i32,
    /// The key that it was opened with; [`super::log_keys`] has all of them.
    pub public_key: Vec<u8>,
    /// Entries in the tree.
    pub size: i64,
    /// The tree's right edge, 32 bytes each.
    pub peaks: Vec<u8>,
}

/// A log by its name, and whose it is: its entries stand with the tenant's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogKey<'a> {
    /// Whose.
    pub tenant: &'a str,
    /// Its random id.
    pub log_id: &'a str,
}

impl LogRow {
    /// Its name.
    pub fn key(&self) -> LogKey<'_> {
        LogKey { tenant: &self.tenant_id, log_id: &self.log_id }
    }
}

/// A signed head.
#[derive(Debug, Clone)]
pub struct CheckpointRow {
    /// Entries under it.
    pub size: i64,
    /// The root it signs.
    pub root: Vec<u8>,
    /// The signed note.
    pub note: String,
}

/// Entries of one batch.
#[derive(Debug, Clone)]
pub struct Pending {
    /// The batch.
    pub batch_id: i64,
    /// 42 bytes each.
    pub entries: Vec<u8>,
}

/// A run of entries in the tree.
#[derive(Debug, Clone)]
pub struct Round {
    /// The leaf index of the first.
    pub first_index: i64,
    /// The batch they came with; none for a succession leaf.
    pub batch_id: Option<i64>,
    /// 42 bytes each.
    pub entries: Vec<u8>,
}

/// A full tile.
#[derive(Debug, Clone)]
pub struct Tile {
    /// Its level.
    pub level: i16,
    /// Its index within the level.
    pub index: i64,
    /// 256 hashes.
    pub hashes: Vec<u8>,
    /// The root over them.
    pub root: Vec<u8>,
}

/// Queues the entries of stored batches: (tenant, batch, entries, when).
///
/// # Errors
/// If the database refuses.
pub async fn queue(
    connection: &mut PgConnection,
    rows: &[(&str, i64, &[u8], DateTime<Utc>)],
) -> Result<(), StoreError> {
    let tenant: Vec<_> = rows.iter().map(|row| row.0).collect();
    let batch: Vec<_> = rows.iter().map(|row| row.1).collect();
    let entries: Vec<_> = rows.iter().map(|row| row.2).collect();
    let n: Vec<i16> = rows.iter().map(|row| entry_count(row.2)).collect();
    let queued: Vec<_> = rows.iter().map(|row| row.3).collect();
    sqlx::query!(
        "insert into log_pending (tenant_id, batch_id, n, entries, queued_at)
         select * from unnest($1::text[], $2::bigint[], $3::smallint[], $4::bytea[], $5::timestamptz[])",
        &tenant as _,
        &batch,
        &n,
        &entries as _,
        &queued
    )
    .execute(connection)
    .await
    .doing("queueing log entries")?;
    Ok(())
}

fn entry_count(entries: &[u8]) -> i16 {
    i16::try_from(entries.len() / shared::leaf::ENTRY_LEN).expect("a batch has at most 100 events")
}

/// Tenants with pending entries.
///
/// # Errors
/// If the database refuses.
pub async fn tenants_with_pending(store: &Store) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar!("select distinct tenant_id from log_pending order by tenant_id")
        .fetch_all(store.pool())
        .await
        .doing("looking for pending entries")
}

/// Pending entries and the age of the oldest.
///
/// # Errors
/// If the database refuses.
pub async fn backlog(store: &Store) -> Result<(i64, Option<DateTime<Utc>>), StoreError> {
    let row = sqlx::query!(
        r#"select coalesce(sum(n), 0) as "entries!", min(queued_at) as oldest from log_pending"#
    )
    .fetch_one(store.pool())
    .await
    .doing("measuring pending entries")?;
    Ok((row.entries, row.oldest))
}

/// Whether this transaction is the first to want this tenant's log: the others save themselves the wait. The lock of
/// the log's row, not this one, keeps the order.
///
/// # Errors
/// If the database refuses.
pub async fn try_lead(connection: &mut PgConnection, tenant: &str) -> Result<bool, StoreError> {
    sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock(hashtextextended($1, 7160)) as "led!""#, tenant)
        .fetch_one(connection)
        .await
        .doing("leading a log")
}

/// A tenant's newest log, locked until the transaction ends.
///
/// # Errors
/// If the database refuses.
pub async fn lock_newest(connection: &mut PgConnection, tenant: &str) -> Result<Option<LogRow>, StoreError> {
    sqlx::query_as!(
        LogRow,
        "select log_id, tenant_id, year, part, origin, public_key, size, peaks from logs
         where tenant_id = $1 order by year desc, part desc limit 1 for update",
        tenant
    )
    .fetch_optional(connection)
    .await
    .doing("locking a log")
}

/// Opens a log unless the tenant has it already for the year.
///
/// Says whether this opened it.
///
/// # Errors
/// If the database refuses.
pub async fn open(
    connection: &mut PgConnection,
    log: &LogRow,
    previous: Option<&str>,
) -> Result<bool, StoreError> {
    let opened = sqlx::query!(
        "insert into logs (log_id, tenant_id, year, part, origin, public_key, previous_log_id)
         values ($1, $2, $3, $4, $5, $6, $7) on conflict (tenant_id, year, part) do nothing",
        log.log_id,
        log.tenant_id,
        log.year,
        log.part,
        log.origin,
        log.public_key,
        previous
    )
    .execute(connection)
    .await
    .doing("opening a log")?;
    Ok(opened.rows_affected() == 1)
}

/// Takes the oldest pending entries out of the queue.
///
/// # Errors
/// If the database refuses.
pub async fn take_pending(
    connection: &mut PgConnection,
    tenant: &str,
    limit: i64,
) -> Result<Vec<Pending>, StoreError> {
    let mut taken = sqlx::query_as!(
        Pending,
        "delete from log_pending where tenant_id = $1 and batch_id in
             (select batch_id from log_pending where tenant_id = $1 order by batch_id limit $2)
         returning batch_id, entries",
        tenant,
        limit
    )
    .fetch_all(connection)
    .await
    .doing("taking pending entries")?;
    taken.sort_by_key(|pending| pending.batch_id);
    Ok(taken)
}

/// Stores runs of entries.
///
/// # Errors
/// If the database refuses.
pub async fn insert_rounds(
    connection: &mut PgConnection,
    log: &LogRow,
    rounds: &[Round],
) -> Result<(), StoreError> {
    let first: Vec<_> = rounds.iter().map(|round| round.first_index).collect();
    let batch: Vec<_> = rounds.iter().map(|round| round.batch_id).collect();
    let n: Vec<_> = rounds.iter().map(|round| entry_count(&round.entries)).collect();
    let entries: Vec<_> = rounds.iter().map(|round| round.entries.as_slice()).collect();
    sqlx::query!(
        "insert into log_rounds (log_id, tenant_id, first_index, batch_id, n, entries)
         select $1, $2, * from unnest($3::bigint[], $4::bigint[], $5::smallint[], $6::bytea[])",
        log.log_id,
        log.tenant_id,
        &first,
        &batch as _,
        &n,
        &entries as _
    )
    .execute(connection)
    .await
    .doing("storing log entries")?;
    Ok(())
}

/// The runs that hold leaves `from..to`.
///
/// # Errors
/// If the database refuses.
pub async fn rounds(
    connection: &mut PgConnection,
    log: LogKey<'_>,
    from: i64,
    to: i64,
) -> Result<Vec<Round>, StoreError> {
    // A run holds at most 100 entries (shared::batch::MAX_EVENTS_PER_BATCH): the bound lets the primary key find the first.
    sqlx::query_as!(
        Round,
        "select first_index, batch_id, entries from log_rounds
         where log_id = $1 and first_index < $3 and first_index > $2::bigint - 100 and first_index + n > $2
             and tenant_id = $4
         order by first_index",
        log.log_id,
        from,
        to,
        log.tenant
    )
    .fetch_all(connection)
    .await
    .doing("reading log entries")
}

/// Stores full tiles.
///
/// # Errors
/// If the database refuses.
pub async fn insert_tiles(
    connection: &mut PgConnection,
    log_id: &str,
    tiles: &[Tile],
) -> Result<(), StoreError> {
    let level: Vec<_> = tiles.iter().map(|tile| tile.level).collect();
    let index: Vec<_> = tiles.iter().map(|tile| tile.index).collect();
    let hashes: Vec<_> = tiles.iter().map(|tile| tile.hashes.as_slice()).collect();
    let root: Vec<_> = tiles.iter().map(|tile| tile.root.as_slice()).collect();
    sqlx::query!(
        "insert into log_tiles (log_id, level, index, hashes, root)
         select $1, * from unnest($2::smallint[], $3::bigint[], $4::bytea[], $5::bytea[])",
        log_id,
        &level,
        &index,
        &hashes as _,
        &root as _
    )
    .execute(connection)
    .await
    .doing("storing tiles")?;
    Ok(())
}

/// A full tile's hashes.
///
/// # Errors
/// If the database refuses.
pub async fn tile(
    connection: &mut PgConnection,
    log_id: &str,
    level: i16,
    index: i64,
) -> Result<Option<Vec<u8>>, StoreError> {
    sqlx::query_scalar!(
        "select hashes from log_tiles where log_id = $1 and level = $2 and index = $3",
        log_id,
        level,
        index
    )
    .fetch_optional(connection)
    .await
    .doing("reading a tile")
}

/// The roots of the full tiles `from..to` of a level, in order.
///
/// # Errors
/// If the database refuses.
pub async fn tile_roots(
    connection: &mut PgConnection,
    log_id: &str,
    level: i16,
    from: i64,
    to: i64,
) -> Result<Vec<Vec<u8>>, StoreError> {
    sqlx::query_scalar!(
        "select root from log_tiles where log_id = $1 and level = $2 and index >= $3 and index < $4
         order by index",
        log_id,
        level,
        from,
        to
    )
    .fetch_all(connection)
    .await
    .doing("reading tile roots")
}

/// Stores a signed head and moves the log to it.
///
/// # Errors
/// If the database refuses; also if the log is no longer at `old_size`, which the row's lock rules out.
pub async fn advance(
    connection: &mut PgConnection,
    log: &LogRow,
    old_size: i64,
    checkpoint: &CheckpointRow,
    signed_at: DateTime<Utc>,
) -> Result<(), StoreError> {
    let doing = "storing a checkpoint";
    sqlx::query!(
        "insert into log_checkpoints (log_id, size, root, note, signed_at) values ($1, $2, $3, $4, $5)",
        log.log_id,
        checkpoint.size,
        checkpoint.root,
        checkpoint.note,
        signed_at
    )
    .execute(&mut *connection)
    .await
    .doing(doing)?;
    let moved = sqlx::query!(
        "update logs set size = $3, peaks = $4 where log_id = $1 and size = $2",
        log.log_id,
        old_size,
        checkpoint.size,
        log.peaks
    )
    .execute(connection)
    .await
    .doing(doing)?;
    if moved.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Damaged("size of a log")) }
}

/// When a log's newest head was signed; none before the first.
///
/// # Errors
/// If the database refuses.
pub async fn head_signed_at(store: &Store, log_id: &str) -> Result<Option<DateTime<Utc>>, StoreError> {
    sqlx::query_scalar!(
        "select signed_at from log_checkpoints where log_id = $1 order by size desc limit 1",
        log_id
    )
    .fetch_optional(store.pool())
    .await
    .doing("reading when a head was signed")
}

/// A log's newest signed head.
///
/// # Errors
/// If the database refuses.
pub async fn newest_checkpoint(
    connection: &mut PgConnection,
    log_id: &str,
) -> Result<Option<CheckpointRow>, StoreError> {
    sqlx::query_as!(
        CheckpointRow,
        "select size, root, note from log_checkpoints where log_id = $1 order by size desc limit 1",
        log_id
    )
    .fetch_optional(connection)
    .await
    .doing("reading a checkpoint")
}

/// A log's signed head of one size.
///
/// # Errors
/// If the database refuses.
pub async fn checkpoint_of(
    connection: &mut PgConnection,
    log_id: &str,
    size: i64,
) -> Result<Option<CheckpointRow>, StoreError> {
    sqlx::query_as!(
        CheckpointRow,
        "select size, root, note from log_checkpoints where log_id = $1 and size = $2",
        log_id,
        size
    )
    .fetch_optional(connection)
    .await
    .doing("reading a checkpoint")
}

/// The newest published head by the log's public name, with the cosignatures on it, and its tenant: the newest that had
/// its quorum, or the newest of all where none is asked for ([`super::publications`]).
///
/// # Errors
/// If the database refuses.
pub async fn published(store: &Store, log_id: &str) -> Result<Option<(String, CheckpointRow)>, StoreError> {
    let row = sqlx::query!(
        r#"select l.tenant_id, c.size, c.root, c.note, coalesce(
               (select string_agg(s.line, '' order by s.witness, s.key_id) from log_cosignatures s
                where s.log_id = c.log_id and s.size = c.size), '') as "cosignatures!"
           from logs l join log_checkpoints c using (log_id) left join log_publications p using (log_id)
           where log_id = $1 and (p.size is null or c.size <= p.size) order by c.size desc limit 1"#,
        log_id
    )
    .fetch_optional(store.pool())
    .await
    .doing("reading a checkpoint")?;
    Ok(row.map(|row| {
        let note = row.note + &row.cosignatures;
        (row.tenant_id, CheckpointRow { size: row.size, root: row.root, note })
    }))
}

/// Logs of one tenant, or of all, newest first: the first of each tenant is the one that grows.
///
/// # Errors
/// If the database refuses.
pub async fn list(store: &Store, tenant: Option<&str>) -> Result<Vec<LogRow>, StoreError> {
    sqlx::query_as!(
        LogRow,
        "select log_id, tenant_id, year, part, origin, public_key, size, peaks from logs
         where $1::text is null or tenant_id = $1 order by tenant_id, year desc, part desc",
        tenant
    )
    .fetch_all(store.pool())
    .await
    .doing("listing logs")
}

/// A log by its public name.
///
/// # Errors
/// If the database refuses.
pub async fn find(store: &Store, log_id: &str) -> Result<Option<LogRow>, StoreError> {
    sqlx::query_as!(
        LogRow,
        "select log_id, tenant_id, year, part, origin, public_key, size, peaks from logs where log_id = $1",
        log_id
    )
    .fetch_optional(store.pool())
    .await
    .doing("looking for a log")
}

/// A log by its public name, against changes until the transaction ends.
///
/// # Errors
/// If the database refuses.
pub async fn locked(connection: &mut PgConnection, log_id: &str) -> Result<Option<LogRow>, StoreError> {
    sqlx::query_as!(
        LogRow,
        "select log_id, tenant_id, year, part, origin, public_key, size, peaks from logs where log_id = $1
         for share",
        log_id
    )
    .fetch_optional(connection)
    .await
    .doing("locking a log")
}

/// The log before a log, and the note of its head that leaf 0 commits to.
///
/// # Errors
/// If the database refuses.
pub async fn succession(
    connection: &mut PgConnection,
    log_id: &str,
) -> Result<Option<(String, String)>, StoreError> {
    let row = sqlx::query!("select previous_log_id, note from log_successions where log_id = $1", log_id)
        .fetch_optional(connection)
        .await
        .doing("reading a succession")?;
    Ok(row.map(|row| (row.previous_log_id, row.note)))
}

/// Notes which head leaf 0 of a new log commits to.
///
/// # Errors
/// If the database refuses.
pub async fn succeed(
    connection: &mut PgConnection,
    log_id: &str,
    previous: &str,
    note: &str,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into log_successions (log_id, previous_log_id, note) values ($1, $2, $3)",
        log_id,
        previous,
        note
    )
    .execute(connection)
    .await
    .doing("noting a succession")?;
    Ok(())
}
