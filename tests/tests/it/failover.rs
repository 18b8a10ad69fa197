//! Real drivers and real sockets: an answer whose provider is killed at any of its tokens is the answer of one that is
//! not, and everybody is paid for what they did.
//!
//! A provider of these tests has a runtime of its own. Killing it drops every task at once, sockets and all, and leaves
//! what is on its disk: as kill -9 does, but a thousand times a minute.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use gridhour_contracts_sim::{
    audit::{Auditor, Trust},
    export::{block_frame, closing, opening},
    genesis::Genesis,
    network_file::NetworkFile,
    tx::Call,
};
use gridhour_node::{
    clock,
    consensus::{
        LedgerView,
        ledger_time::{Clock, SystemClock},
    },
    data_dir::DataDir,
    drivers::{
        client::{Client, ClientConfig, Hedge, RunError, RunEvent, RunSpec},
        ledger_client::LedgerClient,
        memory::Memory,
        provider::{Parts, Provider, ProviderConfig, ProviderEvent, Served},
        results::JobResult,
    },
    engine::{
        sampler::Sampling as EngineSampling,
        verify::{Claim, verify},
    },
    net::{Net, NetConfig, NetHandle},
};
use gridhour_protocol::{
    calibration::provider::Hospitality,
    id::SessionId,
    job::sampling::Sampling,
    limits::CHUNK_TOKENS_MAX,
    market::{advert::Advert, mask::Reason},
    receipt::Cause,
    session::lane::LaneLedger,
    signed::{PublicKey, Verified},
    units::{Credits, Height, Millis, PricePerHour, WorkRate},
    work::Rates,
};
use tempfile::TempDir;
use testkit::watched::Watch;
use tokio::{
    runtime::Runtime,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::job_streams::{
    PATIENCE, engine, genesis_at, key, ledger_node_on, listening, served, served_on_watched_device, spec,
};

/// Tokens of the answer that is cut at each of them.
const WHOLE: u32 = 64;
const CHUNK: u32 = CHUNK_TOKENS_MAX as u32;
const FUNDS: Credits = Credits(100_000_000_000);
/// The cheap provider is asked first.
pub(crate) const CHEAP: PricePerHour = PricePerHour(100_000_000_000);
pub(crate) const DEAR: PricePerHour = PricePerHour(1_000_000_000_000);
/// So slow that every token costs something, and the same for all.
const RATES: Rates = Rates { prefill: WorkRate(100_000_000), decode: WorkRate(10_000_000) };
/// Time to collect: longer than any test.
const GRACE: Millis = Millis(600_000);
pub(crate) const FIRST: u8 = 3;
/// Key of the client.
pub(crate) const CLIENT: u8 = 4;
pub(crate) const SECOND: u8 = 6;
/// More than a client is told in one answer.
const SEEN_MAX: usize = 1_024;
/// A delay of every frame within which a provider can be killed between two.
const SLOW: Duration = Duration::from_millis(700);

/// A ledger node and a client, and a place for providers.
pub(crate) struct World {
    pub(crate) main: Runtime,
    pub(crate) folder: TempDir,
    pub(crate) network: Verified<NetworkFile>,
    pub(crate) view: LedgerView,
    pub(crate) client: Client,
    pub(crate) stop: watch::Sender<bool>,
}

/// A provider in a runtime of its own.
pub(crate) struct Seller {
    pub(crate) id: PublicKey,
    pub(crate) runtime: Runtime,
    net: NetHandle,
    pub(crate) events: mpsc::Receiver<ProviderEvent>,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::on_clock(Box::new(SystemClock::default()))
    }

    /// A ledger node that goes by this clock.
    pub(crate) fn on_clock(clock: Box<dyn Clock>) -> Self {
        let main = Runtime::new().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let (stop, stopped) = watch::channel(false);
        let (network, view, client) = main.block_on(async {
            let genesis = genesis_at(clock::now());
            let genesis = Genesis { grace_min: GRACE, ..genesis };
            let (network, view) = ledger_node_on(clock, genesis, folder.path(), stopped).await;
            let client = client_in(&folder, &network).await;
            let mint = Call::Mint { to: client.id(), amount: FUNDS };
            client.ledger().submit(&key(2), mint).await.expect("the issuer mints");
            (network, view, client)
        });
        Self { main, folder, network, view, client, stop }
    }

    fn records(&self, n: u8) -> PathBuf {
        self.folder.path().join(format!("seller-{n}"))
    }

    /// Starts provider `n`, over the records that it had before.
    pub(crate) fn seller(&self, n: u8, ask: PricePerHour, delay: Duration, served: Served) -> Seller {
        self.seller_of(n, delay, served, selling(ask))
    }

    /// The same, with all that it may set.
    pub(crate) fn seller_of(&self, n: u8, delay: Duration, served: Served, config: ProviderConfig) -> Seller {
        let runtime = Runtime::new().expect("a runtime");
        let (stop, stopped) = watch::channel(false);
        let (net, events, running) = runtime.block_on(async {
            let net_config = NetConfig { delay, ..listening(&self.network, n) };
            let (net, inbox) = Net::start(net_config).await.expect("loopback listens");
            let (told, events) = mpsc::channel(256);
            let parts = self.parts(n, config, &net, served, told);
            let running = tokio::spawn(Provider::new(parts).expect("sound records").run(inbox, stopped));
            (net, events, running)
        });
        Seller { id: key(n).public(), runtime, net, events, stop, running }
    }

    fn parts(
        &self,
        n: u8,
        config: ProviderConfig,
        net: &NetHandle,
        mut served: Served,
        events: mpsc::Sender<ProviderEvent>,
    ) -> Parts {
        served.device.rates = RATES;
        let (memory, _) = Memory::open(&self.records(n), key(n).public()).expect("sound records");
        let network = &self.network;
        Parts {
            key: key(n),
            network: network.id(),
            clock_skew: network.genesis.clock_skew,
            net: net.clone(),
            ledger: LedgerClient::new(net.clone(), (&network.genesis).into(), key(1).public()),
            memory,
            served,
            config,
            events,
        }
    }

    /// Waits until the client sees these providers' offers, signed no earlier than `since`.
    pub(crate) fn offers(&self, wanted: &[PublicKey], since: u64) -> Vec<Verified<Advert>> {
        let fresh = async {
            loop {
                let mut offers = self.client.offers(wanted.len(), PATIENCE).await;
                offers.retain(|offer| wanted.contains(&offer.provider) && is_new(offer, since));
                if offers.len() == wanted.len() {
                    return offers;
                }
            }
        };
        self.main.block_on(async { timeout(PATIENCE, fresh).await }).expect("the offers are heard")
    }

    /// Runs an order with these offers, and tells `seen` of what happens.
    fn run(&self, spec: &RunSpec, sellers: &[PublicKey], since: u64, seen: &SyncSender<Seen>) -> Ran {
        let offers = self.offers(sellers, since);
        let (_keep, cancel) = watch::channel(false);
        let mut shown = Vec::new();
        let mut on_event = |event: RunEvent<'_>| {
            let told = match event {
                RunEvent::Tokens(tokens) => {
                    shown.extend_from_slice(tokens);
                    Seen::Tokens(shown.len())
                }
                RunEvent::Moved { written, .. } => Seen::Moved(written),
                _ => return,
            };
            // Nobody may be left who wants to know.
            let _ = seen.send(told);
        };
        let result = self.main.block_on(self.client.run(spec, &offers, cancel, &mut on_event));
        Ran { result, shown }
    }

    /// What a provider may collect in a session by what is on its disk.
    fn on_disk(&self, n: u8, session: SessionId) -> Credits {
        let (memory, _) = Memory::open(&self.records(n), key(n).public()).expect("sound records");
        let lanes = memory.lanes(session).expect("they can be read");
        lanes
            .iter()
            .filter_map(|lane| lane.newest.as_ref())
            .map(|voucher| voucher.body.amount)
            .max()
            .unwrap_or(Credits(0))
    }

    pub(crate) fn balance(&self, account: PublicKey) -> Credits {
        self.view.read(|state| state.balance(&account))
    }

    /// Waits until no session is open any more.
    pub(crate) fn settled(&self) {
        let mut tip = self.view.tip();
        let empty = async {
            while self.view.read(|state| state.sessions().next().is_some()) {
                tip.changed().await.expect("the ledger node runs");
            }
        };
        self.main.block_on(async { timeout(PATIENCE, empty).await }).expect("everything is settled");
    }

    /// The whole ledger is in order, and nothing is held.
    pub(crate) fn audit(&self) {
        let tip = *self.view.tip().borrow();
        let mut auditor = Auditor::new(Trust::Genesis(self.network.id()));
        auditor.push(&opening(self.network.signed()));
        for height in 1..=tip.0 {
            auditor.push(&block_frame(&self.view.block(Height(height)).expect("it can be read")));
        }
        auditor.push(&closing(tip));
        let (report, state) = auditor.finish();
        assert!(report.ok, "{:?}", report.findings);
        let holds = state.expect("a whole ledger").sessions().count();
        assert_eq!((holds, report.balances), (0, FUNDS), "nothing is held, and nothing was lost");
    }
}

