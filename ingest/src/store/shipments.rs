//! What goes to the archive and what went there.

use chrono::{DateTime, Months, NaiveDate, NaiveTime, Utc};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use sqlx::{AssertSqlSafe, FromRow, PgConnection};
use uuid::Uuid;

use super::holds::HELD;
use super::{Doing as _, Store, StoreError};

/// What went to the archive together: one tenant's events of one class out of one month.
#[derive(Debug, Clone)]
pub struct ShipmentRow {
    /// Whose.
    pub tenant_id: String,
    /// Its id.
    pub shipment_id: Uuid,
    /// Out of which month.
    pub month: NaiveDate,
    /// Of which class.
    pub class: i16,
    /// How many events.
    pub events: i64,
    /// How many bytes they took.
    pub bytes: i64,
    /// When the newest of them had arrived.
    pub newest_at: DateTime<Utc>,
    /// When.
    pub shipped_at: DateTime<Utc>,
    /// The record that the archive let it go as well.
    pub expired_by: Option<Uuid>,
}

/// An event on its way to the archive.
#[derive(Debug, Clone, FromRow)]
pub struct Leaving {
    /// Its log.
    pub log_id: String,
    /// Its leaf there.
    pub leaf: i64,
    /// Its id.
    pub id: Uuid,
    /// The month's key.
    pub filed_at: DateTime<Utc>,
    /// When it arrived.
    pub received_at: DateTime<Utc>,
    /// Its batch.
    pub batch_id: i64,
    /// Its place there.
    pub position: i16,
    /// The committed bytes, or what is left of them.
    pub opening: Vec<u8>,
    /// Its actor as the row says.
    pub actor_id: Option<String>,
}

/// Which events leave: those of a tenant and class in a month that arrived at a time or before, and that no hold keeps.
#[derive(Debug, Clone, Copy)]
pub struct Leave<'a> {
    /// Whose.
    pub tenant: &'a str,
    /// Out of which month.
    pub month: NaiveDate,
    /// Of which class.
    pub class: i16,
    /// Arrived then or before.
    pub before: DateTime<Utc>,
}

/// The events that leave, by log and leaf.
pub fn leaving<'a>(
    connection: &'a mut PgConnection,
    leave: Leave<'a>,
) -> BoxStream<'a, Result<Leaving, StoreError>> {
    let sql = format!(
        "select r.log_id, r.first_index + e.position as leaf, e.id, e.filed_at, e.received_at, e.batch_id, e.position,
                e.opening, e.actor_id
         from events e
         join log_rounds r on r.tenant_id = e.tenant_id and r.batch_id = e.batch_id
         join logs l on l.tenant_id = $1 and l.log_id = r.log_id
         where e.tenant_id = $1 and e.filed_at >= $2 and e.filed_at < $3 and e.class = $4 and e.received_at <= $5
           and not {HELD}
         order by l.year, l.part, leaf"
    );
    let at = |month: NaiveDate| month.and_time(NaiveTime::MIN).and_utc();
    sqlx::query_as(AssertSqlSafe(sql))
        .bind(leave.tenant)
        .bind(at(leave.month))
        .bind(at(leave.month + Months::new(1)))
        .bind(leave.class)
        .bind(leave.before)
        .fetch(connection)
        .map(|row| row.doing("reading what leaves for the archive"))
        .boxed()
}

/// Keeps that a shipment lies in the archive, in the transaction that drops its events.
///
/// # Errors
/// If the database refuses.
pub async fn insert(connection: &mut PgConnection, row: &ShipmentRow) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into archive_shipments (tenant_id, shipment_id, month, class, events, bytes, newest_at, shipped_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        row.tenant_id,
        row.shipment_id,
        row.month,
        row.class,
        row.events,
        row.bytes,
        row.newest_at,
        row.shipped_at
    )
    .execute(connection)
    .await
    .doing("keeping what went to the archive")?;
    Ok(())
}

/// A tenant's shipments, the oldest first.
///
/// # Errors
/// If the database refuses.
pub async fn list(connection: &mut PgConnection, tenant: &str) -> Result<Vec<ShipmentRow>, StoreError> {
    sqlx::query_as!(
        ShipmentRow,
        "select tenant_id, shipment_id, month, class, events, bytes, newest_at, shipped_at, expired_by
         from archive_shipments where tenant_id = $1 order by shipped_at, shipment_id",
        tenant
    )
    .fetch_all(connection)
    .await
    .doing("reading what went to the archive")
}

/// Keeps that the archive lets a shipment go.
///
/// # Errors
/// If the database refuses.
pub async fn expire(
    connection: &mut PgConnection,
    tenant: &str,
    shipment: Uuid,
    record: Uuid,
) -> Result<(), StoreError> {
    sqlx::query!(
        "update archive_shipments set expired_by = $3 where tenant_id = $1 and shipment_id = $2",
        tenant,
        shipment,
        record
    )
    .execute(connection)
    .await
    .doing("letting a shipment go")?;
    Ok(())
}

/// How many of these events the tables still hold.
///
/// # Errors
/// If the database refuses.
pub async fn still_there(
    store: &Store,
    tenant: &str,
    events: &[(DateTime<Utc>, Uuid)],
) -> Result<i64, StoreError> {
    let (filed, ids): (Vec<_>, Vec<_>) = events.iter().copied().unzip();
    sqlx::query_scalar!(
        r#"select count(*) as "n!" from unnest($2::timestamptz[], $3::uuid[]) as u (filed_at, id)
           join events e on e.tenant_id = $1 and e.filed_at = u.filed_at and e.id = u.id"#,
        tenant,
        &filed,
        &ids
    )
    .fetch_one(store.pool())
    .await
    .doing("looking for events that may be in the archive only")
}

/// A record of removal at its leaf.
#[derive(Debug, Clone)]
pub struct RecordRow {
    /// The id of its event.
    pub id: Uuid,
    /// Its log.
    pub log_id: String,
    /// Its leaf there.
    pub leaf: i64,
    /// The committed bytes.
    pub opening: Vec<u8>,
    /// Whether it commits to a list.
    pub has_list: bool,
}

/// A tenant's records that have lists, and those of logs that were reopened, by log and leaf; those without a leaf yet are
/// left out.
///
/// # Errors
/// If the database refuses.
pub async fn records(store: &Store, tenant: &str) -> Result<Vec<RecordRow>, StoreError> {
    sqlx::query_as!(
        RecordRow,
        r#"select e.id, r.log_id, r.first_index + e.position as "leaf!", e.opening, a.record_id is not null as "has_list!"
           from events e
           left join absence_lists a on a.tenant_id = e.tenant_id and a.record_id = e.id
           join log_rounds r on r.tenant_id = e.tenant_id and r.batch_id = e.batch_id
           join logs l on l.tenant_id = $1 and l.log_id = r.log_id
           where e.tenant_id = $1 and e.class = 2 and (a.record_id is not null or e.action = 'LOG_REOPENED')
           order by l.year, l.part, 3"#,
        tenant
    )
    .fetch(store.pool())
    .try_collect()
    .await
    .doing("reading records of removal")
}
