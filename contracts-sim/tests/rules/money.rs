//! Issuance and transfers.

use gridhour_contracts_sim::{
    harness::{Chain, key},
    ledger::{
        entry::{Book, Posting},
        reject::Reject,
    },
    tx::Call,
};
use gridhour_protocol::{signed::PublicKey, units::Credits};

#[test]
fn only_the_issuer_mints_and_burns() {
    let mut chain = Chain::new();
    let (alice, issuer) = (key(1), chain.issuer().clone());
    let mint = |amount| Call::Mint { to: alice.public(), amount: Credits(amount) };
    let burn = |amount| Call::Burn { amount: Credits(amount) };
    chain.acting(&alice).expect(mint(1), Reject::NotIssuer);
    chain.acting(&alice).expect(burn(1), Reject::NotIssuer);
    let operator = chain.operator().clone();
    chain.acting(&operator).expect(mint(1), Reject::NotIssuer);
    chain.acting(&issuer).ok(mint(100));
    chain.acting(&issuer).expect(burn(1), Reject::InsufficientBalance);
    chain.acting(&alice).ok(Call::Transfer { to: issuer.public(), amount: Credits(30) });
    chain.acting(&issuer).ok(burn(20));
    let totals = chain.state().tip().totals;
    assert_eq!((totals.issued, totals.balances), (Credits(80), Credits(80)));
}

#[test]
fn supply_is_counted_in_64_bits() {
    let mut chain = Chain::new();
    let issuer = chain.issuer().clone();
    chain.fund(&key(1).public(), Credits(u64::MAX));
    let more = Call::Mint { to: key(2).public(), amount: Credits(1) };
    chain.acting(&issuer).expect(more, Reject::SupplyOverflow);
}

#[test]
fn an_entry_says_where_money_moved() {
    let mut chain = Chain::new();
    let (alice, bob) = (key(1).public(), key(2).public());
    let minted = chain.fund(&alice, Credits(5));
    let posting = |debit, credit| vec![Posting { debit, credit, amount: Credits(5) }];
    assert_eq!(minted.postings, posting(Book::Issuance, Book::Account(alice)));
    let moved = chain.acting(&key(1)).ok(Call::Transfer { to: bob, amount: Credits(5) });
    assert_eq!(moved.postings, posting(Book::Account(alice), Book::Account(bob)));
    assert_eq!(chain.state().accounts().count(), 1, "an account without a balance is dropped");
}

/// Points of small order, zeros and the neutral element, for which everyone can sign; and what is no point at all.
#[test]
fn a_weak_key_never_receives() {
    let mut chain = Chain::new();
    chain.fund(&key(1).public(), Credits(10));
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let off_curve = (2..=255).map(|n| PublicKey([n; 32])).find(|key| !key.is_usable()).unwrap();
    for to in [PublicKey([0; 32]), PublicKey(neutral), off_curve] {
        chain.acting(&key(1)).expect(Call::Transfer { to, amount: Credits(1) }, Reject::WeakKey);
        let issuer = chain.issuer().clone();
        chain.acting(&issuer).expect(Call::Mint { to, amount: Credits(1) }, Reject::WeakKey);
    }
}

#[test]
fn nothing_and_oneself_are_refused() {
    let mut chain = Chain::new();
    chain.fund(&key(1).public(), Credits(10));
    let pay = |n, amount| Call::Transfer { to: key(n).public(), amount: Credits(amount) };
    chain.acting(&key(1)).expect(pay(2, 0), Reject::ZeroAmount);
    chain.acting(&key(1)).expect(pay(1, 1), Reject::SameAccount);
    chain.acting(&key(1)).expect(pay(2, 11), Reject::InsufficientBalance);
    chain.acting(&key(1)).ok(pay(2, 10));
}
