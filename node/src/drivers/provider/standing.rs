//! A provider's standing on the ledger: its device is registered, what a challenger measured is entered, and a stake is
//! kept bonded. [`next`] decides; here the ledger is asked, and asked again when it does not answer.

mod next;

use std::{convert::Infallible, time::Duration};

use gridhour_contracts_sim::{
    state::{DeviceKey, StateKey, StateValue},
    tx::Call,
};
use gridhour_protocol::{
    calibration::receipt::DeviceName,
    exact::NUMERICS_VERSION,
    id::DeviceId,
    units::{Credits, Timestamp},
};
use tokio::time::timeout;

use self::next::{Next, Seen, Wish};
use super::{ProviderEvent, Shared};
use crate::{clock, drivers::ledger_client::LedgerError};

/// How often the ledger is looked at when all is well.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// The first wait after the ledger did not answer, or credits are missing; it doubles from try to try.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest wait before the next try.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Things asked for in one go: an entry, a bond and a measurement.
const CALLS_MAX: usize = 3;

/// What was last said of the standing, so that it is said again only when it changed.
#[derive(Default)]
struct Told {
    expires_at: Option<Timestamp>,
    staked: Option<(Credits, Timestamp)>,
    waits: Option<Next>,
}

/// Keeps the standing for as long as it is polled. What was asked for and not heard of is looked up again, so it may be
/// dropped at any time.
pub(super) async fn keep(shared: &Shared) -> Infallible {
    let (mut told, mut retry) = (Told::default(), RETRY_FIRST);
    loop {
        let wait = match settle(shared, &mut told).await {
            Ok(true) => {
                retry = RETRY_FIRST;
                LOOK_EVERY
            }
            Ok(false) => retry,
            Err(error) => {
                shared.trouble(format!("the ledger has not taken this device's entry or stake yet: {error}"));
                retry
            }
        };
        // A new calibration is entered at once.
        if timeout(wait, shared.calibrated.notified()).await.is_err() && wait < LOOK_EVERY {
            retry = (retry * 2).min(RETRY_MAX);
        }
    }
}

/// Asks for what is next until nothing is. Says whether all is as it should be.
async fn settle(shared: &Shared, told: &mut Told) -> Result<bool, LedgerError> {
    let wish = wish(shared);
    for _ in 0..CALLS_MAX {
        let seen = look(shared, wish.device).await?;
        tell_news(shared, told, wish.device, &seen);
        match wish.next(&seen, clock::now()) {
            Next::Submit(call) => submit(shared, wish.device, call).await?,
            rest => return Ok(tell_rest(shared, told, &wish, &seen, rest)),
        }
    }
    let seen = look(shared, wish.device).await?;
    tell_news(shared, told, wish.device, &seen);
    Ok(wish.next(&seen, clock::now()) == Next::Nothing)
}

fn wish(shared: &Shared) -> Wish {
    let device = &shared.served.device;
    let name = DeviceName::of(device);
    Wish {
        device: name.id_of(&shared.key.public()),
        name,
        memory_bytes: device.memory_bytes,
        numerics: NUMERICS_VERSION,
        model: shared.served.offer.model,
        calibration: shared.calibration.receipt(),
        stake: shared.config.stake,
    }
}

async fn look(shared: &Shared, device: DeviceId) -> Result<Seen, LedgerError> {
    let (owner, ledger) = (shared.key.public(), &shared.ledger);
    let mut seen = Seen::default();
    if let Some(StateValue::Device(known)) =
        ledger.record(StateKey::Device(DeviceKey { owner, device })).await?
    {
        seen.device = Some(*known);
    }
    if let Some(StateValue::Balance(balance)) = ledger.record(StateKey::Account(owner)).await? {
        seen.balance = balance;
    }
    let stake = ledger.checked_record(StateKey::Stake(device)).await?;
    if let Some(StateValue::Stake(proven)) = stake.evidence.and_then(|evidence| evidence.proven.value) {
        seen.proven = if proven.barred_until.is_some() { Credits::ZERO } else { proven.bonded };
    }
    if let Some(StateValue::Stake(said)) = stake.said {
        seen.stake = Some(*said);
    }
    Ok(seen)
}

async fn submit(shared: &Shared, device: DeviceId, call: Call) -> Result<(), LedgerError> {
    let challenger = match &call {
        Call::Calibrate(calibration) => Some(calibration.body.challenge.challenger),
        _ => None,
    };
    shared.ledger.submit(&shared.key, call).await?;
    if let Some(challenger) = challenger {
        shared.tell(ProviderEvent::CalibrationEntered { device, challenger });
    }
    Ok(())
}

fn tell_news(shared: &Shared, told: &mut Told, device: DeviceId, seen: &Seen) {
    let expires_at = seen.device.as_ref().map(|known| known.registration.expires_at);
    if let (Some(expires_at), true) = (expires_at, expires_at != told.expires_at) {
        shared.tell(ProviderEvent::Registered { device, expires_at });
    }
    let staked = seen.stake.as_ref().map(|stake| (stake.bonded, stake.until));
    let staked = staked.filter(|(bonded, _)| *bonded != Credits::ZERO);
    if let (Some((bonded, until)), true) = (staked, staked != told.staked) {
        shared.tell(ProviderEvent::Staked { device, bonded, until });
    }
    (told.expires_at, told.staked) = (expires_at, staked);
}

/// Says what is waited for, once. Returns whether it is nothing.
fn tell_rest(shared: &Shared, told: &mut Told, wish: &Wish, seen: &Seen, rest: Next) -> bool {
    let (device, is_new) = (wish.device, told.waits.as_ref() != Some(&rest));
    let event = match rest {
        Next::Short { missing } => Some(ProviderEvent::StakeShort {
            device,
            account: shared.key.public(),
            wanted: wish.stake,
            bonded: seen.bonded(),
            balance: seen.balance,
            missing,
        }),
        Next::Barred { until } => Some(ProviderEvent::StakeBarred { device, until }),
        Next::Nothing | Next::Submit(_) => None,
    };
    told.waits = Some(rest);
    let waits = event.is_some();
    event.filter(|_| is_new).into_iter().for_each(|event| shared.tell(event));
    !waits
}
