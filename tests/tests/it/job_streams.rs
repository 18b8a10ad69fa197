//! Real drivers in one process: what a provider does with job streams that make no sense, with a client that closes
//! while its job runs, and with a device that fails.

use std::{collections::BTreeSet, num::NonZeroUsize, path::Path, sync::Arc, time::Duration};

use gridhour_contracts_sim::{
    genesis::Genesis, limits::LEDGER_VERSION, network_file::NetworkFile, tx::Call, witnesses::Witnesses,
};
use gridhour_node::{
    clock,
    consensus::{
        LedgerView,
        ledger_time::{Clock, SystemClock},
        solo::Solo,
    },
    data_dir::DataDir,
    drivers::{
        client::{Client, ClientConfig, Hedge, RunError, RunEvent, RunSpec},
        ledger_client::LedgerClient,
        memory::Memory,
        provider::{Monitor, Parts, Provider, ProviderConfig, ProviderEvent, Reload, Served, measure_device},
        results::JobResult,
        validator::Validator,
    },
    engine::{
        Backend, Engine, EngineConfig,
        device::DeviceFault,
        sampler::Sampling as EngineSampling,
        scheduler::Scheduler,
        verify::{Claim, verify},
    },
    model::{
        assets::{AssetBytes, work_of},
        gguf::Gguf,
        template::{Message, Role},
        tokenizer::tokenizer_asset,
    },
    net::{Net, NetConfig, NetHandle},
    store::ledger_dir::Ledger,
};
use gridhour_protocol::{
    calibration::provider::Hospitality,
    job::{message::ClientMessage, sampling::Sampling},
    market::{advert::ModelOffer, costs::BuyerCosts, data_class::DataClass, order::Verification, tier::Tier},
    receipt::{Cause, ClockSource},
    signed::{PublicKey, SecretKey, Verified},
    units::{Credits, Millis, PricePerHour, Timestamp},
    wire,
};
use testkit::{
    gguf::SmallModel,
    watched::{Answer, Watch, Watched},
};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use crate::engine_gpu::{on_gpu, open, variants};

/// High enough that the milliseconds of a small model cost something.
pub(crate) const ASK: PricePerHour = PricePerHour(1_000_000_000);
/// Time to collect: longer than a provider takes to see a close, shorter than a job of 20 tokens behind [`SLOW`].
const GRACE: Millis = Millis(12_000);
/// A delay of every frame that makes a job outlast [`GRACE`].
const SLOW: Duration = Duration::from_millis(700);
/// Longer than a job of [`SLOW`] frames, and than [`GRACE`].
const DRAIN: Millis = Millis(60_000);
/// How long a provider waits for a challenger, and for itself while it is calibrated: a small job takes far
/// less.
const CALIBRATION_STEP: Millis = Millis(5_000);
/// A limit that only a failure reaches.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn key(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

/// A ledger node and a provider, running.
pub(crate) struct Market {
    pub(crate) network: Verified<NetworkFile>,
    pub(crate) provider: PublicKey,
    events: mpsc::Receiver<ProviderEvent>,
    pub(crate) provider_net: NetHandle,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) offer: ModelOffer,
    /// A look at the provider from outside.
    pub(crate) monitor: Monitor,
}

pub(crate) fn listening(network: &NetworkFile, n: u8) -> NetConfig {
    let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")];
    let bootstrap = network.bootstrap.iter().map(|text| text.parse().expect("an address")).collect();
    NetConfig { listen, bootstrap, ..NetConfig::new(network.id(), key(n)) }
}

pub(crate) async fn ledger_node(folder: &Path, stop: watch::Receiver<bool>) -> Verified<NetworkFile> {
    ledger_node_since(clock::now(), folder, stop).await
}

/// A ledger node of a network that began at `created_at`.
pub(crate) async fn ledger_node_since(
    created_at: Timestamp,
    folder: &Path,
    stop: watch::Receiver<bool>,
) -> Verified<NetworkFile> {
    ledger_node_of(genesis_at(created_at), folder, stop).await.0
}

