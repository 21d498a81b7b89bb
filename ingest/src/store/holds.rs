//! Legal holds: what must stay whatever its age.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Doing as _, Store, StoreError};

/// The condition that an active hold covers the event `e`, for statements that are built at run time. `retention_must_stay`
/// of the migrations says the same.
pub(super) const HELD: &str =
    "exists (select 1 from legal_holds h where h.tenant_id = e.tenant_id and h.released_at is null
    and (h.entity_type is null or h.entity_type = e.entity_type)
    and (h.entity_id is null or h.entity_id = e.entity_id)
    and (h.actor_id is null or h.actor_id = e.actor_id or h.actor_id = e.claimed_user)
    and (h.action is null or h.action = e.action
         or right(h.action, 1) = '*' and starts_with(e.action, left(h.action, -1)))
    and (h.from_at is null or h.from_at <= e.occurred_at) and (h.to_at is null or h.to_at > e.occurred_at))";

/// A hold covers the events that fulfil all of its conditions.
#[derive(Debug, Clone)]
pub struct Hold {
    /// Its id.
    pub hold_id: Uuid,
    /// Why, in an admin's words.
    pub reason: String,
    /// Events on entities of this type.
    pub entity_type: Option<String>,
    /// Events on the entity of this id.
    pub entity_id: Option<String>,
    /// Events by this actor, signed or claimed.
    pub actor_id: Option<String>,
    /// Events of this action; with `*` at the end, of all that begin so.
    pub action: Option<String>,
    /// Events that happened at this time or later.
    pub from_at: Option<DateTime<Utc>>,
    /// Events that happened before this time.
    pub to_at: Option<DateTime<Utc>>,
    /// The key of the admin who placed it.
    pub placed_by: String,
    /// When.
    pub placed_at: DateTime<Utc>,
    /// The key of the admin who released it.
    pub released_by: Option<String>,
    /// When.
    pub released_at: Option<DateTime<Utc>>,
}

impl Hold {
    /// Whether it names something.
    pub fn has_condition(&self) -> bool {
        let words = [&self.entity_type, &self.entity_id, &self.actor_id, &self.action];
        words.iter().any(|word| word.is_some()) || self.from_at.is_some() || self.to_at.is_some()
    }
}

/// Places a hold.
///
/// # Errors
/// If the database refuses.
pub async fn insert(connection: &mut PgConnection, tenant: &str, hold: &Hold) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into legal_holds (tenant_id, hold_id, reason, entity_type, entity_id, actor_id, action, from_at, to_at,
                                  placed_by, placed_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        tenant,
        hold.hold_id,
        hold.reason,
        hold.entity_type,
        hold.entity_id,
        hold.actor_id,
        hold.action,
        hold.from_at,
        hold.to_at,
        hold.placed_by,
        hold.placed_at
    )
    .execute(connection)
    .await
    .doing("placing a hold")?;
    Ok(())
}

/// Releases a hold. False if there is none of this id that is active.
///
/// # Errors
/// If the database refuses.
pub async fn release(
    connection: &mut PgConnection,
    tenant: &str,
    hold: Uuid,
    by: &str,
    at: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "update legal_holds set released_by = $3, released_at = $4
         where tenant_id = $1 and hold_id = $2 and released_at is null",
        tenant,
        hold,
        by,
        at
    )
    .execute(connection)
    .await
    .doing("releasing a hold")?;
    Ok(done.rows_affected() == 1)
}

/// A tenant's holds, active ones first, newest first.
///
/// # Errors
/// If the database refuses.
pub async fn list(store: &Store, tenant: &str, limit: i64) -> Result<Vec<Hold>, StoreError> {
    sqlx::query_as!(
        Hold,
        "select hold_id, reason, entity_type, entity_id, actor_id, action, from_at, to_at, placed_by, placed_at,
                released_by, released_at
         from legal_holds where tenant_id = $1
         order by released_at is not null, placed_at desc, hold_id limit $2",
        tenant,
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("listing holds")
}

/// A hold.
///
/// # Errors
/// If the database refuses.
pub async fn find(
    connection: &mut PgConnection,
    tenant: &str,
    hold: Uuid,
) -> Result<Option<Hold>, StoreError> {
    sqlx::query_as!(
        Hold,
        "select hold_id, reason, entity_type, entity_id, actor_id, action, from_at, to_at, placed_by, placed_at,
                released_by, released_at
         from legal_holds where tenant_id = $1 and hold_id = $2",
        tenant,
        hold
    )
    .fetch_optional(connection)
    .await
    .doing("reading a hold")
}

/// The active holds of a tenant.
///
/// # Errors
/// If the database refuses.
pub async fn active(connection: &mut PgConnection, tenant: &str) -> Result<Vec<Hold>, StoreError> {
    sqlx::query_as!(
        Hold,
        "select hold_id, reason, entity_type, entity_id, actor_id, action, from_at, to_at, placed_by, placed_at,
                released_by, released_at
         from legal_holds where tenant_id = $1 and released_at is null order by placed_at, hold_id",
        tenant
    )
    .fetch_all(connection)
    .await
    .doing("reading active holds")
}
