//! Budgets: an organisation's pot, and the tree of caps under which its keys spend it.

use gridhour_protocol::{
    id::BudgetId,
    signed::PublicKey,
    units::{Credits, Millis, Timestamp},
    wire::{Wire, at_most},
};
use serde::{Deserialize, Serialize};

use super::State;
use crate::{limits::CAPS_MAX, tx::CapPlan};

/// A pot and its caps. Kept until it is closed and the last session under it has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Whose it is: pays in, plans, and is paid what is left.
    pub owner: PublicKey,
    /// Not held by any session.
    pub pot: Credits,
    /// When the first period began.
    pub created_at: Timestamp,
    /// Length of a period.
    pub period: Millis,
    /// After this anyone may close it.
    pub until: Timestamp,
    /// It is closed: what its sessions give back goes to the owner.
    pub closing: bool,
    /// Sessions that are open under it.
    pub open: u32,
    /// The tree; each cap but the first names one before it as its parent.
    pub caps: Vec<Cap>,
}

/// A cap, and what is used of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cap {
    /// What its owner decided.
    pub plan: CapPlan,
    /// The period that `used` is of; in every later one nothing is used.
    pub period: u64,
    /// Held and spent in that period, under it and every cap below.
    pub used: Credits,
}

/// What a session has drawn from a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetDraw {
    /// The budget.
    pub budget: BudgetId,
    /// The cap under which its client spends.
    pub cap: u16,
    /// The period of its last hold.
    pub period: u64,
    /// Charged to the caps in that period.
    pub charged: Credits,
}

impl Budget {
    /// The number of the period at `now`, from 0.
    #[must_use]
    pub fn period_at(&self, now: Timestamp) -> u64 {
        now.since(self.created_at).0.checked_div(self.period.0).unwrap_or(0)
    }

    /// The places of a cap and of all above it; empty if there is no such cap.
    #[must_use]
    pub fn path(&self, cap: u16) -> Vec<usize> {
        let parent = |at: &usize| self.caps.get(*at).and_then(|cap| cap.plan.parent).map(usize::from);
        let first = Some(usize::from(cap)).filter(|at| *at < self.caps.len());
        // Parents come before their children, so it ends.
        core::iter::successors(first, parent).collect()
    }
}

impl Cap {
    /// What is used of it in `period`.
    #[must_use]
    pub fn used_in(&self, period: u64) -> Credits {
        if self.period == period { self.used } else { Credits::ZERO }
    }
}

impl Wire for Budget {
    const BYTES_MAX: usize = 8 * 1024;

    fn check_bounds(&self) -> Result<(), String> {
        at_most("caps", self.caps.len(), CAPS_MAX)?;
        let parents = self.caps.iter().map(|cap| cap.plan.parent.map(usize::from));
        let hangs = |(at, parent): (usize, Option<usize>)| match parent {
            None => at == 0,
            Some(parent) => parent < at,
        };
        if self.period.0 > 0 && !self.caps.is_empty() && parents.enumerate().all(hangs) {
            Ok(())
        } else {
            Err("the caps are no tree, or the period is nothing".into())
        }
    }
}

impl State {
    /// A budget that is not closed, or under which sessions are open.
    #[must_use]
    pub fn budget(&self, budget: &BudgetId) -> Option<&Budget> {
        self.budgets.get(budget)
    }

    /// All budgets.
    pub fn budgets(&self) -> impl Iterator<Item = (&BudgetId, &Budget)> {
        self.budgets.iter()
    }
}
