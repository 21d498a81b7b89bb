//! Lists of explained absence, and where events stand in the logs.

use std::collections::HashMap;

use shared::absence::AbsenceList;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Doing as _, Store, StoreError};

/// A list and the record that commits to it.
#[derive(Debug, Clone)]
pub struct StoredList {
    /// The id of the record's event.
    pub record_id: Uuid,
    /// The list.
    pub list: AbsenceList,
}

/// Keeps the list of a record that is durable, in the transaction that removes the values.
///
/// # Errors
/// If the database refuses, also because the record has a list already.
pub async fn insert(
    connection: &mut PgConnection,
    tenant: &str,
    record_id: Uuid,
    list: &AbsenceList,
) -> Result<(), StoreError> {
    let hash = list.hash();
    sqlx::query!(
        "insert into absence_lists (tenant_id, record_id, sha256, list) values ($1, $2, $3, $4)",
        tenant,
        record_id,
        hash.as_slice(),
        list.encode()
    )
    .execute(connection)
    .await
    .doing("keeping a list of absence")?;
    Ok(())
}

/// Every list of a tenant, in the order of their records.
///
/// # Errors
/// If the database refuses, or a list is not the one it was.
pub async fn all(store: &Store, tenant: &str) -> Result<Vec<StoredList>, StoreError> {
    let rows = sqlx::query!(
        "select record_id, sha256, list from absence_lists where tenant_id = $1 order by record_id",
        tenant
    )
    .fetch_all(store.pool())
    .await
    .doing("reading lists of absence")?;
    let lists = rows.into_iter().map(|row| {
        let list = AbsenceList::decode(&row.list).ok().filter(|list| list.hash().as_slice() == row.sha256);
        let list = list.ok_or(StoreError::Damaged("list of absence"))?;
        Ok(StoredList { record_id: row.record_id, list })
    });
    lists.collect()
}

/// The bytes of every list of a tenant, whatever they are: a verifier judges them.
///
/// # Errors
/// If the database refuses.
pub async fn raw(
    store: &Store,
    tenant: &str,
    only: Option<Uuid>,
) -> Result<Vec<(Uuid, Vec<u8>)>, StoreError> {
    let rows = sqlx::query!(
        "select record_id, list from absence_lists
         where tenant_id = $1 and ($2::uuid is null or record_id = $2) order by record_id",
        tenant,
        only
    )
    .fetch_all(store.pool())
    .await
    .doing("reading lists of absence")?;
    Ok(rows.into_iter().map(|row| (row.record_id, row.list)).collect())
}

/// The leaves (log, index) of events (batch, position), in their order. Those that are not sequenced yet are left out.
///
/// # Errors
/// If the database refuses.
pub async fn leaves_of(
    connection: &mut PgConnection,
    tenant: &str,
    events: &[(i64, i16)],
) -> Result<Vec<([u8; 16], u64)>, StoreError> {
    let starts = starts_of(connection, tenant, events.iter().map(|(batch, _)| *batch).collect()).await?;
    let leaf = |(batch, position): &(i64, i16)| {
        let (log, first) = starts.get(batch)?;
        Some((*log, first + u64::try_from(*position).ok()?))
    };
    Ok(events.iter().filter_map(leaf).collect())
}

/// The leaf (log, index) of the first event of each batch that is sequenced.
///
/// # Errors
/// If the database refuses.
pub async fn starts_of(
    connection: &mut PgConnection,
    tenant: &str,
    mut batches: Vec<i64>,
) -> Result<HashMap<i64, ([u8; 16], u64)>, StoreError> {
    batches.sort_unstable();
    batches.dedup();
    let rounds = sqlx::query!(
        r#"select batch_id as "batch_id!", log_id, first_index from log_rounds
           where tenant_id = $1 and batch_id = any($2)"#,
        tenant,
        &batches
    )
    .fetch_all(connection)
    .await
    .doing("looking for leaves")?;
    let mut starts: HashMap<i64, ([u8; 16], u64)> = HashMap::with_capacity(rounds.len());
    for round in rounds {
        let mut log = [0; 16];
        hex::decode_to_slice(&round.log_id, &mut log).map_err(|_| StoreError::Damaged("id of a log"))?;
        let first = u64::try_from(round.first_index).map_err(|_| StoreError::Damaged("place in a log"))?;
        starts.insert(round.batch_id, (log, first));
    }
    Ok(starts)
}
