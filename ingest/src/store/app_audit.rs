//! Rows of the application's own audit table, and the events that confirm them.

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::TryStreamExt as _;
use shared::event::Outcome;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Doing as _, Store, StoreError};

/// An event that tells rows which the application wrote.
#[derive(Debug, Clone)]
pub struct WritingEvent {
    /// When it arrived.
    pub received_at: DateTime<Utc>,
    /// The committed bytes.
    pub opening: Vec<u8>,
}

/// What the application claims in one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Whose.
    pub tenant_id: String,
    /// The event that tells it.
    pub event_id: Uuid,
    /// Its place there.
    pub n: i16,
    /// The action, in capitals.
    pub action: String,
    /// The entity's type.
    pub entity_type: Option<String>,
    /// The entity's id.
    pub entity_id: Option<String>,
    /// Who.
    pub user_id: Option<String>,
    /// When.
    pub at: DateTime<Utc>,
    /// When the event arrived.
    pub received_at: DateTime<Utc>,
}

/// How the claims of an action stand.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The action.
    pub action: String,
    /// Not yet decided.
    pub pending: i64,
    /// Confirmed by an event.
    pub confirmed: i64,
    /// Not confirmed.
    pub only_theirs: i64,
}

/// The events of some batches that tell rows.
///
/// # Errors
/// If the database refuses.
pub async fn writing_events(
    connection: &mut PgConnection,
    batches: &[i64],
) -> Result<Vec<WritingEvent>, StoreError> {
    sqlx::query_as!(
        WritingEvent,
        "select received_at, opening from events
         where batch_id = any($1) and action = 'APP_AUDIT_WRITTEN' and outcome <> $2 and host <> 'ingest'
         order by batch_id, position",
        batches,
        i16::from(Outcome::Failure.byte())
    )
    .fetch_all(connection)
    .await
    .doing("reading what the application audits")
}

/// Adds claims; those that are there stay as they are.
///
/// # Errors
/// If the database refuses.
pub async fn insert(connection: &mut PgConnection, claims: &[Claim]) -> Result<(), StoreError> {
    let text = |read: fn(&Claim) -> &str| claims.iter().map(read).collect::<Vec<_>>();
    let optional = |read: fn(&Claim) -> Option<&str>| claims.iter().map(read).collect::<Vec<_>>();
    let events: Vec<_> = claims.iter().map(|claim| claim.event_id).collect();
    let places: Vec<_> = claims.iter().map(|claim| claim.n).collect();
    let at: Vec<_> = claims.iter().map(|claim| claim.at).collect();
    let received: Vec<_> = claims.iter().map(|claim| claim.received_at).collect();
    sqlx::query!(
        "insert into app_audit_rows
             (tenant_id, event_id, n, action, entity_type, entity_id, user_id, at, received_at)
         select * from unnest($1::text[], $2::uuid[], $3::smallint[], $4::text[], $5::text[], $6::text[], $7::text[],
                              $8::timestamptz[], $9::timestamptz[])
         on conflict do nothing",
        &text(|claim| &claim.tenant_id) as _,
        &events,
        &places,
        &text(|claim| &claim.action) as _,
        &optional(|claim| claim.entity_type.as_deref()) as _,
        &optional(|claim| claim.entity_id.as_deref()) as _,
        &optional(|claim| claim.user_id.as_deref()) as _,
        &at,
        &received
    )
    .execute(connection)
    .await
    .doing("adding what the application audits")?;
    Ok(())
}

/// Whether this transaction is now the only one that decides on claims.
///
/// # Errors
/// If the database refuses.
pub async fn try_lock(connection: &mut PgConnection) -> Result<bool, StoreError> {
    sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock(hashtextextended('claims', 0)) as "locked!""#)
        .fetch_one(connection)
        .await
        .doing("locking claims")
}

