//! Writes that a watched database reported, and the events that may explain them.

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use shared::event::Outcome;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Doing as _, Store, StoreError};

/// A line of a customer's outbox on its way in.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct OutboxRow {
    /// Its number in the outbox.
    pub seq: i64,
    /// When the statement ran.
    pub at: DateTime<Utc>,
    /// The table, with its schema unless that is `public`.
    pub table_name: String,
    /// The primary key as text; none for TRUNCATE.
    pub key: Option<String>,
    /// The operation.
    pub op: String,
    /// The transaction.
    pub txid: i64,
    /// A keyed hash of the row.
    pub row_hash: Option<Vec<u8>>,
    /// Whom the session worked for.
    pub uid: Option<String>,
    /// Its database role.
    pub role: String,
    /// What it called itself.
    pub application_name: String,
}

/// A write that nothing explains yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingWrite {
    /// When the statement ran.
    pub at: DateTime<Utc>,
    /// Its number in the outbox.
    pub seq: i64,
    /// The table.
    pub table_name: String,
    /// What the table's rows are as entities.
    pub entity_type: Option<String>,
    /// The primary key as text.
    pub key: Option<String>,
    /// The transaction.
    pub txid: i64,
    /// Whom the session worked for.
    pub uid: Option<String>,
    /// When it was read from the outbox.
    pub received_at: DateTime<Utc>,
}

/// An event that may tell why something was written.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its id.
    pub id: Uuid,
    /// When.
    pub occurred_at: DateTime<Utc>,
    /// How sure its actor is.
    pub trust: i16,
    /// The request's method.
    pub method: String,
    /// The request's route.
    pub route: String,
    /// Who.
    pub actor_id: Option<String>,
    /// Whom a header or a body named.
    pub claimed_user: Option<String>,
    /// On what.
    pub entity_type: Option<String>,
    /// On which.
    pub entity_id: Option<String>,
    /// The act that it is an echo of, as far as that is known.
    pub act_id: Option<Uuid>,
    /// The committed bytes, for the details.
    pub opening: Vec<u8>,
}

/// What an event has explained in earlier passes.
#[derive(Debug, Clone, Copy)]
pub struct Spent {
    /// The event.
    pub event_id: Uuid,
    /// The transaction it explained.
    pub txid: i64,
    /// Of how many rows.
    pub rows: i64,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// When the statement ran.
    pub at: DateTime<Utc>,
    /// Its number in the outbox.
    pub seq: i64,
    /// `explained`, `system` or `unattributed`.
    pub state: &'static str,
    /// By which event.
    pub event_id: Option<Uuid>,
}

/// A write that nothing told, of which no event says so yet.
#[derive(Debug, Clone)]
pub struct Unreported {
    /// When the statement ran.
    pub at: DateTime<Utc>,
    /// Its number in the outbox.
    pub seq: i64,
    /// The table.
    pub table_name: String,
    /// What the table's rows are as entities.
    pub entity_type: Option<String>,
    /// The primary key as text.
    pub key: Option<String>,
    /// The operation.
    pub op: String,
    /// The transaction.
    pub txid: i64,
    /// Whom the session worked for.
    pub uid: Option<String>,
    /// Its database role.
    pub role_name: String,
}

/// One table's writes over a range of time.
#[derive(Debug, Clone)]
pub struct TableCoverage {
    /// The table.
    pub table_name: String,
    /// All of its writes.
    pub writes: i64,
    /// Not decided yet.
    pub pending: i64,
    /// Told by somebody's act.
    pub explained: i64,
    /// Told by the system's own.
    pub system: i64,
    /// Told by nothing.
    pub unattributed: i64,
}

/// A write as readers see it.
#[derive(Debug, Clone)]
pub struct Write {
    /// When the statement ran.
    pub at: DateTime<Utc>,
    /// Its number in the outbox.
    pub seq: i64,
    /// The table.
    pub table_name: String,
    /// What the table's rows are as entities.
    pub entity_type: Option<String>,
    /// The primary key as text.
    pub key: Option<String>,
    /// The operation.
    pub op: String,
    /// The transaction.
    pub txid: i64,
    /// Whom the session worked for.
    pub uid: Option<String>,
    /// Its database role.
    pub role_name: String,
    /// What it called itself.
    pub application_name: String,
    /// What became of it.
    pub state: String,
    /// By which event.
    pub event_id: Option<Uuid>,
}

