//! Whether the ledger answers a node that does not keep it: asked again and again, for its health and its metrics.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gridhour_protocol::units::Timestamp;
use tokio::time::{MissedTickBehavior, interval};

use super::ledger_client::LedgerClient;
use crate::{clock, health::Reason, rpc::LedgerStatus};

/// How often the ledger is asked.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// Questions in a row without an answer after which the ledger is out of reach: one may be a blip.
const MISSES_MAX: u64 = 2;

/// What is known of the ledger. Clones know the same.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<Mutex<Beat>>);

/// The last answer, and what was not answered.
#[derive(Clone, Debug, Default)]
pub struct Beat {
    /// The last answer, and when it came by our clock.
    pub answer: Option<(LedgerStatus, Timestamp)>,
    /// Questions in a row that were not answered.
    pub misses: u64,
    /// All that were not answered.
    pub missed: u64,
    /// Why the last was not answered.
    pub why: String,
}

impl Pulse {
    /// Asks for as long as it is polled.
    pub async fn keep(self, ledger: LedgerClient) {
        let mut turns = interval(ASK_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let answer = ledger.status().await.map_err(|error| error.to_string());
            self.beat().take(answer, clock::now());
        }
    }

    /// What is known now.
    #[must_use]
    pub fn now(&self) -> Beat {
        self.beat().clone()
    }

    /// Why nothing can be bought or sold here, if the ledger is out of reach.
    #[must_use]
    pub fn trouble(&self) -> Option<Reason> {
        self.now().trouble()
    }

    fn beat(&self) -> MutexGuard<'_, Beat> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Beat {
    fn take(&mut self, answer: Result<LedgerStatus, String>, now: Timestamp) {
        match answer {
            Ok(status) => {
                self.answer = Some((status, now));
                self.misses = 0;
            }
            Err(why) => {
                self.misses = self.misses.saturating_add(1);
                self.missed = self.missed.saturating_add(1);
                self.why = why;
            }
        }
    }

    fn trouble(&self) -> Option<Reason> {
        if self.misses < MISSES_MAX {
            return self
                .answer
                .is_none()
                .then(|| Reason::busy("starting", "the ledger was not heard of yet"));
        }
        let why = format!(
            "{}; it is asked every {} s: see that it runs and is reached",
            self.why,
            ASK_EVERY.as_secs()
        );
        Some(Reason::broken("ledger-unreachable", why))
    }
}

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::harness::Chain;

    use super::*;
    use crate::drivers::validator::status_of;

    fn name(beat: &Beat) -> Option<&'static str> {
        beat.trouble().map(|reason| reason.name)
    }

    #[test]
    fn the_ledger_is_out_of_reach_after_two_questions_and_back_after_one_answer() {
        let status = status_of(Chain::new().state());
        let mut beat = Beat::default();
        assert_eq!(name(&beat), Some("starting"));
        beat.take(Ok(status), Timestamp(7));
        assert_eq!(name(&beat), None);
        beat.take(Err("gone".into()), Timestamp(8));
        assert_eq!(name(&beat), None, "a blip");
        beat.take(Err("gone".into()), Timestamp(9));
        assert_eq!(name(&beat), Some("ledger-unreachable"));
        assert_eq!(beat.answer, Some((status, Timestamp(7))));
        beat.take(Ok(status), Timestamp(10));
        assert_eq!((name(&beat), beat.missed), (None, 2));
    }
}
