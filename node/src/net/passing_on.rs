//! What a node passes on of the adverts that others bring. Pure: time is an input.
//!
//! Neighbours see who carried an advert, and not who flooded the carrier with it, and charge the carrier. So a node passes
//! on so few that no neighbour charges it; others it keeps, and tells to whoever subscribes. Which ones those are is not
//! left to whoever sends the most:
//!
//! - One provider's adverts are passed on every few seconds, after a few at once, as a provider that begins or ends jobs
//!   renews its advert each time.
//! - Providers that this node did not know go through a narrow gate of their own: a flood of fresh keys, which cost
//!   nothing, takes nothing from renewals, here and at every node that it would come to next.
//! - At each gate the peers that bring something have equal shares. Who brings more than its share gets what the others
//!   leave, but never the half of the gate's stock that is kept for those who are within theirs.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use gridhour_protocol::signed::PublicKey;

use super::{
    bucket::Bucket,
    limits::{
        ADVERTS_MAX, NEWCOMERS_BURST_MAX, NEWCOMERS_PER_SECOND_MAX, PASSED_BURST_MAX, PASSED_PER_SECOND_MAX,
        PEERS_TRACKED_MAX, PROVIDER_BURST_MAX, PROVIDER_EVERY,
    },
};

/// A peer that brought nothing for this long has no share.
const SHARES_FOR: Duration = Duration::from_secs(10);

/// An advert that was found good and could be passed on.
#[derive(Clone, Copy, Debug)]
pub struct Passage {
    /// The peer that brought it.
    pub bringer: PublicKey,
    /// Whose advert it is.
    pub provider: PublicKey,
    /// Whether this node knew of the provider before.
    pub is_renewal: bool,
}

/// What is left to be passed on now, by everyone and by each.
#[derive(Clone, Debug)]
pub struct PassingOn {
    renewals: Gate,
    newcomers: Gate,
    /// Providers of whom something was passed on of late.
    providers: BTreeMap<PublicKey, Bucket>,
}

impl Default for PassingOn {
    fn default() -> Self {
        Self {
            renewals: Gate::new(PASSED_BURST_MAX, PASSED_PER_SECOND_MAX),
            newcomers: Gate::new(NEWCOMERS_BURST_MAX, NEWCOMERS_PER_SECOND_MAX),
            providers: BTreeMap::new(),
        }
    }
}

impl PassingOn {
    /// Whether one more advert is to be passed on now.
    pub fn take(&mut self, passage: Passage, now: Instant) -> bool {
        let gate = if passage.is_renewal { &mut self.renewals } else { &mut self.newcomers };
        let most = PROVIDER_EVERY * PROVIDER_BURST_MAX;
        if self.providers.len() >= ADVERTS_MAX {
            self.providers.retain(|_, bucket| !bucket.is_full(now));
        }
        let known = self.providers.get(&passage.provider).copied();
        if known.is_none() && self.providers.len() >= ADVERTS_MAX {
            return false;
        }
        let mut own = known.unwrap_or_else(|| Bucket::full(now));
        let passes = own.take(PROVIDER_EVERY, most, now) && gate.take(passage.bringer, now);
        if passes {
            self.providers.insert(passage.provider, own);
        }
        passes
    }
}

/// So many in a burst, so many a second, and of both an equal share for each peer that brings something.
#[derive(Clone, Debug)]
struct Gate {
    each: Duration,
    most: Duration,
    stock: Option<Bucket>,
    shares: BTreeMap<PublicKey, Share>,
}

/// What a peer has taken of its share, and when it brought something last.
#[derive(Clone, Copy, Debug)]
struct Share {
    taken: Bucket,
    heard_at: Instant,
}

impl Gate {
    fn new(burst: u32, per_second: u32) -> Self {
        let each = Duration::from_secs(1) / per_second;
        Self { each, most: each * burst, stock: None, shares: BTreeMap::new() }
    }

    fn take(&mut self, bringer: PublicKey, now: Instant) -> bool {
        let (each, most) = (self.each, self.most);
        self.make_room(&bringer, now);
        // Of a share as large as the gate, an advert takes as much as there are shares.
        let sharers = u32::try_from(self.shares.len()).unwrap_or(u32::MAX);
        let fresh = Share { taken: Bucket::full(now), heard_at: now };
        let new = u32::from(!self.shares.contains_key(&bringer));
        let share = self.shares.entry(bringer).or_insert(fresh);
        share.heard_at = now;
        let cost = each * (sharers + new);
        let stock = self.stock.get_or_insert(Bucket::full(now));
        if share.taken.affords(cost, most, now) {
            let passes = stock.take(each, most, now);
            if passes {
                share.taken.spend(cost, now);
            }
            passes
        } else {
            stock.take(each, most / 2, now)
        }
    }

