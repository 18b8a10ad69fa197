//! One job's stream at its buyer: the driver of [`gridhour_protocol::job::buyer`].

use std::time::Duration;

use gridhour_contracts_sim::tx::Accusation;
use gridhour_protocol::{
    job::{
        buyer::{Buyer, BuyerEffect, BuyerInput, BuyerOutcome, BuyerSetup},
        effect::Effects,
        logprobs::Logprobs,
        message::ClientMessage,
    },
    market::advert::Advert,
    receipt::Receipt,
    session::terms::Terms,
    signed::Signed,
    units::{Millis, Timestamp},
    wire,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tracing::Instrument;

use super::RunError;
use crate::{
    clock,
    drivers::{
        memory::Memory,
        testimony::{self, Testimony},
    },
    logging::{job_span, name_job, name_session},
    net::{JobReceiver, JobSender, JobStream},
};

/// How long a frame may take to leave.
const SEND_TIME: Duration = Duration::from_secs(30);

/// What a job tells while it runs.
#[derive(Clone, Copy)]
pub(super) enum Heard<'a> {
    /// Tokens, and their log probabilities if they were asked for.
    Tokens(&'a [u32], &'a [Logprobs]),
    /// The provider takes the job's slot back after that long.
    Reclaiming(Millis),
}

/// Told about it; it must not wait.
pub(super) type Deliver<'a> = &'a mut (dyn FnMut(Heard<'_>) + Send);

/// A job that runs, from the buyer's side.
pub(super) struct Job<'a> {
    memory: &'a Memory,
    terms: Terms,
    advert: Signed<Advert>,
    contradiction: Option<Accusation>,
    machine: Buyer,
    sender: JobSender,
    receiver: Option<JobReceiver>,
    cancel: Option<watch::Receiver<bool>>,
    wake: Option<Timestamp>,
    broken: bool,
    started: Instant,
    first_token: Option<Instant>,
    /// Told about tokens as they come, and when they will not.
    deliver: Deliver<'a>,
}

/// How a job went, with times by this side's clock.
pub(super) struct Ran {
    pub(super) outcome: BuyerOutcome,
    /// The provider signed two receipts for the session that cannot both be true.
    pub(super) contradiction: Option<Accusation>,
    pub(super) machine: Buyer,
    pub(super) started: Instant,
    pub(super) first_token: Option<Instant>,
}

impl<'a> Job<'a> {
    /// Runs a job on `stream` to its end. `advert` is the one that the terms accept.
    pub(super) async fn run(
        memory: &'a Memory,
        stream: JobStream,
        setup: BuyerSetup,
        advert: Signed<Advert>,
        cancel: watch::Receiver<bool>,
        deliver: Deliver<'a>,
    ) -> Result<Ran, RunError> {
        let (mut effects, terms) = (Effects::default(), setup.terms.clone());
        let machine = Buyer::start(clock::now(), setup, &mut effects)?;
        let (sender, receiver) = stream.split();
        let mut job = Job {
            memory,
            terms,
            advert,
            contradiction: None,
            machine,
            sender,
            receiver: Some(receiver),
            cancel: Some(cancel),
            wake: None,
            broken: false,
            started: Instant::now(),
            first_token: None,
            deliver,
        };
        let span = job_span(&job.terms.provider);
        span.in_scope(|| {
            name_session(&job.terms);
            name_job(&job.machine.request().digest());
            tracing::info!("a job is asked for");
        });
        let outcome = job.drive(effects).instrument(span.clone()).await?;
        span.in_scope(|| tracing::info!(cost = outcome.cost.0, "the job ended"));
        let Job { contradiction, machine, started, first_token, .. } = job;
        Ok(Ran { outcome, contradiction, machine, started, first_token })
    }

    async fn drive(&mut self, mut effects: Effects<BuyerEffect>) -> Result<BuyerOutcome, RunError> {
        loop {
            for effect in effects.take() {
                if let Some(outcome) = self.apply(effect).await? {
                    return Ok(outcome);
                }
            }
            let input = if self.broken { BuyerInput::Disconnected } else { self.next_input().await };
            if let Err(misdeed) = self.machine.step(clock::now(), input, &mut effects) {
                tracing::warn!(%misdeed, "the provider broke the rules");
            }
        }
    }

    async fn apply(&mut self, effect: BuyerEffect) -> Result<Option<BuyerOutcome>, RunError> {
        match effect {
            BuyerEffect::Persist { lane, receipt } => {
                tokio::task::block_in_place(|| self.memory.keep_lane(&lane, receipt.as_deref()))?;
                receipt.into_iter().for_each(|receipt| self.testify(*receipt));
            }
            BuyerEffect::Testify(receipt) => self.testify(*receipt),
            BuyerEffect::Send(message) => self.send(&message).await,
            BuyerEffect::WakeAt(at) => self.wake = Some(at),
            BuyerEffect::Reclaiming { within } => (self.deliver)(Heard::Reclaiming(within)),
            BuyerEffect::Deliver { tokens, logprobs } => {
                self.first_token.get_or_insert_with(Instant::now);
                (self.deliver)(Heard::Tokens(&tokens, &logprobs));
            }
            BuyerEffect::Finish(outcome) => {
                // The last voucher must have left before the stream is dropped; if it cannot, the provider has the one
                // before it.
                let closed = timeout(SEND_TIME, self.sender.close()).await;
                tracing::debug!(?closed, "job stream closed");
                return Ok(Some(*outcome));
            }
        }
        Ok(None)
    }

    /// Keeps what the provider signed, and looks for what it contradicts. No job ends over it.
    fn testify(&mut self, receipt: Signed<Receipt>) {
        let testimony = Testimony { terms: self.terms.clone(), advert: self.advert.clone(), receipt };
        match tokio::task::block_in_place(|| testimony::keep(self.memory, &testimony, clock::now())) {
            Ok(found) => self.contradiction = found.or(self.contradiction.take()),
            Err(error) => tracing::warn!(%error, "a receipt is not kept as evidence"),
        }
    }

    async fn send(&mut self, message: &ClientMessage) {
        let sent = timeout(SEND_TIME, self.sender.send(&wire::encode(message))).await;
        self.broken |= !matches!(sent, Ok(Ok(())));
    }

    async fn next_input(&mut self) -> BuyerInput {
        tokio::select! {
            input = receive(&mut self.receiver) => input,
            () = until(self.wake) => {
                self.wake = None;
                BuyerInput::Wake
            }
            () = cancelled(&mut self.cancel) => BuyerInput::Cancel,
        }
    }
}

async fn receive(receiver: &mut Option<JobReceiver>) -> BuyerInput {
    let Some(open) = receiver else { return std::future::pending().await };
    let message = match open.recv().await {
        Ok(Some(frame)) => wire::decode(&frame).ok(),
        Ok(None) | Err(_) => None,
    };
    match message {
        Some(message) => BuyerInput::Message(message),
        None => {
            *receiver = None;
            BuyerInput::Disconnected
        }
    }
}

async fn until(at: Option<Timestamp>) {
    match at {
        None => std::future::pending().await,
        Some(at) => sleep(Duration::from_millis(at.since(clock::now()).0)).await,
    }
}

async fn cancelled(cancel: &mut Option<watch::Receiver<bool>>) {
    let Some(told) = cancel else { return std::future::pending().await };
    if told.wait_for(|cancel| *cancel).await.is_err() {
        // Nobody is left who could cancel.
        *cancel = None;
        std::future::pending::<()>().await;
    }
    *cancel = None;
}
