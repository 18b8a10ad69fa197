//! A flag that can be waited for.

use std::{
    sync::{Condvar, Mutex},
    time::Duration,
};

/// Set once, when no more work is wanted.
#[derive(Default, Debug)]
pub(super) struct Stop {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Ends all work that looks at this flag.
    pub(super) fn set(&self) {
        *self.set.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = true;
        self.changed.notify_all();
    }

    /// Whether the work is to end.
    pub(super) fn is_set(&self) -> bool {
        self.is_set_within(Duration::ZERO)
    }

    /// Waits until the work is to end, `limit` at most; whether it is.
    pub(super) fn is_set_within(&self, limit: Duration) -> bool {
        let set = self.set.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let waited = self.changed.wait_timeout_while(set, limit, |set| !*set);
        *waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0
    }
}
