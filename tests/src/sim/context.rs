//! All that a node can see and do.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use gridhour_protocol::{
    market::{advert::Advert, estimate::Latency},
    session::lane::LaneLedger,
    signed::{PublicKey, Signed},
    units::Timestamp,
    wire,
};

use super::{
    clock::{Moment, SimClock},
    disk::SimDisk,
    durable::{Change, Durable, PowerCut},
    fact::{Fact, Frame},
    ledger_node::{Answer, Request},
    mesh::{Mesh, Packet, When, Whisper, packet_of},
    net::{Fate, NodeId, SimNet, StreamId},
    queue::Queue,
    rng::Rng,
    trace::Trace,
};
use crate::actors::{Alarm, Input, LANE_RECORDS};

/// What is planned.
#[derive(Debug)]
pub(super) enum Event {
    /// A node is told something. With a life, only if it has not crashed since.
    Tell { to: NodeId, life: Option<u32>, input: Input },
    /// A node loses its memory, and starts again after this many milliseconds if ever.
    Crash { node: NodeId, back_after_ms: Option<u64> },
    /// A node starts.
    Start { node: NodeId },
    /// Somebody looks how much every node remembers.
    Sample,
}

/// What all nodes share.
pub(super) struct Shared {
    pub(super) at: Moment,
    pub(super) queue: Queue<Event>,
    pub(super) net: SimNet,
    pub(super) trace: Trace,
    pub(super) facts: Vec<Fact>,
    pub(super) directory: BTreeMap<PublicKey, NodeId>,
    pub(super) ledger: NodeId,
    /// Encoded blocks that the ledger node has made durable, from height 1.
    pub(super) blocks: Vec<Vec<u8>>,
    pub(super) nodes: u16,
    /// Who is up.
    pub(super) up: BTreeSet<NodeId>,
}

impl Shared {
    pub(super) fn tell(&mut self, at: Moment, to: NodeId, input: Input) {
        self.queue.plan(at, Event::Tell { to, life: None, input });
    }

    /// Ends a stream for everyone at `at`.
    pub(super) fn break_stream(&mut self, at: Moment, stream: StreamId) {
        if let Some((a, b)) = self.net.ends(stream) {
            for node in [a, b] {
                self.tell(at, node, Input::Closed { stream });
            }
        }
    }
}

/// What belongs to one node and survives its actor.
pub(super) struct Body {
    pub(super) clock: SimClock,
    pub(super) rng: Rng,
    pub(super) durable: Durable,
    /// Of those who keep a journal.
    pub(super) disk: SimDisk,
    /// Operations on the disks before this one.
    pub(super) operations: u64,
    pub(super) life: u32,
    /// Its network room, as far as adverts go.
    pub(super) mesh: Mesh,
}

impl Body {
    /// The points at which the power can go.
    pub(super) fn writes(&self) -> u64 {
        self.durable.writes() + self.operations + self.disk.operations()
    }
}

/// One node's view of the world while it handles one event.
pub struct Context<'w> {
    pub(super) me: NodeId,
    pub(super) body: &'w mut Body,
    pub(super) shared: &'w mut Shared,
}

