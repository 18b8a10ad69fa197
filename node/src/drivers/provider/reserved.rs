//! Reserved capacity at its provider: it offers what is free, keeps a place for whoever has a slot, and answers when a
//! slot is called for.
//!
//! ```text
//!  wish ──────> offer      what is free by the ledger, on the operator's terms, firm for a minute
//!  ledger ────> watch      what was booked, and which slot is called for: looked up, never only heard of
//!  slot ──────> advert     of what is reserved, whatever is asked of others today
//!  a slot runs: one place is its client's
//! ```
//!
//! What the provider owes follows from the ledger's state, so a restart forgets nothing but offers that are not booked yet.

mod duty;
mod offer;
mod slot;
mod watch;

use std::sync::{Mutex, MutexGuard, PoisonError};

use gridhour_contracts_sim::state::Reservation;
use gridhour_protocol::{
    calibration::receipt::DeviceName,
    id::{DeviceId, ReservationId},
    market::reservation::stock::{FirmOffers, Window},
    units::Timestamp,
};

use tokio::sync::Notify;

use self::duty::{holder, is_promised_soon};
pub(super) use self::{offer::offer, slot::slot, watch::keep};
use super::Shared;
use crate::{clock, drivers::ledger_client::LedgerError};

/// What a provider knows of its reservations.
#[derive(Default)]
pub(crate) struct Reserved {
    /// Those of its device that are not over, as the ledger last said.
    known: Mutex<Vec<Reservation>>,
    /// Offers that stand. Never held while the ledger is asked: whoever looks after what is called for needs it in time.
    firm: Mutex<FirmOffers>,
    /// Held while the ledger is asked for somebody's question: one at a time, so that no two offers are made of the same
    /// time, and whoever asks much keeps nobody but the like waiting.
    turn: tokio::sync::Mutex<()>,
    /// The ledger is to be looked at.
    looks: Notify,
}

impl Reserved {
    /// What the ledger last said.
    fn known(&self) -> Vec<Reservation> {
        // Nothing panics while it holds the lock, here and below.
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at what the ledger last said.
    fn with<T>(&self, look: impl FnOnce(&[Reservation]) -> T) -> T {
        look(&self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn firm(&self) -> MutexGuard<'_, FirmOffers> {
        self.firm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, newest: Vec<Reservation>) -> Vec<Reservation> {
        std::mem::replace(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner), newest)
    }

    fn find(&self, id: ReservationId) -> Option<Reservation> {
        self.with(|known| known.iter().find(|known| known.terms.id() == id).cloned())
    }
}

/// Whether a challenger would have to wait: a slot runs, or begins before a calibration is surely over.
pub(super) fn is_spoken_for(shared: &Shared, now: Timestamp) -> bool {
    shared.reserved.with(|known| is_promised_soon(known, now))
}

/// Has a place kept for whose slot runs now.
pub(super) fn keep_place(shared: &Shared, now: Timestamp) {
    shared.desk.keep_for(shared.reserved.with(|known| holder(known, now)));
}

/// What is promised of the device for good.
fn booked(known: &[Reservation]) -> Vec<Window> {
    let live = known.iter().filter(|known| known.is_live());
    live.map(|known| Window { from: known.terms.start_of(known.settled), until: known.end() }).collect()
}

/// The time as far as is known: the ledger's decides over slots, and may be ahead of this clock.
async fn ledger_now(shared: &Shared) -> Result<Timestamp, LedgerError> {
    Ok(shared.ledger.status().await?.time.max(clock::now()))
}

fn device_of(shared: &Shared) -> DeviceId {
    DeviceName::of(&shared.served.device).id_of(&shared.key.public())
}

/// Asks the ledger what is reserved of this provider's device. What it said before.
async fn refresh(shared: &Shared) -> Result<Vec<Reservation>, LedgerError> {
    let (provider, device) = (shared.key.public(), device_of(shared));
    let mut newest = shared.ledger.reservations(provider).await?;
    newest.retain(|known| known.terms.provider == provider && known.terms.device == device);
    let before = shared.reserved.replace(newest.clone());
    if before != newest {
        // Fewer places may be free for others.
        shared.changed.notify_one();
    }
    Ok(before)
}
