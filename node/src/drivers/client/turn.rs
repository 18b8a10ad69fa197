//! One provider's turn at an answer: a job in an open session, and what came of it.

use gridhour_protocol::{
    exact::numerics_digest,
    job::{
        buyer::{BuyerEnd, BuyerOutcome, BuyerPatience, BuyerSetup},
        logprobs::Logprobs,
        message::RefusalCode,
        request::Request,
    },
    market::history::Ended,
    receipt::Cause,
    units::Millis,
};
use tokio::{sync::watch, time::Instant};

use super::{
    Client, RunError,
    job::{Deliver, Heard, Job, Ran},
    learning,
    outgoing::Outgoing,
    relay::Choice,
};
use crate::{
    clock,
    drivers::results::{JobResult, Part},
    model::assets::ModelAssets,
};

/// How long the client waits for a provider.
const PATIENCE: BuyerPatience = BuyerPatience {
    first_token: Millis(60_000),
    stall: Millis(20_000),
    stall_least: Millis(4_000),
    parting: Millis(10_000),
};

/// A turn that began.
pub(super) struct Turn {
    pub(super) choice: Choice,
    /// As it was sent.
    pub(super) request: Request,
    pub(super) output: Vec<u32>,
    pub(super) logprobs: Vec<Logprobs>,
    pub(super) outcome: BuyerOutcome,
    /// Whether the last token of the answer came.
    pub(super) complete: bool,
    pub(super) started: Instant,
    pub(super) first_token: Option<Instant>,
}

impl Client {
    /// Runs the job of one turn, in the session of `choice`, which is open and to whose provider the request may go.
    pub(super) async fn turn(
        &self,
        choice: &Choice,
        outgoing: Outgoing,
        assets: &ModelAssets,
        cancel: watch::Receiver<bool>,
        deliver: Deliver<'_>,
    ) -> Result<(Ran, Vec<u32>, Vec<Logprobs>), RunError> {
        let ((provider, request), model) = (outgoing.open(), choice.terms.model);
        // What is read before the first token: the prompt, and what another wrote.
        let read = u32::try_from(request.prompt.len() + request.written.len()).unwrap_or(u32::MAX);
        let learn = |ended| self.learn(provider, model, read, ended);
        let stream = self.net.open_job(provider).await.inspect_err(|_| learn(Ended::Failed(clock::now())))?;
        let setup = BuyerSetup {
            key: self.key.clone(),
            numerics: numerics_digest(),
            terms: choice.terms.clone(),
            lane: choice.lane.clone(),
            request,
            tokenizer: assets.tokenizer().shared_asset(),
            patience: PATIENCE,
        };
        let (mut output, mut logprobs) = (Vec::new(), Vec::new());
        let mut keep = |heard: Heard<'_>| {
            if let Heard::Tokens(tokens, new) = heard {
                output.extend_from_slice(tokens);
                logprobs.extend_from_slice(new);
            }
            deliver(heard);
        };
        let advert = choice.advert.signed().clone();
        let ran = Job::run(&self.memory()?, stream, setup, advert, cancel, &mut keep).await?;
        learn(learning::ended(&ran, clock::now()));
        Ok((ran, output, logprobs))
    }
}

impl Turn {
    pub(super) fn of(choice: Choice, (ran, output, logprobs): (Ran, Vec<u32>, Vec<Logprobs>)) -> Self {
        let Ran { outcome, machine, started, first_token, .. } = ran;
        let (request, complete) = (machine.request().clone(), machine.is_complete());
        Self { choice, request, output, logprobs, outcome, complete, started, first_token }
    }

    /// What another provider could go on with; nothing if this one is the last.
    pub(super) fn rest(&self) -> Option<Request> {
        let goes_on = match &self.outcome.end {
            BuyerEnd::Settled(receipt) => {
                matches!(receipt.body.cause, Cause::ProviderFault | Cause::Reclaimed)
            }
            BuyerEnd::Refused { .. } | BuyerEnd::Stalled | BuyerEnd::Disconnected => true,
            // Nothing is built on the words of one that lied.
            BuyerEnd::Cheated(_) => self.output.is_empty(),
        };
        let kept = &self.output[..self.kept()];
        self.request.rest(kept, self.outcome.paid_for).filter(|_| goes_on)
    }

    /// Tokens that stay if another goes on. Somebody must answer for the end of the answer: if its last token came
    /// without a receipt, that token is asked for again.
    fn kept(&self) -> usize {
        // A chunk that broke a rule may have ended the answer without adding to it.
        self.output.len().saturating_sub(usize::from(self.complete))
    }

    /// Whether its provider may still answer.
    pub(super) fn answers(&self) -> bool {
        !matches!(self.outcome.end, BuyerEnd::Stalled | BuyerEnd::Disconnected)
    }

    /// Whether its session may take another job.
    pub(super) fn goes_on(&self) -> bool {
        match &self.outcome.end {
            BuyerEnd::Settled(receipt) => {
                matches!(receipt.body.cause, Cause::Delivered | Cause::ClientFault)
            }
            // Its slots are taken for now.
            BuyerEnd::Refused { code, .. } => *code == RefusalCode::Busy,
            BuyerEnd::Stalled | BuyerEnd::Disconnected | BuyerEnd::Cheated(_) => false,
        }
    }

    /// Whether its provider refused because of the session, and may take the request in a new one.
    pub(super) fn wants_new_session(&self) -> bool {
        use RefusalCode::{HoldExhausted, LaneUnsettled, SessionOver, UnknownSession};
        let BuyerEnd::Refused { code, .. } = &self.outcome.end else { return false };
        matches!(code, HoldExhausted | LaneUnsettled | SessionOver | UnknownSession)
    }

    /// It as a part of an answer with which another goes on; nothing if it added nothing and costs nothing.
    pub(super) fn part(&self) -> Option<Part> {
        let kept = self.kept();
        let receipt = match &self.outcome.end {
            BuyerEnd::Settled(receipt) => Some((**receipt).clone()),
            _ => None,
        };
        Some(Part {
            terms: self.choice.terms.clone(),
            request: self.request.clone(),
            // No more than were asked for.
            tokens: u32::try_from(kept).ok()?,
            logprobs: self.logprobs.iter().take(kept).cloned().collect(),
            receipt,
            voucher: self.outcome.lane.newest.clone()?,
            cost: self.outcome.cost,
            cause: self.outcome.end.cause()?,
        })
    }

    /// Its result, behind these parts; nothing if it was not settled.
    pub(super) fn result(&self, before: &[Part], beside: Option<Part>) -> Option<JobResult> {
        let BuyerEnd::Settled(receipt) = &self.outcome.end else { return None };
        let now = Instant::now();
        let millis = |at: Instant| u64::try_from((at - self.started).as_millis()).unwrap_or(u64::MAX);
        Some(JobResult {
            terms: self.choice.terms.clone(),
            request: self.request.clone(),
            output: self.output.clone(),
            logprobs: self.logprobs.clone(),
            receipt: (**receipt).clone(),
            voucher: self.outcome.lane.newest.clone()?,
            cost: self.outcome.cost,
            before: before.to_vec(),
            beside,
            agreement: None,
            matched: self.choice.matched.clone(),
            ttft_ms: millis(self.first_token.unwrap_or(now)),
            total_ms: millis(now),
        })
    }
}
