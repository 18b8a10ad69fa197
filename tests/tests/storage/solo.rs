//! The sequencer: nobody hears of what is not durable, and nobody holds up the others.

use std::sync::Arc;

use gridhour_contracts_sim::{
    harness::{Chain, Deal, START, cap, key},
    ledger::reject::Reject,
    limits::{BLOCK_TXS_MAX, BOND_MIN, BUDGET_MIN, UNBOND_DELAY, UNBONDINGS_MAX},
    state::TxKey,
    tx::{Call, Tx},
};
use gridhour_node::{
    consensus::{
        Accepted, Ordering, SubmitError,
        expiry::{Due, expire_tx, expired},
        ledger_time::ClockError,
        solo::{Solo, StartError},
    },
    store::{ledger_dir::Ledger, state_store::MemoryStore},
};
use gridhour_protocol::units::{Credits, Height, Millis, Timestamp};
use testkit::sim::{disk::SimDisk, rng::Rng};

use crate::{
    scale,
    world::{
        EACH, PEOPLE, account, check_ledger, clock, genesis, mints, operator, pay, sign, start, submit,
        submit_all, wait,
    },
};

fn open(disk: &SimDisk, store: &MemoryStore) -> Ledger {
    Ledger::open_on(Arc::new(disk.clone()), Box::new(store.clone()), &genesis()).expect("opens")
}

/// A ledger in memory where everyone has their money.
fn funded() -> Solo {
    let solo = start(open(&SimDisk::new(1), &MemoryStore::default()));
    for mint in mints() {
        submit(&solo, mint).expect("accepted");
    }
    solo
}

