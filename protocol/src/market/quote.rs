//! Quotes: the answers to a posting. A quote is an advert that is addressed to one client, lives for seconds,
//! and asks no more than the provider asks of everybody; until its end the provider keeps a slot for it.
//!
//! As it is an advert, nothing else has to know prices from two places: the ledger finds the price of a
//! session in the advert that its terms name, and matching compares adverts.

use serde::{Deserialize, Serialize};

use super::advert::Advert;
use crate::{
    id::PostingId,
    layout::Layout,
    limits::CLOCK_SKEW_MS_MAX,
    signed::{PublicKey, Verified},
    units::{Millis, PricePerHour, Timestamp},
};

/// What makes an advert a quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// The only one who may accept it.
    pub client: PublicKey,
    /// What it answers.
    pub posting: PostingId,
}

impl Quote {
    pub(super) fn lay_out(&self, out: &mut Layout) {
        out.fixed(&self.client.0).fixed(&self.posting.0);
    }
}

/// Why a client does not take a quote. The order of the variants is the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuoteFault {
    /// It is an advert for everybody.
    #[error("it is addressed to nobody")]
    NotAQuote,
    /// It answers another posting.
    #[error("it answers another posting")]
    OtherPosting,
    /// It is addressed to another client.
    #[error("it is addressed to another client")]
    OtherClient,
    /// It is over.
    #[error("it expired {ago_ms} ms ago")]
    Expired {
        /// How many milliseconds ago.
        ago_ms: u64,
    },
    /// It claims to be signed later than our clock and the allowed skew.
    #[error("it was signed {ahead_ms} ms in our future; {CLOCK_SKEW_MS_MAX} are allowed")]
    FutureDated {
        /// By how many milliseconds.
        ahead_ms: u64,
    },
    /// Its provider offers nothing to everybody that it could undercut.
    #[error("its provider advertises nothing")]
    NoAdvert,
    /// It is not of the provider, the device, the models and the places of the advert that it undercuts.
    #[error("it offers something else than its provider's advert")]
    OtherGoods,
    /// It asks more than the advert.
    #[error("it asks {} micro-credits per GPU-hour, its provider's advert {}", .quoted.0, .ask.0)]
    OverAsk {
        /// What it asks.
        quoted: PricePerHour,
        /// What everybody is asked.
        ask: PricePerHour,
    },
}

/// Whether `quote` answers `posting` of `client` at `now`, for what its provider offers everybody in
/// `advert`, if anything, and for no more.
///
/// # Errors
/// With the first that is not so.
pub fn check(
    quote: &Advert,
    posting: &PostingId,
    client: &PublicKey,
    advert: Option<&Advert>,
    now: Timestamp,
) -> Result<(), QuoteFault> {
    let addressed = quote.quote.as_ref().ok_or(QuoteFault::NotAQuote)?;
    if addressed.posting != *posting {
        return Err(QuoteFault::OtherPosting);
    }
    if addressed.client != *client {
        return Err(QuoteFault::OtherClient);
    }
    if !quote.is_live(now) {
        return Err(QuoteFault::Expired { ago_ms: now.since(quote.expires_at).0 });
    }
    let ahead = quote.issued_at.since(now);
    if ahead > Millis(CLOCK_SKEW_MS_MAX) {
        return Err(QuoteFault::FutureDated { ahead_ms: ahead.0 });
    }
    let advert = advert.ok_or(QuoteFault::NoAdvert)?;
    if !is_of_same_goods(quote, advert) {
        return Err(QuoteFault::OtherGoods);
    }
    if quote.ask > advert.ask {
        return Err(QuoteFault::OverAsk { quoted: quote.ask, ask: advert.ask });
    }
    Ok(())
}

fn is_of_same_goods(quote: &Advert, advert: &Advert) -> bool {
    let of = |advert: &Advert| (advert.version, advert.network, advert.provider);
    let places = |advert: &Advert| (advert.region.clone(), advert.jurisdiction.clone());
    of(quote) == of(advert)
        && quote.device == advert.device
        && quote.models == advert.models
        // What it undercuts is the price on demand; a price for spot work would stand beside the advert's unseen.
        && quote.spot.is_none()
        && places(quote) == places(advert)
}

