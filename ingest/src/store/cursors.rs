//! How far the tasks that follow the stored events came.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Doing as _, Store, StoreError};

/// A batch's number and its arrival, which its events share.
#[derive(Debug, Clone, Copy)]
pub struct BatchPlace {
    /// Its number, in the order of storing.
    pub batch_id: i64,
    /// When it arrived.
    pub received_at: DateTime<Utc>,
}

/// The newest batch there is; zero before the first.
///
/// # Errors
/// If the database refuses.
pub async fn newest_batch(store: &Store) -> Result<i64, StoreError> {
    sqlx::query_scalar!(r#"select coalesce(max(batch_id), 0) as "newest!" from batches"#)
        .fetch_one(store.pool())
        .await
        .doing("reading the newest batch")
}

/// The transactions that are storing batches now; of `these` alone if there are any.
///
/// # Errors
/// If the database refuses.
pub async fn writers(store: &Store, these: Option<&[String]>) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar!(
        r#"select distinct virtualtransaction as "id!" from pg_locks
           where locktype = 'relation' and relation = 'batches'::regclass and mode = 'RowExclusiveLock' and granted
             and database = (select oid from pg_database where datname = current_database())
             and ($1::text[] is null or virtualtransaction = any($1))"#,
        these as _
    )
    .fetch_all(store.pool())
    .await
    .doing("looking for transactions that store batches")
}

/// Where a task stands, locked until the transaction ends: by its row, and by name, since on a cluster the row is free as soon as
/// the coordinator has committed, and the nodes have not yet.
///
/// # Errors
/// If the database refuses.
pub async fn lock(connection: &mut PgConnection, name: &str) -> Result<i64, StoreError> {
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended($1, 7162))", name)
        .execute(&mut *connection)
        .await
        .doing("waiting for a cursor")?;
    sqlx::query!("insert into correlate_cursors (name) values ($1) on conflict do nothing", name)
        .execute(&mut *connection)
        .await
        .doing("making a cursor")?;
    sqlx::query_scalar!("select batch_id from correlate_cursors where name = $1 for update", name)
        .fetch_one(connection)
        .await
        .doing("reading a cursor")
}

/// Lets a task that has no place yet begin at the newest batch.
///
/// # Errors
/// If the database refuses.
pub async fn begin_at_newest(store: &Store, name: &str) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into correlate_cursors (name, batch_id) select $1, coalesce(max(batch_id), 0) from batches
         on conflict do nothing",
        name
    )
    .execute(store.pool())
    .await
    .doing("making a cursor")?;
    Ok(())
}

/// The next batches after a place and up to another, in their order.
///
/// # Errors
/// If the database refuses.
pub async fn batches(
    connection: &mut PgConnection,
    after: i64,
    up_to: i64,
    limit: i64,
) -> Result<Vec<BatchPlace>, StoreError> {
    sqlx::query_as!(
        BatchPlace,
        "select batch_id, received_at from batches where batch_id > $1 and batch_id <= $2 order by batch_id limit $3",
        after,
        up_to,
        limit
    )
    .fetch_all(connection)
    .await
    .doing("reading the next batches")
}

/// Puts a cursor forward.
///
/// # Errors
/// If the database refuses.
pub async fn advance(connection: &mut PgConnection, name: &str, batch_id: i64) -> Result<(), StoreError> {
    sqlx::query!("update correlate_cursors set batch_id = $2 where name = $1", name, batch_id)
        .execute(connection)
        .await
        .doing("advancing a cursor")?;
    Ok(())
}
