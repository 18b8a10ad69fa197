//! What providers signed to this client, kept until nobody can be accused over it any more: every receipt whose signature
//! is good, whether it was accepted or refused, with what leads from it to the device that answers. Two that cannot both
//! be true are an [`Accusation`].

use gridhour_contracts_sim::{limits::DISPUTE_WINDOW, tx::Accusation};
use gridhour_protocol::{
    market::advert::Advert,
    receipt::{Receipt, conflict::check_conflict},
    session::terms::Terms,
    signed::Signed,
    units::Timestamp,
    wire::Wire,
};
use serde::{Deserialize, Serialize};

use super::memory::{Memory, MemoryError};

/// Testimonies kept at a time. When there are as many, the oldest half goes.
pub const TESTIMONIES_MAX: usize = 4096;

/// A receipt, and what leads from it to a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Testimony {
    /// The session's terms.
    pub terms: Terms,
    /// The advert that the terms accept.
    pub advert: Signed<Advert>,
    /// What the provider said.
    pub receipt: Signed<Receipt>,
}

impl Testimony {
    /// The accusation, if what was said this time and the other time cannot both be true.
    #[must_use]
    pub fn against(&self, other: &Self) -> Option<Accusation> {
        check_conflict(&self.receipt.body, &other.receipt.body).ok()?;
        let Self { terms, advert, receipt } = self.clone();
        Some(Accusation { terms, advert, one: receipt, other: other.receipt.clone() })
    }

    /// Whether the time to accuse over it has passed at `now`.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        now.since(self.terms.collect_until) > DISPUTE_WINDOW
    }
}

impl Wire for Testimony {
    const BYTES_MAX: usize = Terms::BYTES_MAX + Signed::<Advert>::BYTES_MAX + Signed::<Receipt>::BYTES_MAX;

    fn check_bounds(&self) -> Result<(), String> {
        self.terms.check_bounds()?;
        self.advert.check_bounds()?;
        self.receipt.check_bounds()
    }
}

/// Keeps a testimony, and says whether another one of its session contradicts it. Makes room where there is none.
///
/// # Errors
/// If the records cannot be read or written.
pub fn keep(
    memory: &Memory,
    testimony: &Testimony,
    now: Timestamp,
) -> Result<Option<Accusation>, MemoryError> {
    let known = memory.testimonies(Some(testimony.terms.id()))?;
    let found = known.iter().find_map(|known| testimony.against(known));
    if memory.testimony_count() >= TESTIMONIES_MAX {
        memory.forget_testimonies(&dispensable(memory.testimonies(None)?, now))?;
    }
    memory.keep_testimony(testimony)?;
    Ok(found)
}

/// What nobody can be accused over any more; and the oldest of the rest, so that half of all may stay.
fn dispensable(mut all: Vec<Testimony>, now: Timestamp) -> Vec<Testimony> {
    all.sort_by_key(|testimony| (!testimony.is_over(now), testimony.terms.collect_until));
    let over = all.iter().take_while(|testimony| testimony.is_over(now)).count();
    all.truncate(over.max(all.len().saturating_sub(TESTIMONIES_MAX / 2)));
    all
}

