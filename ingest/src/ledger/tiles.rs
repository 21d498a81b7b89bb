//! Tiles and entry bundles of a log (c2sp.org/tlog-tiles): full ones as stored, partial ones made on request.

use shared::leaf::{ENTRY_LEN, Hash};
use shared::tree::{TILE_WIDTH, TileRef, encode_bundle, leaf_hash};
use sqlx::PgConnection;

use crate::store::log::{self, LogKey};
use crate::store::{Store, StoreError};

/// A tile's bytes; none if a tree of `size` leaves does not hold it.
///
/// # Errors
/// If the store cannot be read, or lacks what a checkpoint covers.
pub async fn read(
    store: &Store,
    log: LogKey<'_>,
    tile: TileRef,
    size: u64,
) -> Result<Option<Vec<u8>>, StoreError> {
    if tile.width_at(size) < tile.width {
        return Ok(None);
    }
    let damaged = StoreError::Damaged("tile");
    let (Ok(index), Ok(width)) = (i64::try_from(tile.index), i64::try_from(TILE_WIDTH)) else {
        return Ok(None);
    };
    let from = index * width;
    let to = from + i64::from(tile.width);
    let mut connection = store.begin().await?;
    let Some(level) = tile.level else {
        let entries = entries(&mut connection, log, from, to).await?;
        return Ok(Some(encode_bundle(entries.iter().map(<[u8; ENTRY_LEN]>::as_slice))));
    };
    let level = i16::from(level);
    if u64::from(tile.width) == TILE_WIDTH {
        let hashes = log::tile(&mut connection, log.log_id, level, index).await?;
        return hashes.ok_or(damaged).map(Some);
    }
    let hashes = if level == 0 {
        leaf_hashes(&mut connection, log, from, to).await?
    } else {
        roots(&mut connection, log.log_id, level - 1, from, to).await?
    };
    Ok(Some(hashes.concat()))
}

/// The entries `from..to`.
pub(crate) async fn entries(
    connection: &mut PgConnection,
    log: LogKey<'_>,
    from: i64,
    to: i64,
) -> Result<Vec<[u8; ENTRY_LEN]>, StoreError> {
    let mut entries = Vec::new();
    for round in log::rounds(connection, log, from, to).await? {
        let (chunks, _) = round.entries.as_chunks::<ENTRY_LEN>();
        for (index, entry) in (round.first_index..).zip(chunks) {
            if (from..to).contains(&index) {
                entries.push(*entry);
            }
        }
    }
    if entries.len() as i64 == to - from {
        Ok(entries)
    } else {
        Err(StoreError::Damaged("run of log entries"))
    }
}

pub(super) async fn leaf_hashes(
    connection: &mut PgConnection,
    log: LogKey<'_>,
    from: i64,
    to: i64,
) -> Result<Vec<Hash>, StoreError> {
    let entries = entries(connection, log, from, to).await?;
    Ok(entries.iter().map(|entry| leaf_hash(entry)).collect())
}

pub(crate) async fn roots(
    connection: &mut PgConnection,
    log_id: &str,
    level: i16,
    from: i64,
    to: i64,
) -> Result<Vec<Hash>, StoreError> {
    let roots: Vec<Hash> = log::tile_roots(connection, log_id, level, from, to)
        .await?
        .into_iter()
        .map(Hash::try_from)
        .collect::<Result<_, _>>()
        .map_err(|_| StoreError::Damaged("root of a tile"))?;
    if roots.len() as i64 == to - from { Ok(roots) } else { Err(StoreError::Damaged("level of tiles")) }
}
