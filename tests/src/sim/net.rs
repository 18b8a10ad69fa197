//! The network: when what is sent arrives, if it does.
//!
//! Streams are ordered and whole, as the transport below the job protocol makes them: frames of one direction
//! never overtake each other and none is lost on its own. What can happen to a stream is delay, a stall, and
//! a break that both ends learn of. What goes without a stream (gossip, requests to the ledger) is lost,
//! repeated and reordered.

use std::collections::BTreeMap;

use super::{atlas::Atlas, clock::Moment, rng::Rng};

/// How long a transport waits for a peer that does not answer before it breaks the stream, in milliseconds.
/// Shorter than the patience of any party, so that a dead link is never taken for a silent provider.
pub const KEEPALIVE_MS: u64 = 2_000;

/// A node of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u16);

/// A stream between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// How bad the network is. Chances are per thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Longest one-way delay of a link, in milliseconds. Each link has its own, for the whole run.
    pub delay_ms: u64,
    /// Most that one message is later than its link's delay, in milliseconds.
    pub jitter_ms: u64,
    /// Chance that a frame breaks its stream.
    pub breaks: u64,
    /// Chance that a frame, and all behind it, is held up.
    pub stalls: u64,
    /// For how long at most, in milliseconds.
    pub stall_ms: u64,
    /// Chance that a message without a stream is lost.
    pub losses: u64,
    /// Chance that it comes twice.
    pub repeats: u64,
}

impl Weather {
    /// Some delay, nothing lost.
    pub const CALM: Self =
        Self { delay_ms: 60, jitter_ms: 10, breaks: 0, stalls: 0, stall_ms: 0, losses: 0, repeats: 0 };
    /// Everything goes wrong now and then.
    pub const STORMY: Self = Self {
        delay_ms: 150,
        jitter_ms: 80,
        breaks: 8,
        stalls: 30,
        stall_ms: 1_500,
        losses: 100,
        repeats: 100,
    };
}

/// Some nodes are cut off from all others for a while, but not from each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Which nodes.
    pub side: Vec<NodeId>,
    /// From when.
    pub from: Moment,
    /// Until when.
    pub until: Moment,
}

impl Partition {
    /// One node is cut off.
    #[must_use]
    pub fn of(node: NodeId, from: Moment, until: Moment) -> Self {
        Self { side: vec![node], from, until }
    }

    fn is_between(&self, a: NodeId, b: NodeId) -> bool {
        self.side.contains(&a) != self.side.contains(&b)
    }
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives then.
    Arrives(Moment),
    /// The stream breaks, and both ends learn it then.
    Breaks(Moment),
}

/// An end of a stream.
#[derive(Clone, Copy, Debug)]
struct End {
    node: NodeId,
    /// Nothing sent to this end arrives before.
    free_at: Moment,
    /// It was told that the stream is over, or ended it itself.
    over: bool,
}

/// The network.
#[derive(Clone, Debug)]
pub struct SimNet {
    seed: u64,
    rng: Rng,
    weather: Weather,
    partitions: Vec<Partition>,
    atlas: Option<Atlas>,
    streams: BTreeMap<StreamId, [End; 2]>,
    opened: u64,
    mishaps: BTreeMap<&'static str, u64>,
}

impl SimNet {
    /// A network without streams.
    #[must_use]
    pub fn new(seed: u64, weather: Weather, partitions: Vec<Partition>) -> Self {
        Self {
            seed,
            rng: Rng::new(seed ^ 0x6e65_7477_6f72_6b73),
            weather,
            partitions,
            atlas: None,
            streams: BTreeMap::new(),
            opened: 0,
            mishaps: BTreeMap::new(),
        }
    }

    /// The same with delays by where the nodes are, in the place of drawn ones.
    #[must_use]
    pub fn over(mut self, atlas: Option<Atlas>) -> Self {
        self.atlas = atlas;
        self
    }

    /// Whether a partition is between the two.
    #[must_use]
    pub fn is_parted(&self, now: Moment, a: NodeId, b: NodeId) -> bool {
        self.clear_at(now, a, b) > now
    }

    /// What went wrong on the way, and how often.
    pub fn mishaps(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.mishaps.iter().map(|(what, count)| (*what, *count))
    }

    fn note(&mut self, what: &'static str) {
        *self.mishaps.entry(what).or_default() += 1;
    }

    /// The fixed part of the one-way delay between two nodes, the same in both directions.
    #[must_use]
    pub fn delay_ms(&self, a: NodeId, b: NodeId) -> u64 {
        if let Some(atlas) = &self.atlas {
            return atlas.delay_ms(a, b);
        }
        let pair = (u64::from(a.0.min(b.0)) << 16) | u64::from(a.0.max(b.0));
        1 + Rng::new(self.seed.rotate_left(17) ^ pair).below(self.weather.delay_ms + 1)
    }

    /// Opens a stream.
    pub fn open(&mut self, from: NodeId, to: NodeId) -> StreamId {
        let id = StreamId(self.opened);
        self.opened += 1;
        let end = |node| End { node, free_at: Moment(0), over: false };
        self.streams.insert(id, [end(from), end(to)]);
        id
    }

    /// Who opened the stream, and who was called; `None` once it is over for both.
    #[must_use]
    pub fn ends(&self, stream: StreamId) -> Option<(NodeId, NodeId)> {
        self.streams.get(&stream).map(|[from, to]| (from.node, to.node))
    }

    /// What becomes of a frame that `from` sends now. `None` if the stream is over for it.
    pub fn frame(&mut self, now: Moment, stream: StreamId, from: NodeId) -> Option<Fate> {
        let (mine, peer) = self.sides(stream, from)?;
        if mine.over {
            return None;
        }
        let clear = self.clear_at(now, from, peer.node);
        if clear.since(now) > KEEPALIVE_MS || self.chance(self.weather.breaks) {
            return Some(Fate::Breaks(clear.min(now.after(KEEPALIVE_MS))));
        }
        Some(Fate::Arrives(self.queue_frame(clear, stream, from, peer)))
    }

