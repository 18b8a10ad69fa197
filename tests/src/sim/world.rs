//! The loop: one event after the other, every checker after each in which anything happened.

use std::collections::BTreeSet;

use gridhour_contracts_sim::genesis::Genesis;

use super::{
    chronicle::Chronicle,
    clock::{Moment, SimClock},
    context::{Body, Context, Event, Shared},
    disk::SimDisk,
    durable::{Durable, PowerCut},
    fact::Fact,
    mesh::{Mesh, neighbourhood},
    net::{NodeId, SimNet},
    queue::Queue,
    rng::Rng,
    trace::Trace,
};
use crate::{
    actors::{Actor, Input},
    checkers::{self, Checker, View},
};

pub use self::{
    cast::{NodeSpec, Outage, Part, Role},
    land::Land,
    report::{Failure, Report},
};

mod cast;
mod land;
mod report;
mod whispers;

use report::Seen;

/// Time between two looks at how much is remembered, in milliseconds.
const SAMPLE_MS: u64 = 60_000;

struct Node {
    spec: NodeSpec,
    body: Body,
    actor: Option<Box<dyn Actor>>,
}

/// The world.
pub struct World {
    seed: u64,
    nodes: Vec<Node>,
    cast: Vec<Role>,
    shared: Shared,
    chronicle: Chronicle,
    checkers: Vec<Box<dyn Checker>>,
    seen: Seen,
    horizon_ms: u64,
    /// The second in which checkers looked last.
    looked: u64,
}

impl World {
    /// A world of these nodes; the first is the ledger.
    ///
    /// # Panics
    /// If the genesis is unsound or there are too many nodes: the scenario is wrong.
    #[must_use]
    pub fn new(seed: u64, genesis: Genesis, nodes: Vec<NodeSpec>, land: Land) -> Self {
        let cast: Vec<Role> = nodes.iter().map(|spec| spec.role).collect();
        let directory = (0..).map(NodeId).zip(&cast).map(|(id, role)| (role.key, id)).collect();
        let busy_until = land.partitions.iter().map(|one| one.until).max().unwrap_or(Moment(0));
        let count = u16::try_from(nodes.len()).expect("a scenario has few nodes");
        let (network, circles) = (genesis.id(), neighbourhood(seed, count, land.degree));
        let meshes = circles.into_iter().map(|circle| Mesh::new(network, circle));
        let node = |((at, spec), mesh)| Node::new(seed, at, spec, mesh);
        let mut world = Self {
            seed,
            shared: Shared {
                at: Moment(0),
                queue: Queue::default(),
                net: SimNet::new(seed, land.weather, land.partitions).over(land.atlas),
                trace: Trace::default(),
                facts: Vec::new(),
                directory,
                ledger: NodeId(0),
                blocks: Vec::new(),
                nodes: count,
                up: BTreeSet::new(),
            },
            chronicle: Chronicle::new(genesis.clone()),
            checkers: checkers::all(&genesis),
            seen: Seen { busy_until, ..Seen::default() },
            nodes: nodes.into_iter().enumerate().zip(meshes).map(node).collect(),
            cast,
            horizon_ms: land.horizon_ms,
            looked: 0,
        };
        world.plan_beginning();
        world
    }

    fn plan_beginning(&mut self) {
        self.shared.queue.plan(Moment(SAMPLE_MS), Event::Sample);
        for (id, node) in (0..).map(NodeId).zip(&self.nodes) {
            self.shared.queue.plan(Moment(0), Event::Start { node: id });
            for (leaves, down_ms) in &node.spec.absences {
                self.shared.queue.plan(*leaves, Event::Crash { node: id, back_after_ms: Some(*down_ms) });
            }
            if let Some(Outage::At(moment)) = node.spec.outage {
                let back_after_ms = node.spec.role.returns.then_some(node.spec.down_ms);
                self.shared.queue.plan(moment, Event::Crash { node: id, back_after_ms });
                self.seen.busy_until = self.seen.busy_until.max(moment.after(node.spec.down_ms));
            }
        }
    }

    /// Runs until everyone is done and nothing is held, or to the horizon.
    ///
    /// # Errors
    /// With the first thing that a checker finds.
    pub fn run(mut self) -> Result<Report, Failure> {
        while let Some((at, event)) = self.shared.queue.pop() {
            if at > Moment(self.horizon_ms) || self.is_over() {
                break;
            }
            self.shared.at = at;
            self.happen(event);
            self.check()?;
        }
        self.check_end()?;
        Ok(self.report())
    }

