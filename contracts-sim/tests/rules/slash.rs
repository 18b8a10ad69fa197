//! Slashing: what convicts a provider, what does not, and that nobody gains by convicting itself.

use gridhour_contracts_sim::{
    harness::{Chain, Deal, key},
    ledger::{
        entry::{Book, Posting},
        reject::Reject,
        slash::accuser_share,
    },
    limits::{ACCUSATION_MS_MAX, ACCUSER_MAX, ACCUSER_PART, BOND_MIN},
    tx::{Accusation, Call},
};
use gridhour_protocol::{
    id::{AdvertId, NetworkId, OutputDigest, RequestDigest, SessionId},
    receipt::Receipt,
    units::{Credits, Millis, Timestamp},
};

const STAKE: Credits = Credits(10_000_005);
const FUNDS: Credits = Credits(50_000_000);
const PROVIDER: u8 = 2;
const ACCUSER: u8 = 9;

/// What the second receipt says otherwise.
type Change = fn(&mut Receipt);

fn staked() -> (Chain, Deal) {
    let mut chain = Chain::new();
    chain.fund(&key(PROVIDER).public(), FUNDS);
    let deal = Deal::new(&chain, &key(1), &key(PROVIDER));
    chain.acting(&key(PROVIDER)).ok(deal.register());
    chain.acting(&key(PROVIDER)).ok(deal.bond(STAKE));
    (chain, deal)
}

fn balance(chain: &Chain, who: u8) -> u64 {
    chain.state().balance(&key(who).public()).0
}

/// An accusation whose second receipt, or whatever else, was changed before anyone signed.
fn accuse(deal: &Deal, change: impl Fn(&mut Receipt)) -> Accusation {
    let mut other = deal.receipt();
    change(&mut other);
    let signer = [PROVIDER, 7].map(key).into_iter().find(|key| key.public() == other.provider);
    let other = signer.expect("a key of the story").sign(other);
    deal.accusation(deal.provider.sign(deal.receipt()), other)
}

fn other_output(receipt: &mut Receipt) {
    receipt.output = OutputDigest([9; 32]);
}

#[test]
fn receipts_that_contradict_each_other_cost_the_stake() {
    let contradictions: [Change; 4] = [
        other_output,
        |other| other.ended_at.0 += 1,
        |other| other.request = RequestDigest([9; 32]),
        |other| other.index = 1,
    ];
    for (at, change) in contradictions.into_iter().enumerate() {
        let (mut chain, deal) = staked();
        let entry = chain.acting(&key(ACCUSER)).ok(Call::Slash(Box::new(accuse(&deal, change))));
        let (debit, share) = (Book::Stake(deal.device()), Credits(1_000_000));
        let expected = [
            Posting { debit, credit: Book::Account(key(ACCUSER).public()), amount: share },
            Posting { debit, credit: Book::Issuance, amount: Credits(STAKE.0 - share.0) },
        ];
        assert_eq!(entry.postings, expected, "contradiction {at}");
        assert_eq!(balance(&chain, ACCUSER), share.0);
        assert_eq!(chain.state().tip().totals.issued.0, FUNDS.0 - STAKE.0 + share.0, "the rest is burned");
    }
}

#[test]
fn receipts_that_may_both_be_true_cost_nothing() {
    let harmless: [(&str, Change); 5] = [
        ("the same receipt", |_| {}),
        ("another signer", |other| (other.provider, other.output) = (key(7).public(), OutputDigest([9; 32]))),
        ("another session", |other| {
            (other.session, other.output) = (SessionId([9; 32]), OutputDigest([9; 32]))
        }),
        ("the next job", |other| (other.index, other.request) = (1, RequestDigest([9; 32]))),
        ("another lane", |other| (other.lane, other.request) = (1, RequestDigest([9; 32]))),
    ];
    let (mut chain, deal) = staked();
    let before = chain.state().clone();
    for (what, change) in harmless {
        let answer = chain.acting(&key(ACCUSER)).call(Call::Slash(Box::new(accuse(&deal, change))));
        assert_eq!(answer, Err(Reject::NoConflict), "{what}");
        assert_eq!(*chain.state(), before);
    }
}

