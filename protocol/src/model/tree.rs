//! A binary hash tree in the shape of RFC 6962: a tree of n leaves splits at the largest power of two below
//! n.
//!
//! Leaves are digests made under their own derivation contexts, so no leaf can pass for a node.

/// A blake3 digest.
pub type Digest = [u8; 32];

const NODE_CONTEXT: &str = "gridhour model tree node v1";

fn node(left: &Digest, right: &Digest) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key(NODE_CONTEXT);
    hasher.update(left).update(right);
    *hasher.finalize().as_bytes()
}

/// Computes a root from leaves fed in order, in memory that grows with the logarithm of their number.
#[derive(Clone, Debug, Default)]
pub struct TreeBuilder {
    /// Roots of complete subtrees, largest first; one for each set bit of `count`.
    peaks: Vec<Digest>,
    count: u64,
}

impl TreeBuilder {
    /// A tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the next leaf.
    pub fn push(&mut self, leaf: Digest) {
        let mut peak = leaf;
        for _ in 0..self.count.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                peak = node(&left, &peak);
            }
        }
        self.peaks.push(peak);
        self.count += 1;
    }

    /// The root; `None` for a tree without leaves.
    pub fn root(&self) -> Option<Digest> {
        let (last, rest) = self.peaks.split_last()?;
        Some(rest.iter().rev().fold(*last, |right, left| node(left, &right)))
    }
}

impl Extend<Digest> for TreeBuilder {
    fn extend<I: IntoIterator<Item = Digest>>(&mut self, leaves: I) {
        leaves.into_iter().for_each(|leaf| self.push(leaf));
    }
}

fn root_of(leaves: &[Digest]) -> Option<Digest> {
    let mut builder = TreeBuilder::new();
    builder.extend(leaves.iter().copied());
    builder.root()
}

/// Leaves of the left subtree of a tree of `count` leaves, `count` at least 2.
fn split(count: usize) -> usize {
    1 << (count - 1).ilog2()
}

/// The siblings between leaf `index` and the root, lowest first; `None` if there is no such leaf.
pub fn inclusion_path(leaves: &[Digest], index: usize) -> Option<Vec<Digest>> {
    if index >= leaves.len() {
        return None;
    }
    if leaves.len() == 1 {
        return Some(Vec::new());
    }
    let at = split(leaves.len());
    let (left, right) = leaves.split_at(at);
    let (inside, index, sibling) = if index < at { (left, index, right) } else { (right, index - at, left) };
    let mut path = inclusion_path(inside, index)?;
    path.push(root_of(sibling)?);
    Some(path)
}

/// The root that `leaf` at `index` of `count` and `path` lead to; `None` if the path has not exactly the
/// length that this place asks for.
pub fn root_from_path(leaf: &Digest, index: usize, count: usize, path: &[Digest]) -> Option<Digest> {
    if index >= count {
        return None;
    }
    if count == 1 {
        return path.is_empty().then_some(*leaf);
    }
    let (sibling, below) = path.split_last()?;
    let at = split(count);
    if index < at {
        Some(node(&root_from_path(leaf, index, at, below)?, sibling))
    } else {
        Some(node(sibling, &root_from_path(leaf, index - at, count - at, below)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaves(count: usize) -> Vec<Digest> {
        (0..count).map(|i| *blake3::hash(&i.to_le_bytes()).as_bytes()).collect()
    }

    /// RFC 6962, section 2.1, word for word.
    fn root_by_definition(leaves: &[Digest]) -> Digest {
        match leaves {
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node(&root_by_definition(left), &root_by_definition(right))
            }
        }
    }

    #[test]
    fn streamed_root_is_the_definition() {
        for count in 1..70 {
            let leaves = leaves(count);
            assert_eq!(root_of(&leaves), Some(root_by_definition(&leaves)), "{count} leaves");
        }
        assert_eq!(TreeBuilder::new().root(), None);
    }

    proptest! {
        #[test]
        fn every_leaf_leads_to_the_root(count in 1usize..200, at in any::<prop::sample::Index>()) {
            let leaves = leaves(count);
            let index = at.index(count);
            let path = inclusion_path(&leaves, index).expect("the index is inside");
            prop_assert_eq!(root_from_path(&leaves[index], index, count, &path), root_of(&leaves));
        }

        #[test]
        fn another_place_does_not(count in 2usize..200, a in any::<prop::sample::Index>(),
                                  b in any::<prop::sample::Index>()) {
            let leaves = leaves(count);
            let (a, b) = (a.index(count), b.index(count));
            prop_assume!(a != b);
            let path = inclusion_path(&leaves, a).expect("the index is inside");
            prop_assert_ne!(root_from_path(&leaves[a], b, count, &path), root_of(&leaves));
            prop_assert_ne!(root_from_path(&leaves[b], a, count, &path), root_of(&leaves));
        }

        #[test]
        fn longer_and_shorter_paths_lead_nowhere(count in 2usize..200, at in any::<prop::sample::Index>()) {
            let leaves = leaves(count);
            let index = at.index(count);
            let mut path = inclusion_path(&leaves, index).expect("the index is inside");
            let last = path.pop().expect("two leaves have a path");
            prop_assert_eq!(root_from_path(&leaves[index], index, count, &path), None);
            path.extend([last, last]);
            prop_assert_eq!(root_from_path(&leaves[index], index, count, &path), None);
        }
    }
}
