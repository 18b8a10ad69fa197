//! The buyer's side of one job.
//!
//! ```text
//!            Accepted              last token of the output, or stopped
//!  Asked ──────────────> Streaming ───────────────────────────────────> Streaming, ended
//!    │ Refused              │ a chunk's last token: voucher n+1              │ Done, Fault: Final
//!    └──> Over              └── silence, misdeed, broken stream ──> Over <───┘
//! ```
//!
//! A voucher leaves only when the last token that was paid for has arrived and fits its digest. So what the buyer has
//! promised is never more than one chunk ahead of what it holds.

use std::sync::Arc;

use super::{
    effect::Effects,
    ending::Ending,
    logprobs::Logprobs,
    message::{Chunk, ClientMessage, Open, ProviderMessage, RefusalCode},
    misbehavior::Misbehavior,
    pace::Pace,
    receipt_check::Facts,
    request::{OutputChain, Request},
};
use crate::{
    market::tier::Tier,
    model::TokenizerAsset,
    receipt::{Cause, Receipt},
    session::{lane::LaneLedger, terms::Terms, voucher::Voucher},
    signed::{SecretKey, Signed},
    units::{Credits, Millis, Timestamp},
};

/// By how much a notice may seem shorter than it was: the word of it may take longer to arrive than the end.
const NOTICE_SLACK: Millis = Millis(1_000);

/// What a buyer needs to run a job.
#[derive(Clone, Debug)]
pub struct BuyerSetup {
    /// Signs vouchers; the key of `terms.client`.
    pub key: SecretKey,
    /// Digest of the arithmetic's page that the buyer expects in the receipt.
    pub numerics: [u8; 32],
    /// Terms of the session.
    pub terms: Terms,
    /// The lane, not in use by another job.
    pub lane: LaneLedger,
    /// What to compute. Its session, lane and index are set from the lane.
    pub request: Request,
    /// The model's tokenizer: it says where stop strings end the output.
    pub tokenizer: Arc<TokenizerAsset>,
    /// How long the buyer waits.
    pub patience: BuyerPatience,
}

/// How long a buyer waits for a provider before it gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuyerPatience {
    /// From the request to the first token.
    pub first_token: Millis,
    /// Between two chunks, and from the last one to the receipt, at most.
    pub stall: Millis,
    /// The same at least, however fast the provider has been: between these its own pace decides ([`Pace`]).
    pub stall_least: Millis,
    /// From the wish to stop to the receipt, whatever comes in between.
    pub parting: Millis,
}

/// Why a job cannot be started. Nothing was sent; our own side must choose another lane or smaller numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotStarted {
    /// An earlier job of the lane was not settled.
    #[error("an earlier job of this lane was never settled; use another lane")]
    LaneUnsettled,
    /// The session is over.
    #[error("the session's time is over; open another")]
    SessionOver,
    /// The lane's counters or amounts would overflow.
    #[error("the lane's amounts or counters would overflow; open another session")]
    Overflow,
}

/// What a buyer is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuyerInput {
    /// A message of the provider.
    Message(ProviderMessage),
    /// The user wants to stop.
    Cancel,
    /// The time that was asked for has come.
    Wake,
    /// The stream broke or was closed.
    Disconnected,
}

/// What a buyer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuyerEffect {
    /// Write this lane, and the receipt if there is one, durably and together, before any effect after this one.
    Persist {
        /// The lane now.
        lane: Box<LaneLedger>,
        /// A receipt that the buyer accepted.
        receipt: Option<Box<Signed<Receipt>>>,
    },
    /// Send this on the job's stream.
    Send(ClientMessage),
    /// Keep this receipt, which the provider signed for the session and the buyer refuses: it may contradict another.
    Testify(Box<Signed<Receipt>>),
    /// Give [`BuyerInput::Wake`] at this time. It replaces the time asked for before.
    WakeAt(Timestamp),
    /// Tell the user that the provider takes the job's slot back.
    Reclaiming {
        /// It ends after that long, if it has not ended before.
        within: Millis,
    },
    /// Hand these tokens to the user. They fit their digest.
    Deliver {
        /// Token ids, in order.
        tokens: Vec<u32>,
        /// One entry a token if the request asks for log probabilities, else none.
        logprobs: Vec<Logprobs>,
    },
    /// The job is over; close the stream. Always the last effect.
    Finish(Box<BuyerOutcome>),
}

