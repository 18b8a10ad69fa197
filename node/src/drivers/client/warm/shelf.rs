//! What is kept: sessions, the orders under which they were opened, and what those may still hold.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use gridhour_protocol::{
    id::{OrderId, SessionId},
    market::{advert::Advert, matching::MatchRecord, order::Order},
    session::{
        lane::LaneLedger,
        terms::Terms,
        warm::{NotTaken, WarmSession},
    },
    signed::Verified,
    units::{Credits, Timestamp},
};
use tokio::sync::watch;

use super::super::{relay::Choice, run::BudgetCap};
use crate::clock;

/// Sessions that are kept; beyond that the one that was not used for longest is closed.
pub(super) const KEPT_MAX: usize = 8;
/// Orders that stand; beyond that the oldest without a session goes.
const STANDING_MAX: usize = 64;
/// An order opens no session so shortly before its end: the ledger's clock is not ours.
const ORDER_MARGIN_MS: u64 = 10_000;

/// All that a client keeps.
#[derive(Default)]
pub(in crate::drivers::client) struct Shelf {
    state: Mutex<State>,
    /// Counts whatever may have made something due.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    sessions: BTreeMap<SessionId, Entry>,
    standing: Vec<Standing>,
}

/// An order, and what was held under it and is not known to have come back.
struct Standing {
    order: Verified<Order>,
    pays: Option<BudgetCap>,
    gone: Credits,
}

struct Entry {
    session: WarmSession,
    /// The ledger has not said yet that it is open. Its hold counts from the beginning, and it takes no other job.
    is_opening: bool,
    /// What it may hold beyond what is known: top-ups whose answer was lost.
    unsure: Credits,
    advert: Verified<Advert>,
    matched: MatchRecord,
}

/// A kept session, as much of it as is compared.
pub(super) struct Kept {
    pub(super) terms: Terms,
    pub(super) advert: Verified<Advert>,
}

/// A top-up that is to be made. If nobody comes to say what came of it, it is over all the same, so that whoever waits for it
/// never waits in vain; but it may have been made.
pub(super) struct Rising<'a> {
    shelf: &'a Shelf,
    pub(super) session: SessionId,
    pub(super) amount: Credits,
    end: Rise,
}

/// What came of a top-up.
#[derive(Clone, Copy)]
enum Rise {
    /// It was never asked for, or refused.
    Failed,
    /// It may be on the ledger, or come there.
    Unknown,
    /// It is on the ledger.
    Rose,
}

impl Rising<'_> {
    /// The ledger holds so much more.
    pub(super) fn rose(mut self) {
        self.end = Rise::Rose;
    }

    /// The ledger is asked for it now: until it answers nothing is promised of so much more, but it counts under the order.
    pub(super) fn asked(mut self) -> Self {
        self.end = Rise::Unknown;
        self
    }

    /// The ledger refused it.
    pub(super) fn failed(mut self) {
        self.end = Rise::Failed;
    }
}

impl Drop for Rising<'_> {
    fn drop(&mut self) {
        self.shelf.end_rise(self.session, self.amount, self.end);
    }
}

impl Shelf {
    /// Ready at the next change after this call.
    pub(super) fn changed(&self) -> impl Future<Output = ()> + use<> {
        let mut changes = self.changes.subscribe();
        async move {
            if changes.changed().await.is_err() {
                // The client is gone, and nothing changes any more.
                std::future::pending().await
            }
        }
    }

