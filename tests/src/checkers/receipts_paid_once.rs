//! Each receipt is paid once: lanes count only receipts that were signed, in the order in which they were
//! acknowledged, and what a provider was paid over a session's life is exactly what its lanes say at the end.

use std::collections::BTreeMap;

use gridhour_contracts_sim::ledger::entry::{Book, Entry, Event, Lane};
use gridhour_protocol::{
    id::{ReceiptId, SessionId},
    job::message::ProviderMessage,
    merkle::{Frontier, leaf_hash},
};

use super::{Checker, View};
use crate::sim::fact::{Fact, Frame};

/// Receipts said on a lane, by the job's number. A dishonest provider may sign several for one job.
type Signed = BTreeMap<u32, Vec<ReceiptId>>;

/// What was signed and what was paid.
#[derive(Clone, Debug, Default)]
pub struct ReceiptsPaidOnce {
    signed: BTreeMap<(SessionId, u16), Signed>,
    paid: BTreeMap<SessionId, u64>,
    counted: BTreeMap<(SessionId, u16), u32>,
}

impl ReceiptsPaidOnce {
    fn note(&mut self, fact: &Fact) {
        let Fact::Said { frame: Frame::Provider(message), .. } = fact else { return };
        let (ProviderMessage::Done { receipt } | ProviderMessage::Fault { receipt, .. }) = message else {
            return;
        };
        let lane = self.signed.entry((receipt.body.session, receipt.body.lane)).or_default();
        lane.entry(receipt.body.index).or_default().push(receipt.id());
    }

    fn take(&mut self, entry: &Entry, view: &View<'_>) -> Result<(), String> {
        let Some(session) = entry.event.session() else { return Ok(()) };
        for posting in &entry.postings {
            let to_provider = matches!(posting.credit, Book::Account(key) if view.is_provider(&key));
            if posting.debit == Book::Hold(session) && to_provider {
                *self.paid.entry(session).or_default() += posting.amount.0;
            }
        }
        for lane in entry.event.lanes() {
            self.count(session, lane)?;
        }
        match &entry.event {
            Event::Closed { lanes, .. } | Event::Expired { lanes, .. } => self.compare(session, lanes),
            _ => Ok(()),
        }
    }

    fn count(&mut self, session: SessionId, lane: &Lane) -> Result<(), String> {
        let counted = self.counted.entry((session, lane.lane)).or_default();
        if lane.receipts < *counted {
            return Err(format!("lane {} of {session} counts fewer receipts than before", lane.lane));
        }
        *counted = lane.receipts;
        let none = Signed::new();
        let signed = self.signed.get(&(session, lane.lane)).unwrap_or(&none);
        if has_root(signed, lane) {
            return Ok(());
        }
        Err(format!("lane {} of {session} counts {} receipts that nobody signed", lane.lane, lane.receipts))
    }

    fn compare(&self, session: SessionId, lanes: &[Lane]) -> Result<(), String> {
        let paid = self.paid.get(&session).copied().unwrap_or(0);
        let due: u64 = lanes.iter().map(|lane| lane.amount.0).sum();
        if paid == due { Ok(()) } else { Err(format!("session {session} paid {paid}, its lanes say {due}")) }
    }
}

/// Whether the lane's root is that of its first receipts, one for each job.
fn has_root(signed: &Signed, lane: &Lane) -> bool {
    let mut trees = vec![Frontier::new()];
    for index in 0..lane.receipts {
        let Some(choices) = signed.get(&index) else { return false };
        let grown = trees.iter().flat_map(|tree| choices.iter().map(|id| grow(tree, *id)));
        trees = grown.collect();
    }
    trees.iter().any(|tree| tree.root() == lane.receipts_root)
}

fn grow(tree: &Frontier, receipt: ReceiptId) -> Frontier {
    let mut tree = tree.clone();
    tree.push(leaf_hash(&receipt.0));
    tree
}

impl Checker for ReceiptsPaidOnce {
    fn name(&self) -> &'static str {
        "receipts_paid_once"
    }

    fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        view.facts.iter().for_each(|fact| self.note(fact));
        view.entries.iter().try_for_each(|entry| self.take(entry, view))
    }

    fn finish(&mut self, view: &View<'_>) -> Result<(), String> {
        let counted: u64 = self.counted.values().map(|count| u64::from(*count)).sum();
        let total = view.ledger.state().tip().totals.receipts;
        if counted == total {
            Ok(())
        } else {
            Err(format!("the ledger counts {total} receipts, lanes {counted}"))
        }
    }
}
