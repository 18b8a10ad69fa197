//! Stakes, every state with every call: the table that docs/LEDGER.md shows is made here. And that no credit is lost
//! in one.

use gridhour_contracts_sim::{
    harness::{Chain, Deal, key, table},
    ledger::reject::Reject,
    limits::{ACCUSATION_MS_MAX, BOND_MIN, BOND_MS_MAX, DISPUTE_WINDOW, UNBOND_DELAY, UNBONDINGS_MAX},
    tx::Call,
};
use gridhour_protocol::{
    signed::SecretKey,
    units::{Credits, Millis, Timestamp},
};

const STATES: [&str; 6] = ["absent", "bonded", "overdue", "unbonding", "due", "slashed"];
const STAKE: Credits = Credits(10_000_000);
const FUNDS: Credits = Credits(50_000_000);
const HOUR: Millis = Millis(60 * 60 * 1000);
/// Another provider, with a device of the same name.
const RIVAL: u8 = 8;

struct Case {
    chain: Chain,
    deal: Deal,
}

/// A registered device whose stake is in `state`: bonded for an hour, and overdue after two.
fn case(state: &str) -> Case {
    let mut chain = Chain::new();
    let (client, provider) = (key(1), key(2));
    for who in [&provider, &key(RIVAL)] {
        chain.fund(&who.public(), FUNDS);
    }
    let deal = Deal::new(&chain, &client, &provider);
    chain.acting(&provider).ok(deal.register());
    chain.acting(&key(RIVAL)).ok(deal.register());
    let mut case = Case { chain, deal };
    let device = case.deal.device();
    if state != "absent" {
        let until = Timestamp(case.chain.now().0 + HOUR.0);
        case.chain.acting(&provider).ok(Call::Bond { device, amount: STAKE, until });
    }
    if ["unbonding", "due"].contains(&state) {
        case.chain.acting(&provider).ok(Call::Unbond { device, amount: STAKE });
    }
    if state == "slashed" {
        case.chain.acting(&client).ok(case.deal.slash());
    }
    case.chain.advance(match state {
        "overdue" => Millis(2 * HOUR.0),
        // The last accusation over a session that opened before the unbonding was good for less long.
        "due" => UNBOND_DELAY,
        _ => Millis(0),
    });
    case
}

type MakeCall = fn(&Case) -> (SecretKey, Call);

const CALLS: [(&str, MakeCall); 10] = [
    ("bond, provider", |case| (key(2), bond(case, STAKE))),
    ("bond nothing more, provider", |case| (key(2), bond(case, Credits::ZERO))),
    ("bond, another provider", |case| (key(RIVAL), bond(case, STAKE))),
    ("unbond a part, provider", |case| (key(2), unbond(case, Credits(1)))),
    ("unbond all, provider", |case| (key(2), unbond(case, STAKE))),
    ("unbond a part, anyone", |case| (key(9), unbond(case, Credits(1)))),
    ("unbond all, anyone", |case| (key(9), unbond(case, STAKE))),
    ("withdraw, anyone", |case| (key(9), Call::Withdraw { device: case.deal.device() })),
    ("slash, anyone", |case| (key(9), case.deal.slash())),
    ("slash, provider", |case| (key(2), case.deal.slash())),
];

fn bond(case: &Case, amount: Credits) -> Call {
    let until = Timestamp(case.chain.now().0 + HOUR.0);
    Call::Bond { device: case.deal.device(), amount, until }
}

