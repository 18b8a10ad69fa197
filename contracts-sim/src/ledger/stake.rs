//! Stakes: bond, unbond, withdraw.
//!
//! ```text
//!  (nothing) ── bond ──> bonded ── unbond ──> unbonding ── delay, withdraw ──> with its owner
//!                          └──────── slash ───────┘──> accuser, and out of existence; the device is barred
//! ```
//!
//! No credit is at stake for ever: a bond names its end, after which anyone may unbond it, and every unbonding has a
//! deadline, after which anyone may have it paid to its owner.

use gridhour_protocol::{
    id::DeviceId,
    units::{Credits, Timestamp},
};

use crate::{
    ledger::{
        Effects, Env, Write,
        admit::ensure,
        entry::{Book, Event, Posting},
        registry::check_lifetime,
        reject::Reject,
    },
    limits::{BOND_MIN, BOND_MS_MAX, UNBOND_DELAY, UNBONDINGS_MAX},
    state::{
        changes::Overlay,
        device::DeviceKey,
        stake::{Stake, Unbonding},
    },
    tx::Tx,
};

/// Puts credits of the provider at stake for a device that it registered. Of nothing, it moves the end of what is
/// bonded already, so that keeping a stake takes no more credits than the stake.
pub(crate) fn bond(
    overlay: &Overlay<'_>,
    env: &Env,
    tx: &Tx,
    device: &DeviceId,
    amount: Credits,
    until: Timestamp,
) -> Result<Effects, Reject> {
    let known = overlay.stake(device);
    let adds = amount != Credits::ZERO;
    let prolongs = known.is_some_and(|stake| stake.bonded != Credits::ZERO);
    ensure(adds || prolongs, Reject::ZeroAmount)?;
    ensure(!adds || amount >= BOND_MIN, Reject::TooLittle)?;
    check_lifetime(env.time, until, BOND_MS_MAX)?;
    let key = DeviceKey { owner: tx.sender, device: *device };
    ensure(overlay.device(&key).is_some(), Reject::UnknownDevice)?;
    ensure(!known.is_some_and(|stake| stake.is_barred(env.time)), Reject::DeviceBarred)?;
    let mut stake = known.cloned().unwrap_or_else(|| Stake {
        owner: tx.sender,
        bonded: Credits::ZERO,
        until,
        unbonding: Vec::new(),
        barred_until: None,
    });
    stake.bonded = stake.bonded.checked_add(amount).ok_or(Reject::SupplyOverflow)?;
    stake.until = stake.until.max(until);
    let posting = Posting { debit: Book::Account(tx.sender), credit: Book::Stake(*device), amount };
    let event = Event::Bonded { device: *device, until: stake.until };
    Ok(changed(*device, stake, adds.then_some(posting).into_iter().collect(), event))
}

/// Starts the delay after which credits go home. By anyone but the owner it is all or nothing, so that nobody can cut
/// another's stake into crumbs.
pub(crate) fn unbond(
    overlay: &Overlay<'_>,
    env: &Env,
    tx: &Tx,
    device: &DeviceId,
    amount: Credits,
) -> Result<Effects, Reject> {
    ensure(amount != Credits::ZERO, Reject::ZeroAmount)?;
    let mut stake = find(overlay, device)?.clone();
    let is_over = env.time > stake.until && amount == stake.bonded;
    ensure(tx.sender == stake.owner || is_over, Reject::NotOwner)?;
    stake.bonded = stake.bonded.checked_sub(amount).ok_or(Reject::OverStake)?;
    ensure(stake.unbonding.len() < UNBONDINGS_MAX, Reject::UnbondingsFull)?;
    let release_at = env.time.after(UNBOND_DELAY).ok_or(Reject::SupplyOverflow)?;
    stake.unbonding.push(Unbonding { amount, release_at });
    let event = Event::Unbonding { device: *device, amount, release_at };
    Ok(changed(*device, stake, Vec::new(), event))
}

/// Pays every unbonding whose deadline has come to the stake's owner, whoever asks.
pub(crate) fn withdraw(overlay: &Overlay<'_>, env: &Env, device: &DeviceId) -> Result<Effects, Reject> {
    let mut stake = find(overlay, device)?.clone();
    let due = stake.unbonding.iter().take_while(|part| part.release_at <= env.time).count();
    ensure(due > 0, Reject::NothingDue)?;
    let parts = stake.unbonding.drain(..due).map(|part| part.amount);
    let amount = Credits::sum(parts).ok_or(Reject::SupplyOverflow)?;
    let posting = Posting { debit: Book::Stake(*device), credit: Book::Account(stake.owner), amount };
    Ok(changed(*device, stake, vec![posting], Event::Withdrawn { device: *device }))
}

/// What is at stake for a device; a barred one has nothing at stake.
pub(crate) fn find<'o>(overlay: &'o Overlay<'_>, device: &DeviceId) -> Result<&'o Stake, Reject> {
    overlay.stake(device).filter(|stake| stake.holds_any()).ok_or(Reject::UnknownStake)
}

/// A stake as it is afterwards.
pub(crate) fn changed(device: DeviceId, stake: Stake, postings: Vec<Posting>, event: Event) -> Effects {
    Effects { postings, writes: vec![Write::Stake(device, stake)], ..Effects::of(event) }
}
