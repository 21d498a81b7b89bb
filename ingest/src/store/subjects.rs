//! What the tables know of a person: read by those who look for one, removed by erasure.
//!
//! Nothing here decides what is a person's; it reads rows, and removes those that it is told.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Doing as _, Store, StoreError, Transaction, alerts, executions, saved, sinks};

/// An event and where it stands.
#[derive(Debug, Clone)]
pub struct PlacedEvent {
    /// Its id.
    pub id: Uuid,
    /// The partition key.
    pub filed_at: DateTime<Utc>,
    /// When it arrived.
    pub received_at: DateTime<Utc>,
    /// Its batch.
    pub batch_id: i64,
    /// Its place there.
    pub position: i16,
    /// The committed bytes, or what erasure left of them.
    pub opening: Vec<u8>,
    /// What stands for an actor that was erased.
    pub pseudonym: Option<String>,
}

/// Ids, addresses and sessions that signatures tie together.
#[derive(Debug, Clone)]
pub struct Tie {
    /// The actor's id.
    pub actor_id: Option<String>,
    /// Their address.
    pub actor_email: Option<String>,
    /// Their session.
    pub session_id: Option<String>,
}

/// What verified events say of the actors with these ids.
///
/// What is only asserted ties nothing together: else whoever names another's address would be erased with them.
///
/// # Errors
/// If the database refuses.
pub async fn ties_of_ids(store: &Store, tenant: &str, ids: &[String]) -> Result<Vec<Tie>, StoreError> {
    sqlx::query_as!(
        Tie,
        "select distinct actor_id, actor_email, session_id from events
         where tenant_id = $1 and actor_id = any($2) and trust = 1",
        tenant,
        ids
    )
    .fetch_all(store.pool())
    .await
    .doing("reading what ties a person's names together")
}

/// The same by addresses in lower case, which are under no index.
///
/// # Errors
/// If the database refuses.
pub async fn ties_of_emails(store: &Store, tenant: &str, emails: &[String]) -> Result<Vec<Tie>, StoreError> {
    sqlx::query_as!(
        Tie,
        "select distinct actor_id, actor_email, session_id from events
         where tenant_id = $1 and lower(actor_email) = any($2) and trust = 1",
        tenant,
        emails
    )
    .fetch_all(store.pool())
    .await
    .doing("reading what ties a person's names together")
}

