//! Searches that people keep under a name.

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Doing as _, Store, StoreError};

/// A saved search.
#[derive(Debug, Clone)]
pub struct Saved {
    /// Its id.
    pub search_id: Uuid,
    /// Who saved it: a key's id or a person.
    pub owner: String,
    /// What they call it.
    pub name: String,
    /// The canonical search.
    pub query: String,
    /// Whether everybody of the tenant may read it.
    pub shared: bool,
    /// When it was saved last.
    pub saved_at: DateTime<Utc>,
}

impl Saved {
    /// Whatever of it may name somebody.
    pub fn texts(&self) -> [Option<&str>; 3] {
        [Some(&self.owner), Some(&self.name), Some(&self.query)]
    }
}

/// What somebody may read: their own by name, then what others share.
///
/// # Errors
/// If the database refuses.
pub async fn list(store: &Store, tenant: &str, who: &str, limit: i64) -> Result<Vec<Saved>, StoreError> {
    sqlx::query_as!(
        Saved,
        "select search_id, owner, name, query, shared, saved_at from saved_searches
         where tenant_id = $1 and (owner = $2 or shared) order by owner <> $2, name, search_id limit $3",
        tenant,
        who,
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("reading saved searches")
}

/// Waits for whoever else saves for the same person, and says how many they have.
///
/// # Errors
/// If the database refuses.
pub async fn count(connection: &mut PgConnection, tenant: &str, who: &str) -> Result<i64, StoreError> {
    let doing = "counting saved searches";
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended('saved ' || $1 || ' ' || $2, 0))",
        tenant,
        who
    )
    .execute(&mut *connection)
    .await
    .doing(doing)?;
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from saved_searches where tenant_id = $1 and owner = $2"#,
        tenant,
        who
    )
    .fetch_one(connection)
    .await
    .doing(doing)
}

/// A search by its id.
///
/// # Errors
/// If the database refuses.
pub async fn find(
    connection: &mut PgConnection,
    tenant: &str,
    id: Uuid,
) -> Result<Option<Saved>, StoreError> {
    sqlx::query_as!(
        Saved,
        "select search_id, owner, name, query, shared, saved_at from saved_searches
         where tenant_id = $1 and search_id = $2 for update",
        tenant,
        id
    )
    .fetch_optional(connection)
    .await
    .doing("reading a saved search")
}

/// Saves a search, in the place of the one with its id if there is one. False if its owner has another of this name.
///
/// # Errors
/// If the database refuses.
pub async fn put(connection: &mut PgConnection, tenant: &str, saved: &Saved) -> Result<bool, StoreError> {
    let doing = "saving a search";
    let taken = sqlx::query_scalar!(
        r#"select exists (select 1 from saved_searches
             where tenant_id = $1 and owner = $2 and name = $3 and search_id <> $4) as "taken!""#,
        tenant,
        saved.owner,
        saved.name,
        saved.search_id
    )
    .fetch_one(&mut *connection)
    .await
    .doing(doing)?;
    if taken {
        return Ok(false);
    }
    sqlx::query!(
        "insert into saved_searches (tenant_id, search_id, owner, name, query, shared, saved_at)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (tenant_id, search_id)
         do update set name = $4, query = $5, shared = $6, saved_at = $7",
        tenant,
        saved.search_id,
        saved.owner,
        saved.name,
        saved.query,
        saved.shared,
        saved.saved_at
    )
    .execute(connection)
    .await
    .doing(doing)?;
    Ok(true)
}

/// Removes a search.
///
/// # Errors
/// If the database refuses.
pub async fn remove(connection: &mut PgConnection, tenant: &str, id: Uuid) -> Result<(), StoreError> {
    sqlx::query!("delete from saved_searches where tenant_id = $1 and search_id = $2", tenant, id)
        .execute(connection)
        .await
        .doing("removing a saved search")?;
    Ok(())
}

/// Removes what was saved before a time.
///
/// # Errors
/// If the database refuses.
pub async fn expire(
    connection: &mut PgConnection,
    tenant: &str,
    before: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let done =
        sqlx::query!("delete from saved_searches where tenant_id = $1 and saved_at < $2", tenant, before)
            .execute(connection)
            .await
            .doing("letting saved searches go")?;
    Ok(done.rows_affected())
}

/// Those that are or name somebody's, by whoever decides about their texts.
///
/// # Errors
/// If the database refuses.
pub async fn of_person(
    connection: &mut PgConnection,
    tenant: &str,
    theirs: impl Fn(&[Option<&str>]) -> bool,
) -> Result<Vec<Saved>, StoreError> {
    let doing = "reading saved searches";
    let mut found = Vec::new();
    let mut rows = sqlx::query_as!(
        Saved,
        "select search_id, owner, name, query, shared, saved_at from saved_searches where tenant_id = $1",
        tenant
    )
    .fetch(connection);
    while let Some(row) = rows.try_next().await.doing(doing)? {
        if theirs(&row.texts()) {
            found.push(row);
        }
    }
    Ok(found)
}
