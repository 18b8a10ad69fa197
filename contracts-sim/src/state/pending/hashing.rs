//! Who hashes a checkpoint: the thread aside, or whoever asks first.
//!
//! Hashing spreads over the threads of a pool, and a thread that waits there for another takes up whatever else waits in
//! the pool meanwhile: that may be a caller that asks for this very checkpoint. So nothing is hashed under a lock, and
//! nobody waits for a thread of the common pool. The thread aside is a pool of its own that is given nothing else: it
//! always comes to an end, and can be waited for.

use std::sync::{Arc, OnceLock};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::state::{
    committed::{Replaced, tree_after},
    tree::Tree,
};

/// What has to be hashed, and the tree once it is.
#[derive(Debug)]
pub(super) struct Hashing {
    base: Tree,
    since: Vec<Arc<Replaced>>,
    first: OnceLock<First>,
    tree: OnceLock<Tree>,
}

/// Who took it up first.
#[derive(Debug)]
enum First {
    /// The thread aside.
    Aside,
    /// A thread that needs it at once.
    Asker,
}

impl Hashing {
    pub(super) fn new(base: Tree, since: Vec<Arc<Replaced>>) -> Self {
        Self { base, since, first: OnceLock::new(), tree: OnceLock::new() }
    }

    /// Whether the tree is there.
    pub(super) fn is_finished(&self) -> bool {
        self.tree.get().is_some()
    }

    /// The tree: waited for if the thread aside is at it, else made now. Who asks while another asker makes it makes it
    /// too.
    pub(super) fn tree(&self) -> &Tree {
        match self.first.get_or_init(|| First::Asker) {
            First::Aside => self.tree.wait(),
            First::Asker => self.tree.get().unwrap_or_else(|| self.make()),
        }
    }

    /// Of how many blocks that replaced something.
    pub(super) fn blocks(&self) -> usize {
        self.since.len()
    }

    /// Has it made by the thread aside, unless somebody asks for it first. One that is given up meanwhile costs nothing.
    /// Where the system has no thread to give, whoever asks makes it.
    pub(super) fn spawn(this: &Arc<Self>) {
        let this = Arc::downgrade(this);
        let make = move || {
            if let Some(this) = this.upgrade()
                && this.first.set(First::Aside).is_ok()
            {
                this.make();
            }
        };
        if let Some(aside) = aside() {
            aside.spawn(make);
        }
    }

    fn make(&self) -> &Tree {
        let tree = tree_after(&self.base, &self.since);
        self.tree.get_or_init(|| tree)
    }
}

/// The thread aside: one for the process.
fn aside() -> Option<&'static ThreadPool> {
    static ASIDE: OnceLock<Option<ThreadPool>> = OnceLock::new();
    let build = || ThreadPoolBuilder::new().num_threads(1).thread_name(|_| "state-root".into()).build().ok();
    ASIDE.get_or_init(build).as_ref()
}
