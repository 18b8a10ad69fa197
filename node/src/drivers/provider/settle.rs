//! Collecting: a session is closed with the newest voucher of each lane, at its client's wish or when its time is over.

mod care;
mod sweep;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use gridhour_contracts_sim::{
    state::Session,
    tx::{Call, Tx},
};
use gridhour_protocol::{
    id::SessionId,
    job::message::Open,
    session::{lane::LaneLedger, terms::Terms, voucher::Voucher},
    signed::Signed,
    units::Credits,
};

use tokio::time::{Instant, timeout, timeout_at};

use self::care::Care;
pub(super) use self::sweep::{last_sweep, sweep, time_to_sweep};
use super::{ProviderEvent, SESSIONS_MAX, Shared};
use crate::{
    clock,
    drivers::{
        ledger_client::LedgerError,
        memory::{Memory, MemoryError},
    },
    rpc::Applied,
};

/// How long a wish to settle waits for the session's jobs to end.
const IDLE_TIME: Duration = Duration::from_secs(10);
/// How long a job waits for the one before it on its lane.
const LANE_TIME: Duration = Duration::from_secs(3);

/// What a session is busy with.
#[derive(Clone, Debug)]
pub(crate) struct Use {
    pub(crate) terms: Terms,
    /// Lanes on which a job runs, each with the most that it may come to.
    pub(crate) lanes: BTreeMap<u16, Credits>,
    /// Lanes whose next job waits already: further ones are refused at once.
    awaited: BTreeSet<u16>,
    /// Someone closes it: no job may start.
    pub(crate) closing: bool,
    /// As the ledger last showed it, open.
    shown: Option<Session>,
    /// When it is looked after next.
    care: Care,
}

impl Use {
    pub(crate) fn of(terms: Terms) -> Self {
        let care = Care::of(&terms, clock::now());
        Self { terms, lanes: BTreeMap::new(), awaited: BTreeSet::new(), closing: false, shown: None, care }
    }

    /// A session from before a restart.
    ///
    /// # Errors
    /// If the records cannot be read.
    pub(crate) fn remembered(terms: Terms, memory: &Memory) -> Result<Self, MemoryError> {
        let mut entry = Self::of(terms);
        if memory.kept_close(entry.terms.id())?.is_some() {
            entry.care.close_signed();
        }
        Ok(entry)
    }

    /// The ledger showed the session. Answers overtake each other, but a session that is closed opens no more, and what
    /// it was ever given to hold only grows: an answer that says less is an older one, and nothing new.
    fn note_shown(&mut self, session: &Session) {
        let is_older = !session.closing
            && (self.care.is_closing()
                || self.shown.as_ref().is_some_and(|known| given(session) < given(known)));
        if is_older {
            return;
        }
        self.care.shown(session, clock::now());
        self.shown = (!session.closing).then(|| session.clone());
    }
}

/// What a session was given to hold, collected or not.
fn given(session: &Session) -> Credits {
    session.held.checked_add(session.collected).unwrap_or(session.held)
}

/// A session as the ledger showed it to a job.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) session: Session,
    /// Whether the ledger was asked since the job came; else it may hold more by now.
    pub(crate) is_fresh: bool,
}

/// What came of a job's wish for its lane.
#[derive(Debug)]
pub(crate) enum Taken {
    /// The job has it.
    Lane(LaneUse),
    /// It is taken, the session is being closed, or there are too many sessions.
    Busy,
    /// What the session held when it was shown last does not cover the job beside those that began since.
    Short,
}

/// Why a session was not settled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettleError {
    /// A job of it still runs, or it is being closed.
    #[error("the session is in use: ask again when its jobs have ended")]
    InUse,
    /// Not one of ours.
    #[error("no such session here")]
    Unknown,
    /// The ledger node says that the session ended, and does not prove it. What it owes is kept.
    #[error("the ledger node says that the session ended, but does not prove it yet")]
    NotProven,
    /// The records.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The session that `open` names, if the ledger showed it lately and what it held then covers the longest output: so a
/// session that is kept open is not asked about before each of its jobs. A hold never shrinks while its session is open,
/// and whoever closes it leaves the provider time to collect, in which it looks.
///
/// # Errors
/// If the session's lanes cannot be read.
pub(crate) async fn recall(shared: &Shared, open: &Open) -> Result<Option<Session>, MemoryError> {
    let busy = shared.busy.lock().await;
    let (id, lane, now) = (open.terms.id(), open.request.lane, clock::now());
    let Some(entry) = busy.get(&id).filter(|entry| entry.care.is_recent(&entry.terms, now)) else {
        return Ok(None);
    };
    let Some(session) = entry.shown.as_ref().filter(|_| !entry.closing) else { return Ok(None) };
    let cap = lane_cap(session, &shared.memory.lanes(id)?, &entry.lanes, lane);
    let covers = longest(&shared.memory.lane(id, lane)?, open).is_some_and(|longest| longest <= cap);
    Ok(covers.then(|| session.clone()))
}

