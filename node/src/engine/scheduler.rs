//! Several jobs on one engine, batched: every turn computes one pass for all that may go on.
//!
//! A job that is taken waits in line until its keys and values fit, longest as they may become, and then runs
//! to its end: nothing that runs waits for memory, and nobody in line is overtaken. A turn shares its rows
//! among the running jobs (`share.rs`), so that tokens keep coming while long prompts are read, and short
//! prompts start soon. A job computes only tokens that were granted to it; one that has no grant, or whose
//! reader lags behind, lets the others pass. The bits of a job do not depend on its neighbours.

mod counts;
mod floor;
mod handle;
mod health;
mod job;
mod share;
mod turn;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread::{self, JoinHandle},
};

use gridhour_protocol::{
    job::{ending::StopTexts, request::Request, sampling::SamplingError},
    model::TokenizerAsset,
};
use thiserror::Error;

use self::{counts::Counting, floor::Floor, health::Health, job::Job};
pub use self::{
    counts::EngineCounts,
    handle::{JobControl, JobEnd, JobEvent, JobHandle, Reason},
};
use super::{
    Engine,
    device::DeviceFault,
    pages::table::OnFreed,
    sampler::Sampling,
    sequence::{self, SequenceError},
};

/// Jobs on one engine at most: running, waiting for grants, or in line for memory.
pub const JOBS_MAX: usize = 64;
/// Stop tokens of one job at most.
pub const STOP_TOKENS_MAX: usize = 16;
/// Events that wait for a job's reader at most.
pub const EVENTS_MAX: usize = 64;
/// Events of a job beside its tokens: the start and the end.
const EVENTS_BESIDE_TOKENS: usize = 2;
/// Messages that wait for the engine's thread at most.
const COMMANDS_MAX: usize = 64;

/// One inference, as the engine sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobRequest {
    /// Tokens before those that are to be written, at least one.
    pub prompt: Vec<u32>,
    /// How many of these, the last, are output that was written before; the rules of sampling tell it from the prompt.
    pub written: usize,
    /// How output tokens are chosen.
    pub sampling: Sampling,
    /// Output tokens at most, at least one.
    pub max_tokens: u32,
    /// Tokens that end the output; the one chosen is its last token.
    pub stop: Vec<u32>,
    /// Texts that end the output; the token that completes one is its last.
    pub stop_texts: StopTexts,
    /// Digest of the request, with which the score chain begins.
    pub request_digest: [u8; 32],
    /// Output tokens granted from the start.
    pub granted: u32,
    /// For whom it is computed: jobs of one scope use again what they computed of the same beginnings. None
    /// for a job that shares nothing.
    pub scope: Option<[u8; 32]>,
}

/// Why a job was not taken.
#[derive(Debug, Error)]
pub enum SubmitError {
    /// All places are taken.
    #[error("the engine already has {JOBS_MAX} jobs: try again when one has ended")]
    Busy,
    /// The prompt or the limit does not fit the model; the request is at fault.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// The memory for keys and values would not do for this job even if there were no other.
    #[error(
        "{positions} positions do not fit {limit} bytes of keys and values: ask for less, or give the engine more"
    )]
    NeverFits {
        /// Positions that the job may come to have.
        positions: usize,
        /// Bytes of all keys and values.
        limit: usize,
    },
    /// A rule of sampling is out of range.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// No output token was asked for.
    #[error("a job needs at least one output token")]
    NoTokens,
    /// Too many stop tokens.
    #[error("{0} stop tokens; at most {STOP_TOKENS_MAX} are taken")]
    StopTokens(usize),
    /// The device failed before.
    #[error(transparent)]
    Device(#[from] DeviceFault),
    /// The engine's thread is gone; a fault of this program.
    #[error("the engine has stopped")]
    Stopped,
}

/// What the engine's thread is told.
enum Command {
    /// Take this job.
    Run(Box<Job>),
    /// Look again: a grant, a cancellation, a reader or memory has come.
    Wake,
    /// End every job and the thread.
    Stop,
}

/// The engine's thread, and the way to it. Dropping it cancels all jobs.
pub struct Scheduler {
    engine: Arc<Engine>,
    commands: SyncSender<Command>,
    places: Places,
    health: Health,
    counts: Counting,
    /// Wakes the thread when somebody beside its jobs gives memory back.
    _on_freed: Arc<OnFreed>,
    thread: Option<JoinHandle<()>>,
}

