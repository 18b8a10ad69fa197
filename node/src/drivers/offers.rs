//! The offers that a node hears of and could buy: every provider's newest advert, while it lives.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gridhour_protocol::{
    id::NetworkId,
    market::{advert::Advert, book::Book},
    signed::{PublicKey, Verified},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout, timeout_at},
};

use crate::{clock, drivers::auctions::Auctions, net::NetEvent};

/// How long the offers must have stood still before they are taken as all.
const QUIET_TIME: Duration = Duration::from_millis(400);

/// What was heard of. It listens until the network ends.
pub(super) struct Offers {
    book: Arc<Mutex<Book>>,
    entered: watch::Receiver<u64>,
    auctions: Auctions,
}

impl Offers {
    /// Listens to the events of a node of `network` that serves nobody. To be called within a runtime.
    pub(super) fn listen(network: NetworkId, inbox: mpsc::Receiver<NetEvent>) -> Self {
        let book = Arc::new(Mutex::new(Book::new(network)));
        let (count, entered) = watch::channel(0);
        let auctions = Auctions::default();
        tokio::spawn(enter(inbox, book.clone(), count, auctions.clone()));
        Self { book, entered, auctions }
    }

    /// Live offers, as soon as there are `least` and no more come, or when `patience` is over.
    pub(super) async fn wait_for(&self, least: usize, patience: Duration) -> Vec<Verified<Advert>> {
        let mut entered = self.entered.clone();
        let end = Instant::now() + patience;
        loop {
            let enough = self.live().len() >= least;
            let wait = if enough { (Instant::now() + QUIET_TIME).min(end) } else { end };
            if !matches!(timeout_at(wait, entered.changed()).await, Ok(Ok(()))) {
                return self.live();
            }
        }
    }

    /// Returns as soon as there is a live offer of one of these providers, or when `patience` is over.
    pub(super) async fn wait_for_one_of(&self, providers: &BTreeSet<PublicKey>, patience: Duration) {
        let mut entered = self.entered.clone();
        let wait = async {
            while !self.live().iter().any(|offer| providers.contains(&offer.provider)) {
                if entered.changed().await.is_err() {
                    return;
                }
            }
        };
        // Without one there is nothing to say: the match tells.
        let _ = timeout(patience, wait).await;
    }

    /// Who waits for quotes.
    pub(super) fn auctions(&self) -> &Auctions {
        &self.auctions
    }

    /// Live offers.
    pub(super) fn live(&self) -> Vec<Verified<Advert>> {
        lock(&self.book).live(clock::now()).cloned().collect()
    }
}

/// Enters adverts into the book, and hands out quotes, until the network ends.
async fn enter(
    mut inbox: mpsc::Receiver<NetEvent>,
    book: Arc<Mutex<Book>>,
    count: watch::Sender<u64>,
    auctions: Auctions,
) {
    while let Some(event) = inbox.recv().await {
        // Whoever only listens serves nobody: dropping a stream or a request refuses it.
        match event {
            NetEvent::Advert(advert) => {
                let entered = lock(&book).enter(clock::now(), advert).is_ok();
                count.send_if_modified(|count| {
                    *count += u64::from(entered);
                    entered
                });
            }
            NetEvent::Quote(quote) => auctions.bring(quote),
            _ => {}
        }
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    // No panic can leave the book half-changed: every change is one insertion.
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
