use gridhour_node::model::{
    gguf::Gguf,
    tokenizer::{Tokenizer, tokenizer_asset},
};
use insta::assert_snapshot;
use serde_json::json;

use crate::sandbox::Sandbox;

#[test]
fn tokens_are_those_of_the_library() {
    let sandbox = Sandbox::with_model();
    let file = Gguf::open(&sandbox.path("small.gguf")).unwrap();
    let tokenizer = Tokenizer::new(tokenizer_asset(&file).unwrap()).unwrap();
    for text in ["", "hello world", "-- the wörld\n", "<|im_end|>"] {
        let answer = sandbox.json(&["model", "tokenize", "--model", "small.gguf", text]);
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(answer, json!({ "token_ids": ids }), "{text:?}");
        assert_eq!(tokenizer.decode(&ids), text);
    }
}

#[test]
fn people_see_the_pieces() {
    let sandbox = Sandbox::with_model();
    assert_snapshot!(sandbox.run(&["model", "tokenize", "--model", "small.gguf", "hello world!"]), @r"
    exit 0
    out: ID   TOKEN
    out: 273  hello
    out: 276  Ġworld
    out: 36   !
    ");
}
