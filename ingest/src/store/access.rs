//! Access: grants, sessions, and the events about both that wait to be recorded.

use chrono::{DateTime, Utc};
use ipnetwork::IpNetwork;
use shared::event::TenantId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Doing as _, Store, StoreError, api_keys};
use crate::auth::{Standing, Tenure};

/// A person's role in a tenant.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Its id.
    pub grant_id: Uuid,
    /// Where.
    pub tenant: TenantId,
    /// An e-mail address in small letters, or a token's subject.
    pub who: String,
    /// What they may do, and until when.
    pub tenure: Tenure,
    /// By whom: a key's id, a person, or `command line`.
    pub granted_by: String,
    /// When.
    pub granted_at: DateTime<Utc>,
    /// By whom it was revoked.
    pub revoked_by: Option<String>,
    /// When.
    pub revoked_at: Option<DateTime<Utc>>,
}

struct GrantRow {
    grant_id: Uuid,
    tenant_id: String,
    who: String,
    role: String,
    expires_at: Option<DateTime<Utc>>,
    granted_by: String,
    granted_at: DateTime<Utc>,
    revoked_by: Option<String>,
    revoked_at: Option<DateTime<Utc>>,
}

impl TryFrom<GrantRow> for Grant {
    type Error = StoreError;

    fn try_from(row: GrantRow) -> Result<Self, StoreError> {
        Ok(Self {
            grant_id: row.grant_id,
            tenant: row.tenant_id.parse().map_err(|_| StoreError::Damaged("tenant of a grant"))?,
            who: row.who,
            tenure: api_keys::tenure(&row.role, row.expires_at)?,
            granted_by: row.granted_by,
            granted_at: row.granted_at,
            revoked_by: row.revoked_by,
            revoked_at: row.revoked_at,
        })
    }
}

/// Grants a role; what the person had in the tenant before is revoked with it.
///
/// # Errors
/// If the database refuses.
pub async fn grant(connection: &mut PgConnection, grant: &Grant) -> Result<(), StoreError> {
    sqlx::query!(
        "update access_grants set revoked_by = $3, revoked_at = $4
         where tenant_id = $1 and who = $2 and revoked_at is null",
        grant.tenant.as_str(),
        grant.who,
        grant.granted_by,
        grant.granted_at
    )
    .execute(&mut *connection)
    .await
    .doing("replacing a grant")?;
    sqlx::query!(
        "insert into access_grants (grant_id, tenant_id, who, role, expires_at, granted_by, granted_at)
         values ($1, $2, $3, $4, $5, $6, $7)",
        grant.grant_id,
        grant.tenant.as_str(),
        grant.who,
        grant.tenure.role().word(),
        grant.tenure.until(),
        grant.granted_by,
        grant.granted_at
    )
    .execute(connection)
    .await
    .doing("granting access")?;
    Ok(())
}

/// Revokes a grant of a tenant; none if there is none of this id that stands.
///
/// # Errors
/// If the database refuses.
pub async fn revoke(
    connection: &mut PgConnection,
    tenant: &str,
    grant: Uuid,
    by: &str,
    at: DateTime<Utc>,
) -> Result<Option<Grant>, StoreError> {
    sqlx::query_as!(
        GrantRow,
        "update access_grants set revoked_by = $3, revoked_at = $4
         where tenant_id = $1 and grant_id = $2 and revoked_at is null
         returning grant_id, tenant_id, who, role, expires_at, granted_by, granted_at, revoked_by, revoked_at",
        tenant,
        grant,
        by,
        at
    )
    .fetch_optional(connection)
    .await
    .doing("revoking access")?
    .map(Grant::try_from)
    .transpose()
}

