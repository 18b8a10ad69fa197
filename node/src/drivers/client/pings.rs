//! Whom a client pings before it matches an order.

use std::collections::BTreeMap;

use gridhour_protocol::{
    market::{
        advert::Advert,
        estimate::{Latency, Measured},
        matching::Matcher,
        shortlist::{Knowledge, SHORTLIST_ROUNDS, Whereabouts},
    },
    signed::{PublicKey, Verified},
};
use tokio::task::JoinSet;

use super::Client;

/// Round trips measured before an order is matched.
const PINGS: usize = 5;

impl Client {
    /// Measures the round trip to each of these providers. One that does not answer has none.
    pub(super) async fn ping(
        &self,
        providers: impl IntoIterator<Item = PublicKey>,
    ) -> BTreeMap<PublicKey, Option<Latency>> {
        let mut pings = JoinSet::new();
        for provider in providers {
            let net = self.net.clone();
            pings.spawn(async move { (provider, net.measure(provider, PINGS).await) });
        }
        let mut pinged = BTreeMap::new();
        while let Some(ping) = pings.join_next().await {
            let Ok((provider, latency)) = ping else { continue };
            if let Err(error) = &latency {
                tracing::info!(provider = %provider.short(), %error, "not measured");
            }
            pinged.insert(provider, latency.ok());
        }
        pinged
    }

    /// Pings the offers that look best, and the next best where they disappoint. What was learned of this client's own
    /// place is kept.
    pub(super) async fn ping_shortlist(
        &self,
        matcher: &Matcher<'_>,
        adverts: &[Verified<Advert>],
        measured: &BTreeMap<PublicKey, Measured>,
    ) -> BTreeMap<PublicKey, Option<Latency>> {
        let mut pinged = BTreeMap::new();
        for _ in 0..SHORTLIST_ROUNDS {
            let knowledge = Knowledge { here: self.whereabouts(), measured, pinged: &pinged };
            let next = knowledge.shortlist(matcher, adverts);
            if next.is_empty() {
                break;
            }
            pinged.extend(self.ping(next).await);
        }
        self.keep_place();
        pinged
    }

    /// Whether light can be as fast as this round trip, if the provider is where it says. An offer that lies about it
    /// is left out.
    pub(super) fn is_possible(&self, advert: &Advert, latency: Option<Latency>) -> bool {
        let light_us = self.whereabouts().light_us(&Whereabouts::of(advert));
        let possible = latency.is_none_or(|latency| latency.ewma_us >= light_us);
        if !possible {
            tracing::warn!(
                provider = %advert.provider.short(), region = ?advert.region, light_us, ?latency,
                "an offer is left out: its region is too far for its round trip"
            );
        }
        possible
    }

    fn whereabouts(&self) -> Whereabouts<'_> {
        Whereabouts { coordinate: Some(self.net.coordinate()), region: self.region.as_deref() }
    }

    fn keep_place(&self) {
        // Who only asks writes nothing.
        let Some(memory) = self.records.taken() else { return };
        let coordinate = self.net.coordinate();
        if let Err(error) = tokio::task::block_in_place(|| memory.keep_coordinate(&coordinate)) {
            tracing::warn!(%error, "this client's place in the network is not remembered");
        }
    }
}
