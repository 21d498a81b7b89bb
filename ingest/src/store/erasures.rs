//! Requests to erase a person, and what was done about them.

use chrono::{DateTime, Utc};
use shared::absence::AbsenceList;
use shared::leaf::Hash;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Doing as _, Store, StoreError};

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whose events.
    pub tenant_id: String,
    /// Its id.
    pub id: Uuid,
    /// `erase`, `pseudonymise` or `keep`.
    pub mode: String,
    /// On what ground.
    pub legal_basis: String,
    /// Where it stands.
    pub state: String,
    /// Whom it is about, until it is closed.
    pub subject: Option<String>,
    /// What they are known by, until it is closed.
    pub names: Vec<String>,
    /// What stands for them.
    pub pseudonym: Option<String>,
    /// The admin who asked.
    pub requested_by: String,
    /// When.
    pub requested_at: DateTime<Utc>,
    /// The admin who agreed.
    pub approved_by: Option<String>,
    /// When.
    pub approved_at: Option<DateTime<Utc>>,
    /// Not carried out before.
    pub not_before: Option<DateTime<Utc>>,
    /// When it was carried out.
    pub until: Option<DateTime<Utc>>,
    /// Who closed it.
    pub closed_by: Option<String>,
    /// When.
    pub closed_at: Option<DateTime<Utc>>,
}

/// The hash of a name of somebody who was erased.
#[derive(Debug, Clone)]
pub struct ErasedName {
    /// By which request.
    pub request_id: Uuid,
    /// The hash.
    pub hash: Hash,
}

/// One record of an erasure and its list.
#[derive(Debug, Clone)]
pub struct Pass {
    /// The id of the record's event.
    pub record_id: Uuid,
    /// The events it is about.
    pub events: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// What they lost.
    pub list: AbsenceList,
}

/// Adds a request.
///
/// # Errors
/// If the database refuses.
pub async fn insert(connection: &mut PgConnection, request: &Request) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into erasure_requests (tenant_id, id, mode, legal_basis, state, subject, names, pseudonym, requested_by,
             requested_at, approved_by, approved_at, not_before, until, closed_by, closed_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        request.tenant_id,
        request.id,
        request.mode,
        request.legal_basis,
        request.state,
        request.subject,
        &request.names,
        request.pseudonym,
        request.requested_by,
        request.requested_at,
        request.approved_by,
        request.approved_at,
        request.not_before,
        request.until,
        request.closed_by,
        request.closed_at
    )
    .execute(connection)
    .await
    .doing("adding an erasure request")?;
    Ok(())
}

/// A request, locked until the transaction ends.
///
/// # Errors
/// If the database refuses.
pub async fn lock(
    connection: &mut PgConnection,
    tenant: &str,
    id: Uuid,
) -> Result<Option<Request>, StoreError> {
    sqlx::query_as!(
        Request,
        "select tenant_id, id, mode, legal_basis, state, subject, names, pseudonym, requested_by, requested_at,
             approved_by, approved_at, not_before, until, closed_by, closed_at
         from erasure_requests where tenant_id = $1 and id = $2 for update",
        tenant,
        id
    )
    .fetch_optional(connection)
    .await
    .doing("reading an erasure request")
}

