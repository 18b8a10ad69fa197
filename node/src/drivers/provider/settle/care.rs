//! When a session is looked after: asked about, collected, tried again, and cried about. Pure: time is an input.
//!
//! Nothing here waits for news. A session is looked after because its time has come, which follows from its terms, from
//! what the ledger last said, and from how often that failed; so whatever message is lost, nothing is forgotten.

use gridhour_contracts_sim::state::Session;
use gridhour_protocol::{
    session::terms::Terms,
    units::{Credits, Millis, Timestamp},
};

use crate::limbo;

/// How often, within the grace that a client's own close leaves, the ledger is asked whether there was one.
const LOOKS_A_GRACE: u64 = 4;
/// The part of the grace for which what the ledger showed is relied on without asking again.
const RECENT_PART: u64 = 2;
/// Wait after the first try that failed; it doubles with each further one.
const RETRY_MS_MIN: u64 = 2_000;
/// The longest wait.
const RETRY_MS_MAX: u64 = 30_000;
/// No wait is longer than this part of what is left until the deadline.
const RETRY_PART: u64 = 4;

/// What a sweep does for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Its time is over, or its client closes it: collect.
    Collect,
    /// Its client may have closed it alone, which brings the deadline forward: ask the ledger.
    Look,
}

/// When one session needs what.
#[derive(Clone, Debug)]
pub(super) struct Care {
    /// When to ask the ledger next whether the client closes it. A new session, and one from before a restart, at once.
    look_at: Timestamp,
    /// Not before this, since it failed.
    retry_at: Timestamp,
    failures: u32,
    /// A time, by our clock, at which the session was open.
    seen: Timestamp,
    /// The earliest time at which the hold may be gone, as far as is known.
    deadline: Timestamp,
    /// Collected, as the ledger last said.
    collected: Credits,
    /// The client closes it, as the ledger last said.
    closing: bool,
    /// Its provider has signed its end.
    close_signed: bool,
    /// Someone was told that the deadline is near.
    alerted: bool,
}

impl Care {
    /// A session that is new here at `now`, or from before a restart.
    pub(super) fn of(terms: &Terms, now: Timestamp) -> Self {
        let never = Timestamp(0);
        Self {
            look_at: never,
            retry_at: never,
            failures: 0,
            seen: now,
            deadline: terms.collect_until,
            collected: Credits::ZERO,
            closing: false,
            close_signed: false,
            alerted: false,
        }
    }

    /// A time at which the session was open.
    pub(super) fn seen(&self) -> Timestamp {
        self.seen
    }

    /// The earliest time at which the hold may be gone.
    pub(super) fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// Whether its client closes it, as the ledger last said.
    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Its provider signs its end, which may be applied at any moment from now on.
    pub(super) fn close_signed(&mut self) {
        self.close_signed = true;
    }

    /// Whether it ends, by the wish of either side: no job may start.
    pub(super) fn is_ending(&self) -> bool {
        self.closing || self.close_signed
    }

    /// Whether the session can be relied on as the ledger last showed it: had its client closed it a moment later, half
    /// of the grace would still be left to collect in.
    pub(super) fn is_recent(&self, terms: &Terms, now: Timestamp) -> bool {
        now >= self.seen && now.since(self.seen).0 <= grace(terms).0 / RECENT_PART
    }

    /// What the session needs at `now`, if anything; `busy` while a job runs in it.
    pub(super) fn need(&mut self, terms: &Terms, busy: bool, now: Timestamp) -> Option<Need> {
        if now < self.retry_at {
            return None;
        }
        if now >= terms.use_until {
            return (!busy).then_some(Need::Collect);
        }
        if self.is_ending() && !busy {
            return Some(Need::Collect);
        }
        let next = now.after(Millis(grace(terms).0 / LOOKS_A_GRACE)).unwrap_or(now);
        (now >= self.look_at).then(|| {
            self.look_at = next;
            Need::Look
        })
    }

    /// What was wanted of the ledger worked out: the next failure is the first one again.
    pub(super) fn answered(&mut self) {
        (self.failures, self.retry_at) = (0, Timestamp(0));
    }

    /// The ledger showed the session. From then on its client may close it alone, and leaves the grace.
    pub(super) fn shown(&mut self, session: &Session, now: Timestamp) {
        self.collected = session.collected;
        self.closing = session.closing;
        if session.closing {
            self.deadline = session.collect_until;
        } else {
            self.seen = now;
            let soon = now.after(grace(&session.terms)).unwrap_or(session.collect_until);
            self.deadline = soon.min(session.collect_until);
        }
    }

    /// It failed at `now`, and is tried again: ever more slowly, but several times before the deadline.
    pub(super) fn failed(&mut self, now: Timestamp) {
        let wait = RETRY_MS_MIN.saturating_mul(1 << self.failures.min(16)).min(RETRY_MS_MAX);
        let most = match self.deadline.since(now).0 {
            0 => RETRY_MS_MAX,
            left => (left / RETRY_PART).max(RETRY_MS_MIN),
        };
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now.after(Millis(wait.min(most))).unwrap_or(now);
        // What was to be looked at is looked at then.
        self.look_at = self.look_at.min(self.retry_at);
    }

    /// What is unclaimed, of `granted` by vouchers in all.
    pub(super) fn unclaimed(&self, granted: Credits) -> Credits {
        granted.saturating_sub(self.collected)
    }

    /// The same, while the deadline is near.
    pub(super) fn at_risk(&self, terms: &Terms, granted: Credits, now: Timestamp) -> Option<Credits> {
        let unclaimed = self.unclaimed(granted);
        (unclaimed != Credits::ZERO && limbo::is_near(terms, self.deadline, now)).then_some(unclaimed)
    }

