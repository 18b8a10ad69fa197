//! Several jobs on one engine: their prompts and tokens interleave, a bounded piece of one job at a time.
//!
//! A job computes only tokens that were granted to it; one that has no grant, or whose reader lags behind,
//! waits without holding up the others. The bits of a job do not depend on its neighbours.

mod handle;
mod job;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread::{self, JoinHandle},
};

use thiserror::Error;

pub use self::handle::{JobControl, JobEnd, JobEvent, JobHandle, Reason};
use self::job::{Job, Turn};
use super::{
    Engine,
    sampler::Sampling,
    sequence::{self, Sequence, SequenceError},
};

/// Jobs on one engine at most, running or waiting for grants.
pub const JOBS_MAX: usize = 16;
/// Stop tokens of one job at most.
pub const STOP_TOKENS_MAX: usize = 16;
/// Events that wait for a job's reader at most.
pub const EVENTS_MAX: usize = 64;
/// Events that one turn of a job sends at most: the start, a token and the end.
const EVENTS_A_TURN: usize = 3;
/// Messages that wait for the engine's thread at most.
const COMMANDS_MAX: usize = 64;

/// One inference, as the engine sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobRequest {
    /// Prompt tokens, at least one.
    pub prompt: Vec<u32>,
    /// How output tokens are chosen.
    pub sampling: Sampling,
    /// Output tokens at most, at least one.
    pub max_tokens: u32,
    /// Tokens that end the output; the one chosen is its last token.
    pub stop: Vec<u32>,
    /// Digest of the request, with which the score chain begins.
    pub request_digest: [u8; 32],
    /// Output tokens granted from the start.
    pub granted: u32,
}

/// Why a job was not taken.
#[derive(Debug, Error)]
pub enum SubmitError {
    /// All places are taken.
    #[error("the engine already has {JOBS_MAX} jobs: try again when one has ended")]
    Busy,
    /// The prompt or the limit does not fit; the request is at fault, or the memory is taken.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// The temperature is out of range.
    #[error("temperature {0}/65536 is not 0 and not between 0.01 and 100")]
    Temperature(u32),
    /// No output token was asked for.
    #[error("a job needs at least one output token")]
    NoTokens,
    /// Too many stop tokens.
    #[error("{0} stop tokens; at most {STOP_TOKENS_MAX} are taken")]
    StopTokens(usize),
    /// The engine's thread is gone; a fault of this program.
    #[error("the engine has stopped")]
    Stopped,
}

/// What the engine's thread is told.
enum Command {
    /// Take this job.
    Run(Box<Job>),
    /// Look again: a grant, a cancellation or a reader has come.
    Wake,
    /// End every job and the thread.
    Stop,
}

/// The engine's thread, and the way to it. Dropping it cancels all jobs.
#[derive(Debug)]
pub struct Scheduler {
    engine: Arc<Engine>,
    commands: SyncSender<Command>,
    places: Places,
    thread: Option<JoinHandle<()>>,
}

impl Scheduler {
    /// Starts the thread that serves jobs on `engine`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(engine: Arc<Engine>) -> io::Result<Self> {
        let (commands, inbox) = sync_channel(COMMANDS_MAX);
        let thread = thread::Builder::new().name("engine-jobs".to_owned()).spawn(move || serve(&inbox))?;
        Ok(Self { engine, commands, places: Places::default(), thread: Some(thread) })
    }

    /// The engine that computes.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Jobs that have not ended.
    pub fn jobs(&self) -> usize {
        self.places.taken()
    }

    /// Takes a job. It begins at once, and chooses tokens as far as they are granted.
    ///
    /// # Errors
    /// [`SubmitError`]; nothing was computed then.
    pub fn submit(&self, request: JobRequest) -> Result<JobHandle, SubmitError> {
        check(&request)?;
        let place = self.places.take().ok_or(SubmitError::Busy)?;
        // The last output token is chosen, but nothing is computed behind it.
        let positions = request.prompt.len().saturating_add(request.max_tokens as usize - 1);
        let sequence = Sequence::new(&self.engine, positions)?;
        sequence::check(&self.engine, 0, &request.prompt, positions)?;
        let (job, handle) = Job::new(request, sequence, place, self.commands.clone());
        self.commands.send(Command::Run(Box::new(job))).map_err(|_| SubmitError::Stopped)?;
        Ok(handle)
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

fn check(request: &JobRequest) -> Result<(), SubmitError> {
    if !request.sampling.is_valid() {
        return Err(SubmitError::Temperature(request.sampling.temperature_q16));
    }
    if request.max_tokens == 0 {
        return Err(SubmitError::NoTokens);
    }
    match request.stop.len() {
        0..=STOP_TOKENS_MAX => Ok(()),
        count => Err(SubmitError::StopTokens(count)),
    }
}

/// The engine's thread: commands, then one turn of every job, and sleep when no job can go on.
fn serve(inbox: &Receiver<Command>) {
    let mut jobs: Vec<Job> = Vec::new();
    let mut idle = true;
    loop {
        loop {
            match receive(inbox, idle) {
                Ok(Command::Run(job)) => jobs.push(*job),
                Ok(Command::Wake) => {}
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => {
                    return jobs.into_iter().for_each(Job::cancel);
                }
                Err(TryRecvError::Empty) => break,
            }
            idle = false;
        }
        idle = true;
        jobs.retain_mut(|job| {
            let turn = job.turn();
            idle &= turn == Turn::Waits;
            turn != Turn::Ended
        });
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
