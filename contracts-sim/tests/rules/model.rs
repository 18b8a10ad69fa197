//! Random histories against a small second ledger that shares no code with the first.

mod reservations;
mod stakes;

use std::collections::BTreeMap;

use gridhour_contracts_sim::{
    block::{Block, CheckedBlock, Replay, Replayed, Signatures, verify_and_apply},
    harness::{Chain, Deal, key},
    limits::BOND_MIN,
    state::{Reservation, State},
    tx::Call,
};
use gridhour_protocol::{
    market::tier::Tier,
    signed::SecretKey,
    units::{Credits, Millis},
};
use proptest::prelude::*;

use self::{
    reservations::{Due, Reservations, ReserveStep, client, provider, reserve_step},
    stakes::{StakeStep, Stakes, stake_step},
};

const PEOPLE: u8 = 3;
/// The issuer also has a balance.
const ISSUER: u8 = 255;
const ORDER_LIMIT: u64 = 1_000;
const MINUTE_MS: u64 = 60_000;

#[derive(Clone, Debug)]
enum Step {
    Mint { to: u8, amount: u64 },
    Burn { amount: u64 },
    Transfer { from: u8, to: u8, amount: u64 },
    Open { client: u8, provider: u8, hold: u64, same_order: bool },
    TopUp { which: usize, by: u8, amount: u64 },
    Collect { which: usize, by: u8, lane: u16, sequence: u32, amount: u64 },
    Close { which: usize, by: u8, released: bool },
    Expire { which: usize },
    Stake(StakeStep),
    Reserve(ReserveStep),
    Wait { minutes: u64 },
    Retry,
}

fn step() -> impl Strategy<Value = Step> {
    let who = 1..=PEOPLE;
    let which = 0usize..4;
    prop_oneof![
        2 => (who.clone(), 0..800u64).prop_map(|(to, amount)| Step::Mint { to, amount }),
        1 => (0..300u64).prop_map(|amount| Step::Burn { amount }),
        2 => (who.clone(), prop_oneof![who.clone(), Just(ISSUER)], 0..500u64)
            .prop_map(|(from, to, amount)| Step::Transfer { from, to, amount }),
        4 => (who.clone(), who.clone(), 0..700u64, any::<bool>())
            .prop_map(|(client, provider, hold, same_order)| Step::Open { client, provider, hold, same_order }),
        2 => (which.clone(), who.clone(), 0..400u64).prop_map(|(which, by, amount)| Step::TopUp { which, by, amount }),
        5 => (which.clone(), who.clone(), 0..3u16, 0..6u32, 0..400u64)
            .prop_map(|(which, by, lane, sequence, amount)| Step::Collect { which, by, lane, sequence, amount }),
        2 => (which.clone(), who, any::<bool>()).prop_map(|(which, by, released)| Step::Close { which, by, released }),
        2 => which.prop_map(|which| Step::Expire { which }),
        8 => stake_step().prop_map(Step::Stake),
        2 => (1..5u64).prop_map(|minutes| Step::Wait { minutes }),
        // Bonds end, unbondings come due, and slashes are forgotten.
        1 => (8..18u64).prop_map(|days| Step::Wait { minutes: days * 24 * 60 }),
        1 => Just(Step::Retry),
    ]
}

fn staking() -> impl Strategy<Value = Step> {
    prop_oneof![
        9 => stake_step().prop_map(Step::Stake),
        2 => prop_oneof![1..18u64, 14..17u64].prop_map(|days| Step::Wait { minutes: days * 24 * 60 }),
    ]
}

/// Slots are booked, used, called for and missed; their sessions live as any others.
fn reserving() -> impl Strategy<Value = Step> {
    let which = || 0usize..4;
    let either = || prop_oneof![client(), provider()];
    prop_oneof![
        1 => (client(), 0..4_000u64).prop_map(|(to, amount)| Step::Mint { to, amount }),
        22 => reserve_step().prop_map(Step::Reserve),
        3 => (which(), client(), 0..400u64).prop_map(|(which, by, amount)| Step::TopUp { which, by, amount }),
        5 => (which(), provider(), 0..2u16, 0..6u32, 0..400u64)
            .prop_map(|(which, by, lane, sequence, amount)| Step::Collect { which, by, lane, sequence, amount }),
        5 => (which(), either(), any::<bool>())
            .prop_map(|(which, by, released)| Step::Close { which, by, released }),
        2 => which().prop_map(|which| Step::Expire { which }),
        7 => prop_oneof![3 => 1..4u64, 1 => 8..12u64].prop_map(|minutes| Step::Wait { minutes }),
        1 => Just(Step::Retry),
    ]
}

