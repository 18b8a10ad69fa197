//! Errands at work: the driver of the buyer's state machine.

use std::collections::BTreeSet;

use gridhour_protocol::{
    id::SessionId,
    job::{
        buyer::{Buyer, BuyerEffect, BuyerEnd, BuyerInput, BuyerOutcome, BuyerSetup},
        effect::Effects,
        message::{ProviderMessage, RefusalCode},
        request::Request,
    },
    receipt::{Cause, Receipt},
    session::{book::NoLane, lane::LaneLedger},
    signed::{PublicKey, Signed},
    units::Timestamp,
    wire,
};

use super::{Errand, MarketClient, PATIENCE, Twist, buying::Purchase};
use crate::{
    actors::{Alarm, goods, lane_key},
    sim::{
        context::Context,
        durable::{Durable, PowerCut},
        engine,
        fact::{Fact, Frame},
        net::StreamId,
    },
};

/// Records under keys that begin so hold the receipt of an errand that was delivered.
const DONE: &[u8] = b"done";

/// An errand at work.
pub(super) struct Run {
    pub(super) errand: usize,
    pub(super) machine: Buyer,
    session: SessionId,
    pub(super) provider: PublicKey,
    tokens: Vec<u32>,
    pub(super) started: Timestamp,
    pub(super) first_token: Option<Timestamp>,
}

impl<T: Twist> MarketClient<T> {
    /// Starts errands on free lanes of usable sessions.
    pub(super) fn start_waiting(&mut self, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        for errand in self.waiting(cx.now()) {
            let Some(id) = self.usable_session(cx.now()) else { break };
            self.start_on(errand, id, cx)?;
        }
        Ok(())
    }

    fn usable_session(&self, now: Timestamp) -> Option<SessionId> {
        let has_room = |one: &Purchase| one.book.running() < usize::from(self.profile.lanes);
        let usable = |one: &Purchase| one.is_usable(now) && !self.distrusted.contains(&one.terms().provider);
        self.purchases.iter().find(|(_, one)| usable(one) && has_room(one)).map(|(id, _)| *id)
    }

    fn start_on(&mut self, errand: usize, id: SessionId, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        let Errand { prompt, max_tokens, .. } = &self.profile.errands[errand];
        let prompt = u32::try_from(prompt.len()).unwrap_or(u32::MAX);
        let Some(purchase) = self.purchases.get_mut(&id) else { return Ok(()) };
        match purchase.book.take_free(prompt, *max_tokens) {
            Ok(taken) => self.start_job(errand, id, taken.lane, cx),
            Err(NoLane::HoldExhausted { .. }) => {
                self.top_up(id, cx);
                Ok(())
            }
            Err(_) => {
                self.exhausted(id);
                Ok(())
            }
        }
    }

    fn start_job(
        &mut self,
        errand: usize,
        id: SessionId,
        lane: LaneLedger,
        cx: &mut Context<'_>,
    ) -> Result<(), PowerCut> {
        let Some(purchase) = self.purchases.get_mut(&id) else { return Ok(()) };
        let terms = purchase.terms().clone();
        let setup = BuyerSetup {
            key: self.profile.key.clone(),
            numerics: goods::NUMERICS_DIGEST,
            terms: terms.clone(),
            lane: lane.clone(),
            request: request(&self.profile.errands[errand], cx),
            tokenizer: goods::TOKENIZER.clone(),
            patience: PATIENCE,
        };
        let (mut effects, now) = (Effects::default(), self.twist.clock(cx.now(), &terms));
        let (Some(peer), Ok(machine)) = (cx.node_of(&terms.provider), Buyer::start(now, setup, &mut effects))
        else {
            purchase.book.give_back(lane);
            self.exhausted(id);
            return Ok(());
        };
        *self.tries.entry(errand).or_default() += 1;
        let stream = cx.open(peer);
        let run = Run {
            errand,
            machine,
            session: id,
            provider: terms.provider,
            tokens: Vec::new(),
            started: cx.now(),
            first_token: None,
        };
        self.runs.insert(stream, run);
        self.obey(stream, effects, cx)
    }

    pub(super) fn receive(
        &mut self,
        stream: StreamId,
        message: ProviderMessage,
        cx: &mut Context<'_>,
    ) -> Result<(), PowerCut> {
        let is_chunk = matches!(message, ProviderMessage::Chunk(_));
        self.step(stream, BuyerInput::Message(message), cx)?;
        if is_chunk && self.profile.cancels > 0 && cx.rng().below(1_000) < self.profile.cancels {
            self.step(stream, BuyerInput::Cancel, cx)?;
        }
        Ok(())
    }

    pub(super) fn wake(&mut self, stream: StreamId, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        self.step(stream, BuyerInput::Wake, cx)
    }

    pub(super) fn disconnect(&mut self, stream: StreamId, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        self.step(stream, BuyerInput::Disconnected, cx)
    }

    fn step(&mut self, stream: StreamId, input: BuyerInput, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        let Some(run) = self.runs.get_mut(&stream) else { return Ok(()) };
        let Some(purchase) = self.purchases.get(&run.session) else { return Ok(()) };
        let now = self.twist.clock(cx.now(), purchase.terms());
        let mut effects = Effects::default();
        // The misdeed is in the outcome as well, where `ended` reads it.
        let _ = run.machine.step(now, input, &mut effects);
        self.obey(stream, effects, cx)
    }

