//! What a run comes to.

use std::collections::{BTreeMap, BTreeSet};

use gridhour_protocol::{receipt::Cause, signed::PublicKey, units::Height};

use crate::sim::{clock::Moment, fact::Fact, net::NodeId};

/// A checker said no.
#[derive(Clone, Debug, thiserror::Error)]
#[error("seed {seed}, {at} ms: {checker}: {what}\nlast events:\n{tail}")]
pub struct Failure {
    /// The seed of the run.
    pub seed: u64,
    /// When, in milliseconds of simulated time.
    pub at: u64,
    /// Which checker.
    pub checker: &'static str,
    /// What it found.
    pub what: String,
    /// The last events before.
    pub tail: String,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Hash of everything that happened.
    pub trace: [u8; 32],
    /// Number of things that happened.
    pub events: u64,
    /// When it ended, in milliseconds of simulated time.
    pub ended_ms: u64,
    /// Who accused whom of what.
    pub accusations: Vec<(NodeId, PublicKey, &'static str)>,
    /// Whom the ledger refused what, and why.
    pub refusals: Vec<(PublicKey, &'static str, &'static str)>,
    /// Who shut out whom, and what for.
    pub bans: Vec<(NodeId, PublicKey, &'static str)>,
    /// Errands that were delivered, by client.
    pub delivered: BTreeSet<(NodeId, usize)>,
    /// How often each kind of frame was sent and each kind of entry was logged.
    pub counts: BTreeMap<&'static str, u64>,
    /// Writes of each node: the points at which its power can go.
    pub writes: Vec<u64>,
    /// What each account has at the end, in micro-credits.
    pub balances: BTreeMap<PublicKey, u64>,
    /// What is still held at the end, in micro-credits.
    pub held: u64,
}

/// What is counted while a world runs.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) accusations: Vec<(NodeId, PublicKey, &'static str)>,
    pub(super) refusals: Vec<(PublicKey, &'static str, &'static str)>,
    pub(super) bans: Vec<(NodeId, PublicKey, &'static str)>,
    pub(super) delivered: BTreeSet<(NodeId, usize)>,
    pub(super) counts: BTreeMap<&'static str, u64>,
    pub(super) finished: BTreeSet<NodeId>,
    /// How far the copies of observers are that are up.
    pub(super) copies: BTreeMap<NodeId, Height>,
    /// Until then something is planned that should happen.
    pub(super) busy_until: Moment,
}

/// What a receipt with this cause counts as.
const fn written(cause: Cause) -> &'static str {
    match cause {
        Cause::Delivered => "receipt-delivered",
        Cause::ClientFault => "receipt-client-fault",
        Cause::ProviderFault => "receipt-provider-fault",
        Cause::Network => "receipt-network",
        Cause::Reclaimed => "receipt-reclaimed",
    }
}

impl Seen {
    pub(super) fn note(&mut self, fact: &Fact) {
        match fact {
            Fact::Accused { by, whom, misdeed } => self.accusations.push((*by, *whom, misdeed)),
            Fact::Refused { sender, call, why } => self.refusals.push((*sender, call, why.name())),
            Fact::Delivered { by, errand } => {
                self.delivered.insert((*by, *errand));
            }
            Fact::Finished { by } => {
                self.finished.insert(*by);
            }
            // Who crashed may find work again.
            Fact::Crashed { node } => {
                self.finished.remove(node);
                self.copies.remove(node);
                self.count("crash");
            }
            Fact::Copied { by, height, .. } => {
                self.copies.insert(*by, *height);
                self.count("copied");
            }
            Fact::Torn { .. } => self.count("torn-tail"),
            Fact::Damaged { .. } => self.count("damage-named"),
            Fact::LostWrite { .. } => self.count("lost-write"),
            Fact::Said { frame, .. } => self.count(frame.name()),
            Fact::Saved { lane, .. } => {
                if let Some(receipt) = &lane.pending {
                    self.count(written(receipt.body.cause));
                }
            }
            Fact::Banned { by, whom, why } => self.bans.push((*by, *whom, why)),
            Fact::Wanted { .. } => self.count("wanted"),
            Fact::Chose { .. } => self.count("chose"),
            Fact::Learned { failed, .. } => self.count(if *failed { "learned-failed" } else { "learned" }),
            Fact::Size { .. } | Fact::Sampled | Fact::Started { .. } => {}
            Fact::Heard { .. } | Fact::EngineFailed { .. } | Fact::Root { .. } => {}
        }
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }
}