/// Evidence leads from the receipts to the device, or nowhere.
#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let (mut chain, deal) = staked();
    let mut elsewhere = deal.clone();
    elsewhere.terms.network = NetworkId([9; 32]);
    let mut cases = vec![("another network", accuse(&elsewhere, other_output))];
    let mut other_terms = accuse(&deal, other_output);
    other_terms.terms.nonce += 1;
    cases.push(("terms of another session", other_terms));
    let mut other_advert = accuse(&deal, other_output);
    let mut advert = deal.advert.clone();
    advert.sequence += 1;
    other_advert.advert = deal.provider.sign(advert);
    cases.push(("an advert that the terms do not name", other_advert));
    let mut no_advert = accuse(&deal, other_output);
    no_advert.terms.advert = AdvertId([9; 32]);
    cases.push(("terms that name no advert", no_advert));
    for (what, accusation) in cases {
        let answer = chain.acting(&key(ACCUSER)).call(Call::Slash(Box::new(accusation)));
        assert_eq!(answer, Err(Reject::EvidenceMismatch), "{what}");
    }
    let mut forged = accuse(&deal, other_output);
    forged.other = key(ACCUSER).sign(forged.other.body);
    chain.acting(&key(ACCUSER)).expect(Call::Slash(Box::new(forged)), Reject::BadReceiptSignature);
    let mut forged = accuse(&deal, other_output);
    forged.advert = key(ACCUSER).sign(forged.advert.body);
    chain.acting(&key(ACCUSER)).expect(Call::Slash(Box::new(forged)), Reject::BadAdvertSignature);
}

/// One bad card does not sink a fleet: the advert names the device, and no other answers.
#[test]
fn a_slash_takes_the_stake_of_one_device_alone() {
    let (mut chain, deal) = staked();
    let mut second = deal.clone();
    second.advert.device.name = "another card".into();
    chain.acting(&key(PROVIDER)).ok(second.register());
    chain.acting(&key(PROVIDER)).ok(second.bond(STAKE));
    assert_ne!(deal.device(), second.device());
    chain.acting(&key(ACCUSER)).ok(second.slash());
    let bonded = |deal: &Deal| chain.state().stake(&deal.device()).expect("it is known").bonded;
    assert_eq!((bonded(&deal), bonded(&second)), (STAKE, Credits::ZERO));
}

#[test]
fn what_is_on_its_way_back_is_slashed_too() {
    let (mut chain, deal) = staked();
    let device = deal.device();
    chain.acting(&key(PROVIDER)).ok(Call::Unbond { device, amount: Credits(4_000_000) });
    chain.acting(&key(PROVIDER)).ok(Call::Unbond { device, amount: Credits(STAKE.0 - 4_000_000) });
    chain.acting(&key(ACCUSER)).ok(deal.slash());
    assert_eq!(chain.state().tip().totals.stakes, Credits::ZERO);
    chain.advance(Millis(ACCUSATION_MS_MAX));
    chain.acting(&key(ACCUSER)).expect(Call::Withdraw { device }, Reject::UnknownStake);
    assert_eq!(balance(&chain, PROVIDER), FUNDS.0 - STAKE.0);
}

#[test]
fn an_accuser_is_paid_a_bounded_share() {
    for taken in [0, 1, 9, BOND_MIN.0, STAKE.0, 999_999_999, 1_000_000_000, 1_000_000_010, u64::MAX] {
        let share = accuser_share(Credits(taken));
        assert!(share.0 <= taken / ACCUSER_PART && share <= ACCUSER_MAX, "{taken}: {share}");
    }
    assert_eq!(accuser_share(Credits(1_000_000_009)), ACCUSER_MAX);
    assert_eq!(accuser_share(Credits(999_999_999)), Credits(99_999_999), "rounded down");
}

/// What was shown once cannot be shown again: the device is barred for as long as it would be good.
#[test]
fn one_offence_is_punished_once() {
    let (mut chain, mut deal) = staked();
    let day = 24 * 60 * 60 * 1000;
    // The longest-lived evidence that is good now.
    deal.terms.use_until = Timestamp(chain.now().0 + day);
    deal.terms.collect_until = Timestamp(chain.now().0 + 8 * day);
    let mut too_long = deal.clone();
    too_long.terms.use_until.0 += 1;
    too_long.terms.collect_until.0 += 1;
    chain.acting(&key(ACCUSER)).expect(too_long.slash(), Reject::AccusationOver);
    chain.acting(&key(ACCUSER)).ok(deal.slash());
    chain.acting(&key(ACCUSER)).expect(deal.slash(), Reject::UnknownStake);
    let bond = |chain: &Chain| {
        let until = Timestamp(chain.now().0 + 1);
        Call::Bond { device: deal.device(), amount: BOND_MIN, until }
    };
    chain.advance(Millis(ACCUSATION_MS_MAX));
    let early = bond(&chain);
    chain.acting(&key(PROVIDER)).expect(early, Reject::DeviceBarred);
    chain.advance(Millis(1));
    let again = bond(&chain);
    chain.acting(&key(PROVIDER)).ok(again);
    chain.acting(&key(ACCUSER)).expect(deal.slash(), Reject::AccusationOver);
}

/// A slash is forgotten when it cannot be repeated, whether or not anyone bonds again.
#[test]
fn the_state_forgets_a_slash() {
    let (mut chain, deal) = staked();
    chain.acting(&key(ACCUSER)).ok(deal.slash());
    chain.advance(Millis(ACCUSATION_MS_MAX));
    chain.idle(1);
    assert!(chain.state().stake(&deal.device()).is_some());
    chain.advance(Millis(1));
    chain.idle(1);
    assert_eq!(chain.state().stakes().count(), 0);
}
