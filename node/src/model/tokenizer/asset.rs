//! The tokenizer's description out of a model file's metadata.

use gridhour_protocol::model::{TokenKind, TokenizerAsset, TokenizerFamily};

use super::{
    super::gguf::{Gguf, GgufError, Value},
    TokenizerError,
};

const KIND_KEY: &str = "tokenizer.ggml.token_type";
const SCORES_KEY: &str = "tokenizer.ggml.scores";
const MERGES_KEY: &str = "tokenizer.ggml.merges";
/// What ends a turn in well-known vocabularies, where the file does not say.
const TURN_ENDS: [&str; 4] = ["<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>"];
/// The cutting rule whose models begin every text, where the file does not say.
const BEGUN_BY_DEFAULT: &str = "llama-bpe";

/// All that `file` says about its tokenizer.
///
/// # Errors
/// [`TokenizerError`] naming the key that is missing or wrong.
pub fn tokenizer_asset(file: &Gguf) -> Result<TokenizerAsset, TokenizerError> {
    let family = family(file)?;
    let tokens = file.required("tokenizer.ggml.tokens", "an array of strings", Value::as_texts)?.to_vec();
    let kinds = kinds(file, tokens.len())?;
    let pre = match family {
        TokenizerFamily::ByteLevel => {
            file.optional("tokenizer.ggml.pre", "a string", Value::as_text)?.unwrap_or("default").to_owned()
        }
        TokenizerFamily::SentencePiece => String::new(),
    };
    let is_pieces = family == TokenizerFamily::SentencePiece;
    let begun = is_pieces || pre == BEGUN_BY_DEFAULT;
    let asset = TokenizerAsset {
        family,
        pre,
        score_bits: if is_pieces { scores(file)? } else { Vec::new() },
        merges: if is_pieces { Vec::new() } else { merges(file)? },
        bos: special(file, "bos")?,
        eos: special(file, "eos")?,
        eot: special(file, "eot")?.or_else(|| turn_end(&tokens, &kinds)),
        unknown: special(file, "unknown")?,
        add_bos: flag(file, "add_bos_token", begun)?,
        add_eos: flag(file, "add_eos_token", false)?,
        add_space_prefix: flag(file, "add_space_prefix", is_pieces)?,
        tokens,
        kinds,
    };
    asset.check()?;
    Ok(asset)
}

fn family(file: &Gguf) -> Result<TokenizerFamily, TokenizerError> {
    match file.text("tokenizer.ggml.model")? {
        "gpt2" => Ok(TokenizerFamily::ByteLevel),
        "llama" => Ok(TokenizerFamily::SentencePiece),
        other => Err(TokenizerError::Family(other.to_owned())),
    }
}

/// Kinds by id; a file without them has normal tokens only.
fn kinds(file: &Gguf, count: usize) -> Result<Vec<TokenKind>, GgufError> {
    let Some(codes) = file.optional(KIND_KEY, "an array of integers", Value::as_ints)? else {
        return Ok(vec![TokenKind::Normal; count]);
    };
    let kind = |code: &i64| u8::try_from(*code).ok().and_then(TokenKind::from_code);
    let bad = || GgufError::Key { key: KIND_KEY.to_owned(), reason: "holds an unknown kind".to_owned() };
    codes.iter().map(|code| kind(code).ok_or_else(bad)).collect()
}

fn scores(file: &Gguf) -> Result<Vec<u32>, GgufError> {
    let scores = file.required(SCORES_KEY, "an array of 32-bit floats", Value::as_f32s)?;
    if scores.iter().any(|score| score.is_nan()) {
        return Err(GgufError::Key { key: SCORES_KEY.to_owned(), reason: "holds a NaN".to_owned() });
    }
    Ok(scores.iter().map(|score| score.to_bits()).collect())
}

fn merges(file: &Gguf) -> Result<Vec<String>, GgufError> {
    Ok(file.required(MERGES_KEY, "an array of strings", Value::as_texts)?.to_vec())
}

fn special(file: &Gguf, name: &str) -> Result<Option<u32>, GgufError> {
    let key = format!("tokenizer.ggml.{name}_token_id");
    file.optional(&key, "a token's id", |value| u32::try_from(value.as_u64()?).ok())
}

fn flag(file: &Gguf, name: &str, default: bool) -> Result<bool, GgufError> {
    let key = format!("tokenizer.ggml.{name}");
    Ok(file.optional(&key, "a truth value", Value::as_bool)?.unwrap_or(default))
}

fn turn_end(tokens: &[String], kinds: &[TokenKind]) -> Option<u32> {
    let is_end = |text: &str| TURN_ENDS.contains(&text);
    let found = tokens.iter().zip(kinds).position(|(text, kind)| *kind == TokenKind::Control && is_end(text));
    found.and_then(|id| u32::try_from(id).ok())
}
