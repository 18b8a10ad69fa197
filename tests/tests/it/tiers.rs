//! Real drivers and real sockets: spot jobs that make room, and slots that several clients want.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use gridhour_contracts_sim::tx::{self, Call};
use gridhour_node::{
    clock,
    drivers::{
        client::{Client, Keep, RunError, RunEvent, RunSpec},
        provider::{ProviderConfig, SpotOffer},
        results::JobResult,
    },
    model::template::{Message, Role},
};
use gridhour_protocol::{
    exact::NUMERICS_VERSION,
    job::{
        message::{ClientMessage, Open, ProviderMessage, RefusalCode},
        request::Request,
        sampling::Sampling,
    },
    limits::{CHUNK_TOKENS_MAX, SPOT_NOTICE_MS_MIN},
    market::{advert::Advert, tier::Tier},
    receipt::Cause,
    session::{lane::LaneLedger, terms::Terms, voucher::Voucher},
    signed::{PublicKey, Verified},
    units::{Credits, Millis, PricePerHour},
    wire,
};
use tokio::{sync::watch, time::timeout};

use crate::{
    failover::{CHEAP, CLIENT, DEAR, FIRST, SECOND, World, client_of, confirmed, selling, wish},
    job_streams::{PATIENCE, engine, key, served, served_on_watched_device},
};

/// More than ever happens to one order here.
const SEEN_MAX: usize = 1_024;
/// Key of the other client.
const OTHER: u8 = 5;
/// Enough for all that it asks for.
const PURSE: Credits = Credits(10_000_000_000);
/// Tokens of the answer that is cut.
const WHOLE: u32 = 30;
/// Tokens of it when its slot is wanted back.
const BEFORE: usize = 7;
/// Longer than any test.
const LONG: Millis = Millis(600_000);

/// What a user sees.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Tokens(usize),
    Reclaiming(PublicKey, Millis),
    Moved(PublicKey),
}

/// A provider with one slot, which serves in spot for half of its ask.
fn spot(ask: PricePerHour) -> ProviderConfig {
    let offer = SpotOffer { ask: PricePerHour(ask.0 / 2), notice: Millis(SPOT_NOTICE_MS_MIN) };
    ProviderConfig { slots: 1, spot: Some(offer), ..selling(ask) }
}

impl World {
    /// Another client, with money of the first.
    fn other(&self) -> Client {
        self.main.block_on(async {
            let other = client_of(&self.folder, &self.network, OTHER).await;
            let lend = Call::Transfer { to: other.id(), amount: PURSE };
            self.client.ledger().submit(&key(CLIENT), lend).await.expect("it has the money");
            other
        })
    }

    /// Waits until this client hears an offer of the provider that is so.
    fn offer(
        &self,
        client: &Client,
        provider: PublicKey,
        is_so: impl Fn(&Advert) -> bool,
    ) -> Verified<Advert> {
        let heard = async {
            loop {
                let offers = client.offers(1, PATIENCE).await;
                if let Some(offer) = offers.into_iter().find(|it| it.provider == provider && is_so(it)) {
                    return offer;
                }
                tokio::task::yield_now().await;
            }
        };
        self.main.block_on(async { timeout(PATIENCE, heard).await }).expect("it is heard")
    }

    /// Runs an order, and tells `seen` of what happens.
    fn run_as(
        &self,
        client: &Client,
        spec: &RunSpec,
        offers: &[Verified<Advert>],
        seen: &SyncSender<Seen>,
    ) -> (Result<JobResult, RunError>, Vec<u32>) {
        let mut shown = Vec::new();
        let mut on_event = |event: RunEvent<'_>| {
            let told = match event {
                RunEvent::Tokens(tokens) => {
                    shown.extend_from_slice(tokens);
                    Seen::Tokens(shown.len())
                }
                RunEvent::Reclaiming { provider, within } => Seen::Reclaiming(provider, within),
                RunEvent::Moved { to, .. } => Seen::Moved(to),
                _ => return,
            };
            // Nobody may be left who wants to know.
            let _ = seen.send(told);
        };
        let (_keep, cancel) = watch::channel(false);
        let result = self.main.block_on(client.run(spec, offers, cancel, &mut on_event));
        (result, shown)
    }

    fn ask_as(&self, client: &Client, spec: &RunSpec, offers: &[Verified<Advert>]) -> JobResult {
        self.run_as(client, spec, offers, &sync_channel(SEEN_MAX).0).0.expect("it is delivered")
    }
}

