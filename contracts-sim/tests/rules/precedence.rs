//! Refusals have one order: of two faults, the one with the lower code gives the answer.

pub(crate) mod pairs;

use gridhour_contracts_sim::{
    harness::{Chain, Deal, key},
    ledger::{admit::Admitted, reject::Reject},
    limits::{BOND_MIN, ORDER_SESSIONS_MAX, VALID_BLOCKS_MAX},
    tx::{Call, Open, Tx},
};
use gridhour_protocol::{
    id::{AdvertId, ModelId, NetworkId, OrderId},
    market::tier::Tier,
    signed::{SecretKey, Signed},
    units::{Credits, Height, Millis, PricePerHour, Timestamp, WorkRate},
};

/// One thing that is wrong with opening a session, at the moment when it can be made wrong.
#[derive(Clone, Copy)]
enum Fault {
    Deal(fn(&mut Deal)),
    Open(fn(&mut Open)),
    Tx(fn(&mut Tx)),
    Sender(fn() -> SecretKey),
    Signed(fn(&mut Signed<Tx>)),
    Chain(fn(&mut Chain, &Deal)),
}

fn faults() -> Vec<(Reject, Fault)> {
    use Fault::{Chain, Deal, Open, Sender, Signed, Tx};
    vec![
        (Reject::Malformed, Open(|open| open.terms.chunk_tokens = 0)),
        (Reject::BadSignature, Signed(|tx| tx.body.valid_until.0 += 1)),
        (Reject::BadOrderSignature, Open(|open| open.order.signature = open.advert.signature)),
        (Reject::BadAdvertSignature, Open(|open| open.advert.body.queued += 1)),
        (Reject::WrongNetwork, Tx(|tx| tx.network = NetworkId([9; 32]))),
        (Reject::NonceReused, Tx(|tx| tx.nonce = 1)),
        (Reject::ValidityOver, Tx(|tx| tx.valid_until = Height(0))),
        (Reject::ValidityTooLong, Tx(|tx| tx.valid_until = Height(VALID_BLOCKS_MAX + 1_000))),
        (Reject::NotAsReserved, Deal(|deal| deal.order.tier = Tier::Reserved)),
        (Reject::ZeroAmount, Deal(|deal| deal.hold = Credits::ZERO)),
        (Reject::SameAccount, Deal(sell_to_oneself)),
        (Reject::NotTheClient, Sender(|| key(1))),
        (Reject::TermsNetwork, Deal(|deal| deal.advert.network = NetworkId([9; 32]))),
        (Reject::TermsOrder, Open(|open| open.terms.order = OrderId([9; 32]))),
        (Reject::TermsAdvert, Open(|open| open.terms.advert = AdvertId([9; 32]))),
        (Reject::NotCalibrated, Deal(|deal| deal.order.calibrated_by = vec![key(8).public()])),
        (Reject::OrderNotLive, Deal(|deal| expire(&mut deal.order.issued_at, &mut deal.order.expires_at))),
        (Reject::AdvertNotLive, Deal(|deal| expire(&mut deal.advert.issued_at, &mut deal.advert.expires_at))),
        (Reject::ModelMismatch, Deal(|deal| deal.terms.model = ModelId([9; 32]))),
        (Reject::WorkMismatch, Deal(|deal| deal.terms.work.head += 1)),
        (Reject::RatesMismatch, Deal(|deal| deal.terms.rates.decode = WorkRate(1))),
        (Reject::NumericsMismatch, Deal(|deal| deal.terms.numerics += 1)),
        (Reject::PriceNotAsk, Deal(|deal| deal.terms.price.0 -= 1)),
        (Reject::PriceOverLimit, Deal(|deal| deal.order.price_max = PricePerHour(1))),
        (Reject::RegionNotAllowed, Deal(|deal| deal.order.regions = vec!["us".into()])),
        (Reject::JurisdictionNotAllowed, Deal(forbid_place)),
        (Reject::UseWindow, Deal(|deal| deal.terms.use_until = deal.order.issued_at)),
        (Reject::CollectWindow, Deal(|deal| deal.terms.collect_until.0 = deal.terms.use_until.0 + 59_999)),
        (Reject::SessionExists, Chain(open_before)),
        (Reject::OrderSessionsFull, Chain(fill_order)),
        (Reject::StakeTooLow, Chain(unbond)),
        (Reject::OverOrder, Deal(|deal| deal.order.total_max = Credits(deal.hold.0.saturating_sub(1)))),
        (Reject::InsufficientBalance, Deal(|deal| (deal.hold, deal.order.total_max) = (MUCH, MUCH))),
    ]
}

