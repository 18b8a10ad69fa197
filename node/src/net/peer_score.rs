//! What each peer has cost us lately. Pure: time is an input.
//!
//! Points are charged for what no honest peer does and fade with time; a peer over its budget is shut out,
//! and only that peer. A rate limit never drops an advert because of who carried it, as the same advert from
//! an honest peer would then be lost too: it charges the carrier.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use gridhour_protocol::signed::PublicKey;

use crate::net::{
    bucket::Bucket,
    gossip::Refusal,
    limits::{
        AUCTION_BURST_MAX, AUCTION_PER_SECOND_MAX, ECHO_BURST_MAX, ECHO_PER_SECOND_MAX, GOSSIP_BURST_MAX,
        GOSSIP_PER_SECOND_MAX, IDENTITY_BURST_MAX, IDENTITY_EVERY, PEERS_TRACKED_MAX, PUSH_BURST_KIB,
        PUSH_KIB_MIN, PUSH_KIB_PER_SECOND,
    },
};

/// Points at which a peer is shut out.
pub const BUDGET: u32 = 100;
/// Points that fade in a second.
const FADE_PER_SECOND: u32 = 1;

/// What a peer is charged for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offence {
    /// Brought an advert that every honest node refuses.
    Advert(Refusal),
    /// Brought a checkpoint that every honest node refuses.
    Checkpoint,
    /// Brought a posting or a quote that every honest node refuses.
    Auction,
    /// Sent a push that is not a list of adverts.
    Push,
    /// Sent a request that is over the limit.
    OversizedRequest,
    /// Asked for more than its rate.
    OverRate,
}

impl Offence {
    /// Points: five forged adverts, or fifty messages over the rate, use up the budget.
    #[must_use]
    pub fn points(self) -> u32 {
        match self {
            Self::Advert(refusal) if refusal.is_misbehavior() => 20,
            Self::Advert(_) => 0,
            Self::Checkpoint | Self::Auction | Self::Push | Self::OversizedRequest => 20,
            Self::OverRate => 2,
        }
    }
}

/// What a peer may do only so often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rate {
    /// Bring an advert.
    Gossip,
    /// Bring a posting or a quote.
    Auction,
    /// Send pushes, by their bytes.
    PushIn,
    /// Be sent pushes, by their bytes.
    PushOut,
    /// Ask for an echo.
    Echo,
    /// Say where it listens.
    Identity,
}

impl Rate {
    const ALL: [Self; 6] =
        [Self::Gossip, Self::Auction, Self::PushIn, Self::PushOut, Self::Echo, Self::Identity];

    /// Tokens that a full bucket holds, and the time in which one comes back.
    fn bucket(self) -> (u32, Duration) {
        match self {
            Self::Gossip => (GOSSIP_BURST_MAX, Duration::from_secs(1) / GOSSIP_PER_SECOND_MAX),
            Self::Auction => (AUCTION_BURST_MAX, Duration::from_secs(1) / AUCTION_PER_SECOND_MAX),
            Self::PushIn | Self::PushOut => (PUSH_BURST_KIB, Duration::from_secs(1) / PUSH_KIB_PER_SECOND),
            Self::Echo => (ECHO_BURST_MAX, Duration::from_secs(1) / ECHO_PER_SECOND_MAX),
            Self::Identity => (IDENTITY_BURST_MAX, IDENTITY_EVERY),
        }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    points: u32,
    charged_at: Instant,
    heard_at: Instant,
    buckets: [Bucket; Rate::ALL.len()],
}

impl Entry {
    fn new(now: Instant) -> Self {
        let buckets = [Bucket::full(now); Rate::ALL.len()];
        Self { points: 0, charged_at: now, heard_at: now, buckets }
    }

    fn points_at(&self, now: Instant) -> u32 {
        let seconds = now.duration_since(self.charged_at).as_secs();
        let faded = u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(FADE_PER_SECOND);
        self.points.saturating_sub(faded)
    }
}

/// Scores of at most [`PEERS_TRACKED_MAX`] peers.
#[derive(Debug, Default)]
pub struct PeerScores {
    entries: BTreeMap<PublicKey, Entry>,
}

impl PeerScores {
    /// Peers that are remembered: at most [`PEERS_TRACKED_MAX`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Charges a peer; `true` once it is over its budget.
    pub fn charge(&mut self, peer: PublicKey, offence: Offence, now: Instant) -> bool {
        if offence.points() == 0 {
            return false;
        }
        let entry = self.entry(peer, now);
        entry.points = entry.points_at(now).saturating_add(offence.points());
        entry.charged_at = now;
        entry.points >= BUDGET
    }

