//! An order that wants a stake opens sessions with staked devices alone, whoever pays.

use gridhour_contracts_sim::{
    harness::{Chain, Deal, cap, key},
    ledger::{cost::cost, reject::Reject},
    limits::BOND_MIN,
    tx::{Call, Tx},
};
use gridhour_protocol::units::{Credits, Height, Millis, Timestamp};

const CLIENT: u8 = 1;
const PROVIDER: u8 = 2;
const STRANGER: u8 = 9;
const WANTED: Credits = Credits(3_000_000);

/// A funded client, a provider whose device is registered, and an order that wants a stake.
fn town() -> (Chain, Deal) {
    let mut chain = Chain::new();
    for who in [CLIENT, PROVIDER] {
        chain.fund(&key(who).public(), Credits(50_000_000));
    }
    let mut deal = Deal::new(&chain, &key(CLIENT), &key(PROVIDER));
    deal.order.stake_min = WANTED;
    chain.acting(&key(PROVIDER)).ok(deal.register());
    (chain, deal)
}

fn bond(chain: &mut Chain, deal: &Deal, amount: Credits, until: Timestamp) {
    chain.acting(&key(PROVIDER)).ok(Call::Bond { device: deal.device(), amount, until });
}

#[test]
fn a_session_opens_with_as_much_at_stake_as_the_order_wants() {
    let (mut chain, deal) = town();
    let end = deal.terms.use_until;
    chain.acting(&key(CLIENT)).expect(deal.open(), Reject::StakeTooLow);
    bond(&mut chain, &deal, Credits(WANTED.0 - BOND_MIN.0), end);
    chain.acting(&key(CLIENT)).expect(deal.open(), Reject::StakeTooLow);
    bond(&mut chain, &deal, BOND_MIN, end);
    chain.acting(&key(CLIENT)).ok(deal.open());
}

#[test]
fn a_stake_that_ends_during_the_session_or_is_on_its_way_back_does_not_count() {
    let (mut chain, deal) = town();
    let end = deal.terms.use_until;
    bond(&mut chain, &deal, WANTED, Timestamp(end.0 - 1));
    chain.acting(&key(CLIENT)).expect(deal.open(), Reject::StakeTooLow);
    bond(&mut chain, &deal, Credits::ZERO, end);
    chain.acting(&key(PROVIDER)).ok(Call::Unbond { device: deal.device(), amount: Credits(1) });
    chain.acting(&key(CLIENT)).expect(deal.open(), Reject::StakeTooLow);
    bond(&mut chain, &deal, BOND_MIN, end);
    chain.acting(&key(CLIENT)).ok(deal.open());
}

#[test]
fn a_slashed_device_or_another_one_of_the_provider_is_no_stake() {
    let (mut chain, deal) = town();
    let mut other = deal.clone();
    other.advert.device.name = "another".into();
    chain.acting(&key(PROVIDER)).ok(other.register());
    bond(&mut chain, &other, WANTED, deal.terms.use_until);
    chain.acting(&key(CLIENT)).expect(deal.open(), Reject::StakeTooLow);
    bond(&mut chain, &deal, WANTED, deal.terms.use_until);
    chain.acting(&key(STRANGER)).ok(deal.slash());
    chain.acting(&key(CLIENT)).expect(deal.open(), Reject::StakeTooLow);
}

#[test]
fn what_a_budget_pays_for_is_held_to_the_same() {
    let (mut chain, deal) = town();
    let spender = key(CLIENT).public();
    let budget = chain.open_budget(&key(3), vec![cap(None, Some(&spender), Credits(1_000_000))]);
    chain.acting(&key(CLIENT)).expect(deal.draw(budget, 0), Reject::StakeTooLow);
    bond(&mut chain, &deal, WANTED, deal.terms.use_until);
    chain.acting(&key(CLIENT)).ok(deal.draw(budget, 0));
}

#[test]
fn an_open_session_outlives_the_stake_that_it_wanted() {
    let (mut chain, deal) = town();
    bond(&mut chain, &deal, WANTED, deal.terms.use_until);
    chain.acting(&key(CLIENT)).ok(deal.open());
    chain.acting(&key(PROVIDER)).ok(Call::Unbond { device: deal.device(), amount: WANTED });
    chain.advance(Millis(1));
    chain.acting(&key(CLIENT)).ok(Call::TopUp { session: deal.session(), amount: Credits(1) });
}

#[test]
fn the_stake_that_is_looked_up_is_weighed() {
    let (chain, deal) = town();
    let weight = |stake_min| {
        let mut deal = deal.clone();
        deal.order.stake_min = stake_min;
        let (network, sender) = (chain.state().network(), key(CLIENT).public());
        cost(&Tx { network, sender, nonce: 1, valid_until: Height(1), call: deal.open() })
    };
    assert_eq!(weight(WANTED), weight(Credits::ZERO) + 1);
}
