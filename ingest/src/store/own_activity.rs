//! What people see of themselves, and what of it they said was not them.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::subjects::PlacedEvent;
use super::{Doing as _, Store, StoreError, Transaction};

/// Which of a person's events.
#[derive(Debug, Clone)]
pub struct Theirs<'a> {
    /// Whose log.
    pub tenant: &'a str,
    /// Who: the id of actors and of accounts.
    pub subject: &'a str,
    /// Entity types that are accounts.
    pub accounts: &'a [&'a str],
    /// What others do to an account that may be told.
    pub told: &'a [&'a str],
    /// Actions, as patterns of LIKE; any if none.
    pub among: Option<&'a [String]>,
    /// Not these.
    pub without: &'a [String],
    /// Filed at or after.
    pub from: DateTime<Utc>,
    /// Before this place: time and id. An id of nothing but zeros is before every event of its time.
    pub before: (DateTime<Utc>, Uuid),
}

/// A person's proven acts and what may be told of what others did to their account, newest first. Each half reads its own index.
///
/// # Errors
/// If the database refuses.
pub async fn page(store: &Store, theirs: &Theirs<'_>, limit: i64) -> Result<Vec<PlacedEvent>, StoreError> {
    sqlx::query_as!(
        PlacedEvent,
        r#"select id as "id!", filed_at as "filed_at!", received_at as "received_at!", batch_id as "batch_id!",
                  position as "position!", opening as "opening!", null::text as pseudonym
           from (
             (select id, filed_at, received_at, batch_id, position, opening from events
              where tenant_id = $1 and actor_id = $2 and trust = 1
                and filed_at >= $3 and filed_at <= $4 and (filed_at, id) < ($4, $5)
                and ($6::text[] is null or action like any($6)) and not action like any($7::text[])
              order by filed_at desc, id desc limit $10)
             union all
             (select id, filed_at, received_at, batch_id, position, opening from events
              where tenant_id = $1 and entity_type = any($8) and entity_id = $2 and action = any($9)
                and (actor_id is distinct from $2 or trust <> 1)
                and filed_at >= $3 and filed_at <= $4 and (filed_at, id) < ($4, $5)
                and ($6::text[] is null or action like any($6)) and not action like any($7::text[])
              order by filed_at desc, id desc limit $10)) as theirs
           order by filed_at desc, id desc limit $10"#,
        theirs.tenant,
        theirs.subject,
        theirs.from,
        theirs.before.0,
        theirs.before.1,
        theirs.among,
        theirs.without,
        theirs.accounts as _,
        theirs.told as _,
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("reading somebody's own activity")
}

/// The first event of a session from an address, and how often and until when there were more.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// When the first was filed.
    pub first: DateTime<Utc>,
    /// When the last was.
    pub last: DateTime<Utc>,
    /// How many.
    pub events: i64,
    /// The first one's bytes.
    pub opening: Vec<u8>,
}

/// A person's newest acts since a time, at most `events` of them, by session, address and country, oldest first.
///
/// # Errors
/// If the database refuses.
pub async fn sightings(
    store: &Store,
    tenant: &str,
    subject: &str,
    since: DateTime<Utc>,
    events: i64,
) -> Result<Vec<Sighting>, StoreError> {
    sqlx::query_as!(
        Sighting,
        r#"with recent as (
             select filed_at, id, session_id, ip, country from events
             where tenant_id = $1 and actor_id = $2 and trust = 1 and filed_at >= $3 and host <> 'ingest'
             order by filed_at desc, id desc limit $4),
           seen as (
             select min(filed_at) as first, max(filed_at) as last, count(*) as events,
                 (array_agg(id order by filed_at, id))[1] as id
             from recent group by session_id, ip, country)
           select s.first as "first!", s.last as "last!", s.events as "events!", e.opening
           from seen s join events e on e.tenant_id = $1 and e.filed_at = s.first and e.id = s.id
           order by s.first, s.id"#,
        tenant,
        subject,
        since,
        events
    )
    .fetch_all(store.pool())
    .await
    .doing("reading where somebody was seen")
}

/// An event that somebody disowned.
#[derive(Debug, Clone)]
pub struct Disowned {
    /// Whose log.
    pub tenant_id: String,
    /// The event.
    pub event_id: Uuid,
    /// Which side of it spoke: `actor` or `account`.
    pub side: String,
    /// Its partition key.
    pub filed_at: DateTime<Utc>,
    /// When.
    pub disowned_at: DateTime<Utc>,
    /// Attempts to tell the application, this one among them.
    pub attempts: i32,
}

/// Which of some events a side has disowned.
///
/// # Errors
/// If the database refuses.
pub async fn disowned(
    store: &Store,
    tenant: &str,
    events: &[(Uuid, &str)],
) -> Result<HashSet<Uuid>, StoreError> {
    let ids: Vec<Uuid> = events.iter().map(|(id, _)| *id).collect();
    let sides: Vec<&str> = events.iter().map(|(_, side)| *side).collect();
    let found = sqlx::query_scalar!(
        "select d.event_id from unnest($2::uuid[], $3::text[]) as u (id, side)
         join activity_disowned d on d.tenant_id = $1 and d.event_id = u.id and d.side = u.side",
        tenant,
        &ids,
        &sides as _
    )
    .fetch_all(store.pool())
    .await
    .doing("reading what was disowned")?;
    Ok(found.into_iter().collect())
}

