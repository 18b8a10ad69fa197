//! A copy of a ledger: how it gets on.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    Source,
    sheet::{Sheet, Unit::Things},
};
use crate::{drivers::observer::ObserverEvent, health::Reason};

/// What an observer told.
#[derive(Debug, Default)]
pub struct Following {
    behind: AtomicU64,
    level: AtomicBool,
    troubles: AtomicU64,
    contradictions: AtomicU64,
}

impl Following {
    /// Counts what was told.
    pub fn note(&self, event: &ObserverEvent) {
        match event {
            ObserverEvent::Following { behind, .. } => {
                self.behind.store(*behind, Relaxed);
                self.level.store(*behind == 0, Relaxed);
            }
            ObserverEvent::Level { .. } => {
                self.behind.store(0, Relaxed);
                self.level.store(true, Relaxed);
            }
            ObserverEvent::Contradiction { .. } => _ = self.contradictions.fetch_add(1, Relaxed),
            ObserverEvent::Trouble { .. } => _ = self.troubles.fetch_add(1, Relaxed),
        }
    }

    /// Why the copy should not be asked yet, if it is behind.
    #[must_use]
    pub fn trouble(&self) -> Option<Reason> {
        let behind = self.behind.load(Relaxed);
        let why = match behind {
            0 => "no source has answered yet".to_owned(),
            behind => format!("the copy is {behind} blocks behind its source, and fetches them"),
        };
        (!self.level.load(Relaxed)).then(|| Reason::busy("catching-up", why))
    }
}

impl Source for Arc<Following> {
    fn write(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let help = "Blocks that the last source has beyond this copy, by its word";
        sheet.gauge("observer_behind", Things, help, self.behind.load(Relaxed))?;
        let help = "Whether the last source that answered had nothing more";
        sheet.flag("observer_level", help, self.level.load(Relaxed))?;
        let help = "Times that a source began to give nothing that can be used";
        sheet.counter("observer_source_troubles", Things, help, self.troubles.load(Relaxed))?;
        let help = "Checkpoints that the operator signed and that are not of its block";
        sheet.counter("observer_contradictions", Things, help, self.contradictions.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use gridhour_protocol::{signed::PublicKey, units::Height};

    use super::*;

    #[test]
    fn a_copy_is_behind_until_a_source_has_nothing_more() {
        let (following, source) = (Following::default(), PublicKey([1; 32]));
        assert_eq!(following.trouble().unwrap().why, "no source has answered yet");
        following.note(&ObserverEvent::Following { source, height: Height(3), behind: 7 });
        assert!(following.trouble().unwrap().why.contains("7 blocks"));
        following.note(&ObserverEvent::Level { source, height: Height(10) });
        assert_eq!(following.trouble(), None);
    }
}
