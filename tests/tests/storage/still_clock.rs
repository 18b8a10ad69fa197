//! A clock that stands still until a test moves it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use gridhour_node::consensus::ledger_time::{Clock, Reading};
use gridhour_protocol::units::{Millis, Timestamp};

/// Both clocks of a machine. Clones are the same clocks.
#[derive(Clone, Debug)]
pub(crate) struct StillClock(Arc<Mutex<Reading>>);

impl StillClock {
    /// Clocks whose wall clock says `wall`.
    #[must_use]
    pub(crate) fn new(wall: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Reading { wall, steady: Duration::ZERO })))
    }

    fn change(&self, change: impl FnOnce(&mut Reading)) {
        change(&mut self.0.lock().expect("no test panics while it holds the clock"));
    }

    /// Lets time pass.
    ///
    /// # Panics
    /// Past the end of time.
    pub(crate) fn advance(&self, span: Millis) {
        self.change(|now| {
            now.wall = now.wall.after(span).expect("tests end before time does");
            now.steady += Duration::from_millis(span.0);
        });
    }

    /// Sets the wall clock, as an operator or a bad time server does.
    pub(crate) fn set_wall(&self, wall: Timestamp) {
        self.change(|now| now.wall = wall);
    }
}

impl Clock for StillClock {
    fn read(&self) -> Reading {
        *self.0.lock().expect("no test panics while it holds the clock")
    }
}