/// Stores lines of an outbox; those that are there already stay as they are.
///
/// # Errors
/// If the database refuses.
pub async fn insert(
    store: &Store,
    tenant: &str,
    received_at: DateTime<Utc>,
    rows: &[(OutboxRow, Option<&str>)],
) -> Result<(), StoreError> {
    fn each<'a, T>(rows: &'a [(OutboxRow, Option<&str>)], read: impl Fn(&'a OutboxRow) -> T) -> Vec<T> {
        rows.iter().map(|(row, _)| read(row)).collect()
    }
    let types: Vec<Option<&str>> = rows.iter().map(|(_, kind)| *kind).collect();
    sqlx::query!(
        "insert into witness_writes (tenant_id, received_at, at, seq, table_name, entity_type, key, op, txid, row_hash,
             uid, role_name, application_name)
         select $1, $2, u.* from unnest($3::timestamptz[], $4::bigint[], $5::text[], $6::text[], $7::text[],
             $8::text[], $9::bigint[], $10::bytea[], $11::text[], $12::text[], $13::text[]) as u
         on conflict do nothing",
        tenant,
        received_at,
        &each(rows, |row| row.at),
        &each(rows, |row| row.seq),
        &each(rows, |row| row.table_name.as_str()) as _,
        &types as _,
        &each(rows, |row| row.key.as_deref()) as _,
        &each(rows, |row| row.op.as_str()) as _,
        &each(rows, |row| row.txid),
        &each(rows, |row| row.row_hash.as_deref()) as _,
        &each(rows, |row| row.uid.as_deref()) as _,
        &each(rows, |row| row.role.as_str()) as _,
        &each(rows, |row| row.application_name.as_str()) as _
    )
    .execute(store.pool())
    .await
    .doing("storing witnessed writes")?;
    Ok(())
}

/// Whether this transaction is now the only one that settles a tenant's writes.
///
/// # Errors
/// If the database refuses.
pub async fn try_lock(connection: &mut PgConnection, tenant: &str) -> Result<bool, StoreError> {
    sqlx::query_scalar!(
        r#"select pg_try_advisory_xact_lock(hashtextextended('witness/' || $1, 0)) as "locked!""#,
        tenant
    )
    .fetch_one(connection)
    .await
    .doing("locking a tenant's writes")
}

/// The oldest pending writes after one.
///
/// # Errors
/// If the database refuses.
pub async fn pending(
    connection: &mut PgConnection,
    tenant: &str,
    after: (DateTime<Utc>, i64),
    limit: i64,
) -> Result<Vec<PendingWrite>, StoreError> {
    sqlx::query_as!(
        PendingWrite,
        "select at, seq, table_name, entity_type, key, txid, uid, received_at from witness_writes
         where tenant_id = $1 and state = 'pending' and (at, seq) > ($2, $3) order by at, seq limit $4",
        tenant,
        after.0,
        after.1,
        limit
    )
    .fetch_all(connection)
    .await
    .doing("reading pending writes")
}

/// Events between two times that name one of the keys, that name no entity and so may name a table, or that went to a
/// Supabase project's tables, whatever entity they name. Not those that failed, that only go with another event, or that
/// are this system's own. Each is handed to `read` as it comes, so that what it drops takes no memory.
///
/// # Errors
/// If the database refuses.
pub async fn candidates<T>(
    connection: &mut PgConnection,
    tenant: &str,
    span: (DateTime<Utc>, DateTime<Utc>),
    keys: &[&str],
    mut read: impl FnMut(Candidate) -> Option<T>,
) -> Result<Vec<T>, StoreError> {
    let mut rows = sqlx::query_as!(
        Candidate,
        r#"select e.id, e.occurred_at, e.trust, e.method, e.route, e.actor_id, e.claimed_user, e.entity_type, e.entity_id,
             l.act_id as "act_id?", e.opening
         from events e
         left join echo_links l on l.tenant_id = e.tenant_id and l.echo_id = e.id
         where e.tenant_id = $1 and e.filed_at >= $2 and e.filed_at <= $3 and e.outcome <> $4 and e.method <> '-'
             and e.action not in ('INTENT_RECORDED', 'IDENTITY_MISMATCH')
             and (e.entity_id is null or e.entity_id = any($5) or starts_with(e.route, '/rest/v1/'))"#,
        tenant,
        span.0,
        span.1,
        i16::from(Outcome::Failure.byte()),
        keys as _
    )
    .fetch(connection);
    let mut kept = Vec::new();
    while let Some(row) = rows.try_next().await.doing("reading events beside writes")? {
        kept.extend(read(row));
    }
    Ok(kept)
}

