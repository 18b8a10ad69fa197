//! RFC 6962 Merkle trees over SHA-256: the log of the ledger, a block's transactions, a session's receipts.
//!
//! A tree of n leaves splits at the largest power of two below n. Leaves are hashed behind a zero byte and inner nodes
//! behind a one, so that no node can pass for a leaf. Proofs are lists of sibling hashes from the leaf upwards.

pub mod tile;
pub mod tiled;
mod tracker;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use self::tracker::Tracker;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// Hashes in the longest proof about a tree of at most 2^64 leaves.
pub const PROOF_HASHES_MAX: usize = 65;

/// Hash of the leaf with these bytes.
#[must_use]
pub fn leaf_hash(bytes: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(bytes).finalize().into()
}

/// Hash of the node above `left` and `right`.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// Root of the tree without leaves.
#[must_use]
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// Root of the tree with these leaf hashes.
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&root(left), &root(right))
        }
    }
}

/// A growing tree that keeps only the roots of its complete subtrees: at most 64 hashes, whatever its size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontier {
    size: u64,
    // One root for each set bit of `size`, the largest subtree first.
    subtrees: Vec<Hash>,
}

impl Frontier {
    /// The tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether the parts fit each other; false only for one that was decoded from foreign bytes.
    #[must_use]
    pub fn is_sane(&self) -> bool {
        u32::try_from(self.subtrees.len()) == Ok(self.size.count_ones())
    }

    /// Appends a leaf by its hash.
    ///
    /// # Panics
    /// After 2^64 leaves.
    pub fn push(&mut self, leaf: Hash) {
        self.push_subtree(leaf, 0);
    }

    /// Appends a complete subtree of 2^`height` leaves by its root, as if its leaves were pushed: so subtrees of many leaves
    /// can be hashed elsewhere.
    ///
    /// # Panics
    /// After 2^64 leaves, and if the tree so far does not end where such a subtree begins.
    pub fn push_subtree(&mut self, root: Hash, height: u32) {
        let before = self.size >> height;
        assert_eq!(
            before << height,
            self.size,
            "a subtree of 2^{height} leaves begins at a multiple of that"
        );
        let mut node = root;
        for _ in 0..before.trailing_ones() {
            let left = self.subtrees.pop().expect("one subtree for each set bit");
            node = node_hash(&left, &node);
        }
        self.subtrees.push(node);
        self.size = self.size.checked_add(1 << height).expect("no log reaches 2^64 leaves");
    }

    /// Root of the tree so far.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut smallest_first = self.subtrees.iter().rev();
        let Some(smallest) = smallest_first.next() else {
            return empty_root();
        };
        smallest_first.fold(*smallest, |right, left| node_hash(left, &right))
    }
}

impl Extend<Hash> for Frontier {
    fn extend<I: IntoIterator<Item = Hash>>(&mut self, leaves: I) {
        leaves.into_iter().for_each(|leaf| self.push(leaf));
    }
}

/// Proof that leaf `index` is in the tree with these leaf hashes. `None` if there is no such leaf.
#[must_use]
pub fn inclusion_proof(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    let mut proof = Vec::new();
    let (mut rest, mut at) = (leaves, index);
    while rest.len() > 1 {
        let (left, right) = rest.split_at(split(rest.len()));
        if at < left.len() {
            proof.push(root(right));
            rest = left;
        } else {
            proof.push(root(left));
            at -= left.len();
            rest = right;
        }
    }
    proof.reverse();
    Some(proof)
}

/// Whether `proof` shows that the leaf with this hash is at `index` of the tree of `size` leaves with this root.
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    index < size && proof.len() <= PROOF_HASHES_MAX && climb(leaf, index, size, proof) == Some(*root)
}

