//! The slot that was reserved and runs now: asked of its provider, and called for on the ledger where that does not answer.
//!
//! ```text
//!  reservations on the ledger ─> the one whose slot runs ─> its provider is asked ── advert ─────────────────> session
//!                                                             │ silent, or refuses
//!                                                             └─> demand ── answered: the advert is on the ledger ─┘
//!                                                                        └─ not in time: settled, the money is back
//! ```

mod pick;

use std::time::Duration;

use gridhour_contracts_sim::{
    state::{Reservation, StateKey, StateValue},
    tx::Call,
};
use gridhour_protocol::{
    id::ReservationId,
    market::{advert::Advert, reservation::ReservationOffer},
    signed::{Signed, Verified},
    units::{Credits, Height, Timestamp},
    wire,
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

pub use self::pick::NoSlot;
use self::pick::{Missed, Recourse, Shown, recourse, running, shown};
use super::{
    Client, RunError,
    run::{OnEvent, RunEvent, RunSpec},
};
use crate::{
    clock,
    drivers::ledger_client::LedgerError,
    rpc::{ProviderAnswer, ProviderRequest},
};

/// How long its provider may take to hand over the advert of a slot before it is called for on the ledger.
const SLOT_TIME: Duration = Duration::from_secs(5);
/// How long a provider that answered on the ledger is looked for.
const REACH_TIME: Duration = Duration::from_secs(15);
/// Time between two looks at a call.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Blocks behind a call in which its answer is looked for, however many the ledger node sends: more than a busy ledger
/// writes in ten minutes.
const ANSWER_BLOCKS_MAX: u64 = 100_000;

/// Why a reserved slot was of no use.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// None runs.
    #[error(transparent)]
    None(#[from] NoSlot),
    /// The provider did not answer in time: what was not used is back.
    #[error("{0}")]
    Missed(Missed),
    /// The provider does not give the slot, and it cannot be called for any more.
    #[error("the provider of the slot does not serve: {why}; {what}")]
    NotServed {
        /// What it said, or did not.
        why: String,
        /// Why nobody can call for it, and what to do.
        what: &'static str,
    },
    /// The answer may cost more than is left of the slot.
    #[error("the answer may cost {longest} credits, and {left} are left of the slot")]
    Spent {
        /// The most that it may cost.
        longest: Credits,
        /// What is left.
        left: Credits,
    },
    /// The user stopped while the provider was waited for.
    #[error(
        "stopped while the provider was waited for; it is called for on the ledger, which settles the slot"
    )]
    Stopped,
}

/// A slot that runs, and under which advert a session opens in it.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) reservation: ReservationId,
    /// When it ends, and every session in it.
    pub(super) ends_at: Timestamp,
    /// What no session has drawn of its price.
    pub(super) left: Credits,
    pub(super) advert: Verified<Advert>,
}

impl Slot {
    fn of(known: &Reservation, number: u16, advert: Verified<Advert>) -> Self {
        let ends_at = known.terms.start_of(number.saturating_add(1));
        Self { reservation: known.terms.id(), ends_at, left: known.left_of(number), advert }
    }
}

impl Client {
    /// The slot that `spec` draws on, its provider willing or called for.
    pub(super) async fn slot_for(
        &self,
        spec: &RunSpec,
        cancel: watch::Receiver<bool>,
        on_event: OnEvent<'_>,
    ) -> Result<Slot, RunError> {
        let (now, from) = self.ledger_now().await?;
        let known = self.ledger.reservations(self.id()).await?;
        let (known, number) =
            running(known, &self.id(), (spec.model, spec.reservation), now).map_err(SlotError::from)?;
        let why = match self.ask_for_slot(&known.terms).await {
            Ok(advert) => return Ok(Slot::of(&known, number, advert)),
            Err(why) => why,
        };
        let from = self.call_for((&known, from), number, &why, on_event).await?;
        let mut stopped = cancel;
        tokio::select! {
            answered = self.answer_to(&known, number, from, why) => {
                Ok(Slot::of(&known, number, answered?))
            }
            // An error means that nobody is left who could stop it.
            Ok(_) = stopped.wait_for(|stop| *stop) => Err(SlotError::Stopped.into()),
        }
    }

    /// The time as far as is known: the ledger's decides, and may be ahead of this clock; and the ledger's height.
    async fn ledger_now(&self) -> Result<(Timestamp, Height), LedgerError> {
        let status = self.ledger.status().await?;
        Ok((clock::now().max(status.time), status.height))
    }

    async fn ask_for_slot(&self, terms: &ReservationOffer) -> Result<Verified<Advert>, String> {
        let asked = self.ask_provider(terms.provider, ProviderRequest::Slot(terms.id()));
        match timeout(SLOT_TIME, asked).await.map_err(|_| "it does not answer".to_owned())?? {
            ProviderAnswer::Slot(advert) => as_reserved(*advert, terms),
            ProviderAnswer::Refused(why) => Err(why),
            _ => Err("the answer is to another question".into()),
        }
    }