/// The ledger answered, and showed the session of this id, if it is one of ours.
pub(crate) async fn note_shown(shared: &Shared, id: SessionId, session: &Session) {
    if let Some(entry) = shared.busy.lock().await.get_mut(&id) {
        entry.care.answered();
        entry.note_shown(session);
    }
}

/// Waits a moment while a job runs on the lane that `open` names: its client starts the next one as soon as the last
/// voucher has left, which may be overtaken. One job waits for a lane; nobody can have many streams wait.
pub(crate) async fn lane_freed(shared: &Shared, open: &Open) {
    let (id, lane) = (open.terms.id(), open.request.lane);
    {
        let mut busy = shared.busy.lock().await;
        let taken = busy.get_mut(&id).filter(|entry| entry.lanes.contains_key(&lane));
        if !taken.is_some_and(|entry| entry.awaited.insert(lane)) {
            return;
        }
    }
    let freed = async {
        loop {
            // Registered before the look, so that a job that ends in between is not missed.
            let freed = shared.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            let busy = shared.busy.lock().await;
            if !busy.get(&id).is_some_and(|entry| entry.lanes.contains_key(&lane)) {
                return;
            }
            drop(busy);
            freed.await;
        }
    };
    // Who waited in vain is refused like any other.
    let _ = timeout(LANE_TIME, freed).await;
    if let Some(entry) = shared.busy.lock().await.get_mut(&id) {
        entry.awaited.remove(&lane);
    }
}

/// Takes a lane for the job that `open` asks for, and reserves what its longest output costs, so that jobs on several
/// lanes together never exceed the hold. Where that does not cover it, the ledger must have been asked since the job came.
///
/// # Errors
/// If the session's lanes cannot be read.
pub(crate) async fn take_lane(shared: &Shared, open: &Open, seen: &Seen) -> Result<Taken, MemoryError> {
    let mut busy = shared.busy.lock().await;
    let (id, lane) = (open.terms.id(), open.request.lane);
    if !busy.contains_key(&id) && busy.len() >= SESSIONS_MAX {
        return Ok(Taken::Busy);
    }
    let entry = busy.entry(id).or_insert_with(|| Use::of(open.terms.clone()));
    if entry.closing || entry.care.is_ending() || entry.lanes.contains_key(&lane) {
        return Ok(Taken::Busy);
    }
    // Another job may have been shown more meanwhile.
    let shown = entry.shown.get_or_insert_with(|| seen.session.clone());
    let session = if given(shown) < given(&seen.session) { &seen.session } else { &*shown };
    let cap = lane_cap(session, &shared.memory.lanes(id)?, &entry.lanes, lane);
    // What cannot be computed is refused by the state machine; it reserves all that is left.
    let longest = longest(&shared.memory.lane(id, lane)?, open).unwrap_or(cap);
    if longest > cap && !seen.is_fresh {
        return Ok(Taken::Short);
    }
    entry.lanes.insert(lane, longest.min(cap));
    Ok(Taken::Lane(LaneUse { session: id, lane, cap }))
}

fn longest(lane: &LaneLedger, open: &Open) -> Option<Credits> {
    open.request.amount_on(lane, &open.terms, open.request.max_tokens)
}

/// What a lane may reach: the whole hold, less what the session's other lanes are committed to or have reserved.
fn lane_cap(session: &Session, known: &[LaneLedger], running: &BTreeMap<u16, Credits>, lane: u16) -> Credits {
    let total = given(session);
    let mut others = running.clone();
    for other in known {
        let reserved = others.entry(other.lane).or_default();
        *reserved = other.committed.max(*reserved);
    }
    others.remove(&lane);
    total.saturating_sub(Credits::sum(others.into_values()).unwrap_or(total))
}

/// A lane that is taken; [`LaneUse::free`] gives it back.
#[derive(Debug)]
pub(crate) struct LaneUse {
    session: SessionId,
    lane: u16,
    /// What the lane may reach within the session's hold.
    pub(crate) cap: Credits,
}