pub(crate) fn genesis_at(created_at: Timestamp) -> Genesis {
    Genesis {
        version: LEDGER_VERSION,
        name: "streams".into(),
        created_at,
        operator: key(1).public(),
        issuer: key(2).public(),
        allocations: Vec::new(),
        grace_min: GRACE,
        clock_skew: Millis(10_000),
    }
}

/// A ledger node of this network, and a look at its ledger.
pub(crate) async fn ledger_node_of(
    genesis: Genesis,
    folder: &Path,
    stop: watch::Receiver<bool>,
) -> (Verified<NetworkFile>, LedgerView) {
    ledger_node_on(Box::new(SystemClock::default()), genesis, folder, stop).await
}

/// The same by this clock.
pub(crate) async fn ledger_node_on(
    clock: Box<dyn Clock>,
    genesis: Genesis,
    folder: &Path,
    stop: watch::Receiver<bool>,
) -> (Verified<NetworkFile>, LedgerView) {
    let ledger = Ledger::open(&folder.join("ledger"), &genesis).expect("a new ledger opens");
    let solo = Solo::start(ledger, key(1), clock).expect("the operator's key");
    let mut network = NetworkFile { genesis, bootstrap: Vec::new(), witnesses: Witnesses::default() };
    let (net, inbox) = Net::start(listening(&network, 1)).await.expect("loopback listens");
    network.bootstrap = net.listen_addrs().iter().map(ToString::to_string).collect();
    let signed = key(1).sign(network);
    let validator = Validator::new(solo, key(1), signed.clone());
    let view = validator.view().clone();
    tokio::spawn(async move {
        // The network lives as long as a handle of it.
        let _net = net;
        validator.run(inbox, stop).await
    });
    (signed.verify().expect("just signed"), view)
}

pub(crate) fn file() -> Gguf {
    Gguf::from_bytes(SmallModel::new(5).bytes()).expect("a sound model")
}

pub(crate) fn engine() -> Engine {
    engine_on(Backend::Cpu)
}

fn engine_on(backend: Backend) -> Engine {
    let config = EngineConfig { backend, threads: NonZeroUsize::MIN, ..EngineConfig::default() };
    Engine::from_gguf(&file(), config).expect("the engine takes it")
}

pub(crate) fn served() -> Served {
    served_by(engine())
}

fn served_by(engine: Engine) -> Served {
    let (file, engine) = (file(), Arc::new(engine));
    let work = work_of(engine.manifest()).expect("sane sizes");
    Served {
        assets: AssetBytes::from_file(&file, engine.manifest()).expect("it has a tokenizer"),
        tokenizer: Arc::new(tokenizer_asset(&file).expect("it has a tokenizer")),
        vocabulary: engine.config().vocab,
        offer: ModelOffer { model: engine.model_id(), work, context: engine.context() as u32 },
        device: measure_device(&engine, &work).expect("it computes"),
        scheduler: Scheduler::start(engine).expect("a thread"),
        reload: None,
        standard: None,
    }
}

/// The same on a device that a test watches.
pub(crate) fn served_on_watched_device(engine: Engine, reload: Option<Reload>) -> (Served, Watch) {
    let mut watch = None;
    let engine = engine.with_device(|inner| {
        let (device, watches) = Watched::new(inner, 1);
        watch = Some(watches);
        Box::new(device)
    });
    let scheduler = Scheduler::start(Arc::new(engine)).expect("a thread");
    (Served { scheduler, reload, ..served() }, watch.expect("the device was wrapped"))
}

async fn market(folder: &Path, delay: Duration) -> Market {
    market_of(folder, delay, served()).await
}

pub(crate) async fn market_of(folder: &Path, delay: Duration, served: Served) -> Market {
    let (stop, stopped) = watch::channel(false);
    let network = ledger_node(folder, stopped).await;
    provider_of(folder, network, delay, served, stop).await
}

/// A provider whose records lie in `folder`, in a network whose ledger node runs.
pub(crate) async fn provider_of(
    folder: &Path,
    network: Verified<NetworkFile>,
    delay: Duration,
    served: Served,
    stop: watch::Sender<bool>,
) -> Market {
    provider_asking(key(1).public(), folder, network, delay, served, stop).await
}