    fn tell(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The order that stands for `wish`, paid by the same purse.
    pub(super) fn order(
        &self,
        wish: &Order,
        pays: Option<BudgetCap>,
        now: Timestamp,
    ) -> Option<Verified<Order>> {
        let lives = |standing: &&Standing| standing.order.expires_at.since(now).0 > ORDER_MARGIN_MS;
        let state = self.state();
        let mut fitting = state.standing.iter().filter(|it| it.pays == pays && it.order.allows(wish));
        fitting.find(lives).map(|standing| standing.order.clone())
    }

    /// Lets an order stand. Those that are over, and have no session any more, go.
    pub(super) fn stand(&self, order: Verified<Order>, pays: Option<BudgetCap>, now: Timestamp) {
        let mut state = self.state();
        let State { sessions, standing } = &mut *state;
        let unused = |it: &Standing| {
            let id = it.order.signed().id();
            !sessions.values().any(|entry| entry.session.terms().order == id)
        };
        standing.retain(|it| now < it.order.expires_at || !unused(it));
        if standing.len() >= STANDING_MAX
            && let Some(oldest) = standing.iter().position(unused)
        {
            standing.remove(oldest);
        }
        standing.push(Standing { order, pays, gone: Credits::ZERO });
    }

    /// What the sessions of an order may hold beyond what they do.
    pub(super) fn left(&self, order: OrderId) -> Credits {
        self.state().left(order)
    }

    /// The sessions of an order that still take jobs.
    pub(super) fn of(&self, order: OrderId) -> Vec<Kept> {
        let state = self.state();
        let fitting = state
            .sessions
            .values()
            .filter(|entry| entry.session.terms().order == order && entry.takes_jobs());
        let kept =
            |entry: &Entry| Kept { terms: entry.session.terms().clone(), advert: entry.advert.clone() };
        fitting.map(kept).collect()
    }

    /// Takes a lane for a job. `None` if the session is not kept any more.
    pub(super) fn take(
        &self,
        session: SessionId,
        read: u32,
        write: u32,
        now: Timestamp,
    ) -> Option<Result<Choice, NotTaken>> {
        let mut state = self.state();
        let entry = state.sessions.get_mut(&session).filter(|entry| !entry.is_opening)?;
        let Entry { session, advert, matched, .. } = entry;
        let taken = session.take(read, write, now);
        // Less may be free now than the next job needs.
        self.tell();
        Some(taken.map(|taken| Choice {
            advert: advert.clone(),
            terms: session.terms().clone(),
            hold: session.hold(),
            matched: matched.clone(),
            lane: taken.lane,
            is_open: true,
        }))
    }

    /// What a job costs in a session.
    pub(super) fn job_amount(&self, session: SessionId, read: u32, write: u32) -> Option<Credits> {
        self.state().sessions.get(&session)?.session.terms().job_amount(read, write)
    }

    /// Keeps a session that is about to be opened. If there are too many, the one that was not used for longest is to be closed.
    pub(super) fn put(&self, choice: &Choice, session: WarmSession) {
        let mut state = self.state();
        let rests = |entry: &&mut Entry| entry.takes_jobs() && !entry.session.is_busy();
        let taking = state.sessions.values().filter(|entry| !entry.session.is_leaving()).count();
        if taking >= KEPT_MAX {
            let resting = state.sessions.values_mut().filter(rests);
            let least = resting.min_by_key(|entry| entry.session.used_at());
            least.into_iter().for_each(|entry| entry.session.leave());
        }
        let (advert, matched) = (choice.advert.clone(), choice.matched.clone());
        state.sessions.insert(
            choice.terms.id(),
            Entry { session, is_opening: true, unsure: Credits::ZERO, advert, matched },
        );
        self.tell();
    }

    /// The ledger opened the session.
    pub(in crate::drivers::client) fn opened(&self, session: SessionId) {
        if let Some(entry) = self.state().sessions.get_mut(&session) {
            entry.is_opening = false;
        }
        self.tell();
    }

    /// The ledger did not open the session, and never will: it holds nothing.
    pub(in crate::drivers::client) fn not_opened(&self, session: SessionId) {
        self.state().sessions.remove(&session);
        self.tell();
    }

    /// Gives a lane back after its job; `goes_on` if the session may take another one. Whether the session is kept, and
    /// not to be settled by the caller.
    pub(in crate::drivers::client) fn give_back(
        &self,
        lane: LaneLedger,
        goes_on: bool,
        now: Timestamp,
    ) -> bool {
        let mut state = self.state();
        let Some(entry) = state.sessions.get_mut(&lane.session) else { return false };
        entry.give_back(lane, goes_on, now);
        self.tell();
        let settles = entry.session.is_leaving() && entry.session.close_due(now);
        !settles
    }

    /// Gives a lane back whose job nobody waits for any more, so nobody settles the session either: it is closed with
    /// others that are due, if it takes no further job.
    pub(in crate::drivers::client) fn abandon(&self, lane: LaneLedger, goes_on: bool, now: Timestamp) {
        if let Some(entry) = self.state().sessions.get_mut(&lane.session) {
            entry.give_back(lane, goes_on, now);
        }
        self.tell();
    }

    /// Sessions that are to be closed now. The caller closes them, and tells with [`Shelf::closed`] how that went.
    pub(in crate::drivers::client) fn due(&self, now: Timestamp) -> Vec<Terms> {
        let mut state = self.state();
        let due = state
            .sessions
            .values_mut()
            .filter_map(|entry| entry.session.close_due(now).then(|| entry.session.terms().clone()));
        due.collect()
    }

    /// Lets no kept session take another job. Those in which none runs, also if they are being closed already.
    pub(super) fn leave_all(&self, now: Timestamp) -> Vec<Terms> {
        let mut state = self.state();
        let resting = state.sessions.values_mut().filter_map(|entry| {
            entry.session.leave();
            // The caller closes it, and nobody else.
            entry.session.close_due(now);
            (!entry.session.is_busy()).then(|| entry.session.terms().clone())
        });
        resting.collect()
    }

    /// The session was closed, or could not be and is the ledger's to release: then its whole hold counts as gone.
    pub(in crate::drivers::client) fn closed(&self, session: SessionId, is_settled: bool) {
        let mut state = self.state();
        let Some(entry) = state.sessions.remove(&session) else { return };
        let gone = if is_settled { entry.session.owed() } else { entry.holds() };
        let order = entry.session.terms().order;
        if let Some(standing) = state.standing.iter_mut().find(|it| it.order.signed().id() == order) {
            standing.gone = standing.gone.checked_add(gone).unwrap_or(Credits(u64::MAX));
        }
    }

    /// Top-ups that are due: each is said once.
    pub(super) fn top_ups(&self, now: Timestamp) -> Vec<Rising<'_>> {
        let mut state = self.state();
        let sessions: Vec<SessionId> = state.sessions.keys().copied().collect();
        let due = |id: SessionId| {
            let left = state.left_for(id)?;
            let entry = state.sessions.get_mut(&id).filter(|entry| !entry.is_opening)?;
            let amount = entry.session.top_up_due(left, now)?;
            Some(Rising { shelf: self, session: id, amount, end: Rise::Failed })
        };
        sessions.into_iter().filter_map(due).collect()
    }

