//! The provider's side of one job.
//!
//! ```text
//!  open ── Refused ──> Over
//!    │ voucher 0 persisted: Accepted, inference of one chunk
//!    v            voucher n+1 persisted: one chunk more
//!  Running ─────────────────────────────────────────────> Running
//!    │            reclaimed with notice: told, and goes on for that long (reclaiming)
//!    │ end of the output, Cancel, no voucher in time, device reclaimed, engine failed: receipt persisted, sent
//!    v
//!  AwaitFinal ── exact voucher persisted, or no answer ──> Over
//! ```
//!
//! Nothing is computed before a voucher that pays for it is on disk, and nothing is sent that was not paid for. So the
//! provider risks nothing, whatever the client does.

use std::sync::Arc;

use super::{
    effect::Effects,
    ending::Ending,
    logprobs::Logprobs,
    message::{Chunk, ClientMessage, Open, ProviderMessage, RefusalCode, detail},
    misbehavior::Misbehavior,
    receipt_check::Facts,
    request::{OutputChain, Request},
};
use crate::{
    id::ScoreDigest,
    limits::CHUNK_TOKENS_MAX,
    market::advert::DeviceClass,
    model::TokenizerAsset,
    receipt::{Cause, MeasuredTime, Receipt},
    session::{lane::LaneLedger, terms::Terms, voucher::Voucher},
    signed::{SecretKey, Signed, Verified},
    units::{Credits, GpuNs, Millis, Timestamp, Work},
};

/// What a provider needs to run a job. The driver has found the session of [`Open::terms`] on its ledger.
#[derive(Clone, Debug)]
pub struct ProviderSetup {
    /// Signs receipts; the key of `terms.provider`.
    pub key: SecretKey,
    /// Digest of the arithmetic's page that the engine follows.
    pub numerics: [u8; 32],
    /// What the job runs on.
    pub device: DeviceClass,
    /// The lane that the request names, as last persisted.
    pub lane: LaneLedger,
    /// The most that this lane may reach within the session's hold.
    pub lane_cap: Credits,
    /// Longest prompt and output together.
    pub context: u32,
    /// Tokens in the vocabulary.
    pub vocabulary: u32,
    /// The model's tokenizer: it says where stop strings end the output.
    pub tokenizer: Arc<TokenizerAsset>,
    /// How long the provider waits.
    pub patience: ProviderPatience,
}

/// How long a provider waits for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderPatience {
    /// From the last token that was paid for to the next voucher.
    pub payment: Millis,
    /// From the receipt to the last voucher.
    pub settlement: Millis,
}

/// A token as the engine chose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// Token id.
    pub token: u32,
    /// The score chain after this token.
    pub scores: ScoreDigest,
    /// Its log probabilities, if the request asks for them.
    pub logprobs: Option<Logprobs>,
}

/// What a provider is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderInput {
    /// A message of the client.
    Message(ClientMessage),
    /// Tokens of the engine, in order, at most [`CHUNK_TOKENS_MAX`] at once and no more than were granted.
    Tokens {
        /// The tokens.
        tokens: Vec<Generated>,
        /// Time that the engine has spent on this job so far.
        measured: MeasuredTime,
    },
    /// The slot is wanted back: the client is to go on elsewhere. A second one never puts the end off.
    Reclaim {
        /// How long the job still goes on; nothing if it ends at once.
        notice: Millis,
    },
    /// The engine cannot go on.
    InferenceFailed {
        /// What happened, in a sentence.
        detail: String,
    },
    /// The time that was asked for has come.
    Wake,
    /// The stream broke or was closed.
    Disconnected,
}

