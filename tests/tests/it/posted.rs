//! Real drivers and real sockets: orders that are posted, and what providers quote for them.

use std::time::Duration;

use gridhour_contracts_sim::tx::Call;
use gridhour_node::{
    clock,
    data_dir::DataDir,
    drivers::{
        client::{Client, ClientConfig, Post, RunError, RunEvent, RunSpec},
        provider::{ProviderConfig, ProviderEvent, QuotePlan},
        results::JobResult,
    },
    net::{Net, NetConfig, NetEvent},
};
use gridhour_protocol::{
    job::sampling::Sampling,
    market::{advert::Advert, mask::Reason, order::Order, quote::Quote},
    signed::{PublicKey, Verified},
    units::{Credits, Height, Millis, PricePerHour, Timestamp},
};
use tokio::{sync::watch, time::timeout};

use crate::{
    failover::{CHEAP, DEAR, FIRST, SECOND, Seller, World, selling, wish},
    job_streams::{PATIENCE, key, listening, served},
};

/// Tokens of an answer.
const TOKENS: u32 = 6;
/// One quote is waited for, for longer than a busy machine takes to make it.
const ONE: Post = Post { wait: Millis(30_000), enough: 1 };
/// Longer than a test.
const FIRM: Millis = Millis(60_000);
/// What the second client has.
const PURSE: Credits = Credits(1_000_000_000);

/// A provider of one slot that asks what is dear, and quotes what is cheap when it is idle.
fn quoting(firm: Millis) -> ProviderConfig {
    ProviderConfig { slots: 1, quotes: Some(QuotePlan { floor: CHEAP, firm }), ..selling(DEAR) }
}

fn wanted() -> RunSpec {
    wish(&served(), TOKENS, Sampling::GREEDY)
}

impl Seller {
    /// Waits for something that the provider tells.
    fn told(&mut self, what: impl Fn(&ProviderEvent) -> bool) -> ProviderEvent {
        let heard = async {
            loop {
                let event = self.events.recv().await.expect("the provider runs");
                if what(&event) {
                    return event;
                }
            }
        };
        self.runtime.block_on(async { timeout(PATIENCE, heard).await }).expect("it is told")
    }
}

impl World {
    fn quoting(&self, n: u8, firm: Millis) -> Seller {
        self.seller_of(n, Duration::ZERO, served(), quoting(firm))
    }

    /// Runs an order of `client`; with how many quotes came, if it was posted.
    fn order(
        &self,
        client: &Client,
        spec: &RunSpec,
        offers: &[Verified<Advert>],
    ) -> (Result<JobResult, RunError>, Option<usize>) {
        let mut posted = None;
        let mut on_event = |event: RunEvent<'_>| {
            if let RunEvent::Posted { quotes } = event {
                posted = Some(quotes);
            }
        };
        let (_keep, cancel) = watch::channel(false);
        let result = self.main.block_on(client.run(spec, offers, cancel, &mut on_event));
        (result, posted)
    }

    /// Waits until `client` sees that this provider has so many free slots.
    fn sees_free(&self, client: &Client, provider: PublicKey, slots: u16) -> Vec<Verified<Advert>> {
        let shown = async {
            loop {
                let offers = client.offers(1, PATIENCE).await;
                let is_so =
                    |offer: &&Verified<Advert>| offer.provider == provider && offer.slots_free == slots;
                if offers.iter().any(|offer| is_so(&offer)) {
                    return offers;
                }
            }
        };
        self.main.block_on(async { timeout(PATIENCE, shown).await }).expect("it is advertised")
    }

    /// Another client, with a purse of its own.
    fn second_client(&self, n: u8, purse: Credits) -> Client {
        self.main.block_on(async {
            let data_dir = DataDir::new(self.folder.path().join(format!("client-{n}")));
            let config = ClientConfig { data_dir, key: key(n), network: self.network.clone(), region: None };
            let client = Client::connect(config).await.expect("the ledger node is there");
            if purse != Credits::ZERO {
                let call = Call::Transfer { to: client.id(), amount: purse };
                self.client.ledger().submit(self.client.key(), call).await.expect("the first one is rich");
            }
            client
        })
    }

    /// The advert that the only session ever opened accepts.
    fn accepted(&self) -> Advert {
        let heights = 1..=self.view.tip().borrow().0;
        let txs = heights.flat_map(|height| self.view.block(Height(height)).expect("it can be read").txs);
        let opens = txs.filter_map(|tx| match tx.body.call {
            Call::Open(open) => Some(open.advert.body),
            _ => None,
        });
        let mut opens: Vec<Advert> = opens.collect();
        assert_eq!(opens.len(), 1);
        opens.remove(0)
    }

    fn unsigned_order(&self, client: &Client) -> Verified<Order> {
        client.order(&wanted(), 20).expect("a sound order")
    }
}

