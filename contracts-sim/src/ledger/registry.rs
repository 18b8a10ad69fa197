//! The registry: a provider's word about its devices, dated and bounded, and a challenger's about their rates.

use gridhour_protocol::{
    calibration::receipt::Calibration,
    id::DeviceId,
    limits::CLOCK_SKEW_MS_MAX,
    units::{Millis, Timestamp},
};

use crate::{
    ledger::{Effects, Env, Write, admit::ensure, entry::Event, reject::Reject},
    limits::{DEVICES_MAX, REGISTRATION_MS_MAX},
    state::{
        changes::Overlay,
        device::{Device, DeviceKey, Measured},
    },
    tx::{Registration, Tx},
};

/// Enters a device, or replaces its entry by a newer one. What a challenger measured stays.
pub(crate) fn register(
    overlay: &Overlay<'_>,
    env: &Env,
    tx: &Tx,
    registration: &Registration,
) -> Result<Effects, Reject> {
    check_lifetime(env.time, registration.expires_at, REGISTRATION_MS_MAX)?;
    let key = DeviceKey { owner: tx.sender, device: registration.device_of(&tx.sender) };
    let known = overlay.device(&key);
    match known {
        Some(known) => ensure(registration.sequence > known.registration.sequence, Reject::NotNewer)?,
        None => ensure(overlay.devices_of(&tx.sender) < DEVICES_MAX, Reject::DevicesFull)?,
    }
    let measured = known.and_then(|known| known.measured);
    let device = Device { registration: registration.clone(), measured };
    Ok(entered(key, Some(device), Event::Registered { device: key.device }))
}

/// Enters what a challenger measured, if it is newer than what is known.
pub(crate) fn calibrate(
    overlay: &Overlay<'_>,
    env: &Env,
    tx: &Tx,
    calibration: &Calibration,
) -> Result<Effects, Reject> {
    let challenge = &calibration.challenge;
    ensure(challenge.challenger != tx.sender, Reject::SameAccount)?;
    let key = DeviceKey { owner: tx.sender, device: calibration.device.id_of(&tx.sender) };
    let device = overlay.device(&key).ok_or(Reject::UnknownDevice)?;
    let is_newer = device.measured.is_none_or(|known| calibration.ended_at > known.ended_at);
    ensure(is_newer, Reject::NotNewer)?;
    let soon = env.time.after(Millis(CLOCK_SKEW_MS_MAX)).unwrap_or(env.time);
    let is_ours = challenge.provider == tx.sender && challenge.network == overlay.base().network();
    ensure(is_ours && calibration.ended_at <= soon, Reject::CalibrationMismatch)?;
    let measured = Measured::of(calibration).ok_or(Reject::CalibrationMismatch)?;
    let event = Event::Calibrated { device: key.device, challenger: measured.challenger };
    Ok(entered(key, Some(Device { measured: Some(measured), ..device.clone() }), event))
}

/// Removes an entry. A stake for the device stays what it is.
pub(crate) fn deregister(overlay: &Overlay<'_>, tx: &Tx, device: &DeviceId) -> Result<Effects, Reject> {
    let key = DeviceKey { owner: tx.sender, device: *device };
    ensure(overlay.device(&key).is_some(), Reject::UnknownDevice)?;
    Ok(entered(key, None, Event::Deregistered { device: *device }))
}

fn entered(key: DeviceKey, device: Option<Device>, event: Event) -> Effects {
    Effects { writes: vec![Write::Device(key, device)], ..Effects::of(event) }
}

/// Whether what begins now ends later, and at most `longest` milliseconds later.
pub(crate) fn check_lifetime(now: Timestamp, end: Timestamp, longest: u64) -> Result<(), Reject> {
    ensure((1..=longest).contains(&end.since(now).0), Reject::Lifetime)
}
