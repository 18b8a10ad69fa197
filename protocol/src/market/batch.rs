//! Batch matching: all orders that wait against all slots that are idle, at once. Slots that spot jobs hold are not sold
//! here, whatever the tier: each of them would have to be reclaimed.
//!
//! An order takes one slot, which is what an advert promises: a job that starts at once. Capacity in GPU time over a
//! window would let two short orders share a slot, and the second would start late, against the times that it was
//! masked and scored with; long windows are what reservations are for. With one slot an order the linear program of the
//! placement has a whole-numbered optimum, so what is lost against it is lost by this method alone.
//!
//! What is made as large as possible is the surplus: the most that an order pays in all, less its score at the offer.
//! The limit in all is taken and not the price times the offer's time, or else the slower device would be worth more.
//!
//! 1. every pair is put through the masks and scored, as [`super::matching`] does it;
//! 2. greedy: pairs by surplus, the largest first; ties go to the earlier order, then to the lower id, then to the
//!    earlier advert, then to the lower key;
//! 3. improvement: orders that would rather have another slot bid for it, those whom they push out bid again, and so on
//!    along chains; what comes out is worth 31 of 32 parts of the best plan there is, or one micro-credit an order less
//!    than it, unless the bids run out; and never less than greedy alone;
//! 4. orders that still wait take what is free, at a loss too: no order waits beside a free slot that it fits.
//!
//! An order whose client has a machine of its own that is in time ([`super::standing`]) is placed there if it can be: all
//! four steps are done with such pairs alone first, and then with the orders and slots that are left.
//!
//! It is integer arithmetic, and nothing depends on the order in which orders and adverts are listed.

mod auction;
mod pairs;
mod plan;

use core::cmp::Ordering;
use std::collections::BTreeSet;

use self::{pairs::Pairs, plan::Plan};
use super::{
    advert::Advert,
    costs::BuyerCosts,
    estimate::Measured,
    matching::{Matcher, Offer},
    order::Order,
    score::Score,
};
use crate::{signed::Verified, units::Timestamp};

/// Orders of one batch.
pub const BATCH_ORDERS_MAX: usize = 1_024;
/// Offers of one batch.
pub const BATCH_OFFERS_MAX: usize = 1_024;

/// An order that waits.
#[derive(Clone, Copy, Debug)]
pub struct Waiting<'a> {
    /// What its client signed.
    pub order: &'a Verified<Order>,
    /// What was measured of each offer of the batch, from where this order's client is.
    pub measured: &'a [Measured],
    /// What its client counts beside the price.
    pub costs: &'a BuyerCosts,
}

/// Orders and offers that are to be matched together.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    numerics: u16,
    now: Timestamp,
    /// Earlier first, with the positions at which they were listed.
    waiting: Vec<(usize, Waiting<'a>)>,
    adverts: Vec<(usize, &'a Verified<Advert>)>,
}

/// Why a batch cannot be matched. Always the caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Leave the later ones to the next batch.
    #[error("{0} orders wait, a batch takes {BATCH_ORDERS_MAX}")]
    TooManyOrders(usize),
    /// Leave out those that fit the fewest.
    #[error("{0} offers, a batch takes {BATCH_OFFERS_MAX}")]
    TooManyOffers(usize),
    /// An order does not come with one measurement for each offer.
    #[error("order {order} comes with {measured} measurements, there are {offers} offers")]
    Unmeasured {
        /// Its position.
        order: usize,
        /// Its measurements.
        measured: usize,
        /// Offers of the batch.
        offers: usize,
    },
    /// The slots of one provider would be sold twice.
    #[error("two adverts are of one provider; a book holds its newest")]
    SameProvider,
    /// It would be served twice.
    #[error("one order waits twice")]
    SameOrder,
}

/// An order and the offer that it was given. Both are positions as listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The order.
    pub order: usize,
    /// The offer, one of whose slots it takes.
    pub offer: usize,
    /// The offer's score for this order.
    pub score: Score,
}

/// Who got what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Orders that were given an offer, by position.
    pub placements: Vec<Placement>,
    /// Sum of what the placed orders would pay at most beyond their scores, in micro-credits.
    pub surplus: u128,
    /// The same after the greedy step.
    pub greedy_surplus: u128,
}

