//! A ledger's life, drawn from a seed: everyone does what they may, and what they may not, in any order, while time
//! passes. Every kind of hold occurs.

use std::collections::BTreeMap;

use gridhour_contracts_sim::{
    harness::{Chain, Deal, cap, key},
    limits::{BOND_MIN, BUDGET_MIN},
    tx::{Call, Plan, Registration},
};
use gridhour_protocol::{
    id::ReservationId,
    market::{reservation::ReservationOffer, tier::Tier},
    signed::SecretKey,
    units::{Credits, Millis, Timestamp},
};
use rayon::prelude::*;
use testkit::{seeds::seeds, sim::rng::Rng};

/// They buy, out of their own money and out of the organisation's.
const CLIENTS: [u8; 3] = [1, 2, 3];
/// They sell, and have a stake.
const PROVIDERS: [u8; 2] = [11, 12];
/// Pays for the clients.
const ORGANISATION: u8 = 21;
/// Has no part in anything.
pub(super) const STRANGER: u8 = 31;
/// Measures devices.
const CHALLENGER: u8 = 32;
const STEPS: usize = 250;
/// The latest deals that are still acted on.
const DEALS_MAX: usize = 12;
const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
/// Every call that must have succeeded somewhere.
const CALLS: [&str; 23] = [
    "mint",
    "burn",
    "transfer",
    "open",
    "draw",
    "top-up",
    "collect",
    "close",
    "expire",
    "register",
    "bond",
    "unbond",
    "withdraw",
    "slash",
    "plan",
    "close-budget",
    "calibrate",
    "book",
    "demand",
    "answer",
    "draw-slot",
    "give-up",
    "settle",
];

/// How often each call was applied.
pub(super) type Applied = BTreeMap<&'static str, u64>;

/// A ledger that something happens to.
pub(super) struct Life {
    pub(super) chain: Chain,
    rng: Rng,
    deals: Vec<Deal>,
    plans: Vec<Plan>,
    /// Client, provider and name of reservations.
    booked: Vec<(SecretKey, SecretKey, ReservationId)>,
    number: u64,
    applied: Applied,
}

