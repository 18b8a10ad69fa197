//! Time in the world, and the clocks by which nodes read it.

use gridhour_protocol::units::Timestamp;

/// What an exact clock shows when the world begins, in milliseconds since the Unix epoch.
pub const EPOCH_MS: u64 = 1_800_000_000_000;

/// True time: milliseconds since the world began. Nodes never see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// The moment `ms` later.
    #[must_use]
    pub const fn after(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this moment; 0 if it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A clock that is wrong by a fixed amount and runs a little fast or slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimClock {
    /// How far it is ahead when the world begins, in milliseconds; negative if behind.
    pub ahead_ms: i64,
    /// Milliseconds that it gains in a thousand seconds, above -1,000,000.
    pub drift_ppm: i64,
}

impl SimClock {
    /// What the clock shows.
    #[must_use]
    pub fn read(&self, at: Moment) -> Timestamp {
        Timestamp((EPOCH_MS + at.0).saturating_add_signed(self.error_ms(at)))
    }

    /// The first moment at which it shows `shown` or later.
    #[must_use]
    pub fn moment_of(&self, shown: Timestamp) -> Moment {
        let mut moment = Moment(shown.0.saturating_sub(EPOCH_MS).saturating_add_signed(-self.ahead_ms));
        let drift = self.error_ms(moment) - self.ahead_ms;
        moment = Moment(moment.0.saturating_add_signed(-drift - drift.abs() / 2 - 1));
        while self.read(moment) < shown {
            moment = moment.after(1);
        }
        moment
    }

    fn error_ms(&self, at: Moment) -> i64 {
        let elapsed = i64::try_from(at.0).unwrap_or(i64::MAX);
        self.ahead_ms.saturating_add(elapsed.saturating_mul(self.drift_ppm) / 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_rings_when_the_clock_shows_it_and_not_before() {
        for (ahead_ms, drift_ppm) in [(0, 0), (2_000, 400), (-2_000, -400), (700, -1_000)] {
            let clock = SimClock { ahead_ms, drift_ppm };
            for shown in (EPOCH_MS + 5_000..EPOCH_MS + 900_000).step_by(7_919).map(Timestamp) {
                let moment = clock.moment_of(shown);
                assert!(clock.read(moment) >= shown, "{clock:?} {shown:?}");
                assert!(clock.read(Moment(moment.0 - 1)) < shown, "{clock:?} {shown:?}");
            }
        }
    }
}
