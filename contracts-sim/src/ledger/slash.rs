//! Slashing: a provider that signed two receipts which cannot both be true loses what is at stake for the device.
//!
//! Nobody judges: two signatures and [`check_conflict`] decide, so an accuser can be anyone, a party to the receipt
//! among them, and can win nothing by opinion. The accuser is paid a small part of what is taken and the rest is
//! burned, so a provider that accuses itself under another key is poorer for it.

use gridhour_protocol::{
    limits::{GRACE_MS_MAX, SESSION_MS_MAX},
    receipt::conflict::check_conflict,
    units::{Credits, Millis, Timestamp},
};

use crate::{
    ledger::{
        Effects, Env,
        admit::ensure,
        entry::{Book, Event, Posting},
        reject::Reject,
        stake,
    },
    limits::{ACCUSATION_MS_MAX, ACCUSER_MAX, ACCUSER_PART, DISPUTE_WINDOW},
    state::{changes::Overlay, stake::Stake},
    tx::{Accusation, Tx},
};

/// Takes everything that is at stake for the device: what is bonded, and what is on its way back.
pub(crate) fn slash(
    overlay: &Overlay<'_>,
    env: &Env,
    tx: &Tx,
    accusation: &Accusation,
) -> Result<Effects, Reject> {
    let Accusation { terms, one, other, .. } = accusation;
    ensure(tx.sender != terms.provider, Reject::SameAccount)?;
    let device = accusation.device();
    let stake = stake::find(overlay, &device)?;
    let is_here = terms.network == overlay.base().network();
    ensure(is_here && accusation.leads_to_device(), Reject::EvidenceMismatch)?;
    check_time(env.time, terms.collect_until)?;
    check_conflict(&one.body, &other.body).map_err(|_| Reject::NoConflict)?;

    let taken = stake.total().ok_or(Reject::SupplyOverflow)?;
    let barred_until = env.time.after(Millis(ACCUSATION_MS_MAX)).ok_or(Reject::AccusationOver)?;
    let share = accuser_share(taken);
    let posting = |credit, amount| Posting { debit: Book::Stake(device), credit, amount };
    let paid = posting(Book::Account(tx.sender), share);
    let burned = posting(Book::Issuance, taken.saturating_sub(share));
    let postings = [paid, burned].into_iter().filter(|posting| posting.amount != Credits::ZERO);
    let after = Stake {
        owner: stake.owner,
        bonded: Credits::ZERO,
        until: stake.until,
        unbonding: Vec::new(),
        barred_until: Some(barred_until),
    };
    Ok(stake::changed(device, after, postings.collect(), Event::Slashed { device, barred_until }))
}

/// The session's deadline is one that a session open now could have, or passed less than the dispute window ago. A
/// stake that was there when the session opened is there for all that time ([`crate::limits::UNBOND_DELAY`]).
fn check_time(now: Timestamp, collect_until: Timestamp) -> Result<(), Reject> {
    let could_be_open = collect_until.since(now).0 <= SESSION_MS_MAX + GRACE_MS_MAX;
    ensure(could_be_open && now.since(collect_until) <= DISPUTE_WINDOW, Reject::AccusationOver)
}

/// What an accuser is paid of `taken`, rounded down.
#[must_use]
pub fn accuser_share(taken: Credits) -> Credits {
    Credits(taken.0 / ACCUSER_PART).min(ACCUSER_MAX)
}
