//! The Merkle tree of RFC 6962 (section 2.1) over log entries, and its tiles (c2sp.org/tlog-tiles).
//!
//! A hash is trusted because a proof against a signed root verifies, never because a reader returned it.

mod proof;
mod range;
mod tile;

pub use proof::{ProofError, consistency_proof, inclusion_proof, verify_consistency, verify_inclusion};
pub use range::CompactRange;
pub use tile::{TILE_WIDTH, TileError, TileRef, encode_bundle};

use sha2::{Digest as _, Sha256};

use crate::leaf::Hash;

/// The root of the empty tree: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// The hash of a leaf: `SHA256(0x00 | entry)`.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    let mut hash = Sha256::new();
    hash.update([0]);
    hash.update(entry);
    hash.finalize().into()
}

/// The hash of an interior node: `SHA256(0x01 | left | right)`.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut hash = Sha256::new();
    hash.update([1]);
    hash.update(left);
    hash.update(right);
    hash.finalize().into()
}

/// The digest in the first leaf of a log that follows another: of the last head, as the log itself signed it.
pub fn succession_digest(note: &[u8]) -> Hash {
    let mut hash = Sha256::new();
    hash.update(b"audit/succession/v1\0");
    hash.update(note);
    hash.finalize().into()
}
