//! What becomes of a slot's price, and of the bond: arithmetic on one reservation, and nothing else.
//!
//! ```text
//!  slot ── drawn by sessions ──> vouchers ──> provider
//!    │            └── not paid out ──┐
//!    ├── ended ────────────────> unused: the agreed share to the provider for standing by, the rest to the client
//!    └── called for, no answer ──> missed: all of it to the client; a rung of the bond is burned
//! ```
//!
//! A penalty is burned, so that nobody is richer for another's silence, and whoever could keep an answer from the ledger
//! has nothing to win by it. The client has back what it paid for the slot.

use gridhour_protocol::units::{Credits, Timestamp};

use crate::state::Reservation;

/// What settling pays out of a reservation, or out of a session that drew on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Payout {
    /// For standing by, and of the bond what it can no longer lose.
    pub(crate) provider: Credits,
    /// What comes back of the slots' prices.
    pub(crate) client: Credits,
    /// Penalties.
    pub(crate) burned: Credits,
}

impl Payout {
    /// Both together. Each is a part of what one reservation holds, so the sums fit.
    pub(crate) fn and(self, other: Self) -> Self {
        let sum = |one: Credits, other: Credits| Credits(one.0.saturating_add(other.0));
        Self {
            provider: sum(self.provider, other.provider),
            client: sum(self.client, other.client),
            burned: sum(self.burned, other.burned),
        }
    }

    /// The same for so many slots of one reservation.
    fn times(self, count: u16) -> Self {
        let product = |one: Credits| Credits(one.0.saturating_mul(count.into()));
        Self { provider: product(self.provider), client: product(self.client), burned: product(self.burned) }
    }
}

impl Reservation {
    /// Settles every slot that has ended or was missed: the first that is not settled, then at once all that follow. Of
    /// those nothing was drawn, and none was called for. So it takes no longer for many slots than for two.
    pub(crate) fn settle(&mut self, now: Timestamp) -> Payout {
        if !self.is_due(now) {
            return Payout::default();
        }
        let first = if self.is_missed(now) { self.miss() } else { self.deliver(1) };
        let ended = self.begun(now).saturating_sub(1).min(self.slots);
        match ended.checked_sub(self.settled) {
            None | Some(0) => first,
            Some(count) => first.and(self.deliver(count)),
        }
    }

    /// What is paid of so much of a settled slot's price that nobody worked for.
    pub(crate) fn unused(&self, slot: u16, amount: Credits) -> Payout {
        if self.missed.contains(&slot) {
            return Payout { client: amount, ..Payout::default() };
        }
        self.split(amount)
    }

    fn split(&self, unused: Credits) -> Payout {
        let provider = self.terms.standby_of(unused);
        Payout { provider, client: unused.saturating_sub(provider), burned: Credits::ZERO }
    }

    /// Gives up every slot that begins later than the agreed notice from now, if there is one: their whole price goes
    /// back. The slots before keep theirs, and stay what they are.
    pub(crate) fn give_up(&mut self, now: Timestamp) -> Option<Payout> {
        let last = now.after(self.terms.notice)?;
        let kept = self.begun(last).max(self.settled);
        let given = self.slots.checked_sub(kept).filter(|given| *given > 0)?;
        self.slots = kept;
        let client = self.terms.price_of(given);
        Some(Payout { provider: self.returned(), client, burned: Credits::ZERO })
    }

    /// Slots that have begun at `now`, if they went on for ever.
    fn begun(&self, now: Timestamp) -> u16 {
        let passed = now.0.checked_sub(self.terms.starts_at.0);
        let ended = passed.and_then(|passed| passed.checked_div(self.terms.slot.0));
        ended.map_or(0, |ended| u16::try_from(ended).unwrap_or(u16::MAX).saturating_add(1))
    }

    /// The first slots that are not settled have ended, so many of them. If they are several, nothing was drawn.
    fn deliver(&mut self, count: u16) -> Payout {
        let each = self.split(self.left_of_slot());
        self.pass(count);
        each.times(count).and(Payout { provider: self.returned(), ..Payout::default() })
    }

    /// The first slot that is not settled was missed. With the last rung of the ladder the slots after it are gone too.
    fn miss(&mut self) -> Payout {
        let (penalty, slot) = (self.terms.penalty(self.missed.len()), self.settled);
        self.missed.push(slot);
        let mut client = self.left_of_slot();
        if self.missed.len() >= self.terms.ladder.len() {
            client = self.prepaid();
            self.slots = slot.saturating_add(1);
        }
        self.pass(1);
        Payout { provider: self.returned(), client, burned: penalty }
    }

    /// What the provider has back of the bond: when no slot is left, all that it has not lost.
    fn returned(&self) -> Credits {
        if self.is_live() { Credits::ZERO } else { self.terms.bond(self.missed.len()) }
    }

    /// What no session has drawn of the slot.
    pub(crate) fn left_of_slot(&self) -> Credits {
        self.terms.slot_price().saturating_sub(self.drawn)
    }

    fn pass(&mut self, count: u16) {
        self.settled = self.settled.saturating_add(count);
        self.drawn = Credits::ZERO;
        self.demand = None;
    }
}

#[cfg(test)]
mod tests;
