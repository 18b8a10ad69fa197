//! Real drivers and real sockets: a client's own machines serve first, orders overflow to the market when they cannot,
//! and data that is local reaches nobody else, which is read off everything that a stranger was sent.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, sync_channel},
    },
    thread,
    time::Duration,
};

use gridhour_node::{
    clock,
    drivers::{
        client::{Hedge, Keep, RunError, RunEvent, RunSpec},
        provider::Served,
        results::JobResult,
    },
    net::{Net, NetEvent, NetHandle},
    rpc::ProviderRequest,
};
use gridhour_protocol::{
    job::{message::ClientMessage, sampling::Sampling},
    limits::{ADVERT_TTL_MS_MAX, PROTOCOL_VERSION},
    market::{
        advert::Advert, data_class::DataClass, mask::Reason, matching::MatchRecord, order::Verification,
        redundant::TooFew, standing::Standing,
    },
    signed::{PublicKey, Verified},
    units::{Credits, Millis, PricePerHour},
    wire,
};
use testkit::watched::Watch;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use crate::{
    failover::{CHEAP, DEAR, FIRST, SECOND, Seller, World, confirmed, wish},
    job_streams::{PATIENCE, engine, key, listening, served, served_on_watched_device},
};

const STRANGER: u8 = 8;
const TOKENS: u32 = 12;

/// Somebody else's provider, as far as anybody can tell: it advertises, answers pings, and keeps all that it is sent.
struct Stranger {
    id: PublicKey,
    net: NetHandle,
    heard: Arc<Mutex<Heard>>,
}

/// What was sent to a stranger.
#[derive(Clone, Debug, Default)]
struct Heard {
    /// Frames of job streams; an empty one for each stream itself.
    frames: Vec<Vec<u8>>,
    /// Calibrations that were begun.
    calibrations: usize,
    requests: Vec<Vec<u8>>,
}

impl Stranger {
    /// One that sells what `served` is, for next to nothing.
    fn start(world: &World, served: &Served) -> Self {
        let id = key(STRANGER).public();
        let (net, inbox) =
            world.main.block_on(Net::start(listening(&world.network, STRANGER))).expect("loopback listens");
        let heard = Arc::new(Mutex::new(Heard::default()));
        world.main.spawn(listen(inbox, heard.clone()));
        let (now, addresses) = (clock::now(), net.listen_addrs());
        let advert = key(STRANGER).sign(Advert {
            version: PROTOCOL_VERSION,
            network: world.network.id(),
            provider: id,
            addresses: addresses.iter().map(ToString::to_string).collect(),
            sequence: 1,
            issued_at: now,
            expires_at: now.after(Millis(ADVERT_TTL_MS_MAX)).expect("in time"),
            device: served.device.clone(),
            models: vec![served.offer],
            ask: PricePerHour(1),
            slots_free: 4,
            queued: 0,
            region: None,
            jurisdiction: None,
            coordinate: None,
            spot: None,
            quote: None,
        });
        let connected = async {
            let mut peers = net.watch_peers();
            peers.wait_for(|peers| !peers.is_empty()).await.expect("the network runs");
            net.publish_advert(advert).await.expect("it is sound");
        };
        world.main.block_on(async { timeout(PATIENCE, connected).await }).expect("the ledger node is there");
        Self { id, net, heard }
    }

