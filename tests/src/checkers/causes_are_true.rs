//! A receipt's cause is what happened: whoever reads it can tell a provider that failed from one that was not asked, left
//! alone or cut off. Held against what the world saw of the engine and the frames, for every receipt that an honest
//! provider writes down, sent or not.

use std::collections::BTreeMap;

use gridhour_protocol::{
    id::SessionId,
    job::{
        ending::ends_as_stated,
        message::{ClientMessage, Open, ProviderMessage},
    },
    receipt::{Cause, Receipt},
    units::{GpuNs, Timestamp},
};

use super::{Checker, View};
use crate::{
    actors::{goods, provider::PATIENCE},
    sim::{
        fact::{Fact, Frame},
        net::{NodeId, StreamId},
    },
};

/// How much less than its patience a provider may be seen to have waited: clocks drift.
const DRIFT_MS: u64 = 20;
/// How far a provider's clock may be ahead of the world's.
const CLOCKS_MS: u64 = 2_000;

/// A job as the world saw it.
#[derive(Clone, Debug)]
struct Job {
    open: Box<Open>,
    output: Vec<u32>,
    engine_failed: bool,
    cancelled: bool,
    /// When the provider last sent something.
    said_at: Timestamp,
}

/// The jobs that providers have accepted, and the last one of each lane.
#[derive(Clone, Debug, Default)]
pub struct CausesAreTrue {
    asked: BTreeMap<StreamId, Box<Open>>,
    jobs: BTreeMap<StreamId, Job>,
    lanes: BTreeMap<(NodeId, SessionId, u16), StreamId>,
}

impl CausesAreTrue {
    fn note(&mut self, fact: &Fact, now: Timestamp) {
        match fact {
            Fact::Heard { stream, frame: Frame::Client(ClientMessage::Open(open)), .. } => {
                self.asked.entry(*stream).or_insert_with(|| open.clone());
            }
            Fact::Heard { stream, frame: Frame::Client(ClientMessage::Cancel), .. } => {
                self.change(*stream, |job| job.cancelled = true);
            }
            Fact::EngineFailed { stream } => self.change(*stream, |job| job.engine_failed = true),
            Fact::Said { stream, by, frame: Frame::Provider(message), .. } => {
                self.said(*stream, *by, message, now);
            }
            _ => {}
        }
    }

    fn said(&mut self, stream: StreamId, by: NodeId, message: &ProviderMessage, now: Timestamp) {
        if let (ProviderMessage::Accepted { .. }, Some(open)) = (message, self.asked.remove(&stream)) {
            self.lanes.insert((by, open.terms.id(), open.request.lane), stream);
            let (engine_failed, cancelled) = (false, false);
            self.jobs
                .insert(stream, Job { open, output: Vec::new(), engine_failed, cancelled, said_at: now });
        }
        self.change(stream, |job| {
            job.said_at = now;
            if let ProviderMessage::Chunk(chunk) = message {
                job.output.extend(&chunk.tokens);
            }
        });
    }

    fn change(&mut self, stream: StreamId, change: impl FnOnce(&mut Job)) {
        if let Some(job) = self.jobs.get_mut(&stream) {
            change(job);
        }
    }

    fn judge(&self, by: NodeId, receipt: &Receipt, now: Timestamp) -> Result<(), String> {
        let lane = (by, receipt.session, receipt.lane);
        let job = self.lanes.get(&lane).and_then(|stream| self.jobs.get(stream));
        // The last receipt stays in the lane's record until the next job has begun there.
        let Some(job) = job.filter(|job| job.open.request.index == receipt.index) else { return Ok(()) };
        let stated = ends_as_stated(&job.open.request, &job.output, receipt.cause, goods::TOKENIZER.clone());
        let true_cause = match receipt.cause {
            Cause::ProviderFault => job.engine_failed && receipt.reference == GpuNs(0),
            Cause::ClientFault => !job.engine_failed && (job.cancelled || waited(job, now)),
            Cause::Delivered | Cause::Network => !job.engine_failed,
            // No provider of these worlds is told to leave.
            Cause::Reclaimed => false,
        };
        if stated && true_cause && receipt.output_tokens as usize == job.output.len() {
            return Ok(());
        }
        Err(format!("node {} says {} of a job that was {job:?}", by.0, receipt.cause.name()))
    }
}

/// Whether the client was given its time to pay, or the session its time of use.
fn waited(job: &Job, now: Timestamp) -> bool {
    let patience = PATIENCE.payment.0.saturating_sub(DRIFT_MS);
    now.since(job.said_at).0 >= patience || now.0.saturating_add(CLOCKS_MS) >= job.open.terms.use_until.0
}

impl Checker for CausesAreTrue {
    fn name(&self) -> &'static str {
        "causes_are_true"
    }

    fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        for fact in view.facts {
            self.note(fact, view.time);
            let Fact::Saved { by, lane } = fact else { continue };
            let role = view.role(*by).filter(|role| role.honest && view.is_provider(&role.key));
            let receipt = lane.pending.as_ref().filter(|_| role.is_some());
            // To whoever broke the rules the provider says no more, and lays the end to it.
            let accuses =
                view.facts.iter().any(|fact| matches!(fact, Fact::Accused { by: who, .. } if who == by));
            if let Some(receipt) = receipt.filter(|_| !accuses) {
                self.judge(*by, &receipt.body, view.time)?;
            }
        }
        Ok(())
    }
}
