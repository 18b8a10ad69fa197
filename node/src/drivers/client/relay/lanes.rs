//! Lanes of kept sessions that an answer has taken. Each comes back, also where whoever waited for the answer does so no
//! longer: a lane that nobody gives back would keep its session from ever being closed.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use gridhour_protocol::{id::SessionId, session::lane::LaneLedger};

use super::super::Client;
use crate::clock;

/// What an answer has taken and not given back.
pub(super) struct Lanes<'a> {
    client: &'a Client,
    taken: Mutex<BTreeMap<(SessionId, u16), Taken>>,
}

struct Taken {
    lane: LaneLedger,
    /// Whether a job was, or is about to be, asked for on it.
    has_job: bool,
}

impl<'a> Lanes<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        Self { client, taken: Mutex::default() }
    }

    /// The lane was taken, and no job is asked for on it yet.
    pub(super) fn took(&self, lane: &LaneLedger) {
        self.note(lane, false);
    }

    /// A job is asked for on the lane.
    pub(super) fn begins(&self, lane: &LaneLedger) {
        self.note(lane, true);
    }

    /// Gives a lane back as it is now; `goes_on` if its session may take another job. Whether the session is kept, and not
    /// to be settled by the caller.
    pub(super) fn give_back(&self, lane: LaneLedger, goes_on: bool) -> bool {
        self.taken().remove(&(lane.session, lane.lane));
        self.client.shelf.give_back(lane, goes_on, clock::now())
    }

    fn note(&self, lane: &LaneLedger, has_job: bool) {
        self.taken().insert((lane.session, lane.lane), Taken { lane: lane.clone(), has_job });
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<(SessionId, u16), Taken>> {
        // Every change is one insertion or one removal.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lane as it was when its job was left, by the records: what was promised since it was taken counts.
    fn newest(&self, lane: LaneLedger) -> LaneLedger {
        let newest = self.client.memory().and_then(|memory| memory.lane(lane.session, lane.lane));
        newest.unwrap_or(lane)
    }
}

impl Drop for Lanes<'_> {
    fn drop(&mut self) {
        for (_, Taken { lane, has_job }) in std::mem::take(&mut *self.taken()) {
            // Where a job was cut off nobody knows what its provider did since, so no other follows it there.
            let lane = if has_job { self.newest(lane) } else { lane };
            self.client.shelf.abandon(lane, !has_job, clock::now());
        }
    }
}
