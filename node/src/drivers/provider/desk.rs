//! The slots of a provider and the line before them: the driver of [`gridhour_protocol::job::admission`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gridhour_protocol::{
    job::admission::{Admission, Applicant, Ticket, Verdict},
    signed::PublicKey,
    units::Millis,
};
use tokio::{sync::oneshot, time::timeout};

use crate::clock;

/// The longest that jobs may be let wait for a slot, in milliseconds. With the longest notice and the time to settle
/// behind it, that is less than clients wait for a first token.
pub const QUEUE_MS_MAX: u64 = 15_000;
/// How long a spot job may take to be gone once its notice is over: its last frame has to leave, and its client to settle.
const LEAVING: Millis = Millis(12_000);

/// Who sits where. Cheap to share.
pub(crate) struct Desk {
    state: Mutex<State>,
    /// How long a job waits for a slot, beside the notice of a spot job that leaves its own.
    patience: Millis,
}

struct State {
    admission: Admission,
    seats: BTreeMap<Ticket, Seat>,
}

/// What a job is still to be told.
struct Seat {
    admitted: Option<oneshot::Sender<()>>,
    reclaimed: Option<oneshot::Sender<()>>,
}

/// A place in the line, or a slot. Dropping it gives it up.
pub(crate) struct Slot {
    desk: Arc<Desk>,
    ticket: Ticket,
    admitted: Option<oneshot::Receiver<()>>,
    reclaimed: Option<oneshot::Receiver<()>>,
    patience: Duration,
    /// Its client left before its turn.
    given_up: bool,
}

/// The whole desk, for something else than jobs, until it is dropped.
pub(crate) struct Closed(Arc<Desk>);

/// How a desk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// Slots that the next job gets at once.
    pub(crate) idle: u16,
    /// Slots of spot jobs that can be reclaimed.
    pub(crate) reclaimable: u16,
    /// Jobs that wait for another to end.
    pub(crate) queued: u16,
}

impl Desk {
    /// Idle slots, for which jobs wait this long at most.
    pub(crate) fn new(slots: u16, patience: Millis) -> Arc<Self> {
        let state = State { admission: Admission::new(slots), seats: BTreeMap::new() };
        Arc::new(Self { state: Mutex::new(state), patience })
    }

    /// Takes a job into the line.
    pub(crate) fn enter(self: &Arc<Self>, who: Applicant) -> Slot {
        self.seat(&mut self.state(), who)
    }

    fn seat(self: &Arc<Self>, state: &mut State, who: Applicant) -> Slot {
        let ((admit, admitted), (reclaim, reclaimed)) = (oneshot::channel(), oneshot::channel());
        let (ticket, verdicts) = state.admission.arrive(clock::now(), who);
        state.seats.insert(ticket, Seat { admitted: Some(admit), reclaimed: Some(reclaim) });
        state.tell(verdicts);
        let leaving = match state.admission.longest_notice(who.tier) {
            Millis(0) => 0,
            notice => notice.0.saturating_add(LEAVING.0),
        };
        let patience = Duration::from_millis(self.patience.0.saturating_add(leaving));
        let (admitted, reclaimed) = (Some(admitted), Some(reclaimed));
        Slot { desk: self.clone(), ticket, admitted, reclaimed, patience, given_up: false }
    }

    /// Takes an idle slot, if there is one, without waiting for it or for a spot job to leave.
    pub(crate) fn take_idle(self: &Arc<Self>, who: Applicant) -> Option<Slot> {
        // One at a time: nobody else takes it between the look and the deed.
        let mut state = self.state();
        (state.admission.idle() > 0).then(|| self.seat(&mut state, who))
    }

    /// From now on keeps a place for this client, whose reserved slot runs, or for nobody.
    pub(crate) fn keep_for(&self, holder: Option<PublicKey>) {
        let mut state = self.state();
        let verdicts = state.admission.keep_for(clock::now(), holder);
        state.tell(verdicts);
    }

    /// Refuses all that wait, and all that will come.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        let verdicts = state.admission.close(clock::now());
        state.tell(verdicts);
    }

    /// Takes all slots, if none is taken and nobody waits.
    pub(crate) fn close_if_empty(self: &Arc<Self>) -> Option<Closed> {
        self.state().admission.close_if_empty().then(|| Closed(self.clone()))
    }

    /// Jobs that hold a slot.
    pub(crate) fn running(&self) -> usize {
        self.state().admission.running()
    }

    /// How it stands.
    pub(crate) fn load(&self) -> Load {
        let admission = &self.state().admission;
        let [idle, reclaimable, queued] = [admission.idle(), admission.reclaimable(), admission.queued()]
            .map(|count| u16::try_from(count).unwrap_or(u16::MAX));
        Load { idle, reclaimable, queued }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Passes verdicts on. Whoever is gone has left its seat, or is about to.
    fn tell(&mut self, verdicts: Vec<Verdict>) {
        for verdict in verdicts {
            let told = match verdict {
                Verdict::Start(ticket) => self.seats.get_mut(&ticket).and_then(|seat| seat.admitted.take()),
                Verdict::Reclaim(ticket) => {
                    self.seats.get_mut(&ticket).and_then(|seat| seat.reclaimed.take())
                }
                // Who waits for word that cannot come any more is refused.
                Verdict::Refuse(ticket) => {
                    self.seats.remove(&ticket);
                    None
                }
            };
            if told.is_some_and(|told| told.send(()).is_err()) {
                tracing::debug!(?verdict, "the job is gone already");
            }
        }
    }
}

