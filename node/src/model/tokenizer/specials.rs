//! Special tokens: which stretches of a text are one token each, outside all merging.

use std::cmp::Reverse;

use gridhour_protocol::model::{TokenKind, TokenizerAsset};

/// A stretch of a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Piece<'a> {
    /// Merged by the rules of the family.
    Text(&'a str),
    /// This token.
    Special(u32),
}

/// Texts that are one token, longest first.
#[derive(Debug)]
pub(super) struct Specials {
    /// Counted as tokens only in what a template wrote.
    control: Vec<(String, u32)>,
    /// Counted as tokens everywhere.
    user_defined: Vec<(String, u32)>,
}

impl Specials {
    pub(super) fn new(asset: &TokenizerAsset) -> Self {
        Self {
            // A text of one character cannot be told from the same character of a message, so it stays text.
            control: longest_first(asset, |kind, text| {
                matches!(kind, TokenKind::Control | TokenKind::Unknown) && text.chars().nth(1).is_some()
            }),
            user_defined: longest_first(asset, |kind, text| {
                kind == TokenKind::UserDefined && !text.is_empty()
            }),
        }
    }

    /// A text of which nothing is structure.
    pub(super) fn split_plain<'a>(&self, text: &'a str) -> Vec<Piece<'a>> {
        split_all(vec![Piece::Text(text)], &self.user_defined)
    }

    /// A text whose control tokens are meant as such.
    pub(super) fn split_rendered<'a>(&self, text: &'a str) -> Vec<Piece<'a>> {
        split_all(split_all(vec![Piece::Text(text)], &self.control), &self.user_defined)
    }

    pub(super) fn control_texts(&self) -> impl Iterator<Item = &str> {
        self.control.iter().map(|(text, _)| text.as_str())
    }
}

fn longest_first(asset: &TokenizerAsset, wanted: impl Fn(TokenKind, &str) -> bool) -> Vec<(String, u32)> {
    let all = (0u32..).zip(asset.tokens.iter().zip(&asset.kinds));
    let mut texts: Vec<(String, u32)> = all
        .filter(|(_, (text, kind))| wanted(**kind, text))
        .map(|(id, (text, _))| (text.clone(), id))
        .collect();
    texts.sort_by_key(|(text, id)| (Reverse(text.len()), *id));
    texts
}

fn split_all<'a>(pieces: Vec<Piece<'a>>, specials: &[(String, u32)]) -> Vec<Piece<'a>> {
    specials.iter().fold(pieces, |pieces, (text, id)| {
        pieces.into_iter().flat_map(|piece| split(piece, text, *id)).collect()
    })
}

fn split<'a>(piece: Piece<'a>, special: &str, id: u32) -> Vec<Piece<'a>> {
    let Piece::Text(mut rest) = piece else {
        return vec![piece];
    };
    let mut pieces = Vec::new();
    while let Some((before, after)) = rest.split_once(special) {
        pieces.extend((!before.is_empty()).then_some(Piece::Text(before)));
        pieces.push(Piece::Special(id));
        rest = after;
    }
    pieces.extend((!rest.is_empty()).then_some(Piece::Text(rest)));
    pieces
}