/// A tenant's grants, standing ones first, newest first.
///
/// # Errors
/// If the database refuses.
pub async fn grants(store: &Store, tenant: &str, limit: i64) -> Result<Vec<Grant>, StoreError> {
    let rows = sqlx::query_as!(
        GrantRow,
        "select grant_id, tenant_id, who, role, expires_at, granted_by, granted_at, revoked_by, revoked_at
         from access_grants where tenant_id = $1
         order by revoked_at is not null, granted_at desc, grant_id limit $2",
        tenant,
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("listing grants")?;
    rows.into_iter().map(Grant::try_from).collect()
}

/// The grants that stand for any of some names of one person, in every tenant.
///
/// # Errors
/// If the database refuses.
pub async fn grants_of(
    store: &Store,
    names: &[String],
    now: DateTime<Utc>,
) -> Result<Vec<Grant>, StoreError> {
    let rows = sqlx::query_as!(
        GrantRow,
        "select grant_id, tenant_id, who, role, expires_at, granted_by, granted_at, revoked_by, revoked_at
         from access_grants
         where who = any($1) and revoked_at is null and (expires_at is null or expires_at > $2)
         order by tenant_id, who limit 100",
        names,
        now
    )
    .fetch_all(store.pool())
    .await
    .doing("looking grants up")?;
    rows.into_iter().map(Grant::try_from).collect()
}

/// What a session stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ground {
    /// A grant.
    Grant(Uuid),
    /// An API key.
    Key(String),
}

/// A new session.
#[derive(Debug, Clone)]
pub struct NewSession<'a> {
    /// Its id, which is no secret.
    pub id: Uuid,
    /// SHA-256 of its token.
    pub sha256: [u8; 32],
    /// Whose events.
    pub tenant: &'a str,
    /// What it stands on.
    pub ground: Ground,
    /// How the person proved who they are.
    pub means: &'a str,
    /// Every name that they proved.
    pub names: &'a [String],
    /// Where they came from.
    pub address: Option<IpNetwork>,
    /// When.
    pub at: DateTime<Utc>,
}

/// Begins a session.
///
/// # Errors
/// If the database refuses.
pub async fn begin_session(connection: &mut PgConnection, new: &NewSession<'_>) -> Result<(), StoreError> {
    let (grant, key) = match &new.ground {
        Ground::Grant(grant) => (Some(*grant), None),
        Ground::Key(key) => (None, Some(key.as_str())),
    };
    sqlx::query!(
        "insert into access_sessions (session_id, sha256, tenant_id, grant_id, key_id, means, address, started_at, seen_at,
                                      names)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9)",
        new.id,
        new.sha256.as_slice(),
        new.tenant,
        grant,
        key,
        new.means,
        new.address,
        new.at,
        new.names
    )
    .execute(connection)
    .await
    .doing("beginning a session")?;
    Ok(())
}

/// A session with whoever it stands for, as of now.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its id.
    pub session_id: Uuid,
    /// Whose events.
    pub tenant: TenantId,
    /// The person, or the id of the key.
    pub who: String,
    /// What they may do now.
    pub tenure: Tenure,
    /// Which person that is.
    pub standing: Standing,
    /// How they proved who they are.
    pub means: String,
    /// Where they came from.
    pub address: Option<IpNetwork>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it was last used.
    pub seen_at: DateTime<Utc>,
    /// Until when it sees personal data.
    pub unmasked_until: Option<DateTime<Utc>>,
}

struct SessionRow {
    session_id: Uuid,
    tenant_id: String,
    who: String,
    role: String,
    expires_at: Option<DateTime<Utc>>,
    names: Vec<String>,
    granted_by: String,
    granted_at: DateTime<Utc>,
    means: String,
    address: Option<IpNetwork>,
    started_at: DateTime<Utc>,
    seen_at: DateTime<Utc>,
    unmasked_until: Option<DateTime<Utc>>,
}

impl TryFrom<SessionRow> for Session {
    type Error = StoreError;

    fn try_from(row: SessionRow) -> Result<Self, StoreError> {
        Ok(Self {
            session_id: row.session_id,
            tenant: row.tenant_id.parse().map_err(|_| StoreError::Damaged("tenant of a session"))?,
            who: row.who,
            tenure: api_keys::tenure(&row.role, row.expires_at)?,
            standing: Standing::new(row.names, &row.granted_by, row.granted_at),
            means: row.means,
            address: row.address,
            started_at: row.started_at,
            seen_at: row.seen_at,
            unmasked_until: row.unmasked_until,
        })
    }
}

