//! Public keys of producers.

use shared::event::TenantId;
use shared::note::{KeyId, KeyName, VerifierKey};

use super::{Doing as _, Store, StoreError};

/// A registered key.
#[derive(Debug, Clone)]
pub struct SigningKey {
    /// Name and public key.
    pub key: VerifierKey,
    /// The tenants it may sign for.
    pub tenants: Vec<TenantId>,
}

/// Registers a key for these tenants; for a known key they are added. A revoked key stays revoked.
///
/// # Errors
/// If the database refuses.
pub async fn upsert(store: &Store, key: &VerifierKey, tenants: &[TenantId]) -> Result<(), StoreError> {
    let tenants: Vec<_> = tenants.iter().map(TenantId::as_str).collect();
    sqlx::query!(
        "insert into signing_keys as k (name, key_id, public_key, tenants) values ($1, $2, $3, $4)
         on conflict (name, key_id) do update
         set tenants = (select array_agg(distinct t order by t) from unnest(k.tenants || excluded.tenants) as t)",
        key.name.as_str(),
        &key.id().0,
        &key.public,
        &tenants as _
    )
    .execute(store.pool())
    .await
    .doing("registering a signing key")?;
    Ok(())
}

/// Every key that was not revoked.
///
/// # Errors
/// If the database refuses, or holds a key this program did not write.
pub async fn all(store: &Store) -> Result<Vec<SigningKey>, StoreError> {
    let rows = sqlx::query!("select name, public_key, tenants from signing_keys where revoked_at is null")
        .fetch_all(store.pool())
        .await
        .doing("reading the signing keys")?;
    rows.into_iter()
        .map(|row| {
            let damaged = StoreError::Damaged("signing key");
            let (Ok(name), Ok(public)) = (KeyName::try_from(row.name), row.public_key.try_into()) else {
                return Err(damaged);
            };
            Ok(SigningKey {
                key: VerifierKey { name, public },
                tenants: row
                    .tenants
                    .into_iter()
                    .map(TenantId::try_from)
                    .collect::<Result<_, _>>()
                    .map_err(|_| damaged)?,
            })
        })
        .collect()
}

/// Revokes a key. False if there is none of this name and id that is still good.
///
/// # Errors
/// If the database refuses.
pub async fn revoke(store: &Store, name: &KeyName, id: KeyId) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "update signing_keys set revoked_at = now()
         where name = $1 and key_id = $2 and revoked_at is null",
        name.as_str(),
        &id.0
    )
    .execute(store.pool())
    .await
    .doing("revoking a signing key")?;
    Ok(done.rows_affected() == 1)
}
