//! What the two sides of a job say to each other, one frame each.
//!
//! ```text
//!  client                                   provider
//!  Open {terms, request, voucher 0} ──────>  checks; persists the voucher; starts
//!                      <──────────────────  Accepted, or Refused and the end
//!                      <──────────────────  Chunk … Chunk        (what voucher n paid for)
//!  Voucher n+1         ──────────────────>  persists it; goes on
//!                      <──────────────────  Reclaiming {within}  (spot: its slot is wanted back; it goes on until then)
//!                      <──────────────────  Done {receipt}, or Fault {receipt, detail}
//!  Final {voucher}     ──────────────────>  persists it; the lane is free for its next job
//! ```

use serde::{Deserialize, Serialize};

use super::{logprobs::Logprobs, request::Request};
use crate::{
    id::OutputDigest,
    limits::{CHUNK_TOKENS_MAX, DETAIL_BYTES_MAX, JOB_FRAME_BYTES_MAX},
    market::tier::check_notice,
    receipt::Receipt,
    session::{terms::Terms, voucher::Voucher},
    signed::Signed,
    units::Millis,
    wire::{Wire, at_most},
};

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientMessage {
    /// Asks for a job. Boxed, because it is much larger than the rest.
    Open(Box<Open>),
    /// Pays for one chunk more.
    Voucher(Signed<Voucher>),
    /// The exact last voucher. It commits to the receipt, and so acknowledges it.
    Final(Signed<Voucher>),
    /// Asks the provider to stop. What was sent so far is still answered for and paid.
    Cancel,
}

/// A request with what it needs to start: the first frame of a job's stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Terms of the session; their hash is its id.
    pub terms: Terms,
    /// What to compute.
    pub request: Request,
    /// Voucher 0: pays for the prefill and the first chunk.
    pub voucher: Signed<Voucher>,
}

/// What a provider says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProviderMessage {
    /// The job has started.
    Accepted {
        /// Tokens that will be read and billed.
        prompt_tokens: u32,
    },
    /// The job will not start. Voucher 0 was not kept.
    Refused {
        /// Why.
        code: RefusalCode,
        /// The numbers, in a sentence.
        detail: String,
    },
    /// Output tokens.
    Chunk(Chunk),
    /// The job ended; the receipt says why.
    Done {
        /// What the provider answers for.
        receipt: Box<Signed<Receipt>>,
    },
    /// The provider cannot go on. Its receipt bills nothing.
    Fault {
        /// What it answers for: [`crate::receipt::Cause::ProviderFault`], no reference time.
        receipt: Box<Signed<Receipt>>,
        /// What happened, in a sentence.
        detail: String,
    },
    /// The slot of a spot job is wanted back. The job goes on meanwhile, and then ends.
    Reclaiming {
        /// How long it goes on from when this was sent: at least the notice of the terms.
        within: Millis,
    },
}

/// Some of the output, in order. How the output is cut into these changes nothing that is billed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Position in the output of the first of these tokens, from 0.
    pub start: u32,
    /// Token ids.
    pub tokens: Vec<u32>,
    /// One entry a token if the request asks for log probabilities, else none.
    pub logprobs: Vec<Logprobs>,
    /// The running digest of the output after the last of these tokens.
    pub digest: OutputDigest,
}

/// Why a provider does not start a job. Nobody's misdeed: another provider, or a later try, may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RefusalCode {
    /// The provider is shutting down.
    Stopping,
    /// All slots are taken.
    Busy,
    /// The ledger that the provider follows has no such open session.
    UnknownSession,
    /// The session's time is over.
    SessionOver,
    /// Version or rules of the arithmetic differ.
    NumericsVersion,
    /// The model is not loaded.
    ModelNotServed,
    /// Prompt and output together do not fit the context.
    ContextTooShort,
    /// A token id is outside the model's vocabulary.
    TokenOutOfRange,
    /// An earlier job of this lane was never settled, so the lane takes no more.
    LaneUnsettled,
    /// The session's hold does not cover the job's longest output.
    HoldExhausted,
    /// The output that is to be continued has ended already.
    OutputComplete,
    /// Tokens are prepaid elsewhere in a job that is not its session's first, or more than a chunk of them.
    PrepaidTooMuch,
}

impl RefusalCode {
    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stopping => "stopping",
            Self::Busy => "busy",
            Self::UnknownSession => "unknown-session",
            Self::SessionOver => "session-over",
            Self::NumericsVersion => "numerics-version",
            Self::ModelNotServed => "model-not-served",
            Self::ContextTooShort => "context-too-short",
            Self::TokenOutOfRange => "token-out-of-range",
            Self::LaneUnsettled => "lane-unsettled",
            Self::HoldExhausted => "hold-exhausted",
            Self::OutputComplete => "output-complete",
            Self::PrepaidTooMuch => "prepaid-too-much",
        }
    }
}

impl ClientMessage {
    /// Its name, for errors and counters.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Open(_) => "open",
            Self::Voucher(_) => "voucher",
            Self::Final(_) => "final",
            Self::Cancel => "cancel",
        }
    }
}

impl ProviderMessage {
    /// Its name, for errors and counters.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Refused { .. } => "refused",
            Self::Chunk(_) => "chunk",
            Self::Reclaiming { .. } => "reclaiming",
            Self::Done { .. } => "done",
            Self::Fault { .. } => "fault",
        }
    }
}

impl Wire for ClientMessage {
    const BYTES_MAX: usize = JOB_FRAME_BYTES_MAX;

    fn check_bounds(&self) -> Result<(), String> {
        match self {
            Self::Open(open) => {
                open.terms.check_bounds()?;
                open.request.check_bounds()?;
                open.voucher.check_bounds()
            }
            Self::Voucher(voucher) | Self::Final(voucher) => voucher.check_bounds(),
            Self::Cancel => Ok(()),
        }
    }
}

impl Wire for ProviderMessage {
    /// Far below a frame: the longest is a chunk with all its log probabilities.
    const BYTES_MAX: usize = 4096;

    fn check_bounds(&self) -> Result<(), String> {
        match self {
            Self::Accepted { .. } => Ok(()),
            Self::Refused { detail, .. } => at_most("detail", detail.len(), DETAIL_BYTES_MAX),
            Self::Chunk(chunk) => chunk.check_bounds(),
            Self::Reclaiming { within } => check_notice(*within),
            Self::Done { receipt } => receipt.check_bounds(),
            Self::Fault { receipt, detail } => {
                at_most("detail", detail.len(), DETAIL_BYTES_MAX)?;
                receipt.check_bounds()
            }
        }
    }
}

impl Chunk {
    fn check_bounds(&self) -> Result<(), String> {
        at_most("chunk tokens", self.tokens.len(), CHUNK_TOKENS_MAX)?;
        if self.tokens.is_empty() {
            return Err("a chunk has no tokens".into());
        }
        at_most("logprobs of a chunk", self.logprobs.len(), self.tokens.len())?;
        self.logprobs.iter().try_for_each(Logprobs::check_bounds)
    }
}

/// `text` cut to [`DETAIL_BYTES_MAX`] bytes, at a character.
#[must_use]
pub fn detail(mut text: String) -> String {
    let mut end = text.len().min(DETAIL_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