/// What a provider sells for this price.
pub(crate) fn selling(ask: PricePerHour) -> ProviderConfig {
    ProviderConfig {
        ask,
        spot: None,
        queue: Millis(0),
        region: None,
        jurisdiction: None,
        slots: 2,
        hospitality: Hospitality::open(Millis(3_600_000)),
        quotes: None,
        stake: Credits::ZERO,
        drain: Millis(500),
        reserve: None,
    }
}

/// The client over its records.
pub(crate) async fn client_in(folder: &TempDir, network: &Verified<NetworkFile>) -> Client {
    client_of(folder, network, CLIENT).await
}

/// A client with key `n` over its records.
pub(crate) async fn client_of(folder: &TempDir, network: &Verified<NetworkFile>, n: u8) -> Client {
    let data_dir = DataDir::new(folder.path().join(format!("client-{n}")));
    let config = ClientConfig { data_dir, key: key(n), network: network.clone(), region: None };
    Client::connect(config).await.expect("the ledger node is there")
}

/// Whether it is of the cheap provider that was started last; the other one is never started again.
fn is_new(offer: &Advert, since: u64) -> bool {
    offer.provider != key(FIRST).public() || offer.sequence >= since
}

/// What the client's user sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// So many tokens in all.
    Tokens(usize),
    /// Another provider goes on behind so many.
    Moved(usize),
}

