//! Text to tokens and back, as a model file describes it.
//!
//! A [`Tokenizer`] is built from a [`TokenizerAsset`] alone, so a client that holds only those bytes gets the
//! same tokens as one that holds the weights. Byte-pair merging is crate `tokenizers`; which texts are
//! special, and where they count as such, is decided here.

pub mod asset;
mod merges;
mod pre;
mod specials;
mod stream;

use std::sync::Arc;

use gridhour_protocol::model::{MalformedBytes, TokenKind, TokenizerAsset, TokenizerFamily};
use thiserror::Error;
use tokenizers::Tokenizer as Merger;

use self::specials::{Piece, Specials};
pub use self::{asset::tokenizer_asset, stream::TextStream};
use super::gguf::GgufError;

/// Bytes of one text at most.
pub const TEXT_BYTES_MAX: usize = 1 << 22;

/// Why a tokenizer cannot be built, or a text not cut.
#[derive(Debug, Error)]
pub enum TokenizerError {
    /// The file's metadata lacks something or has it in another type.
    #[error(transparent)]
    File(#[from] GgufError),
    /// Lists of different lengths, ids outside the vocabulary.
    #[error("the tokenizer's description is inconsistent: {0}")]
    Malformed(#[from] MalformedBytes),
    /// A family of tokenizers that is not served.
    #[error("the model's tokenizer is {0:?}; supported are \"gpt2\" and \"llama\"")]
    Family(String),
    /// A cutting rule that is not served.
    #[error("the model's tokenizer cuts words by {0:?}; supported are {known}", known = pre::KNOWN)]
    Pre(String),
    /// A merge that is no pair of tokens.
    #[error("merge {0:?} of the model's tokenizer is not two tokens that make a third")]
    Merge(String),
    /// Scores that do not say which merge comes first.
    #[error(
        "tokens {0:?} and {1:?} of the model's tokenizer have one score: the order of merges is undefined"
    )]
    EqualScores(String, String),
    /// Pieces so long that all ways to cut them in two are too many.
    #[error("the pieces of the model's tokenizer are too long: they can be cut in two in too many ways")]
    LongPieces,
    /// A token that should exist and does not.
    #[error("the model's tokenizer asks for {0} but names no such token")]
    NoSuchToken(&'static str),
    /// The text is longer than is cut.
    #[error("the text has {0} bytes; at most {max} are tokenized", max = TEXT_BYTES_MAX)]
    TooLong(usize),
    /// The merging library refused.
    #[error("the model's tokenizer cannot be used: {0}")]
    Library(String),
}

/// Cuts texts into the tokens of one model.
#[derive(Debug)]
pub struct Tokenizer {
    asset: Arc<TokenizerAsset>,
    merger: Merger,
    specials: Specials,
}

impl Tokenizer {
    /// A tokenizer as `asset` describes it.
    ///
    /// # Errors
    /// [`TokenizerError`] if the description contradicts itself or asks for a rule that is not served.
    pub fn new(asset: TokenizerAsset) -> Result<Self, TokenizerError> {
        asset.check()?;
        if asset.add_bos && asset.bos.is_none() {
            return Err(TokenizerError::NoSuchToken("a token before each text"));
        }
        if asset.add_eos && asset.eos.is_none() {
            return Err(TokenizerError::NoSuchToken("a token after each text"));
        }
        let merger = merges::merger(&asset)?;
        let specials = Specials::new(&asset);
        Ok(Self { asset: Arc::new(asset), merger, specials })
    }

    /// What this tokenizer was built from.
    pub fn asset(&self) -> &TokenizerAsset {
        &self.asset
    }

    /// The same, to be kept.
    pub fn shared_asset(&self) -> Arc<TokenizerAsset> {
        self.asset.clone()
    }

    /// Tokens of the vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.asset.tokens.len()
    }