    fn heard(&self) -> Heard {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It was told nothing of any order: at most somebody asked it for a public file of the model.
    fn knows_nothing_of(&self, prompt: &[u32]) {
        let heard = self.heard();
        assert_eq!((heard.frames.len(), heard.calibrations), (0, 0), "{heard:?}");
        for request in &heard.requests {
            let asked = wire::decode(request).expect("it is a question to a provider");
            assert!(matches!(asked, ProviderRequest::Asset { .. }), "{asked:?}");
            assert!(!holds(request, prompt));
        }
    }

    fn leave(self, world: &World) {
        world.main.block_on(self.net.shutdown());
    }
}

async fn listen(mut inbox: mpsc::Receiver<NetEvent>, heard: Arc<Mutex<Heard>>) {
    let note =
        |change: &dyn Fn(&mut Heard)| change(&mut heard.lock().unwrap_or_else(PoisonError::into_inner));
    while let Some(event) = inbox.recv().await {
        match event {
            NetEvent::Job(mut stream) => {
                note(&|heard| heard.frames.push(Vec::new()));
                // The first frame is all that comes before an answer; then the stream is dropped.
                if let Ok(Some(frame)) = stream.recv().await {
                    note(&|heard| heard.frames.push(frame.clone()));
                }
            }
            NetEvent::Calibration(_) => note(&|heard| heard.calibrations += 1),
            NetEvent::Request(request) => note(&|heard| heard.requests.push(request.bytes.clone())),
            NetEvent::Advert(_) | NetEvent::Posting(_) | NetEvent::Quote(_) => {}
        }
    }
}

/// Whether bytes hold these tokens, as they travel.
fn holds(bytes: &[u8], tokens: &[u32]) -> bool {
    let wanted: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// An order whose client calls these its own.
fn order(data: DataClass, own: &[PublicKey]) -> RunSpec {
    let own: BTreeSet<_> = own.iter().copied().collect();
    RunSpec { data, own, ..wish(&served(), TOKENS, Sampling::GREEDY) }
}

fn run(world: &World, spec: &RunSpec, offers: &[Verified<Advert>]) -> Result<JobResult, RunError> {
    let (_keep, cancel) = watch::channel(false);
    world.main.block_on(world.client.run(spec, offers, cancel, &mut |_: RunEvent<'_>| ()))
}

/// The tokens of the prompt of `spec`.
fn prompt_of(world: &World, spec: &RunSpec, offers: &[Verified<Advert>]) -> Vec<u32> {
    let assets = world.main.block_on(world.client.assets(spec.model, offers)).expect("somebody has them");
    assets.prompt(&spec.messages).expect("it is a prompt")
}

/// Lets a provider's device compute five passes, and kills the provider in the sixth, which ends no sooner than the order:
/// when `over` is dropped.
fn die_mid_stream(seller: Seller, watch: Watch, over: Receiver<()>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        // With its wish to stop, which would be heard if it were dropped.
        let whole = seller;
        (0..5).for_each(|_| drop(watch.pass()));
        drop(watch.next());
        let gone = thread::spawn(move || whole.runtime.shutdown_timeout(PATIENCE));
        // Nothing is ever sent.
        let _ = over.recv();
        // Its last thread is the device's.
        drop(watch);
        gone.join().expect("it is gone");
    })
}

/// An order for `data` whose own machine dies in the middle of the answer, while a stranger offers to go on.
fn order_whose_machine_dies(
    world: &World,
    stranger: &Stranger,
    data: DataClass,
    hedge: Hedge,
) -> Result<JobResult, RunError> {
    let (held, watch) = served_on_watched_device(engine(), None);
    let since = clock::now().0;
    let own = world.seller(FIRST, DEAR, Duration::ZERO, held);
    let own_id = own.id;
    let offers = world.offers(&[own_id, stranger.id], since);
    let (order_runs, over) = sync_channel(0);
    let died = die_mid_stream(own, watch, over);
    let ran = run(world, &RunSpec { hedge, ..order(data, &[own_id]) }, &offers);
    drop(order_runs);
    // Whoever was never asked does not die in the middle of an answer.
    assert!(!matches!(ran, Err(RunError::NoOffer(_))), "its own machine meets the order: {ran:?}");
    died.join().unwrap_or_else(|_| panic!("it was not killed in the middle of an answer: {ran:?}"));
    ran
}

#[test]
fn local_data_reaches_no_stranger_though_its_machine_dies_in_the_middle_of_the_answer() {
    let world = World::new();
    let seller = served();
    let stranger = Stranger::start(&world, &seller);
    let other = world.seller(SECOND, DEAR, Duration::ZERO, served());
    // From its own machine, so that the stranger is not asked for so much as the tokenizer.
    let prompt = prompt_of(&world, &order(DataClass::Any, &[]), &world.offers(&[other.id], 0));
    other.stop();
    for hedge in [Hedge::Never, Hedge::Always] {
        let ran = order_whose_machine_dies(&world, &stranger, DataClass::LocalOnly, hedge);
        assert!(matches!(ran, Err(RunError::Failed(_))), "{hedge:?}: nobody may go on: {ran:?}");
        stranger.knows_nothing_of(&prompt);
        let sold = |session: &gridhour_contracts_sim::state::Session| session.terms.provider == stranger.id;
        assert!(!world.view.read(|state| state.sessions().any(|(_, session)| sold(session))), "{hedge:?}");
    }
    // The same, but for its class: so the stranger would have gone on, and heard it all.
    let ran = order_whose_machine_dies(&world, &stranger, DataClass::Any, Hedge::Never);
    assert!(ran.is_err(), "the stranger answers nothing");
    let frames = stranger.heard().frames;
    let [stream, open] = &frames[..] else { panic!("one stream and its first frame: {frames:?}") };
    assert!(stream.is_empty() && holds(open, &prompt));
    assert!(matches!(wire::decode(open), Ok(ClientMessage::Open(_))));
    stranger.leave(&world);
}

#[test]
fn of_two_own_machines_one_goes_on_where_the_other_died_and_no_stranger_is_asked() {
    let world = World::new();
    let stranger = Stranger::start(&world, &served());
    let (held, watch) = served_on_watched_device(engine(), None);
    let first = world.seller(FIRST, CHEAP, Duration::ZERO, held);
    let second = world.seller(SECOND, DEAR, Duration::ZERO, served());
    let own = [first.id, second.id];
    let offers = world.offers(&[own[0], own[1], stranger.id], 0);
    let spec = order(DataClass::LocalOnly, &own);
    let prompt = prompt_of(&world, &spec, &world.offers(&own[1..], 0));
    let (order_runs, over) = sync_channel(0);
    let died = die_mid_stream(first, watch, over);
    let result = run(&world, &spec, &offers).expect("the other one goes on");
    drop(order_runs);
    died.join().expect("it was killed");
    assert_eq!((result.terms.provider, result.before[0].terms.provider), (own[1], own[0]));
    assert!(confirmed(&result) && result.answer().len() == TOKENS as usize);
    stranger.knows_nothing_of(&prompt);
    second.stop();
    stranger.leave(&world);
}

#[test]
fn an_own_machine_serves_first_though_it_is_dearer_and_is_paid_like_any_other_also_nothing() {
    let world = World::new();
    let foreign = world.seller(SECOND, CHEAP, Duration::ZERO, served());
    let dear = world.seller(FIRST, DEAR, Duration::ZERO, served());
    let offers = world.offers(&[dear.id, foreign.id], 0);
    let result = run(&world, &order(DataClass::Any, &[dear.id]), &offers).expect("it is delivered");
    let [own, other] = &result.matched.candidates[..] else { panic!("both meet the order") };
    assert_eq!((own.provider, own.standing, other.standing), (dear.id, Standing::Own, Standing::Market));
    assert!(own.score > other.score && result.cost > Credits::ZERO);
    world.settled();
    assert_eq!((world.balance(dear.id), world.balance(foreign.id)), (result.cost, Credits::ZERO));
    dear.stop();
    // One that asks nothing is metered by the same vouchers and receipts.
    let since = clock::now().0;
    let free = world.seller(FIRST, PricePerHour(0), Duration::ZERO, served());
    let offers = world.offers(&[free.id, foreign.id], since);
    let gift = run(&world, &order(DataClass::LocalOnly, &[free.id]), &offers).expect("it is delivered");
    assert_eq!((gift.cost, gift.answer()), (Credits::ZERO, result.answer()));
    assert!(confirmed(&gift));
    world.settled();
    assert_eq!(world.balance(free.id), result.cost, "nothing more");
    world.audit();
    free.stop();
    foreign.stop();
}

/// Waits until the client hears that this provider has no free slot.
async fn taken(world: &World, provider: PublicKey) {
    let full = |offer: &Verified<Advert>| offer.provider == provider && offer.slots_free == 0;
    let wait = async { while !world.client.offers(2, PATIENCE).await.iter().any(full) {} };
    timeout(PATIENCE, wait).await.expect("it says so");
}

fn refused(record: &MatchRecord, provider: PublicKey) -> Option<(Reason, bool)> {
    let refusal = record.refused.iter().find(|refusal| refusal.provider == provider)?;
    Some((refusal.reason, refusal.own))
}

#[test]
fn orders_overflow_while_all_own_slots_are_taken_and_local_ones_go_nowhere() {
    let world = World::new();
    let (held, watch) = served_on_watched_device(engine(), None);
    let own = world.seller(FIRST, DEAR, Duration::ZERO, held);
    let foreign = world.seller(SECOND, CHEAP, Duration::ZERO, served());
    let offers = world.offers(&[own.id, foreign.id], 0);
    let client = &world.client;
    let (_keep, cancel) = watch::channel(false);
    let spec = |data| order(data, &[own.id]);
    let (any, local) = (spec(DataClass::Any), spec(DataClass::LocalOnly));
    // Boxed, because a thread's stack does not hold so many.
    let run = |spec: RunSpec| {
        let (offers, cancel) = (&offers, cancel.clone());
        Box::pin(async move { client.run(&spec, offers, cancel, &mut |_: RunEvent<'_>| ()).await })
    };
    let all = async {
        let overflow = async {
            taken(&world, own.id).await;
            let ran = (run(any.clone()).await, run(local.clone()).await);
            drop(watch);
            ran
        };
        tokio::join!(run(any.clone()), run(local.clone()), overflow)
    };
    let (first, second, (overflown, waited_for)) =
        world.main.block_on(async { timeout(PATIENCE, all).await }).expect("all end");
    for result in [first, second] {
        assert_eq!(result.expect("its machine is let go").terms.provider, own.id);
    }
    let overflown = overflown.expect("the market serves it");
    assert_eq!(overflown.terms.provider, foreign.id);
    assert_eq!(refused(&overflown.matched, own.id), Some((Reason::NoFreeSlot, true)));
    let Err(RunError::NoOffer(record)) = waited_for else { panic!("it may go nowhere: {waited_for:?}") };
    assert_eq!(refused(&record, own.id), Some((Reason::NoFreeSlot, true)));
    assert_eq!(refused(&record, foreign.id), Some((Reason::NotOwn, false)));
    world.settled();
    assert_eq!(world.balance(foreign.id), overflown.cost, "it was asked once");
    world.audit();
    own.stop();
    foreign.stop();
}

#[test]
fn a_session_kept_elsewhere_waits_while_an_own_machine_is_free() {
    let world = World::new();
    let foreign = world.seller(SECOND, CHEAP, Duration::ZERO, served());
    let own_id = key(FIRST).public();
    let keep = Some(Keep { prompt_tokens: 64, idle: Millis(600_000) });
    let spec = RunSpec { keep, ..order(DataClass::Any, &[own_id]) };
    let by = |offers: &[Verified<Advert>]| {
        let result = run(&world, &spec, offers).expect("it is delivered");
        (result.terms.provider, result.receipt.body.index)
    };
    let market = world.offers(&[foreign.id], 0);
    assert_eq!([by(&market), by(&market)], [(foreign.id, 0), (foreign.id, 1)], "its session is kept");
    let own = world.seller(FIRST, DEAR, Duration::ZERO, served());
    let both = world.offers(&[own.id, foreign.id], 0);
    assert_eq!([by(&both), by(&both)], [(own.id, 0), (own.id, 1)], "now there is one of its own");
    let late = world.main.block_on(world.client.close_kept());
    assert_eq!(late, Vec::<String>::new());
    world.settled();
    world.audit();
    own.stop();
    foreign.stop();
}

#[test]
fn several_own_machines_vote_together_and_no_stranger_with_them() {
    let world = World::new();
    let stranger = Stranger::start(&world, &served());
    let own = [FIRST, SECOND].map(|n| world.seller(n, DEAR, Duration::ZERO, served()));
    let ids = own.each_ref().map(|seller| seller.id);
    let offers = world.offers(&[ids[0], ids[1], stranger.id], 0);
    let together = |providers| {
        let verification = Verification::Redundant { providers };
        RunSpec { verification, ..order(DataClass::LocalOnly, &ids) }
    };
    let prompt = prompt_of(&world, &together(2), &world.offers(&ids, 0));
    let result = run(&world, &together(2), &offers).expect("both agree");
    let tally = result.agreement.as_ref().expect("two were asked").tally.clone();
    assert_eq!(tally.agreed.iter().collect::<BTreeSet<_>>(), ids.iter().collect());
    let three = run(&world, &together(3), &offers);
    let Err(RunError::TooFew { why, record }) = three else { panic!("two are not three: {three:?}") };
    assert_eq!(why, TooFew::Accounts { wanted: 3, found: 2 });
    assert_eq!(refused(&record, stranger.id), Some((Reason::NotOwn, false)));
    stranger.knows_nothing_of(&prompt);
    world.settled();
    world.audit();
    own.into_iter().for_each(Seller::stop);
    stranger.leave(&world);
}
