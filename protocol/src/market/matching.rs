//! Continuous matching: one order meets the offers that are there, and the buyer's node picks.
//!
//! First the masks of [`super::mask`], then one score, in micro-credits, lower wins:
//!
//! ```text
//! score = cost of the longest job
//!       + soft first-token limit: (expected - limit in ms, if positive) x its micro-credits per ms
//!       + soft total-time limit:  likewise
//!       + egress and risk of a run in vain, see costs
//!       - a newcomer's discount, see exploration
//! ```
//!
//! Machines of the buyer's own that are in time come before all others ([`super::standing`]). Between equal scores the
//! earlier advert wins, then the lower provider key. Everything is integer arithmetic, so
//! everyone who sees the same inputs gets the same match, whatever the order in which the offers came.

use core::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::{
    advert::Advert,
    costs::BuyerCosts,
    estimate::Measured,
    mask::{self, Failure, Reason},
    order::Order,
    score::Score,
    standing::Standing,
};
use crate::{
    id::{OrderId, PostingId},
    layout::Layout,
    signed::{PublicKey, Verified},
    units::{Credits, Timestamp},
};

/// An offer as the buyer sees it.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// What the provider signed.
    pub advert: &'a Verified<Advert>,
    /// What the buyer measured of it.
    pub measured: Measured,
}

/// What is held against every offer.
#[derive(Clone, Copy, Debug)]
pub struct Matcher<'a> {
    /// The order.
    pub order: &'a Verified<Order>,
    /// The version of the arithmetic that the buyer can check.
    pub numerics: u16,
    /// The buyer's time.
    pub now: Timestamp,
    /// What the buyer counts beside the price.
    pub costs: &'a BuyerCosts,
}

/// An offer that meets the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Whose offer.
    pub provider: PublicKey,
    /// Whether it is the buyer's own, and comes before others.
    pub standing: Standing,
    /// The posting that it answers, if it is a quote; else it is the provider's advert.
    pub quoted: Option<PostingId>,
    /// What was compared.
    pub score: Credits,
    /// Cost of the order's longest job.
    pub cost: Credits,
    /// Soft penalties.
    pub penalty: Credits,
    /// Traffic to another region.
    pub egress: Credits,
    /// Runs in vain.
    pub risk: Credits,
    /// A newcomer's discount.
    pub discount: Credits,
    /// Expected milliseconds to the first token; `None` if the provider was not measured.
    pub expected_ttft_ms: Option<u64>,
    /// Expected milliseconds to the last token; `None` if the provider was not measured.
    pub expected_total_ms: Option<u64>,
}

/// An offer that does not meet the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Whose offer.
    pub provider: PublicKey,
    /// Whether it is of a machine of the buyer's own.
    pub own: bool,
    /// The first mask that it fails.
    pub reason: Reason,
    /// The numbers, in a sentence.
    pub detail: String,
}

/// How an order was matched, complete enough to be repeated by anyone who has the offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchRecord {
    /// The order.
    pub order: OrderId,
    /// When, by the buyer's clock.
    pub at: Timestamp,
    /// The best candidate's provider.
    pub chosen: Option<PublicKey>,
    /// Offers that meet the order, best first.
    pub candidates: Vec<Candidate>,
    /// Offers that do not, by provider.
    pub refused: Vec<Refusal>,
    /// What the buyer counted beside the price.
    pub costs: BuyerCosts,
    /// Hash of what went in: order, time, numerics, these costs, every advert's id and what was measured.
    pub considered: [u8; 32],
}

impl<'a> Matcher<'a> {
    /// The score of one offer. Does not allocate.
    ///
    /// # Errors
    /// With the first mask that fails.
    pub fn judge(&self, offer: &Offer<'a>) -> Result<Score, Failure<'a>> {
        let fit = mask::check(self.order, self.numerics, self.now, offer.advert, &offer.measured)?;
        let region = offer.advert.region.as_deref();
        Score::of(self.order, self.costs, &fit, region, &offer.measured)
            .ok_or(Failure::ScoreOverflow(fit.cost))
    }

    /// The best of `offers` and its score: the choice of [`Matcher::record`] without the record. Does not allocate.
    pub fn best(&self, offers: impl IntoIterator<Item = Offer<'a>>) -> Option<(Offer<'a>, Score)> {
        let judged = offers.into_iter().filter_map(|offer| Some((offer, self.judge(&offer).ok()?)));
        judged.min_by(|a, b| price_time(a, b))
    }

    /// Matches the order against `offers` and says why for each.
    #[must_use]
    pub fn record(&self, offers: &[Offer<'a>]) -> MatchRecord {
        let mut offers = offers.to_vec();
        offers.sort_by_key(identity);
        let mut fit = Vec::new();
        let mut refused = Vec::new();
        for &offer in &offers {
            match self.judge(&offer) {
                Ok(score) => fit.push((offer, score)),
                Err(failure) => refused.push(refusal(&offer, &failure)),
            }
        }
        fit.sort_by(price_time);
        let candidates: Vec<_> = fit.iter().map(|(offer, score)| candidate(offer, score)).collect();
        MatchRecord {
            order: self.order.signed().id(),
            at: self.now,
            chosen: candidates.first().map(|best| best.provider),
            candidates,
            refused,
            costs: self.costs.clone(),
            considered: self.considered(&offers),
        }
    }

    fn considered(&self, offers: &[Offer<'a>]) -> [u8; 32] {
        let mut out = Layout::new("gridhour/match/v5");
        out.fixed(&self.order.signed().id().0).u16(self.numerics).u64(self.now.0);
        self.costs.lay_out(&mut out);
        out.count(offers.len());
        for offer in offers {
            out.fixed(&offer.advert.signed().id().0);
            offer.measured.lay_out(&mut out);
        }
        out.hash()
    }
}

/// Tells any two different offers apart, so that nothing depends on the order in which they came.
fn identity(offer: &Offer<'_>) -> (PublicKey, [u8; 64], Measured) {
    (offer.advert.provider, offer.advert.signed().signature.to_bytes(), offer.measured)
}

/// Own machines that are in time, and then price-time priority; the identity also settles what one provider signed twice.
pub(super) fn price_time((a, left): &(Offer<'_>, Score), (b, right): &(Offer<'_>, Score)) -> Ordering {
    let earlier = || a.advert.issued_at.cmp(&b.advert.issued_at);
    let standing = right.standing.comes_first().cmp(&left.standing.comes_first());
    let price = || left.total.cmp(&right.total);
    standing.then_with(price).then_with(earlier).then_with(|| identity(a).cmp(&identity(b)))
}

fn candidate(offer: &Offer<'_>, score: &Score) -> Candidate {
    Candidate {
        provider: offer.advert.provider,
        standing: score.standing,
        quoted: offer.advert.quote.map(|quote| quote.posting),
        score: score.total,
        cost: score.cost,
        penalty: score.penalty,
        egress: score.egress,
        risk: score.risk,
        discount: score.discount,
        expected_ttft_ms: score.times.map(|times| times.ttft_ms),
        expected_total_ms: score.times.map(|times| times.total_ms),
    }
}

fn refusal(offer: &Offer<'_>, failure: &Failure<'_>) -> Refusal {
    Refusal {
        provider: offer.advert.provider,
        own: offer.measured.own,
        reason: failure.reason(),
        detail: failure.to_string(),
    }
}

#[cfg(test)]
mod tests;
