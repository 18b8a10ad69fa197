//! A receipt and the job it is about: what it must say, computed by both sides from what both sides know.

use super::{misbehavior::Misbehavior, request::Request};
use crate::{
    exact::score_chain::ScoreChain,
    id::{OutputDigest, ReceiptId, ScoreDigest},
    receipt::{Cause, Receipt},
    session::{lane::LaneLedger, terms::Terms},
    units::{GpuNs, Work},
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

/// What is billed.
pub(super) struct Bill {
    pub(super) prefill: Work,
    pub(super) decode: Work,
    pub(super) reference: GpuNs,
}

impl Facts<'_> {
    /// The bill of a job that ended so; a provider's fault bills nothing. `None` on overflow.
    pub(super) fn bill(&self, cause: Cause) -> Option<Bill> {
        let prompt = prompt_tokens(self.request);
        let reference = match cause {
            Cause::ProviderFault => GpuNs(0),
            Cause::Delivered | Cause::ClientFault | Cause::Network => {
                self.terms.job_time(prompt, self.output_tokens)?
            }
        };
        let prefill = self.terms.work.prefill(prompt)?;
        let decode = self.terms.work.decode(prompt, self.output_tokens)?;
        Some(Bill { prefill, decode, reference })
    }

    /// Checks every field that the buyer knows itself. It cannot know the scores of an output, the measured time, the
    /// provider's clock or its device.
    pub(super) fn check(&self, receipt: &Receipt) -> Result<(), Misbehavior> {
        let bill = self.bill(receipt.cause).ok_or(Misbehavior::Unbillable)?;
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
            ("prompt_tokens", receipt.prompt_tokens == prompt_tokens(self.request)),
            ("output_tokens", receipt.output_tokens == self.output_tokens),
            ("prefill_work", receipt.prefill_work == bill.prefill),
            ("decode_work", receipt.decode_work == bill.decode),
            ("reference", receipt.reference == bill.reference),
            ("scores", self.output_tokens > 0 || receipt.scores == empty_scores(self.request)),
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

/// Tokens of the prompt; a request's bounds keep them far below 2^32.
pub(super) fn prompt_tokens(request: &Request) -> u32 {
    u32::try_from(request.prompt.len()).unwrap_or(u32::MAX)
}

/// The score chain before the first output token.
pub(super) fn empty_scores(request: &Request) -> ScoreDigest {
    ScoreDigest(ScoreChain::start(&request.digest().0, prompt_tokens(request)).digest())
}