impl Scheduler {
    /// Starts the thread that serves jobs on `engine`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(engine: Arc<Engine>) -> io::Result<Self> {
        let (commands, inbox) = sync_channel(COMMANDS_MAX);
        let wake = commands.clone();
        // A full inbox wakes the engine just as well, and a stopped engine has nothing to wake for.
        let on_freed: Arc<OnFreed> = Arc::new(move || _ = wake.try_send(Command::Wake));
        engine.pages().on_freed(&on_freed);
        let health = Health::default();
        let counts = Counting::default();
        let floor = Floor::new(engine.clone(), health.clone(), counts.clone());
        let thread = thread::Builder::new().name("engine-jobs".to_owned());
        let thread = thread.spawn(move || serve(&inbox, floor))?;
        let places = Places::default();
        Ok(Self { engine, commands, places, health, counts, _on_freed: on_freed, thread: Some(thread) })
    }

    /// The engine that computes.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Jobs that have not ended.
    pub fn jobs(&self) -> usize {
        self.places.taken()
    }

    /// What was computed so far.
    pub fn counts(&self) -> EngineCounts {
        self.counts.so_far()
    }

    /// The fault after which nothing more is computed, if there was one.
    pub fn fault(&self) -> Option<DeviceFault> {
        self.health.fault()
    }

    /// Calls `listener` once when the device fails; now, if it has. It must not block.
    pub fn on_fault(&self, listener: impl FnOnce(DeviceFault) + Send + 'static) {
        self.health.listen(Box::new(listener));
    }

    /// Takes a job. It begins as soon as its memory is there, and chooses tokens as far as they are granted.
    ///
    /// # Errors
    /// [`SubmitError`]; nothing was computed then.
    pub fn submit(&self, request: JobRequest) -> Result<JobHandle, SubmitError> {
        check(&self.engine, &request)?;
        if let Some(fault) = self.fault() {
            return Err(fault.into());
        }
        let place = self.places.take().ok_or(SubmitError::Busy)?;
        let (job, handle) = Job::new(request, place, self.commands.clone());
        self.commands.send(Command::Run(Box::new(job))).map_err(|_| SubmitError::Stopped)?;
        Ok(handle)
    }
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (jobs, fault) = (self.jobs(), self.fault());
        f.debug_struct("Scheduler").field("jobs", &jobs).field("fault", &fault).finish_non_exhaustive()
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        // A thread that has already ended needs no telling, and its panic was reported when it happened.
        let _ = self.commands.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl JobRequest {
    /// The job that `request` asks for, by a model with this tokenizer: all of it granted, and nothing shared.
    #[must_use]
    pub fn of(request: &Request, tokenizer: Arc<TokenizerAsset>) -> Self {
        Self {
            prompt: request.text(),
            written: request.written.len(),
            sampling: Sampling::of(request),
            max_tokens: request.max_tokens,
            stop: request.stop.clone(),
            stop_texts: StopTexts::of(request, tokenizer),
            request_digest: request.digest().0,
            granted: u32::MAX,
            scope: None,
        }
    }

    /// Positions that the job may come to have: the last output token is chosen, but nothing is computed
    /// behind it.
    fn positions(&self) -> usize {
        self.prompt.len().saturating_add(self.max_tokens as usize).saturating_sub(1)
    }
}

fn check(engine: &Engine, request: &JobRequest) -> Result<(), SubmitError> {
    request.sampling.rules.check()?;
    if request.max_tokens == 0 {
        return Err(SubmitError::NoTokens);
    }
    if request.stop.len() > STOP_TOKENS_MAX {
        return Err(SubmitError::StopTokens(request.stop.len()));
    }
    let (positions, max) = (request.positions(), engine.context());
    if positions > max {
        return Err(SequenceError::Context { asked: positions, max }.into());
    }
    sequence::check(engine, 0, &request.prompt, positions)?;
    let pages = engine.pages();
    match pages.could_hold(positions) {
        true => Ok(()),
        false => Err(SubmitError::NeverFits { positions, limit: pages.limit() }),
    }
}

/// The engine's thread: commands, then one turn for all jobs, and sleep when none can go on.
fn serve(inbox: &Receiver<Command>, mut floor: Floor) {
    let mut idle = true;
    loop {
        loop {
            match receive(inbox, idle) {
                Ok(Command::Run(job)) => floor.take(job),
                Ok(Command::Wake) => {}
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return floor.cancel_all(),
                Err(TryRecvError::Empty) => break,
            }
            idle = false;
        }
        idle = !floor.turn();
    }
}

/// The next command; with `wait`, once there is one.
fn receive(inbox: &Receiver<Command>, wait: bool) -> Result<Command, TryRecvError> {
    match wait {
        true => inbox.recv().map_err(|_| TryRecvError::Disconnected),
        false => inbox.try_recv(),
    }
}

/// Counts the jobs of an engine.
#[derive(Clone, Debug, Default)]
struct Places(Arc<AtomicUsize>);

/// One job's place, free again when dropped.
#[derive(Debug)]
struct Place(Places);

impl Places {
    fn take(&self) -> Option<Place> {
        let one_more = |taken: usize| (taken < JOBS_MAX).then_some(taken + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Place(self.clone()))
    }

    fn taken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
