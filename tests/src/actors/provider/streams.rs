//! One stream, one job: the driver of the provider's state machine.

use gridhour_contracts_sim::state::Session;
use gridhour_protocol::{
    id::SessionId,
    job::{
        effect::Effects,
        message::{ClientMessage, Open, ProviderMessage, RefusalCode},
        misbehavior::Misbehavior,
        provider::{Provider, ProviderEffect, ProviderInput, ProviderSetup},
    },
    market::advert::DeviceClass,
    receipt::MeasuredTime,
    session::{
        book::{NoLane, SessionBook, TakenLane},
        lane::LaneLedger,
    },
    signed::PublicKey,
    units::Credits,
    wire,
};

use super::{ANSWER_MS, Asked, MarketProvider, PATIENCE, Twist};
use crate::{
    actors::{Alarm, goods, lane_key, terms_key},
    sim::{
        context::Context,
        durable::PowerCut,
        engine::{FakeEngine, VOCABULARY},
        fact::{Fact, Frame},
        ledger_node::Request,
        net::{NodeId, StreamId},
    },
};

/// A job that runs.
pub(super) struct Job {
    machine: Provider,
    pub(super) session: SessionId,
    client: PublicKey,
    engine: Option<FakeEngine>,
    measured: MeasuredTime,
}

/// Refuses a job before its machine is built.
pub(super) fn refuse(stream: StreamId, code: RefusalCode, why: &str, cx: &mut Context<'_>) {
    let message = ProviderMessage::Refused { code, detail: why.into() };
    cx.send(stream, &Frame::Provider(message));
    cx.close(stream);
}

impl<T: Twist> MarketProvider<T> {
    pub(super) fn receive(
        &mut self,
        stream: StreamId,
        from: NodeId,
        message: ClientMessage,
        cx: &mut Context<'_>,
    ) -> Result<(), PowerCut> {
        if self.jobs.contains_key(&stream) {
            return self.step(stream, ProviderInput::Message(message), cx);
        }
        match message {
            ClientMessage::Open(open) if cx.node_of(&open.terms.client) == Some(from) => {
                let request = Request::Session(open.terms.id());
                let id = self.number(Asked::Start { stream, open });
                cx.ask(id, request);
                cx.wake_in(ANSWER_MS, Alarm::Unanswered(id));
            }
            // Said while the ledger was asked, or after the job was over.
            _ => {}
        }
        Ok(())
    }

    pub(super) fn start_job(
        &mut self,
        stream: StreamId,
        open: Open,
        session: Option<&Session>,
        cx: &mut Context<'_>,
    ) -> Result<(), PowerCut> {
        let Some(session) = session.filter(|session| !session.closing && session.terms == open.terms) else {
            refuse(stream, RefusalCode::UnknownSession, "no such open session", cx);
            return Ok(());
        };
        if self.jobs.len() >= usize::from(self.profile.slots) {
            refuse(stream, RefusalCode::Busy, "all slots are taken", cx);
            return Ok(());
        }
        self.supersede((open.terms.id(), open.request.lane), open.request.index, cx)?;
        let taken = match self.take_lane(&open, session) {
            Ok(taken) => taken,
            Err(NoLane::Overflow) => {
                cx.accuse(open.terms.client, Misbehavior::Unbillable.name());
                cx.close(stream);
                return Ok(());
            }
            Err(why) => {
                refuse(stream, RefusalCode::Busy, &why.to_string(), cx);
                return Ok(());
            }
        };
        self.open_machine(stream, open, taken, cx)
    }

    fn take_lane(&mut self, open: &Open, session: &Session) -> Result<TakenLane, NoLane> {
        let hold = Credits(session.held.0 + session.collected.0);
        let fresh = || SessionBook::new(open.terms.clone(), hold, []);
        let book = self.sessions.entry(open.terms.id()).or_insert_with(fresh);
        book.raise_hold(hold);
        let prompt = u32::try_from(open.request.prompt.len()).unwrap_or(u32::MAX);
        book.take(open.request.lane, prompt, open.request.max_tokens)
    }

    fn open_machine(
        &mut self,
        stream: StreamId,
        open: Open,
        taken: TakenLane,
        cx: &mut Context<'_>,
    ) -> Result<(), PowerCut> {
        let (session, client, lane) = (open.terms.id(), open.terms.client, taken.lane.clone());
        let mut effects = Effects::default();
        match Provider::open(cx.now(), self.setup(taken), open, &mut effects) {
            Ok(machine) => {
                let (engine, measured) = (None, MeasuredTime::NONE);
                self.jobs.insert(stream, Job { machine, session, client, engine, measured });
                self.obey(stream, effects, cx)
            }
            Err(misdeed) => {
                self.give_back(lane);
                cx.accuse(client, misdeed.name());
                cx.close(stream);
                Ok(())
            }
        }
    }

    fn give_back(&mut self, lane: LaneLedger) {
        if let Some(book) = self.sessions.get_mut(&lane.session) {
            book.give_back(lane);
        }
    }

    /// A lane has one job at a time. The next one, which acknowledges the receipt of the one before, may come
    /// while the last voucher of that is still on its way: the old stream is given up first, so that no two
    /// machines write one lane. Anything but the next job leaves the old stream alone, or a replay could cut
    /// off the last voucher.
    fn supersede(&mut self, key: (SessionId, u16), index: u32, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        let waits = |job: &Job| {
            let lane = job.machine.lane();
            (lane.session, lane.lane) == key && lane.pending.is_some() && lane.next_index() + 1 == index
        };
        let before = self.jobs.iter().find(|(_, job)| waits(job)).map(|(stream, _)| *stream);
        before.map_or(Ok(()), |stream| self.step(stream, ProviderInput::Disconnected, cx))
    }

