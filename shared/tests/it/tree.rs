//! Roots and proofs, held against the definitions of RFC 6962 and against `tlog_tiles`.

use proptest::prelude::*;
use shared::leaf::Hash;
use shared::tree::{
    CompactRange, ProofError, consistency_proof, empty_root, inclusion_proof, leaf_hash, node_hash,
    verify_consistency, verify_inclusion,
};
use tlog_tiles::HashReader;

/// The largest tree that is checked in every way.
const MANY: u64 = 130;

fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

fn at(index: u64) -> usize {
    usize::try_from(index).expect("small")
}

/// The root over `first..first + len` by the definition of RFC 6962, section 2.1.
fn defined_root(first: u64, len: u64) -> Hash {
    match len {
        0 => empty_root(),
        1 => leaf_hash(&entry(first)),
        _ => {
            let left = len.next_power_of_two() / 2;
            node_hash(&defined_root(first, left), &defined_root(first + left, len - left))
        }
    }
}

/// The definition's roots of the trees of 0 to [`MANY`] leaves.
fn roots() -> Vec<Hash> {
    (0..=MANY).map(|size| defined_root(0, size)).collect()
}

fn include(index: u64, size: u64) -> Vec<Hash> {
    inclusion_proof(index, size, &mut defined_root).expect("in range")
}

fn consist(old: u64, new: u64) -> Vec<Hash> {
    consistency_proof(old, new, &mut defined_root).expect("in range")
}

/// The hashes `tlog_tiles` stores for a tree.
#[derive(Default)]
struct Stored(Vec<tlog_tiles::Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0[at(*index)]).collect())
    }
}

fn oracle(size: u64) -> Stored {
    let mut stored = Stored::default();
    for index in 0..size {
        let more = tlog_tiles::stored_hashes(index, &entry(index), &stored).expect("in order");
        stored.0.extend(more);
    }
    stored
}

fn theirs(hashes: &[Hash]) -> Vec<tlog_tiles::Hash> {
    hashes.iter().copied().map(tlog_tiles::Hash).collect()
}

/// Every way to damage a proof a little: a bit of each hash, one hash less at either end, one more.
fn damaged(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = Vec::new();
    for at in 0..proof.len() {
        let mut flipped = proof.to_vec();
        flipped[at][at % 32] ^= 1;
        all.push(flipped);
    }
    if let [_, rest @ ..] = proof {
        all.push(rest.to_vec());
        all.push(proof[..proof.len() - 1].to_vec());
    }
    let extra = proof.last().copied().unwrap_or([0; 32]);
    all.push([proof, &[extra]].concat());
    all.push([&[extra], proof].concat());
    all
}

#[test]
fn roots_are_those_of_rfc_6962() {
    // The published test tree of Certificate Transparency.
    let leaves =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut range = CompactRange::default();
    assert_eq!(hex::encode(range.root()), roots[0]);
    for (leaf, root) in leaves.iter().zip(&roots[1..]) {
        range.append(leaf_hash(&hex::decode(leaf).expect("hex")));
        assert_eq!(hex::encode(range.root()), *root);
    }
}

#[test]
fn a_growing_range_has_the_defined_root_at_every_size() {
    let stored = oracle(MANY);
    let mut range = CompactRange::default();
    for (size, root) in (0..).zip(roots()) {
        assert_eq!(range.size(), size);
        assert_eq!(range.root(), root, "{size}");
        assert_eq!(tlog_tiles::tree_hash(size, &stored).expect("stored").0, root, "{size}");
        let again = CompactRange::from_parts(size, range.peaks().to_vec());
        assert_eq!(again.as_ref(), Some(&range));
        range.append(leaf_hash(&entry(size)));
    }
}

#[test]
fn a_range_needs_one_peak_for_each_bit_of_its_size() {
    assert_eq!(CompactRange::from_parts(0, vec![]), Some(CompactRange::default()));
    for (size, peaks) in [(0, 1), (1, 0), (1, 2), (6, 1), (7, 2), (8, 3), (u64::MAX, 63)] {
        assert_eq!(CompactRange::from_parts(size, vec![[0; 32]; peaks]), None);
    }
}

#[test]
fn every_leaf_of_every_tree_is_proved_as_others_prove_it() {
    let (roots, stored) = (roots(), oracle(MANY));
    for size in 1..=MANY {
        let root = &roots[at(size)];
        for index in 0..size {
            let proof = include(index, size);
            assert_eq!(verify_inclusion(&entry(index), index, size, &proof, root), Ok(()));
            let other = tlog_tiles::prove_record(size, index, &stored).expect("in range");
            assert_eq!(theirs(&proof), other, "{index} of {size}");
            let leaf = tlog_tiles::record_hash(&entry(index));
            tlog_tiles::check_record(&other, size, tlog_tiles::Hash(*root), index, leaf)
                .expect("others accept it");
        }
    }
}

#[test]
fn every_tree_is_proved_a_prefix_of_every_larger_one_as_others_prove_it() {
    let (roots, stored) = (roots(), oracle(MANY));
    for new in 1..=MANY {
        for old in 1..=new {
            let (old_root, new_root) = (&roots[at(old)], &roots[at(new)]);
            let proof = consist(old, new);
            assert_eq!(verify_consistency(old, new, &proof, old_root, new_root), Ok(()));
            let other = tlog_tiles::prove_tree(new, old, &stored).expect("in range");
            assert_eq!(theirs(&proof), other, "{old} of {new}");
            let hash = tlog_tiles::Hash;
            tlog_tiles::check_tree(&other, new, hash(*new_root), old, hash(*old_root))
                .expect("others accept it");
        }
    }
}

