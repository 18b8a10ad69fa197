//! Money that would be lost, stuck, or made out of nothing.

use std::collections::BTreeMap;

use gridhour_contracts_sim::{
    harness::{Chain, Deal, key},
    ledger::{entry::Entry, reject::Reject, slash::accuser_share},
    limits::{ACCUSER_PART, BOND_MIN, BUDGET_MIN, UNBOND_DELAY},
    state::{Draw, State},
    tx::{Accusation, Call},
};
use gridhour_node::consensus::expiry::{Due, expire_tx, expired};
use gridhour_protocol::{
    id::{OutputDigest, RequestDigest},
    market::{
        advert::Advert,
        book::Book,
        costs::BuyerCosts,
        estimate::Measured,
        matching::{Matcher, Offer},
    },
    receipt::Receipt,
    signed::{PublicKey, SecretKey},
    units::{Credits, Millis, PricePerHour, WorkRate},
};

use super::life::{STRANGER, for_each_life};

const LIVES: u64 = 16;

/// Whatever is held and for whatever reason: once its owners have gone, a stranger sends all of it home.
#[test]
fn money_always_has_a_way_home() {
    for_each_life("money_always_has_a_way_home", LIVES, |life| {
        let chain = &mut life.chain;
        // How what is reserved is shared out, slot by slot, is told by the reservation's own tests.
        chain.advance(Millis(86_400_000));
        chain.idle(1);
        release_all(chain, is_of_a_reservation);
        let expected = with_all_that_is_set_aside(chain.state());
        // The longest bonds and budgets of a life, and then the time of an unbonding.
        for days in [31, UNBOND_DELAY.0 / 86_400_000 + 1] {
            chain.advance(Millis(days * 86_400_000));
            chain.idle(1);
            release_all(chain, |_, _| true);
        }
        let totals = chain.state().tip().totals;
        assert_eq!((totals.holds, totals.stakes, totals.balances), (Credits(0), Credits(0), totals.issued));
        let found = chain.state().accounts().map(|(account, balance)| (*account, balance.0));
        assert_eq!(found.collect::<BTreeMap<_, _>>(), expected, "each piece went to whom it belongs");
    });
}

/// What each account would have if everything that is set aside were its owner's again.
fn with_all_that_is_set_aside(state: &State) -> BTreeMap<PublicKey, u64> {
    let payer =
        |session: &gridhour_contracts_sim::state::Session| match session.draw.as_ref().and_then(Draw::budget)
        {
            Some(draw) => state.budget(&draw.budget).expect("kept while a session is open under it").owner,
            None => session.terms.client,
        };
    let sessions = state.sessions().map(|(_, session)| (payer(session), session.held));
    let stakes = state.stakes().map(|(_, stake)| (stake.owner, stake.total().expect("counted in 64 bits")));
    let pots = state.budgets().map(|(_, budget)| (budget.owner, budget.pot));
    let balances = state.accounts().map(|(account, balance)| (*account, *balance));
    let mut all = BTreeMap::new();
    for (owner, amount) in balances.chain(sessions).chain(stakes).chain(pots) {
        *all.entry(owner).or_default() += amount.0;
    }
    all.retain(|_, amount| *amount > 0);
    all
}

fn is_of_a_reservation(state: &State, due: &Due) -> bool {
    match due {
        Due::Slots { .. } => true,
        Due::Hold(session) => {
            let session = state.session(session).expect("it holds something");
            matches!(session.draw, Some(Draw::Slot(_)))
        }
        _ => false,
    }
}

fn release_all(chain: &mut Chain, which: impl Fn(&State, &Due) -> bool) {
    loop {
        let mut due = expired(chain.state(), chain.now());
        due.retain(|due| which(chain.state(), due));
        if due.is_empty() {
            break;
        }
        for due in due {
            let tx = expire_tx(chain.state(), &key(STRANGER), due);
            chain.send(tx).unwrap_or_else(|reject| panic!("{due:?} is not released: {reject}"));
        }
    }
}

const STAKE: Credits = Credits(10_000_005);
const PROVIDER: u8 = 2;
const CLIENT: u8 = 1;
/// An account that the provider made for itself.
const ALIAS: u8 = 7;

