//! API keys: hashes only.

use crate::auth::{ApiKey, Role};

use super::{Doing as _, Store, StoreError};

/// Registers a key; a key of this id is replaced unless it was revoked.
///
/// # Errors
/// If the database refuses.
pub async fn upsert(store: &Store, key: &ApiKey, name: &str) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into api_keys (id, tenant_id, name, role, sha256) values ($1, $2, $3, $4, $5)
         on conflict (id) do update
         set tenant_id = excluded.tenant_id, role = excluded.role, sha256 = excluded.sha256
         where api_keys.revoked_at is null",
        key.id,
        key.tenant.as_str(),
        name,
        key.role.word(),
        key.sha256
    )
    .execute(store.pool())
    .await
    .doing("registering an API key")?;
    Ok(())
}

/// A key that was not revoked.
///
/// # Errors
/// If the database refuses, or holds a key this program did not write.
pub async fn find(store: &Store, id: &str) -> Result<Option<ApiKey>, StoreError> {
    let row = sqlx::query!(
        "select id, tenant_id, role, sha256 from api_keys where id = $1 and revoked_at is null",
        id
    )
    .fetch_optional(store.pool())
    .await
    .doing("looking an API key up")?;
    row.map(|row| {
        Ok(ApiKey {
            tenant: row.tenant_id.parse().map_err(|_| StoreError::Damaged("tenant of an API key"))?,
            role: row.role.parse::<Role>().map_err(|_| StoreError::Damaged("role of an API key"))?,
            id: row.id,
            sha256: row.sha256,
        })
    })
    .transpose()
}

/// Revokes a key. False if there is none of this id that is still good.
///
/// # Errors
/// If the database refuses.
pub async fn revoke(store: &Store, id: &str) -> Result<bool, StoreError> {
    let done =
        sqlx::query!("update api_keys set revoked_at = now() where id = $1 and revoked_at is null", id)
            .execute(store.pool())
            .await
            .doing("revoking an API key")?;
    Ok(done.rows_affected() == 1)
}
