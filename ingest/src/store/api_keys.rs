//! API keys: hashes only.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::auth::{ApiKey, Tenure};

use super::{Doing as _, Store, StoreError};

/// Registers a key by itself, see [`register`].
///
/// # Errors
/// If the database refuses.
pub async fn upsert(store: &Store, key: &ApiKey, name: &str) -> Result<(), StoreError> {
    let mut transaction = store.begin().await?;
    register(&mut transaction, key, name).await?;
    super::commit(transaction).await
}

/// Registers a key; a key of this id is replaced unless it was revoked.
///
/// # Errors
/// If the database refuses.
pub async fn register(connection: &mut PgConnection, key: &ApiKey, name: &str) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into api_keys (id, tenant_id, name, role, sha256, expires_at, person) values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (id) do update
         set tenant_id = excluded.tenant_id, role = excluded.role, sha256 = excluded.sha256,
             expires_at = excluded.expires_at, person = excluded.person
         where api_keys.revoked_at is null",
        key.id,
        key.tenant.as_str(),
        name,
        key.tenure.role().word(),
        key.sha256,
        key.tenure.until(),
        key.person
    )
    .execute(connection)
    .await
    .doing("registering an API key")?;
    Ok(())
}

/// A key that was not revoked; it may be over.
///
/// # Errors
/// If the database refuses, or holds a key this program did not write.
pub async fn find(store: &Store, id: &str) -> Result<Option<ApiKey>, StoreError> {
    let row = sqlx::query!(
        "select id, tenant_id, role, sha256, expires_at, person from api_keys where id = $1 and revoked_at is null",
        id
    )
    .fetch_optional(store.pool())
    .await
    .doing("looking an API key up")?;
    row.map(|row| {
        Ok(ApiKey {
            tenant: row.tenant_id.parse().map_err(|_| StoreError::Damaged("tenant of an API key"))?,
            tenure: tenure(&row.role, row.expires_at)?,
            id: row.id,
            person: row.person,
            sha256: row.sha256,
        })
    })
    .transpose()
}

/// A role as it is stored.
pub(super) fn tenure(role: &str, until: Option<DateTime<Utc>>) -> Result<Tenure, StoreError> {
    let role = role.parse().map_err(|_| StoreError::Damaged("role"))?;
    Tenure::new(role, until).map_err(|_| StoreError::Damaged("role's end"))
}

/// A key as a list shows it.
#[derive(Debug, Clone)]
pub struct ListedKey {
    /// The part of its text between the underscores.
    pub id: String,
    /// Whose events it reads.
    pub tenant_id: String,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub role: String,
    /// Who answers for it.
    pub person: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Its end; none if only a revocation ends it.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// Keys, of one tenant or of all, newest first.
///
/// # Errors
/// If the database refuses.
pub async fn list(store: &Store, tenant: Option<&str>) -> Result<Vec<ListedKey>, StoreError> {
    sqlx::query_as!(
        ListedKey,
        "select id, tenant_id, name, role, person, created_at, expires_at, revoked_at from api_keys
         where $1::text is null or tenant_id = $1 order by created_at desc, id",
        tenant
    )
    .fetch_all(store.pool())
    .await
    .doing("listing API keys")
}

/// Revokes a key and tells what it was; none if there is none of this id that is still good.
///
/// # Errors
/// If the database refuses.
pub async fn revoke(connection: &mut PgConnection, id: &str) -> Result<Option<ListedKey>, StoreError> {
    sqlx::query_as!(
        ListedKey,
        "update api_keys set revoked_at = now() where id = $1 and revoked_at is null
         returning id, tenant_id, name, role, person, created_at, expires_at, revoked_at",
        id
    )
    .fetch_optional(connection)
    .await
    .doing("revoking an API key")
}
