//! Sinks: where events are forwarded to, and how far each has come.

use chrono::{DateTime, Utc};
use sqlx::{Executor as _, PgConnection};
use uuid::Uuid;

use super::log::LogKey;
use super::{Doing as _, Store, StoreError};

/// A sink.
#[derive(Debug, Clone)]
pub struct SinkRow {
    /// Whose events.
    pub tenant_id: String,
    /// Its id.
    pub sink_id: Uuid,
    /// What admins call it.
    pub name: String,
    /// Its kind and where it leads, as JSON.
    pub settings: String,
    /// The longest event that it takes whole, in bytes.
    pub max_event_bytes: i32,
    /// What it needs beside, sealed.
    pub secret: Option<Vec<u8>>,
    /// Which events, in the search grammar; empty for all, none once it named somebody who was erased.
    pub query: Option<String>,
    /// `active`, `failing` or `paused`.
    pub state: String,
    /// Who made it.
    pub made_by: String,
    /// When.
    pub made_at: DateTime<Utc>,
    /// Raised by every act of an admin.
    pub version: i64,
    /// The log of its place; none for the beginning of the tenant's first.
    pub log_id: Option<String>,
    /// Leaves of it that are behind the place.
    pub leaf: i64,
    /// Events that were delivered.
    pub sent: i64,
    /// Attempts that failed since one succeeded.
    pub attempts: i32,
    /// When the first of them began.
    pub failing_since: Option<DateTime<Utc>>,
    /// Before then nothing is tried.
    pub next_at: Option<DateTime<Utc>>,
    /// When events were delivered last.
    pub last_success_at: Option<DateTime<Utc>>,
    /// Why an attempt failed last.
    pub last_error: Option<String>,
    /// When.
    pub last_error_at: Option<DateTime<Utc>>,
}

/// What an attempt that failed leaves behind.
#[derive(Debug, Clone)]
pub struct Failure<'a> {
    /// When the attempt began.
    pub began_at: DateTime<Utc>,
    /// When it had failed.
    pub at: DateTime<Utc>,
    /// Why.
    pub error: &'a str,
    /// When the next one is due.
    pub next_at: DateTime<Utc>,
    /// Whether the sink counts as failing from now on.
    pub is_failing: bool,
}

/// Adds a sink. False if the tenant has one of this name.
///
/// # Errors
/// If the database refuses.
pub async fn insert(connection: &mut PgConnection, sink: &SinkRow) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "insert into sinks (tenant_id, sink_id, name, settings, max_event_bytes, secret, query, state, made_by, made_at,
                            log_id, leaf)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict do nothing",
        sink.tenant_id,
        sink.sink_id,
        sink.name,
        sink.settings,
        sink.max_event_bytes,
        sink.secret,
        sink.query,
        sink.state,
        sink.made_by,
        sink.made_at,
        sink.log_id,
        sink.leaf
    )
    .execute(connection)
    .await
    .doing("adding a sink")?;
    Ok(done.rows_affected() == 1)
}

/// A tenant's sinks by name, or one of them.
///
/// # Errors
/// If the database refuses.
pub async fn list(store: &Store, tenant: &str, one: Option<Uuid>) -> Result<Vec<SinkRow>, StoreError> {
    sqlx::query_as!(
        SinkRow,
        "select tenant_id, sink_id, name, settings, max_event_bytes, secret, query, state, made_by, made_at, version, log_id,
                leaf, sent, attempts, failing_since, next_at, last_success_at, last_error, last_error_at
         from sinks where tenant_id = $1 and ($2::uuid is null or sink_id = $2) order by name",
        tenant,
        one
    )
    .fetch_all(store.pool())
    .await
    .doing("listing sinks")
}

/// A sink, locked until the transaction ends.
///
/// # Errors
/// If the database refuses.
pub async fn lock(
    connection: &mut PgConnection,
    tenant: &str,
    id: Uuid,
) -> Result<Option<SinkRow>, StoreError> {
    sqlx::query_as!(
        SinkRow,
        "select tenant_id, sink_id, name, settings, max_event_bytes, secret, query, state, made_by, made_at, version, log_id,
                leaf, sent, attempts, failing_since, next_at, last_success_at, last_error, last_error_at
         from sinks where tenant_id = $1 and sink_id = $2 for update",
        tenant,
        id
    )
    .fetch_optional(connection)
    .await
    .doing("locking a sink")
}

/// How many sinks a tenant has. Others who count wait until the transaction ends.
///
/// # Errors
/// If the database refuses.
pub async fn count(connection: &mut PgConnection, tenant: &str) -> Result<i64, StoreError> {
    let doing = "counting sinks";
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended($1, 7129))", tenant)
        .fetch_one(&mut *connection)
        .await
        .doing(doing)?;
    sqlx::query_scalar!(r#"select count(*) as "count!" from sinks where tenant_id = $1"#, tenant)
        .fetch_one(connection)
        .await
        .doing(doing)
}

