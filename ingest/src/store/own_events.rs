//! Events of our own that wait to be recorded, as text.

use sqlx::PgConnection;

use super::{Doing as _, StoreError};

/// Keeps an event, in the transaction of what it tells of.
///
/// # Errors
/// If the database refuses.
pub async fn keep(connection: &mut PgConnection, event: &str) -> Result<(), StoreError> {
    sqlx::query!("insert into own_events_waiting (event) values ($1)", event)
        .execute(connection)
        .await
        .doing("keeping an event of our own")?;
    Ok(())
}

/// Takes the oldest events that nobody else is at; they are gone once the transaction ends well.
///
/// # Errors
/// If the database refuses.
pub async fn take(connection: &mut PgConnection, limit: i64) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar!(
        "delete from own_events_waiting where id in (
             select id from own_events_waiting order by id limit $1 for update skip locked)
         returning event",
        limit
    )
    .fetch_all(connection)
    .await
    .doing("taking events of our own")
}
