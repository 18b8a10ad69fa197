//! Whom the client buys from: what it learned, whom it pings, what the match says. The same steps as the real client's, on
//! the same tables.

use std::collections::BTreeMap;

use gridhour_node::drivers::{client::learning::says_nothing, memory::HISTORIES_MAX};
use gridhour_protocol::{
    job::{buyer::BuyerEnd, message::RefusalCode},
    market::{
        advert::Advert,
        costs::BuyerCosts,
        estimate::Measured,
        exploration::Tries,
        history::{Ended, ProviderHistory, Run},
        matching::{Matcher, Offer},
        order::Order,
        shortlist::{Knowledge, Search, Whereabouts},
    },
    receipt::Cause,
    signed::{PublicKey, Signed, Verified},
    units::Timestamp,
};

use super::{MarketClient, Twist, jobs};
use crate::{
    actors::goods,
    sim::{context::Context, fact::Fact, net::StreamId},
};

impl<T: Twist> MarketClient<T> {
    /// The best offer by what is known and by the pings of a shortlist.
    pub(super) fn best_offer(&self, order: &Verified<Order>, cx: &Context<'_>) -> Option<Signed<Advert>> {
        let now = cx.now();
        let trusted = self.book.live(now).filter(|advert| !self.distrusted.contains(&advert.provider));
        let adverts: Vec<Verified<Advert>> = trusted.cloned().collect();
        let measured = self.remembered(order, &adverts, now);
        let matcher = Matcher { order, numerics: goods::NUMERICS, now, costs: &BuyerCosts::NONE };
        let here = Whereabouts { coordinate: None, region: self.profile.region.as_deref() };
        let (known, mut search) = (Knowledge { here, measured: &measured }, Search::default());
        loop {
            let next = search.next(&known, &matcher, &adverts);
            if next.is_empty() {
                break;
            }
            let ping = |provider: PublicKey| (provider, cx.node_of(&provider).and_then(|peer| cx.ping(peer)));
            search.take_in(next.into_iter().map(ping).collect());
        }
        let offers = adverts.iter().map(|advert| Offer { advert, measured: search.measured(&known, advert) });
        matcher.best(offers).map(|(offer, _)| offer.advert.signed().clone())
    }

    /// What earlier jobs showed of these providers.
    fn remembered(
        &self,
        order: &Order,
        adverts: &[Verified<Advert>],
        now: Timestamp,
    ) -> BTreeMap<PublicKey, Measured> {
        let learned = adverts.iter().map(|advert| {
            let history = self.histories.get(&advert.provider);
            let learned = history.map(|it| it.learned(now, &order.model, order.prompt_tokens));
            (advert.provider, learned.unwrap_or_default())
        });
        let learned: Vec<_> = learned.collect();
        let all = learned.iter().map(|(_, it)| it.tries).sum();
        let measured = learned.into_iter().map(|(provider, it)| {
            let known = Measured {
                history: it.first_token,
                pace: it.pace,
                availability_ppm: (it.tries > 0).then_some(it.availability_ppm),
                tries: Some(Tries { here: it.tries, all }),
                ..Measured::default()
            };
            (provider, known)
        });
        measured.collect()
    }

    /// Remembers how a job went, as far as that says something of the provider.
    pub(super) fn learn(&mut self, stream: StreamId, run: &jobs::Run, end: &BuyerEnd, cx: &mut Context<'_>) {
        let now = cx.now();
        let ended = match end {
            BuyerEnd::Settled(receipt) if receipt.body.cause == Cause::Delivered => {
                let us = |until: Timestamp| until.since(run.started).0.saturating_mul(1_000);
                let first = us(run.first_token.unwrap_or(now));
                Ended::Served(Run::new(now, first, us(now), receipt.body.output_tokens))
            }
            BuyerEnd::Refused { code: RefusalCode::Busy, .. } => Ended::Busy(now),
            BuyerEnd::Stalled if run.machine.is_cancelled() => Ended::Blameless,
            end if says_nothing(end) => Ended::Blameless,
            _ => Ended::Failed(now),
        };
        let history =
            self.histories.entry(run.provider).or_insert_with(|| ProviderHistory::new(run.provider));
        let prompt_tokens = run.machine.request().prompt.len() as u32;
        if history.record(goods::MODEL, prompt_tokens, ended) {
            let failed = matches!(ended, Ended::Failed(_));
            cx.report(Fact::Learned { by: cx.me(), stream, provider: run.provider, failed });
        }
        if self.histories.len() > HISTORIES_MAX {
            let oldest = self.histories.values().min_by_key(|history| history.newest());
            oldest.map(ProviderHistory::provider).map(|provider| self.histories.remove(&provider));
        }
    }
}
