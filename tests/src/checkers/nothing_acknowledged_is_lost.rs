//! What the ledger node has once made durable and shown is there after every crash: it never stands lower than before.

use super::{Checker, View};
use crate::sim::fact::Fact;

/// Knows nothing but what the view shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct NothingAcknowledgedIsLost;

impl Checker for NothingAcknowledgedIsLost {
    fn name(&self) -> &'static str {
        "nothing_acknowledged_is_lost"
    }

    fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        let published = view.ledger.state().tip().height;
        for fact in view.facts {
            let Fact::Root { height, .. } = fact else { continue };
            if *height != published {
                return Err(format!(
                    "{} blocks were shown, and the ledger node has {}",
                    published.0, height.0
                ));
            }
        }
        Ok(())
    }
}
