//! Offering what is free: the ledger is asked what is booked and what both sides have, and [`FirmOffers`] decides.
//!
//! [`FirmOffers`]: gridhour_protocol::market::reservation::stock::FirmOffers

use std::sync::atomic::Ordering;

use gridhour_contracts_sim::{
    limits::DEVICE_RESERVATIONS_MAX,
    state::{DeviceKey, StateKey, StateValue},
};
use gridhour_protocol::{
    market::reservation::{
        ReservationOffer, ReservationWish,
        stock::{ReservationTerms, Stock, Window},
    },
    signed::{PublicKey, Signed},
    units::Credits,
    work::Rates,
};

use super::{booked, device_of, refresh};
use crate::{
    clock,
    drivers::{
        ledger_client::LedgerError,
        provider::{Shared, advert_of},
    },
    keys::random_u64,
};

/// What the ledger says that an offer depends on.
struct Facts {
    measured: Option<Rates>,
    bonded: Credits,
    balance: Credits,
    clients: Credits,
    booked: Vec<Window>,
}

/// An offer to `client` of what it wishes for, or why there is none.
///
/// # Errors
/// With a sentence for the client.
pub(in crate::drivers::provider) async fn offer(
    shared: &Shared,
    client: PublicKey,
    wish: ReservationWish,
) -> Result<Signed<ReservationOffer>, String> {
    let terms = shared.config.reserve.as_ref().ok_or("nothing is reserved here: ask another provider")?;
    if shared.draining.load(Ordering::Relaxed) || shared.serving.scheduler().is_none() {
        return Err("nothing is served here just now: ask again later".into());
    }
    let _turn = shared.reserved.turn.lock().await;
    let facts =
        facts(shared, client).await.map_err(|error| format!("the ledger does not answer: {error}"))?;
    let now = clock::now();
    let nonce = random_u64().map_err(|error| error.to_string())?;
    let stock = stock(shared, terms, &facts);
    let mut firm = shared.reserved.firm();
    firm.forget(now, &facts.booked);
    let offer = firm.offer(&stock, (client, &wish), now, nonce).map_err(|why| why.to_string())?;
    drop(firm);
    shared.reserved.looks.notify_one();
    Ok(shared.key.sign(offer))
}

fn stock<'a>(shared: &Shared, terms: &'a ReservationTerms, facts: &'a Facts) -> Stock<'a> {
    let receipt = shared.calibration.receipt();
    Stock {
        terms,
        network: shared.network,
        provider: shared.key.public(),
        device: device_of(shared),
        serves: shared.served.offer,
        rates: advert_of(shared, receipt.as_ref(), 0, clock::now()).device.rates,
        measured: facts.measured,
        bonded: facts.bonded,
        balance: facts.balance,
        clients: facts.clients,
        booked: &facts.booked,
        booked_max: DEVICE_RESERVATIONS_MAX,
    }
}

async fn facts(shared: &Shared, client: PublicKey) -> Result<Facts, LedgerError> {
    let (owner, device, ledger) = (shared.key.public(), device_of(shared), &shared.ledger);
    let measured = match ledger.record(StateKey::Device(DeviceKey { owner, device })).await? {
        Some(StateValue::Device(known)) => known.measured.map(|measured| measured.rates),
        _ => None,
    };
    let bonded = match ledger.record(StateKey::Stake(device)).await? {
        Some(StateValue::Stake(stake)) => stake.bonded,
        _ => Credits::ZERO,
    };
    let (balance, clients) = (balance(shared, owner).await?, balance(shared, client).await?);
    refresh(shared).await?;
    let booked = shared.reserved.with(booked);
    Ok(Facts { measured, bonded, balance, clients, booked })
}

async fn balance(shared: &Shared, account: PublicKey) -> Result<Credits, LedgerError> {
    Ok(match shared.ledger.record(StateKey::Account(account)).await? {
        Some(StateValue::Balance(balance)) => balance,
        _ => Credits::ZERO,
    })
}