/// How a job ended for its buyer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuyerOutcome {
    /// How.
    pub end: BuyerEnd,
    /// The lane; if it is unsettled it takes no further job.
    pub lane: LaneLedger,
    /// Tokens delivered.
    pub output_tokens: u32,
    /// Tokens that the provider may collect for: those delivered if it was settled, otherwise up to a chunk more.
    pub paid_for: u32,
    /// The most that this job costs: exact if it was settled, otherwise what the provider may collect.
    pub cost: Credits,
}

/// The ways in which a job ends for its buyer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuyerEnd {
    /// The receipt was checked and paid exactly.
    Settled(Box<Signed<Receipt>>),
    /// The provider would not start.
    Refused {
        /// Why.
        code: RefusalCode,
        /// The numbers, in a sentence.
        detail: String,
    },
    /// The provider went silent: its fault.
    Stalled,
    /// The stream broke.
    Disconnected,
    /// The provider broke the rules: its fault.
    Cheated(Misbehavior),
}

impl BuyerEnd {
    /// The cause to record. `None` for a job that never started.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        match self {
            Self::Settled(receipt) => Some(receipt.body.cause),
            Self::Refused { .. } => None,
            Self::Stalled | Self::Cheated(_) => Some(Cause::ProviderFault),
            Self::Disconnected => Some(Cause::Network),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Asked,
    Streaming,
    Over,
}

/// The state machine.
#[derive(Clone, Debug)]
pub struct Buyer {
    setup: BuyerSetup,
    /// What the lane owed before this job.
    base: Credits,
    phase: Phase,
    chain: OutputChain,
    received: u32,
    /// Output tokens that the newest voucher pays for.
    paid_for: u32,
    /// The same for the voucher before it; `None` while voucher 0 is the newest.
    paid_before: Option<u32>,
    /// Whether the last token of the output has come.
    ending: Ending,
    cancelled: bool,
    /// When the slot was said to be wanted back, and how long the job was to go on.
    noticed: Option<(Timestamp, Millis)>,
    /// When the receipt came with which the job was settled.
    settled_at: Option<Timestamp>,
    pace: Pace,
    deadline: Timestamp,
}

type Asks<'a> = &'a mut Effects<BuyerEffect>;

impl Buyer {
    /// Asks for a job: persists voucher 0, then sends it with the request.
    ///
    /// # Errors
    /// If the job cannot be started; then nothing is asked for.
    pub fn start(now: Timestamp, mut setup: BuyerSetup, fx: Asks<'_>) -> Result<Self, NotStarted> {
        if setup.lane.unsettled {
            return Err(NotStarted::LaneUnsettled);
        }
        if now >= setup.terms.use_until {
            return Err(NotStarted::SessionOver);
        }
        setup.request.session = setup.lane.session;
        setup.request.lane = setup.lane.lane;
        setup.request.index = setup.lane.next_index();
        let base = setup.terms.amount(setup.lane.reference).ok_or(NotStarted::Overflow)?;
        let deadline = now.after(setup.patience.first_token).ok_or(NotStarted::Overflow)?;
        let chain = OutputChain::start(&setup.request.digest());
        let ending = Ending::new(&setup.request, setup.tokenizer.clone());
        let mut buyer = Self {
            setup,
            base,
            phase: Phase::Asked,
            chain,
            received: 0,
            paid_for: 0,
            paid_before: None,
            ending,
            cancelled: false,
            noticed: None,
            settled_at: None,
            pace: Pace::default(),
            deadline,
        };
        buyer.ask(fx).ok_or(NotStarted::Overflow)?;
        Ok(buyer)
    }

    fn ask(&mut self, fx: Asks<'_>) -> Option<()> {
        // The whole job must be billable, so that no later voucher can fail.
        let most = self.setup.request.max_tokens;
        self.setup.request.amount_on(&self.setup.lane, &self.setup.terms, most)?;
        self.paid_for = self.next_boundary();
        let voucher = self.sign_for(self.paid_for)?;
        self.keep(voucher.clone(), fx);
        let (terms, request) = (self.setup.terms.clone(), self.setup.request.clone());
        fx.ask(BuyerEffect::Send(ClientMessage::Open(Box::new(Open { terms, request, voucher }))));
        fx.ask(BuyerEffect::WakeAt(self.deadline));
        Some(())
    }