pub(crate) struct Ran {
    result: Result<JobResult, RunError>,
    shown: Vec<u32>,
}

impl Seller {
    /// Kills it, as soon as the user has `tokens` tokens; `watch`, which holds its device, is let go when all is over.
    fn kill_at(self, tokens: usize, seen: Receiver<Seen>, watch: Option<Watch>) {
        let shown = |seen: Seen| matches!(seen, Seen::Tokens(count) if count >= tokens);
        while tokens > 0 && !shown(seen.recv_timeout(PATIENCE).expect("the tokens come")) {}
        let gone = thread::spawn(move || self.runtime.shutdown_timeout(PATIENCE));
        let moved = |seen: Seen| matches!(seen, Seen::Moved(_));
        while !moved(seen.recv_timeout(PATIENCE).expect("the client goes elsewhere")) {}
        drop(watch);
        gone.join().expect("it is gone");
    }

    /// Tells it to stop, and waits until it has left by itself.
    pub(crate) fn stop(self) {
        self.stop.send_replace(true);
        let Self { runtime, running, net, .. } = self;
        runtime.block_on(async {
            timeout(PATIENCE, running).await.expect("it leaves").expect("in good order");
            net.shutdown().await;
        });
    }
}

pub(crate) fn wish(seller: &Served, max_tokens: u32, sampling: Sampling) -> RunSpec {
    let total_max = Credits(1_000_000_000);
    RunSpec { max_tokens, sampling, price_max: DEAR, total_max, ..spec(seller.offer) }
}

/// Warm, with penalties: whatever a sampler may look at.
fn sampling() -> Sampling {
    Sampling {
        temperature_q16: 60_000,
        top_p_q16: 64_000,
        repetition_q16: 70_000,
        frequency_q16: 10_000,
        seed: 7,
        ..Sampling::GREEDY
    }
}

pub(crate) fn confirmed(result: &JobResult) -> bool {
    let claim = Claim {
        prompt: &result.request.prompt,
        written: &result.request.written,
        output: &result.output,
        sampling: EngineSampling::of(&result.request),
        logprobs: &result.logprobs,
        request_digest: result.receipt.body.request.0,
    };
    let rerun = verify(&Arc::new(engine()), &claim).expect("the claim fits");
    rerun.difference.is_none() && rerun.score_chain == result.receipt.body.scores.0
}

/// What a voucher pays that releases the first `tokens` of a session's first job.
fn due(result: &JobResult, part: usize, tokens: u32) -> Option<Credits> {
    let part = &result.before[part];
    part.request.amount_on(&LaneLedger::new(part.terms.id(), 0), &part.terms, tokens)
}

