//! Whom a client pings before it matches an order.

use std::collections::BTreeMap;

use gridhour_protocol::{
    market::{
        advert::Advert,
        estimate::Measured,
        matching::Matcher,
        shortlist::{Knowledge, RoundTrips, Search, Whereabouts},
    },
    signed::{PublicKey, Verified},
};
use tokio::task::JoinSet;

use super::Client;
use crate::net::RequestError;

/// Round trips measured before an order is matched.
const PINGS: usize = 5;

impl Client {
    /// Measures the round trip to each of these providers. One that does not answer has none.
    pub(super) async fn ping(&self, providers: impl IntoIterator<Item = PublicKey>) -> RoundTrips {
        let mut pings = JoinSet::new();
        for provider in providers {
            let net = self.net.clone();
            pings.spawn(async move {
                let latency = match net.measure(provider, PINGS).await {
                    // The connection may be one to a provider that has started anew since: that is found out by asking.
                    Err(_) => net.measure(provider, PINGS).await,
                    measured => measured,
                };
                (provider, latency)
            });
        }
        let mut pinged = RoundTrips::new();
        while let Some(ping) = pings.join_next().await {
            let Ok((provider, latency)) = ping else { continue };
            if let Err(error) = &latency {
                tracing::info!(provider = %provider.short(), %error, "not measured");
            }
            // Nobody asked it, so it is not one that did not answer.
            if matches!(latency, Err(RequestError::Crowded(_))) {
                continue;
            }
            pinged.insert(provider, latency.ok());
        }
        pinged
    }

    /// Pings the offers that look best, and the next best where they disappoint. What was learned of this client's own
    /// place is kept.
    pub(super) async fn search(
        &self,
        matcher: &Matcher<'_>,
        adverts: &[Verified<Advert>],
        measured: &BTreeMap<PublicKey, Measured>,
    ) -> Vec<Measured> {
        let mut search = Search::default();
        loop {
            let next = search.next(&Knowledge { here: self.whereabouts(), measured }, matcher, adverts);
            if next.is_empty() {
                break;
            }
            search.take_in(self.ping(next).await);
        }
        self.keep_place();
        let known = Knowledge { here: self.whereabouts(), measured };
        adverts.iter().map(|advert| search.measured(&known, advert)).collect()
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
