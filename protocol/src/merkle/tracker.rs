//! The inclusion proof of one leaf, kept while the tree grows: whoever reads a log once, from its beginning, has the
//! proof at the end, and never holds more than two hashes a level.

use super::{Frontier, Hash, node_hash};

/// A growing tree, and the way from one of its leaves.
#[derive(Clone, Debug)]
pub struct Tracker {
    frontier: Frontier,
    index: u64,
    /// Siblings from the leaf up to the root of the complete subtree that holds it.
    path: Vec<Hash>,
    /// Which subtree of the frontier that is.
    slot: usize,
}

impl Tracker {
    /// Appends `leaf` to the tree so far, and follows it from then on.
    ///
    /// # Panics
    /// After 2^64 leaves.
    #[must_use]
    pub fn start(frontier: Frontier, leaf: Hash) -> Self {
        let mut tracker = Self { index: frontier.size(), frontier, path: Vec::new(), slot: usize::MAX };
        tracker.append(leaf, true);
        tracker
    }

    /// Appends another leaf.
    ///
    /// # Panics
    /// After 2^64 leaves.
    pub fn push(&mut self, leaf: Hash) {
        self.append(leaf, false);
    }

    /// Place of the leaf that is followed.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Leaves so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Proof that the leaf is in the tree as it is now; [`super::verify_inclusion`] checks it.
    #[must_use]
    pub fn proof(&self) -> Vec<Hash> {
        let (larger, rest) = self.frontier.subtrees.split_at(self.slot);
        let smaller = rest.iter().skip(1).copied().rev().reduce(|right, left| node_hash(&left, &right));
        self.path.iter().copied().chain(smaller).chain(larger.iter().rev().copied()).collect()
    }

    // As `Frontier::push`, noting what is joined to the subtree of the leaf; `holds` says whether `node` is that.
    fn append(&mut self, leaf: Hash, mut holds: bool) {
        let Frontier { size, subtrees } = &mut self.frontier;
        let mut node = leaf;
        for _ in 0..size.trailing_ones() {
            let left = subtrees.pop().expect("one subtree for each set bit");
            if holds {
                self.path.push(left);
            } else if subtrees.len() == self.slot {
                self.path.push(node);
                holds = true;
            }
            node = node_hash(&left, &node);
        }
        if holds {
            self.slot = subtrees.len();
        }
        subtrees.push(node);
        *size = size.checked_add(1).expect("no log reaches 2^64 leaves");
    }
}

#[cfg(test)]
mod tests {
    use super::super::{inclusion_proof, leaf_hash, root, verify_inclusion};
    use super::*;

    #[test]
    fn the_proof_is_the_one_over_all_leaves_at_every_size() {
        let leaves: Vec<Hash> = (0..130u32).map(|n| leaf_hash(&n.to_le_bytes())).collect();
        for index in 0..leaves.len() {
            let mut frontier = Frontier::new();
            frontier.extend(leaves[..index].iter().copied());
            let mut tracker = Tracker::start(frontier, leaves[index]);
            for size in index + 1..=leaves.len() {
                let proof = tracker.proof();
                assert_eq!(
                    Some(&proof),
                    inclusion_proof(&leaves[..size], index).as_ref(),
                    "{index} of {size}"
                );
                let (at, size_now) = (tracker.index(), tracker.size());
                assert_eq!((at, size_now), (index as u64, size as u64));
                assert!(verify_inclusion(&leaves[index], at, size_now, &proof, &root(&leaves[..size])));
                if let Some(leaf) = leaves.get(size) {
                    tracker.push(*leaf);
                }
            }
        }
    }
}
