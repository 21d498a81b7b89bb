//! The keys that a log names.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Doing as _, StoreError};

/// A key of a log.
#[derive(Debug, Clone)]
pub struct NamedKey {
    /// The public key.
    pub public_key: Vec<u8>,
    /// Since when the log names it.
    pub named_at: DateTime<Utc>,
    /// Since when it signs no more.
    pub retired_at: Option<DateTime<Utc>>,
}

/// Names a key; one that is named already stays as it is.
///
/// # Errors
/// If the database refuses.
pub async fn name(
    connection: &mut PgConnection,
    log_id: &str,
    public_key: &[u8],
    at: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let named = sqlx::query!(
        "insert into log_keys (log_id, public_key, named_at) values ($1, $2, $3) on conflict do nothing",
        log_id,
        public_key,
        at
    )
    .execute(connection)
    .await
    .doing("naming a key of a log")?;
    Ok(named.rows_affected() == 1)
}

/// Retires every key but one.
///
/// # Errors
/// If the database refuses.
pub async fn retire_others(
    connection: &mut PgConnection,
    log_id: &str,
    kept: &[u8],
    at: DateTime<Utc>,
) -> Result<Vec<Vec<u8>>, StoreError> {
    sqlx::query_scalar!(
        "update log_keys set retired_at = $3 where log_id = $1 and public_key <> $2 and retired_at is null
         returning public_key",
        log_id,
        kept,
        at
    )
    .fetch_all(connection)
    .await
    .doing("retiring keys of a log")
}

/// The keys of a log, oldest first, also retired ones.
///
/// # Errors
/// If the database refuses.
pub async fn of(connection: &mut PgConnection, log_id: &str) -> Result<Vec<NamedKey>, StoreError> {
    sqlx::query_as!(
        NamedKey,
        "select public_key, named_at, retired_at from log_keys where log_id = $1 order by named_at, public_key",
        log_id
    )
    .fetch_all(connection)
    .await
    .doing("reading the keys of a log")
}