/// What a provider asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderEffect {
    /// Write this lane durably before any effect after this one.
    Persist {
        /// The lane now.
        lane: Box<LaneLedger>,
        /// A receipt that was signed or settled with it.
        receipt: Option<Box<Signed<Receipt>>>,
    },
    /// Send this on the job's stream.
    Send(ProviderMessage),
    /// Start to compute, and stop before token number `grant`, where the request says that the output ends, or when
    /// halted.
    StartInference {
        /// What to compute.
        request: Box<Request>,
        /// Output tokens that are paid for.
        grant: u32,
    },
    /// Go on until this many output tokens in all.
    Grant {
        /// Output tokens that are paid for in all.
        tokens: u32,
    },
    /// Stop computing. Tokens that still come are ignored.
    Halt,
    /// Give [`ProviderInput::Wake`] at this time. It replaces the time asked for before.
    WakeAt(Timestamp),
    /// The job is over; close the stream. Always the last effect.
    Finish(Box<ProviderOutcome>),
}

/// How a job ended for its provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderOutcome {
    /// How.
    pub end: ProviderEnd,
    /// The lane. Its newest voucher is what the provider collects.
    pub lane: LaneLedger,
    /// Output tokens sent.
    pub output_tokens: u32,
}

/// The ways in which a job ends for its provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderEnd {
    /// It was not started.
    Refused(RefusalCode),
    /// The client paid exactly and acknowledged the receipt.
    Settled(Box<Signed<Receipt>>),
    /// The client left, or did not acknowledge the receipt.
    Unsettled(Box<Signed<Receipt>>),
    /// The client broke the rules after the job had started.
    Cheated {
        /// What it did.
        misdeed: Misbehavior,
        /// About what was sent.
        receipt: Box<Signed<Receipt>>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    AwaitFinal(Box<Signed<Receipt>>),
    Over,
}

/// The state machine.
#[derive(Clone, Debug)]
pub struct Provider {
    setup: ProviderSetup,
    terms: Terms,
    request: Request,
    phase: Phase,
    chain: OutputChain,
    ending: Ending,
    scores: ScoreDigest,
    measured: MeasuredTime,
    sent: u32,
    granted: u32,
    started_at: Timestamp,
    /// When the client must have acted; `None` while the engine works.
    deadline: Option<Timestamp>,
    /// When the job ends whose slot is wanted back.
    leaves_at: Option<Timestamp>,
}

type Asks<'a> = &'a mut Effects<ProviderEffect>;

impl Provider {
    /// Answers the first frame of a job: starts it, or refuses it and is over.
    ///
    /// # Errors
    /// With what the client did wrong; then nothing is asked for and nothing was kept.
    pub fn open(now: Timestamp, setup: ProviderSetup, open: Open, fx: Asks<'_>) -> Result<Self, Misbehavior> {
        let voucher = open.voucher.verify()?;
        let chain = OutputChain::start(&open.request.digest());
        let scores = open.request.scores_before();
        let ending = Ending::new(&open.request, setup.tokenizer.clone());
        let mut provider = Self {
            setup,
            terms: open.terms,
            request: open.request,
            phase: Phase::Running,
            chain,
            ending,
            scores,
            measured: MeasuredTime::NONE,
            sent: 0,
            granted: 0,
            started_at: now,
            deadline: None,
            leaves_at: None,
        };
        provider.check_place()?;
        provider.settle_by_commitment(&voucher);
        match provider.refusal(now)? {
            Some((code, why)) => provider.refuse(code, why, fx),
            None => provider.begin(voucher, fx)?,
        }
        Ok(provider)
    }

    fn check_place(&self) -> Result<(), Misbehavior> {
        let session = self.terms.id();
        let ours = self.terms.provider == self.setup.key.public() && self.setup.lane.session == session;
        if ours && self.request.session == session && self.request.lane == self.setup.lane.lane {
            Ok(())
        } else {
            Err(Misbehavior::OtherSession)
        }
    }

    /// If the last voucher of the job before was lost on the way, voucher 0 of this one acknowledges its receipt as
    /// well: it commits to it.
    fn settle_by_commitment(&mut self, voucher: &Verified<Voucher>) {
        let settled =
            self.setup.lane.pending.as_ref().and_then(|receipt| self.setup.lane.with_receipt(receipt));
        if let Some(mut lane) = settled
            && self.request.index == lane.next_index()
            && lane.check_voucher(&self.terms, voucher).is_ok()
        {
            lane.unsettled = false;
            self.setup.lane = lane;
        }
    }

