//! What is traded in the world: one model, one arithmetic, and prices that make a token cost a visible
//! amount.

use std::sync::{Arc, LazyLock};

use gridhour_protocol::{
    id::ModelId,
    model::{TokenKind, TokenizerAsset, TokenizerFamily},
    units::{Millis, WorkRate},
    work::{Rates, WorkModel},
};

use crate::sim::engine::VOCABULARY;

/// The model that all providers serve.
pub const MODEL: ModelId = ModelId([77; 32]);
/// Its work formula.
pub const WORK: WorkModel = WorkModel { layers: 1_000, head: 500, attention: 3 };
/// What every device computes, per second.
pub const RATES: Rates = Rates { prefill: WorkRate(400_000), decode: WorkRate(100_000) };
/// Version of the arithmetic.
pub const NUMERICS: u16 = 1;
/// Digest of its page, as far as this world knows.
pub const NUMERICS_DIGEST: [u8; 32] = [1; 32];
/// Longest prompt and output together.
pub const CONTEXT: u32 = 512;
/// How long a session may be used.
pub const USE: Millis = Millis(60_000);
/// How long its provider may collect afterwards.
pub const GRACE: Millis = Millis(30_000);

/// The model's tokenizer: every token is one letter.
pub static TOKENIZER: LazyLock<Arc<TokenizerAsset>> = LazyLock::new(|| {
    Arc::new(TokenizerAsset {
        family: TokenizerFamily::SentencePiece,
        pre: String::new(),
        tokens: (0..VOCABULARY).map(|token| letter(token).to_string()).collect(),
        kinds: vec![TokenKind::Normal; VOCABULARY as usize],
        score_bits: Vec::new(),
        merges: Vec::new(),
        bos: None,
        eos: None,
        eot: None,
        unknown: None,
        add_bos: false,
        add_eos: false,
        add_space_prefix: false,
    })
});

/// The letter of a token.
pub fn letter(token: u32) -> char {
    char::from(b'0' + (token % VOCABULARY) as u8)
}
