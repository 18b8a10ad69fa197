//! What an offer may never do: be believed unchecked, outlive its provider, or match what it does not state.

use gridhour_contracts_sim::{
    harness::{Chain, Deal, key},
    ledger::reject::Reject,
};
use gridhour_protocol::{
    limits::ADVERT_TTL_MS_MAX,
    market::{
        advert::Advert,
        book::{Book, Entered},
        costs::BuyerCosts,
        data_class::DataClass,
        estimate::Measured,
        matching::{Matcher, Offer},
        order::Order,
    },
    signed::{PublicKey, Signed},
    units::{Credits, Millis, Timestamp},
    wire,
};

const CLIENT: u8 = 1;
const PROVIDER: u8 = 2;

fn deal() -> (Chain, Deal) {
    let chain = Chain::new();
    let deal = Deal::new(&chain, &key(CLIENT), &key(PROVIDER));
    (chain, deal)
}

/// Whom a buyer with this book and this order would choose.
fn chosen(book: &Book, order: &Order, now: Timestamp) -> Option<PublicKey> {
    let order = key(CLIENT).sign(order.clone()).verify().expect("just signed");
    let matcher = Matcher { order: &order, numerics: 1, now, costs: &BuyerCosts::NONE };
    let best = matcher.best(book.live(now).map(|advert| Offer { advert, measured: Measured::default() }));
    best.map(|(offer, _)| offer.advert.provider)
}

/// No byte of an advert can be changed on the way without its being dropped, and what was dropped is not remembered: the
/// advert itself is as new afterwards as if nothing had come before.
#[test]
fn unverified_gossip_never_enters_any_memory_that_a_later_decision_reads() {
    let (chain, deal) = deal();
    let mut book = Book::new(chain.state().network());
    let honest = key(PROVIDER).sign(deal.advert.clone());
    let bytes = wire::encode(&honest);
    let hear = |book: &mut Book, bytes: &[u8]| {
        let advert = wire::decode::<Signed<Advert>>(bytes).ok()?.verify().ok()?;
        book.enter(chain.now(), advert).ok()
    };
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            assert_eq!(hear(&mut book, &changed), None, "bit {bit} of byte {at}");
        }
    }
    let by_another = key(9).sign(deal.advert.clone());
    assert_eq!(hear(&mut book, &wire::encode(&by_another)), None, "signed by another");
    assert!(book.is_empty() && chosen(&book, &deal.order, chain.now()).is_none());
    assert_eq!(hear(&mut book, &bytes), Some(Entered::New));
    assert_eq!(chosen(&book, &deal.order, chain.now()), Some(key(PROVIDER).public()));
}

/// Whatever end its advert states, a provider that says nothing more is chosen by nobody ten minutes later, nor can its
/// old adverts be played again.
#[test]
fn a_dead_node_is_never_still_offered() {
    for life in [1, 60_000, 299_999, ADVERT_TTL_MS_MAX, ADVERT_TTL_MS_MAX + 1, u64::MAX / 2] {
        let (chain, deal) = deal();
        let advert = Advert { expires_at: Timestamp(chain.now().0 + life), ..deal.advert.clone() };
        let order = Order { expires_at: Timestamp(chain.now().0 + 86_000_000), ..deal.order.clone() };
        let mut book = Book::new(chain.state().network());
        let told = wire::decode::<Signed<Advert>>(&wire::encode(&key(PROVIDER).sign(advert)));
        // One that claims to live for longer is not even read.
        let Some(told) = told.ok().and_then(|told| told.verify().ok()) else {
            assert!(life > ADVERT_TTL_MS_MAX, "{life} ms are allowed");
            continue;
        };
        assert_eq!(book.enter(chain.now(), told.clone()), Ok(Entered::New), "{life}");
        let dead = chain.now().after(Millis(ADVERT_TTL_MS_MAX)).expect("in time");
        assert!(
            chosen(&book, &order, chain.now()).is_some() && chosen(&book, &order, dead).is_none(),
            "{life}"
        );
        assert!(book.enter(dead, told).is_err() && chosen(&book, &order, dead).is_none(), "{life}: again");
        book.forget_expired(dead);
        assert!(book.is_empty());
    }
}

/// What an order asks for.
type Ask = fn(&mut Order);

/// An order that asks for what an advert does not state matches it for nobody, neither the buyer nor the ledger.
#[test]
fn an_unknown_capability_never_counts_as_a_match() {
    let resident = |order: &mut Order| {
        (order.data, order.regions) = (DataClass::Resident, vec!["eu-de".into()]);
    };
    let asks: [(Ask, Reject); 4] = [
        (resident, Reject::RegionNotAllowed),
        (|order| order.regions = vec!["eu-de".into()], Reject::RegionNotAllowed),
        (|order| order.jurisdictions = vec!["DE".into()], Reject::JurisdictionNotAllowed),
        (|order| order.calibrated_by = vec![key(9).public()], Reject::NotCalibrated),
    ];
    for (ask, reject) in asks {
        let (mut chain, mut deal) = deal();
        chain.fund(&key(CLIENT).public(), Credits(10_000));
        (deal.advert.region, deal.advert.jurisdiction) = (None, None);
        ask(&mut deal.order);
        let mut book = Book::new(chain.state().network());
        let silent = key(PROVIDER).sign(deal.advert.clone()).verify().expect("just signed");
        book.enter(chain.now(), silent).expect("an honest advert");
        assert_eq!(chosen(&book, &deal.order, chain.now()), None, "{}", reject.name());
        chain.acting(&key(CLIENT)).expect(deal.open(), reject);
    }
}
