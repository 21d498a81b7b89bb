//! Writes by the application's own server, and the acts they may come from.

use chrono::{DateTime, Utc};
use shared::event::{JsonText, Outcome};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Doing as _, Store, StoreError, events};

/// An event that waits for another, on its way into the table.
#[derive(Debug, Clone, Copy)]
pub struct Awaiting<'a> {
    /// Whose.
    pub tenant: &'a str,
    /// The event.
    pub id: Uuid,
    /// Its partition key.
    pub filed_at: DateTime<Utc>,
    /// When it arrived.
    pub received_at: DateTime<Utc>,
}

/// An echo that nothing is known of yet.
#[derive(Debug, Clone)]
pub struct PendingEcho {
    /// Whose.
    pub tenant_id: String,
    /// The event.
    pub id: Uuid,
    /// Its partition key.
    pub filed_at: DateTime<Utc>,
    /// When it arrived.
    pub received_at: DateTime<Utc>,
    /// Where it was sent.
    pub host: String,
    /// How sure its actor is.
    pub trust: i16,
    /// Who.
    pub actor_id: Option<String>,
    /// Whom a header or a body named.
    pub claimed_user: Option<String>,
    /// On what.
    pub entity_type: Option<String>,
    /// On which.
    pub entity_id: Option<String>,
}

/// An act that echoes may come from.
#[derive(Debug, Clone)]
pub struct PossibleAct {
    /// The event.
    pub id: Uuid,
    /// Its partition key.
    pub filed_at: DateTime<Utc>,
    /// Where it was sent.
    pub host: String,
    /// The request's method.
    pub method: String,
    /// Who.
    pub actor_id: Option<String>,
    /// Whom a header or a body named.
    pub claimed_user: Option<String>,
    /// On what.
    pub entity_type: Option<String>,
    /// On which.
    pub entity_id: Option<String>,
}

/// What became of an echo: its act, or none.
pub type Followed = (Uuid, Option<Uuid>);

/// An echo as readers see it.
#[derive(Debug, Clone)]
pub struct Echo {
    /// The event.
    pub id: Uuid,
    /// What was written.
    pub action: String,
    /// On what.
    pub entity_type: Option<String>,
    /// On which.
    pub entity_id: Option<String>,
    /// When.
    pub occurred_at: DateTime<Utc>,
    /// What became of it.
    pub state: String,
    /// Its act.
    pub act_id: Option<Uuid>,
}

