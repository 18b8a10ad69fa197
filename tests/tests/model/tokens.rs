//! Text to tokens and back, with the byte-level vocabulary of the generated files.

use std::sync::LazyLock;

use gridhour_node::model::{
    gguf::{Gguf, Value},
    tokenizer::{TEXT_BYTES_MAX, Tokenizer, TokenizerError, tokenizer_asset},
};
use gridhour_protocol::model::{TokenKind, TokenizerAsset};
use proptest::prelude::*;
use testkit::gguf::{SPECIALS, SmallModel};

fn asset() -> TokenizerAsset {
    let file = Gguf::from_bytes(SmallModel::new(1).bytes()).expect("the file is sound");
    tokenizer_asset(&file).expect("the file describes a tokenizer")
}

fn tokenizer() -> &'static Tokenizer {
    static BUILT: LazyLock<Tokenizer> =
        LazyLock::new(|| Tokenizer::new(asset()).expect("the description is sound"));
    &BUILT
}

fn texts(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    let ids = tokenizer.encode(text).expect("the text is short");
    ids.iter().map(|id| tokenizer.token(*id).expect("ids come from the vocabulary").to_owned()).collect()
}

#[test]
fn merges_apply_in_their_order_within_words() {
    let tokenizer = tokenizer();
    assert_eq!(texts(tokenizer, "hello and the world"), ["hello", "Ġand", "Ġthe", "Ġworld"]);
    assert_eq!(texts(tokenizer, "in 42\n"), ["in", "Ġ", "4", "2", "Ċ"]);
}

#[test]
fn cutting_rules_differ_where_models_do() {
    let words = |pre: &str, merges: &[&str], text: &str| {
        let mut asset = TokenizerAsset { pre: pre.to_owned(), ..asset() };
        for merge in merges {
            asset.merges.push((*merge).to_owned());
            asset.tokens.push(merge.replace(' ', ""));
            asset.kinds.push(TokenKind::Normal);
        }
        texts(&Tokenizer::new(asset).expect("the merges are tokens"), text)
    };
    let digits = ["1 2", "12 3", "123 4"];
    assert_eq!(words("gpt-2", &digits, "1234"), ["1234"]);
    assert_eq!(words("smollm", &digits, "1234"), ["1", "2", "3", "4"]);
    assert_eq!(words("qwen2", &digits, "1234"), ["1", "2", "3", "4"]);
    assert_eq!(words("llama-bpe", &digits, "1234"), ["123", "4"]);
    assert_eq!(words("default", &digits, "1234"), ["123", "4"]);
    let contraction = ["' S"];
    assert_eq!(words("gpt-2", &contraction, "A'S"), ["A", "'", "S"]);
    assert_eq!(words("llama-bpe", &contraction, "A'S"), ["A", "'S"]);
    // The rule of Llama 3 takes a word that is a token whole, whatever the merges say.
    let unreachable = |pre: &str| {
        let mut asset = TokenizerAsset { pre: pre.to_owned(), ..asset() };
        asset.tokens.push("zq".to_owned());
        asset.kinds.push(TokenKind::Normal);
        texts(&Tokenizer::new(asset).expect("tokens need no merges"), "zq")
    };
    assert_eq!(unreachable("llama-bpe"), ["zq"]);
    assert_eq!(unreachable("gpt-2"), ["z", "q"]);
}

#[test]
fn begin_and_end_tokens_follow_the_file() {
    let mut asset = asset();
    (asset.add_bos, asset.add_eos) = (true, true);
    let tokenizer = Tokenizer::new(asset.clone()).expect("both tokens exist");
    assert_eq!(texts(&tokenizer, "in"), [SPECIALS[1], "in", SPECIALS[2]]);
    assert_eq!(texts(&tokenizer, ""), [SPECIALS[1], SPECIALS[2]]);
    assert!(tokenizer.is_end(2) && !tokenizer.is_end(1));
    let none = TokenizerAsset { bos: None, ..asset };
    assert!(matches!(Tokenizer::new(none), Err(TokenizerError::NoSuchToken(_))));
}

#[test]
fn the_end_of_a_turn_is_found_by_its_name() {
    let mut file = SmallModel::new(1).writer();
    file.meta("tokenizer.ggml.eos_token_id", Value::Uint(0));
    let file = Gguf::from_bytes(file.finish()).expect("the file is sound");
    let tokenizer = Tokenizer::new(tokenizer_asset(&file).expect("sound")).expect("sound");
    assert!(tokenizer.is_end(0) && tokenizer.is_end(2));
}

#[test]
fn a_text_above_the_bound_is_refused() {
    let text = " ".repeat(TEXT_BYTES_MAX + 1);
    assert!(matches!(tokenizer().encode(&text), Err(TokenizerError::TooLong(_))));
}

#[test]
fn control_tokens_have_no_text() {
    let tokenizer = tokenizer();
    assert_eq!(tokenizer.decode(&[1, 2, 0]), "");
    assert_eq!(tokenizer.decode(&[u32::MAX]), "");
}

proptest! {
    #[test]
    fn text_survives_and_is_never_structure(parts in prop::collection::vec(part(), 0..12)) {
        let text = parts.concat();
        let tokenizer = tokenizer();
        let ids = tokenizer.encode(&text).expect("the text is short");
        prop_assert!(!ids.iter().any(|id| tokenizer.is_control(*id)));
        prop_assert_eq!(tokenizer.decode(&ids), text);
    }

    #[test]
    fn the_bytes_alone_give_the_same_tokens(text in ".{0,60}") {
        static FETCHED: LazyLock<Tokenizer> = LazyLock::new(|| {
            let fetched = TokenizerAsset::decode(&asset().encode()).expect("what was encoded is sound");
            Tokenizer::new(fetched).expect("the description is sound")
        });
        prop_assert_eq!(FETCHED.encode(&text).ok(), tokenizer().encode(&text).ok());
    }

    #[test]
    fn a_stream_is_the_whole_text_in_whole_characters(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let tokenizer = tokenizer();
        let mut stream = tokenizer.stream();
        // Each byte is a token of its own, the first after the control tokens.
        let parts: Vec<String> =
            bytes.iter().map(|byte| stream.push(u32::from(*byte) + SPECIALS.len() as u32)).collect();
        prop_assert_eq!(parts.concat() + &stream.finish(), String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn a_stream_of_text_never_shows_half_a_character(text in "\\PC{0,20}") {
        let tokenizer = tokenizer();
        let mut stream = tokenizer.stream();
        for byte in text.bytes() {
            let part = stream.push(u32::from(byte) + SPECIALS.len() as u32);
            prop_assert!(!part.contains('\u{fffd}') || text.contains('\u{fffd}'), "{:?}", part);
        }
        prop_assert_eq!(stream.finish(), "");
    }
}

fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,8}",
        prop::sample::select(SPECIALS.to_vec()).prop_map(str::to_owned),
        Just("Ġ".to_owned())
    ]
}
