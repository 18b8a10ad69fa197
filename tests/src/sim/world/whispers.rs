//! Gossip on its way: from room to room, and from a node's room to the node.

use std::rc::Rc;

use super::{Part, World};
use crate::{
    actors::Input,
    sim::{
        context::{Context, Shared},
        durable::PowerCut,
        fact::Fact,
        mesh::{Heard, Packet, When, Whisper},
        net::NodeId,
    },
};

impl Shared {
    /// Sends something to one neighbour: perhaps it comes late, twice or never.
    pub(in crate::sim) fn whisper(&mut self, from: NodeId, to: NodeId, whisper: &Whisper) {
        for at in self.net.post(self.at, from, to) {
            self.tell(at, to, Input::Whisper { from, whisper: whisper.clone() });
        }
    }
}

impl World {
    fn when(&self, node: NodeId) -> When {
        When { at: self.shared.at, now: self.nodes[usize::from(node.0)].body.clock.read(self.shared.at) }
    }

    /// A node that has just started says so to its neighbours.
    pub(super) fn greet(&mut self, id: NodeId) {
        self.tell_neighbours(id, id, &Whisper::Hello);
    }

    fn tell_neighbours(&mut self, id: NodeId, but: NodeId, whisper: &Whisper) {
        let body = &self.nodes[usize::from(id.0)].body;
        for peer in body.mesh.neighbours(self.shared.at).filter(|peer| *peer != but) {
            self.shared.whisper(id, peer, whisper);
        }
    }

    /// A node that is up hears its neighbour.
    pub(super) fn hear_whisper(&mut self, to: NodeId, from: NodeId, whisper: Whisper) {
        match whisper {
            Whisper::Advert(packet) => self.hear_packet(to, from, &packet),
            Whisper::Push(packets) => {
                let (when, key) = (self.when(to), self.cast[usize::from(from.0)].key);
                let mesh = &mut self.nodes[usize::from(to.0)].body.mesh;
                for heard in mesh.hear_push((from, key), &packets, when) {
                    self.take_in(to, from, heard);
                }
            }
            Whisper::Hello => {
                let when = self.when(to);
                let offered = self.nodes[usize::from(to.0)].body.mesh.offered(when.now);
                self.shared.whisper(to, from, &Whisper::Push(offered));
            }
        }
    }

    fn hear_packet(&mut self, to: NodeId, from: NodeId, packet: &Rc<Packet>) {
        let (when, key) = (self.when(to), self.cast[usize::from(from.0)].key);
        let heard = self.nodes[usize::from(to.0)].body.mesh.hear((from, key), packet, when);
        if heard.is_news {
            self.shared.trace.note(self.shared.at, to, "advert", packet.id());
            self.take_in(to, from, heard);
        }
    }

    /// What a node's room lets through goes to the node and to the other neighbours.
    fn take_in(&mut self, to: NodeId, from: NodeId, Heard { forward, kept, banned, .. }: Heard) {
        if let Some(why) = banned {
            let whom = self.cast[usize::from(from.0)].key;
            self.shared.facts.push(Fact::Banned { by: to, whom, why });
        }
        if let Some(packet) = forward {
            self.tell_neighbours(to, from, &Whisper::Advert(packet));
        }
        if let Some(packet) = kept {
            self.hand_over(to, Input::Gossip(packet));
        }
    }

    /// Tells a node something, if it is up.
    pub(super) fn hand_over(&mut self, to: NodeId, input: Input) {
        let node = &mut self.nodes[usize::from(to.0)];
        let Some(mut actor) = node.actor.take() else { return };
        let mut cx = Context { me: to, body: &mut node.body, shared: &mut self.shared };
        let outcome: Result<(), PowerCut> = actor.hear(input, &mut cx);
        self.put_back(to, actor, outcome);
    }

    /// Counts of how many honest providers that are up every honest node that is up could know, and of how many it does.
    fn count_offers(&mut self) {
        let honest: Vec<NodeId> =
            self.shared.up.iter().copied().filter(|id| self.cast[usize::from(id.0)].honest).collect();
        let is_provider = |id: &&NodeId| self.cast[usize::from(id.0)].part == Part::Provider;
        let (mut there, mut known) = (0, 0);
        for provider in honest.iter().filter(is_provider) {
            let key = self.cast[usize::from(provider.0)].key;
            let knows =
                |id: &&NodeId| self.nodes[usize::from(id.0)].body.mesh.knows(&key, self.when(**id).now);
            there += honest.len() as u64;
            known += honest.iter().filter(knows).count() as u64;
        }
        *self.seen.counts.entry("offer-there").or_default() += there;
        *self.seen.counts.entry("offer-known").or_default() += known;
    }

    /// Looks how much every node that is up remembers, and knows.
    pub(super) fn sample(&mut self) {
        self.count_offers();
        for id in (0..self.shared.nodes).map(NodeId) {
            let when = self.when(id);
            let node = &mut self.nodes[usize::from(id.0)];
            let Some(actor) = &node.actor else { continue };
            let tables = node.body.mesh.tidy(when).into_iter().chain(actor.sizes());
            let sizes = tables.map(|(table, entries, most)| Fact::Size { node: id, table, entries, most });
            self.shared.facts.extend(sizes);
        }
        self.shared.facts.push(Fact::Sampled);
    }
}