    /// Advances the job.
    ///
    /// # Errors
    /// With what the provider did wrong. The job is over then; what was asked for before still holds.
    pub fn step(&mut self, now: Timestamp, input: BuyerInput, fx: Asks<'_>) -> Result<(), Misbehavior> {
        if self.phase == Phase::Over {
            return Ok(());
        }
        match input {
            BuyerInput::Message(message) => {
                return self.receive(now, message, fx).inspect_err(|misdeed| {
                    self.finish(BuyerEnd::Cheated(misdeed.clone()), fx);
                });
            }
            BuyerInput::Cancel => self.cancel(now, fx),
            BuyerInput::Wake if now >= self.deadline => self.finish(BuyerEnd::Stalled, fx),
            // A clock that was set back wakes too early.
            BuyerInput::Wake => fx.ask(BuyerEffect::WakeAt(self.deadline)),
            BuyerInput::Disconnected => self.finish(BuyerEnd::Disconnected, fx),
        }
        Ok(())
    }

    /// Whether the job is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether the last token of the output has come.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.ended()
    }

    /// Whether the user, or the end of the session, stopped it before the last token.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    /// Whether the provider gave the notice of the terms before its receipt took the slot back: no fault of it, then. By
    /// this side's clock, so all but what a message may take.
    #[must_use]
    pub fn had_notice(&self) -> bool {
        let (promised, settled) = (self.setup.terms.notice, self.settled_at);
        let gave = |((at, within), end): ((Timestamp, Millis), Timestamp)| {
            within >= promised && end.since(at).0.saturating_add(NOTICE_SLACK.0) >= promised.0
        };
        self.setup.terms.tier == Tier::Spot && self.noticed.zip(settled).is_some_and(gave)
    }

    /// A spot job is reclaimed once.
    fn may_be_reclaimed(&self) -> bool {
        self.setup.terms.tier == Tier::Spot && self.noticed.is_none()
    }

    /// The request as it was sent, with its place in the session.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.setup.request
    }

    /// The lane as last persisted.
    #[must_use]
    pub fn lane(&self) -> &LaneLedger {
        &self.setup.lane
    }

    fn receive(&mut self, now: Timestamp, message: ProviderMessage, fx: Asks<'_>) -> Result<(), Misbehavior> {
        match (self.phase, message) {
            (Phase::Asked, ProviderMessage::Accepted { prompt_tokens }) => self.accept(prompt_tokens),
            (Phase::Asked, ProviderMessage::Refused { code, detail }) => {
                self.refuse(code, detail, fx);
                Ok(())
            }
            (Phase::Streaming, ProviderMessage::Chunk(chunk)) => self.take(now, chunk, fx),
            (Phase::Streaming, ProviderMessage::Reclaiming { within }) if self.may_be_reclaimed() => {
                self.noticed = Some((now, within));
                fx.ask(BuyerEffect::Reclaiming { within });
                Ok(())
            }
            (Phase::Streaming, ProviderMessage::Done { receipt }) => self.settle(now, *receipt, false, fx),
            (Phase::Streaming, ProviderMessage::Fault { receipt, .. }) => {
                self.settle(now, *receipt, true, fx)
            }
            (_, message) => Err(Misbehavior::OutOfPlace { message: message.name() }),
        }
    }

    fn accept(&mut self, claimed: u32) -> Result<(), Misbehavior> {
        let sent = self.setup.request.start();
        if claimed != sent {
            return Err(Misbehavior::WrongPromptCount { claimed, sent });
        }
        self.phase = Phase::Streaming;
        Ok(())
    }

    fn refuse(&mut self, code: RefusalCode, detail: String, fx: Asks<'_>) {
        self.setup.lane.note_refusal();
        fx.ask(BuyerEffect::Persist { lane: Box::new(self.setup.lane.clone()), receipt: None });
        self.finish(BuyerEnd::Refused { code, detail }, fx);
    }

    fn take(&mut self, now: Timestamp, chunk: Chunk, fx: Asks<'_>) -> Result<(), Misbehavior> {
        self.check_chunk(&chunk)?;
        self.received = self.reached(&chunk);
        fx.ask(BuyerEffect::Deliver { tokens: chunk.tokens, logprobs: chunk.logprobs });
        if !self.ended() && !self.cancelled && self.received == self.paid_for {
            self.pay(now, fx);
        }
        self.wait_for_more(now, fx);
        Ok(())
    }

    fn wait_for_more(&mut self, now: Timestamp, fx: Asks<'_>) {
        self.pace.note(now);
        if self.cancelled {
            return;
        }
        let wait = self.pace.patience(self.setup.patience.stall_least, self.setup.patience.stall);
        self.deadline = now.after(wait).unwrap_or(Timestamp(u64::MAX));
        fx.ask(BuyerEffect::WakeAt(self.deadline));
    }

    fn ended(&self) -> bool {
        self.ending.end().is_some()
    }

    /// Tokens received once `chunk` is taken; saturating, so that an absurd chunk only exceeds every limit.
    fn reached(&self, chunk: &Chunk) -> u32 {
        self.received.saturating_add(u32::try_from(chunk.tokens.len()).unwrap_or(u32::MAX))
    }

    /// Checks order, number, stop rules, log probabilities and digest; on success the running digest has moved on.
    fn check_chunk(&mut self, chunk: &Chunk) -> Result<(), Misbehavior> {
        if self.ended() {
            return Err(Misbehavior::TokensAfterStop);
        }
        if chunk.start != self.received || chunk.tokens.is_empty() {
            return Err(Misbehavior::OutOfOrder { start: chunk.start, expected: self.received });
        }
        let reached = self.reached(chunk);
        if reached > self.paid_for {
            return Err(Misbehavior::ExtraTokens { reached, allowed: self.paid_for });
        }
        let last = chunk.tokens.len() - 1;
        // Taken over with the chunk: one that breaks a rule ends nothing.
        let mut ending = self.ending.clone();
        let end = chunk.tokens.iter().position(|token| ending.push(*token).is_some());
        if end.is_some_and(|end| end < last) {
            return Err(Misbehavior::TokensAfterStop);
        }
        if !self.logprobs_fit(chunk) {
            return Err(Misbehavior::WrongLogprobs { tokens: reached });
        }
        let mut chain = self.chain;
        chain.extend(&chunk.tokens, &chunk.logprobs);
        if chain.digest() != chunk.digest {
            return Err(Misbehavior::WrongDigest { tokens: reached });
        }
        (self.chain, self.ending) = (chain, ending);
        Ok(())
    }

    fn logprobs_fit(&self, chunk: &Chunk) -> bool {
        let asked = self.setup.request.logprobs;
        let expected = if asked == 0 { 0 } else { chunk.tokens.len() };
        let mut pairs = chunk.tokens.iter().zip(&chunk.logprobs);
        chunk.logprobs.len() == expected && pairs.all(|(token, logprobs)| logprobs.fits(*token, asked))
    }

    /// Pays for the next chunk, or stops at the end of the session, after which vouchers are void.
    fn pay(&mut self, now: Timestamp, fx: Asks<'_>) {
        let next = self.next_boundary();
        match self.sign_for(next).filter(|_| now < self.setup.terms.use_until) {
            Some(voucher) => {
                self.paid_before = Some(self.paid_for);
                self.paid_for = next;
                self.keep(voucher.clone(), fx);
                fx.ask(BuyerEffect::Send(ClientMessage::Voucher(voucher)));
            }
            None => self.cancel(now, fx),
        }
    }

    /// All that is still to come is a receipt, for which nothing has to be computed.
    fn cancel(&mut self, now: Timestamp, fx: Asks<'_>) {
        if !self.cancelled && !self.ended() {
            self.cancelled = true;
            fx.ask(BuyerEffect::Send(ClientMessage::Cancel));
            self.deadline =
                now.after(self.setup.patience.parting).unwrap_or(self.deadline).min(self.deadline);
            fx.ask(BuyerEffect::WakeAt(self.deadline));
        }
    }

    fn settle(
        &mut self,
        now: Timestamp,
        receipt: Signed<Receipt>,
        fault: bool,
        fx: Asks<'_>,
    ) -> Result<(), Misbehavior> {
        let receipt = receipt.verify()?.into_signed();
        if let Err(misdeed) = self.check(&receipt.body, fault) {
            self.testify(receipt, fx);
            return Err(misdeed);
        }
        let lane = self.setup.lane.with_receipt(&receipt).ok_or(Misbehavior::Unbillable)?;
        let due = self.setup.terms.amount(lane.reference).ok_or(Misbehavior::Unbillable)?;
        let voucher = self.sign(&lane, due).ok_or(Misbehavior::Unbillable)?;
        self.setup.lane = lane;
        self.setup.lane.settle(voucher.clone());
        self.settled_at = Some(now);
        let (lane, kept) = (Box::new(self.setup.lane.clone()), Some(Box::new(receipt.clone())));
        fx.ask(BuyerEffect::Persist { lane, receipt: kept });
        fx.ask(BuyerEffect::Send(ClientMessage::Final(voucher)));
        self.finish(BuyerEnd::Settled(Box::new(receipt)), fx);
        Ok(())
    }

    fn check(&self, receipt: &Receipt, fault: bool) -> Result<(), Misbehavior> {
        self.check_cause(receipt.cause, fault)?;
        self.facts().check(receipt)
    }

    /// Has a refused receipt kept, if it is this provider's word about this session.
    fn testify(&self, receipt: Signed<Receipt>, fx: Asks<'_>) {
        let (body, terms) = (&receipt.body, &self.setup.terms);
        if (body.session, body.provider) == (self.setup.lane.session, terms.provider) {
            fx.ask(BuyerEffect::Testify(Box::new(receipt)));
        }
    }

    /// A job that reached its end was delivered. One that did not may be laid to the client only if the client stopped
    /// it, or if the output stands where the provider had to wait for a voucher.
    fn check_cause(&self, cause: Cause, fault: bool) -> Result<(), Misbehavior> {
        let waited = self.paid_before == Some(self.received) || self.received == self.paid_for;
        let true_cause = match cause {
            Cause::Delivered => !fault && self.ended(),
            Cause::ClientFault => !fault && !self.ended() && (self.cancelled || waited),
            Cause::Reclaimed => !fault && !self.ended(),
            Cause::ProviderFault => fault,
            Cause::Network => false,
        };
        if true_cause { Ok(()) } else { Err(Misbehavior::FalseCause { claimed: cause.name() }) }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            numerics: &self.setup.numerics,
            terms: &self.setup.terms,
            lane: &self.setup.lane,
            request: &self.setup.request,
            output: self.chain.digest(),
            output_tokens: self.received,
        }
    }

    fn next_boundary(&self) -> u32 {
        let chunk = u32::from(self.setup.terms.chunk_tokens);
        self.paid_for.saturating_add(chunk).min(self.setup.request.max_tokens)
    }

    /// A voucher that pays for the output up to `tokens`. `None` on overflow.
    fn sign_for(&self, tokens: u32) -> Option<Signed<Voucher>> {
        let amount = self.setup.request.amount_on(&self.setup.lane, &self.setup.terms, tokens)?;
        self.sign(&self.setup.lane, amount)
    }

    fn sign(&self, lane: &LaneLedger, amount: Credits) -> Option<Signed<Voucher>> {
        Some(self.setup.key.sign(Voucher {
            session: lane.session,
            client: self.setup.terms.client,
            lane: lane.lane,
            sequence: lane.next_sequence()?,
            amount,
            receipts: lane.next_index(),
            receipts_root: lane.receipts.root(),
        }))
    }

    fn keep(&mut self, voucher: Signed<Voucher>, fx: Asks<'_>) {
        self.setup.lane.note_voucher(voucher);
        fx.ask(BuyerEffect::Persist { lane: Box::new(self.setup.lane.clone()), receipt: None });
    }

    fn finish(&mut self, end: BuyerEnd, fx: Asks<'_>) {
        self.phase = Phase::Over;
        let promised = self.setup.lane.newest.as_ref().map_or(self.base, |voucher| voucher.body.amount);
        let owed = if matches!(end, BuyerEnd::Refused { .. }) { self.base } else { promised };
        let cost = owed.saturating_sub(self.base);
        let paid_for = match &end {
            BuyerEnd::Refused { .. } => 0,
            BuyerEnd::Settled(receipt) if receipt.body.reference.0 == 0 => 0,
            BuyerEnd::Settled(_) => self.received,
            BuyerEnd::Stalled | BuyerEnd::Disconnected | BuyerEnd::Cheated(_) => self.paid_for,
        };
        let (lane, output_tokens) = (self.setup.lane.clone(), self.received);
        fx.ask(BuyerEffect::Finish(Box::new(BuyerOutcome { end, lane, output_tokens, paid_for, cost })));
    }
}
