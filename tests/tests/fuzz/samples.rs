//! Sound values to begin with, the same in every run.

use gridhour_contracts_sim::{
    harness::{Chain, Deal, cap, key},
    network_file::NetworkFile,
    tx::Call,
    witnesses::{NamedWitness, Witnesses},
};
use gridhour_protocol::{
    market::{reservation::ReservationOffer, tier::Tier},
    signed::Signed,
    units::{Credits, GpuNs, Millis},
    wire::{self, Wire},
};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

/// Values that `strategy` yields first.
pub(crate) fn samples<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>, count: usize) -> Vec<T> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut draw = || strategy.new_tree(&mut runner).expect("the strategy yields values").current();
    (0..count).map(|_| draw()).collect()
}

/// Their encodings.
pub(crate) fn encoded<T: Wire>(values: &[T]) -> Vec<Vec<u8>> {
    values.iter().map(wire::encode).collect()
}

/// The network file of a [`Chain`], with two witnesses, of which one is required.
pub(crate) fn witnessed_network() -> Signed<NetworkFile> {
    let chain = Chain::new();
    let named = [1, 2].map(|n| NamedWitness { name: format!("w.example/{n}"), key: key(n).public() });
    let witnesses = Witnesses { named: named.to_vec(), required: 1 };
    chain.operator().sign(NetworkFile { witnesses, ..chain.network_file().body })
}

/// A ledger with every kind of call on it: one session ended, one closing, one open; one device staked and measured,
/// one slashed; one budget open, one closed; slots reserved, used, missed and given up.
pub(crate) fn busy_chain() -> Chain {
    let mut chain = Chain::new();
    let (client, provider) = (key(1), key(2));
    chain.fund(&client.public(), Credits(10_000));
    let deals = [1, 2, 3].map(|nonce| {
        let mut deal = Deal::new(&chain, &client, &provider);
        (deal.order.nonce, deal.terms.nonce) = (nonce, nonce);
        deal
    });
    for deal in &deals {
        chain.acting(&client).ok(deal.open());
    }
    let [ended, closing, open] = &deals;
    let vouchers = vec![ended.voucher(0, 1, Credits(150))];
    chain.acting(&provider).ok(Call::Collect { session: ended.session(), vouchers });
    chain.acting(&provider).ok(Call::Close { session: ended.session(), vouchers: vec![], release: None });
    chain.acting(&client).ok(Call::Close { session: closing.session(), vouchers: vec![], release: None });
    chain.acting(&client).ok(Call::TopUp { session: open.session(), amount: Credits(100) });
    chain.acting(&client).ok(Call::Transfer { to: provider.public(), amount: Credits(5) });
    let issuer = chain.issuer().clone();
    chain.fund(&issuer.public(), Credits(50));
    chain.acting(&issuer).ok(Call::Burn { amount: Credits(20) });
    put_at_stake(&mut chain, open);
    spend_a_budget(&mut chain, open);
    reserve(&mut chain, open);
    chain
}

/// Four slots of a minute: the first used, with a session that is still open, the second missed, the last given up.
fn reserve(chain: &mut Chain, deal: &Deal) {
    let now = chain.now();
    let minute = Millis(60_000);
    let offer = ReservationOffer {
        starts_at: now,
        accept_until: now,
        slot: minute,
        notice: minute,
        answer_within: Millis(10_000),
        capacity: GpuNs(36_000_000_000),
        ..deal.reservation()
    };
    let reservation = chain.book(deal, &offer);
    chain.acting(&deal.client).ok(Call::Demand { reservation });
    chain.acting(&deal.provider).ok(deal.answer(reservation));
    for nonce in [10, 11] {
        let mut drawn = deal.clone().in_tier(Tier::Reserved);
        (drawn.order.nonce, drawn.terms.nonce) = (nonce, nonce);
        (drawn.terms.use_until.0, drawn.terms.collect_until.0) = (now.0 + 60_000, now.0 + 1_000_000);
        chain.acting(&drawn.client).ok(drawn.draw_slot(reservation));
        if nonce == 10 {
            let vouchers = vec![drawn.voucher(0, 1, Credits(20))];
            let close = Call::Close { session: drawn.session(), vouchers, release: None };
            chain.acting(&drawn.provider).ok(close);
        }
    }
    chain.advance(minute);
    chain.acting(&deal.client).ok(Call::Demand { reservation });
    chain.advance(Millis(11_000));
    chain.acting(&key(7)).ok(Call::Settle { reservation });
    chain.acting(&deal.client).ok(Call::GiveUp { reservation });
}

fn spend_a_budget(chain: &mut Chain, deal: &Deal) {
    let owner = key(7);
    let key_cap = cap(Some(0), Some(&deal.client.public()), Credits(700));
    let budget = chain.open_budget(&owner, vec![cap(None, None, Credits(900)), key_cap]);
    let mut drawn = Deal::new(chain, &deal.client, &deal.provider);
    drawn.order.nonce = 9;
    chain.acting(&drawn.client).ok(drawn.draw(budget, 1));
    let top_up = Call::TopUp { session: drawn.session(), amount: Credits(7) };
    chain.acting(&drawn.client).ok(top_up);
    let mut ended = drawn.clone();
    ended.terms.nonce = 2;
    ended.hold = Credits(50);
    chain.acting(&ended.client).ok(ended.draw(budget, 1));
    let vouchers = vec![ended.voucher(0, 1, Credits(20))];
    chain.acting(&ended.provider).ok(Call::Close { session: ended.session(), vouchers, release: None });
    let other = chain.open_budget(&key(2), vec![cap(None, None, Credits(1))]);
    chain.acting(&key(2)).ok(Call::CloseBudget { budget: other });
}

fn put_at_stake(chain: &mut Chain, deal: &Deal) {
    chain.fund(&deal.provider.public(), Credits(20_000_000));
    let mut slashed = deal.clone();
    slashed.advert.device.name = "another".into();
    let device = deal.device();
    let measured = key(7).sign(deal.calibration(&key(7)));
    let amount = Credits(500_000);
    let calls = [
        deal.register(),
        Call::Calibrate(Box::new(measured)),
        deal.bond(Credits(5_000_000)),
        Call::Unbond { device, amount },
        slashed.register(),
        slashed.bond(Credits(2_000_000)),
    ];
    for call in calls {
        chain.acting(&deal.provider).ok(call);
    }
    chain.acting(&deal.client).ok(slashed.slash());
    chain.acting(&deal.provider).ok(Call::Deregister { device: slashed.device() });
}

/// Messages, each behind its length of 32 bits: one input made of several.
pub(crate) fn packed(messages: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let framed = |message: Vec<u8>| {
        let len = u32::try_from(message.len()).expect("samples are small");
        [len.to_le_bytes().as_slice(), &message].concat()
    };
    messages.into_iter().flat_map(framed).collect()
}

/// The messages of [`packed`]; a cut one at the end is left out.
pub(crate) fn unpacked(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk::<4>() {
        let Some((message, rest)) = rest.split_at_checked(u32::from_le_bytes(*len) as usize) else { break };
        messages.push(message);
        bytes = rest;
    }
    messages
}
