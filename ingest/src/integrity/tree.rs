//! Entries, tiles and root against the signed head.

use shared::leaf::Hash;
use shared::note::{KeyName, VerifierKey};
use shared::tree::{CompactRange, TILE_WIDTH, leaf_hash};
use sqlx::PgConnection;

use crate::ledger::startup::verified;
use crate::ledger::tiles;
use crate::store::log::{self, LogRow};
use crate::store::{StoreError, log_keys};

/// The newest head: it is signed by a key that the log names, and its root is that of the stored right edge. Gives the
/// head's size and what is wrong.
///
/// # Errors
/// If the store cannot be read.
pub(super) async fn head(
    connection: &mut PgConnection,
    log: &LogRow,
) -> Result<(i64, Option<String>), StoreError> {
    // Read again under the row's lock: a round in between would look like a mismatch.
    let Some(log) = log::locked(connection, &log.log_id).await? else {
        return Ok((0, Some("the log is gone".to_owned())));
    };
    let Some(stored) = log::newest_checkpoint(connection, &log.log_id).await? else {
        let finding = (log.size != 0).then(|| format!("no head is stored for {} entries", log.size));
        return Ok((log.size, finding));
    };
    let named = log_keys::of(connection, &log.log_id).await?;
    let name = KeyName::try_from(log.origin.clone()).map_err(|_| StoreError::Damaged("origin of a log"))?;
    let keys: Vec<VerifierKey> = named
        .into_iter()
        .filter_map(|key| Some(VerifierKey { name: name.clone(), public: key.public_key.try_into().ok()? }))
        .collect();
    let Some(signed) = verified(&stored.note, &keys) else {
        return Ok((
            stored.size,
            Some(format!("head of {} entries: no key of the log signed it", stored.size)),
        ));
    };
    let (peaks, rest) = log.peaks.as_chunks::<32>();
    let range = u64::try_from(log.size)
        .ok()
        .and_then(|size| CompactRange::from_parts(size, peaks.to_vec()))
        .filter(|_| rest.is_empty());
    let same = range.is_some_and(|range| {
        signed.origin == log.origin
            && signed.size == range.size()
            && signed.root == range.root()
            && stored.root == signed.root
    });
    let finding = (!same).then(|| format!("head of {} entries: the stored tree is another one", signed.size));
    Ok((stored.size, finding))
}

/// Recomputes every tile and the root from the entries, up to a head's size. Gives the number of tiles that are wrong and
/// the first finding.
///
/// # Errors
/// If the store cannot be read.
pub(super) async fn recompute(
    connection: &mut PgConnection,
    log: &LogRow,
    size: i64,
) -> Result<(i64, Option<String>), StoreError> {
    let width = i64::try_from(TILE_WIDTH).expect("256");
    let mut range = CompactRange::default();
    let mut levels: Vec<Vec<Hash>> = Vec::new();
    let mut done: Vec<i64> = Vec::new();
    let mut wrong = 0;
    let mut finding = None;
    let mut from = 0;
    while from < size {
        let to = size.min(from + width);
        let leaves = match tiles::entries(connection, log.key(), from, to).await {
            Ok(entries) => entries.iter().map(|entry| leaf_hash(entry)).collect::<Vec<_>>(),
            Err(StoreError::Damaged(_)) => {
                return Ok((
                    wrong + 1,
                    finding.or_else(|| Some(format!("entries from {from}: some are gone"))),
                ));
            }
            Err(error) => return Err(error),
        };
        leaves.iter().for_each(|leaf| range.append(*leaf));
        let mut new = leaves;
        let mut level = 0;
        while !new.is_empty() {
            if levels.len() == level {
                levels.push(Vec::new());
                done.push(0);
            }
            levels[level].append(&mut new);
            if levels[level].len() as i64 == width {
                let hashes = std::mem::take(&mut levels[level]);
                let index = done[level];
                done[level] += 1;
                let mut tile = CompactRange::default();
                hashes.iter().for_each(|hash| tile.append(*hash));
                let at = i16::try_from(level).expect("a level is below 8");
                if log::tile(connection, &log.log_id, at, index).await? != Some(hashes.concat()) {
                    wrong += 1;
                    finding.get_or_insert_with(|| {
                        format!("tile {level}/{index}: it is not that of the entries")
                    });
                }
                if tiles::roots(connection, &log.log_id, at, index, index + 1).await.ok()
                    != Some(vec![tile.root()])
                {
                    wrong += 1;
                    finding.get_or_insert_with(|| format!("tile {level}/{index}: its root is another one"));
                }
                new.push(tile.root());
            }
            level += 1;
        }
        from = to;
    }
    let signed = log::checkpoint_of(connection, &log.log_id, size).await?;
    if size > 0 && signed.is_none_or(|signed| signed.root != range.root()) {
        wrong += 1;
        finding.get_or_insert_with(|| format!("head of {size} entries: the entries have another root"));
    }
    Ok((wrong, finding))
}