    /// Whether every client is done and nothing is held; a client that never returns counts as done.
    fn is_over(&self) -> bool {
        let waits = |(id, role): (NodeId, &Role)| {
            role.part == Part::Client && role.returns && !self.seen.finished.contains(&id)
        };
        let clients_wait = (0..).map(NodeId).zip(&self.cast).any(waits);
        let holds = self.chronicle.state().sessions().next().is_some();
        self.shared.at > self.seen.busy_until && !clients_wait && !holds && self.copies_are_level()
    }

    /// Whether every observer that is to come back has all blocks.
    fn copies_are_level(&self) -> bool {
        let height = self.chronicle.state().tip().height;
        let is_behind = |(id, role): (NodeId, &Role)| {
            role.part == Part::Observer && role.returns && self.seen.copies.get(&id) != Some(&height)
        };
        !(0..).map(NodeId).zip(&self.cast).any(is_behind)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start { node } => self.start(node),
            Event::Crash { node, back_after_ms } => self.crash(node, back_after_ms),
            Event::Tell { to, life, input } => self.tell(to, life, input),
            Event::Sample => {
                self.sample();
                self.shared.queue.plan(self.shared.at.after(SAMPLE_MS), Event::Sample);
            }
        }
    }

    fn start(&mut self, id: NodeId) {
        self.shared.trace.note(self.shared.at, id, "start", &[]);
        let node = &mut self.nodes[usize::from(id.0)];
        let mut actor = (node.spec.build)();
        let mut cx = Context { me: id, body: &mut node.body, shared: &mut self.shared };
        let outcome = actor.start(&mut cx);
        self.shared.up.insert(id);
        self.shared.facts.push(Fact::Started { node: id });
        self.put_back(id, actor, outcome);
        if self.shared.up.contains(&id) {
            self.greet(id);
        }
    }

    fn tell(&mut self, to: NodeId, life: Option<u32>, input: Input) {
        let node = &mut self.nodes[usize::from(to.0)];
        if life.is_some_and(|life| life != node.body.life) || !self.shared.arrives(to, &input) {
            return;
        }
        if node.actor.is_none() {
            self.shared.bounce(&input);
            return;
        }
        if let Input::Whisper { from, whisper } = input {
            return self.hear_whisper(to, from, whisper);
        }
        self.shared.trace.note(self.shared.at, to, input.name(), &[]);
        if let Input::Frame { stream, frame, .. } = &input {
            self.shared.facts.push(Fact::Heard { stream: *stream, by: to, frame: frame.clone() });
        }
        self.hand_over(to, input);
    }

    fn put_back(&mut self, id: NodeId, actor: Box<dyn Actor>, outcome: Result<(), PowerCut>) {
        let node = &mut self.nodes[usize::from(id.0)];
        match outcome {
            Ok(()) => node.actor = Some(actor),
            Err(PowerCut) => {
                let back_after_ms = node.spec.role.returns.then_some(node.spec.down_ms);
                self.crash(id, back_after_ms);
            }
        }
    }

    /// The node's memory is lost, its streams break, its alarms never ring.
    fn crash(&mut self, id: NodeId, back_after_ms: Option<u64>) {
        let at = self.shared.at;
        self.shared.trace.note(at, id, "crash", &[]);
        self.shared.facts.push(Fact::Crashed { node: id });
        let node = &mut self.nodes[usize::from(id.0)];
        node.actor = None;
        node.body.life += 1;
        node.body.mesh = node.body.mesh.forgotten();
        self.shared.up.remove(&id);
        let before = node.body.disk.contents();
        if node.spec.is_killed() {
            node.body.disk.restore_power();
        } else {
            node.body.operations += node.body.disk.operations();
            node.body.disk = node.body.disk.after_power_cut();
        }
        if node.body.disk.contents() != before {
            self.shared.facts.push(Fact::LostWrite { node: id });
        }
        if node.spec.flips_bit && node.body.disk.flip_bit(node.body.rng.bits()) {
            self.seen.count("bit-flip");
        }
        for stream in self.shared.net.streams_of(id) {
            let noticed = at.after(node.body.rng.below(1_000));
            self.shared.break_stream(noticed, stream);
            self.shared.net.end(stream, id);
        }
        if let Some(ms) = back_after_ms {
            self.shared.queue.plan(at.after(ms), Event::Start { node: id });
            self.seen.busy_until = self.seen.busy_until.max(at.after(ms));
        }
    }

    /// Lets every checker look at what happened; where nothing did, once in a second, as time alone may break a deadline.
    fn check(&mut self) -> Result<(), Failure> {
        let second = self.shared.at.0 / 1_000;
        let is_quiet =
            self.shared.facts.is_empty() && self.shared.blocks.len() == self.chronicle.blocks().len();
        if is_quiet && second == self.looked {
            return Ok(());
        }
        self.looked = second;
        let facts = std::mem::take(&mut self.shared.facts);
        facts.iter().for_each(|fact| self.seen.note(fact));
        let entries = self.chronicle.follow(&self.shared.blocks).map_err(|finding| {
            self.failure("replay_gives_same_root", format!("a durable block breaks a rule: {finding}"))
        })?;
        entries.iter().for_each(|entry| self.seen.count(entry.event.name()));
        let time = SimClock::default().read(self.shared.at);
        let view = View { time, facts: &facts, entries: &entries, ledger: &self.chronicle, cast: &self.cast };
        let mut found = None;
        for checker in &mut self.checkers {
            if let Err(what) = checker.check(&view) {
                found = Some((checker.name(), what));
                break;
            }
        }
        found.map_or(Ok(()), |(checker, what)| Err(self.failure(checker, what)))
    }

    fn check_end(&mut self) -> Result<(), Failure> {
        if !self.copies_are_level() {
            let copies = &self.seen.copies;
            return Err(self.failure("copies_end_level", format!("at the end the copies are at {copies:?}")));
        }
        let time = SimClock::default().read(self.shared.at);
        let view = View { time, facts: &[], entries: &[], ledger: &self.chronicle, cast: &self.cast };
        let said = self.checkers.iter_mut().map(|checker| (checker.name(), checker.finish(&view)));
        let found = said.filter_map(|(name, said)| Some((name, said.err()?))).next();
        found.map_or(Ok(()), |(checker, what)| Err(self.failure(checker, what)))
    }

    fn failure(&self, checker: &'static str, what: String) -> Failure {
        Failure { seed: self.seed, at: self.shared.at.0, checker, what, tail: self.shared.trace.tail() }
    }

    fn report(mut self) -> Report {
        for (what, count) in self.shared.net.mishaps() {
            *self.seen.counts.entry(what).or_default() += count;
        }
        let state = self.chronicle.state();
        Report {
            trace: self.shared.trace.digest(),
            events: self.shared.trace.events(),
            ended_ms: self.shared.at.0,
            accusations: self.seen.accusations,
            refusals: self.seen.refusals,
            bans: self.seen.bans,
            delivered: self.seen.delivered,
            counts: self.seen.counts,
            writes: self.nodes.iter().map(|node| node.body.writes()).collect(),
            balances: state.accounts().map(|(key, balance)| (*key, balance.0)).collect(),
            held: state.tip().totals.holds.0,
        }
    }
}

