//! Through whom a node that nobody can dial lets itself be reached. Pure: time is an input.

use std::{collections::BTreeMap, time::Instant};

use gridhour_protocol::signed::PublicKey;
use libp2p::core::transport::ListenerId;

use crate::net::limits::{RELAY_AGAIN, RELAYS_USED_MAX};

/// The relays in use or asked, at most [`RELAYS_USED_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Relays {
    needed: bool,
    asked: BTreeMap<PublicKey, ListenerId>,
    last: Option<PublicKey>,
    look_at: Option<Instant>,
}

impl Relays {
    /// `needed` says that relays are looked for without anyone having found that the node cannot be dialled.
    pub(crate) fn new(needed: bool) -> Self {
        Self { needed, ..Self::default() }
    }

    /// Somebody could not dial us.
    pub(crate) fn need(&mut self) {
        self.needed = true;
    }

    /// Whether one more relay is to be asked now.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let due =
            self.needed && self.asked.len() < RELAYS_USED_MAX && self.look_at.is_none_or(|at| at <= now);
        if due {
            self.look_at = Some(now + RELAY_AGAIN);
        }
        due
    }

    pub(crate) fn uses(&self, relay: &PublicKey) -> bool {
        self.asked.contains_key(relay)
    }

    /// Whose turn it is: the least of these. Peers are asked round and round, as those that do not relay refuse.
    pub(crate) fn turn(&self, relay: PublicKey) -> impl Ord + use<> {
        (self.last >= Some(relay), relay)
    }

    pub(crate) fn ask(&mut self, relay: PublicKey, listener: ListenerId) {
        self.last = Some(relay);
        self.asked.insert(relay, listener);
    }

    /// A relay refused, or its promise ended.
    pub(crate) fn lost(&mut self, listener: ListenerId) {
        self.asked.retain(|_, asked| *asked != listener);
    }

    /// What is listened on through relays.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = ListenerId> {
        self.asked.values().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_are_asked_when_needed_a_few_and_again_when_lost() {
        let (start, keys) = (Instant::now(), [1, 2].map(|n| PublicKey([n; 32])));
        let mut relays = Relays::new(false);
        assert!(!relays.is_due(start), "whoever can be dialled needs none");
        relays.need();
        assert!(relays.is_due(start) && !relays.is_due(start), "not twice at once");
        let listeners = keys.map(|key| {
            let listener = ListenerId::next();
            relays.ask(key, listener);
            listener
        });
        assert!(!relays.is_due(start + RELAY_AGAIN), "two are enough");
        relays.lost(listeners[0]);
        assert!(!relays.uses(&keys[0]) && relays.uses(&keys[1]));
        assert!(relays.is_due(start + RELAY_AGAIN));
        assert!(relays.turn(PublicKey([3; 32])) < relays.turn(keys[0]), "who was asked comes last");
        assert_eq!(relays.listeners().collect::<Vec<_>>(), [listeners[1]]);
    }
}
