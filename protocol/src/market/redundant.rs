//! Who runs an order that several providers run at the same time: offers of pairwise different stake accounts, which the
//! order's total pays for together.
//!
//! The ledger takes a bond only from the account that owns the device, and that is the account that signs the advert. So
//! an offer's stake account is its provider, whatever its number of devices or adverts; the masks have seen to it that
//! it is not the buyer and that what the order wants at stake is there ([`super::mask`]). Two accounts of one owner are
//! told apart by nobody: an order that wants a stake makes every further account cost one.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::{signed::PublicKey, units::Credits};

/// An offer that meets the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bid {
    /// Whose stake answers for it.
    pub account: PublicKey,
    /// What its session would hold.
    pub hold: Credits,
}

/// Why so many providers cannot run the order. The buyer's choice of limits; nobody was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TooFew {
    /// Too few accounts meet the order.
    Accounts {
        /// How many are wanted.
        wanted: u8,
        /// How many meet it.
        found: u32,
    },
    /// All together cost more than the order pays in all.
    Total {
        /// How many are wanted.
        wanted: u8,
        /// What the cheapest of them hold together; the largest amount if that is beyond 64 bits.
        cheapest: Credits,
        /// What the order pays in all.
        limit: Credits,
    },
}

impl fmt::Display for TooFew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accounts { wanted, found } => {
                write!(
                    f,
                    "{wanted} providers with different stake accounts are wanted, {found} meet the order"
                )
            }
            Self::Total { wanted, cheapest, limit } => {
                write!(f, "{wanted} providers hold {cheapest} credits together at least, limit {limit}")
            }
        }
    }
}

/// Picks `wanted` of `bids`, which come best first: each time the best account whose hold still leaves enough for the
/// cheapest that could complete the number. Of one account its first bid counts. Gives places in `bids`, ascending.
///
/// # Errors
/// If there are too few accounts, or `limit` does not pay for so many.
pub fn pick(bids: &[Bid], wanted: u8, limit: Credits) -> Result<Vec<usize>, TooFew> {
    let accounts = first_of_each(bids);
    let count = usize::from(wanted);
    if accounts.len() < count {
        return Err(TooFew::Accounts { wanted, found: u32::try_from(accounts.len()).unwrap_or(u32::MAX) });
    }
    let cheapest = cheapest_behind(&accounts, count);
    let least = cheapest[0][count];
    if least > u128::from(limit.0) {
        let cheapest = Credits(u64::try_from(least).unwrap_or(u64::MAX));
        return Err(TooFew::Total { wanted, cheapest, limit });
    }
    let (mut picked, mut left) = (Vec::with_capacity(count), u128::from(limit.0));
    for (at, (place, hold)) in accounts.iter().enumerate() {
        let missing = count - picked.len();
        if missing > 0 && u128::from(hold.0) + cheapest[at + 1][missing - 1] <= left {
            picked.push(*place);
            left -= u128::from(hold.0);
        }
    }
    Ok(picked)
}

/// Place and hold of each account's first bid, in order.
fn first_of_each(bids: &[Bid]) -> Vec<(usize, Credits)> {
    let mut seen = BTreeSet::new();
    let is_new = |(_, bid): &(usize, &Bid)| seen.insert(bid.account);
    bids.iter().enumerate().filter(is_new).map(|(place, bid)| (place, bid.hold)).collect()
}

/// At each place, what the cheapest 0, 1 .. `most` from there on hold together; as good as endless if there are not so
/// many.
fn cheapest_behind(accounts: &[(usize, Credits)], most: usize) -> Vec<Vec<u128>> {
    let mut cheapest = Vec::new();
    let sums = |cheapest: &[u64]| {
        let mut sums = vec![u128::MAX >> 1; most + 1];
        sums[0] = 0;
        for (at, hold) in cheapest.iter().enumerate() {
            sums[at + 1] = sums[at] + u128::from(*hold);
        }
        sums
    };
    let mut behind = vec![sums(&cheapest)];
    for (_, hold) in accounts.iter().rev() {
        let place = cheapest.partition_point(|cheaper| *cheaper <= hold.0);
        cheapest.insert(place, hold.0);
        cheapest.truncate(most);
        behind.push(sums(&cheapest));
    }
    behind.reverse();
    behind
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn bid(account: u8, hold: u64) -> Bid {
        Bid { account: PublicKey([account; 32]), hold: Credits(hold) }
    }

    #[test]
    fn the_best_are_picked_as_long_as_the_total_pays_for_all() {
        let bids = [bid(1, 50), bid(2, 40), bid(3, 10), bid(4, 20)];
        let picked = |limit| pick(&bids, 3, Credits(limit));
        assert_eq!(picked(100), Ok(vec![0, 1, 2]));
        assert_eq!(picked(99), Ok(vec![0, 2, 3]), "the second would leave too little for a third");
        assert_eq!(picked(79), Ok(vec![1, 2, 3]));
        let too_few = TooFew::Total { wanted: 3, cheapest: Credits(70), limit: Credits(69) };
        assert_eq!(picked(69), Err(too_few));
        let said = "3 providers hold 0.00007 credits together at least, limit 0.000069";
        assert_eq!(too_few.to_string(), said);
    }

    #[test]
    fn one_stake_account_counts_once_however_many_offers_it_has() {
        let bids = [bid(1, 1), bid(1, 1), bid(2, 1), bid(1, 1)];
        assert_eq!(pick(&bids, 2, Credits(9)), Ok(vec![0, 2]));
        let too_few = TooFew::Accounts { wanted: 3, found: 2 };
        assert_eq!(pick(&bids, 3, Credits(9)), Err(too_few));
        assert_eq!(
            too_few.to_string(),
            "3 providers with different stake accounts are wanted, 2 meet the order"
        );
        assert_eq!(pick(&[], 2, Credits(9)), Err(TooFew::Accounts { wanted: 2, found: 0 }));
    }

    #[test]
    fn amounts_beyond_64_bits_are_refused_and_not_wrapped() {
        let bids = [bid(1, u64::MAX), bid(2, u64::MAX)];
        let limit = Credits(u64::MAX);
        assert_eq!(pick(&bids, 2, limit), Err(TooFew::Total { wanted: 2, cheapest: limit, limit }));
    }

    /// All choices of `wanted` different accounts' first bids that the limit pays for.
    fn affordable(bids: &[Bid], wanted: u8, limit: u64) -> Vec<Vec<usize>> {
        let firsts: Vec<usize> = (0..bids.len())
            .filter(|at| bids[..*at].iter().all(|earlier| earlier.account != bids[*at].account))
            .collect();
        let subsets = (0u32..1 << firsts.len()).filter(|set| set.count_ones() == u32::from(wanted));
        let places = subsets.map(|set| {
            firsts.iter().enumerate().filter(|(bit, _)| set >> bit & 1 == 1).map(|(_, at)| *at).collect()
        });
        places
            .filter(|places: &Vec<usize>| places.iter().map(|at| bids[*at].hold.0).sum::<u64>() <= limit)
            .collect()
    }

    proptest! {
        #[test]
        fn what_is_picked_is_the_first_choice_in_the_bids_order_of_all_that_can_be_paid(
            bids in vec((0u8..6, 0u64..30).prop_map(|(account, hold)| bid(account, hold)), 0..9),
            wanted in 2u8..5,
            limit in 0u64..90,
        ) {
            let found = pick(&bids, wanted, Credits(limit)).ok();
            prop_assert_eq!(found, affordable(&bids, wanted, limit).into_iter().min());
        }
    }
}