const MUCH: Credits = Credits(1_000_000);

fn sell_to_oneself(deal: &mut Deal) {
    deal.provider = deal.client.clone();
    deal.advert.provider = deal.client.public();
    deal.terms.provider = deal.client.public();
}

fn expire(issued_at: &mut Timestamp, expires_at: &mut Timestamp) {
    *expires_at = *issued_at;
    issued_at.0 -= 1;
}

fn forbid_place(deal: &mut Deal) {
    deal.advert.jurisdiction = None;
    deal.order.jurisdictions = vec!["DE".into()];
}

/// The hold is no part of the terms, so a small one opens the very same session.
fn open_before(chain: &mut Chain, deal: &Deal) {
    let small = Deal { hold: Credits(1), ..deal.clone() };
    let _ = chain.acting(&deal.client).call(small.open());
}

fn fill_order(chain: &mut Chain, deal: &Deal) {
    let mut other = deal.clone();
    other.hold = Credits(1);
    for nonce in 0..ORDER_SESSIONS_MAX as u64 {
        other.terms.nonce = 100 + nonce;
        let _ = chain.acting(&other.client).call(other.open());
    }
}

fn unbond(chain: &mut Chain, deal: &Deal) {
    let _ = chain.acting(&key(3)).call(Call::Unbond { device: deal.device(), amount: BOND_MIN });
}

/// The answer to an opening with these faults, the last of which was made last.
fn answer(faults: &[Fault]) -> Result<(), Reject> {
    let mut chain = Chain::new();
    let (client, provider) = (key(2), key(3));
    chain.fund(&client.public(), Credits(50_000));
    chain.fund(&provider.public(), Credits(1));
    chain.acting(&client).ok(Call::Transfer { to: provider.public(), amount: Credits(1) });
    let used = chain.blocks().last().unwrap().txs[0].body.nonce;
    let mut deal = Deal::new(&chain, &client, &provider);
    deal.order.stake_min = BOND_MIN;
    chain.fund(&provider.public(), BOND_MIN);
    chain.acting(&provider).ok(deal.register());
    chain.acting(&provider).ok(deal.bond(BOND_MIN));
    for fault in faults {
        if let Fault::Deal(spoil) = fault {
            spoil(&mut deal);
        }
    }
    // A full order takes no session that could then exist: here the lower code is made first.
    for fault in faults.iter().rev() {
        if let Fault::Chain(spoil) = fault {
            spoil(&mut chain, &deal);
        }
    }
    let mut open = deal.sign();
    for fault in faults {
        if let Fault::Open(spoil) = fault {
            spoil(&mut open);
        }
    }
    let mut sender = client;
    for fault in faults {
        if let Fault::Sender(other) = fault {
            sender = other();
        }
    }
    let mut tx = chain.sign(&sender, Call::Open(Box::new(open))).body;
    for fault in faults {
        if let Fault::Tx(spoil) = fault {
            spoil(&mut tx);
        }
    }
    if tx.nonce == 1 {
        tx.nonce = used;
    }
    let mut signed = sender.sign(tx);
    for fault in faults {
        if let Fault::Signed(spoil) = fault {
            spoil(&mut signed);
        }
    }
    let before = chain.state().clone();
    let answer = chain.send(signed).map(|_| ());
    assert!(answer.is_ok() || *chain.state() == before, "a refusal changes nothing");
    answer
}

#[test]
fn an_opening_without_fault_is_accepted() {
    assert_eq!(answer(&[]), Ok(()));
}

