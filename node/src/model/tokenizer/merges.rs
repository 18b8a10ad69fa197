//! The merging part of a tokenizer, built for crate `tokenizers`.

use gridhour_protocol::model::{TokenKind, TokenizerAsset, TokenizerFamily};
use tokenizers::{
    Tokenizer as Merger,
    models::bpe::{BPE, Merges, Vocab},
    normalizers::unicode::NFC,
};

use super::{TokenizerError, library, pre::PreRule};

/// Sum of the squares of the pieces' lengths, in bytes: what all ways to cut each piece in two take, in time and in
/// memory. Room for 2^18 pieces of 32 bytes.
const HALVES_BYTES_MAX: usize = 1 << 28;

/// Cuts and merges plain text as `asset` describes it; knows no special tokens.
pub(super) fn merger(asset: &TokenizerAsset) -> Result<Merger, TokenizerError> {
    match asset.family {
        TokenizerFamily::ByteLevel => byte_level(asset),
        TokenizerFamily::SentencePiece => sentence_piece(asset),
    }
}

/// Tokens that merging may give, by text; of two with one text the first counts.
fn vocabulary(asset: &TokenizerAsset, merged: impl Fn(TokenKind, &str) -> bool) -> Vocab {
    let mut vocabulary = Vocab::default();
    for (id, (text, kind)) in (0u32..).zip(asset.tokens.iter().zip(&asset.kinds)) {
        if merged(*kind, text) {
            vocabulary.entry(text.clone()).or_insert(id);
        }
    }
    vocabulary
}

fn byte_level(asset: &TokenizerAsset) -> Result<Merger, TokenizerError> {
    let rule = PreRule::named(&asset.pre)?;
    let vocabulary = vocabulary(asset, merges_to);
    let merges =
        asset.merges.iter().map(|merge| ranked_merge(merge, &vocabulary)).collect::<Result<_, _>>()?;
    let bpe = BPE::builder()
        .vocab_and_merges(vocabulary, merges)
        .ignore_merges(rule.whole_words_first)
        .build()
        .map_err(library)?;
    let mut merger = Merger::new(bpe);
    merger.with_pre_tokenizer(Some(rule.cutter()?));
    if rule.composes {
        merger.with_normalizer(Some(NFC));
    }
    Ok(merger)
}

/// Whether merging plain text may give this token: structure is out of its reach, save for single letters of
/// the alphabet, which some files mark as control tokens and which no text can do without.
fn merges_to(kind: TokenKind, text: &str) -> bool {
    match kind {
        TokenKind::Normal | TokenKind::UserDefined | TokenKind::Byte => true,
        TokenKind::Control | TokenKind::Unknown | TokenKind::Unused => text.chars().nth(1).is_none(),
    }
}

fn ranked_merge(merge: &str, vocabulary: &Vocab) -> Result<(String, String), TokenizerError> {
    let known = |text: &str| vocabulary.contains_key(text);
    match merge.split_once(' ') {
        Some((left, right)) if known(left) && known(right) && known(&format!("{left}{right}")) => {
            Ok((left.to_owned(), right.to_owned()))
        }
        _ => Err(TokenizerError::Merge(merge.to_owned())),
    }
}

/// SentencePiece merges the neighbours whose union has the best score; that is a ranked merge for every way
/// to cut a token in two tokens, ranked by the token's score.
fn sentence_piece(asset: &TokenizerAsset) -> Result<Merger, TokenizerError> {
    let vocabulary =
        vocabulary(asset, |kind, _| matches!(kind, TokenKind::Normal | TokenKind::Unknown | TokenKind::Byte));
    let merges = scored_merges(asset, &vocabulary)?;
    let mut builder = BPE::builder().vocab_and_merges(vocabulary, merges).byte_fallback(true).fuse_unk(true);
    if let Some(unknown) = asset.unknown.and_then(|id| asset.tokens.get(id as usize)) {
        builder = builder.unk_token(unknown.clone());
    }
    Ok(Merger::new(builder.build().map_err(library)?))
}

fn scored_merges(asset: &TokenizerAsset, vocabulary: &Vocab) -> Result<Merges, TokenizerError> {
    let lengths = asset.tokens.iter().zip(&asset.kinds).filter(|(_, kind)| **kind == TokenKind::Normal);
    // A text has at most 2^12 bytes and a vocabulary 2^20 of them, so the sum fits.
    if lengths.map(|(text, _)| text.len() * text.len()).sum::<usize>() > HALVES_BYTES_MAX {
        return Err(TokenizerError::LongPieces);
    }
    let mut merged: Vec<(f32, &str)> = asset
        .tokens
        .iter()
        .zip(&asset.kinds)
        .zip(&asset.score_bits)
        .filter(|((_, kind), _)| **kind == TokenKind::Normal)
        .map(|((text, _), bits)| (f32::from_bits(*bits), text.as_str()))
        .filter(|(_, text)| halves(text, vocabulary).next().is_some())
        .collect();
    merged.sort_by(|a, b| b.0.total_cmp(&a.0));
    if let Some(tie) = merged.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(TokenizerError::EqualScores(tie[0].1.to_owned(), tie[1].1.to_owned()));
    }
    let merges = merged.iter().flat_map(|(_, text)| halves(text, vocabulary));
    Ok(merges.map(|(left, right)| (left.to_owned(), right.to_owned())).collect())
}

/// The ways to cut `text` in two tokens.
fn halves<'a>(text: &'a str, vocabulary: &'a Vocab) -> impl Iterator<Item = (&'a str, &'a str)> {
    let cuts = text.char_indices().skip(1).map(|(at, _)| text.split_at(at));
    cuts.filter(|(left, right)| vocabulary.contains_key(*left) && vocabulary.contains_key(*right))
}