fn check(solo: &Solo) {
    solo.view().read(|state| check_ledger(state, solo.view().journal()));
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_that_was_answered() {
    for seed in 0..4 * scale() {
        let whole = SimDisk::new(seed);
        run(&whole, &MemoryStore::default());
        for at in 0..whole.operations() {
            let (disk, store) = (SimDisk::new(seed), MemoryStore::default());
            disk.cut_power_at(at);
            let accepted = run(&disk, &store);
            // The index may be ahead of nothing and behind anything: the journal was durable before it heard of a block.
            if at % 2 == 0 {
                store.cut_power();
            }
            let ledger = open(&disk.after_power_cut(), &store);
            check_ledger(&ledger.state, &ledger.journal.reader());
            for (key, accepted) in accepted {
                let found = ledger.state.applied(&key);
                let found =
                    found.map(|found| Accepted { tx: found.id, height: found.height, leaf: found.leaf });
                assert_eq!(found, Some(accepted), "seed {seed}, power cut at operation {at}");
            }
        }
    }
}

/// Submits one transaction after the other until the power is cut. Returns what was answered.
fn run(disk: &SimDisk, store: &MemoryStore) -> Vec<(TxKey, Accepted)> {
    let mut accepted = Vec::new();
    let Ok(ledger) = Ledger::open_on(Arc::new(disk.clone()), Box::new(store.clone()), &genesis()) else {
        return accepted;
    };
    let solo = start(ledger);
    for tx in mints().into_iter().chain((0..8).map(|nonce| pay(1, 2, 10, nonce))) {
        let key = TxKey { sender: tx.body.sender, nonce: tx.body.nonce };
        match submit(&solo, tx) {
            Ok(answer) => accepted.push((key, answer)),
            Err(SubmitError::Stopped(reason)) => {
                assert!(reason.contains("power is cut"), "{reason}");
                assert!(wait(solo.failed()).contains("power is cut"));
                return accepted;
            }
            Err(other) => panic!("{other}"),
        }
    }
    accepted
}

#[test]
fn many_at_once_conserve_money() {
    let payments = (0..400u64).map(|i| {
        let from = PEOPLE[(i % 4) as usize];
        let to = PEOPLE[((i + 1 + i / 4 % 3) % 4) as usize];
        pay(from, to, 1 + i * 7 % 90, i)
    });
    let (solo, answers) = submit_all(funded(), payments.collect());
    let accepted: Vec<Accepted> = answers.iter().filter_map(|answer| answer.as_ref().ok().copied()).collect();
    let broke = SubmitError::Rejected(Reject::InsufficientBalance);
    assert!(answers.iter().all(|answer| answer.is_ok() || *answer == Err(broke.clone())), "{answers:?}");
    assert!(accepted.len() >= 100);
    let mut leaves: Vec<u64> = accepted.iter().map(|accepted| accepted.leaf).collect();
    leaves.sort_unstable();
    let first = PEOPLE.len() as u64;
    assert!(leaves.iter().copied().eq(first..first + accepted.len() as u64), "each has a leaf of its own");
    let total = solo.view().read(|state| Credits::sum(PEOPLE.map(|n| state.balance(&account(n)))));
    assert_eq!(total, Some(Credits(EACH.0 * PEOPLE.len() as u64)));
    check(&solo);
}

/// In any order that they come in, each is judged alone: the bad ones are refused by name, and every good one is applied.
#[test]
fn one_invalid_item_never_makes_an_honest_node_withhold_or_drop_valid_ones() {
    let mut forged = pay(1, 2, 1, 100);
    forged.body.nonce = 101;
    let mut foreign = pay(1, 2, 1, 102).body;
    foreign.network.0[0] ^= 1;
    let long_ago = pay(1, 2, 1, 103).body;
    let bad = [
        (forged, Reject::BadSignature),
        (key(1).sign(foreign), Reject::WrongNetwork),
        (key(1).sign(Tx { valid_until: Height(1), ..long_ago }), Reject::ValidityOver),
        (pay(1, 2, 1_000_000, 104), Reject::InsufficientBalance),
        (pay(1, 1, 1, 105), Reject::SameAccount),
        (sign(&key(1), 106, Call::Mint { to: account(1), amount: Credits(5) }), Reject::NotIssuer),
    ];
    for seed in 0..8 * scale() {
        let bad = bad.iter().map(|(tx, reject)| (tx.clone(), Some(*reject)));
        let good = (0..24).map(|nonce| (pay(1, 2, 1, nonce), None));
        let mut mixed: Vec<_> = bad.chain(good).collect();
        let mut rng = Rng::new(seed);
        for last in (1..mixed.len()).rev() {
            mixed.swap(last, rng.below(last as u64 + 1) as usize);
        }
        let (txs, verdicts): (Vec<_>, Vec<_>) = mixed.into_iter().unzip();
        let (solo, answers) = submit_all(funded(), txs);
        for (answer, verdict) in answers.into_iter().zip(verdicts) {
            let refused = answer.err();
            assert_eq!(refused, verdict.map(SubmitError::Rejected), "seed {seed}");
        }
        solo.view().read(|state| assert_eq!(state.balance(&account(2)), Credits(EACH.0 + 24)));
        check(&solo);
    }
}

#[test]
fn handing_in_twice_moves_money_once() {
    let (disk, store) = (SimDisk::new(1), MemoryStore::default());
    let solo = start(open(&disk, &store));
    let (solo, _) = submit_all(solo, mints());
    let (solo, answers) = submit_all(solo, vec![pay(1, 2, 100, 7); 10]);
    let first = answers[0].clone().expect("accepted");
    assert!(answers.iter().all(|answer| *answer == Ok(first)), "{answers:?}");
    assert_eq!(submit(&solo, pay(1, 2, 101, 7)), Err(SubmitError::Rejected(Reject::NonceReused)));
    let height = solo.view().read(|state| state.tip().height);
    drop(solo);
    let solo = start(open(&disk, &store));
    assert_eq!(submit(&solo, pay(1, 2, 100, 7)), Ok(first), "the same answer after a restart");
    solo.view().read(|state| {
        assert_eq!(state.balance(&account(1)), Credits(EACH.0 - 100));
        assert_eq!(state.tip().height, height, "nothing new, so no block");
    });
    check(&solo);
}

#[test]
fn more_than_a_block_holds_goes_into_the_next() {
    let many = BLOCK_TXS_MAX as u64 + 500;
    let solo = start(open(&SimDisk::new(1), &MemoryStore::default()));
    let mint = |nonce| sign(&key(255), nonce, Call::Mint { to: account(1), amount: Credits(1) });
    let (solo, answers) = submit_all(solo, (0..many).map(mint).collect());
    assert!(answers.iter().all(Result::is_ok));
    solo.view().read(|state| assert_eq!(state.balance(&account(1)), Credits(many)));
    check(&solo);
}

#[test]
fn a_clock_that_was_set_makes_no_block() {
    let clock = clock();
    let ledger = open(&SimDisk::new(1), &MemoryStore::default());
    let solo = Solo::start(ledger, operator(), Box::new(clock.clone())).expect("starts");
    let mint = mints().remove(0);
    clock.set_wall(Timestamp(START.0 + 3_600_000));
    let expected = ClockError::Jump { expected: START, found: Timestamp(START.0 + 3_600_000) };
    assert_eq!(submit(&solo, mint.clone()), Err(SubmitError::Clock(expected)));
    assert_eq!(wait(solo.tick()), Err(SubmitError::Clock(expected)));
    clock.set_wall(START);
    assert_eq!(submit(&solo, mint).map(|accepted| accepted.height), Ok(Height(1)));
    clock.advance(Millis(3_600_000));
    assert_eq!(wait(solo.tick()), Ok(Height(2)));
    solo.view().read(|state| assert_eq!(state.tip().time, Timestamp(START.0 + 3_600_000)));
    check(&solo);
}

#[test]
fn after_the_deadline_nothing_is_held() {
    let clock = clock();
    let ledger = open(&SimDisk::new(1), &MemoryStore::default());
    let solo = Solo::start(ledger, operator(), Box::new(clock.clone())).expect("starts");
    mints().into_iter().for_each(|mint| assert!(submit(&solo, mint).is_ok()));
    let deal = Deal::new(&Chain::new(), &key(1), &key(2));
    submit(&solo, sign(&key(1), 1, deal.open())).expect("opens");
    let held = || solo.view().read(|state| state.tip().totals.holds);
    let due = || solo.view().read(|state| expired(state, state.tip().time));
    assert_eq!((held(), due()), (deal.hold, vec![]));
    clock.advance(Millis(12 * 60_000));
    wait(solo.tick()).expect("time passes");
    assert_eq!(due(), [], "at the deadline itself the provider may still collect");
    clock.advance(Millis(1));
    wait(solo.tick()).expect("time passes");
    assert_eq!(due(), [Due::Hold(deal.session())]);
    let release = solo.view().read(|state| expire_tx(state, &operator(), Due::Hold(deal.session())));
    let first = submit(&solo, release.clone()).expect("released");
    assert_eq!(submit(&solo, release), Ok(first), "twice is harmless");
    assert_eq!((held(), due()), (Credits(0), vec![]));
    solo.view().read(|state| assert_eq!(state.balance(&account(1)), EACH));
    check(&solo);
}

/// A provider that never comes back: the operator unbonds what its bond's end leaves, and pays it out.
#[test]
fn after_its_end_a_stake_goes_home() {
    let clock = clock();
    let ledger = open(&SimDisk::new(1), &MemoryStore::default());
    let solo = Solo::start(ledger, operator(), Box::new(clock.clone())).expect("starts");
    mints().into_iter().for_each(|mint| assert!(submit(&solo, mint).is_ok()));
    let deal = Deal::new(&Chain::new(), &key(1), &key(2));
    let (device, amount) = (deal.device(), BOND_MIN);
    let until = deal.order.issued_at.after(Millis(1_000)).expect("soon");
    let mint = Call::Mint { to: account(2), amount };
    submit(&solo, sign(&key(255), 99, mint)).expect("mints");
    submit(&solo, sign(&key(2), 1, deal.register())).expect("registers");
    submit(&solo, sign(&key(2), 2, Call::Bond { device, amount, until })).expect("bonds");
    let due = || solo.view().read(|state| expired(state, state.tip().time));
    let pass = |span| {
        clock.advance(span);
        wait(solo.tick()).expect("time passes");
        due()
    };
    let move_on = |due| {
        let tx = solo.view().read(|state| expire_tx(state, &operator(), due));
        let first = submit(&solo, tx.clone()).expect("moved on");
        assert_eq!(submit(&solo, tx), Ok(first), "twice is harmless");
    };
    assert_eq!(pass(Millis(until.since(solo_time(&solo)).0)), [], "at its end it is not over");
    let bond = Due::Bond { device, amount, until };
    assert_eq!(pass(Millis(1)), [bond]);
    move_on(bond);
    assert_eq!(due(), []);
    let release_at = solo_time(&solo).after(UNBOND_DELAY).expect("in time");
    assert_eq!(pass(Millis(UNBOND_DELAY.0 - 1)), []);
    assert_eq!(pass(Millis(1)), [Due::Unbonding { device, release_at }]);
    move_on(Due::Unbonding { device, release_at });
    assert_eq!(due(), []);
    solo.view().read(|state| assert_eq!(state.balance(&account(2)).0, EACH.0 + amount.0));
    check(&solo);
}

/// While as many unbondings wait as may, the rest of a bond is not due: the ledger would refuse it, over and over.
#[test]
fn a_bond_that_cannot_be_unbonded_yet_is_not_due() {
    let clock = clock();
    let ledger = open(&SimDisk::new(1), &MemoryStore::default());
    let solo = Solo::start(ledger, operator(), Box::new(clock.clone())).expect("starts");
    let deal = Deal::new(&Chain::new(), &key(1), &key(2));
    let (device, amount) = (deal.device(), BOND_MIN);
    let until = deal.order.issued_at.after(Millis(1_000)).expect("soon");
    submit(&solo, sign(&key(255), 99, Call::Mint { to: account(2), amount })).expect("mints");
    submit(&solo, sign(&key(2), 1, deal.register())).expect("registers");
    submit(&solo, sign(&key(2), 2, Call::Bond { device, amount, until })).expect("bonds");
    for n in 0..UNBONDINGS_MAX as u64 {
        let crumb = Call::Unbond { device, amount: Credits(1) };
        submit(&solo, sign(&key(2), 10 + n, crumb)).expect("unbonds");
    }
    let pass = |span| {
        clock.advance(span);
        wait(solo.tick()).expect("time passes");
        solo.view().read(|state| expired(state, state.tip().time))
    };
    assert_eq!(pass(Millis(2_000)), [], "the bond is over, and nothing can be done yet");
    let [due] = pass(UNBOND_DELAY)[..] else { panic!("the unbondings go home together") };
    assert!(matches!(due, Due::Unbonding { .. }), "{due:?}");
    let home = solo.view().read(|state| expire_tx(state, &operator(), due));
    submit(&solo, home).expect("withdrawn");
    let rest = Credits(amount.0 - UNBONDINGS_MAX as u64);
    assert_eq!(pass(Millis(0)), [Due::Bond { device, amount: rest, until }]);
    check(&solo);
}

/// An organisation that never comes back: the operator closes its budget.
#[test]
fn after_its_end_a_budget_goes_home() {
    let clock = clock();
    let ledger = open(&SimDisk::new(1), &MemoryStore::default());
    let solo = Solo::start(ledger, operator(), Box::new(clock.clone())).expect("starts");
    mints().into_iter().for_each(|mint| assert!(submit(&solo, mint).is_ok()));
    let mint = Call::Mint { to: account(2), amount: BUDGET_MIN };
    submit(&solo, sign(&key(255), 99, mint)).expect("mints");
    let plan = Chain::new().plan(vec![cap(None, None, Credits(5))]);
    let (budget, until) = (plan.budget_of(&account(2)), plan.until);
    let call = Call::Plan { plan: Box::new(plan), amount: BUDGET_MIN };
    submit(&solo, sign(&key(2), 1, call)).expect("plans");
    let due = || solo.view().read(|state| expired(state, state.tip().time));
    clock.advance(until.since(solo_time(&solo)));
    wait(solo.tick()).expect("time passes");
    assert_eq!(due(), [], "at its end it is not over");
    clock.advance(Millis(1));
    wait(solo.tick()).expect("time passes");
    assert_eq!(due(), [Due::Budget(budget)]);
    let close = solo.view().read(|state| expire_tx(state, &operator(), Due::Budget(budget)));
    submit(&solo, close).expect("closed");
    assert_eq!(due(), []);
    solo.view().read(|state| assert_eq!(state.balance(&account(2)).0, EACH.0 + BUDGET_MIN.0));
    check(&solo);
}

/// Client and provider that never come back: the operator settles every slot as it ends.
#[test]
fn after_its_slots_a_reservation_goes_home() {
    let clock = clock();
    let ledger = open(&SimDisk::new(1), &MemoryStore::default());
    let solo = Solo::start(ledger, operator(), Box::new(clock.clone())).expect("starts");
    let deal = Deal::new(&Chain::new(), &key(1), &key(2));
    let (offer, challenger) = (deal.reservation(), key(3));
    let (price, bond) = (offer.price_of(offer.slots), offer.bond(0));
    let calibration = Call::Calibrate(Box::new(challenger.sign(deal.calibration(&challenger))));
    let calls = [
        (key(255), Call::Mint { to: account(1), amount: price }),
        (key(255), Call::Mint { to: account(2), amount: Credits(BOND_MIN.0 + bond.0) }),
        (key(2), deal.register()),
        (key(2), calibration),
        (key(2), deal.bond(BOND_MIN)),
        (key(1), deal.book(&offer)),
    ];
    for (nonce, (who, call)) in calls.into_iter().enumerate() {
        submit(&solo, sign(&who, nonce as u64, call)).expect("applied");
    }
    let due = |at: Timestamp| {
        clock.advance(at.since(solo_time(&solo)));
        wait(solo.tick()).expect("time passes");
        solo.view().read(|state| expired(state, state.tip().time))
    };
    let balances = || solo.view().read(|state| [1, 2].map(|who| state.balance(&account(who)).0));
    assert_eq!(due(Timestamp(offer.start_of(1).0 - 1)), []);
    for (at, first, share) in [(1, 0, 1), (4, 1, 4)] {
        let slots = Due::Slots { reservation: offer.id(), first };
        assert_eq!(due(offer.start_of(at)), [slots]);
        let tx = solo.view().read(|state| expire_tx(state, &operator(), slots));
        let applied = submit(&solo, tx.clone()).expect("settled");
        assert_eq!(submit(&solo, tx), Ok(applied), "twice is harmless");
        let standby = offer.standby_of(offer.slot_price()).0;
        let home = if at == offer.slots { bond.0 } else { 0 };
        assert_eq!(balances(), [share * (offer.slot_price().0 - standby), share * standby + home]);
    }
    assert_eq!(due(offer.start_of(4)), [], "nothing is left to settle");
    check(&solo);
}

fn solo_time(solo: &Solo) -> Timestamp {
    solo.view().read(|state| state.tip().time)
}

#[test]
fn only_the_operator_orders() {
    let ledger = open(&SimDisk::new(1), &MemoryStore::default());
    let started = Solo::start(ledger, key(1), Box::new(clock())).map(|_| ());
    assert!(matches!(started, Err(StartError::NotOperator { .. })));
}

#[test]
fn readers_follow_the_tip() {
    let solo = funded();
    let mut tip = solo.view().tip();
    assert_eq!(*tip.borrow_and_update(), Height(4));
    submit(&solo, pay(1, 2, 1, 0)).expect("accepted");
    assert!(tip.has_changed().expect("the ledger runs"));
    assert_eq!(*tip.borrow_and_update(), Height(5));
    let all = solo.view().blocks(Height(1), 100, usize::MAX).expect("reads");
    assert_eq!(all.len(), 5);
    assert_eq!(solo.view().blocks(Height(2), 2, usize::MAX).expect("reads"), all[1..3]);
    assert_eq!(solo.view().blocks(Height(1), 100, all[0].len() + all[1].len()).expect("reads"), all[..2]);
    assert_eq!(solo.view().blocks(Height(6), 100, usize::MAX).expect("reads"), Vec::<Vec<u8>>::new());
}
