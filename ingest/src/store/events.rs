//! Events: written once, read one at a time (lists are in [`super::search`]).

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use chrono::{DateTime, Datelike as _, NaiveDate, Utc};
use ipnetwork::IpNetwork;
use shared::event::Event;
use shared::leaf::StoredOpening;
use sqlx::{AssertSqlSafe, PgConnection};
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

/// What is known of events before they are inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// All are new; if one is not, nothing is inserted and the database says so ([`StoreError::is_repeated`]).
    New,
    /// The ids of some may be taken, which costs a quarter more: those are not inserted.
    SomeKnown,
}

/// The columns that are inserted, each with the type of its array.
const INSERTED: [(&str, &str); 31] = [
    ("tenant_id", "text"),
    ("filed_at", "timestamptz"),
    ("id", "uuid"),
    ("occurred_at", "timestamptz"),
    ("received_at", "timestamptz"),
    ("class", "smallint"),
    ("severity", "smallint"),
    ("outcome", "smallint"),
    ("trust", "smallint"),
    ("action", "text"),
    ("actor_id", "text"),
    ("actor_email", "text"),
    ("claimed_user", "text"),
    ("entity_type", "text"),
    ("entity_id", "text"),
    ("entity_name", "text"),
    ("ip", "inet"),
    ("session_id", "text"),
    ("country", "text"),
    ("host", "text"),
    ("method", "text"),
    ("route", "text"),
    ("rule", "text"),
    ("status", "int"),
    ("reason", "text"),
    ("duration_ms", "bigint"),
    ("change_quality", "smallint"),
    ("compliance", "text"),
    ("batch_id", "bigint"),
    ("position", "smallint"),
    ("opening", "bytea"),
];

/// The statement that inserts events.
fn insert_statement(expected: Expected) -> String {
    let names: Vec<_> = INSERTED.iter().map(|(name, _)| *name).collect();
    let names = names.join(", ");
    let arrays: Vec<_> =
        INSERTED.iter().enumerate().map(|(at, (_, kind))| format!("${}::{kind}[]", at + 1)).collect();
    let values = names.replace("compliance", "string_to_array(compliance, ',')");
    let known = match expected {
        Expected::New => "",
        Expected::SomeKnown => " on conflict do nothing returning batch_id, position",
    };
    format!(
        "insert into events ({names}) select {values} from unnest({}) as u ({names}){known}",
        arrays.join(", ")
    )
}

/// Inserts events and gives the (batch, position) of those that are new. What of a batch was filed in which month is listed as
/// well, so that no event is stored that the list does not name: this belongs in one transaction.
///
/// # Errors
/// If the database refuses, also because of the data of one event.
pub async fn insert(
    connection: &mut PgConnection,
    rows: &[(i64, &EventRow)],
    expected: Expected,
) -> Result<HashSet<(i64, i16)>, StoreError> {
    fn each<'a, T>(rows: &[(i64, &'a EventRow)], read: impl Fn(&'a Event) -> T) -> Vec<T> {
        rows.iter().map(|(_, row)| read(&row.event)).collect()
    }
    fn code(byte: u8) -> i16 {
        i16::from(byte)
    }
    let doing = "inserting events";
    let network = |ip: IpAddr| IpNetwork::from(ip);
    let compliance = each(rows, |event| {
        let flags: Vec<_> = event.compliance.iter().map(shared::event::ComplianceFlag::as_str).collect();
        flags.join(",")
    });
    let statement = insert_statement(expected);
    // In the order of `INSERTED`.
    let query = sqlx::query_as(AssertSqlSafe(statement.as_str()))
        .bind(each(rows, |event| event.tenant.as_str()))
        .bind(rows.iter().map(|(_, row)| row.filed_at).collect::<Vec<_>>())
        .bind(each(rows, |event| event.id.uuid()))
        .bind(each(rows, |event| event.occurred_at.to_utc()))
        .bind(rows.iter().map(|(_, row)| row.received_at).collect::<Vec<_>>())
        .bind(each(rows, |event| code(event.class.byte())))
        .bind(each(rows, |event| code(event.severity.byte())))
        .bind(each(rows, |event| code(event.outcome.byte())))
        .bind(each(rows, |event| code(event.trust.byte())))
        .bind(each(rows, |event| event.action.as_str()))
        .bind(each(rows, |event| event.actor.as_ref().map(|actor| actor.id.as_str())))
        .bind(each(rows, |event| event.actor.as_ref().and_then(|actor| actor.email.as_deref())))
        .bind(each(rows, |event| event.claimed_user.as_ref().map(|claimed| claimed.id.as_str())))
        .bind(each(rows, |event| event.entity.as_ref().map(|entity| entity.kind.as_str())))
        .bind(each(rows, |event| event.entity.as_ref().and_then(|entity| entity.id.as_deref())))
        .bind(each(rows, |event| event.entity.as_ref().and_then(|entity| entity.name.as_deref())))
        .bind(each(rows, |event| event.context.ip.map(network)))
        .bind(each(rows, |event| event.context.session.as_deref()))
        .bind(each(rows, |event| event.context.place.as_ref().and_then(|place| place.country.as_deref())))
        .bind(each(rows, |event| event.request.host.as_str()))
        .bind(each(rows, |event| event.request.method.as_str()))
        .bind(each(rows, |event| event.request.route.as_str()))
        .bind(each(rows, |event| event.request.rule.as_str()))
        .bind(each(rows, |event| event.request.status.map(i32::from)))
        .bind(each(rows, |event| event.reason.as_deref()))
        .bind(each(rows, |event| event.duration_ms.map(i64::from)))
        .bind(each(rows, |event| event.changes.as_ref().map(|changes| code(changes.quality.byte()))))
        .bind(compliance)
        .bind(rows.iter().map(|(batch, _)| *batch).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.position).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.opening.as_slice()).collect::<Vec<_>>());
    let returned: Vec<(i64, i16)> = query.fetch_all(&mut *connection).await.doing(doing)?;
    let stored: HashSet<_> = match expected {
        Expected::New => rows.iter().map(|(batch, row)| (*batch, row.position)).collect(),
        Expected::SomeKnown => returned.into_iter().collect(),
    };
    let is_stored = |(batch, row): &&(i64, &EventRow)| stored.contains(&(*batch, row.position));
    list_filed(connection, rows.iter().filter(is_stored)).await?;
    Ok(stored)
}

