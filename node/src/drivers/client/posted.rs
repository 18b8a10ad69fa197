//! Posted orders: the public part of an order is gossiped, and what providers quote for it stands beside
//! their adverts.

use std::time::Duration;

use gridhour_protocol::{
    id::PostingId,
    limits::POSTING_TTL_MS_MAX,
    market::{
        advert::Advert,
        data_class::DataClass,
        order::Order,
        posting::Posting,
        quote::{self, QuoteFault},
    },
    signed::Verified,
    units::Millis,
};
use tokio::time::{Instant, timeout_at};

use super::Client;
use crate::{clock, drivers::auctions::Auction, keys::random_u64};

/// How an order is posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Post {
    /// How long to wait for quotes; [`POSTING_TTL_MS_MAX`] if it is more.
    pub wait: Millis,
    /// Quotes after which no more are waited for.
    pub enough: usize,
}

impl Client {
    /// Posts what `order` wants, and waits for quotes. Those that are good are firm until their end, and
    /// their providers keep a slot for each. Where nothing can be posted, there are none: adverts stand all
    /// the same. What must not leave the client's own machines is nobody else's to hear of.
    pub async fn quotes(&self, order: &Order, post: Post) -> Vec<Verified<Advert>> {
        if order.data == DataClass::LocalOnly {
            return Vec::new();
        }
        let wait = post.wait.min(Millis(POSTING_TTL_MS_MAX));
        let until = Instant::now() + Duration::from_millis(wait.0);
        match self.post(order, wait).await {
            Ok(auction) => self.collect(auction, until, post.enough).await,
            Err(why) => {
                tracing::warn!(why, "the order was not posted");
                Vec::new()
            }
        }
    }

    async fn post(&self, order: &Order, wait: Millis) -> Result<(PostingId, Auction), String> {
        let nonce = random_u64().map_err(|error| error.to_string())?;
        let posting = self.key.sign(Posting::of(order, nonce, clock::now(), wait));
        let id = posting.id();
        let auction = self.offers.auctions().open(id).ok_or("too many orders wait for quotes")?;
        self.net.publish_posting(posting).await.map_err(|error| error.to_string())?;
        Ok((id, auction))
    }

    /// The good quotes that come until then.
    async fn collect(
        &self,
        (posting, mut auction): (PostingId, Auction),
        until: Instant,
        enough: usize,
    ) -> Vec<Verified<Advert>> {
        let mut quotes = Vec::new();
        while quotes.len() < enough {
            let Ok(Some(quote)) = timeout_at(until, auction.quotes.recv()).await else { break };
            match self.check_quote(&posting, &quote) {
                Ok(()) => quotes.push(quote),
                Err(why) => {
                    tracing::warn!(provider = %quote.provider.short(), %why, "a quote is left out");
                }
            }
        }
        quotes
    }

    fn check_quote(&self, posting: &PostingId, quote: &Verified<Advert>) -> Result<(), QuoteFault> {
        let offers = self.offers.live();
        let advert = offers.iter().find(|advert| advert.provider == quote.provider);
        quote::check(quote, posting, &self.id(), advert.map(|advert| &**advert), clock::now())
    }
}
