//! What a thief tries first: the same thing twice.

use gridhour_contracts_sim::{
    harness::{Chain, Deal, key},
    ledger::reject::Reject,
    tx::Call,
};
use gridhour_protocol::{
    merkle,
    session::voucher::Voucher,
    signed::Signed,
    units::{Credits, Millis},
};

fn opened() -> (Chain, Deal) {
    let mut chain = Chain::new();
    let (client, provider) = (key(1), key(2));
    chain.fund(&client.public(), Credits(10_000));
    let deal = Deal::new(&chain, &client, &provider);
    chain.acting(&client).ok(deal.open());
    (chain, deal)
}

fn collect(deal: &Deal, vouchers: Vec<Signed<Voucher>>) -> Call {
    Call::Collect { session: deal.session(), vouchers }
}

fn close(deal: &Deal, vouchers: Vec<Signed<Voucher>>) -> Call {
    Call::Close { session: deal.session(), vouchers, release: None }
}

#[test]
fn a_voucher_pays_once() {
    let (mut chain, deal) = opened();
    let voucher = deal.voucher(0, 7, Credits(100));
    let mut provider = chain.acting(&deal.provider);
    provider.ok(collect(&deal, vec![voucher.clone()]));
    provider.expect(collect(&deal, vec![voucher.clone()]), Reject::VoucherStale);
    provider.expect(close(&deal, vec![voucher.clone()]), Reject::VoucherStale);
    provider.expect(collect(&deal, vec![voucher.clone(), voucher]), Reject::VoucherStale);
    assert_eq!(chain.state().balance(&deal.provider.public()), Credits(100));
}

#[test]
fn a_lane_is_cumulative() {
    let (mut chain, deal) = opened();
    let one = |lane, sequence, amount| collect(&deal, vec![deal.voucher(lane, sequence, Credits(amount))]);
    let mut provider = chain.acting(&deal.provider);
    provider.ok(one(0, 1, 100));
    provider.ok(one(0, 2, 130));
    provider.expect(one(0, 1, 300), Reject::VoucherStale);
    provider.expect(one(0, 3, 129), Reject::VoucherLower);
    provider.ok(one(0, 4, 130));
    provider.ok(one(3, 0, 270));
    provider.expect(one(3, 1, 271), Reject::OverHold);
    assert_eq!(chain.state().balance(&deal.provider.public()), Credits(400), "all that was held");
}

#[test]
fn lanes_together_never_exceed_the_hold() {
    let (mut chain, deal) = opened();
    let both = |a, b| vec![deal.voucher(0, 1, Credits(a)), deal.voucher(1, 1, Credits(b))];
    let mut provider = chain.acting(&deal.provider);
    provider.expect(collect(&deal, both(200, 201)), Reject::OverHold);
    provider.expect(collect(&deal, both(u64::MAX, u64::MAX)), Reject::OverHold);
    let swapped = both(200, 200).into_iter().rev().collect();
    provider.expect(collect(&deal, swapped), Reject::VoucherLanes);
    let twice = vec![deal.voucher(0, 1, Credits(1)), deal.voucher(0, 2, Credits(2))];
    provider.expect(collect(&deal, twice), Reject::VoucherLanes);
    provider.expect(collect(&deal, vec![]), Reject::NoVouchers);
    provider.ok(collect(&deal, both(200, 200)));
}

#[test]
fn a_voucher_is_for_its_session_and_its_client() {
    let (mut chain, deal) = opened();
    let good = deal.voucher(0, 1, Credits(100)).body;
    let mut other_session = good.clone();
    other_session.session.0[0] ^= 1;
    let calls = [
        (collect(&deal, vec![deal.client.sign(other_session)]), Reject::VoucherSession),
        // The provider signs its own voucher.
        (
            collect(
                &deal,
                vec![deal.provider.sign(Voucher { client: deal.provider.public(), ..good.clone() })],
            ),
            Reject::VoucherSession,
        ),
        (collect(&deal, vec![deal.provider.sign(good.clone())]), Reject::BadVoucherSignature),
        (collect(&deal, vec![deal.client.sign(Voucher { lane: 16, ..good })]), Reject::Malformed),
    ];
    for (call, reject) in calls {
        chain.acting(&deal.provider).expect(call, reject);
    }
}

