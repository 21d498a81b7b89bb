//! Versions of a tenant's rule packs.

use chrono::{DateTime, Utc};
use shared::event::TenantId;
use sqlx::PgConnection;

use super::{Doing as _, Store, StoreError};

/// Where a version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyState {
    /// Waits for a second admin.
    Proposed,
    /// Is served.
    Active,
    /// Was served, or proposed, until a newer one was activated.
    Superseded,
    /// Was turned down.
    Refused,
}

impl PolicyState {
    /// The word that stands for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Active => "active",
            Self::Superseded => "superseded",
            Self::Refused => "refused",
        }
    }

    fn read(word: &str) -> Result<Self, StoreError> {
        [Self::Proposed, Self::Active, Self::Superseded, Self::Refused]
            .into_iter()
            .find(|state| state.word() == word)
            .ok_or(StoreError::Damaged("state of a policy"))
    }
}

/// A version.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Rises strictly.
    pub version: i64,
    /// Where it stands.
    pub state: PolicyState,
    /// `{"packs":[…]}` in one line.
    pub document: String,
    /// The signed note, once it was active.
    pub note: Option<String>,
    /// The versions that a change of single rules was made on.
    pub bases: Option<Vec<i64>>,
    /// The version whose packs it brings back.
    pub rolls_back_to: Option<i64>,
    /// The key of the admin who proposed it.
    pub proposed_by: String,
    /// When.
    pub proposed_at: DateTime<Utc>,
    /// The key of the admin who approved or refused it, or that signed it.
    pub decided_by: Option<String>,
    /// When.
    pub decided_at: Option<DateTime<Utc>>,
}

struct Row {
    version: i64,
    state: String,
    document: String,
    note: Option<String>,
    bases: Option<Vec<i64>>,
    rolls_back_to: Option<i64>,
    proposed_by: String,
    proposed_at: DateTime<Utc>,
    decided_by: Option<String>,
    decided_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for Policy {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            version: row.version,
            state: PolicyState::read(&row.state)?,
            document: row.document,
            note: row.note,
            bases: row.bases,
            rolls_back_to: row.rolls_back_to,
            proposed_by: row.proposed_by,
            proposed_at: row.proposed_at,
            decided_by: row.decided_by,
            decided_at: row.decided_at,
        })
    }
}

/// Keeps every other change of this tenant's policies out until the transaction ends.
///
/// # Errors
/// If the database refuses.
pub async fn lock(connection: &mut PgConnection, tenant: &TenantId) -> Result<(), StoreError> {
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended('policy ' || $1, 0))", tenant.as_str())
        .execute(connection)
        .await
        .doing("locking the policies")?;
    Ok(())
}

/// The newest version, of any state; 0 if there is none.
///
/// # Errors
/// If the database refuses.
pub async fn newest(connection: &mut PgConnection, tenant: &TenantId) -> Result<i64, StoreError> {
    sqlx::query_scalar!(
        r#"select coalesce(max(version), 0) as "newest!" from policies where tenant_id = $1"#,
        tenant.as_str()
    )
    .fetch_one(connection)
    .await
    .doing("reading the newest policy")
}

/// A version.
///
/// # Errors
/// If the database refuses.
pub async fn find(
    connection: &mut PgConnection,
    tenant: &TenantId,
    version: i64,
) -> Result<Option<Policy>, StoreError> {
    sqlx::query_as!(
        Row,
        "select version, state, document, note, bases, rolls_back_to, proposed_by, proposed_at, decided_by, decided_at
         from policies where tenant_id = $1 and version = $2",
        tenant.as_str(),
        version
    )
    .fetch_optional(connection)
    .await
    .doing("reading a policy")?
    .map(Policy::try_from)
    .transpose()
}