/// A provider that asks `ledger` about the ledger.
pub(crate) async fn provider_asking(
    ledger: PublicKey,
    folder: &Path,
    network: Verified<NetworkFile>,
    delay: Duration,
    served: Served,
    stop: watch::Sender<bool>,
) -> Market {
    let stopped = stop.subscribe();
    let config = NetConfig { delay, ..listening(&network, 3) };
    let (net, inbox) = Net::start(config).await.expect("loopback listens");
    let (told, events) = mpsc::channel(64);
    let offer = served.offer;
    let (memory, _) = Memory::open(&folder.join("records"), key(3).public()).expect("new records");
    let config = ProviderConfig {
        ask: ASK,
        spot: None,
        queue: Millis(0),
        region: None,
        jurisdiction: None,
        slots: 2,
        hospitality: Hospitality { patience: CALIBRATION_STEP, ..Hospitality::open(Millis(3_600_000)) },
        quotes: None,
        stake: Credits::ZERO,
        drain: DRAIN,
        reserve: None,
    };
    let parts = Parts {
        key: key(3),
        network: network.id(),
        clock_skew: network.genesis.clock_skew,
        net: net.clone(),
        ledger: LedgerClient::new(net.clone(), (&network.genesis).into(), ledger),
        memory,
        served,
        config,
        events: told,
    };
    let provider = Provider::new(parts).expect("nothing remembered");
    let monitor = provider.monitor();
    tokio::spawn(provider.run(inbox, stopped));
    Market { network, provider: key(3).public(), events, provider_net: net, stop, offer, monitor }
}

impl Market {
    /// The next thing that the provider tells for which `look` finds something.
    pub(crate) async fn hear<T>(&mut self, look: impl Fn(ProviderEvent) -> Option<T>) -> T {
        let mut heard = Vec::new();
        let next = async {
            while let Some(event) = self.events.recv().await {
                if let found @ Some(_) = look(event.clone()) {
                    return found;
                }
                heard.push(event);
            }
            None
        };
        let found = timeout(PATIENCE, next).await;
        found.ok().flatten().unwrap_or_else(|| panic!("the provider told nothing but {heard:?}"))
    }

    /// What the provider says of the next misdeed, and the number of all so far.
    pub(crate) async fn next_misdeed(&mut self) -> (PublicKey, String, u64) {
        let next = async {
            loop {
                match self.events.recv().await.expect("the provider runs") {
                    ProviderEvent::Misdeed { client, what, count } => return (client, what, count),
                    _ => continue,
                }
            }
        };
        timeout(PATIENCE, next).await.expect("the misdeed is noticed")
    }
}

pub(crate) fn spec(model: ModelOffer) -> RunSpec {
    RunSpec {
        model: model.model,
        messages: vec![Message { role: Role::User, content: "hello".into() }],
        max_tokens: 20,
        sampling: Sampling::GREEDY,
        stop_texts: Vec::new(),
        logprobs: 0,
        price_max: ASK,
        total_max: Credits(1_000_000),
        ttft: None,
        total_time: None,
        regions: Vec::new(),
        jurisdictions: Vec::new(),
        calibrated_by: Vec::new(),
        stake_min: Credits::ZERO,
        verification: Verification::Receipt,
        tier: Tier::OnDemand,
        data: DataClass::Any,
        own: BTreeSet::new(),
        costs: BuyerCosts::NONE,
        tag: None,
        use_for: Millis(60_000),
        reservation: None,
        pays: None,
        post: None,
        failover: true,
        hedge: Hedge::Never,
        keep: None,
    }
}

/// A client with a million micro-credits.
pub(crate) async fn funded_client(market: &Market, folder: &Path) -> Client {
    let config = ClientConfig {
        data_dir: DataDir::new(folder),
        key: key(4),
        network: market.network.clone(),
        region: None,
    };
    let client = Client::connect(config).await.expect("the ledger node is there");
    let mint = Call::Mint { to: client.id(), amount: Credits(1_000_000) };
    client.ledger().submit(&key(2), mint).await.expect("the issuer mints");
    client
}

