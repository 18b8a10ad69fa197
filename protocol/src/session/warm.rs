//! A session that a client keeps open between its jobs: which jobs it takes, how much it holds, when it is closed.
//!
//! ```text
//!  Open ── job, job, ... ──> Leaving ── its last job ended ──> Closing
//!    │ less is free than a job may need: top up        ^
//!    └── idle for too long, or its time is nearly over ┘ or its provider did something that no job should follow
//! ```
//!
//! Money is held as it is used: at first for a few jobs like the first one, later for as much again as was used. So a
//! session of many jobs needs few transactions, and never holds more than twice what it used, or a few jobs.

use super::{
    book::{NoLane, SessionBook, TakenLane},
    lane::LaneLedger,
    terms::Terms,
};
use crate::units::{Credits, Millis, Timestamp};

/// Jobs of the longest kind that are held for ahead, at least.
const AHEAD: u64 = 2;
/// The part of a session's time at its end in which it takes no job: who needs one matches anew.
const RENEW_PART: u64 = 8;
/// How long after a top-up that failed the next one is tried, at least.
pub const TOP_UP_AGAIN: Millis = Millis(5_000);

/// A session that is kept open.
#[derive(Clone, Debug)]
pub struct WarmSession {
    book: SessionBook,
    state: State,
    idle: Millis,
    /// When it was last given a job, or gave one back.
    used_at: Timestamp,
    /// From then on it takes no job.
    over_at: Timestamp,
    /// The most that a job of it was to add to its lane.
    longest: Credits,
    /// Whether a top-up is on its way.
    rising: bool,
    /// No top-up before this.
    rise_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Leaving,
    Closing,
}

/// Why a kept session does not take a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It is being closed, or is to be.
    #[error("the session is being closed")]
    Leaving,
    /// Its time is over, or would be before the job's end.
    #[error("the session's time is nearly over")]
    Over,
    /// Its lanes.
    #[error(transparent)]
    Lane(#[from] NoLane),
}

/// What a session should hold at first whose first job costs `longest` at most, with `left` of its order. `None` if that
/// does not cover the job.
#[must_use]
pub fn first_hold(longest: Credits, left: Credits) -> Option<Credits> {
    let wanted = Credits(rounded(longest).0.saturating_mul(AHEAD.saturating_add(1)));
    (longest <= left && left != Credits::ZERO).then_some(wanted.min(left))
}

/// What jobs of this cost add to a lane at most: the lane is rounded as a whole, so one of them may add a micro-credit
/// more than it costs alone.
fn rounded(cost: Credits) -> Credits {
    Credits(cost.0.saturating_add(1))
}

impl WarmSession {
    /// A session that was opened at `now` with `hold`, and is closed once it was idle for `idle`.
    #[must_use]
    pub fn new(terms: Terms, hold: Credits, idle: Millis, now: Timestamp) -> Self {
        let part = Millis(terms.use_until.since(now).0 / RENEW_PART);
        let over_at = Timestamp(terms.use_until.0.saturating_sub(part.0));
        Self {
            book: SessionBook::new(terms, hold, []),
            state: State::Open,
            idle,
            used_at: now,
            over_at,
            longest: Credits::ZERO,
            rising: false,
            rise_at: Timestamp(0),
        }
    }