#[test]
fn every_fault_has_its_answer() {
    for (reject, fault) in faults() {
        assert_eq!(answer(&[fault]), Err(reject), "{}", reject.name());
    }
}

/// All pairs. The fault that must win is made last, so that the other cannot undo it.
#[test]
fn of_two_faults_the_lower_code_answers() {
    let faults = faults();
    for (later, (high, second)) in faults.iter().enumerate() {
        for (low, first) in &faults[..later] {
            // Another sender has not used the nonce.
            if (*low, *high) == (Reject::NonceReused, Reject::NotTheClient) {
                continue;
            }
            let pair = format!("{} and {}", low.name(), high.name());
            assert_eq!(answer(&[*second, *first]), Err(*low), "{pair}");
        }
    }
}

#[test]
fn codes_rise_and_names_are_unique() {
    assert!(Reject::ALL.is_sorted_by(|a, b| a.code() < b.code()));
    let names: std::collections::BTreeSet<_> = Reject::ALL.iter().map(|reject| reject.name()).collect();
    assert_eq!(names.len(), Reject::ALL.len());
}

/// Price, notice and tier of the terms are those of the order's tier, as they are advertised.
#[test]
fn a_session_opens_on_the_terms_of_its_tier_alone() {
    let opened = |tier, change: fn(&mut Deal)| {
        let mut chain = Chain::new();
        chain.fund(&key(2).public(), Credits(50_000));
        let mut deal = Deal::new(&chain, &key(2), &key(3)).in_tier(tier);
        change(&mut deal);
        chain.acting(&key(2)).call(deal.open()).map(|_| ())
    };
    for tier in [Tier::OnDemand, Tier::Spot] {
        assert_eq!(opened(tier, |_| ()), Ok(()), "{tier}");
        assert_eq!(opened(tier, |deal| deal.terms.price.0 += 1), Err(Reject::PriceNotAsk), "{tier}");
    }
    let price_of_the_other = |tier| {
        opened(tier, |deal| {
            let other = if deal.order.tier == Tier::Spot { Tier::OnDemand } else { Tier::Spot };
            deal.terms.price = deal.advert.ask_in(other).expect("it is served");
        })
    };
    assert_eq!(price_of_the_other(Tier::OnDemand), Err(Reject::PriceNotAsk));
    assert_eq!(price_of_the_other(Tier::Spot), Err(Reject::PriceNotAsk));
    assert_eq!(opened(Tier::Spot, |deal| deal.terms.notice.0 += 1), Err(Reject::PriceNotAsk));
    assert_eq!(opened(Tier::Spot, |deal| deal.advert.spot = None), Err(Reject::PriceNotAsk));
    assert_eq!(opened(Tier::Spot, |deal| deal.order.tier = Tier::OnDemand), Err(Reject::TermsOrder));
    assert_eq!(opened(Tier::OnDemand, |deal| deal.order.tier = Tier::Spot), Err(Reject::TermsOrder));
    let under_a_slots_advert = opened(Tier::OnDemand, |deal| deal.advert.sequence = 0);
    assert_eq!(under_a_slots_advert, Err(Reject::PriceNotAsk), "what is reserved has a price of its own");
}

#[test]
fn a_duplicate_is_known_whatever_else_changed() {
    let mut chain = Chain::new();
    let (alice, bob) = (key(1), key(2));
    chain.fund(&alice.public(), Credits(10));
    let tx = chain.sign(&alice, Call::Transfer { to: bob.public(), amount: Credits(10) });
    assert!(chain.send(tx.clone()).is_ok());
    assert_eq!(chain.send(tx.clone()), Err(Reject::Duplicate), "not: insufficient balance");
    chain.advance(Millis(1_000));
    let in_one_block = vec![Admitted::check(tx.clone()).unwrap(); 2];
    assert_eq!(chain.block(in_one_block), vec![Err(Reject::Duplicate); 2]);
    chain.idle(tx.body.valid_until.0);
    assert_eq!(chain.send(tx), Err(Reject::ValidityOver), "the id is forgotten when it cannot repeat");
}
