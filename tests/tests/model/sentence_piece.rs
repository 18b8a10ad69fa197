//! Tokenizers of the SentencePiece kind, against the rule by which they are defined.

use std::sync::LazyLock;

use gridhour_node::model::tokenizer::{Tokenizer, TokenizerError};
use gridhour_protocol::model::{TokenKind, TokenizerAsset, TokenizerFamily};
use proptest::prelude::*;

const PIECES: [&str; 20] = [
    "▁a", "ab", "▁b", "aba", "▁ab", "bb", "▁▁", "abab", "ba", "▁aba", "b▁", "▁", "a", "b", "é", "c", "▁c",
    "cc", "ca", "▁bb",
];

fn asset() -> TokenizerAsset {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    let mut kinds = vec![TokenKind::Unknown, TokenKind::Control, TokenKind::Control];
    tokens.extend((0..=u8::MAX).map(|byte| format!("<0x{byte:02X}>")));
    kinds.resize(tokens.len(), TokenKind::Byte);
    tokens.extend(PIECES.map(str::to_owned));
    kinds.resize(tokens.len(), TokenKind::Normal);
    let first = tokens.len() - PIECES.len();
    let score = |id: usize| if id < first { 0.0 } else { -((id - first) as f32) };
    TokenizerAsset {
        family: TokenizerFamily::SentencePiece,
        pre: String::new(),
        score_bits: (0..tokens.len()).map(|id| score(id).to_bits()).collect(),
        tokens,
        kinds,
        merges: Vec::new(),
        bos: Some(1),
        eos: Some(2),
        eot: None,
        unknown: Some(0),
        add_bos: true,
        add_eos: false,
        add_space_prefix: true,
    }
}

/// The definition: start from characters, join the neighbours whose union has the best score, the leftmost of
/// equals, until none joins; what is no piece is spelled in bytes.
fn by_definition(text: &str) -> Vec<String> {
    let score = |piece: &str| PIECES.iter().position(|known| *known == piece);
    let spaced = format!(" {text}").replace(' ', "▁");
    let mut symbols: Vec<String> = spaced.chars().map(String::from).collect();
    loop {
        let unions =
            symbols.windows(2).enumerate().filter_map(|(at, pair)| Some((score(&pair.concat())?, at)));
        let Some((_, at)) = unions.min() else { break };
        let right = symbols.remove(at + 1);
        symbols[at].push_str(&right);
    }
    let spell = |symbol: String| match score(&symbol) {
        Some(_) => vec![symbol],
        None => symbol.bytes().map(|byte| format!("<0x{byte:02X}>")).collect(),
    };
    symbols.into_iter().flat_map(spell).collect()
}

#[test]
fn equal_scores_are_refused_by_name() {
    let mut asset = asset();
    let first = asset.tokens.len() - PIECES.len();
    asset.score_bits[first] = asset.score_bits[first + 1];
    match Tokenizer::new(asset) {
        Err(TokenizerError::EqualScores(a, b)) => assert!([a, b].contains(&"ab".to_owned())),
        other => panic!("the order of merges is not defined: {other:?}"),
    }
}

proptest! {
    #[test]
    fn pieces_are_those_of_the_definition(text in "[abc é\u{1f600}]{1,30}") {
        static TOKENIZER: LazyLock<Tokenizer> =
            LazyLock::new(|| Tokenizer::new(asset()).expect("the description is sound"));
        let tokenizer = &*TOKENIZER;
        let ids = tokenizer.encode(&text).expect("the text is short");
        prop_assert_eq!(ids[0], 1);
        let found: Vec<&str> = ids[1..].iter().map(|id| tokenizer.token(*id).expect("known")).collect();
        prop_assert_eq!(found, by_definition(&text));
        prop_assert_eq!(tokenizer.decode(&ids), format!(" {text}"));
    }
}

/// Every piece a prefix of the next: each can be cut in two at every letter, and all cuts together are gigabytes.
#[test]
fn pieces_with_too_many_cuts_are_refused() {
    let with_longest = |longest: usize| {
        let mut asset = asset();
        let pieces = (3..=longest).map(|len| "c".repeat(len));
        asset.tokens.extend(pieces);
        asset.kinds.resize(asset.tokens.len(), TokenKind::Normal);
        asset.score_bits = (0..asset.tokens.len()).map(|id| (-(id as f32)).to_bits()).collect();
        Tokenizer::new(asset).map(|_| ())
    };
    assert!(with_longest(100).is_ok());
    assert!(matches!(with_longest(1_000), Err(TokenizerError::LongPieces)));
}