/// What the dead provider had and the next one was paid, against what each delivered.
fn check_payments(world: &World, result: &JobResult, k: u32) -> Credits {
    let part = &result.before[0];
    let promised = (k / CHUNK + 1) * CHUNK;
    let had = world.on_disk(FIRST, part.terms.id());
    assert_eq!(Some(had), due(result, 0, promised), "it had the voucher for the chunk that it computed");
    assert_eq!((part.tokens, part.cost, part.cause), (k, had, Cause::Network), "killed at {k}");
    assert!(part.receipt.is_none(), "it was gone before it could sign one");
    let (request, receipt) = (&result.request, &result.receipt.body);
    assert_eq!((request.prepaid, receipt.prepaid), (promised - k, promised - k));
    let start = u32::try_from(request.prompt.len()).expect("short");
    let rest = result.terms.job_amount(start + promised, WHOLE - promised);
    assert_eq!(
        Some(result.cost),
        rest,
        "the next is paid from the last voucher on, and for reading up to it"
    );
    had
}

#[test]
fn a_provider_killed_at_any_token_of_an_answer_costs_its_client_no_token_and_no_credit() {
    let world = World::new();
    let second = world.seller(SECOND, DEAR, Duration::ZERO, served());
    let wish = wish(&served(), WHOLE, sampling());
    let (unheard, _) = sync_channel(SEEN_MAX);
    let whole = world.run(&wish, &[second.id], 0, &unheard).result.expect("it is delivered");
    let answer = whole.answer();
    assert_eq!((answer.len(), whole.before.len()), (WHOLE as usize, 0));
    let (mut first_earns, mut second_earns) = (Credits(0), whole.cost);
    for k in 0..WHOLE {
        let since = clock::now().0;
        let (served, watch) = served_on_watched_device(engine(), None);
        let first = world.seller(FIRST, CHEAP, Duration::ZERO, served);
        let (first_id, (seen, told)) = (first.id, sync_channel(SEEN_MAX));
        let killer = thread::spawn(move || {
            (0..k).for_each(|_| drop(watch.pass()));
            drop(watch.next());
            first.kill_at(k as usize, told, Some(watch));
        });
        let ran = world.run(&wish, &[first_id, second.id], since, &seen);
        killer.join().expect("it was killed");
        let result = ran.result.expect("another goes on");
        assert_eq!((&result.answer(), &ran.shown), (&answer, &answer), "killed at {k}");
        assert!(confirmed(&result), "killed at {k}");
        first_earns = first_earns.checked_add(check_payments(&world, &result, k)).expect("small");
        second_earns = second_earns.checked_add(result.cost).expect("small");
    }
    // It comes back, and collects what is left.
    let first = world.seller(FIRST, CHEAP, Duration::ZERO, served());
    world.settled();
    assert_eq!(world.balance(first.id), first_earns);
    assert_eq!(world.balance(second.id), second_earns);
    world.audit();
    first.stop();
    second.stop();
}

#[test]
fn an_answer_whose_receipt_never_came_is_answered_for_by_another() {
    let world = World::new();
    let second = world.seller(SECOND, DEAR, Duration::ZERO, served());
    let first = world.seller(FIRST, CHEAP, SLOW, served());
    let wish = wish(&served(), 5, Sampling::GREEDY);
    let (seen, told) = sync_channel(SEEN_MAX);
    let (first_id, second_id) = (first.id, second.id);
    let killer = thread::spawn(move || first.kill_at(5, told, None));
    let ran = world.run(&wish, &[first_id, second_id], 0, &seen);
    killer.join().expect("it was killed");
    let result = ran.result.expect("another answers for the end");
    assert_eq!((ran.shown.len(), &ran.shown), (5, &result.answer()), "no token is shown twice");
    assert_eq!((result.before[0].tokens, result.output.len(), result.request.prepaid), (4, 1, 1));
    assert_eq!(
        result.terms.job_amount(result.request.start() + 1, 0),
        Some(result.cost),
        "read, not written"
    );
    assert!(confirmed(&result));
    let first = world.seller(FIRST, CHEAP, Duration::ZERO, served());
    world.settled();
    world.audit();
    first.stop();
    second.stop();
}

#[test]
fn an_order_that_wants_no_other_provider_fails_with_its_own() {
    let world = World::new();
    let second = world.seller(SECOND, DEAR, Duration::ZERO, served());
    let first = world.seller(FIRST, CHEAP, SLOW, served());
    let wish = RunSpec { failover: false, ..wish(&served(), 5, Sampling::GREEDY) };
    let (seen, told) = sync_channel(SEEN_MAX);
    let ids = [first.id, second.id];
    let killer = thread::spawn(move || {
        while told.recv_timeout(PATIENCE).expect("the tokens come") != Seen::Tokens(2) {}
        first.runtime.shutdown_timeout(PATIENCE);
    });
    let ran = world.run(&wish, &ids, 0, &seen);
    killer.join().expect("it was killed");
    assert!(matches!(ran.result, Err(RunError::Failed(_))), "nobody else was asked");
    assert_eq!(world.balance(second.id), Credits(0));
    second.stop();
}