    /// Forgets peers that bring nothing any more, and of too many the one unheard of for longest.
    fn make_room(&mut self, bringer: &PublicKey, now: Instant) {
        self.shares.retain(|_, share| now.saturating_duration_since(share.heard_at) < SHARES_FOR);
        if self.shares.len() >= PEERS_TRACKED_MAX && !self.shares.contains_key(bringer) {
            let oldest = self.shares.iter().min_by_key(|(_, share)| share.heard_at).map(|(key, _)| *key);
            oldest.map(|key| self.shares.remove(&key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{
        limits::{
            FORWARDS_PER_SECOND, GOSSIP_BURST_MAX, GOSSIP_PER_SECOND_MAX, GOSSIP_QUEUE_TIME,
            PEERS_TRACKED_MAX,
        },
        peer_score::{PeerScores, Rate},
    };

    fn key(n: u64) -> PublicKey {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        PublicKey(key)
    }

    fn renewal(bringer: u64, provider: u64) -> Passage {
        Passage { bringer: key(bringer), provider: key(provider), is_renewal: true }
    }

    fn newcomer(bringer: u64, provider: u64) -> Passage {
        Passage { is_renewal: false, ..renewal(bringer, provider) }
    }

    /// How many of `honest` adverts a second, which peer 2 brings, pass in the second half of a minute in which peer 1
    /// brings `flood(n)` for each n, 200 a second.
    fn passed_of(honest: impl Fn(u64) -> Passage, flood: impl Fn(u64) -> Passage) -> (usize, usize) {
        let (mut passing, start) = (PassingOn::default(), Instant::now());
        let (mut brought, mut passed) = (0, 0);
        for ms in (0..60_000).step_by(5) {
            let now = start + Duration::from_millis(ms);
            passing.take(flood(ms / 5), now);
            if ms % 200 == 0 {
                let passes = passing.take(honest(ms / 200), now);
                let counts = usize::from(ms >= 30_000);
                (brought, passed) = (brought + counts, passed + counts * usize::from(passes));
            }
        }
        (brought, passed)
    }

    #[test]
    fn a_flood_of_fresh_keys_takes_nothing_from_renewals_whoever_brings_them() {
        let honest = |bringer| passed_of(move |n| renewal(bringer, n % 75), |n| newcomer(1, 1_000 + n));
        assert_eq!(honest(2), (150, 150));
        assert_eq!(honest(1), (150, 150), "a neighbour that carries the flood carries the rest too");
    }

    #[test]
    fn a_flood_takes_no_more_than_its_share_from_what_others_bring() {
        let renewals = passed_of(|n| renewal(2, n % 75), |n| renewal(1, 1_000 + n % 3_000));
        assert_eq!(renewals, (150, 150), "of known keys");
        let newcomers = passed_of(|n| newcomer(2, n), |n| newcomer(1, 1_000 + n));
        assert_eq!(newcomers, (150, 150), "of fresh ones");
    }

    #[test]
    fn who_brings_alone_has_all_that_a_node_passes_on() {
        let (mut passing, start) = (PassingOn::default(), Instant::now());
        let passed =
            (0..2_000).filter(|n| passing.take(renewal(1, *n), start + Duration::from_millis(5 * n)));
        let expected = PASSED_BURST_MAX + 10 * PASSED_PER_SECOND_MAX;
        assert!(passed.count().abs_diff(expected as usize) <= 2);
    }

    #[test]
    fn a_provider_is_passed_on_every_few_seconds_after_a_few_changes_at_once() {
        let (mut passing, start) = (PassingOn::default(), Instant::now());
        let mut passed = |provider, at| (0..100).filter(|_| passing.take(renewal(1, provider), at)).count();
        let at = |count| start + PROVIDER_EVERY * count;
        let counts = [passed(1, at(0)), passed(1, at(1)), passed(1, at(3)), passed(2, at(3))];
        assert_eq!(counts, [PROVIDER_BURST_MAX as usize, 1, 2, PROVIDER_BURST_MAX as usize]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut passing, start) = (PassingOn::default(), Instant::now());
        for n in 0..20_000 {
            let now = start + Duration::from_millis(5 * n);
            passing.take(renewal(n, n), now);
            passing.take(newcomer(n, 1_000_000 + n), now);
        }
        assert!(passing.providers.len() <= ADVERTS_MAX);
        let shares = [&passing.renewals, &passing.newcomers].map(|gate| gate.shares.len());
        assert_eq!(shares, [PEERS_TRACKED_MAX; 2]);
    }

    /// The adverts that pass, at a millisecond of a flood of 4,000 adverts a second of all kinds by 40 peers.
    fn passing_at(carrier: &mut PassingOn, ms: u64, now: Instant) -> usize {
        let flood = |n| [renewal(n, 4 * ms + n), newcomer(40 - n, 1_000_000 + 4 * ms + n)];
        (0..2).flat_map(flood).filter(|passage| carrier.take(*passage, now)).count()
    }

    #[test]
    fn who_passes_on_a_flood_is_not_charged_for_it() {
        let (mut carrier, mut neighbour, start) =
            (PassingOn::default(), PeerScores::default(), Instant::now());
        for ms in 0..20_000 {
            let now = start + Duration::from_millis(ms);
            let passed = passing_at(&mut carrier, ms, now);
            assert!((0..passed).all(|_| neighbour.admit(key(1), Rate::Gossip, now)), "after {ms} ms");
        }
    }

    /// A neighbour that is too busy to read, for as long as messages wait for it, then reads all of them at once.
    #[test]
    fn who_passes_on_a_flood_to_a_neighbour_that_stalls_is_not_charged_for_it() {
        let (mut carrier, mut neighbour, start) =
            (PassingOn::default(), PeerScores::default(), Instant::now());
        let stall = u64::try_from(GOSSIP_QUEUE_TIME.as_millis()).expect("seconds");
        let mut waiting = 0;
        for ms in 0..3 * stall {
            let now = start + Duration::from_millis(ms);
            let forwarded = usize::from(ms % (1_000 / FORWARDS_PER_SECOND as u64) == 0);
            waiting += passing_at(&mut carrier, ms, now) + forwarded;
            if ms >= stall {
                let read = std::mem::take(&mut waiting);
                let charged = (0..read).filter(|_| !neighbour.admit(key(1), Rate::Gossip, now)).count();
                assert_eq!(charged, 0, "of {read} after {ms} ms");
            }
        }
        let beyond = (0..2 * GOSSIP_BURST_MAX + GOSSIP_PER_SECOND_MAX)
            .filter(|_| !neighbour.admit(key(1), Rate::Gossip, start + Duration::from_secs(60)));
        assert!(beyond.count() > 0, "a rate that nobody can exceed is none");
    }
}
