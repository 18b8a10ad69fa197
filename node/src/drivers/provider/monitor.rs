//! A look at a running provider from outside its tasks: its numbers, and whether it serves.

use std::sync::{Arc, Weak};

use super::{Shared, counts::Counts};
use crate::{
    engine::scheduler::{EngineCounts, Scheduler},
    health::{Reason, Severity},
};

/// Looks at a provider as long as there is one, and does not keep it. Cheap to clone.
#[derive(Clone)]
pub struct Monitor(Weak<Shared>);

impl Monitor {
    pub(super) fn of(shared: &Arc<Shared>) -> Self {
        Self(Arc::downgrade(shared))
    }

    /// Why it sells nothing just now, if so.
    #[must_use]
    pub fn trouble(&self) -> Option<Reason> {
        self.look()?.trouble()
    }

    /// It as it is; nothing once it has ended.
    pub(crate) fn look(&self) -> Option<Look> {
        self.0.upgrade().map(Look)
    }
}

/// A provider, looked at for a moment.
pub(crate) struct Look(Arc<Shared>);

impl Look {
    fn trouble(&self) -> Option<Reason> {
        if self.0.serving.scheduler().is_some() {
            return None;
        }
        let (severity, name, why) = match self.0.serving.is_suspended() {
            true => (Severity::Busy, "calibrating", "a challenger times this provider; it sells again soon"),
            false => (
                Severity::Broken,
                "engine-failed",
                "the device failed and the model is not loaded: it is loaded again every 30 s; look for \
                 `withdrawn` among the events, which says what is wrong with the device",
            ),
        };
        Some(Reason { severity, name, why: why.into() })
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.0.counts
    }

    pub(crate) fn misdeeds(&self) -> u64 {
        self.0.misdeeds.load(std::sync::atomic::Ordering::Relaxed)
    }

    pub(crate) fn slots(&self) -> (u16, usize) {
        (self.0.config.slots, self.0.desk.load().idle.into())
    }

    pub(crate) fn scheduler(&self) -> Option<Arc<Scheduler>> {
        self.0.serving.scheduler()
    }

    pub(crate) fn engine_counts(&self) -> EngineCounts {
        self.0.serving.counts()
    }
}
