//! What a peer did wrong in a job, by name. Each is the other side's fault and nobody else's; a driver lowers that
//! peer's standing and closes the stream.

use crate::{session::lane::VoucherError, signed::BadSignature, units::Credits};

/// A misdeed in a job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misbehavior {
    /// A message that has no place at this point of the job.
    #[error("{message} has no place here")]
    OutOfPlace {
        /// Which message.
        message: &'static str,
    },
    /// A signature that is not the signer's.
    #[error(transparent)]
    BadSignature(#[from] BadSignature),

    /// Client: the request is for another session, lane or provider than its stream.
    #[error("request is for another session, lane or provider")]
    OtherSession,
    /// Client: the job's number is not the lane's next.
    #[error("job has number {claimed}, the lane's next is {next}")]
    WrongIndex {
        /// The number claimed.
        claimed: u32,
        /// The lane's next.
        next: u32,
    },
    /// Client: a voucher that does not fit the lane.
    #[error(transparent)]
    Voucher(#[from] VoucherError),
    /// Client: a voucher that pays too little.
    #[error("voucher pays {paid} credits, {due} are due")]
    Underpaid {
        /// What it pays on the lane in all.
        paid: Credits,
        /// What is due on the lane in all.
        due: Credits,
    },
    /// Client: a voucher although the whole output is paid for.
    #[error("voucher {sequence} pays for a chunk beyond the last")]
    VoucherNotDue {
        /// Its sequence.
        sequence: u32,
    },
    /// Client: the job's numbers cannot be billed in 64 bits.
    #[error("the amount of this job is beyond 64 bits")]
    Unbillable,

    /// Provider: it counts another number of prompt tokens.
    #[error("provider counts {claimed} prompt tokens, {sent} were sent")]
    WrongPromptCount {
        /// What it counts.
        claimed: u32,
        /// What was sent.
        sent: u32,
    },
    /// Provider: tokens out of order, repeated or left out.
    #[error("chunk starts at {start}, expected {expected}")]
    OutOfOrder {
        /// Where it starts.
        start: u32,
        /// Where it should.
        expected: u32,
    },
    /// Provider: more tokens than were asked or paid for.
    #[error("output reaches {reached} tokens, {allowed} are allowed")]
    ExtraTokens {
        /// Tokens after this chunk.
        reached: u32,
        /// Tokens asked for and paid.
        allowed: u32,
    },
    /// Provider: tokens after a stop token.
    #[error("tokens follow a stop token")]
    TokensAfterStop,
    /// Provider: the running digest does not fit the tokens.
    #[error("running digest after {tokens} tokens does not fit them")]
    WrongDigest {
        /// Tokens after this chunk.
        tokens: u32,
    },
    /// Provider: log probabilities that were not asked for, are missing, or cannot be any.
    #[error("log probabilities after {tokens} tokens are not what was asked for")]
    WrongLogprobs {
        /// Tokens after this chunk.
        tokens: u32,
    },
    /// Provider: a field of the receipt is not what both sides know it to be.
    #[error("receipt has another {field} than this job")]
    WrongReceipt {
        /// Which field.
        field: &'static str,
    },
    /// Provider: the receipt's cause is not what happened.
    #[error("receipt says {claimed}, which is not what happened")]
    FalseCause {
        /// The cause that it states.
        claimed: &'static str,
    },
}

impl Misbehavior {
    /// Its stable name, for counters and tests.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::OutOfPlace { .. } => "out-of-place",
            Self::BadSignature(_) => "bad-signature",
            Self::OtherSession => "other-session",
            Self::WrongIndex { .. } => "wrong-index",
            Self::Voucher(VoucherError::OtherSession) => "voucher-of-other-session",
            Self::Voucher(VoucherError::Reused { .. }) => "voucher-reused",
            Self::Voucher(VoucherError::OtherReceipts { .. }) => "voucher-of-other-receipts",
            Self::Underpaid { .. } => "underpaid",
            Self::VoucherNotDue { .. } => "voucher-not-due",
            Self::Unbillable => "unbillable",
            Self::WrongPromptCount { .. } => "wrong-prompt-count",
            Self::OutOfOrder { .. } => "out-of-order",
            Self::ExtraTokens { .. } => "extra-tokens",
            Self::TokensAfterStop => "tokens-after-stop",
            Self::WrongDigest { .. } => "wrong-digest",
            Self::WrongLogprobs { .. } => "wrong-logprobs",
            Self::WrongReceipt { .. } => "wrong-receipt",
            Self::FalseCause { .. } => "false-cause",
        }
    }
}
