//! A provider: loads a model, measures itself, advertises, serves jobs, and collects what it earned.
//!
//! ```text
//!  start:  engine loaded, rates measured, records opened, network joined
//!  always: advert signed and gossiped again before it dies, and whenever a slot is taken or freed
//!          job stream -> job task (one a stream, obeying `protocol::job::provider`)
//!          posting    -> a quote, with a slot kept for it
//!          question   -> part of a model, settle a session, offer to reserve, or the advert of a slot
//!          sweep      -> sessions whose time is over are closed with their newest vouchers
//!          fault      -> the offer is withdrawn, and made again once the model could be loaded anew
//!          standing   -> its device is registered on the ledger, and its stake kept
//!          reserved   -> what was booked is looked up, and answered for when it is called for
//!          stop       -> the offer is withdrawn, running jobs end or are handed over
//!          challenge  -> the same, while a standard model is timed in its place
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use gridhour_protocol::{
    calibration::{provider::Hospitality, receipt::Calibration},
    exact::NUMERICS_VERSION,
    id::{DeviceId, NetworkId, ReservationId, SessionId},
    limits::PROTOCOL_VERSION,
    market::{
        advert::{Advert, Device, ModelOffer},
        reservation::stock::ReservationTerms,
        tier::Spot,
    },
    model::TokenizerAsset,
    signed::{PublicKey, SecretKey, Signed},
    units::{Credits, Millis, PricePerHour, Timestamp},
};
use tokio::{
    sync::{Mutex, Notify, mpsc, watch},
    time::{MissedTickBehavior, interval},
};

use crate::{
    clock,
    drivers::{
        ledger_client::LedgerClient,
        memory::{Memory, MemoryError},
    },
    engine::scheduler::Scheduler,
    model::assets::AssetBytes,
    net::{NetEvent, NetHandle},
};

mod calibrate;
mod calibrated;
mod counts;
mod desk;
mod drain;
mod job;
mod measure;
mod monitor;
mod quotes;
mod requests;
mod reserved;
mod serving;
mod settle;
mod standard;
mod standing;
mod tasks;

use calibrated::Calibrated;
pub use desk::QUEUE_MS_MAX;
use drain::{Drain, LAST_ADVERT_LIFE};
pub use measure::{MeasureError, measure_device};
pub(crate) use monitor::Look;
pub use monitor::Monitor;
pub use quotes::QuotePlan;
pub use serving::Reload;
use serving::Serving;
pub use standard::{LoadStandard, StandardError, load_standard};
pub use tasks::STREAMS_MAX;
use tasks::{Full, Tasks};

/// How long an advert lives.
const ADVERT_LIFE: Millis = Millis(60_000);
/// How often it is signed again, at least.
const ADVERT_EVERY: Duration = Duration::from_secs(15);
/// How often sessions are looked through for what can be collected.
const SWEEP_EVERY: Duration = Duration::from_secs(2);
/// Sessions that a provider remembers at once.
pub const SESSIONS_MAX: usize = 4096;

/// What a provider sells, and how.
#[derive(Clone, Debug)]
pub struct ProviderConfig {
    /// Price of a reference GPU-hour.
    pub ask: PricePerHour,
    /// Declared region.
    pub region: Option<String>,
    /// Declared jurisdiction.
    pub jurisdiction: Option<String>,
    /// How it serves on capacity that is idle, if it does.
    pub spot: Option<SpotOffer>,
    /// Jobs served at once.
    pub slots: u16,
    /// How long a job waits for a slot at most, beside the notice of a spot job that leaves its own; none waits if it is
    /// nothing.
    pub queue: Millis,
    /// When others may calibrate it.
    pub hospitality: Hospitality,
    /// How orders that are posted are quoted for; without it none is.
    pub quotes: Option<QuotePlan>,
    /// Credits that are kept at stake for the device; none are bonded, nor taken back, if it is zero.
    pub stake: Credits,
    /// How long running jobs may go on once the provider is told to stop; then they are handed over.
    pub drain: Millis,
    /// On which terms capacity is reserved; none is, without.
    pub reserve: Option<ReservationTerms>,
}

/// On which terms a provider serves in the spot tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpotOffer {
    /// Price of a reference GPU-hour, no more than the ask.
    pub ask: PricePerHour,
    /// How long a job goes on once its slot is wanted back.
    pub notice: Millis,
}

