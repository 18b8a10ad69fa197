//! Where an output ends: with a stop token, with the token that completes a stop string, or with the last token asked
//! for. Provider, client and whoever checks the result apply the same rule to the same tokens.

use std::{fmt, sync::Arc};

use super::request::Request;
use crate::{model::TokenizerAsset, receipt::Cause};

/// Watches an output's bytes for texts that end it: the first token after which the bytes of all output tokens contain
/// one of them is the last.
#[derive(Clone, PartialEq, Eq)]
pub struct StopTexts {
    texts: Vec<String>,
    tokenizer: Arc<TokenizerAsset>,
    /// The end of the bytes so far, one byte short of the longest text.
    tail: Vec<u8>,
}

impl fmt::Debug for StopTexts {
    /// Without the vocabulary.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StopTexts").field("texts", &self.texts).field("tail", &self.tail).finish()
    }
}

impl StopTexts {
    /// Watches for `texts` in what `tokenizer` makes of the tokens.
    #[must_use]
    pub fn new(texts: &[String], tokenizer: Arc<TokenizerAsset>) -> Self {
        Self { texts: texts.to_vec(), tokenizer, tail: Vec::new() }
    }

    /// Watches for the texts of `request` in what this job writes behind what was written before.
    #[must_use]
    pub fn of(request: &Request, tokenizer: Arc<TokenizerAsset>) -> Self {
        let mut texts = Self::new(&request.stop_texts, tokenizer);
        for token in &request.written {
            texts.push(*token);
        }
        texts
    }

    /// Whether `token`, the next of the output, completes one of the texts.
    pub fn push(&mut self, token: u32) -> bool {
        let Some(longest) = self.texts.iter().map(String::len).max() else { return false };
        self.tokenizer.append_bytes(token, &mut self.tail);
        let complete = self.texts.iter().any(|text| first_place(&self.tail, text.as_bytes()).is_some());
        self.tail.drain(..self.tail.len().saturating_sub(longest.saturating_sub(1)));
        complete
    }
}

/// Where in `bytes` one of `texts` begins first; nothing if none of them is there.
#[must_use]
pub fn first_stop(bytes: &[u8], texts: &[String]) -> Option<usize> {
    texts.iter().filter_map(|text| first_place(bytes, text.as_bytes())).min()
}

/// Where `bytes` first hold `text`, which is not empty.
fn first_place(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len().max(1)).position(|window| window == text)
}

/// Why an output is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its last token is a stop token, or completes a stop string.
    Stop,
    /// It has as many tokens as were asked for.
    Length,
}

/// Watches an output for its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    stop: Vec<u32>,
    texts: StopTexts,
    /// Tokens that may still come.
    left: u32,
    end: Option<End>,
}

impl Ending {
    /// The end of an answer to `request` by a model with this tokenizer. What was written before may have ended it.
    #[must_use]
    pub fn new(request: &Request, tokenizer: Arc<TokenizerAsset>) -> Self {
        let texts = StopTexts::new(&request.stop_texts, tokenizer);
        let mut ending = Self { stop: request.stop.clone(), texts, left: u32::MAX, end: None };
        for token in &request.written {
            ending.push(*token);
        }
        ending.left = request.max_tokens;
        ending
    }

    /// Takes in the next token and says whether it is the last. What follows the last changes nothing.
    pub fn push(&mut self, token: u32) -> Option<End> {
        if self.end.is_some() {
            return self.end;
        }
        self.left = self.left.saturating_sub(1);
        if self.texts.push(token) || self.stop.contains(&token) {
            self.end = Some(End::Stop);
        } else if self.left == 0 {
            self.end = Some(End::Length);
        }
        self.end
    }

    /// Why the output is complete; nothing if it is not.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.end
    }
}

