//! A provider, started.

mod event;
mod reserve;

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    thread::available_parallelism,
    time::Duration,
};

use axum::Router;
use gridhour_contracts_sim::{limits::BOND_MIN, network_file::NetworkFile};
use gridhour_protocol::{
    calibration::provider::Hospitality,
    id::ModelId,
    limits::{QUOTE_TTL_MS_MAX, REGION_BYTES_MAX},
    market::{advert::ModelOffer, tier::check_notice},
    signed::{SecretKey, Verified},
    units::{Credits, Millis, PricePerHour},
};
use tokio::sync::{mpsc, watch};

pub(super) use self::event::{event_json, event_text};
pub use self::reserve::ReserveArgs;
use super::{
    NodeError, NodeEvent, OnNodeEvent, ProviderArgs, Surroundings, face::Face, look_out, parse_size,
    remembered, validator::listen,
};
use crate::{
    available_memory::available_memory,
    drivers::{
        ledger_client::LedgerClient,
        memory::Memory,
        provider::{
            Monitor, Parts, Provider, ProviderConfig, QUEUE_MS_MAX, QuotePlan, Reload, Served, SpotOffer,
            load_standard, measure_device,
        },
        pulse::Pulse,
    },
    engine::{Backend, Engine, EngineConfig, scheduler::Scheduler},
    keys,
    model::{
        assets::{AssetBytes, AssetError, work_of},
        catalogue::{CATALOGUE, ModelCache, Resolved},
        gguf::Gguf,
        pull::pull,
        tokenizer::tokenizer_asset,
    },
    net::{Address, Net, NetConfig, NetHandle},
    network_json,
    settings::Settings,
    store::lock::{DirLock, Door},
};

/// Where a provider listens if nobody says otherwise.
const LISTEN: [&str; 2] = ["/ip4/0.0.0.0/tcp/4802", "/ip4/0.0.0.0/udp/4802/quic-v1"];
/// Provider events that wait to be reported.
const EVENTS_MAX: usize = 256;
/// Time between the starts of two calibrations at least, if nobody says otherwise.
const CALIBRATE_EVERY: Millis = Millis(60 * 60 * 1_000);
/// How long a spot job goes on once its slot is wanted back, if nobody says otherwise, in milliseconds.
const SPOT_NOTICE_MS: u64 = 5_000;
/// How long a job waits for a slot, if nobody says otherwise, in milliseconds.
const QUEUE_MS: u64 = 5_000;
/// How long running jobs may go on once the provider is told to stop, if nobody says otherwise.
const DRAIN: Millis = Millis(30_000);
/// Seconds for which a quote is firm, if nobody says otherwise.
const QUOTE_SECS: u64 = 10;
/// Memory for keys and values of all jobs, if nobody says otherwise.
const KV_MEMORY: &str = "2GiB";

