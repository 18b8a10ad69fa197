//! What is over is forgotten: as much is kept after a long life as after a short one.

use std::sync::Arc;

use gridhour_contracts_sim::{
    harness::{Chain, Deal, cap, key},
    limits::BUDGET_MIN,
    tx::{Call, Plan, Registration},
};
use gridhour_node::{
    drivers::memory::{Memory, RECEIPTS_MAX},
    store::records::Records,
};
use gridhour_protocol::{
    receipt::Receipt,
    session::lane::LaneLedger,
    units::{Credits, Millis, Timestamp},
};
use testkit::sim::disk::SimDisk;

const DAY_MS: u64 = 86_400_000;
/// Longer than anything that a round begins is remembered, but for the journal.
const ROUND_MS: u64 = 40 * DAY_MS;

/// One round of everything that leaves a record, begun and ended; then time and blocks pass.
fn round(chain: &mut Chain, number: u64) {
    let (client, provider, owner) = (key(1), key(2), key(3));
    chain.fund(&owner.public(), BUDGET_MIN);
    let plan = Plan { number, ..chain.plan(vec![cap(None, Some(&client.public()), Credits(5_000))]) };
    let budget = plan.budget_of(&owner.public());
    chain.acting(&owner).ok(Call::Plan { plan: Box::new(plan), amount: BUDGET_MIN });
    for nonce in 0..6 {
        let mut deal = Deal::new(chain, &client, &provider);
        (deal.order.nonce, deal.terms.nonce) = (number * 10 + nonce, nonce);
        let open = if nonce % 2 == 0 { deal.open() } else { deal.draw(budget, 0) };
        chain.acting(&client).ok(open);
        let vouchers = vec![deal.voucher(0, 1, Credits(100))];
        chain.acting(&provider).ok(Call::Close { session: deal.session(), vouchers, release: None });
    }
    let deal = Deal::new(chain, &client, &provider);
    let expires_at = Timestamp(chain.now().0 + DAY_MS);
    let entry = Registration { sequence: number + 1, expires_at, ..deal.registration() };
    chain.acting(&provider).ok(Call::Register(Box::new(entry)));
    let (device, amount) = (deal.device(), Credits(1_000_000));
    chain.acting(&provider).ok(Call::Bond { device, amount, until: expires_at });
    chain.acting(&provider).ok(Call::Unbond { device, amount });
    chain.acting(&owner).ok(Call::CloseBudget { budget });
    chain.advance(Millis(ROUND_MS));
    chain.acting(&key(9)).ok(Call::Withdraw { device });
    // No name of a transaction is kept for longer than it is valid, which in the harness is a hundred blocks.
    chain.idle(101);
}

/// The state's records after many rounds are those after one. What a node that sells remembers of sessions that ended is
/// their newest receipts, and its log on the disk does not grow with them. The journal alone is history.
#[test]
fn a_log_or_a_map_never_grows_without_bound() {
    let mut chain = Chain::new();
    chain.fund(&key(1).public(), Credits(1_000_000));
    chain.fund(&key(2).public(), Credits(2_000_000));
    let mut kinds = Vec::new();
    for number in 0..12 {
        round(&mut chain, number);
        let left: Vec<u8> = chain.state().records().iter().map(|(key, _)| key[0]).collect();
        kinds.push(left);
    }
    assert_eq!(kinds[0], [b'a', b'a', b'a', b'c'], "three balances and the cursor");
    assert!(kinds.iter().all(|left| *left == kinds[0]), "{kinds:?}");
    a_provider_forgets();
}

/// Bytes of history that a log of this test may hold beside the live records.
const SLACK: u64 = 64 * 1024;

fn a_provider_forgets() {
    let disk = SimDisk::new(1);
    let owner = key(2).public();
    let (records, _) = Records::open_with(Arc::new(disk.clone()), owner.0, SLACK).expect("new records");
    let (memory, chain) = (Memory::on(records), Chain::new());
    let (mut used, mut kept) = (Vec::new(), Vec::new());
    for number in 0..2 * RECEIPTS_MAX as u64 {
        let mut deal = Deal::new(&chain, &key(1), &key(2));
        deal.terms.nonce = number;
        let terms = deal.sign().terms;
        memory.keep_session(&terms).expect("room");
        let mut lane = LaneLedger::new(terms.id(), 0);
        lane.settle(deal.voucher(0, 1, Credits(number)));
        let ended_at = Timestamp(chain.now().0 + number);
        let receipt = key(2).sign(Receipt { session: terms.id(), ended_at, ..deal.receipt() });
        memory.keep_lane(&lane, Some(&receipt)).expect("room");
        memory.forget_session(terms.id()).expect("room");
        used.push(disk.used());
        kept.push(memory.receipts());
    }
    assert!(memory.sessions().expect("readable").is_empty());
    assert_eq!(kept.iter().max(), Some(&RECEIPTS_MAX));
    let most = |rounds: core::ops::Range<usize>| used[rounds].iter().max().copied().unwrap_or(0);
    let full = RECEIPTS_MAX + RECEIPTS_MAX / 2;
    assert!(most(full..2 * RECEIPTS_MAX) <= most(RECEIPTS_MAX..full) + SLACK as usize, "it grows");
}
