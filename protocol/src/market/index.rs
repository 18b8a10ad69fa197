//! Offers made ready for many orders, so that an order looks at few of them.
//!
//! The index never decides: whoever might win is put through [`Matcher::judge`], so what it finds is what
//! [`Matcher::best`] and the match record find. It only says who cannot win, by numbers that no score is below:
//!
//! - offers lie by model, price list (spot, or not) and work formula, and among them by the price of decoding, the cheapest first. Prompt and output
//!   then bound an offer's cost from below; once that exceeds the best score, or what the order pays in all, for all that
//!   follow, the search is over;
//! - no first token is expected sooner than the round trip, or than those that were measured, which bounds penalties;
//! - regions and jurisdictions are bits.
//!
//! The buyer's own machines, which are few, are put through the masks one by one before all others: one that is in time
//! is chosen, whatever the rest would cost.

use std::collections::BTreeMap;

use super::{
    data_class::DataClass,
    exploration::Tries,
    history::PPM,
    matching::{Matcher, Offer, price_time},
    order::{LatencyLimit, LimitKind, Order},
    score::Score,
    tier::Tier,
};
use crate::{
    id::ModelId,
    units::{Work, WorkRate},
    work::WorkModel,
};

/// Offers by model and price. It sees what it was made of: make another when adverts or measurements change.
#[derive(Clone, Debug)]
pub struct OfferIndex<'a> {
    offers: Vec<Offer<'a>>,
    shelves: BTreeMap<(ModelId, PriceList), Vec<Shelf>>,
    regions: Places<'a>,
    jurisdictions: Places<'a>,
    /// Places of offers of the buyer's own.
    own: Vec<usize>,
}

/// Which of an advert's prices: tiers of one price list cost the same, and get the same slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PriceList {
    Ask,
    Spot,
}

/// Offers of one model that count its work alike.
#[derive(Clone, Debug)]
struct Shelf {
    work: WorkModel,
    /// By price of decoding.
    lines: Vec<Line>,
    /// The largest discount of all lines, in parts per million.
    discount_ppm: u32,
    /// The most that rounding may take off a cost in all lines.
    rounding: u64,
}

/// What bounds an offer's score.
#[derive(Clone, Copy, Debug)]
struct Line {
    offer: usize,
    price: Price,
    /// The lowest price of reading a prompt here and in all later lines.
    prefill_from_here: u64,
    region: u128,
    jurisdiction: u128,
    /// The soonest that a first token may be expected, in milliseconds: mean and 95th percentile.
    soonest_ms: (u64, u64),
    /// A newcomer's discount, in parts per million of its cost.
    discount_ppm: u32,
    own: bool,
}

/// What an offer asks for work, in micro-credits for 2^64 multiply-accumulates, rounded down.
#[derive(Clone, Copy, Debug)]
struct Price {
    ask: u64,
    prefill: u64,
    decode: u64,
    /// What rounding may take off a cost: times are rounded down to nanoseconds, and the cost to a micro-credit.
    rounding: u64,
}

/// What an order asks of the lines of a shelf.
struct Job<'o> {
    order: &'o Order,
    prefill: Work,
    decode: Work,
    /// Bits of the places that it allows; `None` if it allows all.
    regions: Option<u128>,
    jurisdictions: Option<u128>,
}

