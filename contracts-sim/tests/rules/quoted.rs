//! Quotes: a session is opened at the quoted price, by the client to whom the quote is addressed, and by
//! nobody else.

use gridhour_contracts_sim::{
    harness::{Chain, Deal, key},
    ledger::reject::Reject,
};
use gridhour_protocol::{
    id::PostingId,
    market::quote::Quote,
    signed::SecretKey,
    units::{Credits, PricePerHour, Timestamp},
};

const CLIENT: u8 = 2;
const PROVIDER: u8 = 3;
/// What the quote asks: less than the advert of the harness.
const QUOTED: PricePerHour = PricePerHour(1_000);

/// A chain, and a deal in which the provider's offer is a quote to `to` for ten seconds.
fn quoted(to: &SecretKey) -> (Chain, Deal) {
    let mut chain = Chain::new();
    let (client, provider) = (key(CLIENT), key(PROVIDER));
    chain.fund(&client.public(), Credits(50_000));
    let mut deal = Deal::new(&chain, &client, &provider);
    deal.advert.quote = Some(Quote { client: to.public(), posting: PostingId([5; 32]) });
    deal.advert.expires_at = Timestamp(chain.now().0 + 10_000);
    (deal.advert.ask, deal.advert.spot, deal.terms.price) = (QUOTED, None, QUOTED);
    (chain, deal)
}

#[test]
fn a_session_opens_at_the_price_that_was_quoted_to_its_client() {
    let (mut chain, deal) = quoted(&key(CLIENT));
    chain.acting(&key(CLIENT)).ok(deal.open());
    let session = chain.state().session(&deal.session()).cloned().expect("it is open");
    assert_eq!(session.terms.price, QUOTED);
}

#[test]
fn a_quote_to_another_client_opens_nothing() {
    let (mut chain, deal) = quoted(&key(77));
    chain.acting(&key(CLIENT)).expect(deal.open(), Reject::TermsAdvert);
}

#[test]
fn a_session_is_dearer_or_cheaper_than_its_quote_at_no_time() {
    for price in [QUOTED.0 - 1, QUOTED.0 + 1] {
        let (mut chain, mut deal) = quoted(&key(CLIENT));
        deal.terms.price = PricePerHour(price);
        chain.acting(&key(CLIENT)).expect(deal.open(), Reject::PriceNotAsk);
    }
}

#[test]
fn a_quote_is_firm_until_its_end_and_not_beyond() {
    let (mut chain, mut deal) = quoted(&key(CLIENT));
    deal.advert.expires_at = chain.now();
    deal.advert.issued_at = Timestamp(chain.now().0 - 1);
    chain.acting(&key(CLIENT)).expect(deal.open(), Reject::AdvertNotLive);
}
