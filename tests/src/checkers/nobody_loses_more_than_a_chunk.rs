//! What an honest client may be made to pay, and what an honest provider must be paid, reckoned from the
//! frames alone.
//!
//! - An honest client pays on a lane at most for the work that it acknowledged and one chunk more; the first
//!   chunk of a job comes with its prefill.
//! - An honest provider that is there to collect is paid on a lane for everything that it sent and may bill.

use std::collections::BTreeMap;

use gridhour_contracts_sim::ledger::entry::{Entry, Event, Lane};
use gridhour_protocol::{
    id::SessionId,
    job::{
        message::{Chunk, ClientMessage, Open, ProviderMessage},
        request::Request,
    },
    session::terms::Terms,
    units::{Credits, GpuNs},
    work::billed,
};

use super::{Checker, View};
use crate::sim::{
    fact::{Fact, Frame},
    net::StreamId,
};

type LaneKey = (SessionId, u16);

/// One side's account of the job that runs on a lane.
#[derive(Clone, Debug)]
struct Job {
    stream: StreamId,
    index: u32,
    read: u32,
    prepaid: u32,
    max: u32,
    tokens: u32,
    /// The provider said that it failed: nothing is billed.
    failed: bool,
}

impl Job {
    fn new(stream: StreamId, request: &Request) -> Self {
        let (index, max) = (request.index, request.max_tokens);
        let (read, prepaid) = (request.start(), request.prepaid);
        Self { stream, index, read, prepaid, max, tokens: 0, failed: false }
    }

    fn time(&self, terms: &Terms, tokens: u32) -> GpuNs {
        let (read, written) = billed(self.read, tokens, self.prepaid);
        terms.job_time(read, written).unwrap_or(GpuNs(u64::MAX))
    }

    fn bill(&self, terms: &Terms) -> GpuNs {
        if self.failed { GpuNs(0) } else { self.time(terms, self.tokens) }
    }
}

/// One side's account of a lane.
#[derive(Clone, Debug, Default)]
struct Side {
    /// Time of the jobs before.
    settled: u64,
    job: Option<Job>,
}

impl Side {
    /// Closes the account of an earlier job, now that a later one runs on the lane.
    fn turn_to(&mut self, terms: &Terms, next: Job) {
        if let Some(job) = self.job.take().filter(|job| job.index < next.index) {
            self.settled += job.bill(terms).0;
        }
        self.job = Some(next);
    }

    fn on(&mut self, stream: StreamId) -> Option<&mut Job> {
        self.job.as_mut().filter(|job| job.stream == stream)
    }
}

/// A lane from both sides.
#[derive(Clone, Debug)]
struct Watch {
    terms: Terms,
    client: Side,
    provider: Side,
    /// The most that the client may ever have been exposed to.
    exposed: Credits,
}

impl Watch {
    fn new(terms: Terms) -> Self {
        Self { terms, client: Side::default(), provider: Side::default(), exposed: Credits::ZERO }
    }

    /// Acknowledged work and one chunk. Called when the client says something: what it only heard, it may yet
    /// refuse.
    fn expose(&mut self) {
        let Some(job) = &self.client.job else { return };
        let ahead = (job.tokens + u32::from(self.terms.chunk_tokens)).min(job.max);
        let time = job.time(&self.terms, ahead);
        let amount = self.terms.amount(GpuNs(self.client.settled.saturating_add(time.0)));
        self.exposed = self.exposed.max(amount.unwrap_or(Credits(u64::MAX)));
    }

    /// What the provider has sent and may bill.
    fn due(&self) -> Credits {
        let running = self.provider.job.as_ref().map_or(GpuNs(0), |job| job.bill(&self.terms));
        self.terms.amount(GpuNs(self.provider.settled + running.0)).unwrap_or(Credits(u64::MAX))
    }
}

/// All lanes that were ever used.
#[derive(Clone, Debug, Default)]
pub struct NobodyLosesMoreThanAChunk {
    lanes: BTreeMap<LaneKey, Watch>,
    streams: BTreeMap<StreamId, Box<Open>>,
}

