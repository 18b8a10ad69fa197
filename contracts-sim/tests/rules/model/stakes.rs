//! The part of the second ledger that keeps stakes: one device for each provider, plain numbers.

use std::collections::BTreeMap;

use gridhour_contracts_sim::{
    harness::{Chain, Deal, key},
    tx::Call,
};
use gridhour_protocol::units::{Credits, Timestamp};
use proptest::prelude::*;

const CREDIT: u64 = 1_000_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const UNBOND_DAYS: u64 = 16;
const BAR_DAYS: u64 = 15;
const PROVIDERS: u8 = 2;

#[derive(Clone, Debug)]
pub(crate) enum StakeStep {
    /// So that there is something to bond.
    Fund {
        owner: u8,
        credits: u64,
    },
    Register {
        owner: u8,
    },
    Deregister {
        owner: u8,
    },
    Bond {
        owner: u8,
        amount: u64,
        days: u64,
    },
    Unbond {
        owner: u8,
        by: u8,
        amount: u64,
    },
    UnbondAll {
        owner: u8,
        by: u8,
    },
    Withdraw {
        owner: u8,
        by: u8,
    },
    Slash {
        owner: u8,
        by: u8,
        conflict: bool,
    },
}

pub(crate) fn stake_step() -> impl Strategy<Value = StakeStep> {
    let owner = 1..=PROVIDERS;
    let by = 1..=3u8;
    let amount = prop_oneof![0..3 * CREDIT, Just(CREDIT), Just(CREDIT - 1), Just(0)];
    prop_oneof![
        2 => (owner.clone(), 1..9u64).prop_map(|(owner, credits)| StakeStep::Fund { owner, credits }),
        3 => owner.clone().prop_map(|owner| StakeStep::Register { owner }),
        1 => owner.clone().prop_map(|owner| StakeStep::Deregister { owner }),
        4 => (owner.clone(), amount.clone(), 0..20u64)
            .prop_map(|(owner, amount, days)| StakeStep::Bond { owner, amount, days }),
        2 => (owner.clone(), by.clone(), amount)
            .prop_map(|(owner, by, amount)| StakeStep::Unbond { owner, by, amount }),
        2 => (owner.clone(), by.clone()).prop_map(|(owner, by)| StakeStep::UnbondAll { owner, by }),
        2 => (owner.clone(), by.clone()).prop_map(|(owner, by)| StakeStep::Withdraw { owner, by }),
        2 => (owner, by, any::<bool>())
            .prop_map(|(owner, by, conflict)| StakeStep::Slash { owner, by, conflict }),
    ]
}

/// What a step moves, beside the stake.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) paid: Vec<(u8, u64)>,
    pub(crate) taken: Option<(u8, u64)>,
    pub(crate) minted: u64,
    pub(crate) burned: u64,
}

#[derive(Clone, Default)]
struct Held {
    registered: bool,
    bonded: u64,
    until: u64,
    unbonding: Vec<(u64, u64)>,
    barred_until: u64,
}

/// The stake of each provider's device.
#[derive(Default)]
pub(crate) struct Stakes(BTreeMap<u8, Held>);

/// The deal whose provider and device a step is about.
pub(crate) fn deal(chain: &Chain, owner: u8) -> Deal {
    Deal::new(chain, &key(9), &key(owner))
}

impl StakeStep {
    /// Who makes it, and how.
    pub(crate) fn call(&self, chain: &Chain, stakes: &Stakes) -> (u8, Call) {
        let (owner, now) = (self.owner(), chain.now().0);
        let deal = deal(chain, owner);
        let device = deal.device();
        match *self {
            Self::Fund { owner, credits } => {
                (255, Call::Mint { to: key(owner).public(), amount: Credits(credits * CREDIT) })
            }
            Self::Register { .. } => (owner, deal.register()),
            Self::Deregister { .. } => (owner, Call::Deregister { device }),
            Self::Bond { amount, days, .. } => {
                let until = Timestamp(now + days * DAY_MS);
                (owner, Call::Bond { device, amount: Credits(amount), until })
            }
            Self::Unbond { by, amount, .. } => (by, Call::Unbond { device, amount: Credits(amount) }),
            Self::UnbondAll { by, .. } => {
                let amount = Credits(stakes.0.get(&owner).map_or(0, |held| held.bonded));
                (by, Call::Unbond { device, amount })
            }
            Self::Withdraw { by, .. } => (by, Call::Withdraw { device }),
            Self::Slash { by, conflict: true, .. } => (by, deal.slash()),
            Self::Slash { by, conflict: false, .. } => {
                let receipt = deal.provider.sign(deal.receipt());
                (by, Call::Slash(Box::new(deal.accusation(receipt.clone(), receipt))))
            }
        }
    }