impl<'a> OfferIndex<'a> {
    /// Takes offers in whatever order they come.
    #[must_use]
    pub fn new(offers: &[Offer<'a>]) -> Self {
        let mut index = Self {
            offers: offers.to_vec(),
            shelves: BTreeMap::new(),
            regions: Places::default(),
            jurisdictions: Places::default(),
            own: (0..).zip(offers).filter(|(_, offer)| offer.measured.own).map(|(at, _)| at).collect(),
        };
        for (at, offer) in offers.iter().enumerate() {
            for tier in [Tier::OnDemand, Tier::Spot] {
                index.add(at, offer, tier);
            }
        }
        index.shelves.values_mut().flatten().for_each(Shelf::arrange);
        index
    }

    /// Adds the offer for the price list of `tier`, if it sells any of it.
    fn add(&mut self, at: usize, offer: &Offer<'a>, tier: Tier) {
        let (Some(price), 1..) = (Price::of(offer, tier), offer.advert.slots_in(tier)) else { return };
        let line = Line {
            offer: at,
            price,
            prefill_from_here: 0,
            region: self.regions.enter(offer.advert.region.as_deref()),
            jurisdiction: self.jurisdictions.enter(offer.advert.jurisdiction.as_deref()),
            soonest_ms: offer.measured.soonest_ms(),
            discount_ppm: offer.measured.tries.map_or(0, Tries::discount_ppm),
            own: offer.measured.own,
        };
        for model in &offer.advert.models {
            let shelves = self.shelves.entry((model.model, PriceList::of(tier))).or_default();
            match shelves.iter_mut().find(|shelf| shelf.work == model.work) {
                Some(shelf) => shelf.lines.push(line),
                None => shelves.push(Shelf::new(model.work, line)),
            }
        }
    }

    /// The best offer for an order and its score: what [`Matcher::best`] finds. Does not allocate.
    #[must_use]
    pub fn best(&self, matcher: &Matcher<'a>) -> Option<(Offer<'a>, Score)> {
        let order: &Order = matcher.order;
        if let Some(own) = self.best_own(matcher) {
            return Some(own);
        }
        let mut best = None;
        let shelves = self.shelves.get(&(order.model, PriceList::of(order.tier)));
        for shelf in shelves.into_iter().flatten() {
            let Some(job) = self.job(order, &shelf.work) else { continue };
            for line in &shelf.lines {
                let most = best.as_ref().map_or(u64::MAX, |(_, score): &(_, Score)| score.total.0);
                if job.ends_before(shelf, line, most) {
                    break;
                }
                if job.allows(line) && job.least_score(line) <= most {
                    self.consider(matcher, line, &mut best);
                }
            }
        }
        best
    }

    /// The best of the buyer's own machines that are in time.
    fn best_own(&self, matcher: &Matcher<'a>) -> Option<(Offer<'a>, Score)> {
        let own = self.own.iter().filter_map(|&at| self.offers.get(at)).copied();
        matcher.best(own).filter(|(_, score)| score.standing.comes_first())
    }

    fn consider(&self, matcher: &Matcher<'a>, line: &Line, best: &mut Option<(Offer<'a>, Score)>) {
        let Some(&offer) = self.offers.get(line.offer) else { return };
        let Ok(score) = matcher.judge(&offer) else { return };
        let found = (offer, score);
        if best.as_ref().is_none_or(|best| price_time(&found, best).is_lt()) {
            *best = Some(found);
        }
    }

    /// `None` if the work is beyond 64 bits, which fits no offer of the shelf.
    fn job<'o>(&self, order: &'o Order, work: &WorkModel) -> Option<Job<'o>> {
        Some(Job {
            order,
            prefill: work.prefill(order.prompt_tokens)?,
            decode: work.decode(order.prompt_tokens, order.output_tokens)?,
            regions: self.regions.allowed(&order.regions),
            jurisdictions: self.jurisdictions.allowed(&order.jurisdictions),
        })
    }
}

impl PriceList {
    fn of(tier: Tier) -> Self {
        match tier {
            Tier::OnDemand | Tier::Reserved => Self::Ask,
            Tier::Spot => Self::Spot,
        }
    }
}

impl Shelf {
    fn new(work: WorkModel, line: Line) -> Self {
        Self { work, lines: vec![line], discount_ppm: 0, rounding: 0 }
    }

    fn arrange(&mut self) {
        self.lines.sort_by_key(|line| line.price.decode);
        self.discount_ppm = self.lines.iter().map(|line| line.discount_ppm).max().unwrap_or(0);
        self.rounding = self.lines.iter().map(|line| line.price.rounding).max().unwrap_or(0);
        let mut least = u64::MAX;
        for line in self.lines.iter_mut().rev() {
            least = least.min(line.price.prefill);
            line.prefill_from_here = least;
        }
    }
}