// The root that a proof leads to; `None` if it has too few or too many hashes.
fn climb(leaf: &Hash, index: u64, size: u64, proof: &[Hash]) -> Option<Hash> {
    if size == 1 {
        return proof.is_empty().then_some(*leaf);
    }
    let (sibling, below) = proof.split_last()?;
    let left_size = split_u64(size);
    if index < left_size {
        Some(node_hash(&climb(leaf, index, left_size, below)?, sibling))
    } else {
        Some(node_hash(sibling, &climb(leaf, index - left_size, size - left_size, below)?))
    }
}

/// Proof that the tree of the first `old` leaves is a prefix of the tree of all of them. `None` if `old` is zero or
/// more than there are.
#[must_use]
pub fn consistency_proof(leaves: &[Hash], old: usize) -> Option<Vec<Hash>> {
    if old == 0 || old > leaves.len() {
        return None;
    }
    let mut proof = Vec::new();
    let (mut rest, mut old, mut known) = (leaves, old, true);
    while old < rest.len() {
        let (left, right) = rest.split_at(split(rest.len()));
        if old <= left.len() {
            proof.push(root(right));
            rest = left;
        } else {
            proof.push(root(left));
            old -= left.len();
            rest = right;
            known = false;
        }
    }
    if !known {
        proof.push(root(rest));
    }
    proof.reverse();
    Some(proof)
}

/// A tree by its size and root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TreeHead {
    /// Leaves.
    pub size: u64,
    /// Root.
    pub root: Hash,
}

/// Whether `proof` shows that the tree `old` is a prefix of the tree `new`.
#[must_use]
pub fn verify_consistency(old: &TreeHead, new: &TreeHead, proof: &[Hash]) -> bool {
    shown_beginning(old, new, proof) == Some(*old)
}

/// The tree that `proof` shows to be the beginning of `new`, as long as `old` is: `old` itself if it is one. It is
/// another one where the proof holds hashes of the beginning, and those are not of `old`. `None` if nothing is shown.
#[must_use]
pub fn shown_beginning(old: &TreeHead, new: &TreeHead, proof: &[Hash]) -> Option<TreeHead> {
    if old.size == 0 || old.size > new.size || proof.len() > PROOF_HASHES_MAX {
        return None;
    }
    let (root, whole) = climb_both(old.size, new.size, Some(&old.root), proof)?;
    (whole == new.root).then_some(TreeHead { root, ..*old })
}

// The roots of the old and of the new tree that a proof leads to. `known` is the old root while the subtree at hand is
// the whole old tree, which a proof leaves out.
fn climb_both(old: u64, new: u64, known: Option<&Hash>, proof: &[Hash]) -> Option<(Hash, Hash)> {
    if old == new {
        let same = match (known, proof) {
            (Some(root), []) => root,
            (None, [root]) => root,
            _ => return None,
        };
        return Some((*same, *same));
    }
    let (sibling, below) = proof.split_last()?;
    let left = split_u64(new);
    if old <= left {
        let (old_root, left_root) = climb_both(old, left, known, below)?;
        Some((old_root, node_hash(&left_root, sibling)))
    } else {
        let (old_right, new_right) = climb_both(old - left, new - left, None, below)?;
        Some((node_hash(sibling, &old_right), node_hash(sibling, &new_right)))
    }
}

// The largest power of two below `size`, for `size` over one.
fn split(size: usize) -> usize {
    1 << (usize::BITS - 1 - (size - 1).leading_zeros())
}

