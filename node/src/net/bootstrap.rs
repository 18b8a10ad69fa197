//! When to dial the bootstrap peers again. Pure: time is an input.

use std::time::{Duration, Instant};

use gridhour_protocol::signed::PublicKey;

use crate::net::identity::Address;

/// Wait after the first failure; it doubles with each further one.
const BACKOFF_MIN: Duration = Duration::from_millis(250);
/// The longest wait.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// How far a bootstrap peer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// Not connected.
    Away,
    /// Dialled or connected; it has not named its network yet, and may be of another.
    UnderWay,
    /// Connected, and of our network.
    Ready,
}

#[derive(Debug)]
struct Entry {
    address: Address,
    peer: PublicKey,
    attempts: u32,
    next_at: Instant,
}

/// The peers that a node stays connected to.
#[derive(Debug, Default)]
pub(crate) struct Bootstrap {
    entries: Vec<Entry>,
}

impl Bootstrap {
    /// # Errors
    /// With the first address that names no peer.
    pub(crate) fn new(addresses: Vec<Address>, now: Instant) -> Result<Self, Address> {
        let entry = |address: Address| match address.peer() {
            Some(peer) => Ok(Entry { address, peer, attempts: 0, next_at: now }),
            None => Err(address),
        };
        addresses.into_iter().map(entry).collect::<Result<_, _>>().map(|entries| Self { entries })
    }

    /// Whether the peer is one of them.
    pub(crate) fn names(&self, key: &PublicKey) -> bool {
        self.entries.iter().any(|entry| entry.peer == *key)
    }

    /// All addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.entries.iter().map(|entry| &entry.address)
    }

    /// Addresses to dial at `now`. Each counts as one more attempt, until the peer is ready.
    pub(crate) fn due(&mut self, now: Instant, link: impl Fn(&Address, &PublicKey) -> Link) -> Vec<Address> {
        let mut due = Vec::new();
        for entry in &mut self.entries {
            match link(&entry.address, &entry.peer) {
                Link::Ready => {
                    entry.attempts = 0;
                    entry.next_at = now;
                }
                Link::Away if entry.next_at <= now => {
                    entry.next_at = now + backoff(entry.attempts);
                    entry.attempts = entry.attempts.saturating_add(1);
                    due.push(entry.address.clone());
                }
                Link::Away | Link::UnderWay => {}
            }
        }
        due
    }
}

fn backoff(attempts: u32) -> Duration {
    BACKOFF_MIN.saturating_mul(1u32 << attempts.min(16)).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{identity::peer_id_of, sample::secret};

    fn address(seed: u8) -> Address {
        let peer = peer_id_of(&secret(seed).public()).expect("a public key is a point");
        format!("/ip4/127.0.0.1/tcp/1/p2p/{peer}").parse().expect("an address")
    }

    /// Dials in an hour, with the peer's state as a function of the dials so far.
    fn dials_in_an_hour(link: impl Fn(u64) -> Link) -> (u64, Duration) {
        let start = Instant::now();
        let mut bootstrap = Bootstrap::new(vec![address(1)], start).expect("names its peer");
        let (mut dials, mut last) = (0, Duration::ZERO);
        for passed in (0..3_600_000).step_by(50).map(Duration::from_millis) {
            if !bootstrap.due(start + passed, |_, _| link(dials)).is_empty() {
                (dials, last) = (dials + 1, passed);
            }
        }
        (dials, last)
    }

    #[test]
    fn dials_ever_more_slowly_and_never_stops() {
        let (dials, last) = dials_in_an_hour(|_| Link::Away);
        assert!((60..80).contains(&dials), "{dials} dials in an hour");
        assert!(last >= Duration::from_secs(3600 - 61));
        let (dials, _) = dials_in_an_hour(|dials| if dials < 3 { Link::Away } else { Link::UnderWay });
        assert_eq!(dials, 3, "no second dial while the first goes on");
    }

    #[test]
    fn a_lost_peer_is_dialled_at_once_and_a_foreign_one_is_not() {
        for (reached, at_once) in [(Link::Ready, true), (Link::UnderWay, false)] {
            let start = Instant::now();
            let mut bootstrap = Bootstrap::new(vec![address(1)], start).expect("names its peer");
            for n in 0..20 {
                bootstrap.due(start + Duration::from_secs(100 * n), |_, _| Link::Away);
            }
            let later = start + Duration::from_secs(1901);
            assert!(bootstrap.due(later, |_, _| reached).is_empty());
            assert_eq!(!bootstrap.due(later, |_, _| Link::Away).is_empty(), at_once);
        }
    }

    #[test]
    fn an_address_without_peer_is_refused() {
        let bare: Address = "/ip4/127.0.0.1/tcp/1".parse().expect("an address");
        assert_eq!(Bootstrap::new(vec![bare.clone()], Instant::now()).err(), Some(bare));
    }
}
