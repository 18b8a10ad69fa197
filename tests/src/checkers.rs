//! What must hold whatever anyone does, checked after every event. Checkers know only facts and the ledger's
//! blocks, never what an actor believes.

use gridhour_contracts_sim::{genesis::Genesis, ledger::entry::Entry};
use gridhour_protocol::{signed::PublicKey, units::Timestamp};

use crate::sim::{
    chronicle::Chronicle,
    fact::Fact,
    net::NodeId,
    world::{Part, Role},
};

pub mod callers_faults_lower_no_score;
pub mod causes_are_true;
pub mod holds_have_deadlines;
pub mod memory_is_flat;
pub mod money_conserved;
pub mod no_dead_node_is_offered;
pub mod no_honest_node_is_banned;
pub mod nobody_loses_more_than_a_chunk;
pub mod nothing_acknowledged_is_lost;
pub mod nothing_sent_before_it_is_saved;
pub mod orders_are_served_or_refunded;
pub mod receipts_paid_once;
pub mod replay_gives_same_root;
#[cfg(test)]
mod stage;

/// The world after one event.
#[derive(Clone, Copy)]
pub struct View<'w> {
    /// The time, by an exact clock.
    pub time: Timestamp,
    /// What happened in it.
    pub facts: &'w [Fact],
    /// What it added to the ledger.
    pub entries: &'w [Entry],
    /// The ledger as its blocks say.
    pub ledger: &'w Chronicle,
    /// Who is who.
    pub cast: &'w [Role],
}

impl View<'_> {
    /// The role of a node.
    #[must_use]
    pub fn role(&self, node: NodeId) -> Option<&Role> {
        self.cast.get(usize::from(node.0))
    }

    /// Whether a provider has this key.
    #[must_use]
    pub fn is_provider(&self, key: &PublicKey) -> bool {
        self.owner(key).is_some_and(|role| role.part == Part::Provider)
    }

    /// The node that has this key.
    #[must_use]
    pub fn node_of(&self, key: &PublicKey) -> Option<NodeId> {
        (0..).map(NodeId).zip(self.cast).find(|(_, role)| role.key == *key).map(|(node, _)| node)
    }

    /// The role of a key's owner.
    #[must_use]
    pub fn owner(&self, key: &PublicKey) -> Option<&Role> {
        self.cast.iter().find(|role| role.key == *key)
    }
}

/// One thing that must hold.
pub trait Checker {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Looks at one event.
    ///
    /// # Errors
    /// With what does not hold.
    fn check(&mut self, view: &View<'_>) -> Result<(), String>;

    /// Looks at the end of the run.
    ///
    /// # Errors
    /// With what does not hold.
    fn finish(&mut self, view: &View<'_>) -> Result<(), String> {
        let _ = view;
        Ok(())
    }
}

/// All checkers of a world with this genesis.
#[must_use]
pub fn all(genesis: &Genesis) -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(replay_gives_same_root::ReplayGivesSameRoot::new(genesis)),
        Box::new(nothing_acknowledged_is_lost::NothingAcknowledgedIsLost),
        Box::new(money_conserved::MoneyConserved::new(genesis)),
        Box::new(holds_have_deadlines::HoldsHaveDeadlines::default()),
        Box::new(receipts_paid_once::ReceiptsPaidOnce::default()),
        Box::new(nothing_sent_before_it_is_saved::NothingSentBeforeItIsSaved::default()),
        Box::new(nobody_loses_more_than_a_chunk::NobodyLosesMoreThanAChunk::default()),
        Box::new(causes_are_true::CausesAreTrue::default()),
        Box::new(orders_are_served_or_refunded::OrdersAreServedOrRefunded::default()),
        Box::new(no_honest_node_is_banned::NoHonestNodeIsBanned),
        Box::new(no_dead_node_is_offered::NoDeadNodeIsOffered::default()),
        Box::new(memory_is_flat::MemoryIsFlat::default()),
        Box::new(callers_faults_lower_no_score::CallersFaultsLowerNoScore::default()),
    ]
}