#[test]
fn damaged_inclusion_proofs_are_refused() {
    let roots = roots();
    for size in 1..=70 {
        for index in 0..size {
            let (entry, root) = (entry(index), &roots[at(size)]);
            let proof = include(index, size);
            for wrong in damaged(&proof) {
                let result = verify_inclusion(&entry, index, size, &wrong, root);
                let want = if wrong.len() == proof.len() { ProofError::Root } else { ProofError::Length };
                assert_eq!(result, Err(want), "{index} of {size}");
            }
            assert!(verify_inclusion(b"another", index, size, &proof, root).is_err());
            assert!(verify_inclusion(&entry, index, size, &proof, &[7; 32]).is_err());
        }
    }
}

#[test]
fn an_inclusion_proof_holds_for_its_index_and_its_tree_alone() {
    let roots = roots();
    for size in 1..=40 {
        for index in 0..size {
            let (entry, proof) = (entry(index), include(index, size));
            for other in (0..=size + 1).filter(|other| *other != index) {
                let result = verify_inclusion(&entry, other, size, &proof, &roots[at(size)]);
                assert!(result.is_err(), "{index} as {other} of {size}");
            }
            for other in (0..=MANY).filter(|other| *other != size) {
                let result = verify_inclusion(&entry, index, other, &proof, &roots[at(other)]);
                assert!(result.is_err(), "{index} of {size} as of {other}");
            }
        }
    }
}

#[test]
fn damaged_consistency_proofs_are_refused() {
    let roots = roots();
    for new in 1..=70 {
        for old in 1..=new {
            let (old_root, new_root) = (&roots[at(old)], &roots[at(new)]);
            for wrong in damaged(&consist(old, new)) {
                let result = verify_consistency(old, new, &wrong, old_root, new_root);
                assert!(result.is_err(), "{old} of {new}");
            }
            let proof = consist(old, new);
            assert!(verify_consistency(old, new, &proof, &[7; 32], new_root).is_err());
            assert!(verify_consistency(old, new, &proof, old_root, &[7; 32]).is_err());
        }
    }
}

#[test]
fn a_consistency_proof_holds_for_its_two_trees_alone() {
    let roots = roots();
    for new in 1..=40 {
        for old in 1..=new {
            let proof = consist(old, new);
            for other in (0..=41).filter(|other| *other != old) {
                let result = verify_consistency(other, new, &proof, &roots[at(other)], &roots[at(new)]);
                // Equal trees need no proof, whichever they are.
                assert!(result.is_err() || (proof.is_empty() && other == new), "{old} as {other} of {new}");
            }
            for other in (0..=41).filter(|other| *other != new) {
                let result = verify_consistency(old, other, &proof, &roots[at(old)], &roots[at(other)]);
                assert!(
                    result.is_err() || (proof.is_empty() && other == old),
                    "{old} of {new} as of {other}"
                );
            }
        }
    }
}

#[test]
fn what_is_outside_the_tree_is_refused() {
    let root = [0; 32];
    assert_eq!(inclusion_proof(0, 0, &mut defined_root), Err(ProofError::Range));
    assert_eq!(inclusion_proof(3, 3, &mut defined_root), Err(ProofError::Range));
    assert_eq!(consistency_proof(0, 3, &mut defined_root), Err(ProofError::Range));
    assert_eq!(consistency_proof(4, 3, &mut defined_root), Err(ProofError::Range));
    assert_eq!(verify_inclusion(b"", 0, 0, &[], &root), Err(ProofError::Range));
    assert_eq!(verify_inclusion(b"", 3, 3, &[], &root), Err(ProofError::Range));
    assert_eq!(verify_consistency(0, 3, &[], &root, &root), Err(ProofError::Range));
    assert_eq!(verify_consistency(4, 3, &[], &root, &root), Err(ProofError::Range));
}

#[test]
fn proofs_ask_for_the_complete_subtrees_that_tiles_hold() {
    for size in 1..=MANY {
        let mut asked = |first: u64, len: u64| {
            assert!(len.is_power_of_two() || first + len == size);
            assert_eq!(first % len.next_power_of_two(), 0, "{first} {len}");
            [0; 32]
        };
        for index in 0..size {
            inclusion_proof(index, size, &mut asked).expect("in range");
            consistency_proof(index + 1, size, &mut asked).expect("in range");
        }
    }
}

#[test]
fn the_largest_sizes_neither_overflow_nor_loop() {
    let mut constant = |_, _| [0; 32];
    for size in [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) + 1] {
        for index in [0, 1, size / 2, size - 1] {
            let proof = inclusion_proof(index, size, &mut constant).expect("in range");
            assert!(proof.len() <= 64);
            let result = verify_inclusion(b"", index, size, &proof, &[0; 32]);
            assert_eq!(result, Err(ProofError::Root));
            let proof = consistency_proof(index + 1, size, &mut constant).expect("in range");
            assert!(proof.len() <= 65);
            assert_ne!(
                verify_consistency(index + 1, size, &proof, &[0; 32], &[1; 32]),
                Err(ProofError::Range)
            );
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_proofs_are_refused_without_a_panic(
        index: u64, size: u64, proof in prop::collection::vec(any::<[u8; 32]>(), 0..70), roots: [[u8; 32]; 2],
    ) {
        prop_assert!(verify_inclusion(b"e", index, size, &proof, &roots[0]).is_err());
        let [old, new] = &roots;
        prop_assume!(old != new);
        prop_assert!(verify_consistency(index, size, &proof, old, new).is_err());
    }
}
