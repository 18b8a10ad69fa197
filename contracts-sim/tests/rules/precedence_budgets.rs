//! Refusals about budgets have one order: of two faults, the one with the lower code gives the answer.

use gridhour_contracts_sim::{
    harness::{Chain, Deal, cap, key},
    ledger::reject::Reject,
    limits::BUDGET_MIN,
    tx::{Call, CapPlan, Open, Plan},
};
use gridhour_protocol::{id::BudgetId, market::tier::Tier, units::Credits};

use crate::precedence::pairs::{Fault, Setting, check};

const OWNER: u8 = 3;
const SPENDER: u8 = 1;

fn caps() -> Vec<CapPlan> {
    let whole = Credits(10 * BUDGET_MIN.0);
    vec![cap(None, None, whole), cap(Some(0), Some(&key(SPENDER).public()), whole)]
}

/// An owner with a credit more than the least, before there is a budget.
fn unplanned() -> Setting {
    let mut chain = Chain::new();
    let (sender, provider) = (key(OWNER), key(2));
    chain.fund(&sender.public(), Credits(2 * BUDGET_MIN.0));
    let deal = Deal::new(&chain, &key(SPENDER), &provider);
    let call = Call::Plan { plan: Box::new(chain.plan(caps())), amount: BUDGET_MIN };
    Setting { chain, deal, sender, call }
}

/// The same again, once there is one.
fn planned() -> Setting {
    let mut setting = unplanned();
    let (call, sender) = (setting.call.clone(), setting.sender.clone());
    setting.chain.acting(&sender).ok(call);
    setting
}

fn budget(setting: &Setting) -> BudgetId {
    setting.chain.plan(caps()).budget_of(&key(OWNER).public())
}

fn close_before(setting: &mut Setting) {
    // A session under it keeps it known.
    let other = Deal { hold: Credits(1), ..Deal::new(&setting.chain, &key(SPENDER), &key(9)) };
    let budget = budget(setting);
    setting.chain.acting(&key(SPENDER)).ok(other.draw(budget, 1));
    setting.chain.acting(&key(OWNER)).ok(Call::CloseBudget { budget });
}

fn plan(setting: &mut Setting) -> (&mut Plan, &mut Credits) {
    let Call::Plan { plan, amount } = &mut setting.call else { unreachable!("a plan") };
    (plan, amount)
}

const WEAK_SPENDER: Fault = |setting| plan(setting).0.caps[1].spender.as_mut().expect("one").0 = [0; 32];
const ENDLESS: Fault = |setting| plan(setting).0.until.0 = u64::MAX;
const UNPAID: Fault = |setting| *plan(setting).1 = Credits(3 * BUDGET_MIN.0);

#[test]
fn a_first_plan_is_refused_in_order() {
    check(
        unplanned,
        &[
            (Reject::Malformed, WEAK_SPENDER),
            (Reject::TooLittle, |setting| *plan(setting).1 = Credits(BUDGET_MIN.0 - 1)),
            (Reject::Lifetime, ENDLESS),
            (Reject::InsufficientBalance, UNPAID),
        ],
    );
}

#[test]
fn a_later_plan_is_refused_in_order() {
    check(
        planned,
        &[
            (Reject::Malformed, WEAK_SPENDER),
            (Reject::Lifetime, ENDLESS),
            (Reject::Halted, close_before),
            (Reject::PlanMismatch, |setting| plan(setting).0.period.0 += 1),
            (Reject::InsufficientBalance, UNPAID),
        ],
    );
}

#[test]
fn a_draw_is_refused_in_order() {
    fn drawing() -> Setting {
        let mut setting = planned();
        setting.deal.order.total_max = Credits(20 * BUDGET_MIN.0);
        let call = setting.deal.draw(budget(&setting), 1);
        Setting { sender: key(SPENDER), call, ..setting }
    }
    /// Changes the deal and signs it anew, so that no fault undoes another.
    fn redraw(setting: &mut Setting, change: fn(&mut Deal)) {
        change(&mut setting.deal);
        let signed = setting.deal.sign();
        **open(setting) = signed;
    }
    fn open(setting: &mut Setting) -> &mut Box<Open> {
        let Call::Draw { open, .. } = &mut setting.call else { unreachable!("a draw") };
        open
    }
    let unknown: Fault = |setting| {
        let Call::Draw { cap, .. } = &mut setting.call else { unreachable!("a draw") };
        *cap = 2;
    };
    let to_oneself: Fault = |setting| {
        redraw(setting, |deal| {
            deal.provider = deal.client.clone();
            deal.advert.provider = deal.client.public();
            deal.terms.provider = deal.client.public();
        });
    };
    check(
        drawing,
        &[
            (Reject::NotAsReserved, |setting| redraw(setting, |deal| deal.order.tier = Tier::Reserved)),
            (Reject::ZeroAmount, |setting| redraw(setting, |deal| deal.hold = Credits::ZERO)),
            (Reject::SameAccount, to_oneself),
            (Reject::UnknownBudget, unknown),
            (Reject::NotSpender, |setting| setting.sender = key(OWNER)),
            (Reject::Halted, close_before),
            (Reject::OverCap, |setting| redraw(setting, |deal| deal.hold.0 = 10 * BUDGET_MIN.0 + 1)),
            (Reject::PriceNotAsk, |setting| redraw(setting, |deal| deal.terms.price.0 -= 1)),
            (Reject::OverOrder, |setting| redraw(setting, |deal| deal.order.total_max = Credits(1))),
            (Reject::InsufficientBalance, |setting| redraw(setting, |deal| deal.hold.0 = BUDGET_MIN.0 + 1)),
        ],
    );
}

#[test]
fn a_close_is_refused_in_order() {
    fn closing() -> Setting {
        let setting = planned();
        let call = Call::CloseBudget { budget: budget(&setting) };
        Setting { call, ..setting }
    }
    check(
        closing,
        &[
            (Reject::UnknownBudget, |setting| setting.call = Call::CloseBudget { budget: BudgetId([9; 32]) }),
            (Reject::NotSpender, |setting| setting.sender = key(SPENDER)),
            (Reject::Halted, close_before),
        ],
    );
}
