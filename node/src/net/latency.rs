//! Round trips to a peer, summed up. Pure.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use gridhour_protocol::market::estimate::Latency;

use crate::net::limits::{LATENCY_AGE_MAX, LATENCY_WINDOW};

/// Round trips of which the middle one places a node: an echo that was held up once moves nobody.
const STEADY: usize = 3;

/// The last round trips to one peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct LatencyWindow {
    recent_us: VecDeque<u64>,
    newest: Option<Instant>,
    ewma_us: Option<u64>,
    /// Whether the round trips were direct ones.
    is_direct: bool,
}

impl LatencyWindow {
    /// Takes one more round trip. How far a peer is through a relay says nothing of how far it is: such round trips
    /// count only as long as there is no direct one.
    pub(crate) fn record(&mut self, round_trip: Duration, is_direct: bool, now: Instant) {
        if self.newest.is_some_and(|newest| now.duration_since(newest) > LATENCY_AGE_MAX) {
            *self = Self::default();
        }
        if is_direct && !self.is_direct {
            *self = Self { is_direct, ..Self::default() };
        }
        if is_direct == self.is_direct {
            self.newest = Some(now);
            self.add(round_trip);
        }
    }

    fn add(&mut self, round_trip: Duration) {
        let us = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
        if self.recent_us.len() == LATENCY_WINDOW {
            self.recent_us.pop_front();
        }
        self.recent_us.push_back(us);
        self.ewma_us = Some(match self.ewma_us {
            None => us,
            Some(mean) => mean - mean / 8 + us / 8,
        });
    }

    /// The middle of the last three direct round trips, in microseconds, the longer of two; `None` before there is any.
    pub(crate) fn steady_us(&self) -> Option<u64> {
        if !self.is_direct {
            return None;
        }
        let mut last: Vec<u64> = self.recent_us.iter().rev().take(STEADY).copied().collect();
        last.sort_unstable();
        last.get(last.len() / 2).copied()
    }

    pub(crate) fn latency(&self) -> Option<Latency> {
        let mut sorted: Vec<u64> = self.recent_us.iter().copied().collect();
        sorted.sort_unstable();
        let rank = (sorted.len() * 95).div_ceil(100).checked_sub(1)?;
        let samples = u32::try_from(sorted.len()).ok()?;
        Some(Latency { ewma_us: self.ewma_us?, p95_us: *sorted.get(rank)?, samples })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(samples_us: impl IntoIterator<Item = u64>) -> LatencyWindow {
        let mut window = LatencyWindow::default();
        samples_us.into_iter().for_each(|us| window.record(Duration::from_micros(us), true, Instant::now()));
        window
    }

    #[test]
    fn nothing_measured_is_not_zero() {
        assert_eq!(LatencyWindow::default().latency(), None);
    }

    #[test]
    fn the_percentile_is_the_nearest_rank() {
        let sixty = window(1..=60).latency().expect("measured");
        assert_eq!((sixty.p95_us, sixty.samples), (57, 60));
        assert_eq!(window([9]).latency(), Some(Latency { ewma_us: 9, p95_us: 9, samples: 1 }));
    }

    #[test]
    fn the_window_forgets_and_the_mean_follows() {
        let mut slow = window([8000; LATENCY_WINDOW]);
        (0..LATENCY_WINDOW).for_each(|_| slow.record(Duration::from_micros(800), true, Instant::now()));
        let now = slow.latency().expect("measured");
        assert_eq!((now.p95_us, now.samples), (800, 64));
        assert!(now.ewma_us < 820, "{now:?}");
    }

    #[test]
    fn what_is_too_old_is_forgotten() {
        let (mut window, start) = (LatencyWindow::default(), Instant::now());
        window.record(Duration::from_millis(80), true, start);
        window.record(Duration::from_millis(2), true, start + LATENCY_AGE_MAX + Duration::from_secs(1));
        assert_eq!(window.latency(), Some(Latency { ewma_us: 2_000, p95_us: 2_000, samples: 1 }));
    }

    #[test]
    fn an_echo_that_was_held_up_once_places_nobody() {
        assert_eq!(window([]).steady_us(), None);
        assert_eq!(window([10, 12]).steady_us(), Some(12));
        assert_eq!(window([500, 10, 12]).steady_us(), Some(12));
        assert_eq!(window([10, 12, 500, 11]).steady_us(), Some(12));
    }

    #[test]
    fn what_a_relay_adds_is_not_taken_for_distance() {
        let (mut window, now) = (LatencyWindow::default(), Instant::now());
        window.record(Duration::from_millis(300), false, now);
        assert_eq!(window.latency().map(|latency| latency.ewma_us), Some(300_000), "nothing better is known");
        assert_eq!(window.steady_us(), None, "and it places nobody");
        window.record(Duration::from_millis(20), true, now);
        window.record(Duration::from_millis(300), false, now);
        assert_eq!(window.latency(), Some(Latency { ewma_us: 20_000, p95_us: 20_000, samples: 1 }));
    }

    #[test]
    fn absurd_round_trips_do_not_overflow() {
        let mut window = window([u64::MAX, u64::MAX]);
        window.record(Duration::MAX, true, Instant::now());
        assert!(window.latency().is_some());
    }
}
