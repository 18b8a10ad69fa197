//! All lanes of one session, as one side knows them, and what is left of the hold.
//!
//! A job takes a lane and reserves what its longest output may cost; when it is over the lane comes back with what it
//! really cost. A lane whose job was not settled takes no further job: what its newest voucher says stays owed.

use std::collections::BTreeMap;

use super::{lane::LaneLedger, terms::Terms, voucher::Voucher};
use crate::{id::SessionId, limits::LANES_MAX, signed::Signed, units::Credits};

/// The lanes of a session.
#[derive(Clone, Debug)]
pub struct SessionBook {
    id: SessionId,
    terms: Terms,
    hold: Credits,
    lanes: BTreeMap<u16, Slot>,
}

#[derive(Clone, Debug)]
struct Slot {
    lane: LaneLedger,
    /// What the lane may reach while a job runs on it.
    reserved: Option<Credits>,
}

/// A lane for one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenLane {
    /// The lane.
    pub lane: LaneLedger,
    /// The most that it may reach.
    pub cap: Credits,
}

/// Why there is no lane for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoLane {
    /// The lane's number is out of range.
    #[error("lane {lane} is not below {LANES_MAX}")]
    OutOfRange {
        /// The lane.
        lane: u16,
    },
    /// A job runs on it.
    #[error("a job runs on lane {lane}")]
    Busy {
        /// The lane.
        lane: u16,
    },
    /// Every lane is busy or unsettled.
    #[error("all {LANES_MAX} lanes are busy or unsettled; wait, or open another session")]
    AllTaken,
    /// The rest of the hold does not cover the job.
    #[error(
        "the job may cost {needed} credits on its lane, {left} of the hold are left; top up or ask for less"
    )]
    HoldExhausted {
        /// What the lane may reach.
        needed: Credits,
        /// What the hold leaves to the lane.
        left: Credits,
    },
    /// The numbers are beyond 64 bits.
    #[error("the amount of this job is beyond 64 bits; ask for less")]
    Overflow,
}

impl SessionBook {
    /// A session under `terms` with a hold of `hold`, and the lanes that were persisted before, if any.
    ///
    /// Lanes of other sessions are left out.
    #[must_use]
    pub fn new(terms: Terms, hold: Credits, persisted: impl IntoIterator<Item = LaneLedger>) -> Self {
        let id = terms.id();
        let own =
            persisted.into_iter().filter(|lane| lane.session == id && usize::from(lane.lane) < LANES_MAX);
        let lanes = own.map(|lane| (lane.lane, Slot { lane, reserved: None })).collect();
        Self { id, terms, hold, lanes }
    }

    /// The session's terms.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The session's hold.
    #[must_use]
    pub fn hold(&self) -> Credits {
        self.hold
    }

    /// Raises the hold after a top-up. A lower hold than before is ignored, because holds never shrink.
    pub fn raise_hold(&mut self, hold: Credits) {
        self.hold = self.hold.max(hold);
    }

    /// Buyer: takes the first free lane for a job with this prompt and at most this output.
    ///
    /// # Errors
    /// If no lane is free or the hold does not cover the job.
    pub fn take_free(&mut self, prompt: u32, output: u32) -> Result<TakenLane, NoLane> {
        let free = |lane: &u16| {
            self.lanes.get(lane).is_none_or(|slot| slot.reserved.is_none() && !slot.lane.unsettled)
        };
        let lane = (0..).take(LANES_MAX).find(free).ok_or(NoLane::AllTaken)?;
        let needed = self.lane(lane).amount_with(&self.terms, prompt, output).ok_or(NoLane::Overflow)?;
        let left = self.left_for(lane);
        if needed > left {
            return Err(NoLane::HoldExhausted { needed, left });
        }
        Ok(self.occupy(lane, needed))
    }

    /// Provider: takes the lane that a request names. Whether the job fits the cap is for the job's machine to say.
    ///
    /// # Errors
    /// If the lane is out of range or a job runs on it.
    pub fn take(&mut self, lane: u16, prompt: u32, output: u32) -> Result<TakenLane, NoLane> {
        if usize::from(lane) >= LANES_MAX {
            return Err(NoLane::OutOfRange { lane });
        }
        if self.lanes.get(&lane).is_some_and(|slot| slot.reserved.is_some()) {
            return Err(NoLane::Busy { lane });
        }
        // A lost last voucher may still settle the job before this one; its time counts.
        let mut known = self.lane(lane);
        if let Some(settled) = known.pending.as_ref().and_then(|receipt| known.with_receipt(receipt)) {
            known = settled;
        }
        let needed = known.amount_with(&self.terms, prompt, output).ok_or(NoLane::Overflow)?;
        let left = self.left_for(lane);
        Ok(TakenLane { cap: left, ..self.occupy(lane, needed.min(left)) })
    }

    /// Gives a lane back when its job is over.
    pub fn give_back(&mut self, lane: LaneLedger) {
        if lane.session == self.id && usize::from(lane.lane) < LANES_MAX {
            self.lanes.insert(lane.lane, Slot { lane, reserved: None });
        }
    }

    /// Jobs that run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.lanes.values().filter(|slot| slot.reserved.is_some()).count()
    }

    /// What is neither promised nor reserved.
    #[must_use]
    pub fn remaining(&self) -> Credits {
        self.lanes.values().fold(self.hold, |left, slot| left.saturating_sub(slot.ceiling()))
    }

    /// Newest voucher of each lane that has one, by lane: what the provider collects.
    pub fn vouchers(&self) -> impl Iterator<Item = &Signed<Voucher>> {
        self.lanes.values().filter_map(|slot| slot.lane.newest.as_ref())
    }

    fn lane(&self, lane: u16) -> LaneLedger {
        self.lanes.get(&lane).map_or_else(|| LaneLedger::new(self.id, lane), |slot| slot.lane.clone())
    }

    fn left_for(&self, lane: u16) -> Credits {
        let others = self.lanes.iter().filter(|(other, _)| **other != lane);
        others.fold(self.hold, |left, (_, slot)| left.saturating_sub(slot.ceiling()))
    }

    fn occupy(&mut self, lane: u16, cap: Credits) -> TakenLane {
        let known = self.lane(lane);
        self.lanes.insert(lane, Slot { lane: known.clone(), reserved: Some(cap) });
        TakenLane { lane: known, cap }
    }
}

impl Slot {
    fn ceiling(&self) -> Credits {
        self.lane.committed.max(self.reserved.unwrap_or(Credits::ZERO))
    }
}

#[cfg(test)]
mod tests;
