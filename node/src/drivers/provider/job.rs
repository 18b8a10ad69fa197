//! One job's stream at its provider: the driver of [`gridhour_protocol::job::provider`].

use std::{
    collections::{BTreeSet, VecDeque},
    pin::pin,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use gridhour_protocol::{
    exact::{NUMERICS_VERSION, numerics_digest},
    id::{ScoreDigest, SessionId},
    job::{
        admission::Applicant,
        effect::Effects,
        message::{ClientMessage, Open, ProviderMessage, RefusalCode, detail},
        misbehavior::Misbehavior,
        provider::{
            Generated, Provider, ProviderEffect, ProviderEnd, ProviderInput, ProviderOutcome,
            ProviderPatience, ProviderSetup,
        },
        request::Request,
    },
    session::terms::Terms,
    signed::PublicKey,
    units::{Credits, Millis, Timestamp},
    wire,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::Instrument;

use super::{
    ProviderEvent, Shared,
    desk::Slot,
    quotes, reserved,
    settle::{self, LaneUse, Seen, Taken},
    stopped,
};
use crate::{
    clock,
    drivers::{ledger_client::LedgerError, memory::MemoryError},
    engine::scheduler::{JobControl, JobEnd, JobEvent, JobHandle, JobRequest, Reason, SubmitError},
    logging::{job_span, name_job, name_session},
    net::{FrameError, JobReceiver, JobSender, JobStream},
};

/// How long a client may take to say what it wants.
const OPEN_TIME: Duration = Duration::from_secs(10);
/// How long a frame may take to leave.
const SEND_TIME: Duration = Duration::from_secs(30);
/// How long the last frame of a job may take to leave whose notice is over.
const PARTING_SEND_TIME: Duration = Duration::from_secs(2);
/// How long a client may take to pay, and to acknowledge.
const PATIENCE: ProviderPatience = ProviderPatience { payment: Millis(10_000), settlement: Millis(10_000) };
/// Engine events that wait for the job's task.
const EVENTS_MAX: usize = 64;

/// Why a job is not begun, as its client is told.
type Refusal = (RefusalCode, String);

/// Why a job's stream ended without an outcome.
#[derive(Debug, thiserror::Error)]
enum JobError {
    /// The client broke the rules before the job started, or said nothing.
    #[error("client {client}: {what}", client = .client.short())]
    Client {
        /// Who.
        client: PublicKey,
        /// What it did.
        what: String,
    },
    /// Our records: nothing more may be sent.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The ledger could not be asked.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Serves one stream to its end.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    stream: JobStream,
    stopping: bool,
    reclaimed: watch::Receiver<bool>,
) {
    let begun = Instant::now();
    let span = job_span(&stream.peer());
    serve_in_span(&shared, stream, stopping, reclaimed).instrument(span).await;
    shared.counts.streams.add(begun.elapsed());
    shared.changed.notify_one();
}

async fn serve_in_span(
    shared: &Arc<Shared>,
    stream: JobStream,
    stopping: bool,
    reclaimed: watch::Receiver<bool>,
) {
    match try_serve(shared, stream, stopping, reclaimed).await {
        Ok(()) => {}
        Err(JobError::Client { client, what }) => shared.blame(&client, what),
        Err(error) => shared.trouble(error),
    }
}

async fn try_serve(
    shared: &Arc<Shared>,
    stream: JobStream,
    stopping: bool,
    reclaimed: watch::Receiver<bool>,
) -> Result<(), JobError> {
    let client = stream.peer();
    let (mut sender, mut receiver) = stream.split();
    let blame = |what: String| JobError::Client { client, what };
    let open = receive_open(&mut receiver).await.map_err(blame)?;
    if open.terms.client != client {
        return Err(blame("the session belongs to another client".into()));
    }
    name_session(&open.terms);
    name_job(&open.request.digest());
    tracing::info!(prompt_tokens = open.request.prompt.len(), "a job is asked for");
    settle::lane_freed(shared, &open).await;
    // It may have been told to meanwhile.
    let stopping = stopping || shared.draining.load(Ordering::Relaxed);
    // Before it waits: only a session that is paid for has its tier's place, and may have another job reclaimed.
    let seen = match find_session(shared, &open, stopping).await? {
        Ok(seen) => seen,
        Err((code, why)) => {
            refuse(shared, &mut sender, code, why).await;
            return Ok(());
        }
    };
    let lane = match take_lane(shared, &open, seen).await? {
        Ok(lane) => lane,
        Err((code, why)) => {
            refuse(shared, &mut sender, code, why).await;
            return Ok(());
        }
    };
    let ended = on_lane(shared, lane.cap, open, (sender, receiver), reclaimed).await;
    // Behind its slot: the next job of this lane, which waits for it, finds one.
    lane.free(shared).await;
    ended
}

/// Waits for a slot and runs the job. One that is refused needs no slot, and has nobody else's reclaimed.
async fn on_lane(
    shared: &Arc<Shared>,
    cap: Credits,
    open: Open,
    (mut sender, mut receiver): (JobSender, JobReceiver),
    leaving: watch::Receiver<bool>,
) -> Result<(), JobError> {
    let setup = setup(shared, cap, &open)?;
    let mut stops = JobStops { slot_wanted: None, leaves_at: None, leaving: Some(leaving) };
    let _slot = if would_start(&setup, &open)? {
        let Some(mut slot) = wait_for_slot(shared, &open.terms, &mut receiver).await else {
            let why = "no slot was left, or the client did not wait for one";
            refuse(shared, &mut sender, RefusalCode::Busy, why.into()).await;
            return Ok(());
        };
        shared.quotes.came(&open.terms.client);
        stops.slot_wanted = slot.reclaimed();
        Some(slot)
    } else {
        None
    };
    run(shared, setup, open, (sender, receiver), stops).await
}

/// Whether the job starts if it is given a slot now.
fn would_start(setup: &ProviderSetup, open: &Open) -> Result<bool, JobError> {
    let mut unsaid = Effects::default();
    let machine = Provider::open(clock::now(), setup.clone(), open.clone(), &mut unsaid);
    machine.map(|machine| !machine.is_over()).map_err(|misdeed| misdone(open.terms.client, &misdeed))
}

fn misdone(client: PublicKey, misdeed: &Misbehavior) -> JobError {
    JobError::Client { client, what: misdeed.to_string() }
}

/// A slot for a job of a session with these terms; nothing if none came in time, or the client said anything before,
/// which can only be that it waits no longer.
async fn wait_for_slot(shared: &Shared, terms: &Terms, receiver: &mut JobReceiver) -> Option<Slot> {
    let who = Applicant { client: terms.client, tier: terms.tier, notice: terms.notice };
    reserved::keep_place(shared, clock::now());
    let mut slot = quotes::kept_slot(shared, terms).unwrap_or_else(|| shared.desk.enter(who));
    shared.changed.notify_one();
    let mut ending = Some(shared.ending.subscribe());
    let admitted = tokio::select! {
        // A job that can start does, whatever its client has said since.
        biased;
        admitted = slot.admitted() => Some(admitted),
        _ = receiver.recv() => None,
        () = ended(&mut ending, terms.id()) => None,
    };
    match admitted {
        Some(admitted) => admitted.then_some(slot),
        None => {
            slot.give_up();
            None
        }
    }
}

async fn receive_open(receiver: &mut JobReceiver) -> Result<Open, String> {
    let frame =
        timeout(OPEN_TIME, receiver.recv()).await.map_err(|_| "it opened a stream and said nothing")?;
    let frame = frame.map_err(|error| error.to_string())?.ok_or("it opened a stream and closed it")?;
    match wire::decode(&frame).map_err(|error| error.to_string())? {
        ClientMessage::Open(open) => Ok(*open),
        _ => Err("its first message asks for no job".into()),
    }
}

async fn refuse(shared: &Shared, sender: &mut JobSender, code: RefusalCode, why: String) {
    tracing::info!(code = code.name(), why, "the job is refused");
    shared.counts.job(&ProviderEnd::Refused(code), 0);
    let message = ProviderMessage::Refused { code, detail: detail(why) };
    let sent = timeout(SEND_TIME, sender.send(&wire::encode(&message))).await;
    if !matches!(sent, Ok(Ok(()))) {
        tracing::debug!("a refusal did not arrive");
    }
}

/// The session on the ledger, or why there is none for this job.
async fn find_session(
    shared: &Shared,
    open: &Open,
    stopping: bool,
) -> Result<Result<Seen, Refusal>, JobError> {
    let terms = &open.terms;
    let refusal = if stopping {
        Some((RefusalCode::Stopping, "the provider is shutting down".to_owned()))
    } else if terms.numerics != NUMERICS_VERSION {
        let why = format!("version {} asked, {NUMERICS_VERSION} served", terms.numerics);
        Some((RefusalCode::NumericsVersion, why))
    } else if terms.model != shared.served.offer.model {
        Some((RefusalCode::ModelNotServed, format!("model {}", terms.model.short())))
    } else if shared.serving.scheduler().is_none() {
        Some((RefusalCode::ModelNotServed, "the device failed, and the model is not loaded".to_owned()))
    } else {
        None
    };
    if let Some(refusal) = refusal {
        return Ok(Err(refusal));
    }
    match settle::recall(shared, open).await? {
        Some(session) => Ok(Ok(Seen { session, is_fresh: false })),
        None => ask_ledger(shared, terms).await,
    }
}

/// The session as the ledger has it now, or why no job runs in it.
async fn ask_ledger(shared: &Shared, terms: &Terms) -> Result<Result<Seen, Refusal>, JobError> {
    let session = shared.ledger.session(terms.id()).await?;
    let Some(session) = session.filter(|session| !session.closing && session.terms == *terms) else {
        return Ok(Err((RefusalCode::UnknownSession, format!("session {}", terms.id().short()))));
    };
    settle::note_shown(shared, terms.id(), &session).await;
    Ok(Ok(Seen { session, is_fresh: true }))
}

/// The lane that `open` names. What others took while this job waited may have been topped up before it was sent, so no
/// job is told that the hold is exhausted on the word of a look that is older than itself.
async fn take_lane(shared: &Shared, open: &Open, seen: Seen) -> Result<Result<LaneUse, Refusal>, JobError> {
    let mut taken = settle::take_lane(shared, open, &seen).await?;
    if matches!(taken, Taken::Short) {
        let seen = match ask_ledger(shared, &open.terms).await? {
            Ok(seen) => seen,
            Err(refusal) => return Ok(Err(refusal)),
        };
        taken = settle::take_lane(shared, open, &seen).await?;
    }
    Ok(match taken {
        Taken::Lane(lane) => Ok(lane),
        Taken::Busy | Taken::Short => {
            Err((RefusalCode::Busy, "the lane is in use, or the session is being closed".into()))
        }
    })
}

/// What the machine of a job needs, whose lane is taken: nobody else changes it.
fn setup(shared: &Shared, lane_cap: Credits, open: &Open) -> Result<ProviderSetup, MemoryError> {
    Ok(ProviderSetup {
        key: shared.key.clone(),
        numerics: numerics_digest(),
        device: shared.served.device.class,
        lane: shared.memory.lane(open.terms.id(), open.request.lane)?,
        lane_cap,
        context: shared.served.offer.context,
        vocabulary: shared.served.vocabulary,
        tokenizer: shared.served.tokenizer.clone(),
        patience: PATIENCE,
    })
}

async fn run(
    shared: &Arc<Shared>,
    setup: ProviderSetup,
    open: Open,
    (sender, receiver): (JobSender, JobReceiver),
    stops: JobStops,
) -> Result<(), JobError> {
    let (client, notice, id) = (open.terms.client, open.terms.notice, open.terms.id());
    tokio::task::block_in_place(|| shared.memory.keep_session(&open.terms))?;
    let mut effects = Effects::default();
    let machine = Provider::open(clock::now(), setup, open, &mut effects)
        .map_err(|misdeed| misdone(client, &misdeed))?;
    let (tokens, engine) = mpsc::channel(EVENTS_MAX);
    let mut job = Job {
        shared: shared.clone(),
        machine,
        sender,
        receiver: Some(receiver),
        client,
        session: id,
        ending: Some(shared.ending.subscribe()),
        stops,
        notice,
        tokens,
        engine,
        control: None,
        granted: 0,
        wake: None,
        inputs: VecDeque::new(),
    };
    let outcome = job.drive(effects).await?;
    report(shared, &outcome);
    Ok(())
}

fn report(shared: &Shared, outcome: &ProviderOutcome) {
    let end = match &outcome.end {
        ProviderEnd::Refused(code) => format!("refused: {}", code.name()),
        ProviderEnd::Settled(receipt) => receipt.body.cause.name().to_owned(),
        ProviderEnd::Unsettled(receipt) => format!("{}, not acknowledged", receipt.body.cause.name()),
        ProviderEnd::Cheated { misdeed, .. } => format!("client at fault: {misdeed}"),
    };
    let (session, output_tokens) = (outcome.lane.session, outcome.output_tokens);
    tracing::info!(end, output_tokens, "the job ended");
    shared.counts.job(&outcome.end, output_tokens);
    shared.tell(ProviderEvent::Job { session, end, output_tokens });
}

/// What ends a job that its client wants to go on.
struct JobStops {
    /// Another job wants its slot; `None` once that was told.
    slot_wanted: Option<oneshot::Receiver<()>>,
    /// When the slot is to be left, once that was told.
    leaves_at: Option<Instant>,
    /// The provider leaves; `None` once the job was to be handed over.
    leaving: Option<watch::Receiver<bool>>,
}

impl JobStops {
    fn leave_after(&mut self, notice: Millis) {
        self.leaves_at = Some(Instant::now() + Duration::from_millis(notice.0));
    }

    /// Whether `sending` comes to a good end in time: a client that reads nothing keeps nobody waiting who was promised
    /// the slot after the notice. One that does read in the end has its notice from then on.
    async fn in_time(
        &mut self,
        sending: impl Future<Output = Result<(), FrameError>>,
        notice: Millis,
    ) -> bool {
        let (begun, mut sending) = (Instant::now(), pin!(sending));
        loop {
            let leaves = self.leaves_at.map(|at| at.max(begun + PARTING_SEND_TIME));
            let end = leaves.map_or(begun + SEND_TIME, |leaves| leaves.min(begun + SEND_TIME));
            tokio::select! {
                sent = &mut sending => return sent.is_ok(),
                () = sleep_until(end) => return false,
                () = slot_wanted(&mut self.slot_wanted) => self.leave_after(notice),
            }
        }
    }
}

/// A job that runs: the machine, and what its effects act on.
struct Job {
    shared: Arc<Shared>,
    machine: Provider,
    sender: JobSender,
    /// `None` once the client's direction has ended.
    receiver: Option<JobReceiver>,
    client: PublicKey,
    session: SessionId,
    /// `None` once the client was seen to close the session.
    ending: Option<watch::Receiver<BTreeSet<SessionId>>>,
    stops: JobStops,
    /// How long it goes on once its slot is wanted back.
    notice: Millis,
    /// Events of the engine; nothing if it is gone before the job's end.
    tokens: mpsc::Sender<Option<JobEvent>>,
    engine: mpsc::Receiver<Option<JobEvent>>,
    control: Option<JobControl>,
    granted: u32,
    wake: Option<Timestamp>,
    /// What effects themselves gave rise to.
    inputs: VecDeque<ProviderInput>,
}

impl Job {
    /// Does what the machine asks for until it is over.
    async fn drive(&mut self, mut effects: Effects<ProviderEffect>) -> Result<ProviderOutcome, JobError> {
        loop {
            for effect in effects.take() {
                if let Some(outcome) = self.apply(effect).await? {
                    return Ok(outcome);
                }
            }
            let input = match self.inputs.pop_front() {
                Some(input) => Some(input),
                None => self.next_input().await,
            };
            let Some(input) = input else { continue };
            if let Err(misdeed) = self.machine.step(clock::now(), input, &mut effects) {
                self.shared.blame(&self.client, misdeed);
            }
        }
    }

    async fn apply(&mut self, effect: ProviderEffect) -> Result<Option<ProviderOutcome>, JobError> {
        match effect {
            ProviderEffect::Persist { lane, receipt } => {
                let memory = &self.shared.memory;
                tokio::task::block_in_place(|| memory.keep_lane(&lane, receipt.as_deref()))?;
            }
            ProviderEffect::Send(message) => self.send(&message).await,
            ProviderEffect::StartInference { request, grant } => self.start(*request, grant),
            ProviderEffect::Grant { tokens } => {
                if let Some(control) = &self.control {
                    control.grant(tokens.saturating_sub(self.granted));
                }
                self.granted = tokens;
            }
            ProviderEffect::Halt => self.halt(),
            ProviderEffect::WakeAt(at) => self.wake = Some(at),
            ProviderEffect::Finish(outcome) => {
                self.halt();
                return Ok(Some(*outcome));
            }
        }
        Ok(None)
    }

    async fn send(&mut self, message: &ProviderMessage) {
        // Behind a frame that did not leave whole nothing else can.
        if self.inputs.iter().any(|input| matches!(input, ProviderInput::Disconnected)) {
            return;
        }
        let frame = wire::encode(message);
        let known = self.stops.leaves_at;
        let arrived = self.stops.in_time(self.sender.send(&frame), self.notice).await;
        if !arrived {
            self.inputs.push_back(ProviderInput::Disconnected);
        } else if known.is_none() && self.stops.leaves_at.is_some() {
            self.inputs.push_back(self.reclaim());
        }
    }

    fn start(&mut self, request: Request, grant: u32) {
        self.granted = grant;
        match submit(&self.shared, &request, &self.client, grant) {
            Ok(handle) => {
                self.control = Some(handle.control());
                self.forward(handle);
            }
            Err(error) => {
                self.inputs.push_back(ProviderInput::InferenceFailed { detail: error.to_string() });
            }
        }
    }

    /// Hands the engine's events, which block, over to this task. The thread ends with the job.
    fn forward(&mut self, handle: JobHandle) {
        let tokens = self.tokens.clone();
        let forward = move || pass_on(|| handle.next_event(), |event| tokens.blocking_send(event).is_ok());
        if let Err(error) = thread::Builder::new().name("job-events".into()).spawn(forward) {
            self.inputs.push_back(ProviderInput::InferenceFailed { detail: error.to_string() });
        }
    }

    /// The job gets its notice.
    fn reclaim(&self) -> ProviderInput {
        let (session, notice) = (self.session, self.notice);
        tracing::info!(notice_ms = notice.0, "the slot is wanted back");
        self.shared.tell(ProviderEvent::Reclaiming { session, notice });
        ProviderInput::Reclaim { notice }
    }

    fn halt(&mut self) {
        if let Some(control) = self.control.take() {
            control.cancel();
        }
    }

    /// Waits for whatever happens first.
    async fn next_input(&mut self) -> Option<ProviderInput> {
        tokio::select! {
            input = receive(&mut self.receiver) => Some(input.unwrap_or_else(|malformed| {
                self.shared.blame(&self.client, malformed);
                ProviderInput::Disconnected
            })),
            Some(event) = self.engine.recv() => engine_input(event),
            () = until(self.wake) => {
                self.wake = None;
                Some(ProviderInput::Wake)
            }
            () = ended(&mut self.ending, self.session) => Some(ProviderInput::Disconnected),
            () = stopped(&mut self.stops.leaving) => Some(ProviderInput::Reclaim { notice: Millis(0) }),
            () = slot_wanted(&mut self.stops.slot_wanted) => {
                self.stops.leave_after(self.notice);
                Some(self.reclaim())
            }
        }
    }
}

fn submit(
    shared: &Shared,
    request: &Request,
    client: &PublicKey,
    granted: u32,
) -> Result<JobHandle, SubmitError> {
    let scheduler = shared.serving.scheduler().ok_or(SubmitError::Stopped)?;
    let job = JobRequest::of(request, shared.served.tokenizer.clone());
    // What a client asked for before is computed already; no other client's time shows it.
    scheduler.submit(JobRequest { granted, scope: Some(client.0), ..job })
}

/// Passes events on as long as they are taken. A job's last event is its end or a fault; if none came, the engine is
/// gone, and nothing is passed on in its place.
fn pass_on(next: impl Fn() -> Option<JobEvent>, tell: impl Fn(Option<JobEvent>) -> bool) {
    loop {
        let event = next();
        let is_last = matches!(event, None | Some(JobEvent::Done(_) | JobEvent::Fault(_)));
        if !tell(event) || is_last {
            return;
        }
    }
}

/// What an event of the engine means to the machine. It ignores a cancellation that it asked for itself.
fn engine_input(event: Option<JobEvent>) -> Option<ProviderInput> {
    let failed = |detail: String| Some(ProviderInput::InferenceFailed { detail });
    match event {
        Some(JobEvent::Token { id, logprobs, score_chain, measured, .. }) => {
            let tokens = vec![Generated { token: id, scores: ScoreDigest(score_chain), logprobs }];
            Some(ProviderInput::Tokens { tokens, measured })
        }
        Some(JobEvent::Fault(error)) => failed(error.to_string()),
        Some(JobEvent::Done(JobEnd { reason: Reason::Cancelled, .. })) => {
            failed("the engine gave up the job".into())
        }
        Some(JobEvent::Started { .. } | JobEvent::Done(_)) => None,
        None => failed("the engine is gone".into()),
    }
}

/// The client's next message; never ready once its direction has ended, which is said once. A frame that is no message
/// ends it too.
async fn receive(receiver: &mut Option<JobReceiver>) -> Result<ProviderInput, String> {
    let Some(open) = receiver else { return std::future::pending().await };
    let input = match open.recv().await {
        Ok(Some(frame)) => {
            wire::decode(&frame).map(ProviderInput::Message).map_err(|error| error.to_string())
        }
        Ok(None) => Ok(ProviderInput::Disconnected),
        Err(error @ FrameError::Oversized { .. }) => Err(error.to_string()),
        Err(_) => Ok(ProviderInput::Disconnected),
    };
    if !matches!(input, Ok(ProviderInput::Message(_))) {
        *receiver = None;
    }
    input
}

async fn until(at: Option<Timestamp>) {
    match at {
        None => std::future::pending().await,
        Some(at) => sleep(Duration::from_millis(at.since(clock::now()).0)).await,
    }
}

/// Ready once, when another job wants the slot.
async fn slot_wanted(wanted: &mut Option<oneshot::Receiver<()>>) {
    let Some(told) = wanted else { return std::future::pending().await };
    let told = told.await;
    *wanted = None;
    if told.is_err() {
        // Nobody can want it any more.
        std::future::pending::<()>().await;
    }
}

/// Ready once the client closes the session from its side: as good as gone.
async fn ended(ending: &mut Option<watch::Receiver<BTreeSet<SessionId>>>, session: SessionId) {
    let Some(told) = ending else { return std::future::pending().await };
    if told.wait_for(|ending| ending.contains(&session)).await.is_err() {
        // The provider itself is gone, and says so elsewhere.
        *ending = None;
        return std::future::pending().await;
    }
    *ending = None;
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use gridhour_protocol::receipt::MeasuredTime;

    use crate::engine::device::DeviceFault;

    fn token() -> JobEvent {
        JobEvent::Token {
            index: 0,
            id: 7,
            logprobs: None,
            score_chain: [1; 32],
            measured: MeasuredTime::NONE,
        }
    }

    fn done(reason: Reason) -> JobEvent {
        JobEvent::Done(JobEnd {
            reason,
            output_tokens: 1,
            reused_tokens: 0,
            score_chain: [1; 32],
            measured: MeasuredTime::NONE,
        })
    }

    /// What is passed on of these events, after which the engine says nothing more.
    fn passed_on(events: Vec<JobEvent>) -> Vec<Option<JobEvent>> {
        let (events, told) = (RefCell::new(VecDeque::from(events)), RefCell::new(Vec::new()));
        pass_on(
            || events.borrow_mut().pop_front(),
            |event| {
                told.borrow_mut().push(event);
                true
            },
        );
        told.into_inner()
    }

    fn fails(event: Option<JobEvent>) -> bool {
        matches!(engine_input(event), Some(ProviderInput::InferenceFailed { .. }))
    }

    #[test]
    fn an_engine_that_is_gone_before_the_end_fails_the_job() {
        let told = passed_on(vec![JobEvent::Started { prompt_tokens: 3, reused_tokens: 0 }, token()]);
        assert_eq!(told.len(), 3);
        assert!(fails(told[2].clone()) && !fails(told[0].clone()) && !fails(told[1].clone()));
    }

    #[test]
    fn a_job_that_ended_did_not_fail() {
        for reason in [Reason::Stop, Reason::Length] {
            let told = passed_on(vec![token(), done(reason)]);
            assert_eq!(told.len(), 2, "nothing is passed on behind the end");
            assert!(!fails(told[1].clone()));
        }
        assert!(fails(Some(done(Reason::Cancelled))), "somebody else ended it");
        let fault = JobEvent::Fault(DeviceFault::Hung { seconds: 9 });
        assert_eq!(passed_on(vec![fault.clone()]).len(), 1);
        assert!(fails(Some(fault)));
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_loses_its_slot_when_it_was_to_leave() {
        let (want, wanted) = oneshot::channel();
        let mut stops = JobStops { slot_wanted: Some(wanted), leaves_at: None, leaving: None };
        want.send(()).expect("it listens");
        let notice = Millis(1 + PARTING_SEND_TIME.as_millis() as u64);
        let begun = Instant::now();
        assert!(!stops.in_time(std::future::pending(), notice).await);
        let left = stops.leaves_at.expect("it was told");
        assert!(left <= Instant::now() && begun.elapsed() < SEND_TIME, "with the notice, and no earlier");
        assert!(stops.in_time(async { Ok(()) }, notice).await, "what leaves at once does");
    }

    #[test]
    fn nothing_is_read_for_a_job_that_nobody_listens_to() {
        let reads = RefCell::new(0);
        pass_on(
            || {
                *reads.borrow_mut() += 1;
                Some(token())
            },
            |_| false,
        );
        assert_eq!(reads.into_inner(), 1);
    }
}
