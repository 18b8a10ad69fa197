//! Real drivers and real sockets: capacity that is reserved, prepaid, called for, used, missed and given up, to the credit.
//!
//! Slots are longer than any test. The ledger's clock is moved instead: whoever asks the ledger what runs hears its time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use gridhour_contracts_sim::{limits::BOND_MIN, state::Reservation, tx::Call};
use gridhour_node::{
    clock,
    consensus::ledger_time::{Clock, Reading, SystemClock},
    data_dir::DataDir,
    drivers::{
        client::{Client, ClientConfig, NoSlot, ReservationAnswer, RunError, RunEvent, RunSpec, SlotError},
        ledger_client::LedgerError,
        provider::{ProviderConfig, ProviderEvent, Served},
        results::JobResult,
    },
    net::{Net, NetEvent},
    rpc::ProviderAnswer,
};
use gridhour_protocol::{
    calibration::{
        job::Challenge,
        receipt::{Calibration, DeviceName},
        shape::MEMORY_MIN,
    },
    exact::numerics_digest,
    id::{OutputDigest, ReservationId, ScoreDigest},
    job::sampling::Sampling,
    limits::ADVERT_TTL_MS_MAX,
    market::{
        advert::Advert,
        reservation::{ReservationOffer, ReservationWish, stock::ReservationTerms},
        tier::Tier,
    },
    signed::{Signed, Verified},
    units::{Credits, GpuNs, Millis, PricePerHour, Timestamp},
    wire,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use crate::{
    failover::{CHEAP, DEAR, FIRST, Seller, World, selling, wish},
    job_streams::{PATIENCE, key, listening, served},
};

const MINUTE_MS: u64 = 60_000;
/// What a provider has at the beginning, beside its stake.
const PURSE: Credits = Credits(10_000_000_000);
/// Between what is asked on demand for, and the most that the client pays.
const RESERVED: PricePerHour = PricePerHour(200_000_000_000);
/// Of a slot's price, for standing by.
const STANDBY: u64 = 400;
/// Tokens of an answer.
const TOKENS: u32 = 6;

/// The machine's clocks, and what they are ahead.
#[derive(Clone, Default)]
struct Ahead {
    machine: SystemClock,
    ms: Arc<AtomicU64>,
}

impl Clock for Ahead {
    fn read(&self) -> Reading {
        let (Reading { wall, steady }, ms) = (self.machine.read(), self.ms.load(Ordering::SeqCst));
        Reading { wall: Timestamp(wall.0 + ms), steady: steady + Duration::from_millis(ms) }
    }
}

/// A world in which the ledger's time is moved.
struct Town {
    world: World,
    clock: Ahead,
}

fn terms() -> ReservationTerms {
    ReservationTerms {
        price: RESERVED,
        standby: u16::try_from(STANDBY).expect("a share"),
        answer_within: Millis(2 * MINUTE_MS),
        notice: Millis(10 * MINUTE_MS),
        ladder: vec![100, 1_000],
        longest: Millis(60 * MINUTE_MS),
    }
}

fn reserving(ask: PricePerHour) -> ProviderConfig {
    ProviderConfig { stake: BOND_MIN, reserve: Some(terms()), ..selling(ask) }
}

/// Slots of ten minutes, with one of reference time in each, from a minute from now on.
fn window(served: &Served, slots: u16) -> ReservationWish {
    ReservationWish {
        model: served.offer.model,
        starts_at: Timestamp(clock::now().0 + MINUTE_MS),
        slot: Millis(10 * MINUTE_MS),
        slots,
        capacity: GpuNs(MINUTE_MS * 1_000_000),
    }
}

fn reserved(id: Option<ReservationId>) -> RunSpec {
    let spec = wish(&served(), TOKENS, Sampling::GREEDY);
    RunSpec { tier: Tier::Reserved, reservation: id, use_for: Millis(60 * MINUTE_MS), ..spec }
}

impl Town {
    fn new() -> Self {
        let clock = Ahead::default();
        Self { world: World::on_clock(Box::new(clock.clone())), clock }
    }

    fn call(&self, signer: u8, call: Call) -> Result<(), LedgerError> {
        let ledger = self.world.client.ledger();
        self.world.main.block_on(ledger.submit(&key(signer), call)).map(drop)
    }

    /// Starts a provider whose device is at stake and measured.
    fn seller(&self, config: ProviderConfig) -> Seller {
        let fund = PURSE.checked_add(BOND_MIN).expect("small");
        self.call(2, Call::Mint { to: key(FIRST).public(), amount: fund }).expect("the issuer mints");
        let served = served();
        let device = DeviceName::of(&served.device);
        let mut seller = self.world.seller_of(FIRST, Duration::ZERO, served, config);
        let staked = |event: &ProviderEvent| matches!(event, ProviderEvent::Staked { .. });
        seller.hear(staked);
        let measured = key(9).sign(self.measurement(device));
        self.call(FIRST, Call::Calibrate(Box::new(measured))).expect("it is registered");
        seller
    }

    /// A measurement by somebody else, of more than is advertised.
    fn measurement(&self, device: DeviceName) -> Calibration {
        Calibration {
            challenge: Challenge {
                numerics: numerics_digest(),
                network: self.world.network.id(),
                challenger: key(9).public(),
                provider: key(FIRST).public(),
                memory_bytes: MEMORY_MIN,
                seed: [1; 32],
            },
            device,
            prompt_nonce: [2; 32],
            output_nonce: [3; 32],
            output: OutputDigest([4; 32]),
            scores: ScoreDigest([5; 32]),
            prefill_ns: 1_000_000,
            decode_ns: 1_000_000,
            started_at: clock::now(),
            ended_at: clock::now(),
        }
    }

    fn ask(&self, seller: &Seller, wish: &ReservationWish) -> Result<Verified<ReservationOffer>, String> {
        self.ask_as(&self.world.client, seller, wish)
    }

    fn ask_as(
        &self,
        client: &Client,
        seller: &Seller,
        wish: &ReservationWish,
    ) -> Result<Verified<ReservationOffer>, String> {
        let offers = self.world.offers(&[seller.id], 0);
        let asked = client.ask_to_reserve(wish, &offers);
        let mut answers = self.world.main.block_on(asked).expect("the model is served");
        assert_eq!(answers.len(), 1);
        let ReservationAnswer { provider, said } = answers.remove(0);
        assert_eq!(provider, seller.id);
        said
    }

    /// Another client, with credits of its own.
    fn other_client(&self) -> Client {
        self.call(2, Call::Mint { to: key(5).public(), amount: PURSE }).expect("the issuer mints");
        let data_dir = DataDir::new(self.world.folder.path().join("other"));
        let config =
            ClientConfig { data_dir, key: key(5), network: self.world.network.clone(), region: None };
        self.world.main.block_on(async {
            let client = Client::connect(config).await.expect("the ledger node is there");
            assert_eq!(client.offers(1, PATIENCE).await.len(), 1);
            client
        })
    }

    /// Books what the seller offers for a wish.
    fn book(&self, seller: &Seller, wish: &ReservationWish) -> Signed<ReservationOffer> {
        let offer = self.ask(seller, wish).expect("it is free").signed().clone();
        self.call(4, Call::Book(Box::new(offer.clone()))).expect("it is booked");
        offer
    }

    /// Moves the ledger's time on to `time`, and makes a block of it.
    fn pass_to(&self, time: Timestamp) {
        let ms = time.since(clock::now()).0;
        self.clock.ms.fetch_max(ms, Ordering::SeqCst);
        self.call(2, Call::Mint { to: key(7).public(), amount: Credits(1) }).expect("the issuer mints");
        assert!(self.world.view.read(|state| state.tip().time) >= time);
    }

    fn run(&self, spec: &RunSpec) -> (Result<JobResult, RunError>, usize) {
        self.world.main.block_on(self.run_beside(spec, async {}))
    }

    /// Runs an order while `meanwhile` happens. How often a slot was called for.
    async fn run_beside(
        &self,
        spec: &RunSpec,
        meanwhile: impl Future<Output = ()>,
    ) -> (Result<JobResult, RunError>, usize) {
        let (_keep, cancel) = watch::channel(false);
        let mut calls = 0;
        let mut on_event = |event: RunEvent<'_>| {
            calls += usize::from(matches!(event, RunEvent::SlotCalled { .. }));
        };
        let run = timeout(PATIENCE, self.world.client.run(spec, &[], cancel, &mut on_event));
        let (result, ()) = tokio::join!(run, meanwhile);
        (result.expect("it ends"), calls)
    }

    fn reservation(&self, id: ReservationId) -> Option<Reservation> {
        self.world.view.read(|state| state.reservation(&id).cloned())
    }

    /// Waits until the ledger shows what `look` looks for.
    async fn until(&self, look: impl Fn(&Reservation) -> bool, id: ReservationId) {
        let mut tip = self.world.view.tip();
        let seen = async {
            while !self.reservation(id).is_some_and(|known| look(&known)) {
                tip.changed().await.expect("the ledger node runs");
            }
        };
        timeout(PATIENCE, seen).await.expect("it is seen");
    }

    /// What the client and its provider have.
    fn balances(&self) -> [u64; 2] {
        [4, FIRST].map(|n| self.world.balance(key(n).public()).0)
    }

    fn settle(&self, id: ReservationId) {
        self.call(7, Call::Settle { reservation: id }).expect("it is due");
    }
}

