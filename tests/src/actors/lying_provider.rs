//! A provider that says what is not so.

use gridhour_protocol::{
    id::OutputDigest,
    job::message::{Chunk, ProviderMessage},
    limits::CHUNK_TOKENS_MAX,
    receipt::{Cause, Receipt},
    signed::{SecretKey, Signed},
    units::{GpuNs, Work},
};

use super::provider::Twist;
use crate::sim::engine::VOCABULARY;

/// What it lies about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// The running digest of a chunk is not that of its tokens.
    WrongDigest,
    /// More tokens than were paid for.
    ExtraTokens,
    /// The receipt states twice the work.
    InflatedWork,
    /// The receipt states, and would bill, twice the reference time.
    InflatedTime,
    /// The receipt says that the client stopped a job that was delivered.
    FalseCause,
    /// The receipt of an earlier job, again.
    OldReceipt,
    /// Tokens that the model did not choose, under a digest that fits them. Only a re-run can tell.
    WrongTokens,
}

/// The twist.
#[derive(Clone, Debug)]
pub struct Lying {
    lie: Lie,
    old: Option<Signed<Receipt>>,
}

impl Lying {
    /// Tells this lie whenever it can.
    #[must_use]
    pub fn new(lie: Lie) -> Self {
        Self { lie, old: None }
    }

    fn chunk(&self, mut chunk: Chunk) -> Chunk {
        match self.lie {
            Lie::WrongDigest => chunk.digest = OutputDigest([9; 32]),
            Lie::ExtraTokens => chunk.tokens.resize(CHUNK_TOKENS_MAX, 0),
            _ => {}
        }
        chunk
    }

    fn receipt(&mut self, key: &SecretKey, receipt: Signed<Receipt>) -> Signed<Receipt> {
        let mut body = receipt.body.clone();
        match self.lie {
            Lie::InflatedWork => body.decode_work = Work(body.decode_work.0 * 2),
            Lie::InflatedTime => body.reference = GpuNs(body.reference.0 * 2),
            Lie::FalseCause if body.cause == Cause::Delivered => body.cause = Cause::ClientFault,
            Lie::OldReceipt => return self.old.get_or_insert(receipt).clone(),
            _ => return receipt,
        }
        key.sign(body)
    }
}

impl Twist for Lying {
    fn say(&mut self, key: &SecretKey, message: ProviderMessage) -> Vec<ProviderMessage> {
        vec![match message {
            ProviderMessage::Chunk(chunk) => ProviderMessage::Chunk(self.chunk(chunk)),
            ProviderMessage::Done { receipt } => {
                ProviderMessage::Done { receipt: Box::new(self.receipt(key, *receipt)) }
            }
            other => other,
        }]
    }

    fn token(&self, token: u32) -> u32 {
        if self.lie == Lie::WrongTokens { (token + 1) % VOCABULARY } else { token }
    }
}
