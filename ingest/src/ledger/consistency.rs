//! Proofs out of the stored tree: that one head of a log is a prefix of another (RFC 9162, 2.1.4).

use std::collections::HashMap;

use shared::leaf::Hash;
use shared::tree::{CompactRange, consistency_proof, node_hash};
use sqlx::PgConnection;

use super::tiles;
use crate::store::StoreError;
use crate::store::log::LogKey;

/// Of a tile level to the next: 256 hashes become one.
const TILE_BITS: u32 = 8;

/// The proof that the tree of `old` leaves is a prefix of that of `new`; nothing is to be proven if one of them is empty
/// or both are the same.
///
/// # Errors
/// If the store cannot be read, or lacks what a checkpoint covers.
pub async fn proof(
    connection: &mut PgConnection,
    log: LogKey<'_>,
    old: u64,
    new: u64,
) -> Result<Vec<Hash>, StoreError> {
    if old == 0 || old >= new {
        return Ok(Vec::new());
    }
    // Once to see which subtrees are wanted, once with their hashes: the proof itself knows no database.
    let mut wanted = Vec::new();
    let damaged = |_| StoreError::Damaged("size of a log");
    consistency_proof(old, new, &mut |first, len| {
        wanted.push((first, len));
        [0; 32]
    })
    .map_err(damaged)?;
    let mut hashes = HashMap::with_capacity(wanted.len());
    for (first, len) in wanted {
        hashes.insert((first, len), subtree(connection, log, first, len).await?);
    }
    consistency_proof(old, new, &mut |first, len| hashes[&(first, len)]).map_err(damaged)
}

/// The root over the leaves `first..first + len`, where the tree has a node for them.
pub(crate) async fn subtree(
    connection: &mut PgConnection,
    log: LogKey<'_>,
    first: u64,
    len: u64,
) -> Result<Hash, StoreError> {
    let mut start = first;
    let mut rest = len;
    let mut peaks = Vec::new();
    while rest > 0 {
        let bits = 63 - rest.leading_zeros();
        peaks.push(perfect(connection, log, start, bits).await?);
        start += 1 << bits;
        rest -= 1 << bits;
    }
    let mut peaks = peaks.into_iter().rev();
    let last = peaks.next().ok_or(StoreError::Damaged("size of a log"))?;
    Ok(peaks.fold(last, |right, left| node_hash(&left, &right)))
}

/// The root over `2^bits` leaves from `start`, which is a multiple of that.
async fn perfect(
    connection: &mut PgConnection,
    log: LogKey<'_>,
    start: u64,
    bits: u32,
) -> Result<Hash, StoreError> {
    let damaged = |_| StoreError::Damaged("size of a log");
    let level = bits / TILE_BITS;
    let from = i64::try_from(start >> (TILE_BITS * level)).map_err(damaged)?;
    let to = from + (1 << (bits % TILE_BITS));
    let hashes = if level == 0 {
        tiles::leaf_hashes(connection, log, from, to).await?
    } else {
        let below = i16::try_from(level - 1).expect("a level is below 8");
        tiles::roots(connection, log.log_id, below, from, to).await?
    };
    let mut range = CompactRange::default();
    hashes.into_iter().for_each(|hash| range.append(hash));
    Ok(range.root())
}