fn unbond(case: &Case, amount: Credits) -> Call {
    Call::Unbond { device: case.deal.device(), amount }
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

fn balance(chain: &Chain, who: u8) -> Credits {
    chain.state().balance(&key(who).public())
}

/// From every state and with the provider gone for ever, strangers bring every credit back to its account.
#[test]
fn money_has_a_way_home() {
    for state in ["bonded", "overdue", "unbonding", "due"] {
        let Case { mut chain, deal } = case(state);
        let device = deal.device();
        chain.advance(Millis(HOUR.0 + 1));
        let bonded = chain.state().stake(&device).expect("it is there").bonded;
        if bonded != Credits::ZERO {
            chain.acting(&key(9)).ok(Call::Unbond { device, amount: bonded });
        }
        chain.advance(UNBOND_DELAY);
        chain.acting(&key(9)).ok(Call::Withdraw { device });
        assert_eq!(balance(&chain, 2), FUNDS, "{state}");
        assert_eq!(chain.state().stake(&device), None, "{state}: an empty stake is forgotten");
        assert_eq!(chain.state().tip().totals.stakes, Credits::ZERO);
    }
}

/// A device whose entry is gone keeps its stake, and the stake its way home.
#[test]
fn a_stake_outlives_its_device() {
    let Case { mut chain, deal } = case("bonded");
    let device = deal.device();
    chain.acting(&key(2)).ok(Call::Deregister { device });
    chain.acting(&key(2)).expect(deal.bond(STAKE), Reject::UnknownDevice);
    chain.acting(&key(2)).ok(Call::Unbond { device, amount: STAKE });
    chain.advance(UNBOND_DELAY);
    chain.acting(&key(9)).ok(Call::Withdraw { device });
    assert_eq!(balance(&chain, 2), FUNDS);
}

#[test]
fn a_bond_ends_and_its_end_never_comes_nearer() {
    let Case { mut chain, deal } = case("bonded");
    let device = deal.device();
    let bond = |until| Call::Bond { device, amount: BOND_MIN, until: Timestamp(until) };
    let now = chain.now().0;
    chain.acting(&key(2)).expect(bond(now), Reject::Lifetime);
    chain.acting(&key(2)).expect(bond(now + BOND_MS_MAX + 1), Reject::Lifetime);
    chain.acting(&key(2)).ok(bond(now + 1));
    let until = |chain: &Chain| chain.state().stake(&device).expect("it is there").until.0;
    assert_eq!(until(&chain), now + HOUR.0, "an earlier end changes nothing");
    chain.acting(&key(2)).ok(bond(now + BOND_MS_MAX));
    assert_eq!(until(&chain), now + BOND_MS_MAX);
    chain.advance(HOUR);
    let (before, end) = (balance(&chain, 2), Timestamp(now + HOUR.0 + BOND_MS_MAX));
    chain.acting(&key(2)).ok(Call::Bond { device, amount: Credits::ZERO, until: end });
    assert_eq!((until(&chain), balance(&chain, 2)), (end.0, before), "a bond of nothing moves the end alone");
    let less = Credits(BOND_MIN.0 - 1);
    chain
        .acting(&key(2))
        .expect(Call::Bond { device, amount: less, until: chain_end(now) }, Reject::TooLittle);
}

fn chain_end(now: u64) -> Timestamp {
    Timestamp(now + HOUR.0)
}

/// Until the millisecond of its deadline an unbonding stays; each has its own.
#[test]
fn unbondings_are_released_each_in_its_time() {
    let Case { mut chain, deal } = case("bonded");
    let device = deal.device();
    for _ in 0..UNBONDINGS_MAX {
        chain.acting(&key(2)).ok(Call::Unbond { device, amount: Credits(1) });
        chain.advance(Millis(10));
    }
    chain.acting(&key(2)).expect(Call::Unbond { device, amount: Credits(1) }, Reject::UnbondingsFull);
    chain.acting(&key(2)).expect(Call::Unbond { device, amount: STAKE }, Reject::OverStake);
    let first = chain.now().0 - 10 * UNBONDINGS_MAX as u64 + UNBOND_DELAY.0;
    chain.advance(Millis(first - 1 - chain.now().0));
    chain.acting(&key(9)).expect(Call::Withdraw { device }, Reject::NothingDue);
    chain.advance(Millis(1));
    chain.acting(&key(9)).ok(Call::Withdraw { device });
    assert_eq!(balance(&chain, 2).0, FUNDS.0 - STAKE.0 + 1, "one of them");
    chain.acting(&key(9)).expect(Call::Withdraw { device }, Reject::NothingDue);
    chain.advance(Millis(10 * UNBONDINGS_MAX as u64));
    chain.acting(&key(9)).ok(Call::Withdraw { device });
    assert_eq!(balance(&chain, 2).0, FUNDS.0 - STAKE.0 + UNBONDINGS_MAX as u64, "all that are due at once");
}

/// Whoever was at stake when a session opened is so when the last accusation over it may come.
#[test]
fn an_unbonding_outlasts_every_accusation() {
    let Case { mut chain, mut deal } = case("bonded");
    let device = deal.device();
    chain.fund(&deal.client.public(), Credits(10_000));
    let day = 24 * HOUR.0;
    deal.terms.use_until = Timestamp(chain.now().0 + day);
    deal.terms.collect_until = Timestamp(deal.terms.use_until.0 + 7 * day);
    deal.order.expires_at = deal.terms.use_until;
    chain.acting(&deal.client).ok(deal.open());
    chain.acting(&key(2)).ok(Call::Unbond { device, amount: STAKE });
    chain.advance(Millis(ACCUSATION_MS_MAX));
    assert_eq!(chain.now().0, deal.terms.collect_until.0 + DISPUTE_WINDOW.0, "the last moment");
    chain.acting(&key(9)).expect(Call::Withdraw { device }, Reject::NothingDue);
    let before = chain.snapshot();
    chain.acting(&key(9)).ok(deal.slash());
    chain.revert(before);
    chain.advance(Millis(1));
    chain.acting(&key(9)).expect(deal.slash(), Reject::AccusationOver);
}