    /// The session's terms.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        self.book.terms()
    }

    /// What is held.
    #[must_use]
    pub fn hold(&self) -> Credits {
        self.book.hold()
    }

    /// What the provider can collect at most: what was promised, and what running jobs may come to.
    #[must_use]
    pub fn owed(&self) -> Credits {
        self.hold().saturating_sub(self.book.remaining())
    }

    /// Takes a lane for a job that reads `prompt` tokens and writes `output` at most.
    ///
    /// # Errors
    /// If the session is to be closed, its time would not do, or no lane or money is free: [`NoLane::HoldExhausted`] says
    /// how much.
    pub fn take(&mut self, prompt: u32, output: u32, now: Timestamp) -> Result<TakenLane, NotTaken> {
        if self.state != State::Open {
            return Err(NotTaken::Leaving);
        }
        let time = self.terms().job_time(prompt, output).ok_or(NoLane::Overflow)?;
        let ends = now.after(Millis(time.0.div_ceil(1_000_000)));
        if now >= self.over_at || ends.is_none_or(|ends| ends >= self.terms().use_until) {
            return Err(NotTaken::Over);
        }
        let taken = self.book.take_free(prompt, output)?;
        let cost = self.terms().job_amount(prompt, output).ok_or(NoLane::Overflow)?;
        self.longest = self.longest.max(rounded(cost));
        self.used_at = now;
        Ok(taken)
    }

    /// Takes a lane back when its job is over. A session whose lane was left unsettled is done with.
    pub fn give_back(&mut self, lane: LaneLedger, now: Timestamp) {
        if lane.unsettled {
            self.leave();
        }
        self.book.give_back(lane);
        self.used_at = self.used_at.max(now);
    }

    /// Lets it take no further job.
    pub fn leave(&mut self) {
        if self.state == State::Open {
            self.state = State::Leaving;
        }
    }

    /// Whether it takes no job any more.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.state != State::Open
    }

    /// Whether a job runs.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.book.running() > 0
    }

    /// When it was last used.
    #[must_use]
    pub fn used_at(&self) -> Timestamp {
        self.used_at
    }

    /// Whether it is to be closed at `now`: it was idle for too long, its time is nearly over, or it was left, and no job
    /// runs. Said once; from then on it takes no job.
    pub fn close_due(&mut self, now: Timestamp) -> bool {
        let is_due = match self.state {
            State::Open => now >= self.close_at(),
            State::Leaving => true,
            State::Closing => false,
        };
        let closes = is_due && !self.is_busy();
        if closes {
            self.state = State::Closing;
        }
        closes
    }

    /// How much more to hold at `now`, with `left` of its order, so that the next jobs find what they need. Said once,
    /// until [`WarmSession::rose`] or [`WarmSession::did_not_rise`] tells what came of it.
    pub fn top_up_due(&mut self, left: Credits, now: Timestamp) -> Option<Credits> {
        if now < self.rise_at {
            return None;
        }
        self.rise_for(Credits::ZERO, left)
    }

    /// When [`WarmSession::close_due`] is to be asked, if nothing happens before; `None` while a job of it runs, and once it closes.
    #[must_use]
    pub fn look_at(&self) -> Option<Timestamp> {
        let rests = !self.is_busy() && self.state == State::Open;
        rests.then(|| self.close_at())
    }

    /// How much more to hold so that `needed` is free, and the next jobs find what they need: as much again as was used,
    /// or a few jobs. `None` if enough is free, nothing is left of the order, or a top-up is on its way already. Said
    /// once, as [`WarmSession::top_up_due`].
    pub fn rise_for(&mut self, needed: Credits, left: Credits) -> Option<Credits> {
        let (free, needed) = (self.book.remaining(), rounded(needed).max(self.longest));
        if self.rising || self.state != State::Open || free >= needed {
            return None;
        }
        let ahead = self.owed().max(Credits(needed.0.saturating_mul(AHEAD)));
        let amount = ahead.saturating_sub(free).min(left);
        self.rising = amount != Credits::ZERO;
        self.rising.then_some(amount)
    }

    /// Whether a top-up is on its way.
    #[must_use]
    pub fn is_rising(&self) -> bool {
        self.rising
    }

    /// The top-up is on the ledger.
    pub fn rose(&mut self, amount: Credits) {
        self.rising = false;
        self.book.raise_hold(self.hold().checked_add(amount).unwrap_or(Credits(u64::MAX)));
    }

    /// The top-up failed at `now`.
    pub fn did_not_rise(&mut self, now: Timestamp) {
        self.rising = false;
        self.rise_at = now.after(TOP_UP_AGAIN).unwrap_or(now);
    }

    fn close_at(&self) -> Timestamp {
        let idle_at = self.used_at.after(self.idle).unwrap_or(self.over_at);
        idle_at.min(self.over_at)
    }
}

#[cfg(test)]
mod tests;
