//! The state as records, what is pruned, and what a refusal leaves behind.

use std::collections::BTreeMap;

use gridhour_contracts_sim::{
    block::propose,
    harness::{Chain, Deal, cap, key},
    ledger::{admit::Admitted, reject::Reject},
    limits::{BLOCK_TXS_MAX, BOND_MIN, BUDGET_MIN, CHECKPOINT_BLOCKS},
    state::{CURSOR_KEY, LoadError, Record, State},
    tx::{Call, Tx},
};
use gridhour_protocol::{
    market::reservation::ReservationOffer,
    units::{Credits, GpuNs, Height, Millis},
};

type Store = BTreeMap<Vec<u8>, Vec<u8>>;

fn write(store: &mut Store, records: Vec<Record>) {
    for (key, value) in records {
        match value {
            Some(value) => store.insert(key, value),
            None => store.remove(&key),
        };
    }
}

/// A chain with a bit of everything, and a store that took every block's changes.
fn lived() -> (Chain, Store) {
    let mut chain = Chain::new();
    let mut store = Store::new();
    write(&mut store, chain.state().records());
    let (client, provider) = (key(1), key(2));
    let deal = Deal::new(&chain, &client, &provider);
    let mut second = deal.clone();
    second.terms.nonce = 2;
    let session = deal.session();
    let collect = Call::Collect { session, vouchers: vec![deal.voucher(0, 1, Credits(100))] };
    let close = Call::Close { session, vouchers: vec![], release: None };
    let pay = Call::Transfer { to: key(3).public(), amount: Credits(600) };
    let issuer = chain.issuer().clone();
    let mint = Call::Mint { to: client.public(), amount: Credits(1_500) };
    let earn = Call::Mint { to: provider.public(), amount: Credits(3 * BOND_MIN.0) };
    let unbond = Call::Unbond { device: deal.device(), amount: Credits(1) };
    let plan = chain.plan(vec![cap(None, Some(&client.public()), Credits(900))]);
    let budget = plan.budget_of(&provider.public());
    let mut drawn = deal.clone();
    drawn.terms.nonce = 3;
    drawn.hold = Credits(10);
    let challenger = key(9);
    let measured = Call::Calibrate(Box::new(challenger.sign(deal.calibration(&challenger))));
    // So little that both have the money.
    let offer = ReservationOffer { capacity: GpuNs(36_000_000), ..deal.reservation() };
    let calls = [
        (&issuer, mint),
        (&client, deal.open()),
        (&client, second.open()),
        (&provider, collect),
        (&provider, close),
        (&client, pay),
        (&issuer, earn),
        (&provider, deal.register()),
        (&provider, deal.bond(BOND_MIN)),
        (&provider, unbond),
        (&provider, Call::Plan { plan: Box::new(plan), amount: BUDGET_MIN }),
        (&client, drawn.draw(budget, 0)),
        (&provider, measured),
        (&client, deal.book(&offer)),
    ];
    for (who, call) in calls {
        let admitted = Admitted::check(chain.sign(who, call)).unwrap();
        let proposal = propose(chain.state(), chain.operator(), chain.now(), vec![admitted.clone()]);
        assert_eq!(chain.block(vec![admitted]), proposal.answers);
        assert!(proposal.answers[0].is_ok());
        write(&mut store, proposal.batch.changes().records());
        write(&mut store, vec![chain.state().cursor().record()]);
    }
    (chain, store)
}

#[test]
fn changes_by_block_are_the_state() {
    let (chain, store) = lived();
    let mut whole = Store::new();
    write(&mut whole, chain.state().records());
    assert_eq!(store, whole);
    let loaded = State::from_records(chain.state().genesis().clone(), &store).unwrap();
    assert_eq!(loaded, *chain.state());
}

/// Writes the block of these transactions to the chain, and its changes to the store.
fn block(chain: &mut Chain, store: &mut Store, txs: Vec<Admitted>) {
    let proposal = propose(chain.state(), chain.operator(), chain.now(), txs.clone());
    if txs.is_empty() {
        chain.idle(1);
    }
    assert!(chain.block(txs).iter().all(Result::is_ok));
    write(store, proposal.batch.changes().records());
    write(store, vec![chain.state().cursor().record()]);
}