/// Bytes decide, whoever shows them: a party may show them under any key it has, and changes nothing by that but who is
/// paid the accuser's part, of which nine times as much is burned.
#[test]
fn a_party_to_a_receipt_never_judges_it_under_any_of_its_identities() {
    let chain = Chain::new();
    let anyone = [key(CLIENT), key(ALIAS), key(9), chain.operator().clone(), chain.issuer().clone()];
    for judge in anyone.iter().chain([&key(PROVIDER)]) {
        let is_provider = judge.public() == key(PROVIDER).public();
        let (mut chain, deal) = staked();
        for (accusation, verdict) in [
            (accusation(&deal, |_| (), PROVIDER), Reject::NoConflict),
            (accusation(&deal, next_job, PROVIDER), Reject::NoConflict),
            (accusation(&deal, other_output, CLIENT), Reject::BadReceiptSignature),
            (accusation(&deal, other_output, ALIAS), Reject::BadReceiptSignature),
        ] {
            let own = is_provider && verdict != Reject::BadReceiptSignature;
            let verdict = if own { Reject::SameAccount } else { verdict };
            chain.acting(judge).expect(Call::Slash(Box::new(accusation)), verdict);
        }
        let before = chain.state().clone();
        let conflict = Call::Slash(Box::new(accusation(&deal, other_output, PROVIDER)));
        if is_provider {
            chain.acting(judge).expect(conflict, Reject::SameAccount);
            assert_eq!(*chain.state(), before, "not even against itself");
            continue;
        }
        chain.acting(judge).ok(conflict);
        let of = |state: &State, key: &SecretKey| state.balance(&key.public()).0;
        let share = accuser_share(STAKE).0;
        assert_eq!(of(chain.state(), judge) - of(&before, judge), share, "whoever it is");
        assert_eq!(chain.state().tip().totals.stakes, Credits::ZERO);
        let burned = before.tip().totals.issued.0 - chain.state().tip().totals.issued.0;
        assert_eq!(burned, STAKE.0 - STAKE.0 / ACCUSER_PART, "what its party as a whole has lost");
    }
}

/// A provider with a device at stake, and what it sold.
fn staked() -> (Chain, Deal) {
    let mut chain = Chain::new();
    chain.fund(&key(PROVIDER).public(), Credits(50_000_000));
    let deal = Deal::new(&chain, &key(CLIENT), &key(PROVIDER));
    chain.acting(&key(PROVIDER)).ok(deal.register());
    chain.acting(&key(PROVIDER)).ok(deal.bond(STAKE));
    (chain, deal)
}

fn other_output(receipt: &mut Receipt) {
    receipt.output = OutputDigest([9; 32]);
}

fn next_job(receipt: &mut Receipt) {
    (receipt.index, receipt.request) = (1, RequestDigest([9; 32]));
}

/// The provider's receipt, and another one that `signer` signs.
fn accusation(deal: &Deal, change: impl Fn(&mut Receipt), signer: u8) -> Accusation {
    let (one, mut other) = (deal.receipt(), deal.receipt());
    change(&mut other);
    deal.accusation(deal.provider.sign(one), key(signer).sign(other))
}

/// The calls with an amount, of `amount`; who makes them.
fn amounts(chain: &Chain, deal: &Deal, amount: Credits) -> Vec<(SecretKey, Call)> {
    let (issuer, client, provider) = (chain.issuer().clone(), deal.client.clone(), deal.provider.clone());
    let (session, device) = (deal.session(), deal.device());
    let mut next = deal.clone();
    (next.order.nonce, next.terms.nonce, next.order.total_max, next.hold) = (9, 9, amount, amount);
    let until = gridhour_protocol::units::Timestamp(chain.now().0 + 1_000);
    let plan = Box::new(chain.plan(vec![gridhour_contracts_sim::harness::cap(None, None, amount)]));
    vec![
        (issuer.clone(), Call::Mint { to: client.public(), amount }),
        (issuer, Call::Burn { amount }),
        (client.clone(), Call::Transfer { to: provider.public(), amount }),
        (client.clone(), next.open()),
        (client.clone(), Call::TopUp { session, amount }),
        (provider.clone(), Call::Collect { session, vouchers: vec![deal.voucher(0, 1, amount)] }),
        (provider.clone(), Call::Bond { device, amount, until }),
        (provider, Call::Unbond { device, amount }),
        (client, Call::Plan { plan, amount }),
    ]
}

