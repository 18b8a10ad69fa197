//! Budgets: a hold is the budget, and no more than itself; and a second ledger that counts in its own way.

use gridhour_contracts_sim::{
    block::{Signatures, verify_and_apply},
    harness::{Chain, Deal, cap, key},
    ledger::reject::Reject,
    limits::BUDGET_MIN,
    state::State,
    tx::{Call, CapPlan},
};
use gridhour_protocol::{
    id::BudgetId,
    units::{Credits, Millis},
};
use proptest::prelude::*;

const OWNER: u8 = 3;
const PROVIDER: u8 = 2;
const HOUR_MS: u64 = 60 * 60 * 1000;
/// Amount, parent and spender of each cap: an organisation of 1,000, a team of 600, three keys.
const TREE: [(u64, Option<u16>, Option<u8>); 5] = [
    (1_000, None, None),
    (600, Some(0), None),
    (400, Some(1), Some(11)),
    (400, Some(1), Some(12)),
    (900, Some(0), Some(13)),
];

fn caps() -> Vec<CapPlan> {
    let planned = |(amount, parent, spender): (u64, Option<u16>, Option<u8>)| {
        cap(parent, spender.map(|spender| key(spender).public()).as_ref(), Credits(amount))
    };
    TREE.map(planned).to_vec()
}

/// The place of the cap that `spender` spends under.
fn cap_of(spender: u8) -> u16 {
    let at = TREE.iter().position(|(_, _, known)| *known == Some(spender)).expect("a spender of the tree");
    u16::try_from(at).expect("a small tree")
}

fn budgeted() -> (Chain, BudgetId) {
    let mut chain = Chain::new();
    let budget = chain.open_budget(&key(OWNER), caps());
    (chain, budget)
}

fn deal(chain: &Chain, spender: u8, number: u64, hold: u64) -> Deal {
    let mut deal = Deal::new(chain, &key(spender), &key(PROVIDER));
    (deal.order.nonce, deal.terms.nonce, deal.hold) = (number, number, Credits(hold));
    // Between a budget's periods and its orders' own limit, only the first is looked at here.
    deal.order.total_max = Credits(100_000);
    deal
}

fn draw(chain: &mut Chain, budget: BudgetId, spender: u8, number: u64, hold: u64) -> Result<Deal, Reject> {
    let deal = deal(chain, spender, number, hold);
    let call = deal.draw(budget, cap_of(spender));
    chain.acting(&key(spender)).call(call).map(|_| deal)
}

fn end(deal: &Deal, paid: u64) -> Call {
    let vouchers = if paid > 0 { vec![deal.voucher(0, 1, Credits(paid))] } else { Vec::new() };
    Call::Close { session: deal.session(), vouchers, release: None }
}

fn used(chain: &Chain, budget: &BudgetId) -> [u64; 5] {
    let budget = chain.state().budget(budget).expect("it is open");
    let period = budget.period_at(chain.state().tip().time);
    core::array::from_fn(|at| budget.caps[at].used_in(period).0)
}

#[test]
fn a_hold_is_charged_to_every_cap_above() {
    let (mut chain, budget) = budgeted();
    draw(&mut chain, budget, 11, 1, 400).unwrap();
    draw(&mut chain, budget, 12, 2, 200).unwrap();
    assert_eq!(used(&chain, &budget), [600, 600, 400, 200, 0]);
    assert_eq!(draw(&mut chain, budget, 12, 3, 1).err(), Some(Reject::OverCap), "the team's");
    assert_eq!(draw(&mut chain, budget, 13, 4, 401).err(), Some(Reject::OverCap), "the organisation's");
    draw(&mut chain, budget, 13, 5, 400).unwrap();
    assert_eq!(used(&chain, &budget), [1_000, 600, 400, 200, 400]);
}

/// What a session turns out not to need is there again, in the same period and to the credit.
#[test]
fn a_hold_never_blocks_more_than_it_is() {
    let (mut chain, budget) = budgeted();
    let first = draw(&mut chain, budget, 11, 1, 400).unwrap();
    assert_eq!(draw(&mut chain, budget, 11, 2, 1).err(), Some(Reject::OverCap), "full, and nothing is spent");
    chain.acting(&key(PROVIDER)).ok(end(&first, 150));
    assert_eq!(used(&chain, &budget), [150, 150, 150, 0, 0]);
    assert_eq!(draw(&mut chain, budget, 11, 3, 251).err(), Some(Reject::OverCap));
    draw(&mut chain, budget, 11, 4, 250).unwrap();
}

#[test]
fn a_new_period_begins_with_whole_caps_and_old_holds_give_it_nothing() {
    let (mut chain, budget) = budgeted();
    let old = draw(&mut chain, budget, 11, 1, 400).unwrap();
    // Sessions of these tests last 12 minutes at most, so the last of the hour reach into the next.
    chain.acting(&key(PROVIDER)).ok(end(&old, 100));
    chain.advance(Millis(HOUR_MS - 60_000));
    let late = draw(&mut chain, budget, 11, 2, 300).unwrap();
    chain.advance(Millis(60_000));
    let new = draw(&mut chain, budget, 11, 3, 390).unwrap();
    assert_eq!(used(&chain, &budget), [390, 390, 390, 0, 0]);
    chain.acting(&key(PROVIDER)).ok(end(&late, 0));
    assert_eq!(used(&chain, &budget), [390, 390, 390, 0, 0], "300 came back, to the pot alone");
    chain.acting(&key(PROVIDER)).ok(end(&new, 0));
    assert_eq!(used(&chain, &budget), [0; 5]);
}

