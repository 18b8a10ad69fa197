//! An honest client chooses nobody who is gone for longer than an advert lives, and no advert that is over.

use std::collections::BTreeMap;

use gridhour_protocol::{
    limits::ADVERT_TTL_MS_MAX,
    units::{Millis, Timestamp},
};

use super::{Checker, View};
use crate::sim::{fact::Fact, net::NodeId};

/// How far two clocks may be apart.
const CLOCKS: Millis = Millis(8_000);

/// Since when nodes are gone.
#[derive(Clone, Debug, Default)]
pub struct NoDeadNodeIsOffered {
    gone: BTreeMap<NodeId, Timestamp>,
}

impl Checker for NoDeadNodeIsOffered {
    fn name(&self) -> &'static str {
        "no_dead_node_is_offered"
    }

    fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        for fact in view.facts {
            match fact {
                Fact::Crashed { node } => {
                    self.gone.entry(*node).or_insert(view.time);
                }
                Fact::Started { node } => {
                    self.gone.remove(node);
                }
                Fact::Chose { by, provider, expires_at }
                    if view.role(*by).is_some_and(|role| role.honest) =>
                {
                    let whom = view.node_of(provider);
                    let gone = whom
                        .and_then(|node| self.gone.get(&node))
                        .map_or(Millis(0), |at| view.time.since(*at));
                    let stale =
                        view.time.since(*expires_at) > CLOCKS || gone > Millis(ADVERT_TTL_MS_MAX + CLOCKS.0);
                    if stale || whom.is_none() {
                        let gone = gone.0;
                        return Err(format!("node {} chose {}, gone for {gone} ms", by.0, provider.short()));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::stage::{CLIENT, PROVIDER, Stage, time},
        *,
    };

    const LONG: u64 = ADVERT_TTL_MS_MAX + CLOCKS.0 + 1;

    fn chose(stage: &Stage, expires_ms: u64) -> Fact {
        let provider = stage.cast[usize::from(PROVIDER.0)].key;
        Fact::Chose { by: CLIENT, provider, expires_at: time(expires_ms) }
    }

    #[test]
    fn a_choice_of_who_is_gone_for_long_is_found() {
        let stage = Stage::new();
        let mut checker = NoDeadNodeIsOffered::default();
        let late = chose(&stage, 2 * LONG);
        assert_eq!(checker.check(&stage.view(0, &[Fact::Crashed { node: PROVIDER }])), Ok(()));
        assert_eq!(checker.check(&stage.view(5, std::slice::from_ref(&late))), Ok(()), "nobody can know yet");
        assert!(checker.check(&stage.view(LONG, std::slice::from_ref(&late))).is_err());
        assert_eq!(checker.check(&stage.view(LONG, &[Fact::Started { node: PROVIDER }, late])), Ok(()));
    }

    #[test]
    fn a_choice_of_an_advert_that_is_over_or_of_nobody_is_found() {
        let stage = Stage::new();
        let mut checker = NoDeadNodeIsOffered::default();
        assert!(checker.check(&stage.view(CLOCKS.0 + 2, &[chose(&stage, 1)])).is_err());
        let ghost = gridhour_protocol::signed::PublicKey([9; 32]);
        let fact = Fact::Chose { by: CLIENT, provider: ghost, expires_at: time(LONG) };
        assert!(checker.check(&stage.view(1, &[fact])).is_err());
    }
}
