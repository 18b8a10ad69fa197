//! An organisation's budget, for tests.

use gridhour_protocol::{
    id::BudgetId,
    signed::{PublicKey, SecretKey},
    units::{Credits, Millis, Timestamp},
};

use super::{Chain, Deal};
use crate::{
    limits::BUDGET_MIN,
    tx::{Call, CapPlan, Plan},
};

const HOUR_MS: u64 = 60 * 60 * 1000;

/// A cap below `parent`, for `spender` if anyone.
#[must_use]
pub fn cap(parent: Option<u16>, spender: Option<&PublicKey>, amount: Credits) -> CapPlan {
    CapPlan { parent, spender: spender.copied(), amount, halted: false }
}

impl Chain {
    /// A plan of these caps by the hour, for 30 days from now.
    #[must_use]
    pub fn plan(&self, caps: Vec<CapPlan>) -> Plan {
        let until = Timestamp(self.now().0 + 30 * 24 * HOUR_MS);
        Plan { number: 1, period: Millis(HOUR_MS), until, caps }
    }

    /// Makes a budget of these caps with the least pot, out of new credits.
    ///
    /// # Panics
    /// If the ledger refuses.
    pub fn open_budget(&mut self, owner: &SecretKey, caps: Vec<CapPlan>) -> BudgetId {
        let plan = self.plan(caps);
        let budget = plan.budget_of(&owner.public());
        self.fund(&owner.public(), BUDGET_MIN);
        self.acting(owner).ok(Call::Plan { plan: Box::new(plan), amount: BUDGET_MIN });
        budget
    }
}

impl Deal {
    /// The call that opens the session out of a budget.
    #[must_use]
    pub fn draw(&self, budget: BudgetId, cap: u16) -> Call {
        Call::Draw { budget, cap, open: Box::new(self.sign()) }
    }
}