    /// The text of token `id` in the file's spelling, if there is one.
    pub fn token(&self, id: u32) -> Option<&str> {
        self.asset.tokens.get(id as usize).map(String::as_str)
    }

    /// Whether the model means to stop when it chooses `id`.
    pub fn is_end(&self, id: u32) -> bool {
        [self.asset.eos, self.asset.eot].contains(&Some(id))
    }

    /// Whether `id` is structure, not text.
    pub fn is_control(&self, id: u32) -> bool {
        self.asset.kinds.get(id as usize) == Some(&TokenKind::Control)
    }

    /// Tokens of a plain text, begun and ended as the file asks. No text becomes a control token.
    ///
    /// # Errors
    /// [`TokenizerError::TooLong`] above [`TEXT_BYTES_MAX`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut ids: Vec<u32> = self.asset.bos.filter(|_| self.asset.add_bos).into_iter().collect();
        ids.extend(self.encode_bare(text)?);
        ids.extend(self.asset.eos.filter(|_| self.asset.add_eos));
        Ok(ids)
    }

    /// Tokens of a plain text with nothing put before or after it. No text becomes a control token.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_bare(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        self.merge(self.specials.split_plain(bounded(text)?), |piece| piece.to_owned())
    }

    /// Tokens of what a chat template wrote: texts of control tokens are those tokens, except where `guard`
    /// stands inside them; `guard` itself is removed. Begun with the file's begin token if the template did
    /// not.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub(crate) fn encode_rendered(&self, text: &str, guard: char) -> Result<Vec<u32>, TokenizerError> {
        let pieces = self.specials.split_rendered(bounded(text)?);
        let mut ids = self.merge(pieces, |piece| piece.replace(guard, ""))?;
        if let Some(bos) = self.asset.bos.filter(|_| self.asset.add_bos)
            && ids.first() != Some(&bos)
        {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    /// Texts that [`Tokenizer::encode_rendered`] reads as control tokens.
    pub(crate) fn control_texts(&self) -> impl Iterator<Item = &str> {
        self.specials.control_texts()
    }

    /// A decoder of a stream of tokens.
    pub fn stream(&self) -> TextStream<'_> {
        self.stream_until(&[])
    }

    /// A decoder of a stream of tokens whose text ends where the first of `stop` begins.
    pub fn stream_until<'a>(&'a self, stop: &'a [String]) -> TextStream<'a> {
        TextStream::new(&self.asset, stop)
    }

    /// The text of `ids` without control tokens; bytes that are no UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.decode_until(ids, &[])
    }

    /// The same, up to where the first of `stop` begins.
    pub fn decode_until(&self, ids: &[u32], stop: &[String]) -> String {
        let mut stream = self.stream_until(stop);
        let mut text: String = ids.iter().map(|id| stream.push(*id)).collect();
        text.push_str(&stream.finish());
        text
    }

    fn merge(
        &self,
        pieces: Vec<Piece<'_>>,
        clean: impl Fn(&str) -> String,
    ) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Special(id) => ids.push(id),
                Piece::Text(text) => ids.extend(self.merge_text(clean(text))?),
            }
        }
        Ok(ids)
    }

    fn merge_text(&self, text: String) -> Result<Vec<u32>, TokenizerError> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let spelled = match self.asset.family {
            TokenizerFamily::ByteLevel => text,
            TokenizerFamily::SentencePiece => {
                let prefix = if self.asset.add_space_prefix { " " } else { "" };
                format!("{prefix}{text}").replace(' ', "\u{2581}")
            }
        };
        let encoding = self.merger.encode_fast(spelled, false).map_err(library)?;
        Ok(encoding.get_ids().to_vec())
    }
}

fn bounded(text: &str) -> Result<&str, TokenizerError> {
    if text.len() > TEXT_BYTES_MAX { Err(TokenizerError::TooLong(text.len())) } else { Ok(text) }
}

fn library(error: tokenizers::Error) -> TokenizerError {
    TokenizerError::Library(error.to_string())
}