impl LaneUse {
    pub(crate) async fn free(self, shared: &Shared) {
        if let Some(entry) = shared.busy.lock().await.get_mut(&self.session) {
            entry.lanes.remove(&self.lane);
            if entry.lanes.is_empty() && entry.care.is_ending() {
                shared.over.notify_one();
            }
        }
        shared.freed.notify_waiters();
    }
}

/// As [`settle`], but waits a moment for a job that is about to end: a client asks as soon as its last voucher has left,
/// which may overtake the voucher.
pub(crate) async fn settle_when_idle(shared: &Shared, session: SessionId) -> Result<Applied, SettleError> {
    let end = Instant::now() + IDLE_TIME;
    loop {
        // Registered before the look, so that a job that ends in between is not missed.
        let freed = shared.freed.notified();
        tokio::pin!(freed);
        freed.as_mut().enable();
        match settle(shared, session).await {
            Err(SettleError::InUse) if timeout_at(end, freed).await.is_ok() => {}
            settled => return settled,
        }
    }
}

/// Closes `session` on the ledger: pays the newest vouchers and refunds the rest.
pub(crate) async fn settle(shared: &Shared, session: SessionId) -> Result<Applied, SettleError> {
    start_closing(shared, session).await?;
    let closed = close(shared, session).await;
    let mut busy = shared.busy.lock().await;
    match &closed {
        Ok(_) => {
            busy.remove(&session);
            shared.tell(ProviderEvent::Closed { session });
        }
        Err(_) => {
            if let Some(entry) = busy.get_mut(&session) {
                entry.closing = false;
            }
        }
    }
    closed
}

async fn start_closing(shared: &Shared, session: SessionId) -> Result<(), SettleError> {
    let mut busy = shared.busy.lock().await;
    let entry = busy.get_mut(&session).ok_or(SettleError::Unknown)?;
    if entry.closing || !entry.lanes.is_empty() {
        return Err(SettleError::InUse);
    }
    entry.closing = true;
    Ok(())
}

async fn close(shared: &Shared, session: SessionId) -> Result<Applied, SettleError> {
    let applied = match close_again(shared, session).await? {
        Some(applied) => applied,
        None => close_anew(shared, session).await?,
    };
    shared.counts.collected(gain(shared, session).await?);
    // What is collected stays so. After a restart it is handed in once more, or found to have ended.
    if let Err(error) = shared.memory.forget_session(session) {
        shared.trouble(format!("session {} is collected and stays in the records: {error}", session.short()));
    }
    Ok(applied)
}

/// Hands in the close that was signed before, if there is one: its answer was lost, and it may be applied. `None` if
/// there is none, or it is not accepted.
async fn close_again(shared: &Shared, session: SessionId) -> Result<Option<Applied>, SettleError> {
    let Some(signed) = shared.memory.kept_close(session)? else { return Ok(None) };
    match shared.ledger.hand_in(&signed).await {
        // It is not applied, and may never be: how the session stands is looked at anew.
        Err(LedgerError::Rejected { .. }) => Ok(None),
        answer => Ok(Some(answer?)),
    }
}

async fn close_anew(shared: &Shared, session: SessionId) -> Result<Applied, SettleError> {
    let Some(on_ledger) = shared.ledger.session(session).await? else {
        // Expired, or closed by its client with what it had vouched for. Nothing is left to collect, if it is true.
        prove_end(shared, session).await?;
        shared.memory.forget_session(session)?;
        return Err(SettleError::Unknown);
    };
    if let Some(entry) = shared.busy.lock().await.get_mut(&session) {
        entry.note_shown(&on_ledger);
    }
    let vouchers = newest_vouchers(shared, session, &on_ledger)?;
    let call = Call::Close { session, vouchers, release: None };
    let signed = shared.ledger.sign(&shared.key, call).await?;
    keep_close(shared, session, &signed).await;
    Ok(shared.ledger.hand_in(&signed).await?)
}

/// From now on the session may be closed at any moment, whatever answer comes back: no job starts in it, whose voucher
/// would come too late. Records that take nothing any more keep no money from being collected: all that is lost with the
/// close is to know at once what became of it, should its answer be lost.
async fn keep_close(shared: &Shared, session: SessionId, signed: &Signed<Tx>) {
    if let Err(error) = shared.memory.keep_close(session, signed) {
        shared.trouble(format!("the end of session {} is not kept: {error}", session.short()));
    }
    if let Some(entry) = shared.busy.lock().await.get_mut(&session) {
        entry.care.close_signed();
    }
}