    /// Why the provider will not start, though the client did nothing wrong.
    fn refusal(&self, now: Timestamp) -> Result<Option<(RefusalCode, String)>, Misbehavior> {
        let lane = &self.setup.lane;
        let most = self.request.amount_on(lane, &self.terms, self.request.max_tokens);
        let most = most.ok_or(Misbehavior::Unbillable)?;
        let length = u64::from(self.request.start()).saturating_add(u64::from(self.request.max_tokens));
        let (vocabulary, context, cap) = (self.setup.vocabulary, self.setup.context, self.setup.lane_cap);
        let refusal = if now >= self.terms.use_until {
            (RefusalCode::SessionOver, format!("{} ms ago", now.since(self.terms.use_until).0))
        } else if lane.unsettled {
            (RefusalCode::LaneUnsettled, format!("job {} of lane {}", lane.next_index(), lane.lane))
        } else if length > u64::from(context) {
            (RefusalCode::ContextTooShort, format!("{length} tokens, context {context}"))
        } else if let Some(token) = self.request.text().into_iter().find(|token| *token >= vocabulary) {
            (RefusalCode::TokenOutOfRange, format!("token {token}, vocabulary {vocabulary}"))
        } else if self.ending.end().is_some() {
            (RefusalCode::OutputComplete, format!("after {} tokens", self.request.written.len()))
        } else if self.request.prepaid > self.prepaid_max() {
            let (asked, most) = (self.request.prepaid, self.prepaid_max());
            (
                RefusalCode::PrepaidTooMuch,
                format!("{asked} tokens prepaid elsewhere, {most} are accepted here"),
            )
        } else if most > cap {
            (RefusalCode::HoldExhausted, format!("may reach {most} credits on this lane, {cap} are held"))
        } else {
            return Ok(None);
        };
        Ok(Some(refusal))
    }

    /// Who takes over is paid for reading, not for writing, what was paid for elsewhere: one chunk at most, and once a
    /// session, because nothing here shows that it was.
    fn prepaid_max(&self) -> u32 {
        let is_first = self.setup.lane.lane == 0 && self.setup.lane.next_index() == 0;
        if is_first { u32::from(self.terms.chunk_tokens) } else { 0 }
    }

    fn refuse(&mut self, code: RefusalCode, why: String, fx: Asks<'_>) {
        fx.ask(ProviderEffect::Send(ProviderMessage::Refused { code, detail: detail(why) }));
        self.finish(ProviderEnd::Refused(code), fx);
    }

    fn begin(&mut self, voucher: Verified<Voucher>, fx: Asks<'_>) -> Result<(), Misbehavior> {
        let next = self.setup.lane.next_index();
        if self.request.index != next {
            return Err(Misbehavior::WrongIndex { claimed: self.request.index, next });
        }
        self.accept_voucher(voucher, fx)?;
        let accepted = ProviderMessage::Accepted { prompt_tokens: self.request.start() };
        fx.ask(ProviderEffect::Send(accepted));
        let request = Box::new(self.request.clone());
        fx.ask(ProviderEffect::StartInference { request, grant: self.granted });
        Ok(())
    }

    /// Checks a voucher for the next chunk and persists it; what it pays for is granted.
    fn accept_voucher(&mut self, voucher: Verified<Voucher>, fx: Asks<'_>) -> Result<(), Misbehavior> {
        self.setup.lane.check_voucher(&self.terms, &voucher)?;
        let chunk = u32::from(self.terms.chunk_tokens);
        let next = self.granted.saturating_add(chunk).min(self.request.max_tokens);
        if next == self.granted {
            return Err(Misbehavior::VoucherNotDue { sequence: voucher.sequence });
        }
        let due = self.request.amount_on(&self.setup.lane, &self.terms, next);
        check_amount(&voucher, due.ok_or(Misbehavior::Unbillable)?)?;
        self.granted = next;
        self.deadline = None;
        self.setup.lane.note_voucher(voucher.into_signed());
        self.persist(None, fx);
        Ok(())
    }