#[test]
fn receipts_are_counted_and_never_shrink() {
    let (mut chain, deal) = opened();
    let voucher = |sequence, receipts| {
        let body = deal.voucher(0, sequence, Credits(10)).body;
        collect(
            &deal,
            vec![deal.client.sign(Voucher { receipts, receipts_root: merkle::leaf_hash(b"r"), ..body })],
        )
    };
    chain.acting(&deal.provider).ok(voucher(1, 3));
    chain.acting(&deal.provider).expect(voucher(2, 2), Reject::ReceiptsShrink);
    let entry = chain.acting(&deal.provider).ok(voucher(2, 5));
    assert_eq!(chain.state().tip().totals.receipts, 5);
    assert_eq!(entry.event.lanes()[0].receipts_root, merkle::leaf_hash(b"r"), "the log holds the root");
}

#[test]
fn an_order_never_pays_more_than_its_limit() {
    let (mut chain, deal) = opened();
    let mut second = deal.clone();
    second.terms.nonce = 2;
    second.hold = Credits(601);
    chain.acting(&deal.client).expect(second.open(), Reject::OverOrder);
    second.hold = Credits(600);
    chain.acting(&deal.client).ok(second.open());
    let top_up = Call::TopUp { session: deal.session(), amount: Credits(1) };
    chain.acting(&deal.client).expect(top_up.clone(), Reject::OverOrder);
    // What is refunded can be held again; what is spent cannot.
    chain.acting(&deal.provider).ok(close(&deal, vec![deal.voucher(0, 1, Credits(300))]));
    let top_up = |amount| Call::TopUp { session: second.session(), amount: Credits(amount) };
    chain.acting(&deal.client).expect(top_up(101), Reject::OverOrder);
    chain.acting(&deal.client).ok(top_up(100));
}

#[test]
fn a_session_never_opens_twice_so_its_vouchers_never_pay_again() {
    let (mut chain, deal) = opened();
    chain.acting(&deal.client).expect(deal.open(), Reject::SessionExists);
    chain.acting(&deal.provider).ok(close(&deal, vec![deal.voucher(0, 1, Credits(100))]));
    assert!(chain.state().session(&deal.session()).is_none(), "it is pruned");
    chain.acting(&deal.client).expect(deal.open(), Reject::SessionExists);
    chain.advance(Millis(30 * 60_000));
    chain.idle(1);
    assert!(chain.state().orders().next().is_none(), "the order expired and is pruned");
    chain.acting(&deal.client).expect(deal.open(), Reject::OrderNotLive);
}

#[test]
fn an_order_outlives_its_expiry_while_a_session_is_open() {
    let (mut chain, mut deal) = opened();
    deal.order.nonce = 2;
    deal.order.expires_at.0 = chain.now().0 + 1_000;
    chain.acting(&deal.client).ok(deal.open());
    chain.advance(Millis(60_000));
    chain.idle(1);
    chain.acting(&deal.provider).ok(collect(&deal, vec![deal.voucher(0, 1, Credits(100))]));
    chain.acting(&deal.provider).ok(close(&deal, vec![]));
    let order = deal.sign().order.id();
    assert!(chain.state().order(&order).is_none(), "it goes with its last session");
}

#[test]
fn one_nonce_names_one_transaction() {
    let (mut chain, deal) = opened();
    let pay = |amount| Call::Transfer { to: deal.provider.public(), amount: Credits(amount) };
    let first = chain.sign(&deal.client, pay(1)).body;
    let mut second = first.clone();
    second.call = pay(2);
    assert!(chain.send(deal.client.sign(first.clone())).is_ok());
    assert_eq!(chain.send(deal.client.sign(second.clone())), Err(Reject::NonceReused));
    second.sender = deal.provider.public();
    second.call = Call::Transfer { to: deal.client.public(), amount: Credits(1) };
    assert!(chain.send(deal.provider.sign(second)).is_ok(), "nonces are each sender's own");
}

#[test]
fn two_spends_of_one_balance_in_one_block_are_one() {
    let mut chain = Chain::new();
    let alice = key(1);
    chain.fund(&alice.public(), Credits(100));
    let pay = |chain: &mut Chain, to: u8| {
        let tx = chain.sign(&alice, Call::Transfer { to: key(to).public(), amount: Credits(100) });
        gridhour_contracts_sim::ledger::admit::Admitted::check(tx).unwrap()
    };
    let txs = vec![pay(&mut chain, 2), pay(&mut chain, 3)];
    let answers = chain.block(txs);
    assert!(answers[0].is_ok());
    assert_eq!(answers[1], Err(Reject::InsufficientBalance));
}
