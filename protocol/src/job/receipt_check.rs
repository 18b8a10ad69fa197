//! A receipt and the job it is about: what it must say, computed by both sides from what both sides know.

use super::{misbehavior::Misbehavior, request::Request};
use crate::{
    id::{OutputDigest, ReceiptId},
    receipt::Receipt,
    session::{lane::LaneLedger, terms::Terms},
};

/// A job at its end.
pub(super) struct Facts<'a> {
    pub(super) numerics: &'a [u8; 32],
    pub(super) terms: &'a Terms,
    pub(super) lane: &'a LaneLedger,
    pub(super) request: &'a Request,
    pub(super) output: OutputDigest,
    pub(super) output_tokens: u32,
}

impl Facts<'_> {
    /// Checks every field that the buyer knows itself. It cannot know the scores of an output, the measured time, the
    /// provider's clock or its device.
    pub(super) fn check(&self, receipt: &Receipt) -> Result<(), Misbehavior> {
        let bill = receipt.bill(self.terms).ok_or(Misbehavior::Unbillable)?;
        let fields = [
            ("numerics", receipt.numerics == *self.numerics),
            ("session", receipt.session == self.lane.session),
            ("provider", receipt.provider == self.terms.provider),
            ("lane", receipt.lane == self.lane.lane),
            ("index", receipt.index == self.lane.next_index()),
            ("previous", receipt.previous == self.previous()),
            ("model", receipt.model == self.terms.model),
            ("request", receipt.request == self.request.digest()),
            ("output", receipt.output == self.output),
            ("prompt_tokens", receipt.prompt_tokens == self.request.start()),
            ("output_tokens", receipt.output_tokens == self.output_tokens),
            ("prepaid", receipt.prepaid == self.request.prepaid),
            ("prefill_work", receipt.prefill_work == bill.prefill),
            ("decode_work", receipt.decode_work == bill.decode),
            ("reference", receipt.reference == bill.reference),
            ("scores", self.output_tokens > 0 || receipt.scores == self.request.scores_before()),
            ("ended_at", receipt.started_at <= receipt.ended_at),
        ];
        match fields.iter().find(|(_, holds)| !holds) {
            Some((field, _)) => Err(Misbehavior::WrongReceipt { field }),
            None => Ok(()),
        }
    }

    pub(super) fn previous(&self) -> ReceiptId {
        self.lane.last_receipt
    }
}
