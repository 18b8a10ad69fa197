//! Budgets, every state with every call: the table that docs/LEDGER.md shows is made here. And that every credit comes
//! home.

use gridhour_contracts_sim::{
    harness::{Chain, Deal, cap, key, table},
    ledger::reject::Reject,
    limits::BUDGET_MIN,
    tx::{Call, Plan},
};
use gridhour_protocol::{
    id::BudgetId,
    signed::SecretKey,
    units::{Credits, Millis},
};

const STATES: [&str; 6] = ["absent", "open", "halted", "overdue", "closed", "ended"];
const OWNER: u8 = 3;
const DAYS_31: Millis = Millis(31 * 24 * 60 * 60 * 1000);

struct Case {
    chain: Chain,
    /// The session that is open under the budget, except where it ended.
    first: Deal,
    /// One that could be opened.
    next: Deal,
    plan: Plan,
    budget: BudgetId,
}

fn plan_of(chain: &Chain, halted: bool) -> Plan {
    let mut caps = vec![cap(None, None, Credits(1_000)), cap(Some(0), Some(&key(1).public()), Credits(800))];
    caps[0].halted = halted;
    chain.plan(caps)
}

fn deal(chain: &Chain, number: u64) -> Deal {
    let mut deal = Deal::new(chain, &key(1), &key(2));
    (deal.order.nonce, deal.hold) = (number, Credits(100));
    deal
}

/// A budget in `state`, with a session open under it: it outlives the budget's end.
fn case(state: &str) -> Case {
    let mut chain = Chain::new();
    let owner = key(OWNER);
    chain.fund(&owner.public(), Credits(3 * BUDGET_MIN.0));
    let plan = plan_of(&chain, false);
    let budget = plan.budget_of(&owner.public());
    let mut first = deal(&chain, 1);
    if state != "absent" {
        chain.acting(&owner).ok(Call::Plan { plan: Box::new(plan), amount: BUDGET_MIN });
        if state == "overdue" {
            chain.advance(DAYS_31);
            first = deal(&chain, 1);
        }
        chain.acting(&key(1)).ok(first.draw(budget, 1));
    }
    if state == "halted" {
        let plan = Box::new(plan_of(&chain, true));
        chain.acting(&owner).ok(Call::Plan { plan, amount: Credits::ZERO });
    }
    if ["closed", "ended"].contains(&state) {
        chain.acting(&owner).ok(Call::CloseBudget { budget });
    }
    if state == "ended" {
        chain.acting(&key(2)).ok(end(&first));
    }
    let (next, plan) = (deal(&chain, 2), plan_of(&chain, state == "halted"));
    Case { chain, first, next, plan, budget }
}

fn end(deal: &Deal) -> Call {
    let vouchers = vec![deal.voucher(0, 1, Credits(30))];
    Call::Close { session: deal.session(), vouchers, release: None }
}

type MakeCall = fn(&Case) -> (SecretKey, Call);

const CALLS: [(&str, MakeCall); 9] = [
    ("plan, owner", |case| (key(OWNER), plan(case, |_| {}))),
    ("plan with a cap less, owner", |case| (key(OWNER), plan(case, |plan| plan.caps.truncate(1)))),
    ("draw, spender", |case| (key(1), case.next.draw(case.budget, 1))),
    ("draw, owner", |case| (key(OWNER), case.next.draw(case.budget, 1))),
    ("draw over the cap, spender", |case| (key(1), over(case).draw(case.budget, 1))),
    ("top-up, client", |case| (key(1), top_up(case))),
    ("close its session, provider", |case| (key(2), end(&case.first))),
    ("close-budget, owner", |case| (key(OWNER), Call::CloseBudget { budget: case.budget })),
    ("close-budget, anyone", |case| (key(9), Call::CloseBudget { budget: case.budget })),
];

fn plan(case: &Case, change: fn(&mut Plan)) -> Call {
    let mut plan = case.plan.clone();
    change(&mut plan);
    Call::Plan { plan: Box::new(plan), amount: BUDGET_MIN }
}