/// What happens at a provider, for whoever runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderEvent {
    /// An advert went out.
    Advertised {
        /// Its sequence number.
        sequence: u64,
        /// Slots that it says are free.
        slots_free: u16,
    },
    /// A job ended.
    Job {
        /// Its session.
        session: SessionId,
        /// How.
        end: String,
        /// Tokens sent.
        output_tokens: u32,
    },
    /// A session was closed on the ledger.
    Closed {
        /// The session.
        session: SessionId,
    },
    /// A session had ended on the ledger, by whoever: what was kept of it is forgotten.
    Forgotten {
        /// The session.
        session: SessionId,
    },
    /// A quote went out, and a slot is kept for it.
    Quoted {
        /// To whom.
        client: PublicKey,
        /// For a reference GPU-hour.
        price: PricePerHour,
        /// As long as it is firm.
        until: Timestamp,
    },
    /// Nobody came for a quote while it was firm: its slot is free again.
    QuoteLapsed {
        /// To whom it was made.
        client: PublicKey,
    },
    /// A spot job must leave its slot to another tier's.
    Reclaiming {
        /// Its session.
        session: SessionId,
        /// How long it still goes on.
        notice: Millis,
    },
    /// A client broke the rules; its job ended, or never started.
    Misdeed {
        /// Who.
        client: PublicKey,
        /// What it did, in a sentence.
        what: String,
        /// Misdeeds of all clients since the start.
        count: u64,
    },
    /// The device failed: every job ended by this provider's fault, and nothing is offered any more.
    Withdrawn {
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// The model was loaded anew and is offered again.
    Restored,
    /// The provider was told to stop: it offers nothing more and takes no new job.
    Draining {
        /// Jobs that still run.
        jobs: usize,
        /// How long they may; then their clients are sent elsewhere.
        at_most: Millis,
    },
    /// A challenger calibrates this provider: nothing is offered meanwhile.
    Calibrating {
        /// Who.
        challenger: PublicKey,
        /// The memory that is filled, in bytes.
        memory_bytes: u64,
    },
    /// A challenger signed what it measured, and the next adverts show it.
    Calibrated {
        /// Who.
        challenger: PublicKey,
        /// MACs a second, reading.
        prefill: u64,
        /// MACs a second, writing.
        decode: u64,
    },
    /// A challenger was refused, or a calibration came to nothing.
    NotCalibrated {
        /// Who.
        challenger: PublicKey,
        /// Why.
        why: String,
    },
    /// The ledger knows the device.
    Registered {
        /// Its id there.
        device: DeviceId,
        /// When its entry is dropped, unless it is renewed.
        expires_at: Timestamp,
    },
    /// What a challenger measured stands on the ledger.
    CalibrationEntered {
        /// For this device.
        device: DeviceId,
        /// By whom it was measured.
        challenger: PublicKey,
    },
    /// Credits are at stake for the device.
    Staked {
        /// The device.
        device: DeviceId,
        /// How much.
        bonded: Credits,
        /// After this anyone may send it home, unless it is renewed.
        until: Timestamp,
    },
    /// The account has too little for the stake that it should keep; nothing was bonded.
    StakeShort {
        /// The device.
        device: DeviceId,
        /// The account to fund.
        account: PublicKey,
        /// What should be at stake.
        wanted: Credits,
        /// What is.
        bonded: Credits,
        /// What the account has.
        balance: Credits,
        /// What it has too little.
        missing: Credits,
    },
    /// The device was slashed: nothing can be staked for it yet.
    StakeBarred {
        /// The device.
        device: DeviceId,
        /// Until then.
        until: Timestamp,
    },
    /// Money that was earned is not collected, and the time for that runs out.
    Unclaimed {
        /// The session.
        session: SessionId,
        /// What its vouchers grant beyond what was collected.
        amount: Credits,
        /// After this it is lost: it goes back to the client. The client may bring it forward to this.
        deadline: Timestamp,
        /// What to do, in a sentence.
        what: String,
    },
    /// A client has booked slots.
    Reserved {
        /// The reservation.
        reservation: ReservationId,
        /// Who.
        client: PublicKey,
        /// When the first of them begins that is not settled.
        from: Timestamp,
        /// When the last one ends.
        until: Timestamp,
    },
    /// A slot was called for on the ledger, and answered there.
    SlotAnswered {
        /// The reservation.
        reservation: ReservationId,
        /// The slot.
        slot: u16,
    },
    /// A slot was called for, and no answer came in time: a rung of the ladder is gone.
    SlotMissed {
        /// The reservation.
        reservation: ReservationId,
        /// Slots of it that were missed so far.
        missed: usize,
    },
    /// Something that should be looked at.
    Trouble {
        /// In a sentence.
        what: String,
    },
}