impl Shared {
    /// Whether an input still reaches its node, which for streams depends on what that node was told before.
    fn arrives(&mut self, to: NodeId, input: &Input) -> bool {
        match input {
            Input::Closed { stream } => self.net.end(*stream, to),
            Input::Frame { stream, .. } => self.net.is_open_for(*stream, to),
            _ => true,
        }
    }

    /// A node that is down breaks the streams on which it is called; everything else is lost.
    fn bounce(&mut self, input: &Input) {
        if let Input::Frame { stream, .. } = input {
            self.break_stream(self.at.after(1), *stream);
        }
    }
}

impl Node {
    fn new(seed: u64, at: usize, spec: NodeSpec, mesh: Mesh) -> Self {
        let cut = match spec.outage {
            Some(Outage::AtWrite(cut)) => Some(cut),
            _ => None,
        };
        let rng = Rng::new(seed.wrapping_mul(0x9e37_79b9).wrapping_add(at as u64 + 1));
        let kept = cut.is_some_and(|cut| cut.kept);
        let disk = SimDisk::new(seed.wrapping_mul(31).wrapping_add(2 * at as u64 + u64::from(kept)));
        // Who keeps a journal writes nothing else.
        let durable = if spec.role.keeps_journal() {
            cut.into_iter().for_each(|cut| disk.cut_power_at(cut.at));
            Durable::default()
        } else {
            Durable::new(cut)
        };
        let body = Body { clock: spec.clock, rng, durable, disk, operations: 0, life: 0, mesh };
        Self { spec, body, actor: None }
    }
}