pub(crate) async fn honest_job(market: &Market, folder: &Path) {
    let client = funded_client(market, folder).await;
    let before = client.ledger().account(client.id()).await.expect("the ledger answers").balance;
    let offers = client.offers(1, PATIENCE).await;
    let (_keep, cancel) = watch::channel(false);
    let mut settled = false;
    let mut on_event = |event: RunEvent<'_>| {
        settled |= matches!(event, RunEvent::Settled);
    };
    let result =
        client.run(&spec(market.offer), &offers, cancel, &mut on_event).await.expect("it is delivered");
    assert_eq!(result.receipt.body.cause, Cause::Delivered);
    assert_eq!(result.output.len() as u32, result.receipt.body.output_tokens);
    assert!(settled, "the provider settled at once");
    let account = client.ledger().account(client.id()).await.expect("the ledger answers");
    assert_eq!(account.balance, Credits(before.0 - result.cost.0));
    assert_eq!(account.holds, []);
    client.net().shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn senseless_job_streams_are_counted_and_dropped_and_honest_clients_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut market = market(folder.path(), Duration::ZERO).await;
    let mut vandal_config = listening(&market.network, 9);
    vandal_config.bootstrap.extend(market.provider_net.listen_addrs());
    let (vandal, _inbox) = Net::start(vandal_config).await.expect("loopback listens");
    for address in market.provider_net.listen_addrs() {
        vandal.dial(address).await.expect("the provider is there");
    }
    let cancel = wire::encode(&ClientMessage::Cancel);
    let frames: [(&[u8], &str); 4] = [
        (b"", "malformed"),
        (&[0xff; 300], "malformed"),
        (&cancel[..cancel.len() - 1], "malformed"),
        (&cancel, "asks for no job"),
    ];
    for (index, (frame, why)) in frames.into_iter().enumerate() {
        let mut stream = vandal.open_job(market.provider).await.expect("a stream opens");
        stream.send(frame).await.expect("it is sent");
        let (client, what, count) = market.next_misdeed().await;
        assert_eq!((client, count), (key(9).public(), index as u64 + 1));
        assert!(what.contains(why), "{what:?} for {why:?}");
        let end = timeout(PATIENCE, stream.recv()).await.expect("the stream ends");
        assert!(!matches!(end, Ok(Some(_))), "nothing is answered");
    }
    honest_job(&market, &folder.path().join("client")).await;
    market.stop.send_replace(true);
    vandal.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_that_closes_alone_while_its_job_runs_pays_for_what_it_released() {
    closed_while_its_job_runs(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_provider_that_leaves_still_collects_in_time_what_its_client_closes() {
    closed_while_its_job_runs(true).await;
}

async fn closed_while_its_job_runs(leaves: bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let (stop_ledger, stopped) = watch::channel(false);
    let network = ledger_node(folder.path(), stopped).await;
    let stop = watch::Sender::new(false);
    let mut market = provider_of(folder.path(), network, SLOW, served(), stop).await;
    let client = funded_client(&market, &folder.path().join("client")).await;
    let offers = client.offers(1, PATIENCE).await;
    let (_keep, cancel) = watch::channel(false);
    let (seen, mut sessions) = mpsc::channel(32);
    let mut opened = None;
    let mut on_event = |event: RunEvent<'_>| match event {
        RunEvent::Opened { session, .. } => opened = Some(session),
        RunEvent::Tokens(_) => seen.try_send(opened).expect("room for every token"),
        _ => {}
    };
    let spec = spec(market.offer);
    let run = client.run(&spec, &offers, cancel, &mut on_event);
    let close = async {
        let session = sessions.recv().await.flatten().expect("a token arrives in an open session");
        if leaves {
            market.stop.send_replace(true);
            market.hear(|event| matches!(event, ProviderEvent::Draining { .. }).then_some(())).await;
        }
        let close = Call::Close { session, vouchers: Vec::new(), release: None };
        client.ledger().submit(&key(4), close).await.expect("a client may close alone");
        session
    };
    let (ran, session) = timeout(PATIENCE, async { tokio::join!(run, close) }).await.expect("both end");
    assert!(ran.is_err(), "the job is ended, not delivered");
    let closed = |event| match event {
        ProviderEvent::Closed { session } => Some(session),
        _ => None,
    };
    assert_eq!(market.hear(closed).await, session, "the provider collects in time");
    let paid = client.ledger().account(market.provider).await.expect("the ledger answers").balance;
    let left = client.ledger().account(client.id()).await.expect("the ledger answers");
    assert!(paid > Credits(0), "what was released is paid");
    assert_eq!((left.balance.checked_add(paid), left.holds), (Some(Credits(1_000_000)), Vec::new()));
    market.stop.send_replace(true);
    stop_ledger.send_replace(true);
    client.net().shutdown().await;
}

fn unplug(watch: &Watch) {
    watch.answer(Answer::Fail(DeviceFault::Lost("it was unplugged".to_owned())));
}

/// Runs a job at whose third pass the device is lost, by `lose`; the client is told by a receipt that names the
/// provider's fault.
async fn job_on_a_device_that_is_lost(
    market: &Market,
    client: &Client,
    watch: Watch,
    lose: impl FnOnce(&Watch) + Send + 'static,
) {
    let offers = client.offers(1, PATIENCE).await;
    let fail = std::thread::spawn(move || {
        watch.pass();
        watch.pass();
        let _ = watch.next();
        lose(&watch);
    });
    let (_keep, cancel) = watch::channel(false);
    let ran = client.run(&spec(market.offer), &offers, cancel, &mut |_: RunEvent<'_>| ()).await;
    fail.join().expect("three passes are asked for");
    let result = ran.expect("what was delivered is paid by receipt");
    assert_eq!(result.receipt.body.cause, Cause::ProviderFault);
    assert!(result.output.len() <= 2, "two tokens were chosen");
}

fn withdrawn(event: ProviderEvent) -> Option<String> {
    match event {
        ProviderEvent::Withdrawn { why } => Some(why),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_provider_whose_device_is_lost_loads_the_model_anew_and_serves_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let reload: Reload = Arc::new(|| Scheduler::start(Arc::new(engine())).map_err(|error| error.to_string()));
    let (served, watch) = served_on_watched_device(engine(), Some(reload));
    let mut market = market_of(folder.path(), Duration::ZERO, served).await;
    let client = funded_client(&market, &folder.path().join("unlucky")).await;
    job_on_a_device_that_is_lost(&market, &client, watch, unplug).await;
    client.net().shutdown().await;
    let why = market.hear(withdrawn).await;
    assert!(why.contains("it was unplugged"), "{why}");
    market.hear(|event| (event == ProviderEvent::Restored).then_some(())).await;
    honest_job(&market, &folder.path().join("lucky")).await;
    market.stop.send_replace(true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_provider_whose_adapter_is_destroyed_puts_the_model_on_it_again_and_serves() {
    let Some(gpu) = open() else { return };
    let clock = if gpu.has_clock() { ClockSource::DeviceTimestamps } else { ClockSource::HostClock };
    let backend = on_gpu(variants(&gpu)[0]);
    let folder = tempfile::tempdir().expect("a folder");
    let again = backend.clone();
    let reload: Reload = Arc::new(move || {
        Scheduler::start(Arc::new(engine_on(again.clone()))).map_err(|error| error.to_string())
    });
    let (served, watch) = served_on_watched_device(engine_on(backend), Some(reload));
    let engine = served.scheduler.engine().clone();
    let mut market = market_of(folder.path(), Duration::ZERO, served).await;
    let client = funded_client(&market, &folder.path().join("client")).await;
    let destroy = move |watch: &Watch| {
        engine.device().close();
        watch.answer(Answer::Go);
    };
    job_on_a_device_that_is_lost(&market, &client, watch, destroy).await;
    let why = market.hear(withdrawn).await;
    assert!(why.contains("the graphics adapter was lost: destroyed"), "{why}");
    market.hear(|event| (event == ProviderEvent::Restored).then_some(())).await;
    let (result, _) = deliver(&client, &spec(market.offer)).await;
    let receipt = &result.receipt.body;
    assert_eq!((receipt.cause, receipt.measured_by), (Cause::Delivered, clock));
    market.stop.send_replace(true);
    client.net().shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lost_device_is_never_still_offered() {
    let folder = tempfile::tempdir().expect("a folder");
    let (served, watch) = served_on_watched_device(engine(), None);
    let mut market = market_of(folder.path(), Duration::ZERO, served).await;
    let client = funded_client(&market, &folder.path().join("client")).await;
    let old_offers = client.offers(1, PATIENCE).await;
    assert_eq!(market.monitor.trouble(), None, "it is healthy");
    job_on_a_device_that_is_lost(&market, &client, watch, unplug).await;
    market.hear(withdrawn).await;
    assert_eq!(market.monitor.trouble().map(|reason| reason.name), Some("engine-failed"));
    let (_keep, cancel) = watch::channel(false);
    let ran = client.run(&spec(market.offer), &old_offers, cancel, &mut |_: RunEvent<'_>| ()).await;
    // By the newest advert, or by the provider itself if that was faster.
    let refused = match ran.expect_err("the model is not served") {
        RunError::NoOffer(matched) => matched.refused[0].reason.name().to_owned(),
        error => error.to_string(),
    };
    assert!(refused.contains("model-not-served"), "{refused}");
    let gone =
        async { while client.offers(1, PATIENCE).await.iter().any(|advert| !advert.models.is_empty()) {} };
    timeout(PATIENCE, gone).await.expect("the offer is withdrawn before it dies");
    market.stop.send_replace(true);
    client.net().shutdown().await;
}

/// One order of a funded client, delivered.
async fn deliver(client: &Client, spec: &RunSpec) -> (JobResult, String) {
    let offers = client.offers(1, PATIENCE).await;
    let (_keep, cancel) = watch::channel(false);
    let result = client.run(spec, &offers, cancel, &mut |_| {}).await.expect("it is delivered");
    client.results().load(result.receipt.id()).expect("it was kept")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rules_of_sampling_stop_texts_and_log_probabilities_travel_and_are_confirmed_by_a_rerun() {
    let folder = tempfile::tempdir().expect("a folder");
    let market = market(folder.path(), Duration::ZERO).await;
    let client = funded_client(&market, &folder.path().join("client")).await;
    let sampling = Sampling {
        temperature_q16: 60_000,
        top_k: 60,
        top_p_q16: 64_000,
        min_p_q16: 100,
        repetition_q16: 70_000,
        frequency_q16: 10_000,
        presence_q16: -5_000,
        seed: 7,
        ..Sampling::GREEDY
    };
    let free = RunSpec { sampling, logprobs: 4, max_tokens: 40, ..spec(market.offer) };
    let (whole, text) = deliver(&client, &free).await;
    assert_eq!(whole.receipt.body.cause, Cause::Delivered);
    let confirmed = |result: &JobResult| {
        let claim = Claim {
            prompt: &result.request.prompt,
            written: &result.request.written,
            output: &result.output,
            sampling: EngineSampling::of(&result.request),
            logprobs: &result.logprobs,
            request_digest: result.receipt.body.request.0,
        };
        let rerun = verify(&Arc::new(engine()), &claim).expect("the claim fits");
        let scores = rerun.score_chain == result.receipt.body.scores.0;
        scores && (rerun.difference, rerun.false_logprobs) == (None, None)
    };
    assert!(confirmed(&whole) && whole.logprobs.len() == whole.output.len());
    let letters: Vec<char> = text.chars().filter(|letter| *letter != char::REPLACEMENT_CHARACTER).collect();
    let stop = letters[letters.len() / 2].to_string();
    let stopped = RunSpec { stop_texts: vec!["never said".into(), stop.clone()], ..free };
    let (part, shown) = deliver(&client, &stopped).await;
    assert!(part.output.len() < whole.output.len() && whole.output.starts_with(&part.output), "{stop:?}");
    assert_eq!(Some(shown.as_str()), text.split(&stop).next(), "what is shown ends before {stop:?}");
    assert_eq!(part.receipt.body.output_tokens as usize, part.output.len(), "nothing behind it is billed");
    assert!(confirmed(&part));
    market.stop.send_replace(true);
    client.net().shutdown().await;
}
