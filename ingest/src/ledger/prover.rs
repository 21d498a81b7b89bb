//! Proofs of many events of one export: all against the head that was newest when the export first met the log, from tiles
//! that are read once and kept while their neighbours need them.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use shared::bundle::ProofFile;
use shared::event::RetentionClass;
use shared::leaf::{self, Hash, StoredOpening};
use shared::tree::{TILE_WIDTH, TileRef, inclusion_proof, node_hash};

use super::tiles;
use crate::store::log::{self, LogKey};
use crate::store::{Store, StoreError};

/// 8 KiB each.
const KEEP_TILES: usize = 128;

/// A log's signed head.
#[derive(Debug, Clone)]
struct Head {
    tenant: String,
    size: u64,
    note: String,
}

/// What shows anybody that an event is in the log: its opening, the entry that it hashes to, and the way to a signed head.
#[derive(Debug, Clone)]
pub struct Evidence {
    entry: String,
    opening: String,
    /// The log and the leaf there; none while the event waits for its place.
    leaf: Option<(String, u64)>,
    proof: Option<String>,
}

impl Evidence {
    /// Whether a signed head covers the event.
    pub fn is_proven(&self) -> bool {
        self.proof.is_some()
    }

    /// Adds it to the view of its event.
    pub fn attach(self, line: &mut Value) {
        line["entry"] = Value::from(self.entry);
        line["opening"] = Value::from(self.opening);
        if let Some((log, index)) = self.leaf {
            line["leaf"] = json!({"log_id": log, "index": index});
            line["proof"] = self.proof.into();
        }
    }
}

/// Makes proofs.
#[derive(Debug)]
pub struct Prover {
    store: Store,
    heads: HashMap<String, Option<Head>>,
    tiles: HashMap<(String, u8, u64), Vec<Hash>>,
}

impl Prover {
    /// One that has met no log yet.
    pub fn new(store: Store) -> Self {
        Self { store, heads: HashMap::new(), tiles: HashMap::new() }
    }

    /// The evidence of an event, as it is shown, at a leaf (log, index) if it is sequenced.
    ///
    /// # Errors
    /// If the store cannot be read, or lacks what a head covers.
    pub async fn evidence(
        &mut self,
        class: RetentionClass,
        received_at: DateTime<Utc>,
        shown: &StoredOpening,
        leaf: Option<([u8; 16], u64)>,
    ) -> Result<Evidence, StoreError> {
        let received = u64::try_from(received_at.timestamp_millis()).unwrap_or(0);
        let leaf = leaf.map(|(log, index)| (hex::encode(log), index));
        let proof = match &leaf {
            Some((log, index)) => self.prove(log, *index).await?,
            None => None,
        };
        Ok(Evidence {
            entry: BASE64.encode(leaf::entry(class, received, &shown.digest())),
            opening: BASE64.encode(shown.encode()),
            leaf,
            proof,
        })
    }

    /// The proof of a leaf as a c2sp.org/tlog-proof; none if no head covers it yet.
    async fn prove(&mut self, log_id: &str, index: u64) -> Result<Option<String>, StoreError> {
        if !self.heads.contains_key(log_id) {
            let newest = log::published(&self.store, log_id).await?;
            let head = newest.map(|(tenant, row)| Head {
                tenant,
                size: u64::try_from(row.size).unwrap_or(0),
                note: row.note,
            });
            self.heads.insert(log_id.to_owned(), head);
        }
        let Some(head) = self.heads.get(log_id).cloned().flatten() else { return Ok(None) };
        let mut wanted = Vec::new();
        let asked = inclusion_proof(index, head.size, &mut |first, len| {
            wanted.push((first, len));
            [0; 32]
        });
        if asked.is_err() {
            return Ok(None);
        }
        let mut hashes = HashMap::with_capacity(wanted.len());
        for (first, len) in wanted {
            let log = LogKey { tenant: &head.tenant, log_id };
            hashes.insert((first, len), self.subtree(log, head.size, first, len).await?);
        }
        let hashes = inclusion_proof(index, head.size, &mut |first, len| {
            hashes.get(&(first, len)).copied().unwrap_or_default()
        })
        .map_err(|_| StoreError::Damaged("size of a log"))?;
        Ok(Some(ProofFile { extra: None, index, hashes, checkpoint: head.note }.to_string()))
    }

    /// The root over `len` leaves from `first`: of whole subtrees, each half as large as the one before or smaller.
    async fn subtree(
        &mut self,
        log: LogKey<'_>,
        size: u64,
        first: u64,
        len: u64,
    ) -> Result<Hash, StoreError> {
        let (mut first, mut rest) = (first, len);
        let mut parts = Vec::new();
        while rest > 0 {
            let part = 1 << (63 - rest.leading_zeros());
            parts.push(self.node(log, size, first, part).await?);
            first += part;
            rest -= part;
        }
        let mut root = parts.pop().ok_or(StoreError::Damaged("tree"))?;
        while let Some(left) = parts.pop() {
            root = node_hash(&left, &root);
        }
        Ok(root)
    }

    /// The root over `len` leaves, a power of two, from a multiple of it.
    async fn node(&mut self, log: LogKey<'_>, size: u64, first: u64, len: u64) -> Result<Hash, StoreError> {
        let height = len.trailing_zeros();
        let level = u8::try_from(height / 8).map_err(|_| StoreError::Damaged("tree"))?;
        let at = first >> (8 * u32::from(level));
        let index = at / TILE_WIDTH;
        let key = (log.log_id.to_owned(), level, index);
        if !self.tiles.contains_key(&key) {
            let mut tile = TileRef { level: Some(level), index, width: 1 };
            tile.width = tile.width_at(size);
            let bytes = tiles::read(&self.store, log, tile, size).await?;
            let bytes = bytes.ok_or(StoreError::Damaged("tile"))?;
            if self.tiles.len() >= KEEP_TILES {
                self.tiles.clear();
            }
            self.tiles.insert(key.clone(), bytes.as_chunks::<32>().0.to_vec());
        }
        let start = usize::try_from(at % TILE_WIDTH).unwrap_or(usize::MAX);
        let hashes = self.tiles.get(&key).and_then(|tile| tile.get(start..start + (1 << (height % 8))));
        let mut hashes = hashes.ok_or(StoreError::Damaged("tile"))?.to_vec();
        while hashes.len() > 1 {
            hashes = hashes.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
        }
        hashes.first().copied().ok_or(StoreError::Damaged("tile"))
    }
}