/// One session of the second ledger: plain numbers.
#[derive(Clone, Debug)]
struct Held {
    deal: Deal,
    client: u8,
    provider: u8,
    order: usize,
    held: u64,
    use_until: u64,
    deadline: u64,
    closing: bool,
    over: bool,
    lanes: BTreeMap<u16, (u32, u64)>,
    /// The reservation and the slot that pay for it, if not the client does.
    slot: Option<(usize, usize)>,
}

/// The second ledger.
#[derive(Default)]
struct Reference {
    balances: BTreeMap<u8, u64>,
    sessions: Vec<Held>,
    /// Held and spent by each order.
    orders: Vec<(u64, u64)>,
    stakes: Stakes,
    reservations: Reservations,
    issued: u64,
}

impl Reference {
    fn balance(&self, who: u8) -> u64 {
        self.balances.get(&who).copied().unwrap_or(0)
    }

    fn transfer(&mut self, from: u8, to: u8, amount: u64) -> bool {
        let fits = amount > 0 && from != to && self.balance(from) >= amount;
        if fits {
            *self.balances.entry(from).or_default() -= amount;
            *self.balances.entry(to).or_default() += amount;
        }
        fits
    }

    fn hold(&mut self, which: usize, amount: u64, now: u64) -> bool {
        let Held { client, order, slot, .. } = self.sessions[which];
        let (held, spent) = self.orders[order];
        if amount == 0 || held + spent + amount > ORDER_LIMIT {
            return false;
        }
        match slot {
            None if self.balance(client) < amount => return false,
            None => *self.balances.entry(client).or_default() -= amount,
            Some((reservation, _)) => {
                let Some((_, due)) = self.reservations.draw(reservation, amount, now) else { return false };
                self.pay(due);
            }
        }
        self.orders[order].0 += amount;
        self.sessions[which].held += amount;
        true
    }

    fn collect(&mut self, which: usize, by: u8, now: u64, lane: u16, new: (u32, u64)) -> bool {
        let session = &mut self.sessions[which];
        let (sequence, amount) = session.lanes.get(&lane).copied().unwrap_or((0, 0));
        let is_new = !session.lanes.contains_key(&lane) || new.0 > sequence;
        let allowed = !session.over && by == session.provider && now <= session.deadline;
        if !allowed || !is_new || new.1 < amount || new.1 - amount > session.held {
            return false;
        }
        let paid = new.1 - amount;
        session.lanes.insert(lane, new);
        session.held -= paid;
        let (provider, order) = (session.provider, session.order);
        self.orders[order].0 -= paid;
        self.orders[order].1 += paid;
        *self.balances.entry(provider).or_default() += paid;
        true
    }

    fn close(&mut self, which: usize, by: u8, now: u64, released: bool) -> bool {
        let session = &mut self.sessions[which];
        if session.over || now > session.deadline {
            return false;
        }
        if by == session.client && !released {
            let first = !session.closing;
            session.closing = true;
            session.deadline = session.deadline.min(now + 2 * MINUTE_MS);
            return first;
        }
        let allowed = (by == session.client && released) || (by == session.provider && !released);
        if allowed {
            self.refund(which);
        }
        allowed
    }

    fn expire(&mut self, which: usize, now: u64) -> bool {
        let due = !self.sessions[which].over && now > self.sessions[which].deadline;
        if due {
            self.refund(which);
        }
        due
    }

    fn stake(&mut self, step: &StakeStep, now: u64) -> bool {
        let Some(change) = self.stakes.step(step, now, &self.balances) else { return false };
        for (who, paid) in change.paid {
            *self.balances.entry(who).or_default() += paid;
        }
        if let Some((who, taken)) = change.taken {
            *self.balances.entry(who).or_default() -= taken;
        }
        self.issued = self.issued + change.minted - change.burned;
        true
    }