/// The newest events on entities of these types and ids.
///
/// # Errors
/// If the database refuses.
pub async fn about(
    store: &Store,
    tenant: &str,
    types: &[&str],
    ids: &[String],
    limit: i64,
) -> Result<Vec<Vec<u8>>, StoreError> {
    sqlx::query_scalar!(
        "select opening from events where tenant_id = $1 and entity_type = any($2) and entity_id = any($3)
         order by filed_at desc, id desc limit $4",
        tenant,
        types as _,
        ids,
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("reading events about a person")
}

/// A tenant's events in their order, after a place.
///
/// # Errors
/// If the database refuses.
pub async fn page(
    store: &Store,
    tenant: &str,
    after: (DateTime<Utc>, Uuid),
    limit: i64,
) -> Result<Vec<PlacedEvent>, StoreError> {
    sqlx::query_as!(
        PlacedEvent,
        "select id, filed_at, received_at, batch_id, position, opening,
             case when get_byte(opening, 0) = 2 then actor_id end as pseudonym
         from events where tenant_id = $1 and filed_at >= $2 and (filed_at, id) > ($2, $3)
         order by filed_at, id limit $4",
        tenant,
        after.0,
        after.1,
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("reading a tenant's events")
}

/// The events of some of a tenant's batches.
///
/// # Errors
/// If the database refuses.
pub async fn of_batches(
    store: &Store,
    tenant: &str,
    batches: &[i64],
) -> Result<Vec<PlacedEvent>, StoreError> {
    sqlx::query_as!(
        PlacedEvent,
        "select id, filed_at, received_at, batch_id, position, opening,
             case when get_byte(opening, 0) = 2 then actor_id end as pseudonym
         from events where tenant_id = $1 and batch_id = any($2)",
        tenant,
        batches
    )
    .fetch_all(store.pool())
    .await
    .doing("reading the events of batches")
}

/// A run of leaves as a batch's events: which of them, and when they arrived.
#[derive(Debug, Clone)]
pub struct LeafBatch {
    /// The batch.
    pub batch_id: i64,
    /// The leaf of its first event.
    pub first_index: i64,
    /// When it arrived.
    pub received_at: DateTime<Utc>,
}

/// The batches that hold leaves `from..to` of a tenant's log.
///
/// # Errors
/// If the database refuses.
pub async fn batches_of_leaves(
    store: &Store,
    tenant: &str,
    log_id: &str,
    from: i64,
    to: i64,
) -> Result<Vec<LeafBatch>, StoreError> {
    // A run holds at most 100 entries: the bound lets the primary key find the first.
    sqlx::query_as!(
        LeafBatch,
        r#"select r.batch_id as "batch_id!", r.first_index, b.received_at from log_rounds r
           join batches b on b.tenant_id = r.tenant_id and b.batch_id = r.batch_id
           where r.log_id = $2 and r.tenant_id = $1 and r.first_index < $4 and r.first_index > $3::bigint - 100
               and r.first_index + r.n > $3
           order by r.first_index"#,
        tenant,
        log_id,
        from,
        to
    )
    .fetch_all(store.pool())
    .await
    .doing("looking for the events of leaves")
}

/// What was recorded later about events.
///
/// # Errors
/// If the database refuses.
pub async fn annotations(
    store: &Store,
    tenant: &str,
    events: &[Uuid],
) -> Result<Vec<PlacedEvent>, StoreError> {
    let names: Vec<String> = events.iter().map(Uuid::to_string).collect();
    sqlx::query_as!(
        PlacedEvent,
        "select id, filed_at, received_at, batch_id, position, opening,
             case when get_byte(opening, 0) = 2 then actor_id end as pseudonym
         from events where tenant_id = $1 and entity_type = 'event' and entity_id = any($2) and host = 'ingest'",
        tenant,
        &names
    )
    .fetch_all(store.pool())
    .await
    .doing("reading annotations")
}

/// Begins a transaction that may remove values.
///
/// # Errors
/// If there is no connection.
pub async fn begin_removing(store: &Store) -> Result<Transaction, StoreError> {
    store.begin_as_keeper().await
}

/// Keeps everybody else who removes values of a tenant away until the transaction ends.
///
/// # Errors
/// If the database refuses.
pub async fn lock_removal(connection: &mut PgConnection, tenant: &str) -> Result<(), StoreError> {
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended($1, 7161))", tenant)
        .execute(connection)
        .await
        .doing("waiting to remove values")?;
    Ok(())
}

/// The openings of events as they are now.
///
/// # Errors
/// If the database refuses.
pub async fn openings(
    connection: &mut PgConnection,
    tenant: &str,
    events: &[(DateTime<Utc>, Uuid)],
) -> Result<HashMap<Uuid, Vec<u8>>, StoreError> {
    let filed: Vec<_> = events.iter().map(|event| event.0).collect();
    let ids: Vec<_> = events.iter().map(|event| event.1).collect();
    let rows = sqlx::query!(
        "select e.id, e.opening from unnest($2::timestamptz[], $3::uuid[]) as u (filed_at, id)
         join events e on e.tenant_id = $1 and e.filed_at = u.filed_at and e.id = u.id",
        tenant,
        &filed,
        &ids
    )
    .fetch_all(connection)
    .await
    .doing("reading openings")?;
    Ok(rows.into_iter().map(|row| (row.id, row.opening)).collect())
}

/// What is left of an event, and the columns that go.
#[derive(Debug, Clone)]
pub struct Left {
    /// The partition key.
    pub filed_at: DateTime<Utc>,
    /// The event.
    pub id: Uuid,
    /// The remnant's bytes.
    pub opening: Vec<u8>,
    /// The columns that were read out of what is erased.
    pub cleared: Vec<&'static str>,
    /// What stands for the actor from now on.
    pub pseudonym: Option<String>,
}

/// Leaves of events what erasure leaves.
///
/// # Errors
/// If the database refuses.
pub async fn erase_fields(
    connection: &mut PgConnection,
    tenant: &str,
    events: &[Left],
) -> Result<(), StoreError> {
    let doing = "erasing fields of events";
    let filed: Vec<_> = events.iter().map(|left| left.filed_at).collect();
    let ids: Vec<_> = events.iter().map(|left| left.id).collect();
    let openings: Vec<_> = events.iter().map(|left| left.opening.as_slice()).collect();
    let cleared: Vec<_> = events.iter().map(|left| left.cleared.join(",")).collect();
    sqlx::query!(
        r#"select count(*) filter (where erase_event_fields($1, filed_at, id, opening, string_to_array(cleared, ','))) as "n!"
           from unnest($2::timestamptz[], $3::uuid[], $4::bytea[], $5::text[]) as u (filed_at, id, opening, cleared)"#,
        tenant,
        &filed,
        &ids,
        &openings as _,
        &cleared
    )
    .fetch_one(&mut *connection)
    .await
    .doing(doing)?;
    let named: Vec<_> = events.iter().filter_map(|left| Some((left, left.pseudonym.as_deref()?))).collect();
    let filed: Vec<_> = named.iter().map(|(left, _)| left.filed_at).collect();
    let ids: Vec<_> = named.iter().map(|(left, _)| left.id).collect();
    let pseudonyms: Vec<_> = named.iter().map(|(_, pseudonym)| *pseudonym).collect();
    sqlx::query!(
        r#"select count(*) filter (where pseudonymise_event($1, filed_at, id, pseudonym)) as "n!"
           from unnest($2::timestamptz[], $3::uuid[], $4::text[]) as u (filed_at, id, pseudonym)"#,
        tenant,
        &filed,
        &ids,
        &pseudonyms as _
    )
    .fetch_one(connection)
    .await
    .doing(doing)?;
    Ok(())
}

/// Removes events as a whole.
///
/// # Errors
/// If the database refuses.
pub async fn erase_events(
    connection: &mut PgConnection,
    tenant: &str,
    events: &[(DateTime<Utc>, Uuid)],
) -> Result<(), StoreError> {
    let filed: Vec<_> = events.iter().map(|event| event.0).collect();
    let ids: Vec<_> = events.iter().map(|event| event.1).collect();
    sqlx::query!(
        r#"select count(*) filter (where erase_event($1, filed_at, id)) as "n!"
           from unnest($2::timestamptz[], $3::uuid[]) as u (filed_at, id)"#,
        tenant,
        &filed,
        &ids
    )
    .fetch_one(connection)
    .await
    .doing("erasing events")?;
    Ok(())
}

/// Something that could not be stored as an event.
#[derive(Debug, Clone)]
pub struct SetAside {
    /// Its batch.
    pub batch_id: i64,
    /// Its place there.
    pub position: i16,
    /// Why.
    pub reason: String,
    /// What arrived.
    pub raw: Option<Vec<u8>>,
}

/// A tenant's quarantine after a place.
///
/// # Errors
/// If the database refuses.
pub async fn set_aside(
    store: &Store,
    tenant: &str,
    after: (i64, i16),
    limit: i64,
) -> Result<Vec<SetAside>, StoreError> {
    sqlx::query_as!(
        SetAside,
        "select batch_id, position, reason, raw from quarantine
         where tenant_id = $1 and (batch_id, position) > ($2, $3) order by batch_id, position limit $4",
        tenant,
        after.0,
        after.1,
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("reading the quarantine")
}

/// Removes what arrived in the place of events.
///
/// # Errors
/// If the database refuses.
pub async fn erase_set_aside(
    connection: &mut PgConnection,
    tenant: &str,
    places: &[(i64, i16)],
) -> Result<(), StoreError> {
    let batches: Vec<_> = places.iter().map(|place| place.0).collect();
    let positions: Vec<_> = places.iter().map(|place| place.1).collect();
    sqlx::query!(
        r#"select count(*) filter (where erase_quarantined($1, batch, place)) as "n!"
           from unnest($2::bigint[], $3::smallint[]) as u (batch, place)"#,
        tenant,
        &batches,
        &positions
    )
    .fetch_one(connection)
    .await
    .doing("erasing what was set aside")?;
    Ok(())
}

/// Waits until the tasks that derive something from events have finished what they are at, and holds them there. Not the one
/// that erases what arrives late: it waits for the removal lock while it has its cursor.
///
/// # Errors
/// If the database refuses.
pub async fn hold_followers(connection: &mut PgConnection) -> Result<(), StoreError> {
    let doing = "holding the tasks that follow events";
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended(name, 7162))
         from (select name from correlate_cursors where name <> 'erasure' order by name) tasks"
    )
    .fetch_all(&mut *connection)
    .await
    .doing(doing)?;
    sqlx::query!("select name from correlate_cursors where name <> 'erasure' order by name for update")
        .fetch_all(connection)
        .await
        .doing(doing)?;
    Ok(())
}

