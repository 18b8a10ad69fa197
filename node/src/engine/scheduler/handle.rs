//! The way between a job and its reader: events out, grants and cancellation in.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
};

use gridhour_protocol::{job::logprobs::Logprobs, receipt::MeasuredTime};

use super::{super::device::DeviceFault, Command, EVENTS_BESIDE_TOKENS, EVENTS_MAX};

/// What a job reports, in this order: `Started`, any number of `Token`s, then one `Done` or `Fault`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum JobEvent {
    /// The engine computes the job from now on.
    Started {
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Those of them that need no computing, since an earlier job of the same scope began with them.
        reused_tokens: u32,
    },
    /// An output token was chosen.
    Token {
        /// Index in the output, from 0.
        index: u32,
        /// The token.
        id: u32,
        /// Its log probabilities, if the request asks for them.
        logprobs: Option<Logprobs>,
        /// Score chain over the output so far.
        score_chain: [u8; 32],
        /// Time spent computing this job so far; a pass that several jobs share counts by rows.
        measured: MeasuredTime,
    },
    /// The job has ended.
    Done(JobEnd),
    /// The device failed; whoever runs it is at fault.
    Fault(DeviceFault),
}

/// How a job ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JobEnd {
    /// Why.
    pub reason: Reason,
    /// Output tokens chosen.
    pub output_tokens: u32,
    /// Prompt tokens that needed no computing; none for a job that ended in line.
    pub reused_tokens: u32,
    /// Score chain over the output.
    pub score_chain: [u8; 32],
    /// Time spent computing this job; a pass that several jobs share counts by rows.
    pub measured: MeasuredTime,
}

/// Why a job ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The model chose a stop token, or completed a stop text.
    Stop,
    /// The limit of output tokens was reached.
    Length,
    /// The job was cancelled, its handle dropped, or the scheduler.
    Cancelled,
}

/// What both sides of a job share.
#[derive(Debug)]
struct Shared {
    granted: AtomicU32,
    cancelled: AtomicBool,
    unread: AtomicUsize,
}

/// Grants tokens to a job, or cancels it, from any thread.
#[derive(Clone, Debug)]
pub struct JobControl {
    shared: Arc<Shared>,
    commands: SyncSender<Command>,
}

/// The reader of a job's events. Dropping it cancels the job.
#[derive(Debug)]
pub struct JobHandle {
    control: JobControl,
    events: Receiver<JobEvent>,
}

/// The job's side.
#[derive(Debug)]
pub(super) struct Reporter {
    shared: Arc<Shared>,
    events: SyncSender<JobEvent>,
}

/// Both sides of a job to which `granted` tokens are granted.
pub(super) fn link(granted: u32, commands: SyncSender<Command>) -> (Reporter, JobHandle) {
    let (events, inbox) = sync_channel(EVENTS_MAX);
    let shared = Arc::new(Shared {
        granted: AtomicU32::new(granted),
        cancelled: AtomicBool::new(false),
        unread: AtomicUsize::new(0),
    });
    let control = JobControl { shared: shared.clone(), commands };
    (Reporter { shared, events }, JobHandle { control, events: inbox })
}

impl Reporter {
    /// Whether the reader wants no more.
    pub(super) fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::Acquire)
    }

    /// Tokens granted so far.
    pub(super) fn granted(&self) -> u32 {
        self.shared.granted.load(Ordering::Acquire)
    }

    /// Tokens that can be reported without waiting for the reader, the job's start and end aside.
    pub(super) fn room(&self) -> usize {
        EVENTS_MAX.saturating_sub(self.shared.unread.load(Ordering::Acquire) + EVENTS_BESIDE_TOKENS)
    }

    /// Sends an event. There is room, since nothing is computed beyond [`Reporter::room`]; a reader that is
    /// gone has cancelled.
    pub(super) fn report(&self, event: JobEvent) {
        self.shared.unread.fetch_add(1, Ordering::AcqRel);
        let _ = self.events.try_send(event);
    }
}

impl JobControl {
    /// Lets the job choose `tokens` more tokens than were granted before.
    pub fn grant(&self, tokens: u32) {
        let add = |granted: u32| Some(granted.saturating_add(tokens));
        // The update always applies, as `add` never declines.
        let _ = self.shared.granted.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
        self.wake();
    }

    /// Ends the job after the pass that is being computed; its memory is free then.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        match self.commands.try_send(Command::Wake) {
            // A full inbox wakes the engine just as well, and a stopped engine has nothing to wake for.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }
}

impl JobHandle {
    /// The next event, once there is one; nothing when the job has ended, or the engine is gone.
    pub fn next_event(&self) -> Option<JobEvent> {
        let event = self.events.recv().ok()?;
        let unread = self.control.shared.unread.fetch_sub(1, Ordering::AcqRel);
        if unread + EVENTS_BESIDE_TOKENS >= EVENTS_MAX {
            self.control.wake();
        }
        Some(event)
    }

    /// A control of this job for another thread.
    pub fn control(&self) -> JobControl {
        self.control.clone()
    }

    /// See [`JobControl::grant`].
    pub fn grant(&self, tokens: u32) {
        self.control.grant(tokens);
    }
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        self.control.cancel();
    }
}
