//! What pays for a session, where its client's account does not.

use serde::{Deserialize, Serialize};

use super::{budget::BudgetDraw, reservation::SlotDraw};

/// What a session has drawn, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Draw {
    /// An organisation's budget.
    Budget(BudgetDraw),
    /// A slot that the client has prepaid.
    Slot(SlotDraw),
}

impl Draw {
    /// What was drawn from a budget.
    #[must_use]
    pub fn budget(&self) -> Option<&BudgetDraw> {
        match self {
            Self::Budget(draw) => Some(draw),
            Self::Slot(_) => None,
        }
    }
}
