//! What a block may cost to check: no more, whatever calls fill it, and whoever made it.

use gridhour_contracts_sim::{
    block::{Block, propose},
    harness::{Chain, Deal, key},
    ledger::{
        admit::Admitted,
        cost::{SIGNATURE_COST, cost},
        reject::Reject,
    },
    limits::{BLOCK_COST_MAX, DEVICE_RESERVATIONS_MAX},
    tx::Call,
};
use gridhour_protocol::{
    limits::LANES_MAX,
    signed::Signed,
    units::Credits,
    wire::{self, Wire},
};

fn cost_of(call: Call) -> u64 {
    let mut chain = Chain::new();
    cost(&chain.sign(&key(1), call).body)
}

/// Every signature that [`Admitted::check`] verifies is counted.
#[test]
fn a_call_costs_its_signatures_and_its_records() {
    let chain = Chain::new();
    let deal = Deal::new(&chain, &key(1), &key(2));
    let transfer = cost_of(Call::Transfer { to: key(2).public(), amount: Credits(1) });
    assert_eq!(transfer, SIGNATURE_COST + 3, "two balances and the name");
    let vouchers: Vec<_> = (0..LANES_MAX as u16).map(|lane| deal.voucher(lane, 1, Credits(1))).collect();
    let collect = |vouchers| cost_of(Call::Collect { session: deal.session(), vouchers });
    assert_eq!(collect(vouchers) - collect(vec![]), SIGNATURE_COST * LANES_MAX as u64);
    let close = |release| cost_of(Call::Close { session: deal.session(), vouchers: vec![], release });
    assert_eq!(close(Some(Box::new(deal.release(Credits(1))))) - close(None), SIGNATURE_COST);
    let calibration = Call::Calibrate(Box::new(key(7).sign(deal.calibration(&key(7)))));
    assert_eq!(cost_of(calibration) - cost_of(deal.register()), SIGNATURE_COST);
    assert_eq!(cost_of(deal.slash()), 4 * SIGNATURE_COST + 3);
    let offer = deal.reservation();
    let book = cost_of(deal.book(&offer));
    assert_eq!(
        book,
        2 * SIGNATURE_COST + 6 + DEVICE_RESERVATIONS_MAX as u64,
        "every one of the device is looked at"
    );
    let demand = cost_of(Call::Demand { reservation: offer.id() });
    assert_eq!(cost_of(deal.answer(offer.id())) - demand, SIGNATURE_COST);
    assert_eq!(cost_of(deal.draw_slot(offer.id())) - demand, 2 * SIGNATURE_COST + 2);
    assert!(cost_of(deal.open()) > cost_of(deal.slash()) - SIGNATURE_COST, "three signatures, four records");
}

/// Burns are the smallest calls, so a block of them has room for more bytes when it has cost enough.
#[test]
fn a_block_is_full_at_its_cost() {
    let mut chain = Chain::new();
    let issuer = chain.issuer().clone();
    chain.fund(&issuer.public(), Credits(1_000_000));
    let burn = |chain: &mut Chain| chain.sign(&issuer, Call::Burn { amount: Credits(1) });
    let one = cost(&burn(&mut chain).body);
    let txs: Vec<_> =
        (0..BLOCK_COST_MAX / one + 100).map(|_| Admitted::checked_before(burn(&mut chain))).collect();
    let proposal = propose(chain.state(), chain.operator(), chain.now(), txs);
    let taken = proposal.block.txs.len() as u64;
    assert_eq!(taken, BLOCK_COST_MAX / one);
    let bytes = wire::encode(&proposal.block).len();
    assert!(bytes + 100 * 200 < Block::BYTES_MAX, "{bytes} bytes would have left room");
    assert!(proposal.answers[taken as usize..].iter().all(|answer| *answer == Err(Reject::BlockFull)));
    proposal.block.check_bounds().expect("what is proposed is within the bounds");

    let mut dearer = proposal.block;
    dearer.txs.push(burn(&mut chain));
    let refused = dearer.check_bounds().expect_err("one more is too much");
    assert!(refused.contains("cost"), "{refused}");
    let decoded = wire::decode::<Block>(&wire::encode(&dearer));
    assert!(decoded.is_err(), "a block that costs too much is refused before a signature of it is checked");
}

/// No transaction alone costs more than an empty block has room for.
#[test]
fn any_transaction_fits_an_empty_block() {
    let chain = Chain::new();
    let deal = Deal::new(&chain, &key(1), &key(2));
    let vouchers: Vec<Signed<_>> =
        (0..LANES_MAX as u16).map(|lane| deal.voucher(lane, 1, Credits(1))).collect();
    let release = Some(Box::new(deal.release(Credits(1))));
    let dearest = cost_of(Call::Close { session: deal.session(), vouchers, release });
    assert!(dearest < BLOCK_COST_MAX / 100, "{dearest}");
}