/// Whether `output`, of a job that ended by `cause`, ends where it should: a delivered one with its last token and not
/// before, any other one not at all.
#[must_use]
pub fn ends_as_stated(
    request: &Request,
    output: &[u32],
    cause: Cause,
    tokenizer: Arc<TokenizerAsset>,
) -> bool {
    let mut ending = Ending::new(request, tokenizer);
    let end = output.iter().position(|token| ending.push(*token).is_some());
    match cause {
        Cause::Delivered => end.is_some_and(|end| end + 1 == output.len()),
        Cause::ClientFault | Cause::ProviderFault | Cause::Network | Cause::Reclaimed => end.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    /// How many of `pieces` come before `texts` end the output, and whether they do.
    fn run(pieces: &[&str], texts: &[&str]) -> (usize, bool) {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let mut stop = StopTexts::new(&texts, Arc::new(sample::tokenizer_of(pieces)));
        let end = (0u32..).take(pieces.len()).position(|token| stop.push(token));
        (end.map_or(pieces.len(), |at| at + 1), end.is_some())
    }

    #[test]
    fn a_text_ends_the_output_wherever_tokens_cut_it() {
        assert_eq!(run(&["ab", "cd", "ef"], &["cd"]), (2, true));
        assert_eq!(run(&["ab", "cd", "ef"], &["bcde"]), (3, true));
        assert_eq!(run(&["a", "a", "b", "c"], &["aab"]), (3, true), "a false start");
        assert_eq!(run(&["a", "a", "a", "b"], &["aab"]), (4, true), "an overlap");
        assert_eq!(run(&["xaby", "c"], &["ab"]), (1, true), "inside of a token");
        assert_eq!(run(&["ab", "cd"], &["dc", "bb"]), (2, false));
        assert_eq!(run(&["ab", "cd"], &[]), (2, false));
        assert_eq!(run(&["ab", "cd"], &["zz", "c"]), (2, true), "any of several");
        assert_eq!(run(&["ä", "b"], &["äb"]), (2, true), "bytes, not letters");
    }

    #[test]
    fn the_window_is_no_shorter_than_the_longest_text() {
        for length in 1..=64 {
            let text: String = (0..length).map(|i| char::from(b'a' + i % 7)).collect();
            let pieces: Vec<String> = text.chars().map(String::from).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            assert_eq!(run(&pieces, &[&text, "z"]), (pieces.len(), true), "{length} bytes");
        }
    }

    #[test]
    fn an_output_ends_once_and_says_why() {
        let request = Request { stop: vec![3], stop_texts: vec!["cd".into()], ..sample::request() };
        let tokenizer = Arc::new(sample::tokenizer_of(&["a", "c", "d", "x"]));
        let ends = |tokens: &[u32], max_tokens| {
            let mut ending = Ending::new(&Request { max_tokens, ..request.clone() }, tokenizer.clone());
            tokens.iter().map(|token| ending.push(*token)).collect::<Vec<_>>()
        };
        assert_eq!(ends(&[0, 1, 2, 0], 9), [None, None, Some(End::Stop), Some(End::Stop)]);
        assert_eq!(ends(&[0, 3], 9), [None, Some(End::Stop)]);
        assert_eq!(ends(&[0, 0], 2), [None, Some(End::Length)]);
        assert_eq!(ends(&[1, 2], 2), [None, Some(End::Stop)], "a stop, though it was the last as well");
    }

    #[test]
    fn an_output_fits_its_cause_if_it_ends_with_its_last_token_or_is_cut_before() {
        let request = Request { stop_texts: vec!["cd".into()], max_tokens: 4, ..sample::request() };
        let tokenizer = Arc::new(sample::tokenizer_of(&["a", "c", "d", "x"]));
        let fits = |output: &[u32], cause| ends_as_stated(&request, output, cause, tokenizer.clone());
        for (output, delivered, cut) in [
            (&[3, 1, 2][..], true, false),
            (&[3, 1], false, true),
            (&[3, 1, 2, 3], false, false),
            (&[3, 3, 3, 3], true, false),
            (&[], false, true),
        ] {
            assert_eq!(fits(output, Cause::Delivered), delivered, "{output:?}");
            assert_eq!(fits(output, Cause::ClientFault), cut, "{output:?}");
            assert_eq!(fits(output, Cause::ProviderFault), cut, "{output:?}");
        }
    }

    #[test]
    fn the_first_of_several_places_counts() {
        let texts = ["cd".to_owned(), "bcd".to_owned()];
        assert_eq!(first_stop(b"abcd", &texts), Some(1));
        assert_eq!(first_stop(b"abc", &texts), None);
        assert_eq!(first_stop(b"abc", &[]), None);
    }
}
