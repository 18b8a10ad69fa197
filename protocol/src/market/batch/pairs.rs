//! The pairs of a batch that pass the masks, and what each is worth.
//!
//! Orders and offers are numbered by rank here, earlier first.

use super::plan::Plan;
use crate::units::Credits;

/// Pairs of orders and offers.
pub(super) struct Pairs {
    offers: usize,
    /// Surplus by order, then offer; 0 where the pair is masked, or where the score eats the surplus up.
    surplus: Vec<u64>,
    worthless: Vec<Worthless>,
}

/// A pair that passes the masks and has no surplus. The least loss comes first, then the lower ranks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Worthless {
    loss: u64,
    pub(super) order: usize,
    pub(super) offer: usize,
}

impl Pairs {
    /// No pair yet.
    pub(super) fn new(orders: usize, offers: usize) -> Self {
        Self { offers, surplus: vec![0; orders * offers], worthless: Vec::new() }
    }

    /// Adds a pair: the most that the order pays in all, and the offer's score for it.
    pub(super) fn add(&mut self, order: usize, offer: usize, limit: Credits, score: Credits) {
        match self.surplus.get_mut(order * self.offers + offer) {
            Some(surplus) if limit > score => *surplus = limit.0 - score.0,
            _ => self.worthless.push(Worthless { loss: score.saturating_sub(limit).0, order, offer }),
        }
    }

    /// What is left of them once a plan is kept to: the pairs of orders that wait and offers with a free slot.
    pub(super) fn rest(mut self, plan: &Plan) -> Self {
        for (order, row) in self.surplus.chunks_mut(self.offers.max(1)).enumerate() {
            for (offer, surplus) in row.iter_mut().enumerate() {
                if plan.at(order).is_some() || plan.free(offer) == 0 {
                    *surplus = 0;
                }
            }
        }
        self.worthless.retain(|pair| plan.at(pair.order).is_none());
        self
    }

    /// The pairs without surplus, the least loss first.
    pub(super) fn worthless(&self) -> Vec<Worthless> {
        let mut pairs = self.worthless.clone();
        pairs.sort_unstable();
        pairs
    }

    /// What each offer is worth to an order.
    pub(super) fn of(&self, order: usize) -> &[u64] {
        self.surplus.get(order * self.offers..(order + 1) * self.offers).unwrap_or_default()
    }

    /// What an order gains at an offer.
    pub(super) fn surplus(&self, order: usize, offer: usize) -> u64 {
        self.of(order).get(offer).copied().unwrap_or_default()
    }

    /// How many orders there are.
    pub(super) fn orders(&self) -> usize {
        self.surplus.len().checked_div(self.offers).unwrap_or_default()
    }
}