#[test]
fn names_of_a_block_share_records_and_go_with_them() {
    let mut chain = Chain::new();
    chain.fund(&key(1).public(), Credits(1_000));
    chain.idle(200);
    let mut store = Store::new();
    write(&mut store, chain.state().records());
    let pages = |store: &Store| store.keys().filter(|key| key[0] == b't').count();
    assert_eq!(pages(&store), 0, "the funding is forgotten");
    let pay = Call::Transfer { to: key(2).public(), amount: Credits(1) };
    let txs = (0..100).map(|_| Admitted::checked_before(chain.sign(&key(1), pay.clone()))).collect();
    block(&mut chain, &mut store, txs);
    assert_eq!(pages(&store), 3, "48, 48 and 4");
    assert_eq!(State::from_records(chain.state().genesis().clone(), &store).as_ref(), Ok(chain.state()));
    let parts: Vec<Vec<u8>> = store.keys().filter(|key| key[0] == b't').cloned().collect();
    for gone in &parts[..2] {
        let mut without = store.clone();
        without.remove(gone);
        let loaded = State::from_records(chain.state().genesis().clone(), &without);
        assert_eq!(loaded, Err(LoadError::IdPage(chain.state().tip().height.0)));
    }
    let mut swapped = store.clone();
    let page = swapped.get_mut(&parts[0]).unwrap();
    // Behind the count, 80 bytes a name.
    let (one, other) = page[8..].split_at_mut(80);
    one.swap_with_slice(&mut other[..80]);
    let loaded = State::from_records(chain.state().genesis().clone(), &swapped);
    assert_eq!(loaded, Err(LoadError::IdPage(chain.state().tip().height.0)));
    let mut twice = store.clone();
    twice.insert(parts[1].clone(), store[&parts[0]].clone());
    assert!(State::from_records(chain.state().genesis().clone(), &twice).is_err());
    for _ in 0..100 {
        assert_eq!(pages(&store), 3, "valid for 100 blocks");
        block(&mut chain, &mut store, Vec::new());
    }
    assert_eq!(pages(&store), 0, "and forgotten in the next");
    assert_eq!(State::from_records(chain.state().genesis().clone(), &store).as_ref(), Ok(chain.state()));
}

#[test]
fn a_name_is_free_in_the_block_behind_its_last_valid_one() {
    let mut chain = Chain::new();
    chain.fund(&key(1).public(), Credits(1_000));
    let pay = |amount| Call::Transfer { to: key(2).public(), amount: Credits(amount) };
    let first = chain.sign(&key(1), pay(1));
    let last = first.body.valid_until;
    chain.send(first.clone()).unwrap();
    let again = |valid_until: Height| Tx { valid_until, call: pay(2), ..first.body.clone() };
    chain.idle(last.0 - chain.state().tip().height.0 - 1);
    let tx = key(1).sign(again(Height(last.0 + 9)));
    assert_eq!(chain.send(tx.clone()), Err(Reject::NonceReused), "in its last block it is taken");
    chain.idle(1);
    assert!(chain.send(tx.clone()).is_ok());
    assert_eq!(chain.send(tx), Err(Reject::Duplicate));
    assert_eq!(chain.state().balance(&key(2).public()), Credits(3));
}

