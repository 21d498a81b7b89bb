//! Intents: acts that were announced before they were done, until the event of the act names them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Doing as _, Store, StoreError};

/// An intent's row.
#[derive(Debug, Clone)]
pub struct Intent {
    /// Whose.
    pub tenant: String,
    /// The event that announced the act.
    pub id: Uuid,
    /// The act.
    pub action: Option<String>,
    /// When the announcement arrived.
    pub opened_at: Option<DateTime<Utc>>,
    /// When the act's event arrived.
    pub closed_at: Option<DateTime<Utc>>,
    /// When it was recorded that none came.
    pub orphaned_at: Option<DateTime<Utc>>,
}

/// What an intent waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntentState {
    /// For the act's event.
    Open,
    /// For nothing any more: none came in time.
    Orphaned,
    /// For nothing: the act's event is there.
    Closed,
}

impl IntentState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Open, Self::Orphaned, Self::Closed];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Orphaned => "orphaned",
            Self::Closed => "closed",
        }
    }
}

impl Intent {
    /// What it waits for.
    pub fn state(&self) -> IntentState {
        match (self.closed_at, self.orphaned_at) {
            (Some(_), _) => IntentState::Closed,
            (None, Some(_)) => IntentState::Orphaned,
            (None, None) => IntentState::Open,
        }
    }
}

/// Adds what is known of intents to what is stored. The order of `rows` is the order of locking: callers sort it by
/// tenant and id, one row each.
///
/// # Errors
/// If the database refuses.
pub async fn merge(connection: &mut PgConnection, rows: &[Intent]) -> Result<(), StoreError> {
    let tenant: Vec<_> = rows.iter().map(|row| row.tenant.as_str()).collect();
    let id: Vec<_> = rows.iter().map(|row| row.id).collect();
    let action: Vec<_> = rows.iter().map(|row| row.action.as_deref()).collect();
    let opened: Vec<_> = rows.iter().map(|row| row.opened_at).collect();
    let closed: Vec<_> = rows.iter().map(|row| row.closed_at).collect();
    sqlx::query!(
        "insert into intents as i (tenant_id, intent_id, action, opened_at, closed_at)
         select * from unnest($1::text[], $2::uuid[], $3::text[], $4::timestamptz[], $5::timestamptz[])
         on conflict (tenant_id, intent_id) do update set
             action = coalesce(i.action, excluded.action),
             opened_at = coalesce(i.opened_at, excluded.opened_at),
             closed_at = coalesce(i.closed_at, excluded.closed_at)",
        &tenant as _,
        &id,
        &action as _,
        &opened as _,
        &closed as _
    )
    .execute(connection)
    .await
    .doing("keeping intents")?;
    Ok(())
}

/// Intents that were announced until `until` and wait for their act's event.
///
/// # Errors
/// If the database refuses.
pub async fn overdue(
    connection: &mut PgConnection,
    until: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Intent>, StoreError> {
    sqlx::query_as!(
        Intent,
        "select tenant_id as tenant, intent_id as id, action, opened_at, closed_at, orphaned_at from intents
         where opened_at <= $1 and opened_at is not null and closed_at is null and orphaned_at is null
         order by opened_at limit $2",
        until,
        limit
    )
    .fetch_all(connection)
    .await
    .doing("looking for orphaned intents")
}

/// Marks intents as orphaned.
///
/// # Errors
/// If the database refuses.
pub async fn orphan(
    connection: &mut PgConnection,
    intents: &[Intent],
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    // As with streams: in the order of the writers, one tenant at a time.
    let mut by_tenant: BTreeMap<&str, Vec<Uuid>> = BTreeMap::new();
    for intent in intents {
        by_tenant.entry(&intent.tenant).or_default().push(intent.id);
    }
    for (tenant, ids) in by_tenant {
        sqlx::query!(
            "with overdue as (
                 select tenant_id, intent_id from intents
                 where tenant_id = $1 and intent_id = any($2) order by intent_id for update
             )
             update intents i set orphaned_at = $3 from overdue
             where i.tenant_id = $1 and i.tenant_id = overdue.tenant_id and i.intent_id = overdue.intent_id",
            tenant,
            &ids,
            at
        )
        .execute(&mut *connection)
        .await
        .doing("marking orphaned intents")?;
    }
    Ok(())
}

/// A tenant's newest intents, of one state or of all.
///
/// # Errors
/// If the database refuses.
pub async fn newest(
    store: &Store,
    tenant: &str,
    state: Option<IntentState>,
    limit: i64,
) -> Result<Vec<Intent>, StoreError> {
    // Ids are ordered by time.
    sqlx::query_as!(
        Intent,
        "select tenant_id as tenant, intent_id as id, action, opened_at, closed_at, orphaned_at from intents
         where tenant_id = $1 and ($2::text is null or $2 = case
             when closed_at is not null then 'closed'
             when orphaned_at is not null then 'orphaned'
             else 'open' end)
         order by intent_id desc limit $3",
        tenant,
        state.map(IntentState::word),
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("listing intents")
}
