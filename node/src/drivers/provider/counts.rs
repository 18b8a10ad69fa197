//! What a provider counts. Whoever scrapes sees numbers; who its clients are stays in its logs.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use gridhour_protocol::{job::provider::ProviderEnd, units::Credits};

use super::ProviderEvent;
use crate::metrics::times::Times;

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) adverts: AtomicU64,
    pub(crate) settled: AtomicU64,
    pub(crate) unsettled: AtomicU64,
    pub(crate) cheated: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) tokens: AtomicU64,
    pub(crate) streams: Times,
    pub(crate) closed: AtomicU64,
    pub(crate) forgotten: AtomicU64,
    pub(crate) collected: AtomicU64,
    pub(crate) quoted: AtomicU64,
    pub(crate) lapsed: AtomicU64,
    pub(crate) withdrawn: AtomicU64,
    pub(crate) calibrated: AtomicU64,
    pub(crate) not_calibrated: AtomicU64,
    pub(crate) troubles: AtomicU64,
    standing: Mutex<Standing>,
}

/// How things stand, as last looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Sessions that are remembered.
    pub(crate) sessions: u64,
    /// Those of them whose deadline is near, and what they grant beyond what was collected.
    pub(crate) unclaimed: u64,
    pub(crate) unclaimed_amount: Credits,
    /// At stake for the device, and missing from what should be.
    pub(crate) bonded: Credits,
    pub(crate) stake_missing: Credits,
}

impl Counts {
    /// Counts what was told.
    pub(crate) fn note(&self, event: &ProviderEvent) {
        let counter = match event {
            ProviderEvent::Advertised { .. } => &self.adverts,
            ProviderEvent::Closed { .. } => &self.closed,
            ProviderEvent::Forgotten { .. } => &self.forgotten,
            ProviderEvent::Quoted { .. } => &self.quoted,
            ProviderEvent::QuoteLapsed { .. } => &self.lapsed,
            ProviderEvent::Withdrawn { .. } => &self.withdrawn,
            ProviderEvent::Calibrated { .. } => &self.calibrated,
            ProviderEvent::NotCalibrated { .. } => &self.not_calibrated,
            ProviderEvent::Trouble { .. } => &self.troubles,
            ProviderEvent::Staked { bonded, .. } => {
                return self.stand(|now| (now.bonded, now.stake_missing) = (*bonded, Credits::ZERO));
            }
            ProviderEvent::StakeShort { bonded, missing, .. } => {
                return self.stand(|now| (now.bonded, now.stake_missing) = (*bonded, *missing));
            }
            _ => return,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Counts a job that ended so after `tokens` output tokens.
    pub(crate) fn job(&self, end: &ProviderEnd, tokens: u32) {
        let counter = match end {
            ProviderEnd::Refused(_) => &self.refused,
            ProviderEnd::Settled(_) => &self.settled,
            ProviderEnd::Unsettled(_) => &self.unsettled,
            ProviderEnd::Cheated { .. } => &self.cheated,
        };
        counter.fetch_add(1, Relaxed);
        self.tokens.fetch_add(tokens.into(), Relaxed);
    }

    /// Counts money that the ledger paid.
    pub(crate) fn collected(&self, amount: Credits) {
        self.collected.fetch_add(amount.0, Relaxed);
    }

    /// Changes how things stand.
    pub(crate) fn stand(&self, change: impl FnOnce(&mut Standing)) {
        change(&mut self.standing.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// How things stand.
    pub(crate) fn standing(&self) -> Standing {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