    fn refund(&mut self, which: usize) {
        let session = &mut self.sessions[which];
        session.over = true;
        let (client, order, held) = (session.client, session.order, std::mem::take(&mut session.held));
        let paid = match session.slot {
            None => vec![(client, held)],
            Some((reservation, slot)) => self.reservations.give_back(reservation, slot, held),
        };
        self.orders[order].0 -= held;
        self.pay(Due { paid, burned: 0 });
    }

    fn pay(&mut self, due: Due) {
        for (who, amount) in due.paid {
            *self.balances.entry(who).or_default() += amount;
        }
        self.issued -= due.burned;
    }
}

/// Both ledgers side by side.
#[derive(Default)]
struct Pair {
    chain: Chain,
    reference: Reference,
}

impl Pair {
    /// Devices that can be reserved, and people with some money.
    fn with_devices() -> Self {
        let mut pair = Self::default();
        for provider in reservations::PROVIDERS {
            let deal = reservations::deal(&pair.chain, 3, provider);
            pair.chain.ready_device(&deal);
            pair.reference.issued += BOND_MIN.0;
        }
        for to in 1..=PEOPLE {
            pair.step(&Step::Mint { to, amount: 100_000 });
        }
        pair
    }

    fn who(&self, n: u8) -> SecretKey {
        if n == ISSUER { self.chain.issuer().clone() } else { key(n) }
    }

    fn call(&mut self, by: u8, call: Call) -> bool {
        let who = self.who(by);
        self.chain.acting(&who).call(call).is_ok()
    }

    /// Makes one step on both, and returns what each of them said.
    fn step(&mut self, step: &Step) -> (bool, bool) {
        let now = self.chain.now().0;
        match *step {
            Step::Mint { to, amount } => {
                *self.reference.balances.entry(to).or_default() += amount;
                self.reference.issued += amount;
                (self.call(ISSUER, Call::Mint { to: key(to).public(), amount: Credits(amount) }), amount > 0)
            }
            Step::Burn { amount } => {
                let fits = amount > 0 && self.reference.balance(ISSUER) >= amount;
                if fits {
                    *self.reference.balances.entry(ISSUER).or_default() -= amount;
                    self.reference.issued -= amount;
                }
                (self.call(ISSUER, Call::Burn { amount: Credits(amount) }), fits)
            }
            Step::Transfer { from, to, amount } => {
                let call = Call::Transfer { to: self.who(to).public(), amount: Credits(amount) };
                (self.call(from, call), self.reference.transfer(from, to, amount))
            }
            Step::Open { client, provider, hold, same_order } => {
                self.open(client, provider, hold, same_order)
            }
            Step::Stake(ref step) => {
                let (by, call) = step.call(&self.chain, &self.reference.stakes);
                let expected = self.reference.stake(step, now);
                (self.call(by, call), expected)
            }
            Step::Reserve(ref step) => self.reserve(step, now),
            Step::Wait { minutes } => {
                self.chain.advance(Millis(minutes * MINUTE_MS));
                (true, true)
            }
            Step::Retry => {
                let last = self.chain.blocks().last().map(|block| block.txs[0].clone());
                let applied = last.is_some_and(|tx| self.chain.send(tx).is_ok());
                (applied, false)
            }
            Step::TopUp { which, .. }
            | Step::Collect { which, .. }
            | Step::Close { which, .. }
            | Step::Expire { which } => {
                if self.reference.sessions.is_empty() {
                    return (false, false);
                }
                self.step_in_session(step, which % self.reference.sessions.len(), now)
            }
        }
    }

    fn open(&mut self, client: u8, provider: u8, hold: u64, same_order: bool) -> (bool, bool) {
        let now = self.chain.now().0;
        let mut deal = Deal::new(&self.chain, &key(client), &key(provider));
        deal.hold = Credits(hold);
        let number = self.reference.sessions.len();
        deal.terms.nonce = number as u64;
        let last = self.reference.sessions.last().filter(|last| same_order && last.client == client);
        let order = match last {
            Some(last) => {
                deal.order = last.deal.order.clone();
                last.order
            }
            None => {
                deal.order.nonce = number as u64;
                self.reference.orders.push((0, 0));
                self.reference.orders.len() - 1
            }
        };
        let live = self.chain.now() < deal.order.expires_at;
        let (use_until, deadline) = (deal.terms.use_until.0, deal.terms.collect_until.0);
        self.reference.sessions.push(Held {
            deal: deal.clone(),
            client,
            provider,
            order,
            held: 0,
            use_until,
            deadline,
            closing: false,
            over: false,
            lanes: BTreeMap::new(),
            slot: None,
        });
        let expected = client != provider && live && self.reference.hold(number, hold, now);
        if !expected {
            self.reference.sessions.pop();
        }
        (self.call(client, deal.open()), expected)
    }