    /// Advances the job.
    ///
    /// # Errors
    /// With what the client did wrong. The job is over then; what was asked for still holds.
    pub fn step(&mut self, now: Timestamp, input: ProviderInput, fx: Asks<'_>) -> Result<(), Misbehavior> {
        match (&self.phase, input) {
            (Phase::Over, _) => {}
            (_, ProviderInput::Message(message)) => {
                return self.receive(now, message, fx).inspect_err(|misdeed| self.give_up(now, misdeed, fx));
            }
            (Phase::Running, ProviderInput::Tokens { tokens, measured }) => {
                self.measured = measured;
                self.release(now, &tokens, fx);
            }
            (Phase::Running, ProviderInput::InferenceFailed { detail }) => self.fail(now, detail, fx),
            (Phase::Running, ProviderInput::Reclaim { notice }) => self.reclaim(now, notice, fx),
            (
                _,
                ProviderInput::Tokens { .. }
                | ProviderInput::InferenceFailed { .. }
                | ProviderInput::Reclaim { .. },
            ) => {}
            (_, ProviderInput::Wake) => self.wake(now, fx),
            (_, ProviderInput::Disconnected) => self.disconnect(now, fx),
        }
        Ok(())
    }

    /// Whether the job is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// The lane as last persisted.
    #[must_use]
    pub fn lane(&self) -> &LaneLedger {
        &self.setup.lane
    }

    fn receive(&mut self, now: Timestamp, message: ClientMessage, fx: Asks<'_>) -> Result<(), Misbehavior> {
        match (&self.phase, message) {
            (Phase::Running, ClientMessage::Voucher(voucher)) => self.paid(now, voucher.verify()?, fx)?,
            (Phase::Running, ClientMessage::Cancel) => self.stop(now, Cause::ClientFault, fx),
            // Sent before the receipt arrived; the receipt says how far the output came.
            (Phase::AwaitFinal(_), ClientMessage::Voucher(_) | ClientMessage::Cancel) => {}
            (Phase::AwaitFinal(receipt), ClientMessage::Final(voucher)) => {
                let receipt = receipt.clone();
                self.settle(receipt, voucher.verify()?, fx)?;
            }
            (_, message) => return Err(Misbehavior::OutOfPlace { message: message.name() }),
        }
        Ok(())
    }

    fn paid(&mut self, now: Timestamp, voucher: Verified<Voucher>, fx: Asks<'_>) -> Result<(), Misbehavior> {
        if now >= self.terms.use_until {
            self.stop(now, Cause::ClientFault, fx);
            return Ok(());
        }
        self.accept_voucher(voucher, fx)?;
        fx.ask(ProviderEffect::Grant { tokens: self.granted });
        Ok(())
    }

    /// Sends tokens of the engine, up to the end of the output.
    fn release(&mut self, now: Timestamp, tokens: &[Generated], fx: Asks<'_>) {
        let room = self.granted.saturating_sub(self.sent) as usize;
        if tokens.len() > room.min(CHUNK_TOKENS_MAX) {
            let why = format!("the engine gave {} tokens, {room} were paid for", tokens.len());
            return self.fail(now, why, fx);
        }
        let asked = self.request.logprobs > 0;
        if tokens.iter().any(|one| one.logprobs.is_some() != asked) {
            return self.fail(now, "the engine gave no log probabilities, or some unasked".into(), fx);
        }
        self.push_until_end(tokens, fx);
        if self.ending.end().is_some() {
            self.end(now, Cause::Delivered, fx);
        } else if self.sent == self.granted {
            self.wait(now, self.setup.patience.payment, fx);
        }
    }