impl Seller {
    /// Waits until it tells this.
    fn hear(&mut self, wanted: impl Fn(&ProviderEvent) -> bool) {
        let heard = async { while !wanted(&self.events.recv().await.expect("it runs")) {} };
        self.runtime.block_on(async { timeout(PATIENCE, heard).await }).expect("it tells in time");
    }
}

#[test]
fn a_slot_is_booked_used_and_settled_to_the_credit() {
    let town = Town::new();
    let mut seller = town.seller(reserving(CHEAP));
    let wish = window(&served(), 2);
    let begin = town.balances();
    assert_eq!(begin[1], PURSE.0);
    let Signed { body: offer, .. } = town.book(&seller, &wish);
    let (id, price, bond) = (offer.id(), offer.slot_price().0, offer.bond(0).0);
    assert_eq!((offer.price, price), (RESERVED, RESERVED.0 / 60), "the price of a minute");
    assert_eq!(town.balances(), [begin[0] - 2 * price, begin[1] - bond]);
    seller.hear(|event| matches!(event, ProviderEvent::Reserved { reservation, .. } if *reservation == id));
    let (early, _) = town.run(&reserved(Some(id)));
    assert!(matches!(early, Err(RunError::Slot(SlotError::None(NoSlot::NotNow(..))))), "{early:?}");

    town.pass_to(offer.start_of(0));
    let (result, calls) = town.run(&reserved(None));
    let result = result.expect("it is delivered");
    assert_eq!((result.answer().len(), calls), (TOKENS as usize, 0), "nobody had to call");
    assert_eq!((result.terms.price, result.terms.use_until), (RESERVED, offer.start_of(1)));
    town.world.settled();
    let cost = result.cost.0;
    assert!(cost > 0 && cost < price);
    assert_eq!(town.balances(), [begin[0] - 2 * price, begin[1] - bond + cost]);

    town.pass_to(offer.start_of(2));
    town.settle(id);
    assert_eq!(town.reservation(id), None);
    let standby = |unused: u64| unused * STANDBY / 1_000;
    let earned = cost + standby(price - cost) + standby(price);
    assert_eq!(town.balances(), [begin[0] - earned, begin[1] + earned]);
    seller.stop();
}