fn until(told: &Receiver<Seen>, wanted: &Seen) {
    while told.recv_timeout(PATIENCE).expect("it happens") != *wanted {}
}

#[test]
fn a_spot_job_makes_room_for_an_order_on_demand_and_its_stream_goes_on_elsewhere() {
    let world = World::new();
    let other = world.other();
    let second = world.seller_of(SECOND, Duration::ZERO, served(), spot(DEAR));
    let (held, device) = served_on_watched_device(engine(), None);
    let first = world.seller_of(FIRST, Duration::ZERO, held, spot(CHEAP));
    let cheap = RunSpec { tier: Tier::Spot, ..wish(&served(), WHOLE, Sampling::GREEDY) };
    let firm = wish(&served(), 5, Sampling::GREEDY);
    let offers = world.offers(&[first.id, second.id], 0);
    let (seen, told) = sync_channel(SEEN_MAX);
    let ((moved, shown), served_firmly) = thread::scope(|scope| {
        let streaming = scope.spawn(|| world.run_as(&world.client, &cheap, &offers, &seen));
        (0..BEFORE).for_each(|_| drop(device.pass()));
        drop(device.next());
        until(&told, &Seen::Tokens(BEFORE));
        // Its slot is not idle, and is there for whoever pays the ask.
        let full = |offer: &Advert| {
            (offer.slots_in(Tier::Spot), offer.slots_in(Tier::OnDemand), offer.queued) == (0, 1, 0)
        };
        let offer = [world.offer(&other, first.id, full)];
        let (world, other, firm) = (&world, &other, &firm);
        let asking = scope.spawn(move || world.ask_as(other, firm, &offer));
        until(&told, &Seen::Reclaiming(first.id, Millis(SPOT_NOTICE_MS_MIN)));
        until(&told, &Seen::Moved(second.id));
        drop(device);
        (streaming.join().expect("it ends"), asking.join().expect("it ends"))
    });
    let moved = moved.expect("another goes on");
    let whole = world.ask_as(&world.client, &RunSpec { tier: Tier::OnDemand, ..cheap }, &offers[..]);
    assert_eq!((&moved.answer(), &shown), (&whole.answer(), &whole.answer()), "the very same text");
    assert!(confirmed(&moved) && confirmed(&served_firmly));

    let [part] = &moved.before[..] else { panic!("two providers: {:?}", moved.before) };
    let receipt = &part.receipt.as_ref().expect("it answers for what it wrote").body;
    assert_eq!((receipt.cause, receipt.output_tokens), (Cause::Reclaimed, BEFORE as u32));
    let price = |ask: PricePerHour| PricePerHour(ask.0 / 2);
    assert_eq!((part.terms.price, moved.terms.price), (price(CHEAP), price(DEAR)), "that of spot");
    let lane = LaneLedger::new(part.terms.id(), 0);
    assert_eq!(Some(part.cost), part.request.amount_on(&lane, &part.terms, BEFORE as u32));
    assert_eq!((served_firmly.terms.tier, served_firmly.terms.price), (Tier::OnDemand, CHEAP));
    assert_eq!(served_firmly.receipt.body.cause, Cause::Delivered);

    world.settled();
    let earned = |seller: PublicKey| {
        let all = [(&part.terms, part.cost), (&moved.terms, moved.cost)];
        let rest = [(&served_firmly.terms, served_firmly.cost), (&whole.terms, whole.cost)];
        let its = all.into_iter().chain(rest).filter(|(terms, _)| terms.provider == seller);
        Credits::sum(its.map(|(_, cost)| cost)).expect("small")
    };
    assert_eq!(world.balance(first.id), earned(first.id));
    assert_eq!(world.balance(second.id), earned(second.id));
    world.audit();
    no_worse_for_it(&world, first.id);
    first.stop();
    second.stop();
}

