//! What a buyer knows: its pings, and how its jobs went.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use gridhour_protocol::{
    market::{
        advert::Advert,
        estimate::{Latency, Measured},
        exploration::Tries,
        history::{Ended, ProviderHistory, Run},
        matching::Matcher,
        order::Order,
        shortlist::{Knowledge, RoundTrips, Search, Whereabouts},
    },
    signed::{PublicKey, Verified},
    units::Timestamp,
};

use super::world::{MODEL, World};
use crate::net::LatencyWindow;

/// Pings of a provider before a match.
const PINGS: usize = 5;

/// One buyer.
pub(super) struct Buyer {
    number: usize,
    start: Instant,
    pings: BTreeMap<usize, LatencyWindow>,
    histories: BTreeMap<PublicKey, ProviderHistory>,
    /// Runs that are not over yet, by when they will be.
    running: BTreeMap<(u64, PublicKey), (u32, Run)>,
}

impl Buyer {
    pub(super) fn new(number: usize) -> Self {
        let (pings, histories, running) = Default::default();
        Self { number, start: Instant::now(), pings, histories, running }
    }

    /// Pings the shortlist of an order, and the next where it disappoints. By number of provider, as `adverts` are.
    pub(super) fn search(
        &mut self,
        world: &World,
        order: usize,
        matcher: &Matcher<'_>,
        adverts: &[Verified<Advert>],
        measured: &BTreeMap<PublicKey, Measured>,
    ) -> RoundTrips {
        let here = Whereabouts { coordinate: Some(world.buyers[self.number].coordinate), region: None };
        let mut search = Search::default();
        loop {
            let next = search.next(&Knowledge { here, measured }, matcher, adverts);
            if next.is_empty() {
                return search.pinged().clone();
            }
            let asked = adverts.iter().enumerate().filter(|(_, advert)| next.contains(&advert.provider));
            search.take_in(
                asked.map(|(number, advert)| (advert.provider, self.ping(world, order, number))).collect(),
            );
        }
    }

    fn ping(&mut self, world: &World, order: usize, provider: usize) -> Option<Latency> {
        let now = self.start + Duration::from_micros(world.orders[order].at_us);
        let window = self.pings.entry(provider).or_default();
        for us in world.pings(self.number, provider, order, PINGS) {
            window.record(Duration::from_micros(us), true, now);
        }
        window.latency()
    }

    /// Expects a run to end as it will.
    pub(super) fn expect(&mut self, provider: PublicKey, prompt_tokens: u32, ends_us: u64, run: Run) {
        self.running.insert((ends_us, provider), (prompt_tokens, run));
    }

    /// Learns of all runs that ended by now.
    pub(super) fn learn(&mut self, now_us: u64) {
        while let Some(entry) = self.running.first_entry() {
            let (ends_us, provider) = *entry.key();
            if ends_us > now_us {
                break;
            }
            let (prompt_tokens, run) = entry.remove();
            let history = self.histories.entry(provider).or_insert_with(|| ProviderHistory::new(provider));
            history.record(MODEL, prompt_tokens, Ended::Served(run));
        }
    }

    /// What earlier jobs showed of these providers.
    pub(super) fn remember(
        &self,
        now: Timestamp,
        order: &Order,
        adverts: &[Verified<Advert>],
    ) -> BTreeMap<PublicKey, Measured> {
        let learned = adverts.iter().map(|advert| {
            let history = self.histories.get(&advert.provider);
            let learned = history.map(|it| it.learned(now, &order.model, order.prompt_tokens));
            (advert.provider, learned.unwrap_or_default())
        });
        let learned: Vec<_> = learned.collect();
        let all = learned.iter().map(|(_, it)| it.tries).sum();
        let measured = learned.into_iter().map(|(provider, it)| {
            let tries = Some(Tries { here: it.tries, all });
            (provider, Measured { history: it.first_token, pace: it.pace, tries, ..Measured::default() })
        });
        measured.collect()
    }
}