    fn obey(
        &mut self,
        stream: StreamId,
        mut effects: Effects<BuyerEffect>,
        cx: &mut Context<'_>,
    ) -> Result<(), PowerCut> {
        for effect in effects.take() {
            match effect {
                BuyerEffect::Persist { lane, receipt } => {
                    self.persist(stream, &lane, receipt.as_deref(), cx)?
                }
                BuyerEffect::Send(message) => {
                    for message in self.twist.say(&self.profile.key, message) {
                        cx.send(stream, &Frame::Client(message));
                    }
                }
                // Nobody accuses anybody in these stories.
                BuyerEffect::Testify(_) => {}
                // Nobody buys in spot either.
                BuyerEffect::Reclaiming { .. } => {}
                BuyerEffect::WakeAt(at) => cx.wake_at(at, Alarm::Machine(stream)),
                BuyerEffect::Deliver { tokens, .. } => {
                    if let Some(run) = self.runs.get_mut(&stream) {
                        run.tokens.extend(tokens);
                        run.first_token.get_or_insert(cx.now());
                    }
                }
                BuyerEffect::Finish(outcome) => self.ended(stream, *outcome, cx)?,
            }
        }
        Ok(())
    }

    /// Writes the lane, and with it the errand that its last receipt answers for.
    fn persist(
        &self,
        stream: StreamId,
        lane: &LaneLedger,
        receipt: Option<&Signed<Receipt>>,
        cx: &mut Context<'_>,
    ) -> Result<(), PowerCut> {
        let errand = self.runs.get(&stream).map(|run| run.errand);
        let delivered = errand.zip(receipt.filter(|receipt| receipt.body.cause == Cause::Delivered));
        let done = delivered.map(|(errand, receipt)| (done_key(errand), Some(wire::encode(receipt))));
        let lane = (lane_key(&lane.session, lane.lane), Some(wire::encode(lane)));
        cx.save([lane].into_iter().chain(done))
    }

    fn ended(
        &mut self,
        stream: StreamId,
        outcome: BuyerOutcome,
        cx: &mut Context<'_>,
    ) -> Result<(), PowerCut> {
        cx.close(stream);
        let Some(run) = self.runs.remove(&stream) else { return Ok(()) };
        if let Some(purchase) = self.purchases.get_mut(&run.session) {
            purchase.book.give_back(outcome.lane);
            if outcome.end == BuyerEnd::Disconnected {
                purchase.note_break();
            }
        }
        self.learn(stream, &run, &outcome.end, cx);
        match outcome.end {
            BuyerEnd::Settled(receipt) if receipt.body.cause == Cause::Delivered => {
                return self.deliver(&run, cx);
            }
            BuyerEnd::Settled(_) | BuyerEnd::Disconnected => {}
            BuyerEnd::Refused { code, .. } => self.refused(code, &run),
            BuyerEnd::Stalled => self.blame(&run, "silent", cx),
            BuyerEnd::Cheated(misdeed) => self.blame(&run, misdeed.name(), cx),
        }
        Ok(())
    }

    /// Takes the output, and computes it again: exact inference makes any wrong token visible. What is wrong is asked for
    /// again, of others.
    fn deliver(&mut self, run: &Run, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        if run.tokens == engine::answer(run.machine.request()) {
            self.done.insert(run.errand);
            cx.report(Fact::Delivered { by: cx.me(), errand: run.errand });
            return Ok(());
        }
        self.blame(run, "wrong-output", cx);
        cx.save([(done_key(run.errand), None)])
    }

    fn blame(&mut self, run: &Run, misdeed: &'static str, cx: &mut Context<'_>) {
        cx.accuse(run.provider, misdeed);
        self.distrusted.insert(run.provider);
        self.exhausted(run.session);
    }

    fn refused(&mut self, code: RefusalCode, run: &Run) {
        match code {
            // It may do it later: no try was spent.
            RefusalCode::Busy => {
                self.tries.entry(run.errand).and_modify(|tries| *tries = tries.saturating_sub(1));
            }
            // Its ledger may not have answered.
            RefusalCode::UnknownSession => {}
            _ => self.exhausted(run.session),
        }
    }
}

/// Errands that were delivered and settled before a crash.
pub(super) fn saved_done(saved: &Durable) -> BTreeSet<usize> {
    let number = |key: &[u8]| usize::from_be_bytes(key[DONE.len()..].try_into().expect("written whole"));
    saved.under(DONE).map(|(key, _)| number(key)).collect()
}

fn done_key(errand: usize) -> Vec<u8> {
    [DONE, &errand.to_be_bytes()].concat()
}

fn request(errand: &Errand, cx: &mut Context<'_>) -> Request {
    let salt = cx.rng().bytes(32);
    Request {
        session: SessionId([0; 32]),
        lane: 0,
        index: 0,
        prompt: errand.prompt.clone(),
        written: Vec::new(),
        prepaid: 0,
        sampling: errand.sampling,
        max_tokens: errand.max_tokens,
        stop: errand.stop.clone(),
        stop_texts: errand.stop_texts.clone(),
        logprobs: errand.logprobs,
        salt: core::array::from_fn(|i| salt[i]),
    }
}