#[test]
fn a_provider_that_is_silent_loses_a_rung_and_its_client_has_its_money_back() {
    let town = Town::new();
    let seller = town.seller(reserving(CHEAP));
    let begin = town.balances();
    let Signed { body: offer, .. } = town.book(&seller, &window(&served(), 3));
    let (id, price, bond) = (offer.id(), offer.slot_price().0, offer.bond(0).0);
    seller.stop();
    let miss = |slot: u16| {
        town.pass_to(offer.start_of(slot));
        let town = &town;
        let later = Timestamp(offer.start_of(slot).0 + offer.answer_within.0 + MINUTE_MS);
        let over = async {
            town.until(|known| known.demand.is_some(), id).await;
            // Once it is called for, time passes without an answer.
            tokio::task::block_in_place(|| {
                town.clock.ms.fetch_max(later.since(clock::now()).0, Ordering::SeqCst);
            });
            let block = Call::Mint { to: key(7).public(), amount: Credits(1) };
            town.world.client.ledger().submit(&key(2), block).await.expect("the issuer mints");
        };
        town.world.main.block_on(town.run_beside(&reserved(Some(id)), over))
    };
    let (first, calls) = miss(0);
    let Err(RunError::Slot(SlotError::Missed(missed))) = first else { panic!("{first:?}") };
    assert_eq!((missed.slot, missed.back.0, missed.burned.0, calls), (0, price, price / 10, 1));
    assert!(!missed.is_last);
    assert_eq!(town.balances(), [begin[0] - 2 * price, begin[1] - bond]);
    let known = town.reservation(id).expect("two slots are left");
    assert_eq!((known.missed.len(), known.bond().0), (1, bond - price / 10));

    let (second, _) = miss(1);
    let Err(RunError::Slot(SlotError::Missed(missed))) = second else { panic!("{second:?}") };
    assert_eq!((missed.back.0, missed.burned.0, missed.is_last), (2 * price, price, true));
    assert_eq!(town.reservation(id), None, "the ladder is at its end");
    assert_eq!(town.balances(), [begin[0], begin[1] - bond], "no more, and no less");
    assert_eq!(bond, price / 10 + price);
}