/// Both ask the same. One quotes less when the order is posted: it wins, in the slot that it kept, and the
/// ledger pays it what it quoted.
#[test]
fn the_lower_quote_wins_and_is_what_is_paid() {
    let world = World::new();
    let silent = world.seller(FIRST, DEAR, Duration::ZERO, served());
    let mut quoting = world.quoting(SECOND, FIRM);
    let offers = world.offers(&[silent.id, quoting.id], 0);
    let spec = RunSpec { post: Some(ONE), failover: false, ..wanted() };
    let (result, quotes) = world.order(&world.client, &spec, &offers);
    let result = result.expect("it is delivered");
    assert_eq!((result.terms.provider, result.terms.price, quotes), (quoting.id, CHEAP, Some(1)));
    let best = &result.matched.candidates[0];
    let [other] = &result.matched.candidates[1..] else { panic!("the other one was considered") };
    assert!(best.quoted.is_some() && other.quoted.is_none() && best.cost < other.cost);

    let advert = world.accepted();
    let addressed = advert.quote.expect("a quote was accepted");
    assert_eq!((advert.ask, addressed.client), (CHEAP, world.client.id()));
    assert_eq!(Some(addressed.posting), best.quoted);
    let told = quoting.told(|event| matches!(event, ProviderEvent::Quoted { .. }));
    assert!(matches!(told, ProviderEvent::Quoted { price: CHEAP, .. }));
    world.settled();
    assert_eq!((world.balance(quoting.id), world.balance(silent.id)), (result.cost, Credits::ZERO));
    world.audit();
    quoting.stop();
    silent.stop();
}

/// While a slot is kept for a quote nobody else gets it, neither by the advert nor by asking all the same.
#[test]
fn a_quoted_slot_is_kept_for_its_client_alone() {
    let world = World::new();
    let quoting = world.quoting(SECOND, FIRM);
    let offers = world.offers(&[quoting.id], 0);
    let order = world.unsigned_order(&world.client);
    let quotes = world.main.block_on(world.client.quotes(&order, ONE));
    let [quote] = quotes.as_slice() else { panic!("one quote, and got {}", quotes.len()) };
    assert_eq!((quote.provider, quote.ask, quote.slots_free), (quoting.id, CHEAP, 1));
    world.sees_free(&world.client, quoting.id, 0);

    let other = world.second_client(5, PURSE);
    let shown = world.sees_free(&other, quoting.id, 0);
    let (refused, _) = world.order(&other, &wanted(), &shown);
    let Err(RunError::NoOffer(record)) = refused else { panic!("it went somewhere") };
    assert_eq!(record.refused[0].reason, Reason::NoFreeSlot);
    assert_eq!(offers.len(), 1);
    world.main.block_on(other.net().shutdown());
    quoting.stop();
}

#[test]
fn a_slot_for_which_nobody_comes_is_free_again() {
    let world = World::new();
    let mut quoting = world.quoting(SECOND, Millis(1_000));
    world.offers(&[quoting.id], 0);
    let order = world.unsigned_order(&world.client);
    world.main.block_on(world.client.quotes(&order, ONE));
    let lapsed = quoting.told(|event| matches!(event, ProviderEvent::QuoteLapsed { .. }));
    assert_eq!(lapsed, ProviderEvent::QuoteLapsed { client: world.client.id() });
    let offers = world.sees_free(&world.client, quoting.id, 1);
    let (result, quotes) = world.order(&world.client, &wanted(), &offers);
    assert_eq!((result.expect("it is delivered").terms.price, quotes), (DEAR, None));
    world.settled();
    world.audit();
    quoting.stop();
}