impl Context<'_> {
    /// What the node's own clock shows.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.body.clock.read(self.shared.at)
    }

    /// The node itself.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// The node's own random numbers.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.body.rng
    }

    /// The node that has this key.
    #[must_use]
    pub fn node_of(&self, key: &PublicKey) -> Option<NodeId> {
        self.shared.directory.get(key).copied()
    }

    /// What pings to `peer` measure.
    fn latency(&self, peer: NodeId) -> Latency {
        let round_trip_us = 2_000 * self.shared.net.delay_ms(self.me, peer);
        Latency { ewma_us: round_trip_us, p95_us: round_trip_us, samples: 8 }
    }

    /// Pings a peer now; nothing if it does not answer.
    #[must_use]
    pub fn ping(&self, peer: NodeId) -> Option<Latency> {
        let answers =
            self.shared.up.contains(&peer) && !self.shared.net.is_parted(self.shared.at, self.me, peer);
        answers.then(|| self.latency(peer))
    }

    /// Rings once the node's clock shows `at`, unless it crashes before.
    pub fn wake_at(&mut self, at: Timestamp, alarm: Alarm) {
        let moment = self.body.clock.moment_of(at).max(self.shared.at);
        let event = Event::Tell { to: self.me, life: Some(self.body.life), input: Input::Wake(alarm) };
        self.shared.queue.plan(moment, event);
    }

    /// Rings after `ms` milliseconds.
    pub fn wake_in(&mut self, ms: u64, alarm: Alarm) {
        let at = Timestamp(self.now().0.saturating_add(ms));
        self.wake_at(at, alarm);
    }

    /// Opens a stream.
    pub fn open(&mut self, peer: NodeId) -> StreamId {
        self.shared.net.open(self.me, peer)
    }

    /// Sends a frame; nothing happens if the stream is over.
    ///
    /// # Panics
    /// If the frame cannot be decoded again: actors misbehave within the wire format.
    pub fn send(&mut self, stream: StreamId, frame: &Frame) {
        let at = self.shared.at;
        let Some((client, provider)) = self.shared.net.ends(stream) else { return };
        let Some(fate) = self.shared.net.frame(at, stream, self.me) else { return };
        let bytes = frame.encode();
        self.shared.trace.note(at, self.me, frame.name(), &bytes);
        let by_client = client == self.me;
        let frame = Frame::decode(&bytes, by_client).expect("actors say what their peers can read");
        let to = if by_client { provider } else { client };
        self.shared.facts.push(Fact::Said { stream, by: self.me, to, frame: frame.clone() });
        match fate {
            Fate::Arrives(then) => self.shared.tell(then, to, Input::Frame { stream, from: self.me, frame }),
            Fate::Breaks(then) => self.shared.break_stream(then, stream),
        }
    }

    /// Ends a stream. The other end learns it after what was sent before.
    pub fn close(&mut self, stream: StreamId) {
        if let Some((peer, at)) = self.shared.net.close(self.shared.at, stream, self.me) {
            self.shared.tell(at, peer, Input::Closed { stream });
        }
    }

    /// Keeps an advert of the node's own and gossips it.
    pub fn gossip(&mut self, advert: &Signed<Advert>) {
        let packet = packet_of(advert);
        let when = When { at: self.shared.at, now: self.now() };
        self.body.mesh.publish(&packet, when);
        self.murmur(packet);
    }

    /// Brings anything at all to the neighbours, as gossip that came from elsewhere.
    pub fn murmur(&mut self, packet: Rc<Packet>) {
        self.shared.trace.note(self.shared.at, self.me, "gossip", packet.bytes());
        let whisper = Whisper::Advert(packet);
        for peer in self.body.mesh.neighbours(self.shared.at) {
            self.shared.whisper(self.me, peer, &whisper);
        }
    }

    /// Asks the ledger. The answer, if it comes, names `id`.
    pub fn ask(&mut self, id: u64, request: Request) {
        let ledger = self.shared.ledger;
        if let Request::Submit(tx) = &request {
            self.shared.trace.note(self.shared.at, self.me, tx.body.call.name(), &tx.body.id().0);
        }
        for at in self.shared.net.post(self.shared.at, self.me, ledger) {
            let input = Input::Request { from: self.me, id, request: request.clone() };
            self.shared.tell(at, ledger, input);
        }
    }

    /// Answers a request.
    pub fn answer(&mut self, to: NodeId, id: u64, answer: Answer) {
        for at in self.shared.net.post(self.shared.at, self.me, to) {
            self.shared.tell(at, to, Input::Answer { id, answer: answer.clone() });
        }
    }

    /// Writes records, all or none. They are durable when this returns.
    ///
    /// # Errors
    /// If the power goes.
    pub fn save(&mut self, batch: impl IntoIterator<Item = Change>) -> Result<(), PowerCut> {
        self.shared.trace.note(self.shared.at, self.me, "save", &self.body.durable.writes().to_le_bytes());
        let batch: Vec<Change> = batch.into_iter().collect();
        let lanes = batch.iter().filter(|(key, _)| key.starts_with(LANE_RECORDS));
        let lanes: Vec<LaneLedger> =
            lanes.filter_map(|(_, value)| wire::decode(value.as_deref()?).ok()).collect();
        self.body.durable.write(batch)?;
        let saved = lanes.into_iter().map(|lane| Fact::Saved { by: self.me, lane: Box::new(lane) });
        self.shared.facts.extend(saved);
        Ok(())
    }

    /// What was written.
    #[must_use]
    pub fn saved(&self) -> &Durable {
        &self.body.durable
    }

    /// The disk on which the node keeps its journal, if it keeps one.
    #[must_use]
    pub fn disk(&self) -> &SimDisk {
        &self.body.disk
    }

    /// Takes an empty disk in the place of one that is damaged.
    pub fn replace_disk(&mut self) {
        self.body.disk = SimDisk::new(self.body.rng.bits());
    }

    /// Number of blocks that everyone may read.
    #[must_use]
    pub fn published(&self) -> usize {
        self.shared.blocks.len()
    }

    /// The ledger node has made the next block durable: everyone may read it, and it may never be lost again.
    pub fn publish(&mut self, block: Vec<u8>) {
        self.shared.trace.note(self.shared.at, self.me, "block", &block);
        self.shared.blocks.push(block);
    }

    /// Lays a misdeed to the owner of a key.
    pub fn accuse(&mut self, whom: PublicKey, misdeed: &'static str) {
        self.report(Fact::Accused { by: self.me, whom, misdeed });
    }

    /// Lets the world know a fact.
    pub fn report(&mut self, fact: Fact) {
        self.shared.facts.push(fact);
    }
}
