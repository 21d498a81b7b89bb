//! Events: written once, read one at a time (lists are in [`super::search`]).

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use ipnetwork::IpNetwork;
use shared::event::Event;
use shared::leaf::StoredOpening;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Doing as _, Store, StoreError};

/// An event on its way into the table.
#[derive(Debug, Clone)]
pub struct EventRow {
    /// Its place in the batch.
    pub position: i16,
    /// What its opening says.
    pub event: Event,
    /// The partition key.
    pub filed_at: DateTime<Utc>,
    /// When it arrived.
    pub received_at: DateTime<Utc>,
    /// The committed bytes.
    pub opening: Vec<u8>,
}

/// An event as it is read back: everything else stands in the opening.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct StoredEvent {
    /// Its id.
    pub id: Uuid,
    /// The partition key.
    pub filed_at: DateTime<Utc>,
    /// When it arrived.
    pub received_at: DateTime<Utc>,
    /// The committed bytes, or what erasure left of them.
    pub opening: Vec<u8>,
    /// What stands for an actor that was erased, if anything does. It is in no commitment.
    pub pseudonym: Option<String>,
}

/// What an opening says, as far as it is not erased; none if the bytes are no event's.
pub fn read(opening: &[u8]) -> Option<Event> {
    let stored = StoredOpening::decode(opening).ok()?;
    Event::from_fields(&stored.fields()).ok()
}

