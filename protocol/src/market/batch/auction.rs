//! The improvement: orders that would rather have another slot bid for it (Bertsekas' auction algorithm, in its form for
//! offers with several like slots).
//!
//! Slots begin at a price of nothing. Whom greedy placed where it gains the most stays there. Every other order gives its
//! slot up and bids, one at a time: for the slot with the largest surplus less price, by as much as that exceeds the next
//! best thing it could do, and one step more. Whoever had the slot before must bid again. An order for which every price is
//! too high waits. So orders give way to each other along chains as long as it takes.
//!
//! At the end every order sits within a step of the best that it could have at these prices, and slots that stayed free
//! cost nothing. Such a plan is worth all but one step for each order of what the best plan is worth (Bertsekas, "The
//! auction algorithm", Annals of Operations Research 14, 1988). Prices serve the search alone; nobody pays them.

use std::collections::VecDeque;

use super::{pairs::Pairs, plan::Plan};

/// Bids for each order of a batch, at most. Beyond that orders keep waiting for the last greedy step.
const BIDS_PER_ORDER_MAX: usize = 128;
/// One step for each order comes to this part of the surplus that greedy found, or to a micro-credit an order. A smaller
/// part is nearer to the best plan, and takes as many times more bids.
const STEPS_SHARE: u128 = 32;

/// The plan after the bidding. Every offer of a pair has a slot, which is a mask.
pub(super) fn improve(pairs: &Pairs, greedy: &Plan) -> Plan {
    let mut auction = Auction::after(pairs, greedy);
    for _ in 0..BIDS_PER_ORDER_MAX * pairs.orders() {
        let Some(order) = auction.bidders.pop_front() else { break };
        auction.bid(order);
    }
    auction.plan
}

/// Slots with prices, and who has yet to bid.
struct Auction<'a> {
    pairs: &'a Pairs,
    plan: Plan,
    step: u64,
    /// Slots of each offer that were taken, the cheapest first: their prices and holders.
    taken: Vec<Vec<(u64, usize)>>,
    /// Price of each offer's cheapest slot, which is 0 while one is free.
    price: Vec<u64>,
    bidders: VecDeque<usize>,
}

/// What an order would do at these prices.
struct Wish {
    offer: usize,
    /// Surplus less price there.
    net: u64,
    /// The most that it would gain without the cheapest slot there.
    next: u64,
}

impl<'a> Auction<'a> {
    /// The beginning: whoever has the best place for it stays, all others bid.
    fn after(pairs: &'a Pairs, greedy: &Plan) -> Self {
        let share = greedy.surplus(pairs) / STEPS_SHARE / pairs.orders().max(1) as u128;
        let step = u64::try_from(share).unwrap_or(u64::MAX).max(1);
        let (taken, price) = (vec![Vec::new(); greedy.offers()], vec![0; greedy.offers()]);
        let mut auction = Self { pairs, plan: greedy.clone(), step, taken, price, bidders: VecDeque::new() };
        for order in 0..pairs.orders() {
            let most = pairs.of(order).iter().max().copied().unwrap_or_default();
            match greedy.at(order) {
                Some(offer) if pairs.surplus(order, offer) == most => auction.take(order, offer, 0),
                _ => {
                    auction.plan.remove(order);
                    auction.bidders.push_back(order);
                }
            }
        }
        auction
    }

    /// Lets an order take the cheapest slot of the offer that it wishes for, if there is one.
    fn bid(&mut self, order: usize) {
        let Some(Wish { offer, net, next }) = self.wish(order) else { return };
        let paid = self.price_of(offer, 0).saturating_add(net - next).saturating_add(self.step);
        if self.plan.free(offer) == 0 {
            self.push_out(offer);
        }
        self.plan.place(order, offer);
        self.take(order, offer, paid);
        let price = self.price_of(offer, 0);
        if let Some(known) = self.price.get_mut(offer) {
            *known = price;
        }
    }

    /// What an order would bid for: the lower rank among equals.
    fn wish(&self, order: usize) -> Option<Wish> {
        let row = self.pairs.of(order);
        let (mut offer, mut net, mut next) = (0, 0, 0);
        for (at, (&surplus, &price)) in row.iter().zip(&self.price).enumerate() {
            let gain = surplus.saturating_sub(price);
            if gain > net {
                (offer, net, next) = (at, gain, net);
            } else {
                next = next.max(gain);
            }
        }
        let again = self.pairs.surplus(order, offer).saturating_sub(self.price_of(offer, 1));
        (net > 0).then_some(Wish { offer, net, next: next.max(again) })
    }

    /// The price of an offer's cheapest slot, or of the one after it. What does not exist has no end of a price.
    fn price_of(&self, offer: usize, nth: usize) -> u64 {
        match nth.checked_sub(self.plan.free(offer).into()) {
            None => 0,
            Some(nth) => {
                self.taken.get(offer).and_then(|taken| taken.get(nth)).map_or(u64::MAX, |slot| slot.0)
            }
        }
    }

    fn take(&mut self, order: usize, offer: usize, price: u64) {
        let Some(taken) = self.taken.get_mut(offer) else { return };
        let at = taken.partition_point(|slot| *slot < (price, order));
        taken.insert(at, (price, order));
    }

    /// The holder of the cheapest slot loses it, and bids again later.
    fn push_out(&mut self, offer: usize) {
        let Some(taken) = self.taken.get_mut(offer).filter(|taken| !taken.is_empty()) else { return };
        let (_, holder) = taken.remove(0);
        self.plan.remove(holder);
        self.bidders.push_back(holder);
    }
}