/// What the provider says to a job of `client` whose session holds one credit.
async fn ask_without_means(client: &Client, offer: &Verified<Advert>) -> ProviderMessage {
    let spec = wish(&served(), WHOLE, Sampling::GREEDY);
    let order = client.order(&spec, 5).expect("a sound order");
    let use_until = clock::now().after(Millis(60_000)).expect("in time");
    let terms = Terms {
        network: client.network(),
        client: client.id(),
        provider: offer.provider,
        order: order.signed().id(),
        advert: offer.signed().id(),
        model: spec.model,
        work: offer.offer_of(&spec.model).expect("it serves it").work,
        rates: offer.device.rates,
        numerics: NUMERICS_VERSION,
        price: offer.ask,
        tier: Tier::OnDemand,
        notice: Millis(0),
        chunk_tokens: CHUNK_TOKENS_MAX as u16,
        use_until,
        collect_until: use_until.after(LONG).expect("in time"),
        nonce: 1,
    };
    let (order, advert, hold) = (order.signed().clone(), offer.signed().clone(), Credits(1));
    let call = Call::Open(Box::new(tx::Open { order, advert, terms: terms.clone(), hold }));
    client.ledger().submit(client.key(), call).await.expect("the ledger holds whatever it is told to");
    let lane = LaneLedger::new(terms.id(), 0);
    let request = Request {
        session: terms.id(),
        lane: 0,
        index: 0,
        prompt: vec![1; 5],
        written: Vec::new(),
        prepaid: 0,
        sampling: Sampling::GREEDY,
        max_tokens: WHOLE,
        stop: Vec::new(),
        stop_texts: Vec::new(),
        logprobs: 0,
        salt: [7; 32],
    };
    let voucher = client.key().sign(Voucher {
        session: terms.id(),
        client: client.id(),
        lane: 0,
        sequence: lane.next_sequence().expect("it is new"),
        amount: request.amount_on(&lane, &terms, CHUNK_TOKENS_MAX as u32).expect("it can be billed"),
        receipts: 0,
        receipts_root: lane.receipts.root(),
    });
    let mut stream = client.net().open_job(offer.provider).await.expect("a stream opens");
    let open = ClientMessage::Open(Box::new(Open { terms, request, voucher }));
    stream.send(&wire::encode(&open)).await.expect("it is sent");
    let answer = timeout(PATIENCE, stream.recv()).await.expect("it answers").expect("in whole frames");
    wire::decode(&answer.expect("before it ends the stream")).expect("in words")
}

#[test]
fn a_job_that_its_session_cannot_pay_has_no_spot_job_reclaimed() {
    let world = World::new();
    let other = world.other();
    let (held, device) = served_on_watched_device(engine(), None);
    let seller = world.seller_of(FIRST, Duration::ZERO, held, spot(CHEAP));
    let cheap = RunSpec { tier: Tier::Spot, ..wish(&served(), WHOLE, Sampling::GREEDY) };
    let offers = world.offers(&[seller.id], 0);
    let (seen, told) = sync_channel(SEEN_MAX);
    let streamed = thread::scope(|scope| {
        let streaming = scope.spawn(|| world.run_as(&world.client, &cheap, &offers, &seen));
        (0..BEFORE).for_each(|_| drop(device.pass()));
        drop(device.next());
        until(&told, &Seen::Tokens(BEFORE));
        let offer = world.offer(&other, seller.id, |offer| offer.slots_in(Tier::OnDemand) == 1);
        let said = world.main.block_on(ask_without_means(&other, &offer));
        let refused = matches!(said, ProviderMessage::Refused { code: RefusalCode::HoldExhausted, .. });
        drop(device);
        let streamed = streaming.join().expect("it ends");
        assert!(refused, "{said:?}");
        streamed
    });
    let result = streamed.0.expect("it is delivered");
    assert_eq!((result.before.len(), result.receipt.body.cause), (0, Cause::Delivered));
    assert!(told.try_iter().all(|seen| matches!(seen, Seen::Tokens(_))), "nobody took its slot");
    seller.stop();
}