/// A top-up is charged when it is made; only what was charged in this period is given back in it.
#[test]
fn a_top_up_is_charged_to_its_own_period() {
    let (mut chain, budget) = budgeted();
    chain.advance(Millis(HOUR_MS - 60_000));
    let deal = draw(&mut chain, budget, 11, 1, 300).unwrap();
    let top_up = |amount| Call::TopUp { session: deal.session(), amount: Credits(amount) };
    chain.acting(&key(11)).expect(top_up(101), Reject::OverCap);
    chain.acting(&key(11)).ok(top_up(50));
    assert_eq!(used(&chain, &budget)[2], 350);
    chain.advance(Millis(60_000));
    chain.acting(&key(11)).expect(top_up(401), Reject::OverCap);
    chain.acting(&key(11)).ok(top_up(400));
    assert_eq!(used(&chain, &budget), [400, 400, 400, 0, 0]);
    chain.acting(&key(PROVIDER)).ok(end(&deal, 20));
    assert_eq!(used(&chain, &budget), [0; 5], "730 came back, 400 of them of this period");
    assert_eq!(chain.state().budget(&budget).unwrap().pot.0, BUDGET_MIN.0 - 20);
}

#[test]
fn who_is_halted_or_replaced_holds_nothing_more() {
    let (mut chain, budget) = budgeted();
    let open = draw(&mut chain, budget, 11, 1, 100).unwrap();
    let replan = |chain: &mut Chain, change: fn(&mut Vec<CapPlan>)| {
        let mut caps = caps();
        change(&mut caps);
        let plan = Box::new(chain.plan(caps));
        chain.acting(&key(OWNER)).call(Call::Plan { plan, amount: Credits::ZERO }).map(|_| ())
    };
    replan(&mut chain, |caps| caps[1].halted = true).unwrap();
    assert_eq!(draw(&mut chain, budget, 11, 2, 1).err(), Some(Reject::Halted), "the team is");
    let top_up = Call::TopUp { session: open.session(), amount: Credits(1) };
    chain.acting(&key(11)).expect(top_up, Reject::Halted);
    draw(&mut chain, budget, 13, 3, 100).expect("another branch");
    replan(&mut chain, |caps| caps[2].spender = Some(key(14).public())).unwrap();
    assert_eq!(draw(&mut chain, budget, 11, 4, 1).err(), Some(Reject::NotSpender));
    replan(&mut chain, |caps| caps[2].amount = Credits(99)).unwrap();
    assert_eq!(draw(&mut chain, budget, 11, 5, 1).err(), Some(Reject::OverCap), "less than is used");
    replan(&mut chain, |caps| caps.push(cap(Some(2), None, Credits(5)))).unwrap();
    let moved: [fn(&mut Vec<CapPlan>); 3] =
        [|_| {}, |caps| caps[2].parent = Some(0), |caps| caps.truncate(3)];
    for change in moved {
        assert_eq!(replan(&mut chain, change), Err(Reject::PlanMismatch), "there is a sixth cap now");
    }
    chain.acting(&key(PROVIDER)).ok(end(&open, 100));
}

/// The pot is money, and caps are not: who plans more than it pays in cannot spend it.
#[test]
fn a_pot_pays_no_more_than_is_in_it() {
    let mut chain = Chain::new();
    let rich = vec![cap(None, Some(&key(11).public()), Credits(u64::MAX))];
    let budget = chain.open_budget(&key(OWNER), rich);
    let over = Deal { hold: Credits(BUDGET_MIN.0 + 1), ..deal(&chain, 11, 1, 1) };
    let over = Deal {
        order: gridhour_protocol::market::order::Order { total_max: over.hold, ..over.order.clone() },
        ..over
    };
    chain.acting(&key(11)).expect(over.draw(budget, 0), Reject::InsufficientBalance);
    let all = Deal { hold: BUDGET_MIN, ..over };
    chain.acting(&key(11)).ok(all.draw(budget, 0));
    assert_eq!(chain.state().budget(&budget).unwrap().pot, Credits::ZERO);
}

#[derive(Clone, Debug)]
enum Step {
    Draw { spender: u8, hold: u64 },
    TopUp { which: usize, amount: u64 },
    End { which: usize, paid: u64 },
    Wait { minutes: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (11..14u8, 0..500u64).prop_map(|(spender, hold)| Step::Draw { spender, hold }),
        2 => (0..6usize, 0..300u64).prop_map(|(which, amount)| Step::TopUp { which, amount }),
        3 => (0..6usize, 0..500u64).prop_map(|(which, paid)| Step::End { which, paid }),
        1 => (1..9u64).prop_map(|minutes| Step::Wait { minutes }),
        1 => Just(Step::Wait { minutes: 55 }),
    ]
}