#[test]
fn damaged_records_are_refused_and_never_panic() {
    let (chain, store) = lived();
    let load = |store: &Store| State::from_records(chain.state().genesis().clone(), store);
    for key in store.keys() {
        let mut without = store.clone();
        without.remove(key);
        // A forgotten id or device contradicts nothing: only the block journal knows of it.
        assert!(load(&without).is_err() || b"td".contains(&key[0]), "without {key:?}");
        for cut in [0, 1, store[key].len() - 1] {
            let mut damaged = store.clone();
            damaged.get_mut(key).unwrap().truncate(cut);
            assert!(load(&damaged).is_err(), "{key:?} cut to {cut}");
        }
    }
    let mut foreign = store.clone();
    foreign.insert(b"x".to_vec(), vec![]);
    assert_eq!(load(&foreign), Err(LoadError::UnknownKey(1)));
    // A height that no ledger reaches would leave no room for the next block. The cursor begins with it.
    let mut absurd = store.clone();
    absurd.get_mut(CURSOR_KEY).unwrap()[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(load(&absurd), Err(LoadError::Absurd(u64::MAX)));
    foreign = store.clone();
    foreign.remove(CURSOR_KEY);
    assert_eq!(load(&foreign), Err(LoadError::NoCursor));
}

#[test]
fn a_state_at_a_checkpoint_must_have_its_root() {
    let (mut chain, _) = lived();
    chain.idle(CHECKPOINT_BLOCKS - chain.state().tip().height.0);
    let mut store = Store::new();
    write(&mut store, chain.state().records());
    assert_eq!(State::from_records(chain.state().genesis().clone(), &store).as_ref(), Ok(chain.state()));
    // Two accounts swap balances: every sum still fits.
    let accounts: Vec<_> = store.keys().filter(|key| key[0] == b'a').cloned().collect();
    let (one, two) = (store[&accounts[0]].clone(), store[&accounts[1]].clone());
    assert_ne!(one, two);
    store.insert(accounts[0].clone(), two);
    store.insert(accounts[1].clone(), one);
    let loaded = State::from_records(chain.state().genesis().clone(), &store);
    assert_eq!(loaded, Err(LoadError::WrongRoot(CHECKPOINT_BLOCKS)));
}

#[test]
fn a_refused_transaction_leaves_no_trace_in_its_block() {
    let (mut chain, _) = lived();
    let deal = Deal::new(&chain, &key(1), &key(2));
    let mut costly = Deal::new(&chain, &key(3), &key(2));
    costly.hold = Credits(1_000);
    let session = deal.session();
    let refused = [
        (key(1), Call::Transfer { to: key(2).public(), amount: Credits(5_000) }, Reject::InsufficientBalance),
        (key(1), Call::Mint { to: key(1).public(), amount: Credits(1) }, Reject::NotIssuer),
        (key(1), deal.open(), Reject::SessionExists),
        (key(2), Call::Expire { session }, Reject::UnknownSession),
        (key(3), costly.open(), Reject::InsufficientBalance),
    ];
    let good =
        Admitted::check(chain.sign(&key(3), Call::Transfer { to: key(1).public(), amount: Credits(1) }));
    let good = good.unwrap();
    let block = |txs| propose(chain.state(), chain.operator(), chain.now(), txs);
    let (alone, empty) = (block(vec![good.clone()]), block(vec![]));
    for (who, call, reject) in refused {
        let mut signing = chain.clone();
        let bad = Admitted::check(signing.sign(&who, call)).unwrap();
        let beside = block(vec![bad.clone(), good.clone(), bad.clone()]);
        assert_eq!((&beside.block, &beside.batch), (&alone.block, &alone.batch), "{}", reject.name());
        assert_eq!(beside.answers[0], Err(reject));
        assert_eq!(beside.answers[2], Err(reject));
        assert_eq!(block(vec![bad]).batch, empty.batch);
    }
}

#[test]
fn the_state_forgets_what_can_no_longer_matter() {
    let mut chain = Chain::new();
    chain.fund(&key(1).public(), Credits(100_000));
    for round in 0..20u64 {
        let mut deal = Deal::new(&chain, &key(1), &key(2));
        deal.order.nonce = round;
        chain.acting(&key(1)).ok(deal.open());
        let vouchers = vec![deal.voucher(0, 1, Credits(100))];
        chain.acting(&key(2)).ok(Call::Close { session: deal.session(), vouchers, release: None });
    }
    assert_eq!(chain.state().orders().count(), 20, "kept until they expire");
    chain.advance(Millis(30 * 60_000));
    chain.idle(101);
    let kinds: Vec<u8> = chain.state().records().iter().map(|(key, _)| key[0]).collect();
    assert_eq!(kinds, [b'a', b'a', b'c'], "two balances and the cursor are all that is left");
}

#[test]
fn a_full_block_says_so_and_the_rest_waits() {
    let mut chain = Chain::new();
    chain.fund(&key(1).public(), Credits(1_000_000));
    let mut txs = Vec::new();
    for _ in 0..BLOCK_TXS_MAX {
        let tx = chain.sign(&key(1), Call::Transfer { to: key(2).public(), amount: Credits(1) });
        txs.push(Admitted::checked_before(tx));
    }
    let last = txs.last().cloned().unwrap();
    let answers = propose(chain.state(), chain.operator(), chain.now(), txs).answers;
    let taken = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!((4_000..BLOCK_TXS_MAX).contains(&taken), "{taken}");
    assert!(answers[taken..].iter().all(|answer| *answer == Err(Reject::BlockFull)));
    assert!(Reject::BlockFull.is_transient());
    assert!(chain.block(vec![last])[0].is_ok());
}