/// The sinks that are not paused, of every tenant.
///
/// # Errors
/// If the database refuses.
pub async fn running(store: &Store) -> Result<Vec<(String, Uuid)>, StoreError> {
    let rows = sqlx::query!("select tenant_id, sink_id from sinks where state <> 'paused'")
        .fetch_all(store.pool())
        .await
        .doing("looking for sinks")?;
    Ok(rows.into_iter().map(|row| (row.tenant_id, row.sink_id)).collect())
}

/// What an admin made of a locked sink: everything but the lease and what was delivered. Whatever is under way moves nothing more,
/// and what waited for its time waits no more. False if the tenant has another of this name.
///
/// # Errors
/// If the database refuses.
pub async fn change(connection: &mut PgConnection, sink: &SinkRow) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "update sinks set name = $3, settings = $4, max_event_bytes = $5, secret = $6, query = $7, state = $8, log_id = $9,
             leaf = $10, version = version + 1, attempts = 0, next_at = null
         where tenant_id = $1 and sink_id = $2
           and not exists (select 1 from sinks other where other.tenant_id = $1 and other.name = $3 and other.sink_id <> $2)",
        sink.tenant_id,
        sink.sink_id,
        sink.name,
        sink.settings,
        sink.max_event_bytes,
        sink.secret,
        sink.query,
        sink.state,
        sink.log_id,
        sink.leaf
    )
    .execute(connection)
    .await
    .doing("changing a sink")?;
    Ok(done.rows_affected() == 1)
}

/// Removes a sink.
///
/// # Errors
/// If the database refuses.
pub async fn remove(connection: &mut PgConnection, tenant: &str, id: Uuid) -> Result<(), StoreError> {
    sqlx::query!("delete from sinks where tenant_id = $1 and sink_id = $2", tenant, id)
        .execute(connection)
        .await
        .doing("removing a sink")?;
    Ok(())
}

/// Takes the right to deliver for so many seconds, by the database's clock; none while somebody else has it.
///
/// # Errors
/// If the database refuses.
pub async fn lease(
    store: &Store,
    tenant: &str,
    id: Uuid,
    by: Uuid,
    seconds: f64,
) -> Result<Option<SinkRow>, StoreError> {
    sqlx::query_as!(
        SinkRow,
        "update sinks set leased_by = $3, leased_until = now() + make_interval(secs => $4)
         where tenant_id = $1 and sink_id = $2 and state <> 'paused'
           and (leased_by is null or leased_by = $3 or leased_until < now())
         returning tenant_id, sink_id, name, settings, max_event_bytes, secret, query, state, made_by, made_at, version, log_id,
             leaf, sent, attempts, failing_since, next_at, last_success_at, last_error, last_error_at",
        tenant,
        id,
        by,
        seconds
    )
    .fetch_optional(store.pool())
    .await
    .doing("leasing a sink")
}

/// Gives up every lease of a process.
///
/// # Errors
/// If the database refuses.
pub async fn release(store: &Store, by: Uuid) -> Result<(), StoreError> {
    sqlx::query!("update sinks set leased_by = null, leased_until = null where leased_by = $1", by)
        .execute(store.pool())
        .await
        .doing("giving up leases of sinks")?;
    Ok(())
}

/// Lets a transaction's commit not wait for the disk: a crash of the database may undo it.
///
/// # Errors
/// If the database refuses.
pub async fn without_waiting_for_the_disk(connection: &mut PgConnection) -> Result<(), StoreError> {
    connection.execute("set local synchronous_commit = off").await.doing("moving a sink's place")?;
    Ok(())
}

/// Moves a sink's place after a delivery of so many events. False if an admin did something with the sink meanwhile, or the lease
/// was lost: then the delivery is repeated.
///
/// # Errors
/// If the database refuses.
pub async fn advance(
    connection: &mut PgConnection,
    sink: &SinkRow,
    by: Uuid,
    (log_id, leaf): (&str, i64),
    (sent, at): (i64, DateTime<Utc>),
) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "update sinks set log_id = $5, leaf = $6, sent = sent + $7,
             state = case when $7 > 0 then 'active' else state end,
             attempts = case when $7 > 0 then 0 else attempts end,
             failing_since = case when $7 > 0 then null else failing_since end,
             last_success_at = case when $7 > 0 then $8 else last_success_at end
         where tenant_id = $1 and sink_id = $2 and version = $3 and leased_by = $4",
        sink.tenant_id,
        sink.sink_id,
        sink.version,
        by,
        log_id,
        leaf,
        sent,
        at
    )
    .execute(connection)
    .await
    .doing("moving a sink's place")?;
    Ok(done.rows_affected() == 1)
}