/// The active version.
///
/// # Errors
/// If the database refuses.
pub async fn active(connection: &mut PgConnection, tenant: &TenantId) -> Result<Option<Policy>, StoreError> {
    sqlx::query_as!(
        Row,
        "select version, state, document, note, bases, rolls_back_to, proposed_by, proposed_at, decided_by, decided_at
         from policies where tenant_id = $1 and state = 'active'",
        tenant.as_str()
    )
    .fetch_optional(connection)
    .await
    .doing("reading the active policy")?
    .map(Policy::try_from)
    .transpose()
}

/// The newest proposal of an admin that waits.
///
/// # Errors
/// If the database refuses.
pub async fn open_proposal(
    connection: &mut PgConnection,
    tenant: &TenantId,
    by: &str,
) -> Result<Option<Policy>, StoreError> {
    sqlx::query_as!(
        Row,
        "select version, state, document, note, bases, rolls_back_to, proposed_by, proposed_at, decided_by, decided_at
         from policies where tenant_id = $1 and state = 'proposed' and proposed_by = $2
         order by version desc limit 1",
        tenant.as_str(),
        by
    )
    .fetch_optional(connection)
    .await
    .doing("reading a proposal")?
    .map(Policy::try_from)
    .transpose()
}

/// A tenant's versions, newest first.
///
/// # Errors
/// If the database refuses.
pub async fn list(store: &Store, tenant: &TenantId, limit: i64) -> Result<Vec<Policy>, StoreError> {
    sqlx::query_as!(
        Row,
        "select version, state, document, note, bases, rolls_back_to, proposed_by, proposed_at, decided_by, decided_at
         from policies where tenant_id = $1 order by version desc limit $2",
        tenant.as_str(),
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("listing the policies")?
    .into_iter()
    .map(Policy::try_from)
    .collect()
}

/// The signed note that is served, with its version.
///
/// # Errors
/// If the database refuses.
pub async fn served(store: &Store, tenant: &TenantId) -> Result<Option<(i64, String)>, StoreError> {
    let row = sqlx::query!(
        r#"select version, note as "note!" from policies
           where tenant_id = $1 and state = 'active' and note is not null"#,
        tenant.as_str()
    )
    .fetch_optional(store.pool())
    .await
    .doing("reading the served policy")?;
    Ok(row.map(|row| (row.version, row.note)))
}

/// Adds a version.
///
/// # Errors
/// If the database refuses.
pub async fn insert(
    connection: &mut PgConnection,
    tenant: &TenantId,
    policy: &Policy,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into policies (tenant_id, version, state, document, note, bases, rolls_back_to, proposed_by,
                               proposed_at, decided_by, decided_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        tenant.as_str(),
        policy.version,
        policy.state.word(),
        policy.document,
        policy.note,
        policy.bases.as_deref(),
        policy.rolls_back_to,
        policy.proposed_by,
        policy.proposed_at,
        policy.decided_by,
        policy.decided_at
    )
    .execute(connection)
    .await
    .doing("adding a policy")?;
    Ok(())
}

/// Ends whatever is active, and every proposal below this version: they can never be activated any more.
///
/// # Errors
/// If the database refuses.
pub async fn supersede(
    connection: &mut PgConnection,
    tenant: &TenantId,
    version: i64,
) -> Result<(), StoreError> {
    sqlx::query!(
        "update policies set state = 'superseded'
         where tenant_id = $1 and version < $2 and state in ('active', 'proposed')",
        tenant.as_str(),
        version
    )
    .execute(connection)
    .await
    .doing("superseding policies")?;
    Ok(())
}

/// Decides on a proposal; with a note it becomes active, without one it is refused.
///
/// # Errors
/// If the database refuses.
pub async fn decide(
    connection: &mut PgConnection,
    tenant: &TenantId,
    version: i64,
    note: Option<&str>,
    by: &str,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "update policies set state = case when $3::text is null then 'refused' else 'active' end, note = $3,
                             decided_by = $4, decided_at = $5
         where tenant_id = $1 and version = $2 and state = 'proposed'",
        tenant.as_str(),
        version,
        note,
        by,
        at
    )
    .execute(connection)
    .await
    .doing("deciding on a policy")?;
    Ok(())
}
