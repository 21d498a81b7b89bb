//! Inclusion and consistency proofs (RFC 9162, sections 2.1.3 and 2.1.4).

use super::{leaf_hash, node_hash};
use crate::leaf::Hash;

/// Why a proof does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The index or size is outside the tree.
    #[error("index or size is outside the tree")]
    Range,
    /// Too few or too many hashes.
    #[error("proof has the wrong number of hashes")]
    Length,
    /// The hashes do not lead to the root.
    #[error("proof does not lead to the root")]
    Root,
}

/// The proof that leaf `index` is in the tree of `size` leaves (RFC 9162, 2.1.3.1).
///
/// `subtree(first, len)` gives the root over the leaves `first..first + len`; `len` is a power of two or ends at
/// `size`.
///
/// # Errors
/// [`ProofError::Range`] if there is no such leaf.
pub fn inclusion_proof(
    index: u64,
    size: u64,
    subtree: &mut impl FnMut(u64, u64) -> Hash,
) -> Result<Vec<Hash>, ProofError> {
    if index >= size {
        return Err(ProofError::Range);
    }
    let mut proof = Vec::new();
    let (mut first, mut len) = (0, size);
    while len > 1 {
        let left = split(len);
        if index - first < left {
            proof.push(subtree(first + left, len - left));
            len = left;
        } else {
            proof.push(subtree(first, left));
            first += left;
            len -= left;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the tree of `old` leaves is a prefix of the tree of `new` leaves (RFC 9162, 2.1.4.1).
///
/// # Errors
/// [`ProofError::Range`] unless `0 < old <= new`.
pub fn consistency_proof(
    old: u64,
    new: u64,
    subtree: &mut impl FnMut(u64, u64) -> Hash,
) -> Result<Vec<Hash>, ProofError> {
    if old == 0 || old > new {
        return Err(ProofError::Range);
    }
    let mut proof = Vec::new();
    let (mut first, mut len, mut want, mut whole) = (0, new, old, true);
    while want < len {
        let left = split(len);
        if want <= left {
            proof.push(subtree(first + left, len - left));
            len = left;
        } else {
            proof.push(subtree(first, left));
            first += left;
            len -= left;
            want -= left;
            whole = false;
        }
    }
    if !whole {
        proof.push(subtree(first, len));
    }
    proof.reverse();
    Ok(proof)
}

/// Checks that `entry` is leaf `index` under `root` (RFC 9162, 2.1.3.2).
///
/// # Errors
/// [`ProofError`] says why it does not hold.
pub fn verify_inclusion(
    entry: &[u8],
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Range);
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = leaf_hash(entry);
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    match (last == 0, hash == *root) {
        (false, _) => Err(ProofError::Length),
        (true, false) => Err(ProofError::Root),
        (true, true) => Ok(()),
    }
}

/// Checks that the tree `old_root` of `old` leaves is a prefix of the tree `new_root` of `new` (RFC 9162, 2.1.4.2).
///
/// # Errors
/// [`ProofError`] says why it does not hold.
pub fn verify_consistency(
    old: u64,
    new: u64,
    proof: &[Hash],
    old_root: &Hash,
    new_root: &Hash,
) -> Result<(), ProofError> {
    if old == 0 || old > new {
        return Err(ProofError::Range);
    }
    if old == new {
        return match (proof.is_empty(), old_root == new_root) {
            (false, _) => Err(ProofError::Length),
            (true, false) => Err(ProofError::Root),
            (true, true) => Ok(()),
        };
    }
    let (first, rest) = if old.is_power_of_two() {
        (old_root, proof)
    } else {
        proof.split_first().ok_or(ProofError::Length)?
    };
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut from_old, mut from_new) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            from_old = node_hash(sibling, &from_old);
            from_new = node_hash(sibling, &from_new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            from_new = node_hash(&from_new, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    match (last == 0, from_old == *old_root && from_new == *new_root) {
        (false, _) => Err(ProofError::Length),
        (true, false) => Err(ProofError::Root),
        (true, true) => Ok(()),
    }
}

/// The largest power of two below `len`, for `len > 1`.
fn split(len: u64) -> u64 {
    1 << (63 - (len - 1).leading_zeros())
}