#[test]
fn a_cheaper_provider_that_does_not_answer_is_not_chosen_and_the_record_says_why() {
    let world = World::new();
    let second = world.seller(SECOND, DEAR, Duration::ZERO, served());
    let first = world.seller(FIRST, CHEAP, Duration::ZERO, served());
    let (first_id, wish) = (first.id, wish(&served(), 5, Sampling::GREEDY));
    let offers = world.offers(&[first_id, second.id], 0);
    first.runtime.shutdown_timeout(PATIENCE);
    let order = world.client.order(&wish, 5).expect("a sound order");
    let matched = world.main.block_on(world.client.match_order(&order, &offers, &wish));
    let record = matched.expect("no stake is asked for");
    assert_eq!(record.chosen, Some(second.id));
    let refused: Vec<_> = record.refused.iter().map(|it| (it.provider, it.reason)).collect();
    assert_eq!(refused, [(first_id, Reason::NotReached)]);
    second.stop();
}

#[test]
fn of_two_that_are_asked_at_once_the_slower_is_paid_for_what_it_did() {
    let world = World::new();
    let second = world.seller(SECOND, DEAR, Duration::ZERO, served());
    let (held, watch) = served_on_watched_device(engine(), None);
    let first = world.seller(FIRST, CHEAP, Duration::ZERO, held);
    let wish = RunSpec { hedge: Hedge::Always, ..wish(&served(), 20, Sampling::GREEDY) };
    let (unheard, _) = sync_channel(SEEN_MAX);
    let ran = world.run(&wish, &[first.id, second.id], 0, &unheard);
    let result = ran.result.expect("the faster one answers");
    assert_eq!((result.terms.provider, result.before.len()), (second.id, 0));
    assert_eq!((&ran.shown, result.answer().len()), (&result.answer(), 20));
    let slower = result.beside.as_ref().expect("two were asked");
    assert_eq!((slower.terms.provider, slower.cause), (first.id, Cause::ClientFault));
    let prompt = u32::try_from(result.request.prompt.len()).expect("short");
    assert_eq!(
        Some(slower.cost),
        slower.terms.job_amount(prompt, 0),
        "it had read the prompt, and wrote nothing"
    );
    drop(watch);
    world.settled();
    assert_eq!(world.balance(first.id), slower.cost);
    assert_eq!(world.balance(second.id), result.cost);
    world.audit();
    first.stop();
    second.stop();
}

#[test]
fn a_provider_that_is_told_to_stop_hands_its_job_over_and_is_paid_for_what_it_sent() {
    let world = World::new();
    let second = world.seller(SECOND, DEAR, Duration::ZERO, served());
    let (held, watch) = served_on_watched_device(engine(), None);
    let mut first = world.seller(FIRST, CHEAP, Duration::ZERO, held);
    let wish = wish(&served(), 30, sampling());
    let (seen, told) = sync_channel(SEEN_MAX);
    let ids = [first.id, second.id];
    let handed_over = thread::spawn(move || {
        (0..7).for_each(|_| drop(watch.pass()));
        drop(watch.next());
        while told.recv_timeout(PATIENCE).expect("the tokens come") != Seen::Tokens(7) {}
        first.stop.send_replace(true);
        while told.recv_timeout(PATIENCE).expect("the client goes elsewhere") != Seen::Moved(7) {}
        let mut events = Vec::new();
        while let Ok(event) = first.events.try_recv() {
            events.push(event);
        }
        drop(watch);
        first.stop();
        events
    });
    let ran = world.run(&wish, &ids, 0, &seen);
    let events = handed_over.join().expect("it left");
    assert!(events.contains(&ProviderEvent::Draining { jobs: 1, at_most: Millis(500) }), "{events:?}");
    let result = ran.result.expect("another goes on");
    assert_eq!((&ran.shown, result.answer().len()), (&result.answer(), 30));
    let part = &result.before[0];
    let receipt = &part.receipt.as_ref().expect("it answers for what it wrote").body;
    assert_eq!((receipt.cause, receipt.output_tokens, result.request.prepaid), (Cause::Reclaimed, 7, 0));
    assert_eq!(Some(part.cost), due(&result, 0, 7));
    let (kept, _) =
        world.client.results().load(part.receipt.as_ref().expect("signed").id()).expect("it was kept");
    assert!(confirmed(&kept) && confirmed(&result), "both receipts are right");
    world.settled();
    assert_eq!(world.balance(ids[0]), part.cost);
    world.audit();
    second.stop();
}