impl<'a> Batch<'a> {
    /// Takes orders and adverts, in whatever order they come.
    ///
    /// # Errors
    /// [`BatchError`].
    pub fn new(
        numerics: u16,
        now: Timestamp,
        waiting: &[Waiting<'a>],
        adverts: &[&'a Verified<Advert>],
    ) -> Result<Self, BatchError> {
        check_sizes(waiting, adverts)?;
        let mut waiting: Vec<_> = waiting.iter().copied().enumerate().collect();
        let mut adverts: Vec<_> = adverts.iter().copied().enumerate().collect();
        waiting.sort_by(|(_, a), (_, b)| earlier_order(a.order, b.order));
        adverts.sort_by_key(|(_, advert)| (advert.issued_at, advert.provider));
        if waiting.windows(2).any(|pair| earlier_order(pair[0].1.order, pair[1].1.order).is_eq()) {
            return Err(BatchError::SameOrder);
        }
        let providers: BTreeSet<_> = adverts.iter().map(|(_, advert)| advert.provider).collect();
        if providers.len() < adverts.len() {
            return Err(BatchError::SameProvider);
        }
        Ok(Self { numerics, now, waiting, adverts })
    }

    /// Matches them.
    #[must_use]
    pub fn solve(&self) -> Outcome {
        let (own, pairs) = self.pairs();
        let slots = self.adverts.iter().map(|(_, advert)| advert.slots_free);
        let free = Plan::new(self.waiting.len(), slots);
        let Some(own) = own else { return self.outcome(&[solve(&pairs, free)]) };
        let first = solve(&own, free);
        let rest = solve(&pairs.rest(&first.plan), first.plan.rest());
        self.outcome(&[first, rest])
    }

    /// Every pair that passes the masks; and apart, if there are any, those of an order and a machine of its client's own
    /// that is in time.
    fn pairs(&self) -> (Option<Pairs>, Pairs) {
        let none = || Pairs::new(self.waiting.len(), self.adverts.len());
        let (mut own, mut pairs) = (None, none());
        for (order, (_, waiting)) in self.waiting.iter().enumerate() {
            for offer in 0..self.adverts.len() {
                let Some(score) = self.judge(waiting, offer) else { continue };
                let limit = waiting.order.total_max;
                pairs.add(order, offer, limit, score.total);
                if score.standing.comes_first() {
                    own.get_or_insert_with(none).add(order, offer, limit, score.total);
                }
            }
        }
        (own, pairs)
    }

    fn outcome(&self, solved: &[Solved]) -> Outcome {
        let placed = solved.iter().flat_map(|solved| solved.plan.placed());
        let mut placements: Vec<_> = placed.filter_map(|(o, at)| self.placement(o, at)).collect();
        placements.sort_unstable_by_key(|placement| placement.order);
        let sum = |part: fn(&Solved) -> u128| solved.iter().map(part).sum();
        Outcome {
            placements,
            surplus: sum(|solved| solved.surplus),
            greedy_surplus: sum(|solved| solved.greedy_surplus),
        }
    }

    fn judge(&self, waiting: &Waiting<'a>, offer: usize) -> Option<Score> {
        let (listed, advert) = *self.adverts.get(offer)?;
        let measured = *waiting.measured.get(listed)?;
        let Waiting { order, costs, .. } = *waiting;
        let matcher = Matcher { order, numerics: self.numerics, now: self.now, costs };
        matcher.judge(&Offer { advert, measured }).ok()
    }

    /// The pair as it was listed. Only a pair that passed the masks is ever placed, so it does again.
    fn placement(&self, order: usize, offer: usize) -> Option<Placement> {
        let (listed, waiting) = self.waiting.get(order)?;
        let score = self.judge(waiting, offer)?;
        Some(Placement { order: *listed, offer: self.adverts.get(offer)?.0, score })
    }
}

/// A plan, and what it is worth.
struct Solved {
    plan: Plan,
    surplus: u128,
    greedy_surplus: u128,
}

/// Places orders on these slots, of which none is taken yet.
fn solve(pairs: &Pairs, free: Plan) -> Solved {
    let mut greedy = free;
    greedy.fill(pairs);
    let mut plan = auction::improve(pairs, &greedy);
    plan.fill(pairs);
    let (greedy_surplus, improved) = (greedy.surplus(pairs), plan.surplus(pairs));
    if improved <= greedy_surplus {
        plan = greedy;
    }
    plan.fill_worthless(pairs);
    Solved { plan, surplus: improved.max(greedy_surplus), greedy_surplus }
}

fn check_sizes(waiting: &[Waiting<'_>], adverts: &[&Verified<Advert>]) -> Result<(), BatchError> {
    let offers = adverts.len();
    if waiting.len() > BATCH_ORDERS_MAX {
        return Err(BatchError::TooManyOrders(waiting.len()));
    }
    if offers > BATCH_OFFERS_MAX {
        return Err(BatchError::TooManyOffers(offers));
    }
    let sizes = waiting.iter().map(|waiting| waiting.measured.len()).enumerate();
    match { sizes }.find(|(_, measured)| *measured != offers) {
        Some((order, measured)) => Err(BatchError::Unmeasured { order, measured, offers }),
        None => Ok(()),
    }
}

/// Ids are hashes, so they are computed only where the times are equal.
fn earlier_order(a: &Verified<Order>, b: &Verified<Order>) -> Ordering {
    a.issued_at.cmp(&b.issued_at).then_with(|| a.signed().id().cmp(&b.signed().id()))
}

#[cfg(test)]
mod tests;