    /// Sends one chunk; nothing if there are no tokens.
    fn push_until_end(&mut self, generated: &[Generated], fx: Asks<'_>) {
        let start = self.sent;
        let end = generated.iter().position(|one| self.ending.push(one.token).is_some());
        let released = &generated[..end.map_or(generated.len(), |at| at + 1)];
        let Some(last) = released.last() else { return };
        for one in released {
            self.chain.push(one.token, one.logprobs.as_ref());
        }
        self.scores = last.scores;
        self.sent = self.sent.saturating_add(u32::try_from(released.len()).unwrap_or(u32::MAX));
        let tokens = released.iter().map(|one| one.token).collect();
        let logprobs = released.iter().filter_map(|one| one.logprobs.clone()).collect();
        let chunk = Chunk { start, tokens, logprobs, digest: self.chain.digest() };
        fx.ask(ProviderEffect::Send(ProviderMessage::Chunk(chunk)));
    }

    fn wait(&mut self, now: Timestamp, patience: Millis, fx: Asks<'_>) {
        let deadline = now.after(patience).unwrap_or(Timestamp(u64::MAX));
        self.deadline = Some(deadline);
        self.ask_to_wake(fx);
    }

    /// What is awaited first. The end of a notice is no matter once the job has ended.
    fn ask_to_wake(&self, fx: Asks<'_>) {
        let leaves_at = self.leaves_at.filter(|_| self.phase == Phase::Running);
        if let Some(at) = self.deadline.into_iter().chain(leaves_at).min() {
            fx.ask(ProviderEffect::WakeAt(at));
        }
    }

    fn reclaim(&mut self, now: Timestamp, notice: Millis, fx: Asks<'_>) {
        if notice == Millis(0) {
            return self.stop(now, Cause::Reclaimed, fx);
        }
        if self.leaves_at.is_none() {
            self.leaves_at = Some(now.after(notice).unwrap_or(Timestamp(u64::MAX)));
            fx.ask(ProviderEffect::Send(ProviderMessage::Reclaiming { within: notice }));
            self.ask_to_wake(fx);
        }
    }

    fn wake(&mut self, now: Timestamp, fx: Asks<'_>) {
        let is_due = |at: Option<Timestamp>| at.is_some_and(|at| now >= at);
        if self.phase == Phase::Running && is_due(self.leaves_at) {
            return self.stop(now, Cause::Reclaimed, fx);
        }
        if !is_due(self.deadline) {
            return self.ask_to_wake(fx);
        }
        match &self.phase {
            Phase::Running => self.stop(now, Cause::ClientFault, fx),
            Phase::AwaitFinal(receipt) => {
                let receipt = receipt.clone();
                self.finish(ProviderEnd::Unsettled(receipt), fx);
            }
            Phase::Over => {}
        }
    }

    fn disconnect(&mut self, now: Timestamp, fx: Asks<'_>) {
        let receipt = match &self.phase {
            Phase::AwaitFinal(receipt) => receipt.clone(),
            _ => {
                fx.ask(ProviderEffect::Halt);
                self.answer_for(now, Cause::Network, fx)
            }
        };
        self.finish(ProviderEnd::Unsettled(receipt), fx);
    }

    /// Ends a job whose output is not complete.
    fn stop(&mut self, now: Timestamp, cause: Cause, fx: Asks<'_>) {
        fx.ask(ProviderEffect::Halt);
        self.end(now, cause, fx);
    }

    fn end(&mut self, now: Timestamp, cause: Cause, fx: Asks<'_>) {
        let receipt = self.answer_for(now, cause, fx);
        fx.ask(ProviderEffect::Send(ProviderMessage::Done { receipt: receipt.clone() }));
        self.phase = Phase::AwaitFinal(receipt);
        self.wait(now, self.setup.patience.settlement, fx);
    }

    fn fail(&mut self, now: Timestamp, why: String, fx: Asks<'_>) {
        fx.ask(ProviderEffect::Halt);
        let receipt = self.answer_for(now, Cause::ProviderFault, fx);
        let message = ProviderMessage::Fault { receipt: receipt.clone(), detail: detail(why) };
        fx.ask(ProviderEffect::Send(message));
        self.phase = Phase::AwaitFinal(receipt);
        self.wait(now, self.setup.patience.settlement, fx);
    }

