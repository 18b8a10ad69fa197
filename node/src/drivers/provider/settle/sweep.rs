//! Looking after all sessions, unasked: what is over is collected, what its client closes alone in time too, and what
//! cannot be collected is tried again and, before it is too late, cried about.

use std::sync::Arc;

use gridhour_contracts_sim::state::Session;
use gridhour_protocol::{
    id::SessionId,
    units::{Credits, Timestamp},
};
use tokio::time::Interval;

use super::{SettleError, care::Need, granted, settle};
use crate::{
    clock,
    drivers::provider::{ProviderEvent, Shared},
    limbo,
};

/// Questions in a row that found nobody there, after which the others wait for a later sweep.
const UNREACHABLE_MAX: u32 = 3;

/// Ready when sessions should be looked through: every so often, and once the last job of a session ends that its client
/// closes.
pub(in crate::drivers::provider) async fn time_to_sweep(shared: &Shared, often: &mut Interval) {
    tokio::select! {
        _ = often.tick() => {}
        () = shared.over.notified() => {}
    }
}

/// Closes every session whose time is over, or whose client closes it from its side: then only the grace is left to
/// collect, so jobs that still run are ended first. What fails is tried again at a later sweep. One sweep at a time.
pub(in crate::drivers::provider) async fn sweep(shared: Arc<Shared>) {
    let Ok(_turn) = shared.sweeping.try_lock() else { return };
    look_through(&shared).await;
}

/// The same when no later one follows: it waits for the one that is under way, which may have begun too early.
pub(in crate::drivers::provider) async fn last_sweep(shared: &Shared) {
    let _turn = shared.sweeping.lock().await;
    look_through(shared).await;
}

async fn look_through(shared: &Shared) {
    let mut missed = 0;
    for (session, need) in due(shared, clock::now()).await {
        if missed >= UNREACHABLE_MAX {
            note_failure(shared, session).await;
            continue;
        }
        let unreachable = match need {
            Need::Collect => collect(shared, session).await,
            Need::Look => look(shared, session).await,
        };
        missed = if unreachable { missed + 1 } else { 0 };
    }
    alert(shared, clock::now()).await;
}

/// Sessions that need something, those first whose deadline is nearest.
async fn due(shared: &Shared, now: Timestamp) -> Vec<(SessionId, Need)> {
    let mut busy = shared.busy.lock().await;
    let mut due = Vec::new();
    for (session, entry) in busy.iter_mut().filter(|(_, entry)| !entry.closing) {
        let runs = !entry.lanes.is_empty();
        if let Some(need) = entry.care.need(&entry.terms, runs, now) {
            due.push((entry.care.deadline(), *session, need));
        }
    }
    due.sort_by_key(|(deadline, session, _)| (*deadline, *session));
    due.into_iter().map(|(_, session, need)| (session, need)).collect()
}

/// Asks the ledger how a session stands, and collects if its client closes it. Whether the ledger cannot be reached.
async fn look(shared: &Shared, session: SessionId) -> bool {
    match shared.ledger.session(session).await {
        Ok(on_ledger) => {
            let ends = on_ledger.as_ref().is_none_or(|on_ledger| on_ledger.closing);
            note_shown(shared, session, on_ledger.as_ref()).await;
            ends && collect(shared, session).await
        }
        Err(error) => {
            tracing::warn!(%error, session = %session.short(), "cannot see whether a session is being closed");
            note_failure(shared, session).await;
            error.is_silence()
        }
    }
}

/// Collects and closes a session, or plans to try again. Whether the ledger cannot be reached.
async fn collect(shared: &Shared, session: SessionId) -> bool {
    match settle(shared, session).await {
        Ok(_) => forget_ending(shared, session),
        // Its jobs hear of it and end; a later sweep collects.
        Err(SettleError::InUse) => {
            shared.ending.send_modify(|ending| {
                ending.insert(session);
            });
        }
        Err(SettleError::Unknown) => {
            forget_ending(shared, session);
            if shared.busy.lock().await.remove(&session).is_some() {
                shared.tell(ProviderEvent::Forgotten { session });
            }
        }
        Err(error) => {
            shared.trouble(format!("session {} not collected yet: {error}", session.short()));
            note_failure(shared, session).await;
            return matches!(error, SettleError::Ledger(error) if error.is_silence());
        }
    }
    false
}

fn forget_ending(shared: &Shared, session: SessionId) {
    shared.ending.send_if_modified(|ending| ending.remove(&session));
}

async fn note_failure(shared: &Shared, session: SessionId) {
    if let Some(entry) = shared.busy.lock().await.get_mut(&session) {
        entry.care.failed(clock::now());
    }
}

async fn note_shown(shared: &Shared, session: SessionId, on_ledger: Option<&Session>) {
    if let Some(on_ledger) = on_ledger {
        super::note_shown(shared, session, on_ledger).await;
    }
}

/// Cries about every session that holds money which may soon be lost.
async fn alert(shared: &Shared, now: Timestamp) {
    let mut busy = shared.busy.lock().await;
    let mut at_risk = Vec::new();
    for (session, entry) in busy.iter_mut() {
        let granted = match granted(&shared.memory, *session) {
            Ok(granted) => granted,
            Err(error) => {
                shared.trouble(error);
                continue;
            }
        };
        at_risk.extend(entry.care.at_risk(&entry.terms, granted, now));
        let Some(amount) = entry.care.alert(&entry.terms, granted, now) else { continue };
        let (deadline, what) = (entry.care.deadline(), limbo::COLLECT_ADVICE);
        tracing::warn!(
            session = %session, amount = amount.0, deadline = deadline.0, what,
            "earned money is not collected and its deadline is near"
        );
        let (session, what) = (*session, what.to_owned());
        shared.tell(ProviderEvent::Unclaimed { session, amount, deadline, what });
    }
    shared.counts.stand(|now| {
        now.sessions = busy.len() as u64;
        now.unclaimed = at_risk.len() as u64;
        now.unclaimed_amount = Credits::sum(at_risk).unwrap_or(Credits(u64::MAX));
    });
}