    fn reserve(&mut self, step: &ReserveStep, now: u64) -> (bool, bool) {
        let reservations = &mut self.reference.reservations;
        if let ReserveStep::Book { client, .. } = step {
            let (deal, offer) = reservations.offer(&self.chain, step);
            let call = deal.book(&offer);
            let paid = reservations.book(step, offer, &self.reference.balances);
            for (who, amount) in paid.into_iter().flatten() {
                *self.reference.balances.entry(who).or_default() -= amount;
            }
            return (self.call(*client, call), paid.is_some());
        }
        let (which, by) = step.place();
        let Some(at) = reservations.place(which) else { return (false, false) };
        let reservation = reservations.id(at);
        let (call, due) = match step {
            ReserveStep::Draw { hold, .. } => return self.draw(at, by, *hold, now),
            ReserveStep::Demand { .. } => (Call::Demand { reservation }, reservations.demand(at, by, now)),
            ReserveStep::Answer { .. } => {
                let (client, provider) = reservations.parties(at);
                let answer = reservations::deal(&self.chain, client, provider).answer(reservation);
                (answer, reservations.answer(at, by, now))
            }
            ReserveStep::GiveUp { .. } => (Call::GiveUp { reservation }, reservations.give_up(at, by, now)),
            _ => (Call::Settle { reservation }, reservations.settle(at, now)),
        };
        let expected = due.is_some();
        due.into_iter().for_each(|due| self.reference.pay(due));
        (self.call(by, call), expected)
    }

    /// A session of two minutes, and two to collect, out of the slot that runs.
    fn draw(&mut self, at: usize, by: u8, hold: u64, now: u64) -> (bool, bool) {
        let (client, provider) = self.reference.reservations.parties(at);
        let mut deal = reservations::deal(&self.chain, client, provider).in_tier(Tier::Reserved);
        let number = self.reference.sessions.len();
        (deal.hold, deal.terms.nonce, deal.order.nonce) = (Credits(hold), number as u64, number as u64);
        deal.terms.use_until.0 = now + 2 * MINUTE_MS;
        deal.terms.collect_until.0 = now + 4 * MINUTE_MS;
        let (use_until, deadline) = (deal.terms.use_until.0, deal.terms.collect_until.0);
        let fits = by == client && use_until <= self.reference.reservations.slot_end(at, now);
        let fits = fits && hold > 0 && hold <= ORDER_LIMIT;
        let drawn = fits.then(|| self.reference.reservations.draw(at, hold, now)).flatten();
        let expected = drawn.is_some();
        if let Some((slot, due)) = drawn {
            self.reference.pay(due);
            self.reference.orders.push((hold, 0));
            let order = self.reference.orders.len() - 1;
            let (deal, lanes) = (deal.clone(), BTreeMap::new());
            let slot = Some((at, slot));
            let (closing, over) = (false, false);
            let held = Held {
                deal,
                client,
                provider,
                order,
                held: hold,
                use_until,
                deadline,
                closing,
                over,
                lanes,
                slot,
            };
            self.reference.sessions.push(held);
        }
        (self.call(by, deal.draw_slot(self.reference.reservations.id(at))), expected)
    }