/// Without anybody who quotes, the order goes to what is advertised.
#[test]
fn an_order_for_which_nobody_quotes_goes_to_the_adverts() {
    let world = World::new();
    let silent = world.seller(FIRST, CHEAP, Duration::ZERO, served());
    let offers = world.offers(&[silent.id], 0);
    let spec = RunSpec { post: Some(Post { wait: Millis(200), enough: 1 }), ..wanted() };
    let (result, quotes) = world.order(&world.client, &spec, &offers);
    let result = result.expect("it is delivered");
    assert_eq!((quotes, result.terms.price), (Some(0), CHEAP));
    assert!(result.matched.candidates.iter().all(|candidate| candidate.quoted.is_none()));
    world.settled();
    world.audit();
    silent.stop();
}

/// A posting costs nothing; a quote is made to accounts that could pay for the job.
#[test]
fn nothing_is_quoted_to_an_account_that_cannot_pay() {
    let world = World::new();
    let mut quoting = world.quoting(SECOND, FIRM);
    world.offers(&[quoting.id], 0);
    let pauper = world.second_client(5, Credits::ZERO);
    world.sees_free(&pauper, quoting.id, 1);
    let post = Post { wait: Millis(500), enough: 1 };
    let order = world.unsigned_order(&pauper);
    assert!(world.main.block_on(pauper.quotes(&order, post)).is_empty());
    let order = world.unsigned_order(&world.client);
    assert_eq!(world.main.block_on(world.client.quotes(&order, ONE)).len(), 1);
    let told = quoting.told(|event| matches!(event, ProviderEvent::Quoted { .. }));
    assert!(matches!(told, ProviderEvent::Quoted { client, .. } if client == world.client.id()), "{told:?}");
    world.main.block_on(pauper.net().shutdown());
    quoting.stop();
}

/// A provider that quotes more than it advertises, more than once: the network passes its first quote on, and
/// the client takes none of them.
#[test]
fn a_quote_over_the_ask_is_left_out() {
    let world = World::new();
    let honest = world.quoting(SECOND, FIRM);
    let seen = world.offers(&[honest.id], 0);
    let (greedy, model) = (key(7), seen[0].signed().body.clone());
    world.main.block_on(async {
        let config: NetConfig = listening(&world.network, 7);
        let (net, mut inbox) = Net::start(config).await.expect("loopback listens");
        let advert = Advert { provider: greedy.public(), ask: CHEAP, ..model };
        net.publish_advert(greedy.sign(advert.clone())).await.expect("an honest advert");
        let known = async { while world.client.offers(2, PATIENCE).await.len() < 2 {} };
        timeout(PATIENCE, known).await.expect("both are seen");
        let dear = async {
            while let Some(event) = inbox.recv().await {
                let NetEvent::Posting(posting) = event else { continue };
                let quote = Some(Quote { client: posting.client(), posting: posting.signed().id() });
                let (issued_at, ask) = (clock::now(), PricePerHour(CHEAP.0 + 1));
                let expires_at = Timestamp(issued_at.0 + FIRM.0);
                let quote = Advert { ask, issued_at, expires_at, sequence: 0, quote, ..advert.clone() };
                net.publish_quote(greedy.sign(quote))
                    .await
                    .expect("only the client compares it with the ask");
            }
        };
        let order = world.client.order(&wanted(), 20).expect("a sound order");
        let asked = async {
            let quotes = world.client.quotes(&order, Post { wait: Millis(3_000), enough: 2 }).await;
            let mut metrics = world.client.net().watch_metrics();
            metrics.wait_for(|metrics| metrics.auctions_accepted_total == 2).await.expect("the network runs");
            quotes
        };
        let quotes = tokio::select! {
            () = dear => panic!("the network ended"),
            quotes = timeout(PATIENCE, asked) => quotes.expect("both quotes come"),
        };
        let providers: Vec<PublicKey> = quotes.iter().map(|quote| quote.provider).collect();
        assert_eq!(providers, [honest.id]);
        net.shutdown().await;
    });
    honest.stop();
}