/// What these events have explained before.
///
/// # Errors
/// If the database refuses.
pub async fn spent(
    connection: &mut PgConnection,
    tenant: &str,
    events: &[Uuid],
) -> Result<Vec<Spent>, StoreError> {
    sqlx::query_as!(
        Spent,
        r#"select event_id as "event_id!", txid, count(*) as "rows!" from witness_writes
           where tenant_id = $1 and event_id = any($2) group by event_id, txid"#,
        tenant,
        events
    )
    .fetch_all(connection)
    .await
    .doing("reading what events explain")
}

/// Settles pending writes.
///
/// # Errors
/// If the database refuses.
pub async fn settle(
    connection: &mut PgConnection,
    tenant: &str,
    settled: &[Settled],
) -> Result<(), StoreError> {
    let at: Vec<_> = settled.iter().map(|it| it.at).collect();
    let seq: Vec<_> = settled.iter().map(|it| it.seq).collect();
    let state: Vec<_> = settled.iter().map(|it| it.state).collect();
    let event: Vec<_> = settled.iter().map(|it| it.event_id).collect();
    sqlx::query!(
        "update witness_writes w set state = u.state, event_id = u.event_id
         from unnest($2::timestamptz[], $3::bigint[], $4::text[], $5::uuid[]) as u (at, seq, state, event_id)
         where w.tenant_id = $1 and w.at = u.at and w.seq = u.seq and w.state = 'pending'",
        tenant,
        &at,
        &seq,
        &state as _,
        &event as _
    )
    .execute(connection)
    .await
    .doing("settling writes")?;
    Ok(())
}

/// The oldest writes that nothing told and of which no event says so.
///
/// # Errors
/// If the database refuses.
pub async fn unreported(
    connection: &mut PgConnection,
    tenant: &str,
    limit: i64,
) -> Result<Vec<Unreported>, StoreError> {
    sqlx::query_as!(
        Unreported,
        "select at, seq, table_name, entity_type, key, op, txid, uid, role_name from witness_writes
         where tenant_id = $1 and state = 'unattributed' and reported_at is null order by at, seq limit $2",
        tenant,
        limit
    )
    .fetch_all(connection)
    .await
    .doing("reading writes to report")
}

/// Remembers that events say of these writes that nothing told them.
///
/// # Errors
/// If the database refuses.
pub async fn mark_reported(
    connection: &mut PgConnection,
    tenant: &str,
    writes: &[Unreported],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let at: Vec<_> = writes.iter().map(|it| it.at).collect();
    let seq: Vec<_> = writes.iter().map(|it| it.seq).collect();
    sqlx::query!(
        "update witness_writes w set reported_at = $4
         from unnest($2::timestamptz[], $3::bigint[]) as u (at, seq)
         where w.tenant_id = $1 and w.at = u.at and w.seq = u.seq",
        tenant,
        &at,
        &seq,
        now
    )
    .execute(connection)
    .await
    .doing("marking reported writes")?;
    Ok(())
}

/// One figure for each table that was written between two times.
///
/// # Errors
/// If the database refuses.
pub async fn coverage(
    store: &Store,
    tenant: &str,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<TableCoverage>, StoreError> {
    sqlx::query_as!(
        TableCoverage,
        r#"select table_name, count(*) as "writes!",
               count(*) filter (where state = 'pending') as "pending!",
               count(*) filter (where state = 'explained') as "explained!",
               count(*) filter (where state = 'system') as "system!",
               count(*) filter (where state = 'unattributed') as "unattributed!"
           from witness_writes where tenant_id = $1 and at >= $2 and at < $3
           group by table_name order by table_name"#,
        tenant,
        from,
        to
    )
    .fetch_all(store.pool())
    .await
    .doing("reading the coverage of tables")
}

/// The newest writes of a state between two times.
///
/// # Errors
/// If the database refuses.
pub async fn newest(
    store: &Store,
    tenant: &str,
    state: &str,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Write>, StoreError> {
    sqlx::query_as!(
        Write,
        "select at, seq, table_name, entity_type, key, op, txid, uid, role_name, application_name, state, event_id
         from witness_writes where tenant_id = $1 and state = $2 and at >= $3 and at < $4
         order by at desc, seq desc limit $5",
        tenant,
        state,
        from,
        to,
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("listing writes")
}