    /// The same, told once.
    pub(super) fn alert(&mut self, terms: &Terms, granted: Credits, now: Timestamp) -> Option<Credits> {
        let unclaimed = self.at_risk(terms, granted, now).filter(|_| !self.alerted);
        self.alerted |= unclaimed.is_some();
        unclaimed
    }
}

fn grace(terms: &Terms) -> Millis {
    terms.collect_until.since(terms.use_until)
}

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::harness::{Chain, Deal, START, key};

    use super::*;

    const MINUTE_MS: u64 = 60_000;

    /// 10 minutes of use from [`START`], and 2 of grace.
    fn terms() -> Terms {
        Deal::new(&Chain::new(), &key(1), &key(2)).terms
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp(START.0 + ms)
    }

    fn shown(closing: bool) -> Session {
        Session {
            terms: terms(),
            held: Credits(400),
            collected: Credits::ZERO,
            collect_until: if closing { at(3 * MINUTE_MS) } else { terms().collect_until },
            closing,
            lanes: Vec::new(),
            draw: None,
        }
    }

    #[test]
    fn what_its_client_closes_is_collected_once_its_jobs_have_ended() {
        let mut care = Care::of(&terms(), at(0));
        assert_eq!(care.need(&terms(), true, at(0)), Some(Need::Look));
        care.shown(&shown(true), at(0));
        assert_eq!(care.need(&terms(), true, at(1)), None, "its jobs are told, and end");
        assert_eq!(care.need(&terms(), false, at(2)), Some(Need::Collect));
        care.failed(at(2));
        assert_eq!(care.need(&terms(), false, at(3)), None, "not at once again");
    }

    #[test]
    fn what_its_provider_signed_the_end_of_is_closed_until_that_is_known() {
        let mut care = Care::of(&terms(), at(0));
        care.close_signed();
        assert!(care.is_ending() && !care.is_closing());
        assert_eq!(care.need(&terms(), false, at(0)), Some(Need::Collect));
        care.failed(at(0));
        assert_eq!(care.need(&terms(), false, at(1)), None, "not at once again");
        care.answered();
        care.shown(&shown(false), at(1));
        assert_eq!(care.need(&terms(), false, at(2)), Some(Need::Collect), "open as yet, and not for long");
    }

    #[test]
    fn a_session_is_looked_at_within_the_grace_and_collected_at_its_end() {
        let mut care = Care::of(&terms(), at(0));
        assert_eq!(care.need(&terms(), false, at(0)), Some(Need::Look), "at once");
        assert_eq!(care.need(&terms(), false, at(29_999)), None);
        assert_eq!(care.need(&terms(), true, at(30_000)), Some(Need::Look), "four times a grace");
        assert_eq!(care.need(&terms(), true, at(10 * MINUTE_MS)), None, "a job runs");
        assert_eq!(care.need(&terms(), false, at(10 * MINUTE_MS)), Some(Need::Collect));
    }

    #[test]
    fn what_the_ledger_showed_is_relied_on_for_half_a_grace() {
        let mut care = Care::of(&terms(), at(0));
        care.shown(&shown(false), at(5_000));
        assert!(care.is_recent(&terms(), at(5_000)) && care.is_recent(&terms(), at(65_000)));
        assert!(!care.is_recent(&terms(), at(65_001)) && !care.is_recent(&terms(), at(4_999)));
    }

    #[test]
    fn what_fails_is_tried_ever_more_slowly_and_many_times_before_the_deadline() {
        let mut care = Care::of(&terms(), at(0));
        let (mut now, mut waits) = (10 * MINUTE_MS, Vec::new());
        while now < 12 * MINUTE_MS {
            assert_eq!(care.need(&terms(), false, at(now)), Some(Need::Collect), "after {waits:?}");
            care.failed(at(now));
            let next = (now..).find(|ms| care.need(&terms(), false, at(*ms)).is_some()).expect("ever again");
            waits.push(next - now);
            now = next;
        }
        assert_eq!(&waits[..4], [2_000, 4_000, 8_000, 16_000]);
        assert!(waits.iter().all(|wait| *wait <= RETRY_MS_MAX) && waits.len() > 10, "{waits:?}");
        care.shown(&shown(false), at(now));
        care.failed(at(now));
        assert!(care.need(&terms(), false, at(now + 2_000)).is_none(), "to be shown it is not to collect");
        care.answered();
        care.failed(at(now));
        assert!(care.need(&terms(), false, at(now + 2_000)).is_some(), "an answer forgives");
    }

    #[test]
    fn whoever_cannot_see_the_ledger_is_afraid_of_a_client_that_closes_now() {
        let mut care = Care::of(&terms(), at(0));
        let alert = |care: &mut Care, ms| care.alert(&terms(), Credits(7), at(ms));
        care.shown(&shown(false), at(MINUTE_MS));
        assert_eq!(care.deadline(), at(3 * MINUTE_MS), "the client may have closed it a moment later");
        assert_eq!(alert(&mut care, 2 * MINUTE_MS), None, "half of the grace is left");
        assert_eq!(alert(&mut care, 2 * MINUTE_MS + 1), Some(Credits(7)));
        assert_eq!(alert(&mut care, 2 * MINUTE_MS + 2), None, "once");
        let mut seen = Care::of(&terms(), at(0));
        for ms in (0..10 * MINUTE_MS).step_by(30_000) {
            seen.shown(&shown(false), at(ms));
            assert_eq!(alert(&mut seen, ms + 30_000), None, "{ms}: it was seen in time");
        }
        seen.shown(&shown(true), at(2 * MINUTE_MS));
        assert_eq!(seen.alert(&terms(), Credits::ZERO, at(3 * MINUTE_MS)), None, "nothing was earned");
        assert_eq!(alert(&mut seen, 3 * MINUTE_MS), Some(Credits(7)));
    }
}