/// A tenant's requests, newest first; all of them or one.
///
/// # Errors
/// If the database refuses.
pub async fn list(
    store: &Store,
    tenant: &str,
    one: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Request>, StoreError> {
    sqlx::query_as!(
        Request,
        "select tenant_id, id, mode, legal_basis, state, subject, names, pseudonym, requested_by, requested_at,
             approved_by, approved_at, not_before, until, closed_by, closed_at
         from erasure_requests where tenant_id = $1 and ($2::uuid is null or id = $2)
         order by requested_at desc, id limit $3",
        tenant,
        one,
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("listing erasure requests")
}

/// Requests of all tenants whose time has come, the oldest first.
///
/// # Errors
/// If the database refuses.
pub async fn due(store: &Store, now: DateTime<Utc>) -> Result<Vec<Request>, StoreError> {
    sqlx::query_as!(
        Request,
        "select tenant_id, id, mode, legal_basis, state, subject, names, pseudonym, requested_by, requested_at,
             approved_by, approved_at, not_before, until, closed_by, closed_at
         from erasure_requests where state in ('approved', 'running') and not_before <= $1 order by not_before, id",
        now
    )
    .fetch_all(store.pool())
    .await
    .doing("looking for erasures that are due")
}

/// Keeps what became of a request, locked before.
///
/// # Errors
/// If the database refuses.
pub async fn update(connection: &mut PgConnection, request: &Request) -> Result<(), StoreError> {
    sqlx::query!(
        "update erasure_requests set state = $3, subject = $4, names = $5, approved_by = $6, approved_at = $7,
             not_before = $8, until = $9, closed_by = $10, closed_at = $11
         where tenant_id = $1 and id = $2",
        request.tenant_id,
        request.id,
        request.state,
        request.subject,
        &request.names,
        request.approved_by,
        request.approved_at,
        request.not_before,
        request.until,
        request.closed_by,
        request.closed_at
    )
    .execute(connection)
    .await
    .doing("changing an erasure request")?;
    Ok(())
}

/// Remembers the hashes of a person's names.
///
/// # Errors
/// If the database refuses.
pub async fn add_names(
    connection: &mut PgConnection,
    tenant: &str,
    request: Uuid,
    hashes: &[Hash],
) -> Result<(), StoreError> {
    let hashes: Vec<&[u8]> = hashes.iter().map(Hash::as_slice).collect();
    sqlx::query!(
        "insert into erased_names (tenant_id, request_id, hash) select $1, $2, * from unnest($3::bytea[])
         on conflict do nothing",
        tenant,
        request,
        &hashes as _
    )
    .execute(connection)
    .await
    .doing("remembering the hashes of names")?;
    Ok(())
}

/// The tenants of which somebody was erased.
///
/// # Errors
/// If the database refuses.
pub async fn tenants(store: &Store) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar!("select distinct tenant_id from erased_names order by tenant_id")
        .fetch_all(store.pool())
        .await
        .doing("looking for tenants with erasures")
}

/// The hashes of the names of those who were erased.
///
/// # Errors
/// If the database refuses.
pub async fn names(store: &Store, tenant: &str) -> Result<Vec<ErasedName>, StoreError> {
    let rows = sqlx::query!("select request_id, hash from erased_names where tenant_id = $1", tenant)
        .fetch_all(store.pool())
        .await
        .doing("reading the hashes of names")?;
    let name = |hash: Vec<u8>| Hash::try_from(hash).map_err(|_| StoreError::Damaged("hash of a name"));
    rows.into_iter().map(|row| Ok(ErasedName { request_id: row.request_id, hash: name(row.hash)? })).collect()
}

/// Keeps that a record is of a request.
///
/// # Errors
/// If the database refuses.
pub async fn add_pass(
    connection: &mut PgConnection,
    tenant: &str,
    request: Uuid,
    record: Uuid,
    events: i64,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into erasure_passes (tenant_id, request_id, record_id, events, at) values ($1, $2, $3, $4, $5)",
        tenant,
        request,
        record,
        events,
        at
    )
    .execute(connection)
    .await
    .doing("keeping a pass of an erasure")?;
    Ok(())
}

/// The records of a request with their lists, in their order.
///
/// # Errors
/// If the database refuses, or a list is damaged.
pub async fn passes(store: &Store, tenant: &str, request: Uuid) -> Result<Vec<Pass>, StoreError> {
    let rows = sqlx::query!(
        "select p.record_id, p.events, p.at, a.list from erasure_passes p
         join absence_lists a on a.tenant_id = p.tenant_id and a.record_id = p.record_id
         where p.tenant_id = $1 and p.request_id = $2 order by p.at, p.record_id",
        tenant,
        request
    )
    .fetch_all(store.pool())
    .await
    .doing("reading the passes of an erasure")?;
    let list = |bytes: &[u8]| AbsenceList::decode(bytes).map_err(|_| StoreError::Damaged("list of absence"));
    rows.into_iter()
        .map(|row| {
            Ok(Pass { record_id: row.record_id, events: row.events, at: row.at, list: list(&row.list)? })
        })
        .collect()
}

/// Keeps a certificate that this database has carried out.
///
/// # Errors
/// If the database refuses.
pub async fn add_certificate(
    connection: &mut PgConnection,
    tenant: &str,
    request: Uuid,
    sha256: &Hash,
    note: &str,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into erasure_certificates (tenant_id, request_id, sha256, note, at) values ($1, $2, $3, $4, $5)
         on conflict do nothing",
        tenant,
        request,
        sha256.as_slice(),
        note,
        at
    )
    .execute(connection)
    .await
    .doing("keeping a certificate")?;
    Ok(())
}

/// Whether a certificate was carried out in this database.
///
/// # Errors
/// If the database refuses.
pub async fn has_certificate(
    store: &Store,
    tenant: &str,
    request: Uuid,
    sha256: &Hash,
) -> Result<bool, StoreError> {
    sqlx::query_scalar!(
        r#"select exists (select 1 from erasure_certificates
                          where tenant_id = $1 and request_id = $2 and sha256 = $3) as "there!""#,
        tenant,
        request,
        sha256.as_slice()
    )
    .fetch_one(store.pool())
    .await
    .doing("looking for a certificate")
}

/// The newest certificate of a request.
///
/// # Errors
/// If the database refuses.
pub async fn certificate(store: &Store, tenant: &str, request: Uuid) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar!(
        "select note from erasure_certificates where tenant_id = $1 and request_id = $2 order by at desc limit 1",
        tenant,
        request
    )
    .fetch_optional(store.pool())
    .await
    .doing("reading a certificate")
}
