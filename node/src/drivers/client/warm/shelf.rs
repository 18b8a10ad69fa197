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
    advert: Verified<Advert>,
    matched: MatchRecord,
}

/// A kept session, as much of it as is compared.
pub(super) struct Kept {
    pub(super) terms: Terms,
    pub(super) advert: Verified<Advert>,
}

/// A top-up that is to be made. If nobody comes to say that it was, it failed: so whoever waits for it never waits in vain.
pub(super) struct Rising<'a> {
    shelf: &'a Shelf,
    pub(super) session: SessionId,
    pub(super) amount: Credits,
    rose: bool,
}

impl Rising<'_> {
    /// The ledger holds so much more.
    pub(super) fn rose(mut self) {
        self.rose = true;
    }
}

impl Drop for Rising<'_> {
    fn drop(&mut self) {
        self.shelf.end_rise(self.session, self.rose.then_some(self.amount));
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
            .filter(|entry| entry.session.terms().order == order && !entry.session.is_leaving());
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
        let Entry { session, advert, matched } = state.sessions.get_mut(&session)?;
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

    /// Keeps a session. If there are too many, the one that was not used for longest is to be closed.
    pub(super) fn put(&self, choice: &Choice, session: WarmSession) {
        let mut state = self.state();
        let rests = |entry: &&mut Entry| !entry.session.is_leaving() && !entry.session.is_busy();
        let taking = state.sessions.values().filter(|entry| !entry.session.is_leaving()).count();
        if taking >= KEPT_MAX {
            let resting = state.sessions.values_mut().filter(rests);
            let least = resting.min_by_key(|entry| entry.session.used_at());
            least.into_iter().for_each(|entry| entry.session.leave());
        }
        let (advert, matched) = (choice.advert.clone(), choice.matched.clone());
        state.sessions.insert(choice.terms.id(), Entry { session, advert, matched });
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
        if !goes_on {
            entry.session.leave();
        }
        entry.session.give_back(lane, now);
        self.tell();
        let settles = entry.session.is_leaving() && entry.session.close_due(now);
        !settles
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
        let Some(Entry { session, .. }) = state.sessions.remove(&session) else { return };
        let gone = if is_settled { session.owed() } else { session.hold() };
        let order = session.terms().order;
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
            let amount = state.sessions.get_mut(&id)?.session.top_up_due(left, now)?;
            Some(Rising { shelf: self, session: id, amount, rose: false })
        };
        sessions.into_iter().filter_map(due).collect()
    }

    /// How much to top up a session by, so that `needed` is free there.
    pub(super) fn rise_for(&self, session: SessionId, needed: Credits) -> Option<Rising<'_>> {
        let mut state = self.state();
        let left = state.left_for(session)?;
        let amount = state.sessions.get_mut(&session)?.session.rise_for(needed, left)?;
        Some(Rising { shelf: self, session, amount, rose: false })
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

    fn end_rise(&self, session: SessionId, rose: Option<Credits>) {
        if let Some(entry) = self.state().sessions.get_mut(&session) {
            match rose {
                Some(amount) => entry.session.rose(amount),
                None => entry.session.did_not_rise(clock::now()),
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

impl State {
    fn left(&self, order: OrderId) -> Credits {
        let Some(standing) = self.standing.iter().find(|it| it.order.signed().id() == order) else {
            return Credits::ZERO;
        };
        let held = self.sessions.values().filter(|entry| entry.session.terms().order == order);
        let left = standing.order.total_max.saturating_sub(standing.gone);
        held.fold(left, |left, entry| left.saturating_sub(entry.session.hold()))
    }

    fn left_for(&self, session: SessionId) -> Option<Credits> {
        Some(self.left(self.sessions.get(&session)?.session.terms().order))
    }
}