#[test]
fn a_provider_that_comes_back_answers_what_was_called_for_while_it_was_away() {
    let town = Town::new();
    let seller = town.seller(reserving(CHEAP));
    let Signed { body: offer, .. } = town.book(&seller, &window(&served(), 1));
    let id = offer.id();
    seller.stop();
    town.pass_to(offer.start_of(0));
    let (back, started) = oneshot::channel();
    let comes_back = async {
        town.until(|known| known.demand.is_some(), id).await;
        // It asks more by now, and reserves nothing any more: what was agreed on stands.
        let start = || town.world.seller_of(FIRST, Duration::ZERO, served(), selling(DEAR));
        let seller = std::thread::scope(|scope| scope.spawn(start).join().expect("it starts"));
        assert!(back.send(seller).is_ok(), "the test waits");
    };
    let (result, calls) = town.world.main.block_on(town.run_beside(&reserved(Some(id)), comes_back));
    let mut seller = town.world.main.block_on(started).expect("it was started");
    let result = result.expect("it answers, and serves");
    assert_eq!((result.answer().len(), result.terms.price, calls), (TOKENS as usize, RESERVED, 1));
    seller.hear(|event| matches!(event, ProviderEvent::SlotAnswered { slot: 0, .. }));
    assert!(town.reservation(id).is_some_and(|known| known.missed.is_empty()));
    town.world.settled();
    seller.stop();
}

/// Plays a provider: answers the call on the ledger as soon as it is asked for the slot, and only then says a word itself.
async fn answer_late(
    town: &Town,
    mut inbox: mpsc::Receiver<NetEvent>,
    id: ReservationId,
    advert: Signed<Advert>,
) {
    let call = Call::Answer { reservation: id, advert: Box::new(advert.clone()) };
    let mut call = Some(call);
    while let Some(event) = inbox.recv().await {
        let NetEvent::Request(request) = event else { continue };
        let answered = match call.take() {
            Some(call) => {
                town.world.client.ledger().submit(&key(FIRST), call).await.expect("it was called for");
                let block = Call::Mint { to: key(7).public(), amount: Credits(1) };
                town.world.client.ledger().submit(&key(2), block).await.expect("the issuer mints");
                request.responder.refuse("busy").await
            }
            None => {
                request.responder.respond(wire::encode(&ProviderAnswer::Slot(Box::new(advert.clone())))).await
            }
        };
        answered.expect("the network runs");
    }
}

/// A slot was called for by an earlier run. Its provider answers on the ledger while this one asks it: the answer is found,
/// though the ledger has grown since.
#[test]
fn an_answer_that_comes_while_its_provider_is_asked_is_found() {
    let town = Town::new();
    let seller = town.seller(reserving(CHEAP));
    let Signed { body: offer, .. } = town.book(&seller, &window(&served(), 1));
    let (id, public) = (offer.id(), town.world.offers(&[seller.id], 0)[0].signed().body.clone());
    seller.stop();
    town.pass_to(offer.start_of(0));
    town.call(4, Call::Demand { reservation: id }).expect("nobody called for it");
    let main = &town.world.main;
    let (net, inbox) =
        main.block_on(Net::start(listening(&town.world.network, FIRST))).expect("loopback listens");
    let (issued_at, sequence) = (clock::now(), public.sequence + 1_000_000);
    let addresses = net.listen_addrs().iter().map(ToString::to_string).collect();
    let expires_at = issued_at.after(Millis(ADVERT_TTL_MS_MAX)).expect("in time");
    let public = Advert { addresses, sequence, issued_at, expires_at, ..public };
    main.block_on(async {
        let mut peers = net.watch_peers();
        let connected = peers.wait_for(|peers| !peers.is_empty());
        timeout(PATIENCE, connected).await.expect("the ledger node is there").expect("the network runs");
        net.publish_advert(key(FIRST).sign(public.clone())).await.expect("it is sound");
    });
    town.world.offers(&[key(FIRST).public()], sequence);
    let issued_at = town.world.view.read(|state| state.tip().time);
    let expires_at = issued_at.after(Millis(ADVERT_TTL_MS_MAX)).expect("in time");
    let advert = Advert { sequence: 0, ask: offer.price, spot: None, issued_at, expires_at, ..public };
    assert!(offer.is_offered_by(&advert));
    let answering = answer_late(&town, inbox, id, key(FIRST).sign(advert));
    let (_keep, cancel) = watch::channel(false);
    let mut opened = false;
    let mut on_event = |event: RunEvent<'_>| opened |= matches!(event, RunEvent::Opened { .. });
    let spec = reserved(Some(id));
    let run = town.world.client.run(&spec, &[], cancel, &mut on_event);
    let ended = main.block_on(async {
        tokio::select! {
            ended = timeout(PATIENCE, run) => ended.expect("it ends"),
            () = answering => panic!("the network ended"),
        }
    });
    assert!(ended.is_err(), "nobody serves here");
    assert!(opened, "a session out of the slot, under the advert of the answer: {ended:?}");
    main.block_on(net.shutdown());
}

