//! Tokens to text, one at a time, never half a character.

use gridhour_protocol::model::{TokenKind, TokenizerAsset, TokenizerFamily};

use super::alphabet::byte_of;

/// Turns a stream of tokens into text. What is pushed and finished together is the text of all tokens.
#[derive(Clone, Debug)]
pub struct TextStream<'a> {
    asset: &'a TokenizerAsset,
    /// The start of a character whose end has not come yet: at most three bytes between calls.
    pending: Vec<u8>,
}

impl<'a> TextStream<'a> {
    pub(super) fn new(asset: &'a TokenizerAsset) -> Self {
        Self { asset, pending: Vec::new() }
    }

    /// The text that `id` completes; empty for control tokens and ids outside the vocabulary.
    pub fn push(&mut self, id: u32) -> String {
        append_bytes(self.asset, id, &mut self.pending);
        let whole = self.pending.len() - unfinished(&self.pending);
        let rest = self.pending.split_off(whole);
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending = rest;
        text
    }

    /// What is left when no more tokens come: U+FFFD for a character that was cut.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

/// Bytes at the end that begin a character and do not end it.
fn unfinished(bytes: &[u8]) -> usize {
    match bytes.utf8_chunks().last() {
        // A chunk's invalid part at the very end is a character's start if more bytes could make it valid.
        Some(chunk) if !chunk.invalid().is_empty() => {
            let tail = chunk.invalid();
            match std::str::from_utf8(tail) {
                Err(error) if error.error_len().is_none() => tail.len(),
                _ => 0,
            }
        }
        _ => 0,
    }
}

/// Appends the bytes that token `id` stands for.
fn append_bytes(asset: &TokenizerAsset, id: u32, out: &mut Vec<u8>) {
    let (Some(text), Some(kind)) = (asset.tokens.get(id as usize), asset.kinds.get(id as usize)) else {
        return;
    };
    match (kind, asset.family) {
        (TokenKind::Control | TokenKind::Unknown | TokenKind::Unused, _) => {}
        (TokenKind::UserDefined, TokenizerFamily::ByteLevel) => out.extend_from_slice(text.as_bytes()),
        (TokenKind::Byte, _) => out.extend(hexadecimal_byte(text)),
        (TokenKind::Normal, TokenizerFamily::ByteLevel) => out.extend(text.chars().filter_map(byte_of)),
        (TokenKind::Normal | TokenKind::UserDefined, TokenizerFamily::SentencePiece) => {
            out.extend_from_slice(text.replace('\u{2581}', " ").as_bytes());
        }
    }
}

/// The byte of a token spelled `<0x0A>`.
fn hexadecimal_byte(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok()
}