/// Adds echoes that were stored just now.
///
/// # Errors
/// If the database refuses.
pub async fn insert(connection: &mut PgConnection, echoes: &[Awaiting<'_>]) -> Result<(), StoreError> {
    let tenants: Vec<_> = echoes.iter().map(|it| it.tenant).collect();
    let ids: Vec<_> = echoes.iter().map(|it| it.id).collect();
    let filed: Vec<_> = echoes.iter().map(|it| it.filed_at).collect();
    let received: Vec<_> = echoes.iter().map(|it| it.received_at).collect();
    sqlx::query!(
        "insert into echo_links (tenant_id, echo_id, filed_at, received_at)
         select * from unnest($1::text[], $2::uuid[], $3::timestamptz[], $4::timestamptz[]) on conflict do nothing",
        &tenants as _,
        &ids,
        &filed,
        &received
    )
    .execute(connection)
    .await
    .doing("adding echoes")?;
    Ok(())
}

/// Whether this transaction is now the only one that links echoes.
///
/// # Errors
/// If the database refuses.
pub async fn try_lock(connection: &mut PgConnection) -> Result<bool, StoreError> {
    sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock(hashtextextended('echoes', 0)) as "locked!""#)
        .fetch_one(connection)
        .await
        .doing("locking echoes")
}

/// The oldest pending echoes after one.
///
/// # Errors
/// If the database refuses.
pub async fn pending(
    connection: &mut PgConnection,
    after: (DateTime<Utc>, Uuid),
    limit: i64,
) -> Result<Vec<PendingEcho>, StoreError> {
    sqlx::query_as!(
        PendingEcho,
        "select e.tenant_id, e.id, e.filed_at, e.received_at, e.host, e.trust, e.actor_id, e.claimed_user,
             e.entity_type, e.entity_id
         from echo_links l
         join events e on e.tenant_id = l.tenant_id and e.filed_at = l.filed_at and e.id = l.echo_id
         where l.state = 'pending' and (l.filed_at, l.echo_id) > ($1, $2)
         order by l.filed_at, l.echo_id limit $3",
        after.0,
        after.1,
        limit
    )
    .fetch_all(connection)
    .await
    .doing("reading pending echoes")
}

/// Events between two times that name one of the entities or people. Not those that failed, that are echoes
/// themselves, that only go with another event, or that are this system's own.
///
/// # Errors
/// If the database refuses.
pub async fn acts(
    connection: &mut PgConnection,
    tenant: &str,
    span: (DateTime<Utc>, DateTime<Utc>),
    entities: &[&str],
    people: &[&str],
) -> Result<Vec<PossibleAct>, StoreError> {
    sqlx::query_as!(
        PossibleAct,
        "select id, filed_at, host, method, actor_id, claimed_user, entity_type, entity_id from events e
         where tenant_id = $1 and filed_at >= $2 and filed_at <= $3 and outcome <> $4 and method <> '-'
             and action not in ('INTENT_RECORDED', 'IDENTITY_MISMATCH')
             and (rule = 'edge/unmapped' or not starts_with(rule, 'edge/'))
             and (entity_id = any($5) or actor_id = any($6) or claimed_user = any($6))
             and not exists (select 1 from echo_links l where l.tenant_id = e.tenant_id and l.echo_id = e.id)",
        tenant,
        span.0,
        span.1,
        i16::from(Outcome::Failure.byte()),
        entities as _,
        people as _
    )
    .fetch_all(connection)
    .await
    .doing("reading events beside echoes")
}

/// Settles echoes.
///
/// # Errors
/// If the database refuses.
pub async fn settle(
    connection: &mut PgConnection,
    tenant: &str,
    settled: &[Followed],
) -> Result<(), StoreError> {
    let ids: Vec<_> = settled.iter().map(|it| it.0).collect();
    let acts: Vec<_> = settled.iter().map(|it| it.1).collect();
    sqlx::query!(
        "update echo_links l set act_id = u.act_id,
             state = case when u.act_id is null then 'unlinked' else 'linked' end
         from unnest($2::uuid[], $3::uuid[]) as u (echo_id, act_id)
         where l.tenant_id = $1 and l.echo_id = u.echo_id and l.state = 'pending'",
        tenant,
        &ids,
        &acts as _
    )
    .execute(connection)
    .await
    .doing("settling echoes")?;
    Ok(())
}

/// What annotations of our own say about events: the event and the details.
///
/// # Errors
/// If the database refuses.
pub async fn annotated(
    connection: &mut PgConnection,
    tenant: &str,
    action: &str,
    events: &[Uuid],
    from: DateTime<Utc>,
) -> Result<Vec<(Uuid, serde_json::Value)>, StoreError> {
    let names: Vec<String> = events.iter().map(Uuid::to_string).collect();
    let rows = sqlx::query!(
        "select entity_id, opening from events
         where tenant_id = $1 and entity_type = 'event' and entity_id = any($2) and action = $3 and filed_at >= $4
             and host = 'ingest' and starts_with(rule, 'ingest/') order by filed_at, id",
        tenant,
        &names,
        action,
        from
    )
    .fetch_all(connection)
    .await
    .doing("reading annotations")?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let details = events::read(&row.opening)?.details.as_ref().map(JsonText::value)?;
            Some((row.entity_id?.parse().ok()?, details))
        })
        .collect())
}

/// The newest echoes of a state between two times.
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
) -> Result<Vec<Echo>, StoreError> {
    sqlx::query_as!(
        Echo,
        "select e.id, e.action, e.entity_type, e.entity_id, e.occurred_at, l.state, l.act_id
         from echo_links l
         join events e on e.tenant_id = l.tenant_id and e.filed_at = l.filed_at and e.id = l.echo_id
         where l.tenant_id = $1 and l.state = $2 and l.filed_at >= $3 and l.filed_at < $4
         order by l.filed_at desc, l.echo_id desc limit $5",
        tenant,
        state,
        from,
        to,
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("listing echoes")
}
