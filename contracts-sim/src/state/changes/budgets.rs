//! Changes to budgets.

use gridhour_protocol::{id::BudgetId, units::Credits};

use super::{Overlay, replace};
use crate::state::budget::Budget;

impl Overlay<'_> {
    pub(crate) fn budget(&self, budget: &BudgetId) -> Option<&Budget> {
        match self.changes.budgets.get(budget) {
            Some(changed) => changed.as_ref(),
            None => self.base.budget(budget),
        }
    }

    pub(crate) fn set_budget(&mut self, id: BudgetId, budget: Option<Budget>) {
        let pot = |budget: Option<&Budget>| budget.map_or(Credits::ZERO, |budget| budget.pot);
        let (before, after) = (pot(self.budget(&id)), pot(budget.as_ref()));
        replace(&mut self.totals.holds, before, after);
        self.changes.budgets.insert(id, budget);
    }
}