impl Price {
    /// `None` for a tier that is not served, and for a rate of zero, with which no time is known.
    fn of(offer: &Offer<'_>, tier: Tier) -> Option<Self> {
        const SECONDS_PER_HOUR: u128 = 3_600;
        /// Twice the ask over this is what two nanoseconds cost, in micro-credits.
        const NS_PER_HOUR: u64 = 3_600_000_000_000;
        let ask = offer.advert.ask_in(tier)?.0;
        let per_work = |rate: WorkRate| {
            let price = (u128::from(ask) << 64).checked_div(SECONDS_PER_HOUR * u128::from(rate.0))?;
            Some(u64::try_from(price).unwrap_or(u64::MAX))
        };
        let rates = offer.advert.device.rates;
        let rounding = 3 + ask / (NS_PER_HOUR / 2);
        Some(Self { ask, prefill: per_work(rates.prefill)?, decode: per_work(rates.decode)?, rounding })
    }
}

impl Job<'_> {
    /// Whether nothing from this line on can win against a score of `most`, or cost little enough.
    fn ends_before(&self, shelf: &Shelf, line: &Line, most: u64) -> bool {
        let cost = self.cost(line.prefill_from_here, line.price.decode, shelf.rounding);
        cost > self.order.total_max.0 || less_discount(cost, shelf.discount_ppm) > most
    }

    /// No cost at these prices is less.
    fn cost(&self, prefill: u64, decode: u64, rounding: u64) -> u64 {
        let part = |price: u64, work: Work| ((u128::from(price) * u128::from(work.0)) >> 64) as u64;
        part(prefill, self.prefill).saturating_add(part(decode, self.decode)).saturating_sub(rounding)
    }

    /// Whether the masks that are bits and plain numbers let the line pass.
    fn allows(&self, line: &Line) -> bool {
        let among = |allowed: Option<u128>, place| allowed.is_none_or(|allowed| allowed & place != 0);
        let soon = |limit: Option<LatencyLimit>| match limit {
            Some(LatencyLimit { limit, kind: LimitKind::Hard }) => line.soonest_ms.1 <= limit.0,
            _ => true,
        };
        (line.own || self.order.data != DataClass::LocalOnly)
            && line.price.ask <= self.order.price_max.0
            && among(self.regions, line.region)
            && among(self.jurisdictions, line.jurisdiction)
            && soon(self.order.ttft)
            && soon(self.order.total_time)
    }

    /// No score of the line's offer is less.
    fn least_score(&self, line: &Line) -> u64 {
        let Price { prefill, decode, rounding, .. } = line.price;
        let cost = less_discount(self.cost(prefill, decode, rounding), line.discount_ppm);
        let late = |limit: Option<LatencyLimit>| match limit {
            Some(LatencyLimit { limit, kind: LimitKind::Soft { per_ms } }) => {
                line.soonest_ms.0.saturating_sub(limit.0).saturating_mul(per_ms.0)
            }
            _ => 0,
        };
        cost.saturating_add(late(self.order.ttft)).saturating_add(late(self.order.total_time))
    }
}

/// A cost less so many parts per million. A larger cost never becomes the smaller one.
fn less_discount(cost: u64, ppm: u32) -> u64 {
    let discount = u128::from(cost) * u128::from(ppm) / u128::from(PPM);
    cost.saturating_sub(u64::try_from(discount).unwrap_or(cost))
}

/// Places as bits: one for each name, and the last for all names for which none is left.
#[derive(Clone, Debug, Default)]
struct Places<'a>(BTreeMap<&'a str, u32>);

impl<'a> Places<'a> {
    /// The bit of a place, which gets one if it has none; no bit for no place.
    fn enter(&mut self, place: Option<&'a str>) -> u128 {
        let Some(place) = place else { return 0 };
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        bit(*self.0.entry(place).or_insert(next))
    }

    /// The bits of these places; `None` if there are none, which allows all.
    fn allowed(&self, places: &[String]) -> Option<u128> {
        let bits = places.iter().filter_map(|place| self.0.get(place.as_str())).map(|&number| bit(number));
        (!places.is_empty()).then(|| bits.fold(0, |all, bit| all | bit))
    }
}

fn bit(number: u32) -> u128 {
    1 << number.min(u128::BITS - 1)
}

#[cfg(test)]
mod tests;
