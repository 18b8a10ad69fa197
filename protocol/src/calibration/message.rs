//! What the two sides of a calibration say to each other, one frame each; see the picture in [`super`].

use serde::{Deserialize, Serialize};

use super::{receipt::Calibration, shape::OUTPUT_TOKENS};
use crate::{
    id::ScoreDigest,
    limits::DETAIL_BYTES_MAX,
    signed::Signed,
    wire::{Wire, at_most},
};

/// What a challenger says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChallengerMessage {
    /// Asks for a calibration.
    Ask(Ask),
    /// Begins the prefill.
    Prompt {
        /// What the prompt follows from.
        nonce: [u8; 32],
    },
    /// Begins the decoding.
    Continue {
        /// What the noise of every further token follows from.
        nonce: [u8; 32],
    },
    /// What the challenger found.
    Receipt(Box<Signed<Calibration>>),
}

/// What is asked for. Who asks whom in which network is known from the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Digest of the arithmetic's page.
    pub numerics: [u8; 32],
    /// Memory to fill, in bytes.
    pub memory_bytes: u64,
    /// What the weights follow from.
    pub seed: [u8; 32],
}

/// What a provider says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProviderMessage {
    /// There is no calibration, or it ends here.
    Refused {
        /// Why.
        code: RefusalCode,
        /// The numbers, in a sentence.
        detail: String,
    },
    /// The offer is withdrawn, and the standard model is being loaded.
    Preparing,
    /// It is loaded.
    Ready,
    /// The first token of the output.
    First {
        /// The token.
        token: u32,
    },
    /// All tokens behind the first.
    Rest {
        /// The tokens.
        tokens: Vec<u32>,
        /// The score chain over the whole output.
        scores: ScoreDigest,
    },
}

/// Why a provider is not calibrated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RefusalCode {
    /// The provider takes part in no calibration.
    Off,
    /// The provider lets others calibrate it, not this challenger.
    NotWelcome,
    /// The rules of the arithmetic differ.
    NumericsVersion,
    /// No standard job fills this memory.
    NoStandardJob,
    /// More memory than the provider claims.
    OverClaim,
    /// It was calibrated, or asked to be, moments ago.
    TooSoon,
    /// It serves jobs, or another calibration is under way.
    Busy,
    /// Its own device is out of order, or it is shutting down.
    NotServing,
    /// It cannot hold what it claims to hold.
    OutOfMemory,
    /// Its device failed on the way.
    DeviceFault,
    /// It broke off: the challenger was late or out of turn.
    BrokenOff,
}

impl RefusalCode {
    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::NotWelcome => "not-welcome",
            Self::NumericsVersion => "numerics-version",
            Self::NoStandardJob => "no-standard-job",
            Self::OverClaim => "over-claim",
            Self::TooSoon => "too-soon",
            Self::Busy => "busy",
            Self::NotServing => "not-serving",
            Self::OutOfMemory => "out-of-memory",
            Self::DeviceFault => "device-fault",
            Self::BrokenOff => "broken-off",
        }
    }
}

impl ChallengerMessage {
    /// Its name, for errors.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ask(_) => "ask",
            Self::Prompt { .. } => "prompt",
            Self::Continue { .. } => "continue",
            Self::Receipt(_) => "receipt",
        }
    }
}

impl ProviderMessage {
    /// Its name, for errors.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Preparing => "preparing",
            Self::Ready => "ready",
            Self::First { .. } => "first",
            Self::Rest { .. } => "rest",
        }
    }
}

impl Wire for ChallengerMessage {
    const BYTES_MAX: usize = 1024;

    fn check_bounds(&self) -> Result<(), String> {
        match self {
            Self::Receipt(receipt) => receipt.check_bounds(),
            Self::Ask(_) | Self::Prompt { .. } | Self::Continue { .. } => Ok(()),
        }
    }
}

impl Wire for ProviderMessage {
    const BYTES_MAX: usize = 1024;

    fn check_bounds(&self) -> Result<(), String> {
        match self {
            Self::Refused { detail, .. } => at_most("detail", detail.len(), DETAIL_BYTES_MAX),
            Self::Rest { tokens, .. } => at_most("tokens", tokens.len(), OUTPUT_TOKENS as usize - 1),
            Self::Preparing | Self::Ready | Self::First { .. } => Ok(()),
        }
    }
}
