//! Looking after sessions: collect with the newest voucher of each lane, close, and forget what has ended.

use gridhour_contracts_sim::{
    ledger::entry::{Entry, Event},
    state::Session,
    tx::Call,
};
use gridhour_protocol::{
    id::SessionId,
    job::provider::ProviderInput,
    session::voucher::Voucher,
    signed::Signed,
    units::{Credits, Timestamp},
};

use super::{Asked, MarketProvider, SWEEP_MS, Twist};
use crate::{
    actors::{Alarm, forget_session, sign_tx},
    sim::{context::Context, durable::PowerCut, ledger_node::Request},
};

/// Closer to the deadline than this, jobs that still run are given up so that their vouchers can be
/// collected: room for a wrong clock, a dead link and several tries.
const MARGIN_MS: u64 = 20_000;

impl<T: Twist> MarketProvider<T> {
    /// Asks how every known session stands.
    pub(super) fn sweep(&mut self, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        let known: Vec<SessionId> = self.sessions.keys().copied().collect();
        for session in known {
            let id = self.number(Asked::Look(session));
            cx.ask(id, Request::Session(session));
        }
        cx.wake_in(SWEEP_MS, Alarm::Sweep);
        Ok(())
    }

    pub(super) fn look(
        &mut self,
        id: SessionId,
        session: Option<&Session>,
        cx: &mut Context<'_>,
    ) -> Result<(), PowerCut> {
        let Some(session) = session else { return self.forget(id, cx) };
        let Some(book) = self.sessions.get_mut(&id) else { return Ok(()) };
        book.raise_hold(Credits(session.held.0 + session.collected.0));
        let now = cx.now();
        if is_urgent(session, now) {
            for stream in self.runs_in(&id) {
                self.step(stream, ProviderInput::Disconnected, cx)?;
            }
        }
        let is_due = session.closing || now >= session.terms.use_until;
        if is_due && self.runs_in(&id).is_empty() {
            let vouchers = self.newest_vouchers(&id, session);
            self.submit(id, Call::Close { session: id, vouchers, release: None }, cx);
        } else if self.profile.collects_early && cx.rng().one_in(3) {
            let vouchers = self.newest_vouchers(&id, session);
            if !vouchers.is_empty() {
                self.submit(id, Call::Collect { session: id, vouchers }, cx);
            }
        }
        Ok(())
    }

    /// The newest voucher of each lane, lanes rising, where it grants more than the ledger knows.
    fn newest_vouchers(&self, id: &SessionId, session: &Session) -> Vec<Signed<Voucher>> {
        let newest = self.sessions.get(id).into_iter().flat_map(|book| book.vouchers().cloned());
        let is_news = |voucher: &Signed<Voucher>| {
            session.lane(voucher.body.lane).is_none_or(|known| {
                voucher.body.sequence > known.sequence && voucher.body.amount >= known.amount
            })
        };
        newest.filter(is_news).collect()
    }

    fn submit(&mut self, id: SessionId, call: Call, cx: &mut Context<'_>) {
        for call in self.twist.submit(call) {
            let tx = sign_tx(cx, &self.profile.key, self.profile.network, call);
            let number = self.number(Asked::Settle(id));
            cx.ask(number, Request::Submit(tx));
        }
    }

    pub(super) fn settled(
        &mut self,
        id: SessionId,
        entry: &Entry,
        cx: &mut Context<'_>,
    ) -> Result<(), PowerCut> {
        match entry.event {
            Event::Closed { .. } => self.forget(id, cx),
            _ => Ok(()),
        }
    }

    /// The session is over on the ledger. A job that still runs would be for nothing.
    fn forget(&mut self, id: SessionId, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        for stream in self.runs_in(&id) {
            self.step(stream, ProviderInput::Disconnected, cx)?;
        }
        if self.sessions.remove(&id).is_some() {
            let changes = forget_session(cx.saved(), &id);
            cx.save(changes)?;
        }
        Ok(())
    }
}

fn is_urgent(session: &Session, now: Timestamp) -> bool {
    now.0.saturating_add(MARGIN_MS) >= session.collect_until.0
}
