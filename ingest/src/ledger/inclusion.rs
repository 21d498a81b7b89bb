//! Proofs out of the stored tree: that an entry is a leaf under a head (RFC 9162, 2.1.3).

use std::collections::HashMap;

use shared::bundle::{LogId, OpeningLine, ProofFile};
use shared::leaf::{ENTRY_LEN, Hash};
use shared::tree::inclusion_proof;
use sqlx::PgConnection;

use super::consistency::subtree;
use crate::store::log::{self, LogKey};
use crate::store::openings::{self, BatchPlace};
use crate::store::{Store, StoreError};

/// The proof that leaf `index` is in the tree of `size` leaves.
///
/// # Errors
/// If the store cannot be read, or lacks what a checkpoint covers.
pub async fn proof(
    connection: &mut PgConnection,
    log: LogKey<'_>,
    index: u64,
    size: u64,
) -> Result<Vec<Hash>, StoreError> {
    let damaged = |_| StoreError::Damaged("place in a log");
    // Once to see which subtrees are wanted, once with their hashes.
    let mut wanted = Vec::new();
    inclusion_proof(index, size, &mut |first, len| {
        wanted.push((first, len));
        [0; 32]
    })
    .map_err(damaged)?;
    let mut hashes = HashMap::with_capacity(wanted.len());
    for (first, len) in wanted {
        hashes.insert((first, len), subtree(connection, log, first, len).await?);
    }
    inclusion_proof(index, size, &mut |first, len| hashes[&(first, len)]).map_err(damaged)
}

/// Entry and proof of the event at a position of a batch, under the newest published head, and the log's key; none while
/// no published head covers it.
///
/// # Errors
/// If the store cannot be read, or lacks what a checkpoint covers.
pub async fn proven(
    store: &Store,
    tenant: &str,
    batch: i64,
    position: i16,
) -> Result<Option<OpeningLine>, StoreError> {
    let Some(place) = openings::place_of(store, tenant, batch).await? else { return Ok(None) };
    let BatchPlace { log_id, first_index, entries } = place;
    let damaged = || StoreError::Damaged("place in a log");
    let (entries, _) = entries.as_chunks::<ENTRY_LEN>();
    let entry = usize::try_from(position).ok().and_then(|at| entries.get(at)).ok_or_else(damaged)?;
    let index = u64::try_from(first_index + i64::from(position)).map_err(|_| damaged())?;
    let log: LogId = log_id.parse().map_err(|_| damaged())?;
    let Some((_, checkpoint)) = log::published(store, &log_id).await? else { return Ok(None) };
    let size = u64::try_from(checkpoint.size).unwrap_or(0);
    if index >= size {
        return Ok(None);
    }
    let mut connection = store.begin().await?;
    let hashes = proof(&mut connection, LogKey { tenant, log_id: &log_id }, index, size).await?;
    let file = ProofFile { extra: None, index, hashes, checkpoint: checkpoint.note };
    Ok(Some(OpeningLine {
        place: Some((log, index)),
        entry: Some(*entry),
        proof: Some(file.to_string()),
        ..OpeningLine::default()
    }))
}
