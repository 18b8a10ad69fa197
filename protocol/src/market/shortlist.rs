//! Whom to ping before an order is matched: guesses prune, pings decide.
//!
//! A round trip is known by, in this order: pings, at least [`PINGS_MIN`] of the last minutes; the coordinates of both
//! sides, if both are sure enough and claim no more than light can do; the regions that both declare. Guesses choose
//! only who is pinged: the best [`SHORTLIST`] offers by the score that they would have. So a thousand offers are not a
//! thousand pings.

use std::collections::BTreeMap;

use super::{
    advert::Advert,
    coordinate::Coordinate,
    estimate::{Latency, Measured},
    geography::{guess_us, light_us},
    matching::{Matcher, Offer},
};
use crate::signed::{PublicKey, Verified};

/// Offers that are pinged at once.
pub const SHORTLIST: usize = 8;
/// How often the next best are pinged, where those before them turned out worse.
pub const SHORTLIST_ROUNDS: usize = 3;
/// Pings from which on they are believed before anything else.
pub const PINGS_MIN: u32 = 5;

/// What is known of where a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts<'a> {
    /// Its coordinate.
    pub coordinate: Option<Coordinate>,
    /// Its declared region.
    pub region: Option<&'a str>,
}

impl<'a> Whereabouts<'a> {
    /// Where an advert says that its provider is.
    #[must_use]
    pub fn of(advert: &'a Advert) -> Self {
        Self { coordinate: advert.coordinate, region: advert.region.as_deref() }
    }

    /// The round trip between here and `other`, as far as it can be known without a ping, in microseconds.
    #[must_use]
    pub fn guess_us(&self, other: &Self) -> Option<u64> {
        self.by_coordinates(other).or_else(|| guess_us(self.region?, other.region?))
    }

    fn by_coordinates(&self, other: &Self) -> Option<u64> {
        let (ours, theirs) = (self.coordinate?, other.coordinate?);
        let distance = ours.distance_us(&theirs);
        let credible = ours.is_usable() && theirs.is_usable() && distance >= self.light_us(other);
        credible.then_some(distance)
    }

    /// The shortest round trip that can be between the declared regions, in microseconds; 0 if one is not known.
    #[must_use]
    pub fn light_us(&self, other: &Self) -> u64 {
        light_us(self.region, other.region)
    }
}

/// The round trip to go by: pings, if there are enough; else a guess; else the few pings that there are.
#[must_use]
pub fn round_trip(pinged: Option<Latency>, guess_us: Option<u64>) -> Option<Latency> {
    let guess = guess_us.map(|us| Latency { ewma_us: us, p95_us: us, samples: 0 });
    pinged.filter(|latency| latency.samples >= PINGS_MIN).or(guess).or(pinged)
}

/// What the buyer knows before it pings, and has found by it.
#[derive(Clone, Copy, Debug)]
pub struct Knowledge<'a> {
    /// Where the buyer is.
    pub here: Whereabouts<'a>,
    /// What it knows of providers, with round trips of earlier pings.
    pub measured: &'a BTreeMap<PublicKey, Measured>,
    /// Whom it pinged, and with what result: one that did not answer has none.
    pub pinged: &'a BTreeMap<PublicKey, Option<Latency>>,
}

impl Knowledge<'_> {
    /// Whom to ping next, best first; nobody once the best offer was pinged. Who was not pinged yet counts with what is
    /// known or guessed of its round trip, or as if it were next door; who did not answer is no candidate.
    #[must_use]
    pub fn shortlist(&self, matcher: &Matcher<'_>, adverts: &[Verified<Advert>]) -> Vec<PublicKey> {
        let offers: Vec<Offer<'_>> = adverts.iter().filter_map(|advert| self.offer(advert)).collect();
        let ranked = matcher.record(&offers).candidates.into_iter().map(|candidate| candidate.provider);
        let mut ranked = ranked.peekable();
        match ranked.peek() {
            Some(best) if !self.pinged.contains_key(best) => {
                ranked.filter(|one| !self.pinged.contains_key(one)).take(SHORTLIST).collect()
            }
            _ => Vec::new(),
        }
    }

    /// `None` if the provider did not answer.
    fn offer<'o>(&self, advert: &'o Verified<Advert>) -> Option<Offer<'o>> {
        let known = self.measured.get(&advert.provider).copied().unwrap_or_default();
        let latency = match self.pinged.get(&advert.provider) {
            Some(found) => Some((*found)?),
            None => round_trip(known.latency, self.here.guess_us(&Whereabouts::of(advert)))
                .or(round_trip(None, Some(0))),
        };
        Some(Offer { advert, measured: Measured { latency, ..known } })
    }
}

#[cfg(test)]
mod tests;
