//! The network room of a node, as far as it knows adverts: what came from whom, what is passed on, who is shut out.
//!
//! It decides with the functions and tables that a real node decides with (`node::net`): [`gossip`], [`AdvertTable`],
//! [`PeerScores`]. What gossipsub does between them is made up: neighbours are fixed, a message is passed on once to all of
//! them but the one that brought it, and what was seen lately is dropped unread.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
    time::{Duration, Instant},
};

use gridhour_node::net::{
    advert_table::AdvertTable,
    gossip::{self, Refusal},
    limits::{ADVERTS_MAX, BAN, BANS_MAX, PEERS_TRACKED_MAX},
    passing_on::{Passage, PassingOn},
    peer_score::{Offence, PeerScores, Rate},
};
use gridhour_protocol::{
    id::NetworkId,
    market::advert::Advert,
    merkle::Hash,
    signed::{PublicKey, Signed, Verified},
    units::Timestamp,
    wire,
};

use super::{clock::Moment, net::NodeId, rng::Rng};

/// How long a message that was seen is known again: as gossipsub does.
const SEEN_MS: u64 = 60_000;
/// Messages that are known again, at most.
pub const SEEN_MAX: usize = 16_384;

/// An advert as it was read, and what its proofs come to.
type Read = (Signed<Advert>, Result<Verified<Advert>, Refusal>);

/// Bytes on their way, and what follows from them alone, worked out once for all who read them.
#[derive(Debug)]
pub struct Packet {
    bytes: Vec<u8>,
    id: Hash,
    read: Result<Read, Refusal>,
}

