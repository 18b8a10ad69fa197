//! What a provider remembers of its calibrations: when the last one began, and the newest receipt.

use std::sync::{Mutex, MutexGuard, PoisonError};

use gridhour_protocol::{calibration::receipt::Calibration, signed::Signed, units::Timestamp};

use super::LoadStandard;

/// The state of a provider's calibrations.
pub(crate) struct Calibrated {
    /// How the standard model is loaded; none where there are no calibrations.
    pub(crate) load: Option<LoadStandard>,
    last_ask: Mutex<Option<Timestamp>>,
    receipt: Mutex<Option<Signed<Calibration>>>,
}

impl Calibrated {
    /// With a receipt from before, if there is one.
    pub(crate) fn new(load: Option<LoadStandard>, receipt: Option<Signed<Calibration>>) -> Self {
        Self { load, last_ask: Mutex::default(), receipt: Mutex::new(receipt) }
    }

    /// When the last calibration began, to be read and written by one at a time.
    pub(crate) fn last_ask(&self) -> MutexGuard<'_, Option<Timestamp>> {
        // Nothing panics while it holds the lock, here and below.
        self.last_ask.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest receipt.
    pub(crate) fn receipt(&self) -> Option<Signed<Calibration>> {
        self.receipt.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a newer one in its place.
    pub(crate) fn keep(&self, receipt: Signed<Calibration>) {
        *self.receipt.lock().unwrap_or_else(PoisonError::into_inner) = Some(receipt);
    }

    /// Shows no receipt any more.
    pub(crate) fn forget(&self) {
        *self.receipt.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
