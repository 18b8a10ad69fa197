//! The rules that cut text into words before merging, by the name that files give them.

use tokenizers::{
    PreTokenizerWrapper, SplitDelimiterBehavior,
    pre_tokenizers::{
        byte_level::ByteLevel,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
};

use super::{TokenizerError, library};

/// For refusals.
pub(super) const KNOWN: &str = "\"default\", \"gpt-2\", \"llama-bpe\", \"qwen2\", \"smollm\"";

const GPT_2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Llama 3: contractions in any case, digits in threes, punctuation with the line ends after it.
const LLAMA_BPE: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
);
/// As Llama 3, but each digit alone.
const QWEN_2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// A named rule.
pub(super) struct PreRule {
    /// Expressions applied one after another, each cutting the words that the one before left.
    cuts: &'static [&'static str],
    /// Whether a word that is a token is that token, whatever its merges say.
    pub(super) whole_words_first: bool,
    /// Whether text is brought to Unicode's composed form first.
    pub(super) composes: bool,
}

impl PreRule {
    pub(super) fn named(name: &str) -> Result<Self, TokenizerError> {
        let rule = |cuts| Self { cuts, whole_words_first: false, composes: false };
        Ok(match name {
            "gpt-2" => rule(&[GPT_2]),
            "smollm" => rule(&[r"\p{N}", GPT_2]),
            "default" => rule(&[r"[\p{P}\$\+<=>\^~\|]+", GPT_2, r"\p{N}+", "[0-9][0-9][0-9]"]),
            "llama-bpe" => Self { whole_words_first: true, ..rule(&[LLAMA_BPE]) },
            "qwen2" => Self { composes: true, ..rule(&[QWEN_2]) },
            other => return Err(TokenizerError::Pre(other.to_owned())),
        })
    }

    /// The cuts, then the spelling of bytes as letters.
    pub(super) fn cutter(&self) -> Result<Sequence, TokenizerError> {
        let cut = |pattern: &&str| {
            let pattern = SplitPattern::Regex((*pattern).to_owned());
            Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map(PreTokenizerWrapper::from)
        };
        let mut steps = self.cuts.iter().map(cut).collect::<Result<Vec<_>, _>>().map_err(library)?;
        steps.push(ByteLevel::new(false, false, false).into());
        Ok(Sequence::new(steps))
    }
}