impl Packet {
    /// These bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Rc<Self> {
        let id = *blake3::hash(&bytes).as_bytes();
        let read = gossip::read(&bytes).map(|signed| (signed.clone(), gossip::check_proofs(signed)));
        Rc::new(Self { bytes, id, read })
    }

    /// Their hash, by which a message that was seen is known again.
    #[must_use]
    pub fn id(&self) -> &Hash {
        &self.id
    }

    /// The advert, if the bytes are one that somebody answers for.
    #[must_use]
    pub fn advert(&self) -> Option<&Verified<Advert>> {
        self.read.as_ref().ok()?.1.as_ref().ok()
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What nodes tell each other of adverts.
#[derive(Clone, Debug)]
pub enum Whisper {
    /// One advert.
    Advert(Rc<Packet>),
    /// Whoever says this has just come, and wants to be told what is offered.
    Hello,
    /// What is offered, for someone who has just come.
    Push(Vec<Rc<Packet>>),
}

/// When something is heard.
#[derive(Clone, Copy, Debug)]
pub struct When {
    /// True time.
    pub at: Moment,
    /// What the node's clock shows.
    pub now: Timestamp,
}

/// What became of a message.
#[derive(Debug, Default)]
pub struct Heard {
    /// It was not heard before.
    pub is_news: bool,
    /// To be passed on.
    pub forward: Option<Rc<Packet>>,
    /// It is kept, and to be told to the node.
    pub kept: Option<Rc<Packet>>,
    /// The peer that brought it has just been shut out.
    pub banned: Option<&'static str>,
}

/// The network room of one node. It is lost in a crash.
#[derive(Debug)]
pub struct Mesh {
    network: NetworkId,
    /// What true time 0 is to tables that count by a process's own clock.
    origin: Instant,
    neighbours: Vec<NodeId>,
    table: AdvertTable,
    packets: BTreeMap<PublicKey, Rc<Packet>>,
    scores: PeerScores,
    passing_on: PassingOn,
    seen: BTreeSet<Hash>,
    seen_at: VecDeque<(Moment, Hash)>,
    bans: BTreeMap<NodeId, Moment>,
}

impl Mesh {
    /// A room that knows nothing yet.
    #[must_use]
    pub fn new(network: NetworkId, neighbours: Vec<NodeId>) -> Self {
        Self {
            network,
            origin: Instant::now(),
            neighbours,
            table: AdvertTable::default(),
            packets: BTreeMap::new(),
            scores: PeerScores::default(),
            passing_on: PassingOn::default(),
            seen: BTreeSet::new(),
            seen_at: VecDeque::new(),
            bans: BTreeMap::new(),
        }
    }

    /// The same node after a crash.
    #[must_use]
    pub fn forgotten(&self) -> Self {
        Self::new(self.network, self.neighbours.clone())
    }

    /// With whom it gossips: those whom it has not shut out.
    pub fn neighbours(&self, at: Moment) -> impl Iterator<Item = NodeId> {
        let is_banned = move |peer: &NodeId| self.bans.get(peer).is_some_and(|until| at < *until);
        self.neighbours.iter().copied().filter(move |peer| !is_banned(peer))
    }

    /// Keeps an advert of the node's own.
    pub fn publish(&mut self, packet: &Rc<Packet>, when: When) {
        let Ok(advert) = self.judge(packet, when.now) else { return };
        self.note_seen(packet.id, when.at);
        if self.table.make_room(&advert.provider, None, when.now).is_ok() {
            self.keep(advert, packet, None, when.now);
        }
    }

    /// All live adverts, for a neighbour that has just come.
    #[must_use]
    pub fn offered(&self, now: Timestamp) -> Vec<Rc<Packet>> {
        let live = self.table.live(now).into_iter();
        live.filter_map(|advert| self.packets.get(&advert.provider).cloned()).collect()
    }

    /// Whether it has an offer of the provider's that is not over.
    #[must_use]
    pub fn knows(&self, provider: &PublicKey, now: Timestamp) -> bool {
        let advert = self.packets.get(provider).and_then(|packet| packet.advert());
        advert.is_some_and(|advert| advert.is_live(now))
    }

    /// Hears one advert from a neighbour.
    pub fn hear(&mut self, (from, key): (NodeId, PublicKey), packet: &Rc<Packet>, when: When) -> Heard {
        if !self.note_seen(packet.id, when.at) || !self.neighbours(when.at).any(|peer| peer == from) {
            return Heard::default();
        }
        let instant = self.instant(when.at);
        let admitted = self.scores.admit(key, Rate::Gossip, instant);
        let over_rate = if admitted { None } else { self.charge((from, key), Offence::OverRate, when.at) };
        let is_known = |advert: &Verified<Advert>| self.table.newest(&advert.provider).is_some();
        let is_renewal = packet.advert().is_some_and(is_known);
        let heard = self.judged((from, key), packet, when);
        let kept = heard.kept.as_ref().and_then(|kept| kept.advert());
        let passage = kept.map(|advert| Passage { bringer: key, provider: advert.provider, is_renewal });
        let passes_on = passage.is_some_and(|passage| self.passing_on.take(passage, instant));
        Heard { banned: over_rate.or(heard.banned), forward: passes_on.then(|| packet.clone()), ..heard }
    }

    /// Hears all that a neighbour knows. A real node also passes that on, slowly; here the next renewal does.
    pub fn hear_push(
        &mut self,
        (from, key): (NodeId, PublicKey),
        packets: &[Rc<Packet>],
        when: When,
    ) -> Vec<Heard> {
        let bytes = packets.iter().map(|packet| packet.bytes().len()).sum();
        if !self.neighbours(when.at).any(|peer| peer == from) {
            return Vec::new();
        }
        if !self.scores.admit_push(key, Rate::PushIn, bytes, self.instant(when.at)) {
            let banned = self.charge((from, key), Offence::OverRate, when.at);
            return vec![Heard { banned, ..Heard::default() }];
        }
        packets.iter().map(|packet| self.judged((from, key), packet, when)).collect()
    }

    fn instant(&self, at: Moment) -> Instant {
        self.origin + Duration::from_millis(at.0)
    }

    /// Judges what a neighbour brought: keeps it, or charges for it.
    fn judged(&mut self, (from, key): (NodeId, PublicKey), packet: &Rc<Packet>, when: When) -> Heard {
        let heard = Heard { is_news: true, ..Heard::default() };
        match self.take(packet, key, when.now) {
            Ok(()) => Heard { kept: Some(packet.clone()), ..heard },
            Err(refusal) => {
                Heard { banned: self.charge((from, key), Offence::Advert(refusal), when.at), ..heard }
            }
        }
    }

    fn take(&mut self, packet: &Rc<Packet>, from: PublicKey, now: Timestamp) -> Result<(), Refusal> {
        let advert = self.judge(packet, now)?;
        self.table.make_room(&advert.provider, Some(from), now)?;
        self.keep(advert, packet, Some(from), now);
        Ok(())
    }

    /// As [`gossip::validate`] does, but for what follows from the bytes alone, which the packet knows.
    fn judge(&self, packet: &Packet, now: Timestamp) -> Result<Verified<Advert>, Refusal> {
        let (signed, proofs) = packet.read.as_ref().map_err(|refusal| *refusal)?;
        gossip::check_claims(&signed.body, &self.network, now, |provider| self.table.newest(provider))?;
        proofs.clone()
    }

    fn keep(
        &mut self,
        advert: Verified<Advert>,
        packet: &Rc<Packet>,
        from: Option<PublicKey>,
        now: Timestamp,
    ) {
        self.packets.insert(advert.provider, packet.clone());
        self.table.insert(advert, from, now);
    }

    /// Charges a neighbour; says why it is shut out if it is from now on.
    fn charge(
        &mut self,
        (from, key): (NodeId, PublicKey),
        offence: Offence,
        at: Moment,
    ) -> Option<&'static str> {
        if !self.scores.charge(key, offence, self.instant(at)) {
            return None;
        }
        if self.bans.len() >= BANS_MAX {
            self.bans.pop_first();
        }
        let was_banned =
            self.bans.insert(from, at.after(BAN.as_millis() as u64)).is_some_and(|until| at < until);
        (!was_banned).then_some(match offence {
            Offence::OverRate => "over-rate",
            _ => "bad-gossip",
        })
    }

    /// `false` if it was seen lately.
    fn note_seen(&mut self, id: Hash, at: Moment) -> bool {
        while self
            .seen_at
            .front()
            .is_some_and(|(then, _)| at.since(*then) > SEEN_MS || self.seen_at.len() >= SEEN_MAX)
        {
            let old = self.seen_at.pop_front();
            old.map(|(_, id)| self.seen.remove(&id));
        }
        let is_new = self.seen.insert(id);
        if is_new {
            self.seen_at.push_back((at, id));
        }
        is_new
    }

    /// Forgets what can no longer matter, as a node does now and then, and tells how much is remembered: table by table
    /// with the most that may be.
    pub fn tidy(&mut self, when: When) -> [(&'static str, usize, usize); 4] {
        self.table.forget(when.now);
        self.packets.retain(|provider, _| self.table.newest(provider).is_some());
        self.bans.retain(|_, until| when.at < *until);
        [
            ("adverts", self.table.len(), ADVERTS_MAX),
            ("scores", self.scores.len(), PEERS_TRACKED_MAX),
            ("seen", self.seen.len(), SEEN_MAX),
            ("bans", self.bans.len(), BANS_MAX),
        ]
    }
}

/// Who gossips with whom: each with the next one in a ring and with some drawn at random, about `degree` in all; everyone
/// with everyone where there are no more.
#[must_use]
pub fn neighbourhood(seed: u64, nodes: u16, degree: usize) -> Vec<Vec<NodeId>> {
    let mut links = BTreeSet::new();
    let mut rng = Rng::new(seed ^ 0x6d65_7368);
    let mut link = |a: u16, b: u16| {
        if a != b {
            links.insert((a, b));
            links.insert((b, a));
        }
    };
    for a in 0..nodes {
        if usize::from(nodes) <= degree + 1 {
            (0..nodes).for_each(|b| link(a, b));
        } else {
            link(a, (a + 1) % nodes);
            (0..degree / 2 - 1).for_each(|_| link(a, rng.below(u64::from(nodes)) as u16));
        }
    }
    let of = |a: u16| links.range((a, 0)..=(a, u16::MAX)).map(|(_, b)| NodeId(*b)).collect();
    (0..nodes).map(of).collect()
}

/// The packet of a signed advert.
#[must_use]
pub fn packet_of(advert: &Signed<Advert>) -> Rc<Packet> {
    Packet::new(wire::encode(advert))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_know_each_other_and_all_are_connected() {
        for (nodes, degree) in [(1, 6), (5, 6), (200, 6)] {
            let mesh = neighbourhood(7, nodes, degree);
            let mut reached = BTreeSet::from([NodeId(0)]);
            let mut next = vec![NodeId(0)];
            while let Some(at) = next.pop() {
                let peers = &mesh[usize::from(at.0)];
                assert!(peers.iter().all(|peer| mesh[usize::from(peer.0)].contains(&at) && *peer != at));
                next.extend(peers.iter().filter(|peer| reached.insert(**peer)));
            }
            assert_eq!(reached.len(), usize::from(nodes));
        }
    }
}
