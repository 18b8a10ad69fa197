//! No honest node shuts out another honest one, whatever passed through it. Of what those do who lie, honest nodes are
//! only carriers.

use super::{Checker, View};
use crate::sim::{fact::Fact, world::Role};

/// Remembers nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHonestNodeIsBanned;

impl Checker for NoHonestNodeIsBanned {
    fn name(&self) -> &'static str {
        "no_honest_node_is_banned"
    }

    fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        for fact in view.facts {
            let Fact::Banned { by, whom, why } = fact else { continue };
            let is_honest = |role: Option<&Role>| role.is_some_and(|role| role.honest);
            if is_honest(view.role(*by)) && is_honest(view.owner(whom)) {
                return Err(format!("node {} shut out honest {} for {why}", by.0, whom.short()));
            }
        }
        Ok(())
    }
}