    /// Calls for the slot, if nobody did by what was `known` at a height. Where on the ledger to look for the answer: one to
    /// an earlier call may have come since.
    async fn call_for(
        &self,
        (known, height): (&Reservation, Height),
        slot: u16,
        why: &str,
        on_event: OnEvent<'_>,
    ) -> Result<Height, RunError> {
        let (now, _) = self.ledger_now().await?;
        let reservation = known.terms.id();
        match recourse(known, slot, now) {
            Recourse::Wait => return Ok(height),
            Recourse::None(what) => return Err(SlotError::NotServed { why: why.to_owned(), what }.into()),
            Recourse::Call => {}
        }
        let called = self.ledger.submit(&self.key, Call::Demand { reservation }).await?;
        on_event(RunEvent::SlotCalled { reservation, provider: known.terms.provider, why });
        Ok(called.height)
    }

    /// The advert with which the provider answers on the ledger. Where the time for that is over, the slot is settled, which
    /// brings back what was not used.
    async fn answer_to(
        &self,
        before: &Reservation,
        slot: u16,
        from: Height,
        why: String,
    ) -> Result<Verified<Advert>, RunError> {
        let reservation = before.terms.id();
        loop {
            let (now, _) = self.ledger_now().await?;
            match shown(self.reservation(reservation).await?.as_ref(), slot) {
                Shown::Answered => {
                    let advert = self.find_answer(&before.terms, from).await?;
                    self.reach(&before.terms).await;
                    return Ok(advert);
                }
                Shown::Missed => return Err(SlotError::Missed(Missed::of(before, slot, why)).into()),
                Shown::Waiting { answer_by } if now > answer_by => self.settle_slot(reservation).await?,
                Shown::Waiting { .. } => {}
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until the provider can be reached, which is there, as its answer shows: where it is now may have to be heard of
    /// first. If that takes long, the session is opened all the same, as it was called for.
    async fn reach(&self, terms: &ReservationOffer) {
        let reached = async {
            while self.ask_for_slot(terms).await.is_err() {
                sleep(LOOK_EVERY).await;
            }
        };
        if timeout(REACH_TIME, reached).await.is_err() {
            tracing::warn!(provider = %terms.provider.short(), "it answered on the ledger and is not reached");
        }
    }

    async fn reservation(&self, id: ReservationId) -> Result<Option<Reservation>, LedgerError> {
        Ok(match self.ledger.record(StateKey::Reservation(id)).await? {
            Some(StateValue::Reservation(known)) => Some(*known),
            _ => None,
        })
    }

    async fn settle_slot(&self, reservation: ReservationId) -> Result<(), LedgerError> {
        match self.ledger.submit(&self.key, Call::Settle { reservation }).await {
            // The ledger node was faster, or its clock is behind ours.
            Err(LedgerError::Rejected { .. }) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The advert that stands in the answer, in a block from `from` on.
    async fn find_answer(
        &self,
        terms: &ReservationOffer,
        from: Height,
    ) -> Result<Verified<Advert>, RunError> {
        let id = terms.id();
        let mut found = None;
        let mut read = 0;
        while read < ANSWER_BLOCKS_MAX {
            let blocks = self.ledger.blocks(Height(from.0.saturating_add(read))).await?;
            if blocks.is_empty() {
                break;
            }
            read += blocks.len() as u64;
            found = blocks.iter().rev().find_map(|bytes| answer_in(bytes, id)).or(found);
        }
        let advert = found.ok_or("its answer is not on the ledger".to_owned());
        advert.and_then(|advert| as_reserved(advert, terms)).map_err(|why| {
            let what = "look at `gridhour reserve show`; what is not used of the slot comes back at its end";
            SlotError::NotServed { why, what }.into()
        })
    }
}

/// The advert in the answer for this reservation that an encoded block holds; the last, if there are several.
fn answer_in(block: &[u8], id: ReservationId) -> Option<Signed<Advert>> {
    let block = wire::decode::<gridhour_contracts_sim::block::Block>(block).ok()?;
    let mut answers = block.txs.into_iter().filter_map(|tx| match tx.body.call {
        Call::Answer { reservation, advert } if reservation == id => Some(*advert),
        _ => None,
    });
    answers.next_back()
}

/// The advert, if the provider signed it and it is of what is reserved.
fn as_reserved(advert: Signed<Advert>, terms: &ReservationOffer) -> Result<Verified<Advert>, String> {
    let advert = advert.verify().map_err(|error| error.to_string())?;
    match terms.is_offered_by(&advert) && advert.is_live(clock::now()) {
        true => Ok(advert),
        false => Err("what it advertises is not what was reserved, or is over".into()),
    }
}
