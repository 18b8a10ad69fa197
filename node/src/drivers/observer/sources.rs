//! Whom to ask for blocks, and when. Pure: time and chance are inputs.

use std::time::{Duration, Instant};

use crate::net::Address;

/// How often a source is asked for news.
const POLL: Duration = Duration::from_millis(500);
/// Wait after the first failure; it doubles with each further one.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
/// The longest wait.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Source {
    address: Address,
    next_at: Instant,
    failures: u32,
}

/// The nodes that an observer follows. All of them are asked in turn, so that two that tell different histories show.
#[derive(Debug)]
pub(super) struct Sources(Vec<Source>);

impl Sources {
    /// Every one of them may be asked at once.
    pub(super) fn new(addresses: impl IntoIterator<Item = Address>, now: Instant) -> Self {
        let source = |address| Source { address, next_at: now, failures: 0 };
        Self(addresses.into_iter().map(source).collect())
    }

    /// Who is to be asked next, and when. `None` only where there are no sources.
    pub(super) fn next(&self) -> Option<(Address, Instant)> {
        let first = self.0.iter().min_by_key(|source| source.next_at);
        first.map(|source| (source.address.clone(), source.next_at))
    }

    /// The source answered; it is asked again after a while. `chance` is any number: it spreads observers in time.
    pub(super) fn answered(&mut self, source: &Address, now: Instant, chance: u64) {
        self.change(source, |source| {
            source.failures = 0;
            source.next_at = now + spread(POLL, chance);
        });
    }

    /// The source did not answer, or nonsense. Returns how often in a row.
    pub(super) fn failed(&mut self, source: &Address, now: Instant, chance: u64) -> u32 {
        let mut failures = 0;
        self.change(source, |source| {
            source.next_at = now + spread(backoff(source.failures), chance);
            source.failures = source.failures.saturating_add(1);
            failures = source.failures;
        });
        failures
    }

    fn change(&mut self, source: &Address, change: impl FnOnce(&mut Source)) {
        if let Some(source) = self.0.iter_mut().find(|known| known.address == *source) {
            change(source);
        }
    }
}

fn backoff(failures: u32) -> Duration {
    BACKOFF_MIN.saturating_mul(1 << failures.min(16)).min(BACKOFF_MAX)
}

/// Between a half and the whole of `span`.
fn spread(span: Duration, chance: u64) -> Duration {
    let half = span / 2;
    let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
    half + Duration::from_nanos(chance % nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u8) -> Address {
        format!("/ip4/127.0.0.1/tcp/{port}").parse().expect("an address")
    }

    #[test]
    fn a_source_that_fails_is_asked_ever_more_slowly_and_never_given_up() {
        let start = Instant::now();
        let a = address(1);
        let mut sources = Sources::new([a.clone()], start);
        let mut now = start;
        for n in 0..100u32 {
            assert_eq!(sources.failed(&a, now, u64::from(n) * 7_919_000_017), n + 1);
            let (_, next) = sources.next().expect("one source");
            let whole = backoff(n);
            assert!(next - now >= whole / 2 && next - now <= whole && whole <= BACKOFF_MAX, "after {n}");
            now = next;
        }
        assert!(now - start > BACKOFF_MAX * 40, "the cap is reached");
        sources.answered(&a, now, 0);
        assert_eq!(sources.next(), Some((a.clone(), now + POLL / 2)));
        assert_eq!(sources.failed(&a, now, 0), 1, "an answer forgives");
    }

    #[test]
    fn sources_take_turns() {
        let mut now = Instant::now();
        let (a, b) = (address(1), address(2));
        let mut sources = Sources::new([a.clone(), b.clone()], now);
        let mut asked = Vec::new();
        for _ in 0..6 {
            let (source, at) = sources.next().expect("two sources");
            now = now.max(at);
            sources.answered(&source, now, 0);
            asked.push(source);
        }
        assert_eq!(asked, [a.clone(), b.clone(), a.clone(), b.clone(), a, b]);
        assert_eq!(Sources::new([], now).next(), None);
    }

    #[test]
    fn waits_are_spread_over_half_their_length() {
        for chance in [0, 1, u64::MAX, 123_456_789_123] {
            let wait = spread(POLL, chance);
            assert!(wait >= POLL / 2 && wait < POLL, "{wait:?}");
        }
    }
}