fn split_u64(size: u64) -> u64 {
    1 << (u64::BITS - 1 - (size - 1).leading_zeros())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::from_hex32;

    /// The leaves of the test vectors of Certificate Transparency's reference implementation.
    const LEAVES: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    /// Their roots, of the first 0 to 8 leaves.
    const ROOTS: [&str; 9] = [
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
    // Nodes of that tree which the published proofs name.
    const LEAF_1: &str = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
    const LEAF_4: &str = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
    const NODE_2_4: &str = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
    const NODE_4_6: &str = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";
    const NODE_6_8: &str = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
    const NODE_4_8: &str = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";

    fn hashes(texts: &[&str]) -> Vec<Hash> {
        texts.iter().map(|text| from_hex32(text).unwrap()).collect()
    }

    fn leaves() -> Vec<Hash> {
        LEAVES.iter().map(|leaf| leaf_hash(leaf)).collect()
    }

    fn head(leaves: &[Hash]) -> TreeHead {
        TreeHead { size: leaves.len() as u64, root: root(leaves) }
    }

    #[test]
    fn published_roots() {
        let mut frontier = Frontier::new();
        for (size, expected) in hashes(&ROOTS).iter().enumerate() {
            assert_eq!(root(&leaves()[..size]), *expected, "{size} leaves");
            assert_eq!(frontier.root(), *expected, "{size} leaves pushed");
            frontier.extend(leaves().get(size).copied());
        }
    }

    proptest! {
        /// Subtrees stand for their leaves, wherever they begin.
        #[test]
        fn subtrees_are_pushed_as_their_leaves(pieces in prop::collection::vec((0u64..6, 0u32..5), 1..8)) {
            let (mut leaves, mut frontier) = (Vec::new(), Frontier::new());
            for (alone, height) in pieces {
                let next = |leaves: &[Hash]| leaf_hash(&leaves.len().to_le_bytes());
                let begin = (frontier.size() + alone).next_multiple_of(1 << height);
                while frontier.size() < begin {
                    leaves.push(next(&leaves));
                    frontier.extend(leaves.last().copied());
                }
                (0..1 << height).for_each(|_| leaves.push(next(&leaves)));
                frontier.push_subtree(root(&leaves[begin as usize..]), height);
                prop_assert_eq!((frontier.size(), frontier.root()), (leaves.len() as u64, root(&leaves)));
                prop_assert!(frontier.is_sane());
            }
        }
    }

    #[test]
    #[should_panic(expected = "begins at a multiple")]
    fn a_subtree_that_begins_elsewhere_is_refused() {
        let mut frontier = Frontier::new();
        frontier.push(leaf_hash(b"one"));
        frontier.push_subtree(leaf_hash(b"two"), 1);
    }

    #[test]
    fn published_inclusion_proofs() {
        let cases: [(usize, usize, &[&str]); 5] = [
            (0, 1, &[]),
            (0, 8, &[LEAF_1, NODE_2_4, NODE_4_8]),
            (5, 8, &[LEAF_4, NODE_6_8, ROOTS[4]]),
            (2, 3, &[ROOTS[2]]),
            (1, 5, &[ROOTS[1], NODE_2_4, LEAF_4]),
        ];
        for (index, size, proof) in cases {
            let (proof, all) = (hashes(proof), leaves());
            assert_eq!(inclusion_proof(&all[..size], index).unwrap(), proof, "leaf {index} of {size}");
            let root = hashes(&ROOTS)[size];
            assert!(verify_inclusion(&all[index], index as u64, size as u64, &proof, &root));
        }
    }

    #[test]
    fn published_consistency_proofs() {
        let cases: [(usize, usize, &[&str]); 4] = [
            (1, 1, &[]),
            (1, 8, &[LEAF_1, NODE_2_4, NODE_4_8]),
            (6, 8, &[NODE_4_6, NODE_6_8, ROOTS[4]]),
            (2, 5, &[NODE_2_4, LEAF_4]),
        ];
        for (old, new, proof) in cases {
            let (proof, all) = (hashes(proof), leaves());
            assert_eq!(consistency_proof(&all[..new], old).unwrap(), proof, "{old} to {new}");
            assert!(verify_consistency(&head(&all[..old]), &head(&all[..new]), &proof));
        }
    }

    #[test]
    fn there_are_no_proofs_about_nothing() {
        assert_eq!(inclusion_proof(&leaves(), 8), None);
        assert_eq!(inclusion_proof(&[], 0), None);
        assert_eq!(consistency_proof(&leaves(), 0), None);
        assert_eq!(consistency_proof(&leaves(), 9), None);
        let empty = TreeHead { size: 0, root: empty_root() };
        assert!(!verify_consistency(&empty, &head(&leaves()), &[]));
        assert!(!verify_inclusion(&leaves()[0], 0, 0, &[], &empty_root()));
    }

    #[test]
    fn absurd_sizes_and_lengths_are_refused_without_work() {
        let leaf = leaves()[0];
        let absurd = TreeHead { size: u64::MAX, root: leaf };
        for len in [0, 1, 63, 64, 65, 66, 10_000] {
            let proof = vec![leaf; len];
            assert!(!verify_inclusion(&leaf, 5, u64::MAX, &proof, &leaf), "{len}");
            assert!(!verify_consistency(&TreeHead { size: 5, root: leaf }, &absurd, &proof), "{len}");
        }
    }

    /// Every proof of every tree of up to 65 leaves.
    #[test]
    fn every_small_proof_verifies_and_no_other() {
        let all: Vec<Hash> = (0..65u32).map(|i| leaf_hash(&i.to_le_bytes())).collect();
        for size in 1..=all.len() {
            let (tree, new) = (&all[..size], head(&all[..size]));
            for index in 0..size {
                let proof = inclusion_proof(tree, index).unwrap();
                let holds =
                    |leaf: &Hash, at: usize| verify_inclusion(leaf, at as u64, new.size, &proof, &new.root);
                assert!(holds(&tree[index], index), "leaf {index} of {size}");
                assert!(!holds(&tree[index], index + 1), "{index} of {size} as the next");
                assert!(
                    size == 1 || !holds(&tree[(index + 1) % size], index),
                    "another than {index} of {size}"
                );
                let old = head(&all[..=index]);
                let proof = consistency_proof(tree, index + 1).unwrap();
                assert!(verify_consistency(&old, &new, &proof), "{} to {size}", index + 1);
                let forged = TreeHead { root: leaf_hash(b"forged"), ..old };
                assert!(!verify_consistency(&forged, &new, &proof));
                // A proof about a complete subtree leaves its root out, so it shows nothing to who has another one.
                let shown = (old.size < new.size && !old.size.is_power_of_two()).then_some(old);
                assert_eq!(shown_beginning(&forged, &new, &proof), shown, "{} to {size}", index + 1);
                assert!(!verify_consistency(&old, &TreeHead { root: forged.root, ..new }, &proof));
            }
        }
    }

    proptest! {
        #[test]
        fn a_changed_proof_fails(
            size in 2usize..200, at in any::<prop::sample::Index>(), bit in 0usize..256, hash in any::<prop::sample::Index>(),
        ) {
            let all: Vec<Hash> = (0..size).map(|i| leaf_hash(&i.to_le_bytes())).collect();
            let index = at.index(size);
            let (new, old) = (head(&all), head(&all[..=index]));
            let flip = |proof: &mut Vec<Hash>| {
                let which = hash.index(proof.len());
                proof[which][bit / 8] ^= 1 << (bit % 8);
            };
            let mut proof = inclusion_proof(&all, index).unwrap();
            flip(&mut proof);
            prop_assert!(!verify_inclusion(&all[index], index as u64, new.size, &proof, &new.root));
            let mut proof = consistency_proof(&all, index + 1).unwrap();
            if !proof.is_empty() {
                flip(&mut proof);
                prop_assert!(!verify_consistency(&old, &new, &proof));
            }
        }

        #[test]
        fn a_frontier_is_the_tree(size in 0usize..300) {
            let all: Vec<Hash> = (0..size).map(|i| leaf_hash(&i.to_le_bytes())).collect();
            let mut frontier = Frontier::new();
            frontier.extend(all.iter().copied());
            prop_assert_eq!(frontier.root(), root(&all));
            prop_assert_eq!(frontier.size(), size as u64);
            prop_assert!(frontier.is_sane());
        }
    }
}
