//! Who sits where while a batch is matched. No offer ever holds more orders than it has slots.

use core::cmp::Reverse;
use std::collections::BinaryHeap;

use super::pairs::Pairs;

/// Orders on the slots of offers, by rank.
#[derive(Clone)]
pub(super) struct Plan {
    /// Where each order is.
    at: Vec<Option<usize>>,
    /// Slots that each offer has left.
    free: Vec<u16>,
}

impl Plan {
    /// Nobody is placed; offers have so many slots.
    pub(super) fn new(orders: usize, slots: impl Iterator<Item = u16>) -> Self {
        Self { at: vec![None; orders], free: slots.collect() }
    }

    /// The slots that this plan leaves free, with nobody on them.
    pub(super) fn rest(&self) -> Self {
        Self { at: vec![None; self.at.len()], free: self.free.clone() }
    }

    /// Greedy: of all pairs of an order that waits and an offer that is free, the one with the largest surplus is placed,
    /// until there is none. Ties go to the lower ranks, the order's first.
    pub(super) fn fill(&mut self, pairs: &Pairs) {
        let best = |plan: &Self, order| {
            let offers = pairs.of(order).iter().enumerate();
            let free = offers.rev().filter(|&(offer, &surplus)| surplus > 0 && plan.free(offer) > 0);
            let (offer, &surplus) = free.max_by_key(|&(_, surplus)| surplus)?;
            Some((surplus, Reverse(order), offer))
        };
        let waiting = (0..self.at.len()).filter(|&order| self.at(order).is_none());
        let mut heads: BinaryHeap<_> = waiting.filter_map(|order| best(self, order)).collect();
        while let Some((_, Reverse(order), offer)) = heads.pop() {
            if self.free(offer) > 0 {
                self.place(order, offer);
            } else {
                heads.extend(best(self, order));
            }
        }
    }

    /// Places orders that still wait where they fit without surplus, the least loss first.
    pub(super) fn fill_worthless(&mut self, pairs: &Pairs) {
        for pair in pairs.worthless() {
            self.place(pair.order, pair.offer);
        }
    }

    /// How many offers there are.
    pub(super) fn offers(&self) -> usize {
        self.free.len()
    }

    /// Where an order is.
    pub(super) fn at(&self, order: usize) -> Option<usize> {
        self.at.get(order).copied().flatten()
    }

    /// Slots that an offer has left.
    pub(super) fn free(&self, offer: usize) -> u16 {
        self.free.get(offer).copied().unwrap_or_default()
    }

    /// Puts an order on a free slot, if the order waits and there is one.
    pub(super) fn place(&mut self, order: usize, offer: usize) {
        if let (Some(at @ None), Some(free @ 1..)) = (self.at.get_mut(order), self.free.get_mut(offer)) {
            (*at, *free) = (Some(offer), *free - 1);
        }
    }

    /// Takes an order off its slot.
    pub(super) fn remove(&mut self, order: usize) {
        let offer = self.at.get_mut(order).and_then(Option::take);
        if let Some(free) = offer.and_then(|offer| self.free.get_mut(offer)) {
            *free += 1;
        }
    }

    /// Every order that has a place, and the place.
    pub(super) fn placed(&self) -> impl Iterator<Item = (usize, usize)> {
        self.at.iter().enumerate().filter_map(|(order, at)| Some((order, (*at)?)))
    }

    /// What all together gain.
    pub(super) fn surplus(&self, pairs: &Pairs) -> u128 {
        self.placed().map(|(order, offer)| u128::from(pairs.surplus(order, offer))).sum()
    }
}