/// Whoever takes a spot slot back after its notice did nothing wrong: no risk is seen in it.
fn no_worse_for_it(world: &World, provider: PublicKey) {
    let idle = [world.offer(&world.client, provider, |offer| offer.slots_free == 1)];
    let spec = RunSpec { tier: Tier::Spot, ..wish(&served(), 5, Sampling::GREEDY) };
    let order = world.client.order(&spec, 5).expect("a sound order");
    let matched = world.main.block_on(world.client.match_order(&order, &idle, &spec));
    let record = matched.expect("no stake is asked for");
    assert_eq!((record.chosen, record.candidates[0].risk), (Some(provider), Credits(0)));
}

/// For a session that is kept, and many answers in it.
fn keeping(what: &str) -> RunSpec {
    RunSpec {
        messages: vec![Message { role: Role::User, content: what.into() }],
        keep: Some(Keep { prompt_tokens: 64, idle: LONG }),
        use_for: Millis(3_600_000),
        total_max: Credits(2_000_000_000),
        failover: false,
        ..wish(&served(), 6, Sampling::GREEDY)
    }
}

/// Opens a session with the provider, which has one slot.
fn warm(world: &World, client: &Client, provider: PublicKey) {
    let idle = [world.offer(client, provider, |offer| offer.slots_free == 1)];
    world.ask_as(client, &keeping("hello"), &idle);
}

#[test]
fn a_client_with_one_stream_comes_before_the_next_of_a_client_with_many() {
    let world = World::new();
    let other = world.other();
    let (held, device) = served_on_watched_device(engine(), None);
    let sells = ProviderConfig { slots: 1, queue: LONG, ..selling(CHEAP) };
    let seller = world.seller_of(FIRST, Duration::ZERO, held, sells);
    let warming = thread::scope(|scope| {
        let both = scope.spawn(|| {
            warm(&world, &world.client, seller.id);
            warm(&world, &other, seller.id);
        });
        device.pass_until(|| both.is_finished());
        both.join()
    });
    warming.expect("both have a session");
    let waits = |queued: u16| world.offer(&world.client, seller.id, |offer| offer.queued == queued);
    let (many, one) = thread::scope(|scope| {
        let (world, other) = (&world, &other);
        let ask = |client, what: &'static str| scope.spawn(move || world.ask_as(client, &keeping(what), &[]));
        let mut many = vec![ask(&world.client, "first")];
        drop(device.next());
        many.push(ask(&world.client, "second"));
        waits(1);
        many.push(ask(&world.client, "third"));
        waits(2);
        let one = ask(other, "alone");
        waits(3);
        drop(device);
        let ended = |it: thread::ScopedJoinHandle<'_, JobResult>| it.join().expect("it is delivered");
        (many.into_iter().map(ended).collect::<Vec<_>>(), ended(one))
    });
    let one = &one.receipt.body;
    let [first, rest @ ..] = &many[..] else { panic!("three were asked for") };
    assert!(first.receipt.body.ended_at <= one.started_at, "there is one slot");
    for late in rest {
        assert!(one.ended_at <= late.receipt.body.started_at, "it came before, and had its turn already");
    }
    for client in [&world.client, &other] {
        assert!(world.main.block_on(client.close_kept()).is_empty());
    }
    world.settled();
    world.audit();
    seller.stop();
}