/// What was derived from events or is kept beside them: who decides is told the texts of each row, and each row they call
/// the person's is removed or cleared.
///
/// # Errors
/// If the database refuses.
pub async fn clear_beside(
    connection: &mut PgConnection,
    tenant: &str,
    theirs: impl Fn(&[Option<&str>]) -> bool,
) -> Result<Beside, StoreError> {
    let mut cleared = Beside::default();
    let doing = "clearing what is kept beside events";

    let mut states = Vec::new();
    let mut rows = sqlx::query!(
        r#"select entity_type, entity_id, fields::text as "fields!" from entity_states where tenant_id = $1"#,
        tenant
    )
    .fetch(&mut *connection);
    while let Some(row) = rows.try_next().await.doing(doing)? {
        if theirs(&[Some(&row.entity_id), Some(&row.fields)]) {
            states.push((row.entity_type, row.entity_id));
        }
    }
    drop(rows);
    for (kind, id) in states {
        sqlx::query!(
            "delete from entity_states where tenant_id = $1 and entity_type = $2 and entity_id = $3",
            tenant,
            kind,
            id
        )
        .execute(&mut *connection)
        .await
        .doing(doing)?;
        cleared.entity_states += 1;
    }

    let mut claims = Vec::new();
    let mut rows = sqlx::query!(
        "select event_id, n, entity_id, user_id from app_audit_rows
         where tenant_id = $1 and (entity_id is not null or user_id is not null)",
        tenant
    )
    .fetch(&mut *connection);
    while let Some(row) = rows.try_next().await.doing(doing)? {
        if theirs(&[row.entity_id.as_deref(), row.user_id.as_deref()]) {
            claims.push((row.event_id, row.n));
        }
    }
    drop(rows);
    for (event, n) in claims {
        sqlx::query!(r#"select erase_claim($1, $2, $3) as "done!""#, tenant, event, n)
            .fetch_one(&mut *connection)
            .await
            .doing(doing)?;
        cleared.claims += 1;
    }

    let mut writes = Vec::new();
    let mut rows = sqlx::query!(
        "select at, seq, key, uid from witness_writes
         where tenant_id = $1 and (key is not null or uid is not null)",
        tenant
    )
    .fetch(&mut *connection);
    while let Some(row) = rows.try_next().await.doing(doing)? {
        if theirs(&[row.key.as_deref(), row.uid.as_deref()]) {
            writes.push((row.at, row.seq));
        }
    }
    drop(rows);
    for (at, seq) in writes {
        sqlx::query!(r#"select erase_write($1, $2, $3) as "done!""#, tenant, at, seq)
            .fetch_one(&mut *connection)
            .await
            .doing(doing)?;
        cleared.writes += 1;
    }

    // A route is folded: there are as many as the application has.
    let routes = sqlx::query!(
        r#"select host as "host!", method as "method!", route as "route!" from coverage where tenant_id = $1
           union select host, method, route from unmapped_routes where tenant_id = $1"#,
        tenant
    )
    .fetch_all(&mut *connection)
    .await
    .doing(doing)?;
    for row in routes.iter().filter(|row| theirs(&[None, None, Some(&row.route)])) {
        sqlx::query!(
            r#"select erase_route($1, $2, $3, $4) as "done!""#,
            tenant,
            row.host,
            row.method,
            row.route
        )
        .fetch_one(&mut *connection)
        .await
        .doing(doing)?;
        cleared.routes += 1;
    }

    for alert in alerts::of_person(connection, tenant, &theirs).await? {
        sqlx::query!(
            "update alerts set alike = null, note = null where tenant_id = $1 and alert_id = $2",
            tenant,
            alert.alert_id
        )
        .execute(&mut *connection)
        .await
        .doing(doing)?;
        cleared.alerts += 1;
    }

    cleared.runs = executions::forget(&mut *connection, tenant, None, &theirs).await?;

    for search in saved::of_person(&mut *connection, tenant, &theirs).await? {
        saved::remove(&mut *connection, tenant, search.search_id).await?;
        cleared.searches += 1;
    }
    for sink in sinks::of_person(&mut *connection, tenant, &theirs).await? {
        sinks::clear_texts(&mut *connection, tenant, sink.sink_id).await?;
        cleared.sinks += 1;
    }
    Ok(cleared)
}

/// How many rows beside the events were removed or cleared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Beside {
    /// Remembered entities.
    pub entity_states: i64,
    /// Rows of the application's own audit table.
    pub claims: i64,
    /// Writes that a database reported.
    pub writes: i64,
    /// Routes that are counted.
    pub routes: i64,
    /// Saved searches.
    pub searches: i64,
    /// Alerts that named them.
    pub alerts: i64,
    /// Runs that were for them or named them: they are nobody's now.
    pub runs: i64,
    /// Sinks that named them.
    pub sinks: i64,
}