/// The offers of an order that was posted: every provider's advert, or in its place the quote that undercuts
/// it. Quotes that are over, or that no longer undercut their provider's newest advert, are left out.
#[must_use]
pub fn beside(
    adverts: Vec<Verified<Advert>>,
    quotes: &[Verified<Advert>],
    now: Timestamp,
) -> Vec<Verified<Advert>> {
    let quoted = |advert: &Verified<Advert>| {
        let of_it = quotes.iter().filter(|quote| quote.is_live(now) && quote.ask <= advert.ask);
        let best = of_it.filter(|quote| is_of_same_goods(quote, advert)).min_by_key(|quote| quote.ask);
        best.cloned()
    };
    adverts.into_iter().map(|advert| quoted(&advert).unwrap_or(advert)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        arbitrary::key,
        market::tier::Spot,
        sample::{self, CLIENT, NOW, PROVIDER},
    };

    const POSTING: PostingId = PostingId([5; 32]);

    fn quote(change: impl FnOnce(&mut Advert)) -> Advert {
        let mut quote = sample::quote(POSTING);
        change(&mut quote);
        quote
    }

    fn judged(change: impl FnOnce(&mut Advert)) -> Result<(), QuoteFault> {
        check(&quote(change), &POSTING, &key(CLIENT).public(), Some(&sample::advert()), NOW)
    }

    #[test]
    fn a_quote_is_for_its_client_its_posting_and_its_time() {
        assert_eq!(judged(|_| ()), Ok(()));
        assert_eq!(judged(|quote| quote.quote = None), Err(QuoteFault::NotAQuote));
        let other = Quote { client: key(CLIENT).public(), posting: PostingId([6; 32]) };
        assert_eq!(judged(|quote| quote.quote = Some(other)), Err(QuoteFault::OtherPosting));
        let stranger = Quote { client: key(77).public(), posting: POSTING };
        assert_eq!(judged(|quote| quote.quote = Some(stranger)), Err(QuoteFault::OtherClient));
        assert_eq!(judged(|quote| quote.expires_at = NOW), Err(QuoteFault::Expired { ago_ms: 0 }));
        let ahead_ms = CLOCK_SKEW_MS_MAX + 1;
        let future = judged(|quote| quote.issued_at.0 = NOW.0 + ahead_ms);
        assert_eq!(future, Err(QuoteFault::FutureDated { ahead_ms }));
    }

    #[test]
    fn a_quote_is_the_same_offer_for_no_more() {
        let ask = sample::advert().ask;
        let alone = check(&quote(|_| ()), &POSTING, &key(CLIENT).public(), None, NOW);
        assert_eq!(alone, Err(QuoteFault::NoAdvert));
        assert_eq!(judged(|quote| quote.ask = ask), Ok(()));
        let quoted = PricePerHour(ask.0 + 1);
        assert_eq!(judged(|quote| quote.ask = quoted), Err(QuoteFault::OverAsk { quoted, ask }));
        let changes: [fn(&mut Advert); 6] = [
            |quote| quote.provider = key(CLIENT).public(),
            |quote| quote.device.rates.decode.0 += 1,
            |quote| quote.models[0].context -= 1,
            |quote| quote.region = None,
            |quote| quote.jurisdiction = Some("FR".into()),
            |quote| quote.spot = Some(Spot { ask: quote.ask, notice: Millis(1_000), held: 0 }),
        ];
        for change in changes {
            assert_eq!(judged(change), Err(QuoteFault::OtherGoods));
        }
        assert_eq!(judged(|quote| (quote.slots_free, quote.sequence) = (1, 0)), Ok(()), "these may differ");
    }

    #[test]
    fn a_quote_stands_in_for_its_providers_advert_while_it_is_cheaper() {
        let signed = |advert: Advert| key(PROVIDER).sign(advert).verify().expect("signed by its provider");
        let advert = signed(sample::advert());
        let (low, lower) = (signed(quote(|quote| quote.ask.0 -= 1)), signed(quote(|quote| quote.ask.0 -= 2)));
        let offers = |quotes: Vec<&Verified<Advert>>, now| {
            let quotes: Vec<_> = quotes.into_iter().cloned().collect();
            beside(vec![advert.clone()], &quotes, now).remove(0)
        };
        assert_eq!(offers(vec![&low, &lower], NOW), lower);
        assert_eq!(offers(vec![&lower], lower.expires_at), advert, "it is over");
        let dear = signed(quote(|quote| quote.ask.0 = sample::advert().ask.0 + 1));
        let other = signed(quote(|quote| quote.region = None));
        assert_eq!(offers(vec![&dear, &other], NOW), advert);
        assert_eq!(offers(Vec::new(), NOW), advert);
        assert!(beside(Vec::new(), &[low], NOW).is_empty(), "without an advert nothing is undercut");
    }
}
