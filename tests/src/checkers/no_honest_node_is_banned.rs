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

#[cfg(test)]
mod tests {
    use super::{
        super::stage::{CLIENT, LIAR, PROVIDER, Stage},
        *,
    };

    #[test]
    fn an_honest_node_that_is_shut_out_is_found() {
        let stage = Stage::new();
        let banned = |by, whom| {
            let whom = stage.cast[usize::from(whom)].key;
            stage.show(&mut NoHonestNodeIsBanned, &[Fact::Banned { by, whom, why: "over-rate" }])
        };
        assert!(banned(PROVIDER, CLIENT.0).is_err());
        assert_eq!(banned(PROVIDER, LIAR.0), Ok(()), "it deserves it");
        assert_eq!(banned(LIAR, PROVIDER.0), Ok(()), "liars do as they like");
    }
}
