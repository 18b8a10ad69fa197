//! This node's own postings, each with the quotes that come for it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gridhour_protocol::{id::PostingId, market::advert::Advert, signed::Verified};
use tokio::sync::mpsc;

use crate::net::limits::QUOTES_PER_POSTING_MAX;

/// Postings of this node that wait for quotes at once.
const OPEN_MAX: usize = 64;

type Waiting = BTreeMap<PostingId, mpsc::Sender<Verified<Advert>>>;

/// Who waits for quotes.
#[derive(Clone, Default)]
pub(super) struct Auctions {
    waiting: Arc<Mutex<Waiting>>,
}

/// A posting that waits for quotes, until it is dropped.
pub(super) struct Auction {
    auctions: Auctions,
    posting: PostingId,
    /// At most [`QUOTES_PER_POSTING_MAX`] that were not looked at; further ones are dropped.
    pub(super) quotes: mpsc::Receiver<Verified<Advert>>,
}

impl Auctions {
    /// Waits for quotes for `posting`; nothing if as many postings wait as may.
    pub(super) fn open(&self, posting: PostingId) -> Option<Auction> {
        let (sender, quotes) = mpsc::channel(QUOTES_PER_POSTING_MAX);
        let mut waiting = self.waiting();
        if waiting.len() >= OPEN_MAX {
            return None;
        }
        waiting.insert(posting, sender);
        Some(Auction { auctions: self.clone(), posting, quotes })
    }

    /// Hands a quote to whoever waits for it.
    pub(super) fn bring(&self, quote: Verified<Advert>) {
        let waiting = self.waiting();
        let sender = quote.quote.and_then(|to| waiting.get(&to.posting));
        let taken = sender.is_some_and(|sender| sender.try_send(quote).is_ok());
        if !taken {
            tracing::debug!("a quote came for which nobody waits");
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Every change is one insertion or one removal.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Auction {
    fn drop(&mut self) {
        self.auctions.waiting().remove(&self.posting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::sample;

    #[test]
    fn quotes_come_to_whoever_waits_for_them_and_for_as_long() {
        let auctions = Auctions::default();
        let [one, other] = [1, 2].map(|n| PostingId([n; 32]));
        let bring = |posting| {
            auctions.bring(sample::quote(3, 70, posting).verify().expect("signed by its provider"));
        };
        let mut auction = auctions.open(one).expect("there is room");
        bring(other);
        bring(one);
        let heard = auction.quotes.try_recv().expect("it came");
        assert_eq!(heard.quote.map(|quote| quote.posting), Some(one));
        assert!(auction.quotes.try_recv().is_err(), "the other was for nobody");
        (0..2 * QUOTES_PER_POSTING_MAX).for_each(|_| bring(one));
        let kept = std::iter::from_fn(|| auction.quotes.try_recv().ok()).count();
        assert_eq!(kept, QUOTES_PER_POSTING_MAX);
        drop(auction);
        assert!(auctions.waiting().is_empty());
    }

    #[test]
    fn so_many_postings_wait_at_once() {
        let auctions = Auctions::default();
        let posting = |n: usize| PostingId([n as u8; 32]);
        let open: Vec<_> = (0..OPEN_MAX).filter_map(|n| auctions.open(posting(n))).collect();
        assert_eq!(open.len(), OPEN_MAX);
        assert!(auctions.open(posting(OPEN_MAX)).is_none());
        drop(open);
        assert!(auctions.open(posting(OPEN_MAX)).is_some());
    }
}
