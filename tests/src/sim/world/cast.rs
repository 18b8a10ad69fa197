//! Who is who in a world, and how each node is built.

use gridhour_protocol::signed::PublicKey;

use crate::{
    actors::Actor,
    sim::{
        clock::{Moment, SimClock},
        durable::Cut,
    },
};

/// What a node is in the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Orders transactions.
    Ledger,
    /// Sells.
    Provider,
    /// Buys.
    Client,
    /// Keeps a copy of the ledger.
    Observer,
    /// Has no part in any session.
    Bystander,
}

/// A node as the scenario casts it.
#[derive(Clone, Copy, Debug)]
pub struct Role {
    /// What it does.
    pub part: Part,
    /// Its key and account.
    pub key: PublicKey,
    /// Whether it follows the protocol.
    pub honest: bool,
    /// Whether it comes back after a crash.
    pub returns: bool,
}

impl Role {
    /// Whether the node keeps a journal on a disk, rather than records.
    #[must_use]
    pub fn keeps_journal(&self) -> bool {
        matches!(self.part, Part::Ledger | Part::Observer)
    }
}

/// The power of a node goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// At one of its writes; of who keeps a journal, at one of its disk's operations.
    AtWrite(Cut),
    /// At a moment.
    At(Moment),
}

/// A node and how to build its actor, at the beginning and after every crash.
pub struct NodeSpec {
    /// What it is.
    pub role: Role,
    /// Its clock.
    pub clock: SimClock,
    /// When it leaves, and after how many milliseconds it is back; one after the other.
    pub absences: Vec<(Moment, u64)>,
    /// When its power goes, if it does.
    pub outage: Option<Outage>,
    /// How long it is down then, in milliseconds, if it returns.
    pub down_ms: u64,
    /// Whether a bit of its disk is another one afterwards.
    pub flips_bit: bool,
    /// Builds an actor without memory.
    pub build: Box<dyn Fn() -> Box<dyn Actor>>,
}

impl NodeSpec {
    /// Whether its outages are of the process alone (kill -9): its disk keeps what it was given, synced or not.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        matches!(self.outage, Some(Outage::AtWrite(cut)) if cut.kept)
    }
}