    /// Takes one token of the peer's; `false` if it is over its rate.
    pub fn admit(&mut self, peer: PublicKey, rate: Rate, now: Instant) -> bool {
        self.take(peer, rate, 1, now)
    }

    /// Takes the tokens of a push of `len` bytes; `false` if the peer is over its rate.
    pub fn admit_push(&mut self, peer: PublicKey, rate: Rate, len: usize, now: Instant) -> bool {
        let kib = u32::try_from(len.div_ceil(1024)).unwrap_or(u32::MAX);
        self.take(peer, rate, kib.clamp(PUSH_KIB_MIN, PUSH_BURST_KIB), now)
    }

    fn take(&mut self, peer: PublicKey, rate: Rate, count: u32, now: Instant) -> bool {
        let at = Rate::ALL.iter().position(|&other| other == rate).unwrap_or_default();
        let (tokens, each) = rate.bucket();
        self.entry(peer, now).buckets[at].take(each * count, each * tokens, now)
    }

    fn entry(&mut self, peer: PublicKey, now: Instant) -> &mut Entry {
        if self.entries.len() >= PEERS_TRACKED_MAX && !self.entries.contains_key(&peer) {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.heard_at).map(|(key, _)| *key);
            oldest.map(|key| self.entries.remove(&key));
        }
        let entry = self.entries.entry(peer).or_insert_with(|| Entry::new(now));
        entry.heard_at = now;
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::limits::PUSH_BYTES_MAX;

    const FORGED: Offence = Offence::Advert(Refusal::BadSignature);

    fn peer(n: u64) -> PublicKey {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&n.to_le_bytes());
        PublicKey(key)
    }

    #[test]
    fn pushes_count_by_what_is_in_them() {
        let (mut scores, now) = (PeerScores::default(), Instant::now());
        let mut pushed =
            |n, len| (0..1000).filter(|_| scores.admit_push(peer(n), Rate::PushOut, len, now)).count();
        assert_eq!([pushed(1, PUSH_BYTES_MAX), pushed(2, 1), pushed(3, usize::MAX)], [4, 128, 1]);
    }

    #[test]
    fn five_forgeries_use_up_one_budget_and_no_other() {
        let (mut scores, now) = (PeerScores::default(), Instant::now());
        for n in 1..=5 {
            assert_eq!(scores.charge(peer(1), FORGED, now), n == 5);
        }
        assert!(!scores.charge(peer(2), FORGED, now));
    }

    #[test]
    fn points_fade() {
        let (mut scores, now) = (PeerScores::default(), Instant::now());
        for n in 0..40 {
            assert!(!scores.charge(peer(1), FORGED, now + Duration::from_secs(30 * n)));
        }
    }

    #[test]
    fn timing_is_no_offence() {
        let (mut scores, now) = (PeerScores::default(), Instant::now());
        for refusal in [Refusal::Stale, Refusal::Duplicate, Refusal::FromFuture, Refusal::TableFull] {
            for _ in 0..1000 {
                assert!(!scores.charge(peer(1), Offence::Advert(refusal), now));
            }
        }
    }

    #[test]
    fn a_rate_allows_its_burst_and_then_its_pace() {
        let (mut scores, now) = (PeerScores::default(), Instant::now());
        let admitted = (0..1000).filter(|_| scores.admit(peer(1), Rate::Echo, now)).count();
        assert_eq!(admitted, ECHO_BURST_MAX as usize);
        let later = now + Duration::from_secs(1);
        let admitted = (0..1000).filter(|_| scores.admit(peer(1), Rate::Echo, later)).count();
        assert_eq!(admitted, ECHO_PER_SECOND_MAX as usize);
    }

    #[test]
    fn a_peer_says_where_it_listens_a_few_times_and_then_slowly() {
        let (mut scores, now) = (PeerScores::default(), Instant::now());
        let mut heard = |at| (0..1000).filter(|_| scores.admit(peer(1), Rate::Identity, at)).count();
        let counts = [heard(now), heard(now), heard(now + IDENTITY_EVERY), heard(now + 3 * IDENTITY_EVERY)];
        assert_eq!(counts, [IDENTITY_BURST_MAX as usize, 0, 1, 2]);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let (mut scores, start) = (PeerScores::default(), Instant::now());
        for n in 0..2 * PEERS_TRACKED_MAX as u64 {
            scores.admit(peer(n), Rate::Gossip, start + Duration::from_millis(n));
        }
        assert_eq!(scores.entries.len(), PEERS_TRACKED_MAX);
        assert!(!scores.entries.contains_key(&peer(0)));
    }
}