    fn step_in_session(&mut self, step: &Step, which: usize, now: u64) -> (bool, bool) {
        let Held { deal, use_until, deadline, closing, over, client, lanes, slot, .. } =
            self.reference.sessions[which].clone();
        let session = deal.session();
        match *step {
            Step::TopUp { by, amount, .. } => {
                let runs = slot.is_none_or(|(at, slot)| self.reference.reservations.runs(at, slot, now));
                let open = !over && !closing && by == client && now <= use_until.min(deadline) && runs;
                let expected = open && self.reference.hold(which, amount, now);
                (self.call(by, Call::TopUp { session, amount: Credits(amount) }), expected)
            }
            Step::Collect { by, lane, sequence, amount, .. } => {
                let vouchers = vec![deal.voucher(lane, sequence, Credits(amount))];
                let expected = self.reference.collect(which, by, now, lane, (sequence, amount));
                (self.call(by, Call::Collect { session, vouchers }), expected)
            }
            Step::Close { by, released, .. } => {
                let collected = lanes.values().map(|(_, amount)| amount).sum();
                let release = released.then(|| Box::new(deal.release(Credits(collected))));
                let expected = self.reference.close(which, by, now, released);
                (self.call(by, Call::Close { session, vouchers: vec![], release }), expected)
            }
            _ => (self.call(1, Call::Expire { session }), self.reference.expire(which, now)),
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let state = self.chain.state();
        for who in (1..=PEOPLE).chain([ISSUER]) {
            prop_assert_eq!(state.balance(&self.who(who).public()).0, self.reference.balance(who), "{}", who);
        }
        for held in &self.reference.sessions {
            let session = state.session(&held.deal.session());
            prop_assert_eq!(session.is_none(), held.over);
            prop_assert_eq!(session.map_or(0, |session| session.held.0), held.held);
        }
        for (owner, total) in self.reference.stakes.totals() {
            let device = stakes::deal(&self.chain, owner).device();
            let known = state.stake(&device).and_then(|stake| stake.total()).map_or(0, |total| total.0);
            prop_assert_eq!(known, total, "at stake by {}", owner);
        }
        for (reservation, held) in self.reference.reservations.held() {
            let known =
                state.reservation(&reservation).and_then(Reservation::total).map_or(0, |total| total.0);
            prop_assert_eq!(known, held, "{}", reservation);
        }
        prop_assert_eq!(state.tip().totals.issued.0, self.reference.issued);
        Ok(())
    }
}

/// Makes the steps on both ledgers: every answer and every balance agree, every invariant holds after every block (the
/// harness checks), and replaying the blocks gives the same state.
fn check_steps(pair: Pair, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut pair = pair;
    for (number, step) in steps.iter().enumerate() {
        let (applied, expected) = pair.step(step);
        prop_assert_eq!(applied, expected, "step {}: {:?}", number, step);
        pair.check()?;
    }
    for signatures in [Signatures::Check, Signatures::CheckedBefore] {
        let mut replay = State::new(pair.chain.state().genesis().clone()).unwrap();
        for block in pair.chain.blocks() {
            verify_and_apply(&mut replay, block.clone(), signatures).unwrap();
        }
        prop_assert_eq!(&replay, pair.chain.state());
        prop_assert_eq!(replay.root(), pair.chain.state().root());
    }
    let replay = with_the_log_behind(&pair.chain);
    prop_assert_eq!(&replay, pair.chain.state());
    prop_assert_eq!(replay.root(), pair.chain.state().root());
    Ok(())
}

/// All blocks as a node reads them back from its journal: they are entered in the log once the last is applied.
fn with_the_log_behind(chain: &Chain) -> State {
    let state = State::new(chain.state().genesis().clone()).unwrap();
    let operator = state.genesis().operator;
    let (mut replay, mut log) = Replay::start(state);
    let check = |block: &Block| CheckedBlock::check(block.clone(), &operator, Signatures::CheckedBefore);
    let applied: Vec<Replayed> =
        chain.blocks().iter().map(|block| replay.apply(&check(block).unwrap()).unwrap()).collect();
    applied.iter().for_each(|block| log.enter(block).unwrap());
    replay.end(log)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn two_ledgers_agree(steps in prop::collection::vec(step(), 1..60)) {
        check_steps(Pair::default(), &steps)?;
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// Stakes alone, so that long lives of them are seen: bonded, slashed, barred, bonded again.
    #[test]
    fn two_ledgers_agree_about_stakes(steps in prop::collection::vec(staking(), 1..80)) {
        check_steps(Pair::default(), &steps)?;
    }

    /// Reservations, with devices that can be reserved and money to do so.
    #[test]
    fn two_ledgers_agree_about_reservations(steps in prop::collection::vec(reserving(), 1..80)) {
        check_steps(Pair::with_devices(), &steps)?;
    }
}