    /// After a misdeed: stop, keep what is owed, say no more.
    fn give_up(&mut self, now: Timestamp, misdeed: &Misbehavior, fx: Asks<'_>) {
        let receipt = match &self.phase {
            Phase::AwaitFinal(receipt) => receipt.clone(),
            _ => {
                fx.ask(ProviderEffect::Halt);
                self.answer_for(now, Cause::ClientFault, fx)
            }
        };
        self.finish(ProviderEnd::Cheated { misdeed: misdeed.clone(), receipt }, fx);
    }

    /// Signs and persists the receipt about what was sent.
    fn answer_for(&mut self, now: Timestamp, cause: Cause, fx: Asks<'_>) -> Box<Signed<Receipt>> {
        let receipt = Box::new(self.setup.key.sign(self.receipt(now, cause)));
        self.setup.lane.pending = Some((*receipt).clone());
        self.persist(Some(receipt.clone()), fx);
        receipt
    }

    fn receipt(&self, now: Timestamp, cause: Cause) -> Receipt {
        let facts = self.facts();
        let mut receipt = Receipt {
            numerics: self.setup.numerics,
            session: self.setup.lane.session,
            provider: self.terms.provider,
            lane: self.setup.lane.lane,
            index: self.request.index,
            model: self.terms.model,
            request: self.request.digest(),
            output: facts.output,
            scores: self.scores,
            prompt_tokens: self.request.start(),
            output_tokens: self.sent,
            prepaid: self.request.prepaid,
            prefill_work: Work(0),
            decode_work: Work(0),
            reference: GpuNs(0),
            measured: self.measured.time,
            measured_by: self.measured.clock,
            started_at: self.started_at,
            ended_at: now.max(self.started_at),
            device: self.setup.device,
            cause,
            previous: facts.previous(),
        };
        let bill = receipt.bill(&self.terms).expect("open checked that the longest output can be billed");
        (receipt.prefill_work, receipt.decode_work) = (bill.prefill, bill.decode);
        receipt.reference = bill.reference;
        receipt
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            numerics: &self.setup.numerics,
            terms: &self.terms,
            lane: &self.setup.lane,
            request: &self.request,
            output: self.chain.digest(),
            output_tokens: self.sent,
        }
    }

    fn settle(
        &mut self,
        receipt: Box<Signed<Receipt>>,
        voucher: Verified<Voucher>,
        fx: Asks<'_>,
    ) -> Result<(), Misbehavior> {
        let mut lane = self.setup.lane.with_receipt(&receipt).ok_or(Misbehavior::Unbillable)?;
        lane.check_voucher(&self.terms, &voucher)?;
        check_amount(&voucher, self.terms.amount(lane.reference).ok_or(Misbehavior::Unbillable)?)?;
        lane.settle(voucher.into_signed());
        self.setup.lane = lane;
        self.persist(Some(receipt.clone()), fx);
        self.finish(ProviderEnd::Settled(receipt), fx);
        Ok(())
    }

    fn persist(&self, receipt: Option<Box<Signed<Receipt>>>, fx: Asks<'_>) {
        fx.ask(ProviderEffect::Persist { lane: Box::new(self.setup.lane.clone()), receipt });
    }

    fn finish(&mut self, end: ProviderEnd, fx: Asks<'_>) {
        self.phase = Phase::Over;
        let lane = self.setup.lane.clone();
        fx.ask(ProviderEffect::Finish(Box::new(ProviderOutcome { end, lane, output_tokens: self.sent })));
    }
}

fn check_amount(voucher: &Voucher, due: Credits) -> Result<(), Misbehavior> {
    if voucher.amount >= due { Ok(()) } else { Err(Misbehavior::Underpaid { paid: voucher.amount, due }) }
}
