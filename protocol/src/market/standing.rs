//! Own machines first: how an offer that meets an order stands to its buyer.
//!
//! A machine of the buyer's own is there anyway, and what it is paid goes from one pocket to the other. So one that meets
//! the order in time, its queue included, comes before all others, whatever they cost. Hard limits are masks: an own
//! machine whose queue would break one is refused like any other. Where a soft limit would be broken, the order may be
//! better off elsewhere: then the own machine is compared by its score, in which the lateness counts, and the order goes
//! to the market only if that is the cheaper way out.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::{
    estimate::Times,
    order::{LatencyLimit, LimitKind, Order},
};

/// How an offer stands to its buyer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Somebody else's: compared by its score.
    #[default]
    Market,
    /// The buyer's own, and in time: before all others, and among its like by its score.
    Own,
    /// The buyer's own, and late: compared by its score.
    OwnLate(Late),
}

/// A soft limit that is expected to be broken, the first token's before the last one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    /// Whether it is the limit on the first token, or else on the last.
    pub is_first: bool,
    /// By how many milliseconds, by the mean.
    pub by_ms: u64,
    /// Milliseconds that the machine's queue takes.
    pub queue_ms: u64,
}

impl Standing {
    pub(super) fn of(own: bool, late: Option<Late>) -> Self {
        match (own, late) {
            (false, _) => Self::Market,
            (true, None) => Self::Own,
            (true, Some(late)) => Self::OwnLate(late),
        }
    }

    /// Whether it comes before all that do not, whatever they score.
    #[must_use]
    pub const fn comes_first(self) -> bool {
        matches!(self, Self::Own)
    }

    /// Whether it is a machine of the buyer's own.
    #[must_use]
    pub const fn is_own(self) -> bool {
        matches!(self, Self::Own | Self::OwnLate(_))
    }

    /// By what an own machine lost its place before all others.
    #[must_use]
    pub const fn late(self) -> Option<Late> {
        match self {
            Self::OwnLate(late) => Some(late),
            Self::Market | Self::Own => None,
        }
    }
}

impl Late {
    /// The first soft limit of `order` that these times break.
    pub(super) fn of(order: &Order, times: &Times) -> Option<Self> {
        let broken = |is_first, limit: Option<LatencyLimit>, expected_ms: u64| {
            let limit = limit.filter(|limit| matches!(limit.kind, LimitKind::Soft { .. }))?.limit.0;
            let by_ms = expected_ms.checked_sub(limit).filter(|by_ms| *by_ms > 0)?;
            Some(Self { is_first, by_ms, queue_ms: times.queue_ms })
        };
        broken(true, order.ttft, times.ttft_ms).or_else(|| broken(false, order.total_time, times.total_ms))
    }
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = if self.is_first { "first" } else { "last" };
        write!(f, "its {token} token would be {} ms late, its queue takes {} ms", self.by_ms, self.queue_ms)
    }
}

#[cfg(test)]
mod tests;
