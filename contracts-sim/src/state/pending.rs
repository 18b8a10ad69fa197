//! A checkpoint that was begun and that no block names yet.
//!
//! Which records it covers is settled by the block after which it is begun; the hashes are not needed before a later
//! block names the root. So they can be made elsewhere, while the ledger goes on.

mod hashing;

use std::sync::Arc;

use gridhour_protocol::{
    merkle::Hash,
    units::{Height, Timestamp},
};

use self::hashing::Hashing;
use super::{StateRoot, committed::Replaced, tree::Tree};

/// What the next checkpoint that a block names must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    /// One whose root can be asked for.
    Hashed(PendingCheckpoint),
    /// One whose root is taken from the block that names it: see [`super::State::trust_checkpoints_until`].
    Trusted { height: Height, time: Timestamp },
}

impl Pending {
    /// The block after which it was begun.
    pub(crate) fn height(&self) -> Height {
        match self {
            Self::Hashed(checkpoint) => checkpoint.height(),
            Self::Trusted { height, .. } => *height,
        }
    }

    /// What a block that names `found` should name.
    pub(crate) fn due(&self, found: &StateRoot) -> StateRoot {
        match self {
            Self::Hashed(checkpoint) => checkpoint.finish(),
            Self::Trusted { height, time } => StateRoot { height: *height, time: *time, root: found.root },
        }
    }
}

/// A checkpoint of the state after one block. Cheap to clone; clones share the work.
#[derive(Clone, Debug)]
pub struct PendingCheckpoint {
    height: Height,
    time: Timestamp,
    root: Root,
}

#[derive(Clone, Debug)]
enum Root {
    /// Found before the state was stored.
    Known(Hash),
    /// Hashed here.
    Sought(Arc<Hashing>),
}

impl PendingCheckpoint {
    /// Begins one after the block of this height and time: of the tree `base`, and what blocks replaced `since`.
    pub(super) fn begin(height: Height, time: Timestamp, base: Tree, since: Vec<Arc<Replaced>>) -> Self {
        Self { height, time, root: Root::Sought(Arc::new(Hashing::new(base, since))) }
    }

    /// One whose root was stored.
    pub(super) fn known(at: StateRoot) -> Self {
        Self { height: at.height, time: at.time, root: Root::Known(at.root) }
    }

    /// The block after which it was begun.
    #[must_use]
    pub fn height(&self) -> Height {
        self.height
    }

    /// Whether the root is there, so that asking for it takes no time.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        match &self.root {
            Root::Known(_) => true,
            Root::Sought(hashing) => hashing.is_finished(),
        }
    }

    /// The checkpoint, hashed now if nobody has. Where the thread aside is at it, this waits for that.
    pub fn finish(&self) -> StateRoot {
        let root = match &self.root {
            Root::Known(root) => *root,
            Root::Sought(hashing) => hashing.tree().root(),
        };
        StateRoot { height: self.height, time: self.time, root }
    }

    /// Has it hashed by a thread aside. A checkpoint that is given up meanwhile costs nothing more.
    pub(super) fn hash_aside(&self) {
        if let Root::Sought(hashing) = &self.root {
            Hashing::spawn(hashing);
        }
    }

    /// The tree, and of how many blocks that replaced something. None where only the root is known.
    pub(super) fn tree(&self) -> Option<(&Tree, usize)> {
        match &self.root {
            Root::Known(_) => None,
            Root::Sought(hashing) => Some((hashing.tree(), hashing.blocks())),
        }
    }
}

impl PartialEq for PendingCheckpoint {
    fn eq(&self, other: &Self) -> bool {
        self.finish() == other.finish()
    }
}

impl Eq for PendingCheckpoint {}
