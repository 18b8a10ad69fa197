//! Tokens to text, one at a time, never half a character, and never a part of what may become a stop string.

use gridhour_protocol::{job::ending::first_stop, model::TokenizerAsset};

/// Turns a stream of tokens into text. What is pushed and finished together is the text of all tokens, up to
/// where the first stop string begins.
#[derive(Clone, Debug)]
pub struct TextStream<'a> {
    asset: &'a TokenizerAsset,
    stop: &'a [String],
    /// The start of a character or of a stop string, whose end has not come yet.
    pending: Vec<u8>,
    stopped: bool,
}

impl<'a> TextStream<'a> {
    pub(super) fn new(asset: &'a TokenizerAsset, stop: &'a [String]) -> Self {
        Self { asset, stop, pending: Vec::new(), stopped: false }
    }

    /// The text that `id` completes; empty for control tokens and ids outside the vocabulary.
    pub fn push(&mut self, id: u32) -> String {
        if self.stopped {
            return String::new();
        }
        self.asset.append_bytes(id, &mut self.pending);
        let stop = first_stop(&self.pending, self.stop);
        self.stopped = stop.is_some();
        let held = unfinished(&self.pending).max(begun(&self.pending, self.stop));
        let rest = self.pending.split_off(stop.unwrap_or(self.pending.len() - held));
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending = if self.stopped { Vec::new() } else { rest };
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

/// Bytes at the end that begin one of `texts` and do not end it.
fn begun(bytes: &[u8], texts: &[String]) -> usize {
    let begins = |text: &String| {
        let most = text.len().saturating_sub(1).min(bytes.len());
        (1..=most).rev().find(|count| bytes.ends_with(&text.as_bytes()[..*count])).unwrap_or(0)
    };
    texts.iter().map(begins).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use gridhour_protocol::model::{TokenKind, TokenizerFamily};
    use proptest::{collection::vec, prelude::*};
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    use super::*;

    fn asset(family: TokenizerFamily, texts: Vec<String>) -> TokenizerAsset {
        TokenizerAsset {
            family,
            pre: String::new(),
            kinds: vec![TokenKind::Normal; texts.len()],
            tokens: texts,
            score_bits: Vec::new(),
            merges: Vec::new(),
            bos: None,
            eos: None,
            eot: None,
            unknown: None,
            add_bos: false,
            add_eos: false,
            add_space_prefix: false,
        }
    }

    #[test]
    fn letters_and_bytes_are_one_to_one() {
        let letters: Vec<String> = ByteLevel::alphabet().iter().map(char::to_string).collect();
        let asset = asset(TokenizerFamily::ByteLevel, letters);
        let mut bytes = Vec::new();
        (0..256).for_each(|token| asset.append_bytes(token, &mut bytes));
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=u8::MAX).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_of_a_stop_string_is_shown() {
        let asset =
            asset(TokenizerFamily::SentencePiece, ["a", "EN", "D", "xEND!", "ä"].map(String::from).into());
        let stop = ["END".to_owned(), "END!".to_owned()];
        let mut stream = TextStream::new(&asset, &stop);
        let shown: Vec<String> = [0, 1, 0, 1, 4, 3, 0].map(|token| stream.push(token)).into();
        assert_eq!(shown, ["a", "", "ENa", "", "ENä", "x", ""]);
        assert_eq!(stream.finish(), "");
        let mut cut = TextStream::new(&asset, &stop);
        assert_eq!((cut.push(0) + &cut.push(1), cut.finish()), ("a".to_owned(), "EN".to_owned()));
    }

    proptest! {
        /// However tokens cut the text, what is shown is what comes before the first stop string.
        #[test]
        fn streamed_text_is_the_whole_text_cut_once(
            pieces in vec("[abä]{0,3}", 1..12), stop in vec("[abä]{1,3}", 0..3),
        ) {
            let whole = pieces.concat();
            let asset = asset(TokenizerFamily::SentencePiece, pieces.clone());
            let mut stream = TextStream::new(&asset, &stop);
            let mut shown = String::new();
            let mut ended = None;
            for (token, _) in (0u32..).zip(&pieces) {
                shown += &stream.push(token);
                let so_far = pieces[..=token as usize].concat();
                ended = ended.or_else(|| first_stop(so_far.as_bytes(), &stop));
            }
            shown += &stream.finish();
            prop_assert_eq!(shown, &whole[..ended.unwrap_or(whole.len())]);
        }
    }
}
