//! Who gets a provider's slots when more jobs are wanted than fit.
//!
//! ```text
//!  arrive ──> waits ──> runs ──────────────────> left
//!    │          │        └── spot: reclaiming ──> left     when an order of another tier waits
//!    └──────────┴─> refused: the line is full of better claims, or its patience is over
//! ```
//!
//! 1. A slot that is idle goes to whoever waits, by tier: reserved, on demand, spot.
//! 2. Within a tier it goes to the client with the fewest slots (max-min fairness), then to the one that had the least of
//!    them lately, then to whoever came first. What a client had is slot time, halved every [`HALF_LIFE`], so that nobody
//!    is held back for long by what was served while nobody else wanted it.
//! 3. While no slot is idle, each waiting job that is not spot has one spot job reclaimed: of the client with the most
//!    spot jobs, the one that began last, because the least of its work must be read again elsewhere. What gets its
//!    notice is gone: it is not taken back. Until it has left, no spot job starts. A client that left the line again before
//!    its turn has nothing reclaimed for it for [`IN_VAIN`], and comes behind others of its tier: it cost a stranger its
//!    slot, and paid nothing.
//! 4. While a reserved slot runs, one place is its client's, until it has a reserved job here: nobody else gets the last
//!    one, and if jobs from before still have all places, its first job runs beside them.
//! 5. The line is short. When it is full, the worst claim is refused, which is that of the client with the most jobs here:
//!    nobody fills the line.
//!
//! So but for that one no slot idles while a job waits for it, a job is preempted only by a better tier, and a client with many streams
//! gets the next slot only if nobody with fewer wants it. All of it follows from what was told, in the order in which it
//! was told.

use std::collections::BTreeMap;

use crate::{
    market::tier::Tier,
    signed::PublicKey,
    units::{Millis, Timestamp},
};

/// Jobs that wait, at most.
pub const QUEUE_MAX: usize = 16;
/// Clients whose use is remembered, at most: those with the least of it are forgotten first.
pub const CLIENTS_MAX: usize = 1_024;
/// After so long half of what a client had counts.
pub const HALF_LIFE: Millis = Millis(60_000);
/// How long nothing is reclaimed for a client for which something was reclaimed in vain.
pub const IN_VAIN: Millis = Millis(60_000);

/// A job in the line or on a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// Who wants a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applicant {
    /// The client.
    pub client: PublicKey,
    /// The tier of its session.
    pub tier: Tier,
    /// How long the job goes on once it is reclaimed: nothing but in spot.
    pub notice: Millis,
}

/// What is to be done with a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has a slot.
    Start(Ticket),
    /// It is refused, and forgotten.
    Refuse(Ticket),
    /// It gets its notice, and must [`Admission::leave`] after it.
    Reclaim(Ticket),
}

/// What a job does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waits,
    Runs { since: Timestamp },
    Reclaimed { since: Timestamp },
}

#[derive(Clone, Copy, Debug)]
struct Job {
    who: Applicant,
    state: State,
}

/// Slot time that a client had, in milliseconds, as it counted at a time.
#[derive(Clone, Copy, Debug)]
struct Share {
    used: u64,
    at: Timestamp,
}

/// The slots of a provider, and the line before them.
#[derive(Clone, Debug)]
pub struct Admission {
    slots: usize,
    next: u64,
    jobs: BTreeMap<Ticket, Job>,
    shares: BTreeMap<PublicKey, Share>,
    /// When clients left the line for which a spot job was reclaimed: at most [`CLIENTS_MAX`], the newest.
    in_vain: BTreeMap<PublicKey, Timestamp>,
    /// Whose reserved slot runs.
    holder: Option<PublicKey>,
    /// Nothing starts: the provider is needed for something else, or leaves.
    closed: bool,
}

impl Admission {
    /// Idle slots.
    #[must_use]
    pub fn new(slots: u16) -> Self {
        let (jobs, shares, in_vain) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { slots: slots.into(), next: 0, jobs, shares, in_vain, holder: None, closed: false }
    }

    /// Takes a job into the line. The verdicts may be about it and about others.
    pub fn arrive(&mut self, now: Timestamp, who: Applicant) -> (Ticket, Vec<Verdict>) {
        let ticket = Ticket(self.next);
        // As many never come.
        self.next = self.next.wrapping_add(1);
        self.jobs.insert(ticket, Job { who, state: State::Waits });
        (ticket, self.decide(now))
    }

    /// Forgets a job that ended, or that waits no more.
    pub fn leave(&mut self, now: Timestamp, ticket: Ticket) -> Vec<Verdict> {
        if let Some(job) = self.jobs.remove(&ticket) {
            self.charge(now, &job);
        }
        self.decide(now)
    }

