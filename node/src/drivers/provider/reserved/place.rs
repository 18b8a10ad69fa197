//! Places for jobs: while a slot runs, one is its client's. What it does not use of the others is sold on demand.

use std::{
    collections::BTreeMap,
    sync::{Arc, MutexGuard, PoisonError},
};

use gridhour_protocol::{signed::PublicKey, units::Timestamp};
use tokio::sync::OwnedSemaphorePermit;

use super::duty::holder;
use crate::drivers::provider::Shared;

/// Jobs of clients for whom a place is kept.
#[derive(Default)]
pub(super) struct Holding {
    /// How many of each run: no more than there are places.
    jobs: BTreeMap<PublicKey, usize>,
    /// Of all these, how many run beside all places.
    beside: usize,
}

impl Holding {
    fn jobs_of(&self, client: &PublicKey) -> usize {
        self.jobs.get(client).copied().unwrap_or(0)
    }

    fn begin(&mut self, client: PublicKey, is_beside: bool) {
        *self.jobs.entry(client).or_default() += 1;
        self.beside += usize::from(is_beside);
    }

    fn end(&mut self, client: PublicKey, was_beside: bool) {
        match self.jobs_of(&client) {
            0 | 1 => drop(self.jobs.remove(&client)),
            jobs => drop(self.jobs.insert(client, jobs - 1)),
        }
        self.beside = self.beside.saturating_sub(usize::from(was_beside));
    }
}

/// A place that a job has; it is free again when this is dropped.
pub(crate) struct Place {
    shared: Arc<Shared>,
    /// None where it runs beside all places.
    permit: Option<OwnedSemaphorePermit>,
    /// Whose it is, if it was kept for somebody.
    kept_for: Option<PublicKey>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(client) = self.kept_for {
            lock(&self.shared).end(client, self.permit.is_none());
        }
    }
}

/// What a client gets that wants to start a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grant {
    /// One of the places.
    Place,
    /// One more than there are: its slot runs, and jobs from before still have them all.
    Beside,
    /// Nothing.
    Nothing,
}

/// Who gets a place where `free` are left: for the holder one is always there, for others one less while the holder has
/// none.
fn grant(free: usize, holders_jobs: Option<usize>, is_holder: bool) -> Grant {
    match (holders_jobs, is_holder) {
        (Some(0), true) if free == 0 => Grant::Beside,
        (Some(0), false) if free <= 1 => Grant::Nothing,
        _ if free == 0 => Grant::Nothing,
        _ => Grant::Place,
    }
}

/// A place for a job of `client`, if it may have one now.
pub(in crate::drivers::provider) fn place_for(
    shared: &Arc<Shared>,
    client: &PublicKey,
    now: Timestamp,
) -> Option<Place> {
    let holder = shared.reserved.with(|known| holder(known, now));
    let kept_for = holder.filter(|holder| holder == client);
    // One at a time: nobody else takes a place between the look and the deed.
    let mut holding = lock(shared);
    let jobs = holder.map(|holder| holding.jobs_of(&holder));
    let permit = match grant(shared.slots.available_permits(), jobs, kept_for.is_some()) {
        Grant::Place => Some(shared.slots.clone().try_acquire_owned().ok()?),
        Grant::Beside => None,
        Grant::Nothing => return None,
    };
    if let Some(client) = kept_for {
        holding.begin(client, permit.is_none());
    }
    drop(holding);
    Some(Place { shared: shared.clone(), permit, kept_for })
}

/// Places that anybody may have at `now`.
pub(in crate::drivers::provider) fn free_places(shared: &Shared, now: Timestamp) -> usize {
    let holder = shared.reserved.with(|known| holder(known, now));
    let is_waited_for = holder.is_some_and(|holder| lock(shared).jobs_of(&holder) == 0);
    shared.slots.available_permits().saturating_sub(usize::from(is_waited_for))
}

/// Jobs that run beside all places.
pub(in crate::drivers::provider) fn beside(shared: &Shared) -> usize {
    lock(shared).beside
}

fn lock(shared: &Shared) -> MutexGuard<'_, Holding> {
    // Nothing panics while it holds the lock.
    shared.reserved.holding.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_began_is_forgotten_when_it_has_ended() {
        let (mut holding, one, other) = (Holding::default(), PublicKey([1; 32]), PublicKey([2; 32]));
        holding.begin(one, true);
        holding.begin(one, false);
        holding.begin(other, false);
        assert_eq!((holding.jobs_of(&one), holding.jobs_of(&other), holding.beside), (2, 1, 1));
        holding.end(one, true);
        assert_eq!((holding.jobs_of(&one), holding.beside), (1, 0));
        holding.end(one, false);
        holding.end(other, false);
        assert!(holding.jobs.is_empty());
    }

    #[test]
    fn without_a_slot_whoever_comes_first_has_the_places() {
        assert_eq!(
            [2, 1, 0].map(|free| grant(free, None, false)),
            [Grant::Place, Grant::Place, Grant::Nothing]
        );
    }

    #[test]
    fn the_last_place_is_the_holders_until_it_has_one() {
        let others = |free, jobs| grant(free, Some(jobs), false);
        assert_eq!([2, 1, 0].map(|free| others(free, 0)), [Grant::Place, Grant::Nothing, Grant::Nothing]);
        assert_eq!(
            [1, 0].map(|free| others(free, 1)),
            [Grant::Place, Grant::Nothing],
            "what is left is sold"
        );
    }

    #[test]
    fn the_holder_is_never_refused_its_first_job_and_has_no_more_than_others_after_it() {
        let holders = |free, jobs| grant(free, Some(jobs), true);
        assert_eq!([1, 0].map(|free| holders(free, 0)), [Grant::Place, Grant::Beside]);
        assert_eq!([1, 0].map(|free| holders(free, 1)), [Grant::Place, Grant::Nothing]);
    }
}
