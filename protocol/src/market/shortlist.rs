//! Whom to ping before an order is matched: guesses prune, pings decide.
//!
//! A round trip is known by, in this order: pings, at least [`PINGS_MIN`] of the last minutes; the coordinates of both
//! sides, if both are sure enough and claim no more than light can do; the regions that both declare. Guesses choose
//! only who is pinged: the best [`SHORTLIST`] offers by the score that they would have, and the best of the others that
//! served this buyer before. So a thousand offers are not a thousand pings, and no number of offers keeps a buyer from
//! those that it knows.

use std::collections::BTreeMap;

use super::{
    advert::Advert,
    coordinate::Coordinate,
    estimate::{Latency, Measured, Reach},
    geography::{guess_us, light_us},
    matching::{Matcher, Offer},
};
use crate::{
    id::OrderId,
    layout::Layout,
    signed::{PublicKey, Verified},
};

/// Offers that are pinged at once.
pub const SHORTLIST: usize = 8;
/// How often the next best are pinged, where those before them turned out worse.
pub const SHORTLIST_ROUNDS: u32 = 3;
/// Rounds more in which nobody answers, each wider than the one before by a shortlist, and half of it drawn by lot: an
/// advert that nobody stands behind costs its sender next to nothing, so they must neither use up the rounds nor hide who
/// is there.
pub const SILENT_ROUNDS: u32 = 5;
/// The widest round: a node dials only so many at once.
const WIDEST: usize = 3 * SHORTLIST;
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

/// What the buyer knows before it pings.
#[derive(Clone, Copy, Debug)]
pub struct Knowledge<'a> {
    /// Where the buyer is.
    pub here: Whereabouts<'a>,
    /// What it knows of providers, with round trips of earlier pings.
    pub measured: &'a BTreeMap<PublicKey, Measured>,
}

impl Knowledge<'_> {
    fn of(&self, provider: &PublicKey) -> Measured {
        self.measured.get(provider).copied().unwrap_or_default()
    }
}

/// Round trips that were measured just now: one that did not answer has none.
pub type RoundTrips = BTreeMap<PublicKey, Option<Latency>>;

/// The pings before one match: whom to ping next, and what came of it.
#[derive(Clone, Debug, Default)]
pub struct Search {
    pinged: RoundTrips,
    /// Rounds in which somebody answered, and in which nobody did.
    heard: u32,
    silent: u32,
    /// It ended before the best offer was pinged.
    given_up: bool,
}

impl Search {
    /// Whom to ping next, best first; nobody once the best offer was pinged, or all rounds are over. Who was not pinged
    /// yet counts with what is known or guessed of its round trip, or as if it were next door; who did not answer is no
    /// candidate.
    #[must_use]
    pub fn next(
        &mut self,
        known: &Knowledge<'_>,
        matcher: &Matcher<'_>,
        adverts: &[Verified<Advert>],
    ) -> Vec<PublicKey> {
        let offers: Vec<Offer<'_>> = adverts.iter().map(|advert| self.guess(known, advert)).collect();
        let ranked: Vec<PublicKey> =
            matcher.record(&offers).candidates.into_iter().map(|candidate| candidate.provider).collect();
        if ranked.first().is_none_or(|best| self.pinged.contains_key(best)) {
            return Vec::new();
        }
        if self.heard >= SHORTLIST_ROUNDS || self.silent >= SILENT_ROUNDS {
            self.given_up = true;
            return Vec::new();
        }
        let mut next: Vec<PublicKey> =
            ranked.into_iter().filter(|one| !self.pinged.contains_key(one)).collect();
        let (width, drawn) = (self.width(), self.drawn());
        let behind = next.split_off(next.len().min(width - drawn));
        let served = behind.iter().find(|one| known.of(one).history.is_some()).copied();
        let mut lots: Vec<PublicKey> = behind.into_iter().filter(|one| Some(*one) != served).collect();
        let order = matcher.order.signed().id();
        lots.sort_by_cached_key(|one| lot(&order, one));
        next.extend(lots.into_iter().take(drawn).chain(served));
        next
    }

    /// How many of a round are drawn by lot: half, as soon as the best were silent. Whoever floods the market with adverts
    /// that look best then hides others only as far as there are more of them.
    fn drawn(&self) -> usize {
        if self.heard == 0 && self.silent > 0 { self.width() / 2 } else { 0 }
    }

    fn width(&self) -> usize {
        SHORTLIST.saturating_mul(self.silent as usize + 1).min(WIDEST)
    }

    /// Takes in what a round of pings found.
    pub fn take_in(&mut self, round: RoundTrips) {
        match round.values().any(Option::is_some) {
            true => self.heard += 1,
            false => self.silent += 1,
        }
        self.pinged.extend(round);
    }

    /// Who was pinged.
    #[must_use]
    pub fn pinged(&self) -> &RoundTrips {
        &self.pinged
    }

    /// What the buyer knows of the provider of `advert` now, for the match.
    #[must_use]
    pub fn measured(&self, known: &Knowledge<'_>, advert: &Advert) -> Measured {
        let before = known.of(&advert.provider);
        let (reach, latency) = match self.pinged.get(&advert.provider) {
            Some(Some(latency)) => (Reach::Answered, Some(*latency)),
            Some(None) => (Reach::Silent, None),
            // Pings decide: nobody wins by a guess where others have answered.
            None if self.given_up && self.heard > 0 => (Reach::GivenUp, before.latency),
            None => (Reach::NotAsked, before.latency),
        };
        let light_us = known.here.light_us(&Whereabouts::of(advert));
        Measured { latency, reach, light_us, ..before }
    }

    fn guess<'o>(&self, known: &Knowledge<'_>, advert: &'o Verified<Advert>) -> Offer<'o> {
        let mut measured = self.measured(known, advert);
        if measured.reach == Reach::NotAsked {
            let guess_us = known.here.guess_us(&Whereabouts::of(advert));
            measured.latency = round_trip(measured.latency, guess_us).or(round_trip(None, Some(0)));
            // A guess is of nobody's making.
            measured.light_us = 0;
        }
        Offer { advert, measured }
    }
}

/// A provider's lot in the search for an order, of which nobody knows the id before.
fn lot(order: &OrderId, provider: &PublicKey) -> [u8; 32] {
    let mut out = Layout::new("gridhour/ping-lot/v1");
    out.fixed(&order.0).fixed(&provider.0);
    out.hash()
}

#[cfg(test)]
mod tests;