    /// Forgets a job whose client waits for it no longer.
    pub fn give_up(&mut self, now: Timestamp, ticket: Ticket) -> Vec<Verdict> {
        let waits = |job: &&Job| job.state == State::Waits && job.who.tier != Tier::Spot;
        if let Some(client) = self.jobs.get(&ticket).filter(waits).map(|job| job.who.client)
            && self.wanted(now) <= self.reclaimed()
        {
            self.note_in_vain(now, client);
        }
        self.leave(now, ticket)
    }

    fn note_in_vain(&mut self, now: Timestamp, client: PublicKey) {
        self.in_vain.insert(client, now);
        if self.in_vain.len() > CLIENTS_MAX {
            let oldest = self.in_vain.iter().min_by_key(|(_, at)| **at).map(|(client, _)| *client);
            oldest.map(|client| self.in_vain.remove(&client));
        }
    }

    /// From now on keeps a place for this client, whose reserved slot runs, or for nobody.
    pub fn keep_for(&mut self, now: Timestamp, holder: Option<PublicKey>) -> Vec<Verdict> {
        self.holder = holder;
        self.decide(now)
    }

    /// Refuses all that wait, and all that come until [`Self::open`].
    pub fn close(&mut self, now: Timestamp) -> Vec<Verdict> {
        self.closed = true;
        self.decide(now)
    }

    /// The same, if nothing runs or waits; otherwise `false`, and nothing changes.
    pub fn close_if_empty(&mut self) -> bool {
        let empty = self.jobs.is_empty() && !self.closed;
        self.closed |= empty;
        empty
    }

    /// Takes jobs again.
    pub fn open(&mut self) {
        self.closed = false;
    }

    /// How long a job of this tier is worth waiting for, beyond `patience`: for the notice of the spot jobs here.
    #[must_use]
    pub fn longest_notice(&self, tier: Tier) -> Millis {
        let notices = self.jobs.values().filter(|job| job.state != State::Waits).map(|job| job.who.notice);
        if tier == Tier::Spot { Millis(0) } else { notices.max().unwrap_or(Millis(0)) }
    }

    /// Slots that the next job gets at once, whosever it is.
    #[must_use]
    pub fn idle(&self) -> usize {
        let taken = self.running() + usize::from(self.awaited().is_some());
        if self.closed { 0 } else { self.slots.saturating_sub(taken) }
    }

    /// For whom a place is kept that has no reserved job here yet.
    fn awaited(&self) -> Option<PublicKey> {
        let has_one =
            |holder: &PublicKey| self.count(|job| job.is_of(holder) && job.state != State::Waits) > 0;
        self.holder.filter(|holder| !has_one(holder))
    }

    /// Jobs that hold a slot.
    #[must_use]
    pub fn running(&self) -> usize {
        self.jobs.values().filter(|job| job.state != State::Waits).count()
    }

    /// Slots of spot jobs that can still be reclaimed.
    #[must_use]
    pub fn reclaimable(&self) -> usize {
        if self.closed { 0 } else { self.reclaimable_jobs().count() }
    }

    /// Jobs that wait for another to end: those for which a spot job leaves are not among them.
    #[must_use]
    pub fn queued(&self) -> usize {
        let waiting = self.jobs.values().filter(|job| job.state == State::Waits).count();
        waiting.saturating_sub(self.reclaimed())
    }

    fn reclaimed(&self) -> usize {
        self.jobs.values().filter(|job| matches!(job.state, State::Reclaimed { .. })).count()
    }

    fn reclaimable_jobs(&self) -> impl Iterator<Item = (Ticket, &Job, Timestamp)> {
        self.jobs.iter().filter_map(|(&ticket, job)| match job.state {
            State::Runs { since } if job.who.tier == Tier::Spot => Some((ticket, job, since)),
            _ => None,
        })
    }

    fn waiting(&self) -> impl Iterator<Item = (Ticket, &Job)> {
        self.jobs.iter().map(|(&ticket, job)| (ticket, job)).filter(|(_, job)| job.state == State::Waits)
    }

