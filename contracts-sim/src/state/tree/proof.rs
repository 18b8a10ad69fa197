//! What shows that a record stands in a tree, or that none does at its place, to whoever knows the root alone.
//!
//! The proof walks down from the root by the bits of the record's own path. If it ends at the record's leaf, the record
//! is there. If it ends at another, no node parts the two, which one would if both were in the set: the record is not.

use gridhour_protocol::{
    merkle::Hash,
    wire::{Wire, at_most},
};
use serde::{Deserialize, Serialize};

use super::{empty_root, has_bit, leaf_hash, node_hash};

/// Steps of the longest proof: a path has no more bits.
pub(super) const STEPS_MAX: usize = 256;

/// One node on the way down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The bit at which the node parts paths.
    pub bit: u8,
    /// Hash of the side that the way does not take.
    pub sibling: Hash,
}

/// The leaf of another record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Its path.
    pub path: Hash,
    /// Hash of its value.
    pub value: Hash,
}

/// A way from the root to a leaf.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The nodes, from the root down.
    pub steps: Vec<Step>,
    /// The leaf at the end, where it is another record's.
    pub neighbour: Option<Neighbour>,
}

impl Proof {
    /// The root of the trees in which the record at `path` has a value of this hash; with `None`, in which there is no
    /// such record. `None` if the proof shows neither of any tree.
    #[must_use]
    pub fn root(&self, path: &Hash, value: Option<&Hash>) -> Option<Hash> {
        let (path, value) = match (value, &self.neighbour) {
            (Some(value), None) => (path, value),
            (None, Some(neighbour)) if self.leads_both_to_one_leaf(path, &neighbour.path) => {
                (&neighbour.path, &neighbour.value)
            }
            (None, None) if self.steps.is_empty() => return Some(empty_root()),
            _ => return None,
        };
        if !self.steps.is_sorted_by(|above, below| above.bit < below.bit) {
            return None;
        }
        let climb = |below: Hash, step: &Step| match has_bit(path, step.bit) {
            true => node_hash(step.bit, &step.sibling, &below),
            false => node_hash(step.bit, &below, &step.sibling),
        };
        Some(self.steps.iter().rev().fold(leaf_hash(path, value), climb))
    }

    fn leads_both_to_one_leaf(&self, one: &Hash, other: &Hash) -> bool {
        one != other && self.steps.iter().all(|step| has_bit(one, step.bit) == has_bit(other, step.bit))
    }
}

impl Wire for Proof {
    const BYTES_MAX: usize = 33 * STEPS_MAX + 128;

    fn check_bounds(&self) -> Result<(), String> {
        at_most("steps", self.steps.len(), STEPS_MAX)
    }
}
