//! When rules could look at the clock, and which hours they looked at.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use super::{Doing as _, StoreError};

/// Who is not seen for longer was away.
const AWAY_AFTER: TimeDelta = TimeDelta::minutes(5);
/// What is older is forgotten: nothing is compared with it.
const KEPT: TimeDelta = TimeDelta::days(400);

/// Notes that the backend is here.
///
/// # Errors
/// If the database refuses.
pub async fn here(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<(), StoreError> {
    let doing = "noting that rules look at the clock";
    let longer = sqlx::query!(
        "update detection_presence set to_at = greatest(to_at, $1)
         where from_at = (select max(from_at) from detection_presence where from_at <= $1) and to_at >= $2",
        now,
        now - AWAY_AFTER
    )
    .execute(&mut *connection)
    .await
    .doing(doing)?;
    if longer.rows_affected() == 0 {
        sqlx::query!(
            "insert into detection_presence (from_at, to_at) values ($1, $1) on conflict do nothing",
            now
        )
        .execute(&mut *connection)
        .await
        .doing(doing)?;
        sqlx::query!("delete from detection_presence where to_at < $1", now - KEPT)
            .execute(connection)
            .await
            .doing(doing)?;
    }
    Ok(())
}

/// Since when the backend is here without having been away.
///
/// # Errors
/// If the database refuses.
pub async fn here_since(
    connection: &mut PgConnection,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    sqlx::query_scalar!(
        r#"select max(from_at) as "from_at" from detection_presence where from_at <= $1 and to_at >= $1"#,
        now
    )
    .fetch_one(connection)
    .await
    .doing("reading since when rules look at the clock")
}

/// All spans in which the backend was here, oldest first.
///
/// # Errors
/// If the database refuses.
pub async fn all(connection: &mut PgConnection) -> Result<Vec<(DateTime<Utc>, DateTime<Utc>)>, StoreError> {
    let rows = sqlx::query!("select from_at, to_at from detection_presence order by from_at")
        .fetch_all(connection)
        .await
        .doing("reading when rules looked at the clock")?;
    Ok(rows.into_iter().map(|row| (row.from_at, row.to_at)).collect())
}

/// Takes an hour, to ask about it. False if somebody has.
///
/// # Errors
/// If the database refuses.
pub async fn take(
    connection: &mut PgConnection,
    hour: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let doing = "taking an hour";
    let taken = sqlx::query!("insert into detection_hours (hour) values ($1) on conflict do nothing", hour)
        .execute(&mut *connection)
        .await
        .doing(doing)?
        .rows_affected()
        == 1;
    if taken {
        sqlx::query!("delete from detection_hours where hour < $1", now - KEPT)
            .execute(connection)
            .await
            .doing(doing)?;
    }
    Ok(taken)
}
