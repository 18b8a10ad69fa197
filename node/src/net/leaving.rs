//! Connections that are about to be closed. Pure: time is an input.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use libp2p::swarm::ConnectionId;

/// How long a peer of another network stays connected: until it knows, too, why it is not welcome.
const LINGER: Duration = Duration::from_millis(500);

/// Connections to peers of other networks, and when they are closed: of those that are open, so no more than may be.
#[derive(Debug, Default)]
pub(crate) struct Leaving(BTreeMap<ConnectionId, Instant>);

impl Leaving {
    /// The peer at the other end named another network at `now`. To do so again puts nothing off.
    pub(crate) fn leave(&mut self, connection: ConnectionId, now: Instant) {
        self.0.entry(connection).or_insert(now + LINGER);
    }

    /// The connection is gone.
    pub(crate) fn gone(&mut self, connection: ConnectionId) {
        self.0.remove(&connection);
    }

    /// Those to close now, once each.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<ConnectionId> {
        self.0.extract_if(.., |_, until| *until <= now).map(|(connection, _)| connection).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_names_another_network_again_and_again_is_left_once_and_in_time() {
        let (mut leaving, start, [first, second]) =
            (Leaving::default(), Instant::now(), [1, 2].map(ConnectionId::new_unchecked));
        for passed in 0..1000 {
            leaving.leave(first, start + LINGER * passed / 1000);
        }
        leaving.leave(second, start);
        assert_eq!(leaving.0.len(), 2);
        leaving.gone(second);
        assert!(leaving.due(start).is_empty());
        assert_eq!(leaving.due(start + LINGER), [first]);
        assert!(leaving.due(start + LINGER).is_empty());
    }
}