pub(super) async fn run(
    args: ProviderArgs,
    surroundings: Surroundings,
    stop: watch::Receiver<bool>,
    on_event: OnNodeEvent,
) -> Result<(), NodeError> {
    let Surroundings { data_dir, settings, models } = surroundings;
    let plan = Plan::of(&args, &settings, &models)?;
    let face = Face::new("provider", &data_dir, &stop);
    let on_event = face.counting(on_event);
    let _lock = {
        // A client that only looks into its records is waited for.
        let _door = Door::pass(data_dir.root())?;
        DirLock::acquire(data_dir.root())?
    };
    let key = keys::load_or_create(&data_dir.key())?;
    let network = network_json::load(&data_dir.network())?;
    let _serving = face.serve(args.http.or(settings.http), Router::new(), &on_event).await?;
    let path = model_file(plan.model.as_deref(), &models, &on_event)?;
    let reported = on_event.clone();
    let (threads, backend) = (plan.threads, plan.backend.clone());
    let config =
        EngineConfig { backend, threads, kv_bytes_max: plan.kv_bytes_max, ..EngineConfig::default() };
    let loaded = tokio::task::spawn_blocking(move || serve_model(&path, config, &models, &reported));
    let served = loaded.await.map_err(|error| NodeError::Stopped(error.to_string()))??;
    let (memory, _) = Memory::open(&data_dir.records(), key.public())?;
    let config =
        NetConfig { remembered: remembered::read(&data_dir.peers()), ..net_config(&plan, &key, &network)? };
    let (net, inbox) = Net::start(args.common.reach(config)).await?;
    remembered::keep(&net, data_dir.peers());
    tokio::spawn(look_out(net.watch_checkpoints(), data_dir.fraud_proof(), on_event.clone()));
    let ledger = LedgerClient::new(net.clone(), (&network.genesis).into(), network.genesis.operator);
    let addresses = net.listen_addrs().iter().map(ToString::to_string).collect();
    let (id, pulse) = (key.public(), Pulse::default());
    tokio::spawn(pulse.clone().keep(ledger.clone()));
    let (events, heard) = mpsc::channel(EVENTS_MAX);
    let (net_handle, config) = (net.clone(), plan.config);
    let parts = Parts {
        key,
        network: network.id(),
        clock_skew: network.genesis.clock_skew,
        net: net_handle,
        ledger,
        memory,
        served,
        config,
        events,
    };
    let provider = Provider::new(parts)?;
    show(&face, &net, provider.monitor(), pulse);
    on_event(NodeEvent::Ready { id, addresses });
    let reports = tokio::spawn(report(heard, on_event));
    provider.run(inbox, stop).await;
    net.shutdown().await;
    reports.await.map_err(|error| NodeError::Stopped(error.to_string()))
}

fn show(face: &Face, net: &NetHandle, monitor: Monitor, pulse: Pulse) {
    face.metrics.add(net.clone());
    face.metrics.add(monitor.clone());
    face.metrics.add(pulse.clone());
    face.health.add(move || pulse.trouble());
    face.health.add(move || monitor.trouble());
    face.health.started();
}

async fn report(mut heard: mpsc::Receiver<crate::drivers::provider::ProviderEvent>, on_event: OnNodeEvent) {
    while let Some(event) = heard.recv().await {
        on_event(NodeEvent::Provider(event));
    }
}

/// Flags over settings over defaults, checked.
struct Plan {
    model: Option<String>,
    threads: NonZeroUsize,
    backend: Backend,
    kv_bytes_max: usize,
    delay: Duration,
    listen: Vec<Address>,
    config: ProviderConfig,
}

impl Plan {
    fn of(args: &ProviderArgs, settings: &Settings, models: &ModelCache) -> Result<Self, NodeError> {
        let ask = args.ask.as_deref().or(settings.ask.as_deref()).unwrap_or("1");
        let ask: PricePerHour = ask.parse().map_err(|error| argument("ask", error))?;
        let threads = match args.threads.or(settings.threads) {
            Some(threads) => {
                NonZeroUsize::new(threads.into()).ok_or_else(|| argument("threads", "at least 1"))?
            }
            None => available_parallelism().map_err(NodeError::Thread)?,
        };
        let slots = args.slots.or(settings.slots).unwrap_or(2);
        if slots == 0 || usize::from(slots) > crate::engine::scheduler::JOBS_MAX {
            return Err(argument("slots", format!("from 1 to {}", crate::engine::scheduler::JOBS_MAX)));
        }
        let region = place("region", args.region.clone().or_else(|| settings.region.clone()))?;
        let jurisdiction =
            place("jurisdiction", args.jurisdiction.clone().or_else(|| settings.jurisdiction.clone()))?;
        Ok(Self {
            model: args.model.clone().or_else(|| settings.model.clone()),
            threads,
            backend: args.compute.backend(settings, models),
            kv_bytes_max: kv_bytes_max(args, settings)?,
            delay: Duration::from_millis(args.delay_ms.or(settings.delay_ms).unwrap_or(0)),
            listen: listen(&args.common.listen, settings.listen.as_deref(), &LISTEN)?,
            config: ProviderConfig {
                ask,
                spot: spot(args, settings, ask)?,
                queue: queue(args, settings)?,
                region,
                jurisdiction,
                slots,
                hospitality: hospitality(args, settings)?,
                quotes: quotes(args, settings)?,
                stake: stake(args, settings)?,
                reserve: args.reserve.terms(settings, ask, slots)?,
                drain: args
                    .drain
                    .or(settings.drain)
                    .map_or(DRAIN, |seconds| Millis(seconds.saturating_mul(1_000))),
            },
        })
    }
}