/// The session of a token that was not ended and whose ground was not revoked.
///
/// # Errors
/// If the database refuses.
pub async fn session(store: &Store, sha256: &[u8; 32]) -> Result<Option<Session>, StoreError> {
    sqlx::query_as!(
        SessionRow,
        r#"select session_id, s.tenant_id, coalesce(g.who, k.id) as "who!", coalesce(g.role, k.role) as "role!",
                  coalesce(g.expires_at, k.expires_at) as expires_at,
                  case when k.id is null then s.names else array_remove(array[k.person], null) end as "names!",
                  coalesce(g.granted_by, 'command line') as "granted_by!",
                  coalesce(g.granted_at, k.created_at) as "granted_at!", means, address, started_at, seen_at,
                  unmasked_until
           from access_sessions s
           left join access_grants g on g.grant_id = s.grant_id and g.revoked_at is null
           left join api_keys k on k.id = s.key_id and k.revoked_at is null and k.tenant_id = s.tenant_id
           where s.sha256 = $1 and s.ended_at is null and (g.grant_id is not null or k.id is not null)"#,
        sha256.as_slice()
    )
    .fetch_optional(store.pool())
    .await
    .doing("looking a session up")?
    .map(Session::try_from)
    .transpose()
}

/// A tenant's sessions that may still be used, newest first; those last seen before `idle_since` or begun before
/// `begun_since` are over.
///
/// # Errors
/// If the database refuses.
pub async fn sessions(
    store: &Store,
    tenant: &str,
    idle_since: DateTime<Utc>,
    begun_since: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Session>, StoreError> {
    let rows = sqlx::query_as!(
        SessionRow,
        r#"select session_id, s.tenant_id, coalesce(g.who, k.id) as "who!", coalesce(g.role, k.role) as "role!",
                  coalesce(g.expires_at, k.expires_at) as expires_at,
                  case when k.id is null then s.names else array_remove(array[k.person], null) end as "names!",
                  coalesce(g.granted_by, 'command line') as "granted_by!",
                  coalesce(g.granted_at, k.created_at) as "granted_at!", means, address, started_at, seen_at,
                  unmasked_until
           from access_sessions s
           left join access_grants g on g.grant_id = s.grant_id and g.revoked_at is null
           left join api_keys k on k.id = s.key_id and k.revoked_at is null and k.tenant_id = s.tenant_id
           where s.tenant_id = $1 and s.ended_at is null and (g.grant_id is not null or k.id is not null)
                 and s.seen_at > $2 and s.started_at > $3
           order by s.started_at desc, session_id limit $4"#,
        tenant,
        idle_since,
        begun_since,
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("listing sessions")?;
    rows.into_iter().map(Session::try_from).collect()
}

/// Remembers that a session was used.
///
/// # Errors
/// If the database refuses.
pub async fn touch(store: &Store, session: Uuid, at: DateTime<Utc>) -> Result<(), StoreError> {
    sqlx::query!(
        "update access_sessions set seen_at = $2 where session_id = $1 and seen_at < $2",
        session,
        at
    )
    .execute(store.pool())
    .await
    .doing("remembering a session's use")?;
    Ok(())
}

/// Lets a session see personal data until a time.
///
/// # Errors
/// If the database refuses.
pub async fn unmask(
    connection: &mut PgConnection,
    session: Uuid,
    until: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "update access_sessions set unmasked_until = $2 where session_id = $1 and ended_at is null",
        session,
        until
    )
    .execute(connection)
    .await
    .doing("unmasking a session")?;
    Ok(())
}

/// Ends a session of a tenant. False if there is none of this id that goes on.
///
/// # Errors
/// If the database refuses.
pub async fn end_session(
    connection: &mut PgConnection,
    tenant: &str,
    session: Uuid,
    by: &str,
    at: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "update access_sessions set ended_by = $3, ended_at = $4
         where tenant_id = $1 and session_id = $2 and ended_at is null",
        tenant,
        session,
        by,
        at
    )
    .execute(connection)
    .await
    .doing("ending a session")?;
    Ok(done.rows_affected() == 1)
}
