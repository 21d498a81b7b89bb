//! Who asked for what waits for a second person.

use chrono::{DateTime, Utc};
use shared::event::TenantId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Doing as _, StoreError};
use crate::auth::{APPOINTED_COUNTS_AFTER, COMMAND_LINE};

/// What takes two people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matter {
    /// A version of a policy.
    Policy(i64),
    /// A version of the periods.
    Retention(i64),
    /// An erasure.
    Erasure(Uuid),
}

impl Matter {
    fn text(self) -> String {
        match self {
            Self::Policy(version) => format!("policy {version}"),
            Self::Retention(version) => format!("retention {version}"),
            Self::Erasure(id) => format!("erasure {id}"),
        }
    }
}

/// Remembers who asked, until it is decided.
///
/// # Errors
/// If the database refuses.
pub async fn remember(
    connection: &mut PgConnection,
    tenant: &TenantId,
    matter: Matter,
    names: &[String],
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into asking_people (tenant_id, matter, names) values ($1, $2, $3)",
        tenant.as_str(),
        matter.text(),
        names
    )
    .execute(connection)
    .await
    .doing("remembering who asked")?;
    Ok(())
}

/// The names of whoever asked; none if that is not known.
///
/// # Errors
/// If the database refuses.
pub async fn names(
    connection: &mut PgConnection,
    tenant: &TenantId,
    matter: Matter,
) -> Result<Vec<String>, StoreError> {
    let names = sqlx::query_scalar!(
        "select names from asking_people where tenant_id = $1 and matter = $2",
        tenant.as_str(),
        matter.text()
    )
    .fetch_optional(connection)
    .await
    .doing("looking up who asked")?;
    Ok(names.unwrap_or_default())
}

/// Forgets who asked.
///
/// # Errors
/// If the database refuses.
pub async fn forget(
    connection: &mut PgConnection,
    tenant: &TenantId,
    matter: Matter,
) -> Result<(), StoreError> {
    sqlx::query!(
        "delete from asking_people where tenant_id = $1 and matter = $2",
        tenant.as_str(),
        matter.text()
    )
    .execute(connection)
    .await
    .doing("forgetting who asked")?;
    Ok(())
}

/// Whether a tenant has an admin who is another person than the one of some names, and counts as a second one at a time.
///
/// # Errors
/// If the database refuses.
pub async fn has_second(
    connection: &mut PgConnection,
    tenant: &TenantId,
    names: &[String],
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    sqlx::query_scalar!(
        r#"select exists (
               select from api_keys
               where tenant_id = $1 and role = 'admin' and person <> all($2) and revoked_at is null
                     and (expires_at is null or expires_at > $3)
               union all
               select from access_grants
               where tenant_id = $1 and role = 'admin' and who <> all($2) and revoked_at is null
                     and (expires_at is null or expires_at > $3) and (granted_by = $4 or granted_at <= $5)
           ) as "another!""#,
        tenant.as_str(),
        names,
        now,
        COMMAND_LINE,
        now - APPOINTED_COUNTS_AFTER
    )
    .fetch_one(connection)
    .await
    .doing("looking for another admin")
}
