//! What an organisation decides about its budget: a tree of caps, and who may spend under each.

use gridhour_protocol::{
    id::BudgetId,
    layout::Layout,
    signed::PublicKey,
    units::{Credits, Millis, Timestamp},
    wire::at_most,
};
use serde::{Deserialize, Serialize};

use crate::limits::{CAP_DEPTH_MAX, CAPS_MAX, PERIOD_MS_MAX, PERIOD_MS_MIN};

/// A budget as its owner wants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Tells the budgets of one owner apart.
    pub number: u64,
    /// After so long every cap is whole again.
    pub period: Millis,
    /// After this anyone may close the budget.
    pub until: Timestamp,
    /// The tree: the first cap is the whole organisation's, each of the others names one before it.
    pub caps: Vec<CapPlan>,
}

/// One cap, such as an organisation's, a team's or a key's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapPlan {
    /// The cap above it, by its place in the list.
    pub parent: Option<u16>,
    /// Who may open sessions under it, if anyone.
    pub spender: Option<PublicKey>,
    /// The most that may be held and spent under it in a period.
    pub amount: Credits,
    /// Nothing more may be held under it.
    pub halted: bool,
}

impl Plan {
    /// The budget, if `owner` makes it.
    #[must_use]
    pub fn budget_of(&self, owner: &PublicKey) -> BudgetId {
        let mut out = Layout::new("gridhour/budget/v1");
        out.fixed(&owner.0).u64(self.number);
        BudgetId(out.hash())
    }

    /// Appends every field.
    pub(crate) fn lay_out(&self, out: &mut Layout) {
        out.u64(self.number).u64(self.period.0).u64(self.until.0).count(self.caps.len());
        self.caps.iter().for_each(|cap| cap.lay_out(out));
    }

    pub(crate) fn check_bounds(&self) -> Result<(), String> {
        at_most("caps", self.caps.len(), CAPS_MAX)?;
        if !(PERIOD_MS_MIN..=PERIOD_MS_MAX).contains(&self.period.0) {
            let period = self.period.0;
            return Err(format!(
                "a period of {period} ms is not between {PERIOD_MS_MIN} and {PERIOD_MS_MAX}"
            ));
        }
        self.check_tree()?;
        let weak = self.caps.iter().filter_map(|cap| cap.spender).find(|key| !key.is_usable());
        weak.map_or(Ok(()), |key| Err(format!("spender {key} is not a usable ed25519 key")))
    }

    fn check_tree(&self) -> Result<(), String> {
        let mut depths: Vec<usize> = Vec::new();
        for (at, cap) in self.caps.iter().enumerate() {
            let above = cap.parent.map(|parent| depths.get(usize::from(parent)));
            depths.push(match (at, above) {
                (0, None) => 1,
                (1.., Some(Some(depth))) => depth + 1,
                _ => return Err(format!("cap {at} does not hang below one before it")),
            });
        }
        let deepest = depths.into_iter().max().ok_or("a budget has at least one cap")?;
        at_most("depth of the caps", deepest, CAP_DEPTH_MAX)
    }
}

impl CapPlan {
    /// Appends every field.
    pub(crate) fn lay_out(&self, out: &mut Layout) {
        match self.parent {
            None => out.u8(0),
            Some(parent) => out.u8(1).u16(parent),
        };
        match self.spender {
            None => out.u8(0),
            Some(spender) => out.u8(1).fixed(&spender.0),
        };
        out.u64(self.amount.0).u8(u8::from(self.halted));
    }
}