/// Lists what of batches was filed in which month: bit n of the first number is position n, of the second 64 + n.
async fn list_filed<'a>(
    connection: &mut PgConnection,
    stored: impl Iterator<Item = &'a (i64, &'a EventRow)>,
) -> Result<(), StoreError> {
    let mut filed: BTreeMap<(NaiveDate, &str, i64, i16, DateTime<Utc>), u128> = BTreeMap::new();
    for (batch, row) in stored {
        let month = row.filed_at.date_naive().with_day(1).unwrap_or_default();
        let class = i16::from(row.event.class.byte());
        let key = (month, row.event.tenant.as_str(), *batch, class, row.received_at);
        *filed.entry(key).or_default() |= 1 << row.position;
    }
    let keys = || filed.keys();
    let half = |bits: u128| (bits & u128::from(u64::MAX)) as u64 as i64;
    sqlx::query!(
        "insert into filed_batches (month, tenant_id, batch_id, class, received_at, low, high)
         select * from unnest($1::date[], $2::text[], $3::bigint[], $4::smallint[], $5::timestamptz[], $6::bigint[],
             $7::bigint[])",
        &keys().map(|key| key.0).collect::<Vec<_>>(),
        &keys().map(|key| key.1).collect::<Vec<_>>() as _,
        &keys().map(|key| key.2).collect::<Vec<_>>(),
        &keys().map(|key| key.3).collect::<Vec<_>>(),
        &keys().map(|key| key.4).collect::<Vec<_>>(),
        &filed.values().map(|bits| half(*bits)).collect::<Vec<_>>(),
        &filed.values().map(|bits| half(*bits >> 64)).collect::<Vec<_>>()
    )
    .execute(connection)
    .await
    .doing("listing what was filed")?;
    Ok(())
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

/// Events by their ids, looked for between two times; newest first. The second time is none for all that came later.
///
/// # Errors
/// If the database refuses.
pub async fn those(
    connection: &mut PgConnection,
    tenant: &str,
    ids: &[Uuid],
    (from, to): (DateTime<Utc>, Option<DateTime<Utc>>),
) -> Result<Vec<StoredEvent>, StoreError> {
    sqlx::query_as!(
        StoredEvent,
        "select id, filed_at, received_at, opening, case when get_byte(opening, 0) = 2 then actor_id end as pseudonym
         from events
         where tenant_id = $1 and id = any($2) and filed_at >= $3 and ($4::timestamptz is null or filed_at <= $4)
         order by filed_at desc, id desc",
        tenant,
        ids,
        from,
        to
    )
    .fetch_all(connection)
    .await
    .doing("reading events")
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
