//! Money in limbo: earned and not collected while the time for that runs out, about to be lost for a slot that was called
//! for, or held past its deadline, when anyone may send it home and nobody did. It follows from the ledger's state and the time alone, so whoever has a copy can tell
//! anyone, whatever the owners' nodes believe.

use gridhour_contracts_sim::state::{Reservation, State};
use gridhour_protocol::{
    id::{ReservationId, SessionId},
    session::terms::Terms,
    signed::PublicKey,
    units::{Credits, Timestamp},
};
use serde::{Deserialize, Serialize};

use crate::{
    drivers::validator::account_of,
    rpc::{Hold, Purpose},
};

/// Pieces listed for one account.
pub const LIMBO_MAX: usize = 256;
/// A deadline is near once less than one part in so many of the grace, the time to collect, is left.
pub const NEAR_PART: u64 = 2;
/// So long after a deadline, in milliseconds, a hold that is still there is in limbo. A ledger node that is well releases
/// it in a second or two.
pub const OVERDUE_MS: u64 = 10_000;
/// What a provider can do about what it has not collected.
pub const COLLECT_ADVICE: &str = "keep the provider running and see that it reaches the ledger node, or start it with this \
     data directory: after the deadline the money goes back to the client";
/// What a provider can do about a call for a slot that it has not answered.
pub const ANSWER_ADVICE: &str = "keep the provider running and see that it reaches the ledger node, or start it with this \
     data directory: without an answer by the deadline this is burned, and the slot's price goes back to the client";
/// What the owner of an overdue hold can do.
pub const OVERDUE_ADVICE: &str = "its ledger node should have released this: ask the operator to start it, and audit the \
     ledger";

/// A piece of money in limbo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limbo {
    /// Why, and where.
    pub cause: Cause,
    /// How much; at most, where it is to be collected; where a slot is to be answered for, what missing it costs.
    pub amount: Credits,
    /// Until when it may be collected or answered; or since when it should have been released.
    pub deadline: Timestamp,
}

/// Why money is in limbo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The account is the session's provider, has not closed it, and soon cannot any more.
    Uncollected(SessionId),
    /// It is the account's, its deadline has passed, and it is still held.
    Overdue(Purpose),
    /// The account is the reservation's provider, its slot is called for, and it has not answered yet.
    Called(ReservationId),
}

impl Limbo {
    /// What to do about it, in a sentence.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self.cause {
            Cause::Uncollected(_) => COLLECT_ADVICE,
            Cause::Overdue(_) => OVERDUE_ADVICE,
            Cause::Called(_) => ANSWER_ADVICE,
        }
    }
}

/// Whether less than one part in [`NEAR_PART`] of the session's grace is left at `now` until `deadline`.
#[must_use]
pub fn is_near(terms: &Terms, deadline: Timestamp, now: Timestamp) -> bool {
    let grace = terms.collect_until.since(terms.use_until);
    deadline.since(now).0 < grace.0 / NEAR_PART
}

/// What of `account`'s money is in limbo at `now`: at most [`LIMBO_MAX`] pieces.
#[must_use]
pub fn limbo_of(state: &State, account: &PublicKey, now: Timestamp) -> Vec<Limbo> {
    let earned = state.sessions().filter(|(_, session)| session.terms.provider == *account);
    let near = earned.filter(|(_, session)| {
        let collectable = now <= session.collect_until && session.held != Credits::ZERO;
        collectable && is_near(&session.terms, session.collect_until, now)
    });
    let uncollected = near.map(|(id, session)| Limbo {
        cause: Cause::Uncollected(*id),
        amount: session.held,
        deadline: session.collect_until,
    });
    let held = account_of(state, account).holds.into_iter();
    let overdue = held.filter(|hold| now.since(hold.deadline).0 > OVERDUE_MS);
    let overdue = overdue.map(|Hold { purpose, amount, deadline }| Limbo {
        cause: Cause::Overdue(purpose),
        amount,
        deadline,
    });
    let promised = state.reservations().filter(|(_, known)| known.terms.provider == *account);
    let called = promised.filter_map(|(id, known)| called(*id, known, now));
    uncollected.chain(called).chain(overdue).take(LIMBO_MAX).collect()
}

/// What a provider loses that does not answer, if it is called for a slot.
fn called(id: ReservationId, known: &Reservation, now: Timestamp) -> Option<Limbo> {
    let demand =
        known.demand.filter(|demand| !demand.answered && known.is_live() && !known.is_missed(now))?;
    let amount = known.terms.penalty(known.missed.len());
    Some(Limbo { cause: Cause::Called(id), amount, deadline: demand.answer_by })
}

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::{
        harness::{Chain, Deal, START, key},
        tx::Call,
    };
    use gridhour_protocol::units::Millis;

    use super::*;

    #[test]
    fn what_a_provider_may_lose_is_in_limbo_while_its_slot_is_called_for() {
        let mut chain = Chain::new();
        let deal = Deal::new(&chain, &key(1), &key(2));
        chain.ready_device(&deal);
        let offer = deal.reservation();
        let reservation = chain.book(&deal, &offer);
        chain.advance(Millis(offer.starts_at.0 - chain.now().0));
        let limbo = |chain: &Chain, now| limbo_of(chain.state(), &key(2).public(), now);
        assert_eq!(limbo(&chain, chain.now()), []);
        chain.acting(&key(1)).ok(Call::Demand { reservation });
        let deadline = chain.now().after(offer.answer_within).unwrap();
        let piece = Limbo { cause: Cause::Called(reservation), amount: offer.penalty(0), deadline };
        assert_eq!(limbo(&chain, deadline), [piece]);
        assert_eq!(limbo(&chain, deadline.after(Millis(1)).unwrap()), [], "it is lost");
        assert_eq!(limbo_of(chain.state(), &key(1).public(), deadline), []);
    }

    #[test]
    fn money_is_in_limbo_when_its_deadline_is_near_for_who_earns_and_over_for_who_pays() {
        let mut chain = Chain::new();
        chain.fund(&key(1).public(), Credits(1_000));
        let deal = Deal::new(&chain, &key(1), &key(2));
        chain.acting(&key(1)).ok(deal.open());
        let at = |who: u8, ms: u64| limbo_of(chain.state(), &key(who).public(), Timestamp(START.0 + ms));
        let (use_end, end) = (10 * 60_000, 12 * 60_000);
        for calm in [0, use_end, end - 60_000] {
            assert_eq!((at(1, calm), at(2, calm)), (vec![], vec![]), "{calm}");
        }
        let (session, provider) = (deal.session(), key(2).public());
        let deadline = Timestamp(START.0 + end);
        let piece = |cause| vec![Limbo { cause, amount: Credits(400), deadline }];
        assert_eq!(at(2, end - 59_999), piece(Cause::Uncollected(session)), "half of the grace is gone");
        assert_eq!(at(2, end), piece(Cause::Uncollected(session)));
        assert_eq!(at(2, end + 1), [], "lost, and the client's");
        assert_eq!(at(1, end + OVERDUE_MS), [], "the ledger node is about to release it");
        assert_eq!(
            at(1, end + OVERDUE_MS + 1),
            piece(Cause::Overdue(Purpose::Session { session, provider }))
        );
    }
}
