//! A sparse Merkle tree over BLAKE3: one root for a set of records, whoever added them and in whatever order.
//!
//! ```text
//!            bit 0               A binary tree over 256-bit paths, a path being the hash of a record's key. A node
//!           /     \              stands where paths part: it names that bit, and what all paths below share before
//!       bit 2      leaf          it takes no room. So n records make n - 1 nodes, about log2(n) above each leaf, and
//!      /     \                   no node or leaf stands where the set itself does not put it.
//!   leaf     leaf
//! ```
//! A set has one tree: none for no record; a leaf for one; else the node of the first bit in which the paths differ,
//! over the trees of those with a zero and with a one there. Nodes are shared between versions of a tree, so keeping an
//! old one costs what changed since, and a change rehashes nothing but what stands above it.

mod proof;

use std::sync::Arc;

use gridhour_protocol::{layout::Layout, merkle::Hash};

pub use self::proof::{Neighbour, Proof, Step};

/// Changes from which on both sides of a node are worked on at once.
const PARALLEL_MIN: usize = 512;

/// A version of the tree. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tree(Option<Node>);

/// What becomes of the record at a path: the hash of its new value, or `None` where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Where the record stands.
    pub path: Hash,
    /// Hash of its value.
    pub value: Option<Hash>,
}

#[derive(Clone, Debug)]
enum Node {
    Leaf(Arc<Leaf>),
    Inner(Arc<Inner>),
}

#[derive(Debug)]
struct Leaf {
    path: Hash,
    value: Hash,
}

#[derive(Debug)]
struct Inner {
    /// The first bit in which the paths below differ.
    bit: u8,
    /// One of those paths, now or earlier: up to `bit` it is as all of them.
    prefix: Hash,
    hash: Hash,
    left: Node,
    right: Node,
}

impl Tree {
    /// The root.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.0.as_ref().map_or_else(empty_root, Node::hash)
    }

    /// The tree after `changes`, of which there is at most one a path; this one stays as it is. Removing what is not
    /// there changes nothing.
    #[must_use]
    pub fn with(&self, mut changes: Vec<Change>) -> Self {
        changes.sort_unstable();
        Self(update(self.0.as_ref(), &changes))
    }

    /// Shows what stands at `path`, or that nothing does.
    #[must_use]
    pub fn prove(&self, path: &Hash) -> Proof {
        let mut steps = Vec::new();
        let mut below = self.0.as_ref();
        while let Some(Node::Inner(inner)) = below {
            let (next, sibling) = inner.sides(path);
            steps.push(Step { bit: inner.bit, sibling: sibling.hash() });
            below = Some(next);
        }
        let neighbour = match below {
            Some(Node::Leaf(leaf)) if leaf.path != *path => {
                Some(Neighbour { path: leaf.path, value: leaf.value })
            }
            _ => None,
        };
        Proof { steps, neighbour }
    }
}

impl Node {
    fn hash(&self) -> Hash {
        match self {
            Self::Leaf(leaf) => leaf_hash(&leaf.path, &leaf.value),
            Self::Inner(inner) => inner.hash,
        }
    }

    fn prefix(&self) -> &Hash {
        match self {
            Self::Leaf(leaf) => &leaf.path,
            Self::Inner(inner) => &inner.prefix,
        }
    }

    fn bit(&self) -> Option<u8> {
        match self {
            Self::Leaf(_) => None,
            Self::Inner(inner) => Some(inner.bit),
        }
    }

    /// What of this tree has a zero, and what a one, at `bit`, which is not below its own.
    fn split(&self, bit: u8) -> (Option<&Self>, Option<&Self>) {
        match self {
            Self::Inner(inner) if inner.bit == bit => (Some(&inner.left), Some(&inner.right)),
            _ if has_bit(self.prefix(), bit) => (None, Some(self)),
            _ => (Some(self), None),
        }
    }
}

impl Inner {
    /// The side of `path`, and the other.
    fn sides(&self, path: &Hash) -> (&Node, &Node) {
        if has_bit(path, self.bit) { (&self.right, &self.left) } else { (&self.left, &self.right) }
    }
}

/// The tree of what `node` holds after `changes`, which are in the order of their paths.
fn update(node: Option<&Node>, changes: &[Change]) -> Option<Node> {
    let (Some(first), Some(last)) = (changes.first(), changes.last()) else {
        return node.cloned();
    };
    // Where anything at hand parts from the rest: with sorted paths, the first or the last does so earliest.
    let prefix = node.map_or(&first.path, Node::prefix);
    let ends = [first, last].into_iter().filter_map(|change| first_difference(&change.path, prefix));
    let Some(bit) = ends.chain(node.and_then(Node::bit)).min() else {
        return first.value.map(|value| Node::Leaf(Arc::new(Leaf { path: first.path, value })));
    };
    let (zeros, ones) = changes.split_at(changes.partition_point(|change| !has_bit(&change.path, bit)));
    let (left, right) = node.map_or((None, None), |node| node.split(bit));
    let (left, right) = if changes.len() < PARALLEL_MIN {
        (update(left, zeros), update(right, ones))
    } else {
        rayon::join(|| update(left, zeros), || update(right, ones))
    };
    join(bit, left, right)
}

fn join(bit: u8, left: Option<Node>, right: Option<Node>) -> Option<Node> {
    match (left, right) {
        (Some(left), Some(right)) => {
            let hash = node_hash(bit, &left.hash(), &right.hash());
            let prefix = *left.prefix();
            Some(Node::Inner(Arc::new(Inner { bit, prefix, hash, left, right })))
        }
        (left, right) => left.or(right),
    }
}

/// Bit number `bit` of `path`, the highest of the first byte being number 0.
fn has_bit(path: &Hash, bit: u8) -> bool {
    path[usize::from(bit / 8)] & (0x80 >> (bit % 8)) != 0
}

/// The first bit in which two paths differ.
fn first_difference(one: &Hash, other: &Hash) -> Option<u8> {
    let bytes = (0u8..32).zip(one.iter().zip(other));
    let (index, difference) = bytes.map(|(index, (a, b))| (index, a ^ b)).find(|(_, bits)| *bits != 0)?;
    // The byte is not zero, so there are at most seven zeros before its first one.
    Some(index * 8 + u8::try_from(difference.leading_zeros()).unwrap_or(7))
}

fn empty_root() -> Hash {
    Layout::new("gridhour/state-empty/v1").hash()
}

fn leaf_hash(path: &Hash, value: &Hash) -> Hash {
    let mut out = Layout::new("gridhour/state-leaf/v2");
    out.fixed(path).fixed(value);
    out.hash()
}

fn node_hash(bit: u8, left: &Hash, right: &Hash) -> Hash {
    let mut out = Layout::new("gridhour/state-node/v2");
    out.u8(bit).fixed(left).fixed(right);
    out.hash()
}

#[cfg(test)]
mod tests;