/// Pending claims that were made and arrived before a time.
///
/// # Errors
/// If the database refuses.
pub async fn due(
    connection: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Claim>, StoreError> {
    sqlx::query_as!(
        Claim,
        "select tenant_id, event_id, n, action, entity_type, entity_id, user_id, at, received_at from app_audit_rows
         where state = 'pending' and received_at <= $1 and at <= $1
         order by received_at, event_id, n limit $2",
        before,
        limit
    )
    .fetch_all(connection)
    .await
    .doing("reading what is not confirmed yet")
}

/// The openings of the events that may confirm a claim, the nearest first, with their ids.
///
/// # Errors
/// If the database refuses.
pub async fn candidates(
    connection: &mut PgConnection,
    claim: &Claim,
    window: TimeDelta,
    limit: i64,
) -> Result<Vec<(Uuid, Vec<u8>)>, StoreError> {
    let rows = sqlx::query!(
        "select id, opening from events
         where tenant_id = $1 and filed_at >= $2 and filed_at <= $3 and action = $4 and host <> 'ingest' and id <> $5
           and (entity_id = $6 or ($6::text is null and (actor_id = $7 or claimed_user = $7)))
         order by abs(extract(epoch from occurred_at - $8)), id limit $9",
        claim.tenant_id,
        claim.at - window,
        claim.at + window,
        claim.action,
        claim.event_id,
        claim.entity_id,
        claim.user_id,
        claim.at,
        limit
    )
    .fetch_all(connection)
    .await
    .doing("reading events beside a claim")?;
    Ok(rows.into_iter().map(|row| (row.id, row.opening)).collect())
}

/// Whether an event of ours says already that a claim is not confirmed.
///
/// # Errors
/// If the database refuses.
pub async fn is_reported(
    connection: &mut PgConnection,
    claim: &Claim,
    entity_id: &str,
) -> Result<bool, StoreError> {
    sqlx::query_scalar!(
        r#"select exists (select 1 from events
                          where tenant_id = $1 and entity_type = 'app_audit' and entity_id = $2 and filed_at >= $3
                            and action = 'APP_AUDIT_ONLY' and host = 'ingest') as "there!""#,
        claim.tenant_id,
        entity_id,
        claim.at
    )
    .fetch_one(connection)
    .await
    .doing("looking for a reported claim")
}

/// Decides on a claim: confirmed by an event, or by none. False if it does not wait any more.
///
/// # Errors
/// If the database refuses.
pub async fn decide(
    connection: &mut PgConnection,
    claim: &Claim,
    ours: Option<Uuid>,
) -> Result<bool, StoreError> {
    let decided = sqlx::query!(
        "update app_audit_rows set ours = $4, state = case when $4::uuid is null then 'only_theirs' else 'confirmed' end
         where tenant_id = $1 and event_id = $2 and n = $3 and state = 'pending'",
        claim.tenant_id,
        claim.event_id,
        claim.n,
        ours
    )
    .execute(connection)
    .await
    .doing("deciding on a claim")?;
    Ok(decided.rows_affected() == 1)
}

/// The claims made between two times, by action.
///
/// # Errors
/// If the database refuses.
pub async fn claimed(
    store: &Store,
    tenant: &str,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<Claimed>, StoreError> {
    sqlx::query_as!(
        Claimed,
        r#"select action, count(*) filter (where state = 'pending') as "pending!",
                  count(*) filter (where state = 'confirmed') as "confirmed!",
                  count(*) filter (where state = 'only_theirs') as "only_theirs!"
           from app_audit_rows where tenant_id = $1 and at >= $2 and at < $3 group by action"#,
        tenant,
        from,
        to
    )
    .fetch_all(store.pool())
    .await
    .doing("counting what the application audits")
}

/// The successful events, between two times, of actions that the application ever claimed and without a claim within
/// `window`. Each is handed to `read` as it comes: its action and its opening.
///
/// # Errors
/// If the database refuses.
pub async fn unclaimed(
    store: &Store,
    tenant: &str,
    span: (DateTime<Utc>, DateTime<Utc>),
    window: TimeDelta,
    mut read: impl FnMut(String, &[u8]),
) -> Result<(), StoreError> {
    let mut rows = sqlx::query!(
        "select e.action, e.opening from events e
         where e.tenant_id = $1 and e.filed_at >= $2 and e.filed_at < $3 and e.outcome = $4 and e.host <> 'ingest'
           and e.action in (select action from app_audit_rows where tenant_id = $1)
           and not exists (select 1 from app_audit_rows r
                           where r.tenant_id = $1 and r.action = e.action
                             and r.at >= e.occurred_at - make_interval(secs => $5)
                             and r.at <= e.occurred_at + make_interval(secs => $5)
                             and (r.entity_id = e.entity_id
                                  or (r.entity_id is null and r.user_id in (e.actor_id, e.claimed_user))))",
        tenant,
        span.0,
        span.1,
        i16::from(Outcome::Success.byte()),
        window.as_seconds_f64()
    )
    .fetch(store.pool());
    while let Some(row) = rows.try_next().await.doing("reading events that the application does not audit")? {
        read(row.action, &row.opening);
    }
    Ok(())
}