    /// How much to top up a session by, so that `needed` is free there.
    pub(super) fn rise_for(&self, session: SessionId, needed: Credits) -> Option<Rising<'_>> {
        let mut state = self.state();
        let left = state.left_for(session)?;
        let amount = state.sessions.get_mut(&session)?.session.rise_for(needed, left)?;
        Some(Rising { shelf: self, session, amount, end: Rise::Failed })
    }

    /// Waits for the top-up that is on its way, if one is. `None` if the session is not kept any more.
    pub(super) async fn risen(&self, session: SessionId) -> Option<()> {
        loop {
            // Registered before the look, so that no change is missed.
            let changed = self.changed();
            if !self.state().sessions.get(&session)?.session.is_rising() {
                return Some(());
            }
            changed.await;
        }
    }

    fn end_rise(&self, session: SessionId, amount: Credits, end: Rise) {
        if let Some(entry) = self.state().sessions.get_mut(&session) {
            if let Rise::Rose = end {
                entry.session.rose(amount);
            } else {
                entry.session.did_not_rise(clock::now());
            }
            if let Rise::Unknown = end {
                entry.unsure = entry.unsure.checked_add(amount).unwrap_or(Credits(u64::MAX));
            }
        }
        self.tell();
    }

    /// When something is due next, if nothing happens before.
    pub(super) fn look_at(&self) -> Option<Timestamp> {
        self.state().sessions.values().filter_map(|entry| entry.session.look_at()).min()
    }

    /// Sessions that are kept, also those that are being closed.
    pub(super) fn len(&self) -> usize {
        self.state().sessions.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// The most that the ledger may hold for it.
    fn holds(&self) -> Credits {
        self.session.hold().checked_add(self.unsure).unwrap_or(Credits(u64::MAX))
    }

    fn takes_jobs(&self) -> bool {
        !self.is_opening && !self.session.is_leaving()
    }

    fn give_back(&mut self, lane: LaneLedger, goes_on: bool, now: Timestamp) {
        if !goes_on {
            self.session.leave();
        }
        self.session.give_back(lane, now);
    }
}

impl State {
    fn left(&self, order: OrderId) -> Credits {
        let Some(standing) = self.standing.iter().find(|it| it.order.signed().id() == order) else {
            return Credits::ZERO;
        };
        let held = self.sessions.values().filter(|entry| entry.session.terms().order == order);
        let left = standing.order.total_max.saturating_sub(standing.gone);
        held.fold(left, |left, entry| left.saturating_sub(entry.holds()))
    }

