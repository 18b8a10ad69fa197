//! Persist before send: what an honest party says rests on what it has already written, so that a crash right
//! after the word leaves its record.
//!
//! - A client's voucher is the newest of its lane's record.
//! - A provider's tokens are paid for by the newest voucher of its lane's record, and its receipt is in there.

use std::collections::BTreeMap;

use gridhour_protocol::{
    id::SessionId,
    job::message::{ClientMessage, Open, ProviderMessage},
    receipt::Receipt,
    session::{lane::LaneLedger, voucher::Voucher},
    signed::Signed,
};

use super::{Checker, View};
use crate::sim::{
    fact::{Fact, Frame},
    net::{NodeId, StreamId},
};

type Record = (NodeId, SessionId, u16);

/// The records as written, and the jobs as opened.
#[derive(Clone, Debug, Default)]
pub struct NothingSentBeforeItIsSaved {
    records: BTreeMap<Record, Box<LaneLedger>>,
    jobs: BTreeMap<StreamId, (Box<Open>, u32)>,
}

impl NothingSentBeforeItIsSaved {
    fn note(&mut self, fact: &Fact, view: &View<'_>) -> Result<(), String> {
        match fact {
            Fact::Saved { by, lane } => {
                self.records.insert((*by, lane.session, lane.lane), lane.clone());
                Ok(())
            }
            Fact::Said { stream, by, frame, .. } => self.said(*stream, *by, frame, view),
            _ => Ok(()),
        }
    }

    fn said(&mut self, stream: StreamId, by: NodeId, frame: &Frame, view: &View<'_>) -> Result<(), String> {
        if let Frame::Client(ClientMessage::Open(open)) = frame {
            self.jobs.insert(stream, (open.clone(), 0));
        }
        if let Frame::Provider(ProviderMessage::Chunk(chunk)) = frame
            && let Some((_, sent)) = self.jobs.get_mut(&stream)
        {
            *sent += chunk.tokens.len() as u32;
        }
        let is_honest = view.role(by).is_some_and(|role| role.honest);
        if !is_honest || self.rests_on_record(stream, by, frame) {
            return Ok(());
        }
        Err(format!("node {} said {} before it had written what that rests on", by.0, frame.name()))
    }

    fn rests_on_record(&self, stream: StreamId, by: NodeId, frame: &Frame) -> bool {
        let Some((open, sent)) = self.jobs.get(&stream) else { return false };
        let record = self.records.get(&(by, open.terms.id(), open.request.lane)).map(Box::as_ref);
        match frame {
            Frame::Client(ClientMessage::Open(open)) => is_newest(record, &open.voucher),
            Frame::Client(ClientMessage::Voucher(voucher) | ClientMessage::Final(voucher)) => {
                is_newest(record, voucher)
            }
            Frame::Client(ClientMessage::Cancel)
            | Frame::Provider(ProviderMessage::Refused { .. } | ProviderMessage::Reclaiming { .. }) => true,
            Frame::Provider(ProviderMessage::Accepted { .. }) => is_newest(record, &open.voucher),
            Frame::Provider(ProviderMessage::Chunk(_)) => pays_for(record, open, *sent),
            Frame::Provider(ProviderMessage::Done { receipt } | ProviderMessage::Fault { receipt, .. }) => {
                is_pending(record, receipt)
            }
        }
    }
}

fn is_newest(record: Option<&LaneLedger>, voucher: &Signed<Voucher>) -> bool {
    record.is_some_and(|lane| lane.newest.as_ref() == Some(voucher))
}

fn is_pending(record: Option<&LaneLedger>, receipt: &Signed<Receipt>) -> bool {
    record.is_some_and(|lane| lane.pending.as_ref() == Some(receipt))
}

fn pays_for(record: Option<&LaneLedger>, open: &Open, tokens: u32) -> bool {
    record.is_some_and(|lane| {
        let due = open.request.amount_on(lane, &open.terms, tokens);
        let paid = lane.newest.as_ref().map(|voucher| voucher.body.amount);
        due.is_some_and(|due| paid.is_some_and(|paid| paid >= due))
    })
}

impl Checker for NothingSentBeforeItIsSaved {
    fn name(&self) -> &'static str {
        "nothing_sent_before_it_is_saved"
    }

    fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        view.facts.iter().try_for_each(|fact| self.note(fact, view))
    }
}