/// Lives of `count` seeds, each handed to `judge` at its end, on all cores. Between them they have made every call.
pub(super) fn for_each_life(story: &str, count: u64, judge: impl Fn(&mut Life) + Sync) {
    let live = |seed: &u64| {
        println!("{story}: seed {seed} of {count}; replay with GRIDHOUR_SEED={seed}");
        let mut life = Life::new(*seed);
        (0..STEPS).for_each(|_| life.step());
        judge(&mut life);
        life.applied
    };
    let (seeds, mut all) = (seeds(count), Applied::new());
    for (name, times) in seeds.par_iter().map(live).collect::<Vec<_>>().into_iter().flatten() {
        *all.entry(name).or_default() += times;
    }
    let missing: Vec<_> = CALLS.iter().filter(|call| !all.contains_key(*call)).collect();
    assert!(missing.is_empty() || seeds.len() == 1, "never applied: {missing:?} of {all:?}");
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut chain = Chain::new();
        CLIENTS
            .iter()
            .chain(&PROVIDERS)
            .for_each(|n| drop(chain.fund(&key(*n).public(), Credits(5_000_000))));
        chain.fund(&key(ORGANISATION).public(), Credits(9 * BUDGET_MIN.0));
        let (deals, plans, booked, applied) = (Vec::new(), Vec::new(), Vec::new(), Applied::new());
        Self { chain, rng: Rng::new(seed ^ 0x11fe), deals, plans, booked, number: 0, applied }
    }

    fn step(&mut self) {
        self.number += 1;
        let (who, call) = self.next_call();
        let name = call.name();
        if self.chain.acting(&who).call(call).is_ok() {
            *self.applied.entry(name).or_default() += 1;
        }
        match self.rng.below(60) {
            0 => self.chain.advance(Millis(DAY_MS * (1 + self.rng.below(18)))),
            n if n < 20 => self.chain.advance(Millis(self.rng.below(5 * MINUTE_MS))),
            _ => {}
        }
    }

    fn one_of(&mut self, people: &[u8]) -> SecretKey {
        key(people[self.rng.below(people.len() as u64) as usize])
    }

    fn next_call(&mut self) -> (SecretKey, Call) {
        match self.rng.below(32) {
            0..4 => self.issue_or_move(),
            4..8 => self.open(),
            8..16 => self.act_in_session(),
            16..22 => self.act_on_stake(),
            22..24 => self.act_on_budget(),
            _ => self.act_on_slots(),
        }
    }

    fn issue_or_move(&mut self) -> (SecretKey, Call) {
        let issuer = self.chain.issuer().clone();
        let (from, to) = (self.one_of(&CLIENTS), self.one_of(&PROVIDERS).public());
        let amount = Credits(self.rng.below(3_000));
        match self.rng.below(4) {
            0 => (from, Call::Transfer { to, amount }),
            1 => (from, Call::Transfer { to: issuer.public(), amount }),
            2 => (issuer, Call::Burn { amount }),
            _ => (issuer, Call::Mint { to, amount }),
        }
    }

    fn open(&mut self) -> (SecretKey, Call) {
        let at = self.rng.below(CLIENTS.len() as u64);
        let (client, provider) = (key(CLIENTS[at as usize]), self.one_of(&PROVIDERS));
        let mut deal = Deal::new(&self.chain, &client, &provider);
        (deal.order.nonce, deal.terms.nonce) = (self.number, self.number);
        deal.hold = Credits(self.rng.below(900));
        let budget = self.plans.last().map(|plan| plan.budget_of(&key(ORGANISATION).public()));
        let call = match budget.filter(|_| self.rng.one_in(2)) {
            Some(budget) => deal.draw(budget, 1 + at as u16),
            None => deal.open(),
        };
        self.deals.push(deal);
        let old = self.deals.len().saturating_sub(DEALS_MAX);
        self.deals.drain(..old);
        (client, call)
    }

    fn act_in_session(&mut self) -> (SecretKey, Call) {
        if self.deals.is_empty() {
            return self.open();
        }
        let deal = self.deals[self.rng.below(self.deals.len() as u64) as usize].clone();
        let session = deal.session();
        let (client, provider) = (deal.client.clone(), deal.provider.clone());
        let collected = self.chain.state().session(&session).map_or(Credits(0), |known| known.collected);
        let lane = self.rng.below(3) as u16;
        let amount = Credits(self.rng.below(deal.hold.0 + 100));
        let vouchers = vec![deal.voucher(lane, self.number as u32, amount)];
        match self.rng.below(8) {
            0 => (client, Call::TopUp { session, amount }),
            1 | 2 => (provider, Call::Collect { session, vouchers }),
            3 => (provider, Call::Close { session, vouchers, release: None }),
            4 => (provider, Call::Close { session, vouchers: Vec::new(), release: None }),
            5 => (client, Call::Close { session, vouchers: Vec::new(), release: None }),
            6 => {
                let release = Some(Box::new(deal.release(collected)));
                (client, Call::Close { session, vouchers: Vec::new(), release })
            }
            _ => (key(STRANGER), Call::Expire { session }),
        }
    }

    fn act_on_stake(&mut self) -> (SecretKey, Call) {
        let provider = self.one_of(&PROVIDERS);
        let anyone = if self.rng.one_in(2) { provider.clone() } else { key(STRANGER) };
        let mut deal = Deal::new(&self.chain, &key(CLIENTS[0]), &provider);
        // So that the entry made last is the newest.
        deal.terms.nonce = self.number;
        let registration = Registration { sequence: self.number, ..deal.registration() };
        let device = deal.device();
        let bonded = self.chain.state().stake(&device).map_or(Credits(0), |stake| stake.bonded);
        let until = Timestamp(self.chain.now().0 + DAY_MS * (1 + self.rng.below(25)));
        match self.rng.below(12) {
            0..3 => (provider, Call::Register(Box::new(registration))),
            3..6 => (
                provider,
                Call::Bond { device, amount: Credits(BOND_MIN.0 + self.rng.below(900_000)), until },
            ),
            6 => (provider, Call::Unbond { device, amount: Credits(self.rng.below(bonded.0 + 1)) }),
            7 | 8 => (anyone, Call::Unbond { device, amount: bonded }),
            9 | 10 => (anyone, Call::Withdraw { device }),
            _ if self.rng.one_in(3) => (anyone, deal.slash()),
            _ => (provider, Call::Deregister { device }),
        }
    }

    fn act_on_slots(&mut self) -> (SecretKey, Call) {
        let state = self.chain.state();
        self.booked.retain(|(_, _, id)| state.reservation(id).is_some());
        if self.booked.is_empty() || self.rng.one_in(4) {
            return self.book();
        }
        let at = self.rng.below(self.booked.len() as u64) as usize;
        let (client, provider, reservation) = self.booked[at].clone();
        match self.rng.below(12) {
            0..3 => (client, Call::Demand { reservation }),
            3..6 => {
                let mut now = Deal::new(&self.chain, &client, &provider);
                now.advert.sequence = self.number;
                (provider, now.answer(reservation))
            }
            6..8 => {
                let mut now = Deal::new(&self.chain, &client, &provider).in_tier(Tier::Reserved);
                (now.order.nonce, now.terms.nonce, now.hold) = (self.number, self.number, Credits(900));
                now.terms.use_until = now.terms.use_until.min(Timestamp(self.chain.now().0 + 2 * MINUTE_MS));
                (client, now.draw_slot(reservation))
            }
            8 => (client, Call::GiveUp { reservation }),
            _ => (key(STRANGER), Call::Settle { reservation }),
        }
    }

    fn book(&mut self) -> (SecretKey, Call) {
        let (client, provider) = (self.one_of(&CLIENTS), self.one_of(&PROVIDERS));
        let deal = Deal::new(&self.chain, &client, &provider);
        if self.rng.one_in(2) {
            let challenger = key(CHALLENGER);
            let calibration = challenger.sign(deal.calibration(&challenger));
            return (provider, Call::Calibrate(Box::new(calibration)));
        }
        let offer = ReservationOffer { nonce: self.number, ..deal.reservation() };
        let call = deal.book(&offer);
        // Forgotten before the next look if the ledger refuses it.
        self.booked.push((client.clone(), provider, offer.id()));
        (client, call)
    }

    fn act_on_budget(&mut self) -> (SecretKey, Call) {
        let owner = key(ORGANISATION);
        let last = self.plans.last().cloned();
        match (self.rng.below(4), last) {
            (0, Some(plan)) => {
                let anyone = if self.rng.one_in(2) { owner.clone() } else { key(STRANGER) };
                (anyone, Call::CloseBudget { budget: plan.budget_of(&owner.public()) })
            }
            (1, Some(plan)) => {
                (owner, Call::Plan { plan: Box::new(plan), amount: Credits(self.rng.below(5_000)) })
            }
            _ => {
                let below = CLIENTS.map(|n| cap(Some(0), Some(&key(n).public()), Credits(1_500)));
                let caps = [cap(None, None, Credits(2_500))].into_iter().chain(below).collect();
                let plan = Plan { number: self.number, ..self.chain.plan(caps) };
                self.plans.push(plan.clone());
                (owner, Call::Plan { plan: Box::new(plan), amount: BUDGET_MIN })
            }
        }
    }
}