    fn left_for(&self, session: SessionId) -> Option<Credits> {
        Some(self.left(self.sessions.get(&session)?.session.terms().order))
    }
}

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::harness::{Chain, Deal, START, key};
    use gridhour_protocol::{
        market::{costs::BuyerCosts, matching::Matcher},
        units::Millis,
    };

    use super::*;

    const IDLE: Millis = Millis(60_000);

    /// A shelf on which the order of a session stands that is about to be opened with half of what the order pays, and
    /// whose lane is taken.
    fn opening() -> (Shelf, Choice, Credits) {
        let deal = Deal::new(&Chain::new(), &key(1), &key(2));
        let order = key(1).sign(deal.order.clone()).verify().expect("sound");
        let advert = key(2).sign(deal.advert.clone()).verify().expect("sound");
        let matcher = Matcher { order: &order, numerics: 1, now: START, costs: &BuyerCosts::NONE };
        let matched = matcher.record(&[]);
        let terms = deal.sign().terms;
        let half = Credits(order.total_max.0 / 2);
        let lane = LaneLedger::new(terms.id(), 0);
        let choice = Choice { advert, terms, hold: half, matched, lane, is_open: false };
        let shelf = Shelf::default();
        shelf.stand(order, None, START);
        let mut session = WarmSession::new(choice.terms.clone(), half, IDLE, START);
        session.take(1, 1, START).expect("it covers a small job");
        shelf.put(&choice, session);
        (shelf, choice, half)
    }

    #[test]
    fn what_is_being_opened_counts_and_takes_no_other_job_before_it_is_open() {
        let (shelf, choice, half) = opening();
        let (order, session) = (choice.terms.order, choice.terms.id());
        assert_eq!((shelf.left(order), shelf.of(order).len()), (half, 0));
        assert!(shelf.take(session, 1, 1, START).is_none() && shelf.top_ups(START).is_empty());
        shelf.opened(session);
        assert_eq!((shelf.left(order), shelf.of(order).len()), (half, 1));
        assert!(shelf.take(session, 1, 1, START).is_some_and(|taken| taken.is_ok()));
        let (shelf, ..) = opening();
        shelf.not_opened(session);
        assert_eq!((shelf.left(order), shelf.len()), (Credits(2 * half.0), 0));
    }

    #[test]
    fn an_opening_whose_answer_was_lost_counts_until_it_is_known_to_be_settled() {
        for (is_settled, left) in [(true, 2), (false, 1)] {
            let (shelf, choice, half) = opening();
            assert!(!shelf.give_back(choice.lane.clone(), false, START), "its request settles it");
            assert_eq!(shelf.left(choice.terms.order), half);
            shelf.closed(choice.terms.id(), is_settled);
            assert_eq!(shelf.left(choice.terms.order), Credits(left * half.0));
        }
    }

    #[test]
    fn a_top_up_whose_answer_was_lost_counts_and_promises_nothing() {
        let (shelf, choice, half) = opening();
        let (order, session) = (choice.terms.order, choice.terms.id());
        shelf.opened(session);
        let rise = || shelf.rise_for(session, half).expect("so much is not free");
        let amount = rise().amount;
        assert_eq!(shelf.left(order), half, "it was never asked for");
        rise().asked().failed();
        assert_eq!(shelf.left(order), half, "it was refused");
        drop(rise().asked());
        let left = half.saturating_sub(amount);
        assert!(amount > Credits::ZERO && shelf.left(order) == left, "{amount} of {half}");
        assert!(shelf.give_back(choice.lane, true, START));
        shelf.closed(session, true);
        assert_eq!(shelf.left(order), Credits(2 * half.0), "it was settled, and all came back");
    }

    #[test]
    fn a_session_whose_job_was_abandoned_is_closed_with_those_that_are_due() {
        for (goes_on, due) in [(false, 1), (true, 0)] {
            let (shelf, choice, _) = opening();
            shelf.opened(choice.terms.id());
            assert!(shelf.due(START).is_empty(), "a job runs");
            shelf.abandon(choice.lane, goes_on, START);
            assert_eq!(shelf.due(START).len(), due);
        }
    }
}
