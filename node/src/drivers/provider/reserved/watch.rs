//! Looking after what was reserved: whatever events were lost, the ledger's state says what was booked and what is called
//! for, and it is looked at often enough to answer in time.

use std::{convert::Infallible, time::Duration};

use gridhour_contracts_sim::{state::Reservation, tx::Call};
use gridhour_protocol::{market::reservation::stock::OFFER_FIRM, units::Timestamp};
use tokio::time::timeout;

use super::{
    booked,
    duty::{next_look, to_answer},
    ledger_now, refresh,
    slot::slot_advert,
};
use crate::{
    clock,
    drivers::{
        ledger_client::LedgerError,
        provider::{ProviderEvent, Shared},
    },
};

/// Wait before the ledger is asked again that did not answer.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Watches for as long as it is polled. It keeps nothing that it could not look up again, so it may be dropped at any time.
pub(in crate::drivers::provider) async fn keep(shared: &Shared) -> Infallible {
    // Offers from before a restart may still be booked.
    let restart = clock::now().after(OFFER_FIRM).unwrap_or_else(clock::now);
    let mut is_blind = false;
    loop {
        let wait = match look(shared).await {
            Ok(()) => {
                is_blind = false;
                Duration::from_millis(wait(shared, restart))
            }
            Err(error) => {
                if !is_blind {
                    shared.trouble(format!("what is reserved of this device cannot be seen: {error}"));
                }
                is_blind = true;
                RETRY_AFTER
            }
        };
        // An offer that was just made may be booked at once; either way the next look follows.
        let _ = timeout(wait, shared.reserved.looks.notified()).await;
    }
}

fn wait(shared: &Shared, restart: Timestamp) -> u64 {
    let now = clock::now();
    let mut firm = shared.reserved.firm();
    firm.forget(now, &shared.reserved.with(booked));
    let bookable = if firm.is_empty() { restart } else { now };
    shared.reserved.with(|known| next_look(known, bookable, now)).0
}

/// Looks once, tells what is new, and answers what is called for.
async fn look(shared: &Shared) -> Result<(), LedgerError> {
    let before = refresh(shared).await?;
    let known = shared.reserved.known();
    tell_news(shared, &before, &known);
    let now = ledger_now(shared).await?;
    for called in to_answer(&known, now) {
        answer(shared, called, now).await;
    }
    Ok(())
}

/// A provider that cannot serve does not answer: it would be paid for nothing.
async fn answer(shared: &Shared, called: &Reservation, now: Timestamp) {
    let (id, slot) = (called.terms.id(), called.settled);
    let advert = match slot_advert(shared, &called.terms, now) {
        Ok(advert) => Box::new(advert),
        Err(why) => {
            return shared.trouble(format!("slot {slot} of reservation {} is called for: {why}", id.short()));
        }
    };
    match shared.ledger.submit(&shared.key, Call::Answer { reservation: id, advert }).await {
        Ok(_) => shared.tell(ProviderEvent::SlotAnswered { reservation: id, slot }),
        // Looked at again in a moment, while there is time.
        Err(error) => {
            shared.trouble(format!("slot {slot} of reservation {} not answered: {error}", id.short()))
        }
    }
}

fn tell_news(shared: &Shared, before: &[Reservation], known: &[Reservation]) {
    for now in known {
        let id = now.terms.id();
        let was = before.iter().find(|was| was.terms.id() == id);
        if was.is_none() {
            let (from, until) = (now.terms.start_of(now.settled), now.end());
            let client = now.terms.client;
            shared.tell(ProviderEvent::Reserved { reservation: id, client, from, until });
        }
        let missed = now.missed.len();
        if was.is_some_and(|was| was.missed.len() < missed) {
            shared.tell(ProviderEvent::SlotMissed { reservation: id, missed });
        }
    }
}