/// The accusations that can still be made out of `testimonies`: one a device is enough to take its stake, so of each
/// session the first.
#[must_use]
pub fn contradictions(mut testimonies: Vec<Testimony>, now: Timestamp) -> Vec<Accusation> {
    testimonies.retain(|testimony| !testimony.is_over(now));
    testimonies.sort_by_key(|testimony| (testimony.terms.id(), testimony.receipt.id()));
    let sessions = testimonies.chunk_by(|one, other| one.terms == other.terms);
    let first = |session: &[Testimony]| {
        let pairs = session.iter().enumerate();
        pairs
            .flat_map(|(at, one)| session[at + 1..].iter().map(move |other| (one, other)))
            .find_map(|(one, other)| one.against(other))
    };
    sessions.filter_map(first).collect()
}

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::harness::{Chain, Deal, key};
    use gridhour_protocol::{id::OutputDigest, units::Millis};

    use super::*;

    fn deal(client: u8) -> Deal {
        Deal::new(&Chain::new(), &key(client), &key(2))
    }

    fn testimony(deal: &Deal, index: u32, output: u8) -> Testimony {
        let mut receipt = deal.receipt();
        (receipt.index, receipt.output) = (index, OutputDigest([output; 32]));
        receipt.request.0[0] = u8::try_from(index % 251).expect("small");
        let open = deal.sign();
        Testimony { terms: open.terms, advert: open.advert, receipt: deal.provider.sign(receipt) }
    }

    fn memory(folder: &tempfile::TempDir) -> Memory {
        Memory::open(folder.path(), key(1).public()).expect("new records").0
    }

    #[test]
    fn two_receipts_that_contradict_each_other_are_noticed_when_the_second_comes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (memory, deal) = (memory(&folder), deal(1));
        let now = deal.order.issued_at;
        let [one, next, again] =
            [(0, 1), (1, 1), (0, 2)].map(|(index, output)| testimony(&deal, index, output));
        assert_eq!(keep(&memory, &one, now).expect("it is kept"), None);
        assert_eq!(keep(&memory, &one, now).expect("it is kept"), None, "the same again");
        assert_eq!(keep(&memory, &next, now).expect("it is kept"), None, "another job");
        let accusation = keep(&memory, &again, now).expect("it is kept").expect("a contradiction");
        assert_eq!((&accusation.one, &accusation.other), (&again.receipt, &one.receipt));
        let kept = memory.testimonies(None).expect("they are kept");
        assert_eq!(kept.len(), 3);
        assert_eq!(contradictions(kept, now).len(), 1);
    }

    #[test]
    fn the_ledger_takes_what_was_noticed() {
        let mut chain = Chain::new();
        chain.fund(&key(2).public(), gridhour_protocol::units::Credits(5_000_000));
        let deal = Deal::new(&chain, &key(1), &key(2));
        chain.acting(&key(2)).ok(deal.register());
        chain.acting(&key(2)).ok(deal.bond(gridhour_protocol::units::Credits(5_000_000)));
        let accusation = testimony(&deal, 0, 1).against(&testimony(&deal, 0, 2)).expect("a contradiction");
        chain.acting(&key(9)).ok(gridhour_contracts_sim::tx::Call::Slash(Box::new(accusation)));
    }

    #[test]
    fn nothing_is_made_of_sessions_over_which_nobody_can_be_accused() {
        let deal = deal(1);
        let both = || vec![testimony(&deal, 0, 1), testimony(&deal, 0, 2)];
        let end = deal.terms.collect_until.after(DISPUTE_WINDOW).expect("it fits");
        assert_eq!(contradictions(both(), end).len(), 1);
        assert_eq!(contradictions(both(), end.after(Millis(1)).expect("it fits")), []);
    }

    #[test]
    fn what_can_no_longer_matter_goes_first_and_then_the_oldest() {
        let deals = [deal(1), deal(3)];
        let of = |at: usize, late: u64| {
            let mut testimony = testimony(&deals[at], 0, 1);
            testimony.terms.collect_until.0 += late;
            testimony
        };
        let many: Vec<Testimony> = (0..TESTIMONIES_MAX as u64).rev().map(|late| of(0, late)).collect();
        let gone = dispensable(many, Timestamp(0));
        assert_eq!(gone.len(), TESTIMONIES_MAX / 2);
        assert!(
            gone.iter()
                .all(|gone| gone.terms.collect_until < of(0, TESTIMONIES_MAX as u64 / 2).terms.collect_until)
        );
        let old = of(0, 0);
        let now = old.terms.collect_until.after(Millis(DISPUTE_WINDOW.0 + 1)).expect("it fits");
        assert_eq!(dispensable(vec![of(1, 5), old.clone()], now), [old]);
    }
}
