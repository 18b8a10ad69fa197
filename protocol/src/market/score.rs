//! The score of an offer that passed the masks, term by term, and whether it is compared by that at all: a machine of the
//! buyer's own that is in time comes before all others.

use super::{
    costs::BuyerCosts,
    estimate::{Measured, Times},
    mask::Fit,
    order::{LatencyLimit, LimitKind, Order},
    standing::{Late, Standing},
};
use crate::units::Credits;

/// The score of an offer, with its terms. Between offers that stand alike, the lower one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Score {
    /// Whether it comes before others, whatever they score.
    pub standing: Standing,
    /// What is compared: all terms, less the discount.
    pub total: Credits,
    /// Cost of the order's longest job: the only term that anybody is paid.
    pub cost: Credits,
    /// Soft penalties.
    pub penalty: Credits,
    /// What the buyer pays for traffic to another region.
    pub egress: Credits,
    /// What runs in vain are expected to cost.
    pub risk: Credits,
    /// A newcomer's discount.
    pub discount: Credits,
    /// Expected times, where the provider was measured.
    pub times: Option<Times>,
}

impl Score {
    /// The score of an offer of `region`. `None` if the terms are beyond 64 bits.
    pub(super) fn of(
        order: &Order,
        costs: &BuyerCosts,
        fit: &Fit,
        region: Option<&str>,
        measured: &Measured,
    ) -> Option<Self> {
        let penalty = match fit.times {
            None => Credits::ZERO,
            Some(times) => {
                let first = lateness(order.ttft, times.ttft_ms)?;
                first.checked_add(lateness(order.total_time, times.total_ms)?)?
            }
        };
        let egress = costs.egress(order, region)?;
        let risk = costs.risk(fit.cost, measured.availability_ppm)?;
        let discount = measured.tries.map_or(Credits::ZERO, |tries| tries.discount(fit.cost));
        let total = Credits::sum([fit.cost, penalty, egress, risk])?.saturating_sub(discount);
        let late = fit.times.and_then(|times| Late::of(order, &times));
        let standing = Standing::of(measured.own, late);
        Some(Self { standing, total, cost: fit.cost, penalty, egress, risk, discount, times: fit.times })
    }
}

fn lateness(limit: Option<LatencyLimit>, expected_ms: u64) -> Option<Credits> {
    let Some(LatencyLimit { limit, kind: LimitKind::Soft { per_ms } }) = limit else {
        return Some(Credits::ZERO);
    };
    expected_ms.saturating_sub(limit.0).checked_mul(per_ms.0).map(Credits)
}