    fn decide(&mut self, now: Timestamp) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        if self.closed {
            let all: Vec<_> = self.waiting().map(|(ticket, _)| ticket).collect();
            verdicts.extend(all.into_iter().map(|ticket| self.refuse(ticket)));
            return verdicts;
        }
        while let Some(ticket) = self.next_to_start(now) {
            self.set(ticket, State::Runs { since: now });
            verdicts.push(Verdict::Start(ticket));
        }
        while let Some(ticket) = self.next_to_refuse(now) {
            verdicts.push(self.refuse(ticket));
        }
        while let Some((ticket, since)) = self.next_to_reclaim(now) {
            self.set(ticket, State::Reclaimed { since });
            verdicts.push(Verdict::Reclaim(ticket));
        }
        verdicts
    }

    fn set(&mut self, ticket: Ticket, state: State) {
        if let Some(job) = self.jobs.get_mut(&ticket) {
            job.state = state;
        }
    }

    fn refuse(&mut self, ticket: Ticket) -> Verdict {
        self.jobs.remove(&ticket);
        Verdict::Refuse(ticket)
    }

    fn next_to_start(&self, now: Timestamp) -> Option<Ticket> {
        if let Some(first) = self.awaited().and_then(|holder| self.first_of(&holder)) {
            return Some(first);
        }
        if self.idle() == 0 {
            return None;
        }
        let slots_of =
            |client: &PublicKey| self.count(|job| job.who.client == *client && job.state != State::Waits);
        let claim = |(ticket, job): &(Ticket, &Job)| {
            let client = &job.who.client;
            // What is reclaimed for others is theirs.
            let is_barred = self.is_barred(now, client);
            (rank(job.who.tier), is_barred, slots_of(client), self.used(now, client), *ticket)
        };
        let (ticket, job) = self.waiting().min_by_key(claim)?;
        (job.who.tier != Tier::Spot || self.reclaimed() == 0).then_some(ticket)
    }

    /// The first reserved job of this client that waits.
    fn first_of(&self, holder: &PublicKey) -> Option<Ticket> {
        self.waiting().find(|(_, job)| job.is_of(holder)).map(|(ticket, _)| ticket)
    }

    fn next_to_refuse(&self, now: Timestamp) -> Option<Ticket> {
        if self.waiting().count() <= QUEUE_MAX {
            return None;
        }
        let claim = |(ticket, job): &(Ticket, &Job)| {
            let client = &job.who.client;
            let jobs = self.count(|other| other.who.client == *client);
            (rank(job.who.tier), jobs, self.used(now, client), *ticket)
        };
        self.waiting().max_by_key(claim).map(|(ticket, _)| ticket)
    }

    /// Slots of spot jobs that the line may have.
    fn wanted(&self, now: Timestamp) -> usize {
        let may_have = |job: &Job| job.who.tier != Tier::Spot && !self.is_barred(now, &job.who.client);
        self.waiting().filter(|(_, job)| may_have(job)).count()
    }

    /// Whether something was reclaimed for this client in vain, of late.
    fn is_barred(&self, now: Timestamp, client: &PublicKey) -> bool {
        self.in_vain.get(client).is_some_and(|at| now.since(*at) < IN_VAIN)
    }

    fn next_to_reclaim(&self, now: Timestamp) -> Option<(Ticket, Timestamp)> {
        if self.wanted(now) <= self.reclaimed() {
            return None;
        }
        let spot_jobs_of = |client: &PublicKey| {
            self.reclaimable_jobs().filter(|(_, job, _)| job.who.client == *client).count()
        };
        let victim = self
            .reclaimable_jobs()
            .max_by_key(|(ticket, job, since)| (spot_jobs_of(&job.who.client), *since, *ticket));
        victim.map(|(ticket, _, since)| (ticket, since))
    }

    fn count(&self, which: impl Fn(&Job) -> bool) -> usize {
        self.jobs.values().filter(|job| which(job)).count()
    }

    /// What a client had, and has.
    fn used(&self, now: Timestamp, client: &PublicKey) -> u64 {
        let before = self.shares.get(client).map_or(0, |share| share.at(now));
        let held = |job: &Job| if job.who.client == *client { job.held(now) } else { 0 };
        self.jobs.values().map(held).fold(before, u64::saturating_add)
    }

    fn charge(&mut self, now: Timestamp, job: &Job) {
        let held = job.held(now);
        if held == 0 {
            return;
        }
        let before = self.shares.get(&job.who.client).map_or(0, |share| share.at(now));
        let share = Share { used: before.saturating_add(held), at: now };
        self.shares.insert(job.who.client, share);
        if self.shares.len() > CLIENTS_MAX {
            self.shares.retain(|_, share| share.at(now) > 0);
        }
        if self.shares.len() > CLIENTS_MAX {
            let least = self.shares.iter().min_by_key(|(client, share)| (share.at(now), **client));
            if let Some(client) = least.map(|(client, _)| *client) {
                self.shares.remove(&client);
            }
        }
    }
}

impl Job {
    /// Whether it is a job of this client's reserved slot.
    fn is_of(&self, holder: &PublicKey) -> bool {
        self.who.tier == Tier::Reserved && self.who.client == *holder
    }

    /// How long it has held a slot, in milliseconds.
    fn held(&self, now: Timestamp) -> u64 {
        match self.state {
            State::Waits => 0,
            State::Runs { since } | State::Reclaimed { since } => now.since(since).0,
        }
    }
}

impl Share {
    fn at(&self, now: Timestamp) -> u64 {
        let halvings = now.since(self.at).0 / HALF_LIFE.0;
        u32::try_from(halvings).ok().and_then(|halvings| self.used.checked_shr(halvings)).unwrap_or(0)
    }
}

/// The lower comes first.
fn rank(tier: Tier) -> u8 {
    match tier {
        Tier::Reserved => 0,
        Tier::OnDemand => 1,
        Tier::Spot => 2,
    }
}

#[cfg(test)]
mod tests;
