//! A market as a placement problem, without the code that batches are matched with.

use super::market::Market;

/// Which order may take a slot of which offer, and what that is worth. An order takes one slot at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How many orders there are.
    pub orders: usize,
    /// Slots of each offer.
    pub slots: Vec<u16>,
    /// Pairs that pass all masks and are worth something: by order, as the orders came.
    pub pairs: Vec<Pair>,
}

/// An order at an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The order.
    pub order: usize,
    /// The offer.
    pub offer: usize,
    /// The most that the order pays in all, less the score, in micro-credits.
    pub surplus: u64,
}

impl Problem {
    /// The problem of a market.
    pub(super) fn of(market: &Market) -> Self {
        let (offers, mut matchers) = (market.offers(), market.matchers());
        matchers.sort_by_key(|(_, matcher)| matcher.order.issued_at);
        let mut pairs = Vec::new();
        for (order, (home, matcher)) in matchers.iter().enumerate() {
            for (offer, seen) in offers[*home].iter().enumerate() {
                let Ok(score) = matcher.judge(seen) else { continue };
                let surplus = matcher.order.total_max.saturating_sub(score.total).0;
                if surplus > 0 {
                    pairs.push(Pair { order, offer, surplus });
                }
            }
        }
        Self { orders: matchers.len(), slots: market.slots(), pairs }
    }

    /// The surplus when each order in turn takes the slot that is worth the most to it of those that are left.
    pub(super) fn first_come(&self) -> u128 {
        let mut slots = self.slots.clone();
        let orders = self.pairs.chunk_by(|a, b| a.order == b.order);
        let take = |pairs: &[Pair]| {
            let free = pairs.iter().rev().filter(|pair| slots[pair.offer] > 0);
            let best = free.max_by_key(|pair| pair.surplus)?;
            slots[best.offer] -= 1;
            Some(u128::from(best.surplus))
        };
        orders.filter_map(take).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_first_takes_the_best_that_is_left() {
        let pair = |order, offer, surplus| Pair { order, offer, surplus };
        let pairs = vec![pair(0, 0, 5), pair(0, 1, 4), pair(1, 0, 9), pair(2, 0, 7), pair(2, 1, 2)];
        let problem = |slots| Problem { orders: 3, slots, pairs: pairs.clone() };
        assert_eq!(problem(vec![1, 1]).first_come(), 5 + 2);
        assert_eq!(problem(vec![2, 0]).first_come(), 5 + 9);
    }
}
