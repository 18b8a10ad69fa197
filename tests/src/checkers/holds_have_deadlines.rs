//! Every hold has a deadline that never moves back, and soon after it the hold is gone.

use std::collections::BTreeMap;

use gridhour_protocol::{
    id::SessionId,
    units::{Millis, Timestamp},
};

use super::{Checker, View};

/// How long after its deadline a hold may last: wrong clocks, lost messages, and a ledger that is cut off or
/// down.
pub(super) const OVERDUE_MAX: Millis = Millis(40_000);

/// The deadlines seen so far.
#[derive(Clone, Debug, Default)]
pub struct HoldsHaveDeadlines {
    deadlines: BTreeMap<SessionId, Timestamp>,
}

impl Checker for HoldsHaveDeadlines {
    fn name(&self) -> &'static str {
        "holds_have_deadlines"
    }

    fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        for (id, session) in view.ledger.state().sessions() {
            let agreed = session.terms.collect_until;
            let before = self.deadlines.insert(*id, session.collect_until).unwrap_or(agreed);
            if session.collect_until > before || before > agreed {
                return Err(format!(
                    "the deadline of {id} moved from {before:?} to {:?}",
                    session.collect_until
                ));
            }
            let overdue = view.time.since(session.collect_until);
            if overdue > OVERDUE_MAX {
                return Err(format!(
                    "{} credits of {id} are held {} ms after the deadline",
                    session.held, overdue.0
                ));
            }
        }
        Ok(())
    }
}