/// Whether `session` has ended, whatever the ledger node says: vouchers are money, and are not thrown away on its word.
/// Past the deadline nobody can collect any more.
async fn prove_end(shared: &Shared, session: SessionId) -> Result<(), SettleError> {
    let Some(entry) = shared.busy.lock().await.get(&session).cloned() else {
        return Err(SettleError::Unknown);
    };
    let skew = shared.clock_skew;
    if clock::now().since(entry.terms.collect_until) > skew {
        return Ok(());
    }
    let evidence = shared.ledger.prove_session(session).await?;
    let ended = evidence.is_some_and(|evidence| evidence.shows_end(entry.care.seen(), skew));
    if ended { Ok(()) } else { Err(SettleError::NotProven) }
}

/// What closing a session brought, beyond what the ledger said was collected before.
async fn gain(shared: &Shared, session: SessionId) -> Result<Credits, MemoryError> {
    let granted = granted(&shared.memory, session)?;
    let busy = shared.busy.lock().await;
    Ok(busy.get(&session).map_or(granted, |entry| entry.care.unclaimed(granted)))
}

/// What the newest vouchers of a session come to.
fn granted(memory: &Memory, session: SessionId) -> Result<Credits, MemoryError> {
    let lanes = memory.lanes(session)?;
    let newest = lanes.iter().filter_map(|lane| Some(lane.newest.as_ref()?.body.amount));
    // A sum beyond 64 bits is more than any session holds.
    Ok(Credits::sum(newest).unwrap_or(Credits(u64::MAX)))
}

/// The newest voucher of each lane, lanes rising, without those that the ledger has seen.
fn newest_vouchers(
    shared: &Shared,
    session: SessionId,
    on_ledger: &Session,
) -> Result<Vec<Signed<Voucher>>, SettleError> {
    let mut lanes = shared.memory.lanes(session)?;
    lanes.sort_by_key(|lane| lane.lane);
    let newest = lanes.into_iter().filter_map(|lane| lane.newest);
    let is_new = |voucher: &Signed<Voucher>| {
        let seen = on_ledger.lane(voucher.body.lane);
        seen.is_none_or(|seen| voucher.body.sequence > seen.sequence && voucher.body.amount >= seen.amount)
    };
    Ok(newest.filter(is_new).collect())
}

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::harness::{Chain, Deal, key};
    use gridhour_protocol::units::Timestamp;

    use super::*;

    fn session(held: u64, collected: u64) -> Session {
        let deal = Deal::new(&Chain::new(), &key(1), &key(2));
        Session {
            terms: deal.sign().terms,
            held: Credits(held),
            collected: Credits(collected),
            collect_until: Timestamp(0),
            closing: false,
            lanes: Vec::new(),
            draw: None,
        }
    }

    fn known(lane: u16, committed: u64) -> LaneLedger {
        let mut ledger = LaneLedger::new(SessionId([0; 32]), lane);
        ledger.committed = Credits(committed);
        ledger
    }

    #[test]
    fn an_older_answer_of_the_ledger_shows_nothing_new() {
        let mut entry = Use::of(session(0, 0).terms);
        let held = |entry: &Use| entry.shown.as_ref().map(|session| given(session).0);
        entry.note_shown(&session(90, 0));
        entry.note_shown(&session(60, 0));
        assert_eq!(held(&entry), Some(90), "it was asked before the top-up");
        entry.note_shown(&session(70, 40));
        assert_eq!(held(&entry), Some(110), "what was collected was held too");
        entry.note_shown(&Session { closing: true, ..session(70, 40) });
        let deadline = entry.care.deadline();
        entry.note_shown(&session(70, 40));
        assert_eq!(held(&entry), None, "what its client closed does not open again");
        assert!(entry.care.is_closing() && entry.care.deadline() == deadline);
    }

    #[test]
    fn lanes_share_one_hold() {
        let session = session(90, 10);
        let cap = |known: &[LaneLedger], running: &[(u16, u64)], lane| {
            let running = running.iter().map(|(lane, most)| (*lane, Credits(*most))).collect();
            lane_cap(&session, known, &running, lane).0
        };
        assert_eq!(cap(&[], &[], 0), 100, "alone it may reach all that was held");
        assert_eq!(cap(&[known(0, 40)], &[], 0), 100, "its own past is in the cumulative amount");
        assert_eq!(cap(&[known(1, 30)], &[], 0), 70, "less what another lane was promised");
        assert_eq!(cap(&[known(1, 30)], &[(1, 80)], 0), 20, "or may still come to while its job runs");
        assert_eq!(cap(&[known(1, 30)], &[(2, 80)], 0), 0, "and never below nothing");
    }
}