/// On the ledger such an amount is refused by name and moves nothing, or moves exactly itself; among offers it wins
/// nothing and spoils no other's place. There are no floats, and so no NaN.
#[test]
fn zero_nan_or_max_in_one_member_never_spoils_a_sum_over_all() {
    for amount in [0, 1, u64::MAX - 1, u64::MAX].map(Credits) {
        let (mut chain, deal) = staked();
        chain.fund(&deal.client.public(), Credits(1_000_000));
        chain.fund(&chain.issuer().public(), Credits(1));
        chain.acting(&deal.client).ok(deal.open());
        for (who, call) in amounts(&chain, &deal, amount) {
            let (before, name) = (chain.state().clone(), call.name());
            let applied = chain.acting(&who).call(call);
            // The harness has checked every invariant; what was refused left no trace.
            assert!(
                applied.is_ok() || *chain.state() == before,
                "{name} of {amount} was refused and did something"
            );
            // What is on its way back stays where it is, and a bond of nothing moves its end alone.
            let stays = |entry: &Entry| entry.postings.is_empty() && amount <= Credits(1);
            let moved = |entry: &Entry| Credits::sum(entry.postings.iter().map(|posting| posting.amount));
            assert!(
                applied.iter().all(|entry| moved(entry) == Some(amount) || stays(entry)),
                "{name} of {amount}: {applied:?}"
            );
        }
        let pay = Call::Transfer { to: key(9).public(), amount: Credits(5) };
        chain.acting(&deal.client).ok(pay);
        assert!(chain.state().tip().totals.are_conserved());
    }
    let (mut chain, rich) = (Chain::new(), key(8).public());
    chain.fund(&rich, Credits(u64::MAX - BUDGET_MIN.0 - BOND_MIN.0));
    chain.fund(&key(CLIENT).public(), BUDGET_MIN);
    let issuer = chain.issuer().clone();
    let over = Call::Mint { to: rich, amount: Credits(BOND_MIN.0 + 1) };
    chain.acting(&issuer).expect(over, Reject::SupplyOverflow);
    chain.acting(&key(CLIENT)).ok(Call::Transfer { to: key(9).public(), amount: BUDGET_MIN });
    one_extreme_offer_changes_nothing();
}

fn one_extreme_offer_changes_nothing() {
    let chain = Chain::new();
    let deal = Deal::new(&chain, &key(CLIENT), &key(PROVIDER));
    let order = deal.client.sign(deal.order.clone()).verify().expect("just signed");
    let extremes: [fn(&mut Advert); 7] = [
        |advert| advert.ask = PricePerHour(u64::MAX),
        |advert| advert.device.rates.prefill = WorkRate(0),
        |advert| advert.device.rates.decode = WorkRate(0),
        |advert| (advert.device.rates.prefill, advert.device.rates.decode) = (WorkRate(1), WorkRate(1)),
        |advert| advert.models[0].work.layers = u64::MAX,
        |advert| advert.models[0].work.attention = u64::MAX,
        |advert| (advert.slots_free, advert.queued) = (0, u16::MAX),
    ];
    for (at, change) in extremes.into_iter().enumerate() {
        let mut book = Book::new(chain.state().network());
        let mut advert = Advert { provider: key(ALIAS).public(), ..deal.advert.clone() };
        change(&mut advert);
        let honest = [PROVIDER, 3, 4].map(|n| {
            let ask = PricePerHour(deal.advert.ask.0 + u64::from(n));
            key(n).sign(Advert { provider: key(n).public(), ask, ..deal.advert.clone() })
        });
        for advert in honest {
            book.enter(chain.now(), advert.verify().expect("just signed")).expect("an honest offer");
        }
        let matcher = Matcher { order: &order, numerics: 1, now: chain.now(), costs: &BuyerCosts::NONE };
        let best = |book: &Book| {
            let offer = |advert| Offer { advert, measured: Measured::default() };
            let best = matcher.best(book.live(chain.now()).map(offer));
            best.map(|(offer, score)| (offer.advert.provider, score))
        };
        let before = best(&book);
        assert!(before.is_some_and(|(provider, _)| provider == key(PROVIDER).public()));
        // It may be kept out of the book, or be in it and not be chosen.
        let _ = book.enter(chain.now(), key(ALIAS).sign(advert).verify().expect("just signed"));
        assert_eq!(best(&book), before, "extreme {at}");
    }
}