/// How it serves in the spot tier.
fn spot(args: &ProviderArgs, settings: &Settings, ask: PricePerHour) -> Result<Option<SpotOffer>, NodeError> {
    let Some(text) = args.spot_ask.as_deref().or(settings.spot_ask.as_deref()) else { return Ok(None) };
    let spot_ask: PricePerHour = text.parse().map_err(|error| argument("spot-ask", error))?;
    if spot_ask > ask {
        return Err(argument("spot-ask", "at most the ask"));
    }
    let notice = Millis(args.spot_notice_ms.or(settings.spot_notice_ms).unwrap_or(SPOT_NOTICE_MS));
    check_notice(notice).map_err(|error| argument("spot-notice-ms", error))?;
    Ok(Some(SpotOffer { ask: spot_ask, notice }))
}

/// How long jobs wait for a slot.
fn queue(args: &ProviderArgs, settings: &Settings) -> Result<Millis, NodeError> {
    let ms = args.queue_ms.or(settings.queue_ms).unwrap_or(QUEUE_MS);
    match ms <= QUEUE_MS_MAX {
        true => Ok(Millis(ms)),
        false => Err(argument("queue-ms", format!("at most {QUEUE_MS_MAX}"))),
    }
}

/// Bytes for keys and values.
fn kv_bytes_max(args: &ProviderArgs, settings: &Settings) -> Result<usize, NodeError> {
    let text = args.kv_memory.as_deref().or(settings.kv_memory.as_deref()).unwrap_or(KV_MEMORY);
    let bytes = parse_size(text).map_err(|error| argument("kv-memory", error))?;
    usize::try_from(bytes).map_err(|_| argument("kv-memory", "more than this machine can address"))
}

/// What is kept at stake: nothing, or at least what can be bonded.
fn stake(args: &ProviderArgs, settings: &Settings) -> Result<Credits, NodeError> {
    let text = args.stake.as_deref().or(settings.stake.as_deref()).unwrap_or("0");
    let stake: Credits = text.parse().map_err(|error| argument("stake", error))?;
    if stake == Credits::ZERO || stake >= BOND_MIN {
        return Ok(stake);
    }
    Err(argument("stake", format!("less than {BOND_MIN} credit cannot be bonded; 0 stakes nothing")))
}

/// What posted orders are quoted, if anything.
fn quotes(args: &ProviderArgs, settings: &Settings) -> Result<Option<QuotePlan>, NodeError> {
    let Some(floor) = args.quote_floor.as_deref().or(settings.quote_floor.as_deref()) else {
        return Ok(None);
    };
    let floor = floor.parse().map_err(|error| argument("quote-floor", error))?;
    let seconds = args.quote_secs.or(settings.quote_secs).unwrap_or(QUOTE_SECS);
    let firm = Millis(seconds.saturating_mul(1_000));
    if !(1..=QUOTE_TTL_MS_MAX).contains(&firm.0) {
        return Err(argument("quote-secs", format!("from 1 to {}", QUOTE_TTL_MS_MAX / 1_000)));
    }
    Ok(Some(QuotePlan { floor, firm }))
}

/// Who may calibrate the provider, and how often.
fn hospitality(args: &ProviderArgs, settings: &Settings) -> Result<Hospitality, NodeError> {
    let every = args.calibrate_every.as_deref().or(settings.calibrate_every.as_deref());
    let every = match every {
        None => Some(CALIBRATE_EVERY),
        Some("never") => None,
        Some(text) => {
            let seconds: u64 = text.parse().map_err(|_| {
                argument("calibrate-every", format!("{text:?} is neither a number of seconds nor \"never\""))
            })?;
            Some(Millis(seconds.saturating_mul(1_000)))
        }
    };
    let named =
        |text: &String| text.parse().map_err(|error| argument("challengers", format!("{text:?}: {error}")));
    let challengers = match &settings.challengers {
        Some(named_in_file) if args.challenger.is_empty() => {
            named_in_file.iter().map(named).collect::<Result<_, _>>()?
        }
        _ => args.challenger.clone(),
    };
    let timeout = args.calibrate_timeout.or(settings.calibrate_timeout);
    let patience = Millis(timeout.map_or(u64::MAX, |seconds| seconds.saturating_mul(1_000)));
    Ok(Hospitality { every, challengers, patience })
}