fn over(case: &Case) -> Deal {
    Deal { hold: Credits(801), ..case.next.clone() }
}

fn top_up(case: &Case) -> Call {
    Call::TopUp { session: case.first.session(), amount: Credits(50) }
}

#[test]
fn the_docs_show_the_table() {
    let docs = include_str!("../../../docs/LEDGER.md");
    let table = table(&STATES, &CALLS, |state, make| {
        let mut case = case(state);
        let (who, call) = make(&case);
        case.chain.acting(&who).answered(call)
    });
    assert!(docs.contains(&table), "docs/LEDGER.md must show:\n{table}");
}

/// Whoever closes it and whenever its sessions end, the owner is paid all that no provider earned.
#[test]
fn a_closed_budget_goes_home() {
    for (state, closer) in [("open", OWNER), ("halted", OWNER), ("overdue", OWNER), ("overdue", 9)] {
        let Case { mut chain, first, budget, .. } = case(state);
        chain.acting(&key(closer)).ok(Call::CloseBudget { budget });
        let owned = |chain: &Chain| chain.state().balance(&key(OWNER).public()).0;
        assert_eq!(owned(&chain), 3 * BUDGET_MIN.0 - 100, "{state}: all but the hold");
        chain.acting(&key(2)).ok(end(&first));
        assert_eq!(owned(&chain), 3 * BUDGET_MIN.0 - 30, "{state}: all but what was earned");
        assert_eq!(chain.state().budgets().count(), 0, "{state}");
        assert_eq!(chain.state().tip().totals.holds, Credits::ZERO);
    }
}

/// A session that nobody ends is ended by anyone after its deadline, and its hold goes where it came from.
#[test]
fn an_expired_hold_goes_back_to_the_pot() {
    let Case { mut chain, first, budget, .. } = case("open");
    chain.advance(Millis(13 * 60_000));
    chain.acting(&key(9)).ok(Call::Expire { session: first.session() });
    let known = chain.state().budget(&budget).expect("it is open");
    assert_eq!((known.pot, known.open, known.caps[1].used), (BUDGET_MIN, 0, Credits::ZERO));
    assert_eq!(chain.state().balance(&key(1).public()), Credits::ZERO, "nothing for the client itself");
}

#[test]
fn a_budget_begins_with_enough_and_ends() {
    let Case { mut chain, plan, .. } = case("absent");
    let with = |change: fn(&mut Plan), amount| {
        let mut plan = plan.clone();
        change(&mut plan);
        Call::Plan { plan: Box::new(plan), amount: Credits(amount) }
    };
    let enough = BUDGET_MIN.0;
    let calls = [
        (with(|_| {}, enough - 1), Reject::TooLittle),
        (with(|plan| plan.until.0 = 1, enough), Reject::Lifetime),
        (with(|plan| plan.until.0 += 400 * 24 * 60 * 60 * 1000, enough), Reject::Lifetime),
        (with(|_| {}, 4 * enough), Reject::InsufficientBalance),
        (with(|plan| plan.caps.clear(), enough), Reject::Malformed),
        (with(|plan| plan.period = Millis(59_999), enough), Reject::Malformed),
        (with(|plan| plan.caps[0].parent = Some(0), enough), Reject::Malformed),
        (with(|plan| plan.caps[1].parent = None, enough), Reject::Malformed),
        (with(|plan| plan.caps[1].parent = Some(1), enough), Reject::Malformed),
        (with(|plan| plan.caps = vec![plan.caps[0]; 65], enough), Reject::Malformed),
        (with(deepen, enough), Reject::Malformed),
        (with(|plan| plan.caps[1].spender.as_mut().unwrap().0 = [0; 32], enough), Reject::Malformed),
    ];
    for (call, reject) in calls {
        chain.acting(&key(OWNER)).expect(call, reject);
    }
    chain.acting(&key(OWNER)).ok(with(|_| {}, enough));
}

fn deepen(plan: &mut Plan) {
    plan.caps.extend((1..4).map(|parent| cap(Some(parent), None, Credits(1))));
}