    fn owner(&self) -> u8 {
        match *self {
            Self::Fund { owner, .. }
            | Self::Register { owner }
            | Self::Deregister { owner }
            | Self::Bond { owner, .. }
            | Self::Unbond { owner, .. }
            | Self::UnbondAll { owner, .. }
            | Self::Withdraw { owner, .. }
            | Self::Slash { owner, .. } => owner,
        }
    }
}

impl Stakes {
    /// Everything at stake, by provider.
    pub(crate) fn totals(&self) -> impl Iterator<Item = (u8, u64)> {
        self.0.iter().map(|(owner, held)| (*owner, held.total()))
    }

    /// Makes a step; nothing if it is to be refused.
    pub(crate) fn step(
        &mut self,
        step: &StakeStep,
        now: u64,
        balances: &BTreeMap<u8, u64>,
    ) -> Option<Change> {
        let owner = step.owner();
        let held = self.0.entry(owner).or_default();
        let nothing = Change::default();
        match *step {
            StakeStep::Fund { credits, .. } => {
                let minted = credits * CREDIT;
                Some(Change { paid: vec![(owner, minted)], minted, ..nothing })
            }
            // Always of sequence 1: only where nothing is registered.
            StakeStep::Register { .. } => (!std::mem::replace(&mut held.registered, true)).then_some(nothing),
            StakeStep::Deregister { .. } => std::mem::take(&mut held.registered).then_some(nothing),
            StakeStep::Bond { amount, days, .. } => {
                let funds = balances.get(&owner).copied().unwrap_or(0);
                let enough = amount >= CREDIT || (amount == 0 && held.bonded > 0);
                let sound = enough && days > 0 && held.registered && amount <= funds;
                if !sound || now <= held.barred_until {
                    return None;
                }
                let fresh = held.total() == 0;
                held.until = if fresh { now + days * DAY_MS } else { held.until.max(now + days * DAY_MS) };
                held.bonded += amount;
                Some(Change { taken: Some((owner, amount)), ..nothing })
            }
            StakeStep::Unbond { by, amount, .. } => held.unbond(owner == by, amount, now).then_some(nothing),
            StakeStep::UnbondAll { by, .. } => held.unbond(owner == by, held.bonded, now).then_some(nothing),
            StakeStep::Withdraw { .. } => {
                let due = held.withdraw(now);
                (due > 0).then(|| Change { paid: vec![(owner, due)], ..nothing })
            }
            StakeStep::Slash { by, conflict, .. } => {
                let taken = held.total();
                if by == owner || !conflict || taken == 0 {
                    return None;
                }
                let registered = held.registered;
                *held = Held { registered, barred_until: now + BAR_DAYS * DAY_MS, ..Held::default() };
                let share = taken / 10;
                Some(Change { paid: vec![(by, share)], burned: taken - share, ..nothing })
            }
        }
    }
}

impl Held {
    fn total(&self) -> u64 {
        self.bonded + self.unbonding.iter().map(|(amount, _)| amount).sum::<u64>()
    }

    fn unbond(&mut self, by_owner: bool, amount: u64, now: u64) -> bool {
        let allowed = by_owner || (now > self.until && amount == self.bonded);
        let fits = allowed && amount > 0 && amount <= self.bonded && self.unbonding.len() < 8;
        if fits {
            self.bonded -= amount;
            self.unbonding.push((amount, now + UNBOND_DAYS * DAY_MS));
        }
        fits
    }

    fn withdraw(&mut self, now: u64) -> u64 {
        let due = self.unbonding.iter().filter(|(_, at)| *at <= now).map(|(amount, _)| amount).sum();
        self.unbonding.retain(|(_, at)| *at > now);
        due
    }
}