impl Slot {
    /// Waits for the slot. Whether it came in time; if not, drop the place.
    pub(crate) async fn admitted(&mut self) -> bool {
        let Some(admitted) = self.admitted.take() else { return false };
        matches!(timeout(self.patience, admitted).await, Ok(Ok(())))
    }

    /// Leaves the line, because the client did.
    pub(crate) fn give_up(mut self) {
        self.given_up = true;
    }

    /// Told once when the slot is wanted back.
    pub(crate) fn reclaimed(&mut self) -> Option<oneshot::Receiver<()>> {
        self.reclaimed.take()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.desk.state();
        state.seats.remove(&self.ticket);
        let (now, ticket) = (clock::now(), self.ticket);
        let verdicts = match self.given_up {
            true => state.admission.give_up(now, ticket),
            false => state.admission.leave(now, ticket),
        };
        state.tell(verdicts);
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.0.state().admission.open();
    }
}

#[cfg(test)]
mod tests {
    use gridhour_protocol::{market::tier::Tier, signed::SecretKey};

    use super::*;

    fn who(seed: u8, tier: Tier) -> Applicant {
        let client = SecretKey::from_seed([seed; 32]).public();
        let notice = if tier == Tier::Spot { Millis(1_000) } else { Millis(0) };
        Applicant { client, tier, notice }
    }

    #[tokio::test]
    async fn a_slot_goes_on_when_it_is_dropped_and_spot_is_told_to_leave() {
        let desk = Desk::new(1, Millis(600_000));
        let mut spot = desk.enter(who(1, Tier::Spot));
        assert!(spot.admitted().await);
        let told = spot.reclaimed().expect("it was not asked before");
        assert_eq!(desk.load(), Load { idle: 0, reclaimable: 1, queued: 0 });
        let mut firm = desk.enter(who(2, Tier::OnDemand));
        assert_eq!(told.await, Ok(()));
        assert_eq!(desk.load(), Load { idle: 0, reclaimable: 0, queued: 0 });
        drop(spot);
        assert!(firm.admitted().await);
        assert_eq!(desk.running(), 1);
        drop(firm);
        assert_eq!(desk.load(), Load { idle: 1, reclaimable: 0, queued: 0 });
    }

    #[tokio::test]
    async fn who_waits_in_vain_is_refused_and_keeps_nothing() {
        let desk = Desk::new(1, Millis(0));
        let held = desk.enter(who(1, Tier::OnDemand));
        let mut late = desk.enter(who(2, Tier::OnDemand));
        assert!(!late.admitted().await);
        drop(late);
        assert_eq!(desk.load().queued, 0);
        drop(held);
        assert!(desk.enter(who(2, Tier::OnDemand)).admitted().await);
    }

    #[tokio::test]
    async fn whose_client_left_takes_a_strangers_slot_once_and_not_again() {
        let desk = Desk::new(2, Millis(600_000));
        let spots = [desk.enter(who(1, Tier::Spot)), desk.enter(who(1, Tier::Spot))];
        desk.enter(who(2, Tier::OnDemand)).give_up();
        assert_eq!(desk.load().reclaimable, 1);
        let again = desk.enter(who(2, Tier::OnDemand));
        drop(spots);
        assert_eq!(desk.running(), 1, "it has the slot that was left");
        drop(again);
        let spots = [desk.enter(who(1, Tier::Spot)), desk.enter(who(1, Tier::Spot))];
        let _waits = desk.enter(who(2, Tier::OnDemand));
        assert_eq!((desk.load().reclaimable, desk.load().queued), (2, 1));
        drop(spots);
    }

    #[tokio::test]
    async fn an_idle_slot_is_taken_at_once_or_not_at_all() {
        let desk = Desk::new(2, Millis(600_000));
        desk.keep_for(Some(who(9, Tier::Reserved).client));
        let mut kept = desk.take_idle(who(1, Tier::OnDemand)).expect("one is idle");
        assert!(kept.admitted().await);
        assert!(desk.take_idle(who(2, Tier::OnDemand)).is_none(), "the other is the holder's");
        assert_eq!(desk.load().queued, 0);
        desk.keep_for(None);
        assert!(desk.take_idle(who(2, Tier::OnDemand)).is_some());
    }

    #[tokio::test]
    async fn a_desk_that_closes_refuses_at_once_and_opens_again() {
        let desk = Desk::new(1, Millis(600_000));
        let closed = desk.close_if_empty().expect("nobody is there");
        assert!(!desk.enter(who(1, Tier::Reserved)).admitted().await);
        drop(closed);
        let held = desk.enter(who(1, Tier::OnDemand));
        assert!(desk.close_if_empty().is_none());
        let mut waits = desk.enter(who(2, Tier::OnDemand));
        desk.close();
        assert!(!waits.admitted().await, "at once, though it would wait for long");
        drop(held);
    }
}