    /// When the other end learns that `from` has ended the stream: after all frames on their way. `None` if
    /// it was over.
    pub fn close(&mut self, now: Moment, stream: StreamId, from: NodeId) -> Option<(NodeId, Moment)> {
        let (mine, peer) = self.sides(stream, from)?;
        self.end(stream, from);
        if mine.over || peer.over {
            return None;
        }
        let clear = self.clear_at(now, from, peer.node).min(now.after(KEEPALIVE_MS));
        Some((peer.node, self.queue_frame(clear, stream, from, peer)))
    }

    /// Marks the stream as over for `node`; `false` if it was.
    pub fn end(&mut self, stream: StreamId, node: NodeId) -> bool {
        let Some(ends) = self.streams.get_mut(&stream) else { return false };
        let was_open =
            ends.iter_mut().filter(|end| end.node == node && !end.over).map(|end| end.over = true).count();
        if ends.iter().all(|end| end.over) {
            self.streams.remove(&stream);
        }
        was_open > 0
    }

    /// Whether frames still reach `node` on this stream.
    #[must_use]
    pub fn is_open_for(&self, stream: StreamId, node: NodeId) -> bool {
        let ends = self.streams.get(&stream);
        ends.is_some_and(|ends| ends.iter().any(|end| end.node == node && !end.over))
    }

    /// The streams of a node.
    #[must_use]
    pub fn streams_of(&self, node: NodeId) -> Vec<StreamId> {
        let theirs = self.streams.iter().filter(|(_, ends)| ends.iter().any(|end| end.node == node));
        theirs.map(|(id, _)| *id).collect()
    }

    /// When a message without a stream arrives: never, once or twice.
    pub fn post(&mut self, now: Moment, from: NodeId, to: NodeId) -> Vec<Moment> {
        if self.clear_at(now, from, to) > now {
            self.note("parted");
            return Vec::new();
        }
        if self.chance(self.weather.losses) {
            self.note("lost");
            return Vec::new();
        }
        let copies = if self.chance(self.weather.repeats) { 2 } else { 1 };
        if copies > 1 {
            self.note("duplicate");
        }
        (0..copies).map(|_| now.after(self.travel_ms(from, to))).collect()
    }

    fn sides(&self, stream: StreamId, from: NodeId) -> Option<(End, End)> {
        let [a, b] = *self.streams.get(&stream)?;
        Some(if a.node == from { (a, b) } else { (b, a) })
    }

    fn queue_frame(&mut self, clear: Moment, stream: StreamId, from: NodeId, peer: End) -> Moment {
        let held_ms =
            if self.chance(self.weather.stalls) { self.rng.below(self.weather.stall_ms + 1) } else { 0 };
        if held_ms > 0 {
            self.note("stalled");
        }
        let arrives = clear.after(self.travel_ms(from, peer.node) + held_ms).max(peer.free_at);
        let ends = self.streams.get_mut(&stream).into_iter().flatten();
        ends.filter(|end| end.node == peer.node).for_each(|end| end.free_at = arrives);
        arrives
    }

    fn travel_ms(&mut self, from: NodeId, to: NodeId) -> u64 {
        self.delay_ms(from, to) + self.rng.below(self.weather.jitter_ms + 1)
    }

    /// The first moment from `now` on at which no partition is between the two.
    fn clear_at(&self, now: Moment, a: NodeId, b: NodeId) -> Moment {
        let mut clear = now;
        while let Some(cut) =
            self.partitions.iter().find(|one| one.from <= clear && clear < one.until && one.is_between(a, b))
        {
            clear = cut.until;
        }
        clear
    }

    fn chance(&mut self, per_mille: u64) -> bool {
        per_mille > 0 && self.rng.below(1_000) < per_mille
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    #[test]
    fn frames_of_one_direction_never_overtake_each_other() {
        let mut net = SimNet::new(1, Weather { breaks: 0, ..Weather::STORMY }, Vec::new());
        let stream = net.open(A, B);
        let mut last = Moment(0);
        for ms in 0..500 {
            let Some(Fate::Arrives(at)) = net.frame(Moment(ms), stream, A) else {
                panic!("nothing breaks here")
            };
            assert!(at >= last && at > Moment(ms));
            last = at;
        }
    }

    #[test]
    fn a_short_partition_delays_and_a_long_one_breaks() {
        let cut = |until| Partition::of(A, Moment(100), Moment(until));
        let mut net = SimNet::new(1, Weather::CALM, vec![cut(1_000)]);
        let stream = net.open(A, B);
        assert!(matches!(net.frame(Moment(200), stream, B), Some(Fate::Arrives(at)) if at > Moment(1_000)));
        assert_eq!(net.post(Moment(200), B, A), []);
        let mut net = SimNet::new(1, Weather::CALM, vec![cut(9_000)]);
        let stream = net.open(A, B);
        assert_eq!(net.frame(Moment(200), stream, A), Some(Fate::Breaks(Moment(200 + KEEPALIVE_MS))));
    }

    #[test]
    fn a_stream_is_over_once_both_ends_know() {
        let mut net = SimNet::new(1, Weather::CALM, Vec::new());
        let stream = net.open(A, B);
        assert!(net.close(Moment(5), stream, A).is_some_and(|(peer, at)| peer == B && at > Moment(5)));
        assert_eq!(net.frame(Moment(6), stream, A), None);
        assert!(net.is_open_for(stream, B));
        assert!(net.end(stream, B));
        assert_eq!(net.ends(stream), None);
    }
}
