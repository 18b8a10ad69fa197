//! Whoever replays the blocks arrives at the state of whoever made them, and at the same refusals of anything
//! else.

use gridhour_contracts_sim::{
    block::{Signatures, verify_and_apply},
    genesis::Genesis,
    state::State,
};

use super::{Checker, View};
use crate::sim::{chronicle::read_block, fact::Fact};

/// The beginning, from which the end of a run is replayed once more with every signature.
#[derive(Clone, Debug)]
pub struct ReplayGivesSameRoot {
    genesis: Genesis,
}

impl ReplayGivesSameRoot {
    /// For a ledger with this genesis.
    #[must_use]
    pub fn new(genesis: &Genesis) -> Self {
        Self { genesis: genesis.clone() }
    }
}

impl Checker for ReplayGivesSameRoot {
    fn name(&self) -> &'static str {
        "replay_gives_same_root"
    }

    fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        for fact in view.facts {
            let (whose, height, root) = match fact {
                Fact::Root { height, root } => ("the ledger node".into(), height, root),
                Fact::Copied { by, height, root } => (format!("the copy of node {}", by.0), height, root),
                _ => continue,
            };
            if view.ledger.root_at(*height) != Some(root) {
                return Err(format!("at height {} {whose} has another root than the blocks", height.0));
            }
        }
        Ok(())
    }

    fn finish(&mut self, view: &View<'_>) -> Result<(), String> {
        let mut state = State::new(self.genesis.clone())?;
        for bytes in view.ledger.blocks() {
            verify_and_apply(&mut state, read_block(bytes), Signatures::Check)
                .map_err(|finding| finding.to_string())?;
        }
        if state != *view.ledger.state() {
            return Err("replay with signatures gives another state".into());
        }
        let loaded =
            State::from_records(self.genesis.clone(), records(&state)).map_err(|error| error.to_string())?;
        if loaded == state { Ok(()) } else { Err("the state's records give another state".into()) }
    }
}

fn records(state: &State) -> Vec<(Vec<u8>, Vec<u8>)> {
    let all = state.records().into_iter();
    all.filter_map(|(key, value)| Some((key, value?))).collect()
}