/// Inserts events and gives the (batch, position) of those that are new. One whose id is taken is not inserted. What of a
/// batch was filed in which month is listed by the same statement, so that no event is stored that the list does not name.
///
/// # Errors
/// If the database refuses, also because of the data of one event.
pub async fn insert(
    connection: &mut PgConnection,
    rows: &[(i64, &EventRow)],
) -> Result<Vec<(i64, i16)>, StoreError> {
    fn each<'a, T>(rows: &[(i64, &'a EventRow)], read: impl Fn(&'a Event) -> T) -> Vec<T> {
        rows.iter().map(|(_, row)| read(&row.event)).collect()
    }
    fn code(byte: u8) -> i16 {
        i16::from(byte)
    }
    let network = |ip: IpAddr| IpNetwork::from(ip);
    let batch: Vec<i64> = rows.iter().map(|(batch, _)| *batch).collect();
    let filed: Vec<_> = rows.iter().map(|(_, row)| row.filed_at).collect();
    let received: Vec<_> = rows.iter().map(|(_, row)| row.received_at).collect();
    let position: Vec<_> = rows.iter().map(|(_, row)| row.position).collect();
    let opening: Vec<_> = rows.iter().map(|(_, row)| row.opening.as_slice()).collect();
    let compliance = each(rows, |event| {
        let flags: Vec<_> = event.compliance.iter().map(shared::event::ComplianceFlag::as_str).collect();
        flags.join(",")
    });
    let inserted = sqlx::query!(
        r#"with stored as (
         insert into events (tenant_id, filed_at, id, occurred_at, received_at, class, severity, outcome, trust,
             action, actor_id, actor_email, claimed_user, entity_type, entity_id, entity_name, ip, session_id, country,
             host, method, route, rule, status, reason, duration_ms, change_quality, compliance, batch_id, position,
             opening)
         select u.tenant_id, u.filed_at, u.id, u.occurred_at, u.received_at, u.class, u.severity, u.outcome, u.trust,
             u.action, u.actor_id, u.actor_email, u.claimed_user, u.entity_type, u.entity_id, u.entity_name, u.ip,
             u.session_id, u.country, u.host, u.method, u.route, u.rule, u.status, u.reason, u.duration_ms,
             u.change_quality, string_to_array(u.compliance, ','), u.batch_id, u.position, u.opening
         from unnest($1::text[], $2::timestamptz[], $3::uuid[], $4::timestamptz[], $5::timestamptz[], $6::smallint[],
             $7::smallint[], $8::smallint[], $9::smallint[], $10::text[], $11::text[], $12::text[], $13::text[],
             $14::text[], $15::text[], $16::text[], $17::inet[], $18::text[], $19::text[], $20::text[], $21::text[],
             $22::text[], $23::text[], $24::int[], $25::text[], $26::bigint[], $27::smallint[], $28::text[],
             $29::bigint[], $30::smallint[], $31::bytea[])
             as u (tenant_id, filed_at, id, occurred_at, received_at, class, severity, outcome, trust, action,
             actor_id, actor_email, claimed_user, entity_type, entity_id, entity_name, ip, session_id, country, host,
             method, route, rule, status, reason, duration_ms, change_quality, compliance, batch_id, position, opening)
         on conflict do nothing
         returning tenant_id, filed_at, received_at, class, batch_id, position),
         filed as (
         insert into filed_batches (month, tenant_id, batch_id, class, received_at, low, high)
         select date_trunc('month', filed_at at time zone 'UTC')::date, tenant_id, batch_id, class, received_at,
             bit_or(case when position < 64 then 1::bigint << position else 0 end),
             bit_or(case when position >= 64 then 1::bigint << (position - 64) else 0 end)
         from stored group by 1, 2, 3, 4, 5)
         select batch_id as "batch_id!", position as "position!" from stored"#,
        &each(rows, |event| event.tenant.as_str()) as _,
        &filed,
        &each(rows, |event| event.id.uuid()),
        &each(rows, |event| event.occurred_at.to_utc()),
        &received,
        &each(rows, |event| code(event.class.byte())),
        &each(rows, |event| code(event.severity.byte())),
        &each(rows, |event| code(event.outcome.byte())),
        &each(rows, |event| code(event.trust.byte())),
        &each(rows, |event| event.action.as_str()) as _,
        &each(rows, |event| event.actor.as_ref().map(|actor| actor.id.as_str())) as _,
        &each(rows, |event| event.actor.as_ref().and_then(|actor| actor.email.as_deref())) as _,
        &each(rows, |event| event.claimed_user.as_ref().map(|claimed| claimed.id.as_str())) as _,
        &each(rows, |event| event.entity.as_ref().map(|entity| entity.kind.as_str())) as _,
        &each(rows, |event| event.entity.as_ref().and_then(|entity| entity.id.as_deref())) as _,
        &each(rows, |event| event.entity.as_ref().and_then(|entity| entity.name.as_deref())) as _,
        &each(rows, |event| event.context.ip.map(network)) as _,
        &each(rows, |event| event.context.session.as_deref()) as _,
        &each(rows, |event| event.context.place.as_ref().and_then(|place| place.country.as_deref())) as _,
        &each(rows, |event| event.request.host.as_str()) as _,
        &each(rows, |event| event.request.method.as_str()) as _,
        &each(rows, |event| event.request.route.as_str()) as _,
        &each(rows, |event| event.request.rule.as_str()) as _,
        &each(rows, |event| event.request.status.map(i32::from)) as _,
        &each(rows, |event| event.reason.as_deref()) as _,
        &each(rows, |event| event.duration_ms.map(i64::from)) as _,
        &each(rows, |event| event.changes.as_ref().map(|changes| code(changes.quality.byte()))) as _,
        &compliance,
        &batch,
        &position,
        &opening as _
    )
    .fetch_all(connection)
    .await
    .doing("inserting events")?;
    Ok(inserted.into_iter().map(|row| (row.batch_id, row.position)).collect())
}

/// An event by its id, looked for between two times.
///
/// # Errors
/// If the database refuses.
pub async fn find(
    store: &Store,
    tenant: &str,
    id: Uuid,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Option<StoredEvent>, StoreError> {
    sqlx::query_as!(
        StoredEvent,
        "select id, filed_at, received_at, opening, case when get_byte(opening, 0) = 2 then actor_id end as pseudonym
         from events
         where tenant_id = $1 and id = $2 and filed_at >= $3 and filed_at <= $4",
        tenant,
        id,
        from,
        to
    )
    .fetch_optional(store.pool())
    .await
    .doing("reading an event")
}

/// The annotations of an event: what was recorded about it later, by the backend itself, oldest first.
///
/// # Errors
/// If the database refuses.
pub async fn annotations(
    store: &Store,
    tenant: &str,
    id: Uuid,
    from: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<StoredEvent>, StoreError> {
    sqlx::query_as!(
        StoredEvent,
        "select id, filed_at, received_at, opening, case when get_byte(opening, 0) = 2 then actor_id end as pseudonym
         from events
         where tenant_id = $1 and entity_type = 'event' and entity_id = $2 and filed_at >= $3
           and host = 'ingest' and starts_with(rule, 'ingest/')
         order by filed_at, id limit $4",
        tenant,
        id.to_string(),
        from,
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("reading annotations")
}
