//! What whoever is at one address may have us do only so often. Pure: time is an input.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

/// Addresses that are remembered; while there are as many, no others get a turn.
const ADDRESSES_MAX: usize = 1024;

/// Turns that were taken of late. Of IPv6, whoever has one address has the 2^64 of its network: these count as one.
#[derive(Debug)]
pub struct Turns {
    count: u32,
    time: Duration,
    /// Since when each address takes turns, and how many it took.
    taken: BTreeMap<IpAddr, (Instant, u32)>,
}

impl Turns {
    /// `count` turns for each address in each `time`, which begins with the first of them.
    #[must_use]
    pub fn new(count: u32, time: Duration) -> Self {
        Self { count, time, taken: BTreeMap::new() }
    }

    /// Whether whoever is at `ip` gets a turn at `now`.
    pub fn take(&mut self, ip: IpAddr, now: Instant) -> bool {
        self.taken.retain(|_, (since, _)| now.saturating_duration_since(*since) < self.time);
        let holder = holder(ip);
        if self.taken.len() >= ADDRESSES_MAX && !self.taken.contains_key(&holder) {
            return false;
        }
        let (_, taken) = self.taken.entry(holder).or_insert((now, 0));
        let is_free = *taken < self.count;
        *taken += u32::from(is_free);
        is_free
    }
}

/// The address that stands for all that are of one holder: itself, or the /64 network of an IPv6 one.
fn holder(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(10);

    #[test]
    fn an_address_is_dialled_now_and_then_and_only_so_many_are_remembered() {
        let (mut turns, now) = (Turns::new(1, EVERY), Instant::now());
        let ip = |n: u32| IpAddr::from(n.to_be_bytes());
        assert!(turns.take(ip(1), now) && turns.take(ip(2), now));
        assert!(!turns.take(ip(1), now + EVERY / 2));
        assert!(turns.take(ip(1), now + EVERY));
        let later = now + 3 * EVERY;
        let taken = (0..2 * ADDRESSES_MAX as u32).filter(|n| turns.take(ip(*n), later)).count();
        assert_eq!((taken, turns.taken.len()), (ADDRESSES_MAX, ADDRESSES_MAX));
    }

    #[test]
    fn an_address_has_its_turns_and_then_none_for_a_while() {
        let (mut turns, now) = (Turns::new(3, EVERY), Instant::now());
        let mut taken = |at| (0..9).filter(|_| turns.take(IpAddr::from([192, 0, 2, 1]), at)).count();
        assert_eq!([taken(now), taken(now + EVERY / 2), taken(now + EVERY)], [3, 0, 3]);
    }

    #[test]
    fn all_addresses_of_one_ipv6_network_take_the_same_turns() {
        let (mut turns, now) = (Turns::new(1, EVERY), Instant::now());
        let mut take = |text: &str| turns.take(text.parse().expect("an address"), now);
        assert!(take("2001:db8:0:1::1") && !take("2001:db8:0:1:ffff::2"));
        assert!(take("2001:db8:0:2::1"), "another network's");
        assert!(take("192.0.2.1") && !take("::ffff:192.0.2.1"));
        assert!(take("192.0.2.2"));
    }
}
