//! Whom a client pings before it matches an order.

use std::{collections::BTreeMap, fmt::Display, time::Duration};

use gridhour_protocol::{
    market::{
        advert::Advert,
        estimate::{Latency, Measured},
        matching::Matcher,
        shortlist::{Knowledge, RoundTrips, Search, Whereabouts},
    },
    signed::{PublicKey, Verified},
};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::Client;
use crate::net::RequestError;

/// Round trips measured before an order is matched.
const PINGS: usize = 5;
/// How long one round of pings before a match takes at most: who takes longer did not answer. Half of what a node waits
/// for a handshake, so that adverts behind which nobody stands cost an order no more than this each round.
pub(super) const ROUND_TIME: Duration = Duration::from_secs(5);

impl Client {
    /// Measures the round trip to each of these providers, all within `limit`. One that does not answer has none.
    pub(super) async fn ping(
        &self,
        providers: impl IntoIterator<Item = PublicKey>,
        limit: Duration,
    ) -> RoundTrips {
        let pings = providers.into_iter().map(|provider| {
            let net = self.net.clone();
            // The connection may be one to a provider that has started anew since: that is found out by asking.
            (provider, async move { once_more(|| net.measure(provider, PINGS)).await })
        });
        gather(pings, limit, |error| !matches!(error, RequestError::Crowded(_))).await
    }

    /// Pings the offers that look best, and the next best where they disappoint. What was learned of this client's own
    /// place is kept.
    pub(super) async fn search(
        &self,
        matcher: &Matcher<'_>,
        adverts: &[Verified<Advert>],
        measured: &BTreeMap<PublicKey, Measured>,
    ) -> Search {
        let mut search = Search::default();
        loop {
            let next = search.next(&Knowledge { here: self.whereabouts(), measured }, matcher, adverts);
            if next.is_empty() {
                break;
            }
            search.take_in(self.ping(next, ROUND_TIME).await);
        }
        self.keep_place();
        search
    }

    pub(super) fn whereabouts(&self) -> Whereabouts<'_> {
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

/// Asks again where the first answer is an error.
async fn once_more<T, E, F: Future<Output = Result<T, E>>>(mut ask: impl FnMut() -> F) -> Result<T, E> {
    match ask().await {
        Err(_) => ask().await,
        answered => answered,
    }
}

/// What these pings, all at once, found within `limit`. Those that are not over by then found nobody, and are given up.
/// Of whom was not asked at all, as an error tells, nothing is known.
async fn gather<E: Display + Send + 'static>(
    pings: impl IntoIterator<Item = (PublicKey, impl Future<Output = Result<Latency, E>> + Send + 'static)>,
    limit: Duration,
    was_asked: impl Fn(&E) -> bool,
) -> RoundTrips {
    let end = Instant::now() + limit;
    let (mut pinged, mut tasks) = (RoundTrips::new(), JoinSet::new());
    for (provider, ping) in pings {
        pinged.insert(provider, None);
        tasks.spawn(async move { (provider, ping.await) });
    }
    while let Ok(Some(ping)) = timeout_at(end, tasks.join_next()).await {
        match ping {
            Ok((provider, Ok(latency))) => drop(pinged.insert(provider, Some(latency))),
            Ok((provider, Err(error))) => {
                tracing::info!(provider = %provider.short(), %error, "not measured");
                if !was_asked(&error) {
                    pinged.remove(&provider);
                }
            }
            Err(error) => tracing::warn!(%error, "a ping was not carried out"),
        }
    }
    pinged
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use gridhour_contracts_sim::harness::key;

    use super::*;

    const TRIP: Latency = Latency { ewma_us: 7, p95_us: 9, samples: 5 };
    type Ping = std::pin::Pin<Box<dyn Future<Output = Result<Latency, &'static str>> + Send>>;

    #[tokio::test]
    async fn who_never_answers_holds_a_round_up_no_longer_than_it_may_last() {
        let [near, silent, gone, crowded_out] = [1, 2, 3, 4].map(|n| key(n).public());
        let pings: [(PublicKey, Ping); 4] = [
            (silent, Box::pin(pending())),
            (near, Box::pin(ready(Ok(TRIP)))),
            (gone, Box::pin(ready(Err("refused")))),
            (crowded_out, Box::pin(ready(Err("not asked")))),
        ];
        let round = gather(pings, Duration::from_millis(50), |error| *error != "not asked");
        let pinged = tokio::time::timeout(ROUND_TIME, round).await.expect("it is over");
        assert_eq!(pinged, RoundTrips::from([(near, Some(TRIP)), (silent, None), (gone, None)]));
    }

    #[tokio::test]
    async fn a_ping_that_fails_is_tried_once_more_and_no_further() {
        let asked = async |answers: &[Result<u8, &'static str>]| {
            let mut left = answers.iter().copied();
            let answer = once_more(|| ready(left.next().expect("it was asked too often"))).await;
            (answer, left.count())
        };
        assert_eq!(asked(&[Ok(1), Ok(2)]).await, (Ok(1), 1), "one that answers is not asked again");
        assert_eq!(asked(&[Err("stale"), Ok(2)]).await, (Ok(2), 0));
        assert_eq!(asked(&[Err("stale"), Err("gone")]).await, (Err("gone"), 0));
    }
}