/// Notes that an attempt failed. False if an admin did something with the sink meanwhile, or the lease was lost.
///
/// # Errors
/// If the database refuses.
pub async fn fail(
    connection: &mut PgConnection,
    sink: &SinkRow,
    by: Uuid,
    failure: &Failure<'_>,
) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "update sinks set attempts = attempts + 1, failing_since = coalesce(failing_since, $5), last_error = $6,
             last_error_at = $7, next_at = $8, state = case when $9 then 'failing' else state end
         where tenant_id = $1 and sink_id = $2 and version = $3 and leased_by = $4",
        sink.tenant_id,
        sink.sink_id,
        sink.version,
        by,
        failure.began_at,
        failure.error,
        failure.at,
        failure.next_at,
        failure.is_failing
    )
    .execute(connection)
    .await
    .doing("noting a failure of a sink")?;
    Ok(done.rows_affected() == 1)
}

/// Lets a sink count as failing that has failed since before a time. False if it does already, or does not fail.
///
/// # Errors
/// If the database refuses.
pub async fn call_failing(
    connection: &mut PgConnection,
    sink: &SinkRow,
    since: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "update sinks set state = 'failing'
         where tenant_id = $1 and sink_id = $2 and state = 'active' and failing_since <= $3",
        sink.tenant_id,
        sink.sink_id,
        since
    )
    .execute(connection)
    .await
    .doing("calling a sink failing")?;
    Ok(done.rows_affected() == 1)
}

/// When the batch at a place of a log, or the next one, arrived.
///
/// # Errors
/// If the database refuses.
pub async fn arrived_at(
    store: &Store,
    log: LogKey<'_>,
    leaf: i64,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    sqlx::query_scalar!(
        "select b.received_at from log_rounds r
         join batches b on b.tenant_id = r.tenant_id and b.batch_id = r.batch_id
         where r.log_id = $1 and r.first_index > $2::bigint - 100 and r.first_index + r.n > $2 and r.tenant_id = $3
         order by r.first_index limit 1",
        log.log_id,
        leaf,
        log.tenant
    )
    .fetch_optional(store.pool())
    .await
    .doing("reading when the oldest event that waits arrived")
}

/// The place in a tenant's logs from which everything that arrived at a time or later follows; none if nothing did.
///
/// # Errors
/// If the database refuses.
pub async fn place_at(
    connection: &mut PgConnection,
    tenant: &str,
    at: DateTime<Utc>,
) -> Result<Option<(String, i64)>, StoreError> {
    let row = sqlx::query!(
        "select r.log_id, r.first_index from log_rounds r join logs l on l.tenant_id = $1 and l.log_id = r.log_id
         where r.tenant_id = $1
           and r.batch_id >= (select min(batch_id) from batches where tenant_id = $1 and received_at >= $2)
         order by l.year, l.part, r.first_index limit 1",
        tenant,
        at
    )
    .fetch_optional(connection)
    .await
    .doing("looking for a place in the log")?;
    Ok(row.map(|row| (row.log_id, row.first_index)))
}

/// A sink whose texts name somebody.
#[derive(Debug, Clone)]
pub struct Naming {
    /// Its id.
    pub sink_id: Uuid,
    /// What admins call it.
    pub name: String,
    /// Which events it takes.
    pub query: Option<String>,
}

/// Those that name somebody, by whoever decides about their texts.
///
/// # Errors
/// If the database refuses.
pub async fn of_person(
    connection: &mut PgConnection,
    tenant: &str,
    theirs: impl Fn(&[Option<&str>]) -> bool,
) -> Result<Vec<Naming>, StoreError> {
    let all = sqlx::query_as!(Naming, "select sink_id, name, query from sinks where tenant_id = $1", tenant)
        .fetch_all(connection)
        .await
        .doing("reading sinks")?;
    Ok(all.into_iter().filter(|sink| theirs(&[Some(&sink.name), sink.query.as_deref()])).collect())
}

/// Takes the name and the filter away from a sink that named somebody. Without its filter it would send more, so it is paused.
///
/// # Errors
/// If the database refuses.
pub async fn clear_texts(connection: &mut PgConnection, tenant: &str, id: Uuid) -> Result<(), StoreError> {
    sqlx::query!(
        "update sinks set version = version + 1, name = 'erased ' || sink_id::text, query = null, state = 'paused'
         where tenant_id = $1 and sink_id = $2",
        tenant,
        id
    )
    .execute(connection)
    .await
    .doing("clearing a sink")?;
    Ok(())
}