impl NobodyLosesMoreThanAChunk {
    fn lane(&mut self, stream: StreamId) -> Option<(&Open, &mut Watch)> {
        let open = self.streams.get(&stream)?;
        let key = (open.terms.id(), open.request.lane);
        let watch = self.lanes.entry(key).or_insert_with(|| Watch::new(open.terms.clone()));
        Some((open, watch))
    }

    fn note(&mut self, fact: &Fact) {
        match fact {
            Fact::Said { stream, frame: Frame::Client(message), .. } => self.client_said(*stream, message),
            Fact::Said { stream, frame: Frame::Provider(message), .. } => {
                self.provider_said(*stream, message)
            }
            Fact::Heard { stream, frame: Frame::Provider(message), .. } => {
                self.client_heard(*stream, message)
            }
            _ => {}
        }
    }

    fn client_said(&mut self, stream: StreamId, message: &ClientMessage) {
        if let ClientMessage::Open(open) = message {
            self.streams.insert(stream, open.clone());
            if let Some((open, watch)) = self.lane(stream) {
                let terms = watch.terms.clone();
                watch.client.turn_to(&terms, Job::new(stream, &open.request));
            }
        }
        if let Some((_, watch)) = self.lane(stream) {
            watch.expose();
        }
    }

    fn client_heard(&mut self, stream: StreamId, message: &ProviderMessage) {
        let Some((_, watch)) = self.lane(stream) else { return };
        let Some(job) = watch.client.on(stream) else { return };
        match message {
            ProviderMessage::Chunk(chunk) => job.tokens += length(chunk),
            ProviderMessage::Fault { .. } => job.failed = true,
            _ => {}
        }
    }

    fn provider_said(&mut self, stream: StreamId, message: &ProviderMessage) {
        let Some((open, watch)) = self.lane(stream) else { return };
        if matches!(message, ProviderMessage::Accepted { .. }) {
            let terms = watch.terms.clone();
            watch.provider.turn_to(&terms, Job::new(stream, &open.request));
        }
        let Some(job) = watch.provider.on(stream) else { return };
        match message {
            ProviderMessage::Chunk(chunk) => job.tokens += length(chunk),
            ProviderMessage::Fault { .. } => job.failed = true,
            _ => {}
        }
    }

    fn judge(&self, entry: &Entry, view: &View<'_>) -> Result<(), String> {
        let Some(session) = entry.event.session() else { return Ok(()) };
        for lane in entry.event.lanes() {
            self.judge_cost(session, lane, view)?;
        }
        match &entry.event {
            Event::Closed { lanes, .. } | Event::Expired { lanes, .. } => {
                self.judge_pay(session, lanes, view)
            }
            _ => Ok(()),
        }
    }

    fn judge_cost(&self, session: SessionId, lane: &Lane, view: &View<'_>) -> Result<(), String> {
        let Some(watch) = self.lanes.get(&(session, lane.lane)) else {
            return Err(format!("lane {} of {session} was paid and never used", lane.lane));
        };
        let is_honest = view.owner(&watch.terms.client).is_some_and(|client| client.honest);
        if is_honest && lane.amount > watch.exposed {
            let (paid, most) = (lane.amount, watch.exposed);
            return Err(format!(
                "lane {} of {session}: the client paid {paid}, at most {most} is fair",
                lane.lane
            ));
        }
        Ok(())
    }

    fn judge_pay(&self, session: SessionId, lanes: &[Lane], view: &View<'_>) -> Result<(), String> {
        for ((_, number), watch) in self.lanes.range((session, 0)..=(session, u16::MAX)) {
            let collects = view.owner(&watch.terms.provider).is_some_and(|one| one.honest && one.returns);
            let paid =
                lanes.iter().find(|lane| lane.lane == *number).map_or(Credits::ZERO, |lane| lane.amount);
            if collects && paid < watch.due() {
                let due = watch.due();
                return Err(format!(
                    "lane {number} of {session}: the provider was paid {paid}, {due} was due"
                ));
            }
        }
        Ok(())
    }
}

fn length(chunk: &Chunk) -> u32 {
    chunk.tokens.len() as u32
}

impl Checker for NobodyLosesMoreThanAChunk {
    fn name(&self) -> &'static str {
        "nobody_loses_more_than_a_chunk"
    }

    fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        view.facts.iter().for_each(|fact| self.note(fact));
        view.entries.iter().try_for_each(|entry| self.judge(entry, view))
    }
}