#[test]
fn no_time_of_a_device_is_promised_twice() {
    let town = Town::new();
    let seller = town.seller(reserving(CHEAP));
    let wish = window(&served(), 2);
    let first = town.ask(&seller, &wish).expect("it is free");
    let inside = ReservationWish { starts_at: first.start_of(1), slots: 1, ..wish };
    let other = town.other_client();
    let refusal = town.ask_as(&other, &seller, &inside).expect_err("it stands promised to somebody");
    assert!(refusal.contains("promised"), "{refusal}");
    let again = town.ask(&seller, &wish).expect("who asks again gets the same");
    assert_eq!(again.id(), first.id());
    let booked = town.book(&seller, &wish);
    for client in [&other, &town.world.client] {
        town.ask_as(client, &seller, &inside).expect_err("it is booked");
    }
    // Whatever a provider signs, the ledger books it once.
    let other = ReservationOffer { starts_at: inside.starts_at, slots: 1, nonce: 77, ..booked.body };
    let refused = town.call(4, Call::Book(Box::new(key(FIRST).sign(other))));
    assert!(matches!(refused, Err(LedgerError::Rejected { name, .. }) if name == "time-reserved"));
    seller.stop();
}

#[test]
fn what_is_given_up_comes_back_and_the_time_is_free_again() {
    let town = Town::new();
    let seller = town.seller(reserving(CHEAP));
    let wish = window(&served(), 4);
    let begin = town.balances();
    let Signed { body: offer, .. } = town.book(&seller, &wish);
    let (id, price, bond) = (offer.id(), offer.slot_price().0, offer.bond(0).0);
    town.call(4, Call::GiveUp { reservation: id }).expect("the later slots can be");
    // The notice is a slot: the first begins within it, the others do not.
    assert_eq!(town.reservation(id).expect("one is left").slots, 1);
    assert_eq!(town.balances(), [begin[0] - price, begin[1] - bond]);
    let later = ReservationWish { starts_at: offer.start_of(1), slots: 3, ..wish };
    let free = town.ask(&seller, &later).expect("it is free again");
    assert_eq!(free.slots, 3);
    seller.stop();
}

#[test]
fn while_a_slot_is_near_one_place_is_its_clients() {
    let town = Town::new();
    let seller = town.seller(reserving(CHEAP));
    let Signed { body: offer, .. } = town.book(&seller, &window(&served(), 1));
    assert_eq!(offer.slots, 1);
    let kept = async {
        loop {
            let offers = town.world.client.offers(1, PATIENCE).await;
            if offers.iter().any(|advert| advert.provider == seller.id && advert.slots_free == 1) {
                return;
            }
        }
    };
    town.world.main.block_on(async { timeout(PATIENCE, kept).await }).expect("one of two is kept");
    // The other one is sold as ever.
    let on_demand = RunSpec { price_max: CHEAP, ..wish(&served(), TOKENS, Sampling::GREEDY) };
    let offers = town.world.offers(&[seller.id], 0);
    let (_keep, cancel) = watch::channel(false);
    let mut on_event = |_: RunEvent<'_>| {};
    let run = town.world.client.run(&on_demand, &offers, cancel, &mut on_event);
    let result = town.world.main.block_on(run).expect("it is delivered");
    assert_eq!(result.terms.price, CHEAP);
    seller.stop();
}

#[test]
fn a_provider_that_reserves_nothing_says_so() {
    let town = Town::new();
    let seller = town.world.seller(FIRST, CHEAP, Duration::ZERO, served());
    let refusal = town.ask(&seller, &window(&served(), 1)).expect_err("it reserves nothing");
    assert!(refusal.contains("nothing is reserved here"), "{refusal}");
    let (result, _) = town.run(&reserved(None));
    assert!(matches!(result, Err(RunError::Slot(SlotError::None(NoSlot::Nothing(_))))), "{result:?}");
    seller.stop();
}