/// A loaded model with what clients may ask of it.
pub struct Served {
    /// Jobs run here.
    pub scheduler: Scheduler,
    /// How to load the model anew after the device failed; without it the provider then offers nothing more.
    pub reload: Option<Reload>,
    /// How to load the standard model of a calibration; without it, or without `reload`, there are no
    /// calibrations.
    pub standard: Option<LoadStandard>,
    /// For clients without the weights.
    pub assets: AssetBytes,
    /// What tokens are spelled like, which decides where stop strings end an output.
    pub tokenizer: Arc<TokenizerAsset>,
    /// The model in adverts.
    pub offer: ModelOffer,
    /// Tokens in the vocabulary.
    pub vocabulary: u32,
    /// The device in adverts.
    pub device: Device,
}

/// What clients may ask of the model, whether or not it is served just now.
pub(crate) struct Offered {
    pub(crate) assets: AssetBytes,
    pub(crate) offer: ModelOffer,
    pub(crate) vocabulary: u32,
    pub(crate) tokenizer: Arc<TokenizerAsset>,
    pub(crate) device: Device,
}

/// Everything that the provider's tasks share.
pub(crate) struct Shared {
    pub(crate) key: SecretKey,
    pub(crate) network: NetworkId,
    pub(crate) clock_skew: Millis,
    pub(crate) net: NetHandle,
    pub(crate) ledger: LedgerClient,
    pub(crate) memory: Memory,
    pub(crate) serving: Serving,
    pub(crate) calibration: Calibrated,
    pub(crate) reserved: reserved::Reserved,
    pub(crate) served: Offered,
    pub(crate) config: ProviderConfig,
    /// Held by a lane's job, so that a lane has one at a time; and by whoever closes the session.
    pub(crate) busy: Mutex<BTreeMap<SessionId, settle::Use>>,
    pub(crate) desk: Arc<desk::Desk>,
    /// Slots that are kept for quotes.
    pub(crate) quotes: quotes::Quotes,
    /// Told to stop: nothing is offered any more.
    pub(crate) draining: AtomicBool,
    pub(crate) changed: Notify,
    /// Sessions that their clients close while a job runs: the job ends.
    pub(crate) ending: watch::Sender<BTreeSet<SessionId>>,
    /// A challenger's receipt was kept, which the ledger should know.
    pub(crate) calibrated: Notify,
    /// Held by the sweep that is under way: there is one at a time, however long the ledger takes to answer.
    pub(crate) sweeping: Mutex<()>,
    /// A lane was given back.
    pub(crate) freed: Notify,
    /// So was the last one of a session that ends: it can be collected.
    pub(crate) over: Notify,
    pub(crate) misdeeds: AtomicU64,
    pub(crate) counts: counts::Counts,
    pub(crate) events: mpsc::Sender<ProviderEvent>,
}

impl Shared {
    /// Tells whoever listens. A full channel drops the event rather than hold up a job.
    pub(crate) fn tell(&self, event: ProviderEvent) {
        self.counts.note(&event);
        if let Err(error) = self.events.try_send(event) {
            tracing::debug!(%error, "event not heard");
        }
    }

    /// Jobs that hold a slot.
    pub(crate) fn jobs(&self) -> usize {
        self.desk.running()
    }

    /// How the slots stand now, with a place for whose reserved slot runs.
    fn load(&self, now: Timestamp) -> desk::Load {
        reserved::keep_place(self, now);
        self.desk.load()
    }

    /// Counts what a client did wrong, and says so. Nobody else notices.
    pub(crate) fn blame(&self, client: &PublicKey, what: impl std::fmt::Display) {
        let count = self.misdeeds.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::info!(client = %client.short(), %what, "a client broke the rules");
        self.tell(ProviderEvent::Misdeed { client: *client, what: what.to_string(), count });
    }

    pub(crate) fn trouble(&self, what: impl std::fmt::Display) {
        tracing::warn!(%what, "provider");
        self.tell(ProviderEvent::Trouble { what: what.to_string() });
    }
}