    fn setup(&self, taken: TakenLane) -> ProviderSetup {
        ProviderSetup {
            key: self.profile.key.clone(),
            numerics: goods::NUMERICS_DIGEST,
            device: DeviceClass::Cpu,
            lane: taken.lane,
            lane_cap: taken.cap,
            context: goods::CONTEXT,
            vocabulary: VOCABULARY,
            tokenizer: goods::TOKENIZER.clone(),
            patience: PATIENCE,
        }
    }

    /// Jobs that compute or wait.
    pub(super) fn runs_in(&self, session: &SessionId) -> Vec<StreamId> {
        self.jobs.iter().filter(|(_, job)| job.session == *session).map(|(stream, _)| *stream).collect()
    }

    pub(super) fn wake(&mut self, stream: StreamId, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        self.step(stream, ProviderInput::Wake, cx)
    }

    pub(super) fn disconnect(&mut self, stream: StreamId, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        let is_of =
            |asked: &Asked| matches!(asked, Asked::Start { stream: waiting, .. } if *waiting == stream);
        self.asked.retain(|_, asked| !is_of(asked));
        self.step(stream, ProviderInput::Disconnected, cx)
    }

    /// The engine's next tokens, or its failure.
    pub(super) fn compute(&mut self, stream: StreamId, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        let (failures, burst) = (self.profile.engine_failures, self.profile.burst);
        let fails = failures > 0 && cx.rng().below(1_000) < failures;
        let count = 1 + u32::try_from(cx.rng().below(u64::from(burst))).unwrap_or(0);
        let Some(job) = self.jobs.get_mut(&stream) else { return Ok(()) };
        let Some(engine) = job.engine.as_mut().filter(|engine| engine.has_work()) else { return Ok(()) };
        let input = if fails {
            cx.report(Fact::EngineFailed { stream });
            ProviderInput::InferenceFailed { detail: "the device was lost".into() }
        } else {
            let mut tokens = engine.run(count);
            tokens.iter_mut().for_each(|one| one.token = self.twist.token(one.token));
            job.measured.time.0 += self.profile.token_ms * 1_000_000 * tokens.len() as u64;
            ProviderInput::Tokens { tokens, measured: job.measured }
        };
        self.step(stream, input, cx)?;
        self.plan_engine(stream, cx);
        Ok(())
    }

    fn plan_engine(&self, stream: StreamId, cx: &mut Context<'_>) {
        let engine = self.jobs.get(&stream).and_then(|job| job.engine.as_ref());
        if engine.is_some_and(FakeEngine::has_work) {
            cx.wake_in(self.profile.token_ms, Alarm::Engine(stream));
        }
    }

    pub(super) fn step(
        &mut self,
        stream: StreamId,
        input: ProviderInput,
        cx: &mut Context<'_>,
    ) -> Result<(), PowerCut> {
        let Some(job) = self.jobs.get_mut(&stream) else { return Ok(()) };
        let mut effects = Effects::default();
        if let Err(misdeed) = job.machine.step(cx.now(), input, &mut effects) {
            cx.accuse(job.client, misdeed.name());
        }
        self.obey(stream, effects, cx)
    }

    fn obey(
        &mut self,
        stream: StreamId,
        mut effects: Effects<ProviderEffect>,
        cx: &mut Context<'_>,
    ) -> Result<(), PowerCut> {
        for effect in effects.take() {
            match effect {
                ProviderEffect::Persist { lane, .. } => self.persist(&lane, cx)?,
                ProviderEffect::Send(message) => self.say(stream, message, cx),
                ProviderEffect::StartInference { request, grant } => {
                    self.set_engine(stream, Some(FakeEngine::new(*request, grant)));
                    self.plan_engine(stream, cx);
                }
                ProviderEffect::Grant { tokens } => self.grant(stream, tokens, cx),
                ProviderEffect::Halt => self.set_engine(stream, None),
                ProviderEffect::WakeAt(at) => cx.wake_at(at, Alarm::Machine(stream)),
                ProviderEffect::Finish(outcome) => {
                    self.jobs.remove(&stream);
                    self.give_back(outcome.lane);
                    cx.close(stream);
                }
            }
        }
        Ok(())
    }

    /// Writes the lane, and with it the terms without which it says nothing.
    fn persist(&self, lane: &LaneLedger, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        let terms = self.sessions.get(&lane.session).expect("a job's session is known").terms();
        cx.save([
            (terms_key(&lane.session), Some(wire::encode(terms))),
            (lane_key(&lane.session, lane.lane), Some(wire::encode(lane))),
        ])
    }

    fn say(&mut self, stream: StreamId, message: ProviderMessage, cx: &mut Context<'_>) {
        for message in self.twist.say(&self.profile.key, message) {
            cx.send(stream, &Frame::Provider(message));
        }
    }

    fn set_engine(&mut self, stream: StreamId, engine: Option<FakeEngine>) {
        if let Some(job) = self.jobs.get_mut(&stream) {
            job.engine = engine;
        }
    }

    fn grant(&mut self, stream: StreamId, tokens: u32, cx: &mut Context<'_>) {
        let engine = self.jobs.get_mut(&stream).and_then(|job| job.engine.as_mut());
        let Some(engine) = engine else { return };
        let was_idle = !engine.has_work();
        engine.grant(tokens);
        if was_idle {
            self.plan_engine(stream, cx);
        }
    }
}
