//! A world in which nothing happened, to show a checker what it must say no to.

use gridhour_protocol::units::Timestamp;

use super::{Checker, View};
use crate::{
    scenario::Scenario,
    sim::{
        chronicle::Chronicle,
        clock::EPOCH_MS,
        fact::Fact,
        net::NodeId,
        world::{Part, Role},
    },
};

pub(super) const PROVIDER: NodeId = NodeId(1);
pub(super) const CLIENT: NodeId = NodeId(2);
pub(super) const LIAR: NodeId = NodeId(3);

/// Who is there, and an empty ledger.
pub(super) struct Stage {
    ledger: Chronicle,
    pub(super) cast: Vec<Role>,
}

impl Stage {
    pub(super) fn new() -> Self {
        let scenario = Scenario::honest(1, 1, 2);
        let role = |(node, part, honest)| {
            let key = scenario.key(NodeId(node)).public();
            Role { part, key, honest, returns: true }
        };
        let cast = [
            (0, Part::Ledger, true),
            (1, Part::Provider, true),
            (2, Part::Client, true),
            (3, Part::Client, false),
        ];
        Self { ledger: Chronicle::new(scenario.genesis()), cast: cast.map(role).to_vec() }
    }

    pub(super) fn view<'w>(&'w self, ms: u64, facts: &'w [Fact]) -> View<'w> {
        View { time: time(ms), facts, entries: &[], ledger: &self.ledger, cast: &self.cast }
    }

    /// What the checker says of these facts, one after the other, a millisecond apart.
    pub(super) fn show(&self, checker: &mut dyn Checker, facts: &[Fact]) -> Result<(), String> {
        let mut views = (0..).zip(facts);
        views.try_for_each(|(ms, fact)| checker.check(&self.view(ms, std::slice::from_ref(fact))))
    }
}

/// So long after the beginning.
pub(super) fn time(ms: u64) -> Timestamp {
    Timestamp(EPOCH_MS + ms)
}
