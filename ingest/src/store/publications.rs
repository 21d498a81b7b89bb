//! Which heads are published, and what they needed for it: cosignatures and copies.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::log::LogKey;
use super::{Doing as _, Store, StoreError};

/// The newest head of a log that is not published yet.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The log.
    pub log_id: String,
    /// Whose.
    pub tenant_id: String,
    /// The origin of its checkpoints.
    pub origin: String,
    /// Its size.
    pub size: i64,
    /// The root it signs.
    pub root: Vec<u8>,
    /// The signed note.
    pub note: String,
    /// When it was signed.
    pub signed_at: DateTime<Utc>,
}

impl Waiting {
    /// The log's name.
    pub fn key(&self) -> LogKey<'_> {
        LogKey { tenant: &self.tenant_id, log_id: &self.log_id }
    }
}

/// A verified cosignature.
#[derive(Debug, Clone)]
pub struct CosignatureRow {
    /// The witness's name.
    pub witness: String,
    /// Its key's id.
    pub key_id: Vec<u8>,
    /// The signature line.
    pub line: String,
    /// When the witness says it cosigned.
    pub cosigned_at: DateTime<Utc>,
}

/// Holds the heads of one log back until they are published.
///
/// # Errors
/// If the database refuses.
pub async fn hold(connection: &mut PgConnection, log_id: &str, now: DateTime<Utc>) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into log_publications (log_id, size, published_at) values ($1, 0, $2) on conflict do nothing",
        log_id,
        now
    )
    .execute(connection)
    .await
    .doing("holding heads back")?;
    Ok(())
}

/// Serves every head as soon as it is signed.
///
/// # Errors
/// If the database refuses.
pub async fn hold_nothing(store: &Store) -> Result<(), StoreError> {
    sqlx::query!("delete from log_publications").execute(store.pool()).await.doing("serving every head")?;
    Ok(())
}

/// The newest heads that wait, of all logs.
///
/// # Errors
/// If the database refuses.
pub async fn waiting(store: &Store) -> Result<Vec<Waiting>, StoreError> {
    sqlx::query_as!(
        Waiting,
        "select l.log_id, l.tenant_id, l.origin, c.size, c.root, c.note, c.signed_at
         from log_publications p join logs l using (log_id)
         cross join lateral (select size, root, note, signed_at from log_checkpoints
                             where log_id = l.log_id order by size desc limit 1) c
         where c.size > p.size order by l.log_id"
    )
    .fetch_all(store.pool())
    .await
    .doing("looking for heads to publish")
}

/// Since when the oldest head that waits has waited, by tenant and log.
///
/// # Errors
/// If the database refuses.
pub async fn stalled(
    store: &Store,
    before: DateTime<Utc>,
) -> Result<Vec<(String, String, DateTime<Utc>)>, StoreError> {
    let rows = sqlx::query!(
        r#"select l.tenant_id, l.log_id, c.signed_at
           from log_publications p join logs l using (log_id)
           cross join lateral (select signed_at from log_checkpoints
                               where log_id = l.log_id and size > p.size order by size limit 1) c
           where c.signed_at < $1 order by l.log_id"#,
        before
    )
    .fetch_all(store.pool())
    .await
    .doing("looking for heads that wait too long")?;
    Ok(rows.into_iter().map(|row| (row.tenant_id, row.log_id, row.signed_at)).collect())
}

/// Publishes a head and with it all before it.
///
/// # Errors
/// If the database refuses.
pub async fn publish(store: &Store, log_id: &str, size: i64, now: DateTime<Utc>) -> Result<(), StoreError> {
    sqlx::query!(
        "update log_publications set size = $2, published_at = $3 where log_id = $1 and size < $2",
        log_id,
        size,
        now
    )
    .execute(store.pool())
    .await
    .doing("publishing a head")?;
    Ok(())
}

/// How far a log is published; none if its heads are not held back.
///
/// # Errors
/// If the database refuses.
pub async fn published_size(store: &Store, log_id: &str) -> Result<Option<i64>, StoreError> {
    sqlx::query_scalar!("select size from log_publications where log_id = $1", log_id)
        .fetch_optional(store.pool())
        .await
        .doing("reading how far a log is published")
}

/// Keeps a cosignature on a head.
///
/// # Errors
/// If the database refuses.
pub async fn cosigned(
    store: &Store,
    log_id: &str,
    size: i64,
    row: &CosignatureRow,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into log_cosignatures (log_id, size, witness, key_id, line, cosigned_at)
         values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
        log_id,
        size,
        row.witness,
        row.key_id,
        row.line,
        row.cosigned_at
    )
    .execute(store.pool())
    .await
    .doing("keeping a cosignature")?;
    Ok(())
}

/// The largest head of a log that a witness cosigned, as far as this database knows.
///
/// # Errors
/// If the database refuses.
pub async fn last_cosigned(store: &Store, log_id: &str, witness: &str) -> Result<Option<i64>, StoreError> {
    sqlx::query_scalar!(
        "select size from log_cosignatures where log_id = $1 and witness = $2 order by size desc limit 1",
        log_id,
        witness
    )
    .fetch_optional(store.pool())
    .await
    .doing("reading cosignatures")
}

/// The cosignatures on a head, as lines of its note.
///
/// # Errors
/// If the database refuses.
pub async fn cosignature_lines(store: &Store, log_id: &str, size: i64) -> Result<String, StoreError> {
    let lines = sqlx::query_scalar!(
        "select line from log_cosignatures where log_id = $1 and size = $2 order by witness, key_id",
        log_id,
        size
    )
    .fetch_all(store.pool())
    .await
    .doing("reading cosignatures")?;
    Ok(lines.concat())
}

/// Notes that a head was copied.
///
/// # Errors
/// If the database refuses.
pub async fn copied(store: &Store, log_id: &str, size: i64, now: DateTime<Utc>) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into log_copies (log_id, size, copied_at) values ($1, $2, $3) on conflict do nothing",
        log_id,
        size,
        now
    )
    .execute(store.pool())
    .await
    .doing("noting a copy")?;
    Ok(())
}

/// The largest head that was copied, as far as this database knows.
///
/// # Errors
/// If the database refuses.
pub async fn last_copied(store: &Store, log_id: &str) -> Result<Option<i64>, StoreError> {
    sqlx::query_scalar!("select size from log_copies where log_id = $1 order by size desc limit 1", log_id)
        .fetch_optional(store.pool())
        .await
        .doing("reading copies")
}