/// What a provider is made of.
pub struct Parts {
    /// Its key: account, and name among peers.
    pub key: SecretKey,
    /// The network.
    pub network: NetworkId,
    /// How far its clocks may differ.
    pub clock_skew: Millis,
    /// The network room, started.
    pub net: NetHandle,
    /// The ledger of the network.
    pub ledger: LedgerClient,
    /// What it remembers.
    pub memory: Memory,
    /// The model that it serves.
    pub served: Served,
    /// What it sells, and how.
    pub config: ProviderConfig,
    /// Who hears of its doings.
    pub events: mpsc::Sender<ProviderEvent>,
}

/// A provider that is about to run.
pub struct Provider {
    shared: Arc<Shared>,
}

impl Provider {
    /// Puts the parts together. Sessions from before a restart are taken up again.
    ///
    /// # Errors
    /// If the records cannot be read.
    pub fn new(parts: Parts) -> Result<Self, MemoryError> {
        let Parts { key, network, clock_skew, net, ledger, memory, served, config, events } = parts;
        let Served { scheduler, reload, standard, assets, offer, vocabulary, tokenizer, device } = served;
        let known = memory.sessions()?;
        let calibration = Calibrated::new(standard, memory.calibration()?);
        let desk = desk::Desk::new(config.slots, config.queue);
        let quotes = quotes::Quotes::new(config.slots);
        let busy = known.into_iter().map(|terms| Ok((terms.id(), settle::Use::remembered(terms, &memory)?)));
        let busy = busy.collect::<Result<_, MemoryError>>()?;
        let shared = Shared {
            key,
            network,
            clock_skew,
            net,
            ledger,
            memory,
            serving: Serving::new(scheduler, reload),
            calibration,
            reserved: reserved::Reserved::default(),
            served: Offered { assets, offer, vocabulary, tokenizer, device },
            config,
            busy: Mutex::new(busy),
            desk,
            quotes,
            draining: AtomicBool::new(false),
            changed: Notify::new(),
            calibrated: Notify::new(),
            sweeping: Mutex::new(()),
            freed: Notify::new(),
            over: Notify::new(),
            ending: watch::Sender::new(BTreeSet::new()),
            misdeeds: AtomicU64::new(0),
            counts: counts::Counts::default(),
            events,
        };
        // A receipt from before may be about another device, or less memory than is claimed now.
        let probe = advert_of(&shared, shared.calibration.receipt().as_ref(), 0, Timestamp(0));
        if let Err(fault) = probe.check_calibration() {
            tracing::info!(%fault, "an older calibration is not shown any more");
            shared.calibration.forget();
        }
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A look at it while it runs.
    #[must_use]
    pub fn monitor(&self) -> Monitor {
        Monitor::of(&self.shared)
    }

    /// Serves until `stop` turns true or the network room ends. Running jobs then end by themselves or, when their time
    /// is over ([`ProviderConfig::drain`]), are handed over: their clients go on elsewhere, and pay for what they got.
    pub async fn run(self, mut inbox: mpsc::Receiver<NetEvent>, mut stop: watch::Receiver<bool>) {
        let shared = self.shared;
        let (reclaim, reclaimed) = watch::channel(false);
        let mut tasks = Tasks::new();
        let mut adverts = interval(ADVERT_EVERY);
        let mut sweep = interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut faults = shared.serving.faults();
        let stops = Stops { stop: stop.clone(), reclaimed };
        let mut sequence = clock::now().0;
        let mut standing = pin!(standing::keep(&shared));
        let mut reserved = pin!(reserved::keep(&shared));
        loop {
            tokio::select! {
                () = told(&mut stop) => break,
                never = &mut standing => match never {},
                never = &mut reserved => match never {},
                _ = adverts.tick() => advertise(&shared, &mut sequence).await,
                () = shared.changed.notified() => advertise(&shared, &mut sequence).await,
                () = settle::time_to_sweep(&shared, &mut sweep) => tasks.spawn(settle::sweep(shared.clone())),
                Some(_) = tasks.join_next() => {}
                Ok(()) = faults.changed() => {
                    tasks.spawn(serving::recover(shared.clone(), stops.stop.clone()));
                }
                event = inbox.recv() => match event {
                    None => break,
                    Some(event) => take(&shared, &mut tasks, event, &stops),
                },
            }
        }
        shared.draining.store(true, Ordering::Relaxed);
        shared.desk.close();
        let (tasks, inbox, sweep) = (&mut tasks, &mut inbox, &mut sweep);
        Drain { shared: &shared, tasks, inbox, stops: &stops, sweep, reclaim: &reclaim }
            .run(&mut sequence)
            .await;
        reclaim.send_replace(true);
        while tasks.join_next().await.is_some() {}
    }
}

/// What tells a job that its provider leaves.
pub(crate) struct Stops {
    /// No new job may start.
    stop: watch::Receiver<bool>,
    /// Running jobs are handed over.
    reclaimed: watch::Receiver<bool>,
}

/// Waits until `stop` turns true, or nobody is left to say so.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Ready once when `stop` turns true, or nobody is left to say so; never again.
async fn stopped(stop: &mut Option<watch::Receiver<bool>>) {
    let Some(receiver) = stop else { return std::future::pending().await };
    told(receiver).await;
    *stop = None;
}

fn take(shared: &Arc<Shared>, tasks: &mut Tasks, event: NetEvent, stops: &Stops) {
    match event {
        NetEvent::Advert(_) | NetEvent::Quote(_) => {}
        NetEvent::Posting(posting) => {
            let answer = quotes::answer(shared.clone(), posting, stops.stop.clone());
            if let Err(Full) = tasks.spawn_posting(answer) {
                tracing::debug!("a posting goes unanswered: too many are being answered");
            }
        }
        NetEvent::Job(stream) => {
            let stopping = *stops.stop.borrow();
            let job = job::serve(shared.clone(), stream, stopping, stops.reclaimed.clone());
            // Its client takes its order elsewhere.
            if let Err(Full) = tasks.spawn_stream(job) {
                shared.trouble("refused a job stream: too many are open");
            }
        }
        NetEvent::Calibration(stream) => {
            if let Err(Full) =
                tasks.spawn_stream(calibrate::serve(shared.clone(), stream, stops.stop.clone()))
            {
                shared.trouble("refused a challenger: too many streams are open");
            }
        }
        NetEvent::Request(request) => tasks.spawn(requests::answer(shared.clone(), request)),
    }
}

async fn advertise(shared: &Shared, sequence: &mut u64) {
    *sequence += 1;
    let advert = sign_advert(shared, *sequence, clock::now());
    let slots_free = advert.body.slots_free;
    match shared.net.publish_advert(advert).await {
        Ok(()) => shared.tell(ProviderEvent::Advertised { sequence: *sequence, slots_free }),
        Err(error) => shared.trouble(format!("advert not published: {error}")),
    }
}

fn sign_advert(shared: &Shared, sequence: u64, now: Timestamp) -> Signed<Advert> {
    shared.key.sign(advert_of(shared, shared.calibration.receipt().as_ref(), sequence, now))
}

/// The advert of this moment, which shows `receipt`.
fn advert_of(
    shared: &Shared,
    receipt: Option<&Signed<Calibration>>,
    sequence: u64,
    now: Timestamp,
) -> Advert {
    let leaves = shared.draining.load(Ordering::Relaxed);
    let serves = !leaves && shared.serving.scheduler().is_some();
    let life = if leaves { LAST_ADVERT_LIFE } else { ADVERT_LIFE };
    let load = shared.load(now);
    let spot = shared.config.spot.map(|SpotOffer { ask, notice }| {
        let held = if serves { load.reclaimable } else { 0 };
        Spot { ask, notice, held }
    });
    let reached_at = shared.net.advertised_addrs();
    let addresses = reached_at.iter().map(ToString::to_string);
    let measured = Device { numerics: NUMERICS_VERSION, ..shared.served.device.clone() };
    let calibrated = receipt.and_then(|receipt| measured.calibrated(receipt));
    Advert {
        version: PROTOCOL_VERSION,
        network: shared.network,
        provider: shared.key.public(),
        addresses: addresses.take(gridhour_protocol::limits::ADDRESSES_MAX).collect(),
        sequence,
        issued_at: now,
        expires_at: now.after(life).unwrap_or(now),
        device: calibrated.unwrap_or(measured),
        // An advert without models takes the place of the one before, and so withdraws its offer.
        models: serves.then_some(shared.served.offer).into_iter().collect(),
        ask: shared.config.ask,
        spot,
        slots_free: if serves { load.idle } else { 0 },
        queued: load.queued,
        region: shared.config.region.clone(),
        jurisdiction: shared.config.jurisdiction.clone(),
        coordinate: Some(shared.net.coordinate()),
        quote: None,
    }
}