fn argument(what: &'static str, why: impl ToString) -> NodeError {
    NodeError::Argument { what, why: why.to_string() }
}

fn place(what: &'static str, value: Option<String>) -> Result<Option<String>, NodeError> {
    match value {
        Some(text) if text.is_empty() || text.len() > REGION_BYTES_MAX => {
            Err(argument(what, format!("{text:?} is not 1 to {REGION_BYTES_MAX} bytes long")))
        }
        other => Ok(other),
    }
}

fn net_config(plan: &Plan, key: &SecretKey, network: &Verified<NetworkFile>) -> Result<NetConfig, NodeError> {
    let parse = |text: &String| {
        text.parse().map_err(|error| argument("bootstrap address", format!("{text:?}: {error}")))
    };
    let bootstrap = network.bootstrap.iter().map(parse).collect::<Result<_, _>>()?;
    let listen = plan.listen.clone();
    let (delay, region) = (plan.delay, plan.config.region.clone());
    Ok(NetConfig { listen, bootstrap, delay, region, ..NetConfig::of(network, key.clone()) })
}

/// The file of the model, pulled if it is not here.
fn model_file(
    asked: Option<&str>,
    models: &ModelCache,
    on_event: &OnNodeEvent,
) -> Result<PathBuf, NodeError> {
    let resolved = match asked {
        Some(text) => models.resolve(text)?,
        None => Resolved::Catalogue(&CATALOGUE[0]),
    };
    let entry = match resolved {
        Resolved::File(path) => return Ok(path),
        Resolved::Catalogue(entry) => entry,
    };
    if let Some(path) = models.cached(entry) {
        return Ok(path);
    }
    let (tell, model) = (on_event.clone(), entry.name.to_owned());
    let progress = move |done, total| tell(NodeEvent::Pulling { model: model.clone(), done, total });
    Ok(pull(entry, models, Arc::new(progress))?)
}

/// Loads a model and measures this machine with it.
fn serve_model(
    path: &Path,
    config: EngineConfig,
    models: &ModelCache,
    on_event: &OnNodeEvent,
) -> Result<Served, NodeError> {
    let file = Gguf::open(path)?;
    let engine = Arc::new(Engine::from_gguf(&file, config.clone())?);
    let model = engine.model_id();
    if let Err(error) = models.remember(model, path) {
        tracing::warn!(%error, "the model's id will not be known by itself");
    }
    let work = work_of(engine.manifest()).ok_or(NodeError::Work)?;
    let device = measure_device(&engine, &work)?;
    on_event(NodeEvent::Measured {
        model: model.to_string(),
        backend: device.backend.clone(),
        threads: device.threads,
        prefill: device.rates.prefill.0,
        decode: device.rates.decode.0,
    });
    let context = u32::try_from(engine.context()).unwrap_or(u32::MAX);
    Ok(Served {
        assets: AssetBytes::from_file(&file, engine.manifest())?,
        tokenizer: Arc::new(tokenizer_asset(&file).map_err(AssetError::from)?),
        vocabulary: engine.config().vocab,
        scheduler: Scheduler::start(engine).map_err(NodeError::Thread)?,
        standard: Some(load_standard(config.clone(), available_memory)),
        reload: Some(reload(path.to_owned(), config, model)),
        offer: ModelOffer { model, work, context },
        device,
    })
}

/// Loads the same model from the same file, after its device failed.
fn reload(path: PathBuf, config: EngineConfig, model: ModelId) -> Reload {
    let load = move || {
        let engine = Engine::load(&path, config.clone()).map_err(|error| error.to_string())?;
        match engine.model_id() == model {
            true => Scheduler::start(Arc::new(engine)).map_err(|error| error.to_string()),
            false => Err(format!("{} now holds another model, {}", path.display(), engine.model_id())),
        }
    };
    Arc::new(load)
}
