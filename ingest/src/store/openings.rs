//! Rows as a verifier wants them: every column, by the batch and the time that log entries name.

use chrono::{DateTime, Utc};
use ipnetwork::IpNetwork;
use uuid::Uuid;

use super::{Doing as _, Store, StoreError};

/// An event with every column.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the columns of the table, under their names")]
pub struct FiledRow {
    pub filed_at: DateTime<Utc>,
    pub id: Uuid,
    pub occurred_at: DateTime<Utc>,
    pub received_at: DateTime<Utc>,
    pub class: i16,
    pub severity: i16,
    pub outcome: i16,
    pub trust: i16,
    pub action: String,
    pub actor_id: Option<String>,
    pub actor_email: Option<String>,
    pub claimed_user: Option<String>,
    pub entity_type: Option<String>,
    pub entity_id: Option<String>,
    pub entity_name: Option<String>,
    pub ip: Option<IpNetwork>,
    pub session_id: Option<String>,
    pub country: Option<String>,
    pub host: String,
    pub method: String,
    pub route: String,
    pub rule: String,
    pub status: Option<i32>,
    pub reason: Option<String>,
    pub duration_ms: Option<i64>,
    pub change_quality: Option<i16>,
    pub compliance: Vec<String>,
    pub batch_id: i64,
    pub position: i16,
    pub opening: Vec<u8>,
}

/// What was set aside on arrival, at its place in its batch.
#[derive(Debug, Clone)]
pub struct SetAside {
    /// The batch.
    pub batch_id: i64,
    /// Its place in the batch.
    pub position: i16,
    /// Why.
    pub reason: String,
    /// What arrived, capped.
    pub raw: Option<Vec<u8>>,
}

/// Where a batch stands in a log.
#[derive(Debug, Clone)]
pub struct BatchPlace {
    /// The log.
    pub log_id: String,
    /// The leaf of its first event.
    pub first_index: i64,
    /// Its entries, 42 bytes each.
    pub entries: Vec<u8>,
}

/// The events of batches.
///
/// # Errors
/// If the database refuses.
pub async fn of_batches(store: &Store, tenant: &str, batches: &[i64]) -> Result<Vec<FiledRow>, StoreError> {
    sqlx::query_as!(
        FiledRow,
        "select filed_at, id, occurred_at, received_at, class, severity, outcome, trust, action, actor_id, actor_email,
             claimed_user, entity_type, entity_id, entity_name, ip, session_id, country, host, method, route, rule, status,
             reason, duration_ms, change_quality, compliance, batch_id, position, opening
         from events
         where tenant_id = $1 and batch_id = any($2)",
        tenant,
        batches
    )
    .fetch_all(store.pool())
    .await
    .doing("reading openings")
}

/// Events that might be those of leaves without one: of the same batches, or of the same arrival. It reads every month,
/// so it is for when something is wrong.
///
/// # Errors
/// If the database refuses.
pub async fn anywhere(
    store: &Store,
    tenant: &str,
    batches: &[i64],
    arrivals: &[DateTime<Utc>],
    limit: i64,
) -> Result<Vec<FiledRow>, StoreError> {
    sqlx::query_as!(
        FiledRow,
        "select filed_at, id, occurred_at, received_at, class, severity, outcome, trust, action, actor_id, actor_email,
             claimed_user, entity_type, entity_id, entity_name, ip, session_id, country, host, method, route, rule, status,
             reason, duration_ms, change_quality, compliance, batch_id, position, opening
         from events
         where tenant_id = $1 and (batch_id = any($2) or received_at = any($3))
         order by filed_at, id limit $4",
        tenant,
        batches,
        arrivals,
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("looking for openings")
}

/// What was set aside of batches.
///
/// # Errors
/// If the database refuses.
pub async fn set_aside(store: &Store, tenant: &str, batches: &[i64]) -> Result<Vec<SetAside>, StoreError> {
    sqlx::query_as!(
        SetAside,
        "select batch_id, position, reason, raw from quarantine where tenant_id = $1 and batch_id = any($2)",
        tenant,
        batches
    )
    .fetch_all(store.pool())
    .await
    .doing("reading what was set aside")
}

/// Where a batch stands; none while it waits for its place.
///
/// # Errors
/// If the database refuses.
pub async fn place_of(store: &Store, tenant: &str, batch: i64) -> Result<Option<BatchPlace>, StoreError> {
    sqlx::query_as!(
        BatchPlace,
        "select log_id, first_index, entries from log_rounds where tenant_id = $1 and batch_id = $2",
        tenant,
        batch
    )
    .fetch_optional(store.pool())
    .await
    .doing("looking for a leaf")
}

/// The batch and the position of an event, with what is stored of it, looked for between two times.
///
/// # Errors
/// If the database refuses.
pub async fn stored(
    store: &Store,
    tenant: &str,
    id: Uuid,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Option<(i64, i16, Vec<u8>)>, StoreError> {
    let row = sqlx::query!(
        "select batch_id, position, opening from events
         where tenant_id = $1 and id = $2 and filed_at >= $3 and filed_at <= $4",
        tenant,
        id,
        from,
        to
    )
    .fetch_optional(store.pool())
    .await
    .doing("reading an opening")?;
    Ok(row.map(|row| (row.batch_id, row.position, row.opening)))
}

/// Batches that are stored and have no place in a log, the oldest first. It looks at the newest
/// hundred thousand: older ones that the sequencer never saw are found by their gap in the producer's stream.
///
/// # Errors
/// If the database refuses.
pub async fn waiting(store: &Store, tenant: &str, limit: i64) -> Result<Vec<i64>, StoreError> {
    sqlx::query_scalar!(
        "select b.batch_id from
             (select batch_id from batches where tenant_id = $1 order by batch_id desc limit 100000) b
         where not exists (select 1 from log_rounds r where r.tenant_id = $1 and r.batch_id = b.batch_id)
         order by b.batch_id limit $2",
        tenant,
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("looking for batches that wait")
}
