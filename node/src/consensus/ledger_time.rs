//! The time of the next block: the operator's clock, as long as it can be believed.
//!
//! Deadlines move money, so a clock that is set while the node runs must not decide them. Two clocks are read: the wall
//! clock, and one that only counts. If they drift apart by more than the network's skew between two blocks, no block is
//! made until they agree again or the operator restarts the node, having set the clock right.

use std::time::{Duration, Instant};

use gridhour_protocol::units::{Millis, Timestamp};

use crate::clock;

/// Drift that is always allowed, in milliseconds: two clocks are never read at the same instant.
const DRIFT_MS_MIN: u64 = 1_000;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock.
    pub wall: Timestamp,
    /// Time that passed since some fixed moment.
    pub steady: Duration,
}

/// Where readings come from.
pub trait Clock: Send {
    /// Reads both clocks.
    fn read(&self) -> Reading;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn read(&self) -> Reading {
        Reading { wall: clock::now(), steady: self.0.elapsed() }
    }
}

/// Why no block is made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClockError {
    /// The wall clock was set.
    #[error(
        "the ledger node's clock jumped: expected about {} ms, found {} ms; its operator must set it right and restart",
        expected.0,
        found.0
    )]
    Jump {
        /// What the steady clock says it should be.
        expected: Timestamp,
        /// What the wall clock says.
        found: Timestamp,
    },
    /// The wall clock is behind what the ledger has recorded.
    #[error(
        "the ledger node's clock is behind the ledger: the last block is of {} ms, the clock says {} ms; its operator must set it right",
        ledger.0,
        found.0
    )]
    Behind {
        /// Time of the last block.
        ledger: Timestamp,
        /// What the wall clock says.
        found: Timestamp,
    },
}

/// Judges readings. Pure: the clocks are read elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct LedgerTime {
    drift_max: u64,
    last: Reading,
}

impl LedgerTime {
    /// Starts with a reading that is believed, for a network that allows `skew`.
    #[must_use]
    pub fn new(skew: Millis, first: Reading) -> Self {
        Self { drift_max: skew.0.max(DRIFT_MS_MIN), last: first }
    }

    /// The time that `reading` gives for a block after one of the time `tip`.
    ///
    /// # Errors
    /// If the wall clock was set since the last good reading, or is behind the ledger by more than the skew.
    pub fn accept(&mut self, reading: Reading, tip: Timestamp) -> Result<Timestamp, ClockError> {
        let passed = reading.steady.saturating_sub(self.last.steady).as_millis();
        let expected = Timestamp(self.last.wall.0.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX)));
        let found = reading.wall;
        if found.0.abs_diff(expected.0) > self.drift_max {
            return Err(ClockError::Jump { expected, found });
        }
        if tip.since(found).0 > self.drift_max {
            return Err(ClockError::Behind { ledger: tip, found });
        }
        self.last = reading;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall: u64, steady: u64) -> Reading {
        Reading { wall: Timestamp(wall), steady: Duration::from_millis(steady) }
    }

    fn judge() -> LedgerTime {
        LedgerTime::new(Millis(5_000), at(1_000_000, 0))
    }

    #[test]
    fn time_that_passes_is_believed_however_long() {
        let mut time = judge();
        for hours in 1..100 {
            let ms = hours * 3_600_000;
            assert_eq!(time.accept(at(1_000_000 + ms, ms), Timestamp(0)), Ok(Timestamp(1_000_000 + ms)));
        }
    }

    #[test]
    fn a_clock_that_was_set_is_refused_until_it_is_right_again() {
        for wall in [1_000_000 + 5_002, 1_000_000 - 5_000, 0, u64::MAX] {
            let mut time = judge();
            let jump = ClockError::Jump { expected: Timestamp(1_000_001), found: Timestamp(wall) };
            assert_eq!(time.accept(at(wall, 1), Timestamp(0)), Err(jump));
            assert_eq!(time.accept(at(wall, 1), Timestamp(0)), Err(jump), "asking again does not help");
            assert!(time.accept(at(1_000_010, 10), Timestamp(0)).is_ok());
        }
        assert!(judge().accept(at(1_005_001, 1), Timestamp(0)).is_ok(), "the skew itself is allowed");
    }

    #[test]
    fn a_clock_behind_the_ledger_is_refused() {
        let behind = ClockError::Behind { ledger: Timestamp(1_005_001), found: Timestamp(1_000_000) };
        assert_eq!(judge().accept(at(1_000_000, 0), Timestamp(1_005_001)), Err(behind));
        assert!(judge().accept(at(1_000_000, 0), Timestamp(1_005_000)).is_ok());
    }
}