/// One session of the second ledger: what was held in it, and when.
struct Held {
    deal: Deal,
    spender: u8,
    /// Period and amount of every hold.
    holds: Vec<(u64, u64)>,
    /// Period of the end, and what was paid.
    ended: Option<(u64, u64)>,
    use_until: u64,
    deadline: u64,
}

impl Held {
    fn held(&self) -> u64 {
        self.holds.iter().map(|(_, amount)| amount).sum()
    }

    /// What it takes of the caps in `period`: what was held in it, less what came back in it.
    fn used_in(&self, period: u64) -> u64 {
        let last = self.holds.last().map_or(0, |(period, _)| *period);
        let charged =
            |of| self.holds.iter().filter(|(at, _)| *at == of).map(|(_, amount)| amount).sum::<u64>();
        let back = match self.ended {
            Some((at, paid)) if at == period && last == period => (self.held() - paid).min(charged(period)),
            _ => 0,
        };
        charged(period) - back
    }
}

/// The second ledger counts from the sessions each time, and keeps no sums.
fn used_under(sessions: &[Held], period: u64, at: usize) -> u64 {
    let is_below = |spender: u8| {
        let mut place = Some(cap_of(spender));
        while let Some(cap) = place.filter(|cap| usize::from(*cap) != at) {
            place = TREE[usize::from(cap)].1;
        }
        place.is_some()
    };
    sessions.iter().filter(|held| is_below(held.spender)).map(|held| held.used_in(period)).sum()
}

fn fits(sessions: &[Held], period: u64, spender: u8, amount: u64) -> bool {
    let mut place = Some(cap_of(spender));
    let mut fits = amount > 0;
    while let Some(cap) = place {
        let (limit, parent, _) = TREE[usize::from(cap)];
        fits &= used_under(sessions, period, usize::from(cap)) + amount <= limit;
        place = parent;
    }
    fits
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Every answer, every cap and the pot agree, every invariant holds after every block (the harness checks), and
    /// replaying the blocks gives the same state.
    #[test]
    fn two_ledgers_agree_about_budgets(steps in prop::collection::vec(step(), 1..60)) {
        let (mut chain, budget) = budgeted();
        let start = chain.now().0;
        let mut sessions: Vec<Held> = Vec::new();
        for (number, step) in steps.iter().enumerate() {
            let now = chain.now().0;
            let period = (now - start) / HOUR_MS;
            let (applied, expected) = match *step {
                Step::Draw { spender, hold } => {
                    let expected = fits(&sessions, period, spender, hold);
                    let drawn = draw(&mut chain, budget, spender, number as u64, hold);
                    let applied = drawn.is_ok();
                    sessions.extend(drawn.ok().map(|deal| Held {
                        use_until: deal.terms.use_until.0,
                        deadline: deal.terms.collect_until.0,
                        deal,
                        spender,
                        holds: vec![(period, hold)],
                        ended: None,
                    }));
                    (applied, expected)
                }
                Step::TopUp { which, amount } if which < sessions.len() => {
                    let Held { spender, ended, use_until, .. } = sessions[which];
                    let session = sessions[which].deal.session();
                    let expected = ended.is_none() && now <= use_until && fits(&sessions, period, spender, amount);
                    let call = Call::TopUp { session, amount: Credits(amount) };
                    let applied = chain.acting(&key(spender)).call(call).is_ok();
                    if applied {
                        sessions[which].holds.push((period, amount));
                    }
                    (applied, expected)
                }
                Step::End { which, paid } if which < sessions.len() => {
                    let held = &mut sessions[which];
                    let is_over = now > held.deadline;
                    let expected = held.ended.is_none() && (is_over || paid <= held.held());
                    let call = if is_over { Call::Expire { session: held.deal.session() } } else { end(&held.deal, paid) };
                    let applied = chain.acting(&key(PROVIDER)).call(call).is_ok();
                    if applied {
                        held.ended = Some((period, if is_over { 0 } else { paid }));
                    }
                    (applied, expected)
                }
                Step::Wait { minutes } => {
                    chain.advance(Millis(minutes * 60_000));
                    (true, true)
                }
                _ => (false, false),
            };
            prop_assert_eq!(applied, expected, "step {}: {:?}", number, step);
            let known = chain.state().budget(&budget).expect("nobody closes it");
            let period = (chain.state().tip().time.0 - start) / HOUR_MS;
            for (at, cap) in known.caps.iter().enumerate() {
                prop_assert_eq!(cap.used_in(period).0, used_under(&sessions, period, at), "cap {}", at);
            }
            let out: u64 = sessions.iter().map(|held| held.ended.map_or(held.held(), |(_, paid)| paid)).sum();
            prop_assert_eq!(known.pot.0, BUDGET_MIN.0 - out);
        }
        let mut replay = State::new(chain.state().genesis().clone()).unwrap();
        for block in chain.blocks() {
            verify_and_apply(&mut replay, block.clone(), Signatures::Check).unwrap();
        }
        prop_assert_eq!(&replay, chain.state());
    }
}