/// Notes that an event was disowned; false if it was before. `tell_at` is the first attempt to tell the application.
///
/// # Errors
/// If the database refuses.
pub async fn disown(
    transaction: &mut Transaction,
    disowned: &Disowned,
    tell_at: Option<DateTime<Utc>>,
) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "insert into activity_disowned (tenant_id, event_id, side, filed_at, disowned_at, next_at)
         values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
        disowned.tenant_id,
        disowned.event_id,
        disowned.side,
        disowned.filed_at,
        disowned.disowned_at,
        tell_at
    )
    .execute(&mut **transaction)
    .await
    .doing("noting that an event was disowned")?;
    Ok(done.rows_affected() == 1)
}

/// Takes what is due to be told, and puts the next attempt where it belongs if this one fails: after 30 seconds, then four times as
/// long each time, six hours at most.
///
/// # Errors
/// If the database refuses.
pub async fn due(store: &Store, now: DateTime<Utc>, limit: i64) -> Result<Vec<Disowned>, StoreError> {
    sqlx::query_as!(
        Disowned,
        "update activity_disowned d set attempts = attempts + 1,
             next_at = $1 + least(interval '6 hours', interval '30 seconds' * power(4, least(attempts, 10)))
         where (tenant_id, event_id, side) in (
             select tenant_id, event_id, side from activity_disowned where next_at <= $1
             order by next_at limit $2 for update skip locked)
         returning tenant_id, event_id, side, filed_at, disowned_at, attempts",
        now,
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("taking what the application is to be told")
}

/// Makes the attempt that was just made the last.
///
/// # Errors
/// If the database refuses.
pub async fn told(store: &Store, disowned: &Disowned) -> Result<(), StoreError> {
    sqlx::query!(
        "update activity_disowned set next_at = null where tenant_id = $1 and event_id = $2 and side = $3",
        disowned.tenant_id,
        disowned.event_id,
        disowned.side
    )
    .execute(store.pool())
    .await
    .doing("noting that the application was told")?;
    Ok(())
}

/// Gives up what was disowned before a time and could not be told since.
///
/// # Errors
/// If the database refuses.
pub async fn give_up(
    transaction: &mut Transaction,
    before: DateTime<Utc>,
) -> Result<Vec<Disowned>, StoreError> {
    sqlx::query_as!(
        Disowned,
        "update activity_disowned set next_at = null where next_at is not null and disowned_at <= $1
         returning tenant_id, event_id, side, filed_at, disowned_at, attempts",
        before
    )
    .fetch_all(&mut **transaction)
    .await
    .doing("giving up telling the application")
}

/// Forgets what was said of events that have gone. One tenant's at a time: in a cluster they are on a node, and what was said of them
/// is not.
///
/// # Errors
/// If the database refuses.
pub async fn forget_gone(store: &Store) -> Result<u64, StoreError> {
    let doing = "forgetting what was said of events that have gone";
    let rows = sqlx::query!("select distinct tenant_id, filed_at, event_id from activity_disowned")
        .fetch_all(store.pool())
        .await
        .doing(doing)?;
    let mut by_tenant: BTreeMap<String, Vec<(DateTime<Utc>, Uuid)>> = BTreeMap::new();
    for row in rows {
        by_tenant.entry(row.tenant_id).or_default().push((row.filed_at, row.event_id));
    }
    let mut forgotten = 0;
    for (tenant, events) in by_tenant {
        let there = there(store, &tenant, &events).await?;
        let gone: Vec<Uuid> = events.iter().map(|(_, id)| *id).filter(|id| !there.contains(id)).collect();
        let done = sqlx::query!(
            "delete from activity_disowned where tenant_id = $1 and event_id = any($2)",
            tenant,
            &gone
        )
        .execute(store.pool())
        .await
        .doing(doing)?;
        forgotten += done.rows_affected();
    }
    Ok(forgotten)
}

/// Those of some of a tenant's events that are stored.
async fn there(
    store: &Store,
    tenant: &str,
    events: &[(DateTime<Utc>, Uuid)],
) -> Result<HashSet<Uuid>, StoreError> {
    let (filed, ids): (Vec<_>, Vec<_>) = events.iter().copied().unzip();
    let there = sqlx::query_scalar!(
        "select e.id from unnest($2::timestamptz[], $3::uuid[]) as u (filed_at, id)
         join events e on e.tenant_id = $1 and e.filed_at = u.filed_at and e.id = u.id",
        tenant,
        &filed,
        &ids
    )
    .fetch_all(store.pool())
    .await
    .doing("looking for what was disowned")?;
    Ok(there.into_iter().collect())
}
