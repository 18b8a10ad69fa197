use insta::assert_snapshot;
use serde_json::{Value, json};
use testkit::gguf::SmallModel;

use crate::sandbox::Sandbox;

fn keys(document: &Value) -> Vec<&str> {
    document.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn a_file_is_described() {
    let sandbox = Sandbox::with_model();
    let shown = sandbox.json(&["model", "show", "small.gguf"]);
    let file = ["id", "name", "path", "bytes", "architecture"];
    let sizes = ["layers", "width", "heads", "kv_heads", "head_dim", "ffn", "vocabulary", "context"];
    let rest = ["tensors", "numerics_version", "tokenizer_digest", "template_digest", "work", "memory_bytes"];
    assert_eq!(keys(&shown), [&file[..], &sizes, &rest].concat());
    assert_eq!(shown["tensors"][0], json!({ "type": "F32", "count": 5, "weights": 320, "bytes": 1280 }));
    // Per layer 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96 weights; 64 numbers a token; 2 layers of twice 64.
    assert_eq!(shown["work"], json!({ "layers": 61_440, "head": 64 * 283, "attention": 256 }));
    let id = shown["id"].as_str().unwrap();
    let people = sandbox.run(&["model", "show", "small.gguf"]).to_string().replace(id, "[ID]");
    let digests = ["tokenizer_digest", "template_digest"].map(|field| shown[field].as_str().unwrap());
    let people = digests.iter().fold(people, |text, digest| text.replace(digest, "[DIGEST]"));
    assert_snapshot!(people, @r"
    exit 0
    out: id         [ID]
    out: file       small.gguf, 66752 bytes
    out: sizes      llama, 2 layers, 64 wide, feed-forward 96
    out: heads      4 of 16, 2 for keys and values
    out: tokens     283 in the vocabulary, context of 256
    out: tensors    5 of F32: 320 weights in 1280 bytes
    out: tensors    14 of Q4_1: 61440 weights in 38400 bytes
    out: tensors    1 of Q8_0: 18112 weights in 19244 bytes
    out: memory     76888 bytes when loaded
    out: work       61440 MACs a prompt token, 18112 more an output token
    out:            256 more for each token that a token attends to
    out: numerics   version 1
    out: tokenizer  [DIGEST]
    out: template   [DIGEST]
    ");
}

#[test]
fn the_id_follows_the_content_and_not_the_name() {
    let sandbox = Sandbox::with_model();
    sandbox.write("same.gguf", SmallModel::new(1).bytes());
    sandbox.write("other.gguf", SmallModel::new(2).bytes());
    let [small, same, other] =
        ["small", "same", "other"].map(|name| sandbox.json(&["model", "show", &format!("{name}.gguf")]));
    assert_eq!(small["id"], same["id"]);
    assert_ne!(small["id"], other["id"]);
    assert_eq!(small["tokenizer_digest"], other["tokenizer_digest"]);
}

#[test]
fn a_file_that_was_seen_can_be_named_by_its_id() {
    let sandbox = Sandbox::with_model();
    sandbox.write("other.gguf", SmallModel::new(2).bytes());
    let id = sandbox.json(&["model", "show", "small.gguf"])["id"].clone();
    sandbox.json(&["model", "show", "other.gguf"]);
    let again = sandbox.json(&["model", "show", id.as_str().unwrap()]);
    assert_eq!(again["id"], id);
    let unseen = "7".repeat(64);
    let answer = sandbox.run(&["model", "show", &unseen]).to_string().replace(&unseen, "[ID]");
    assert_snapshot!(answer, @r"
    exit 1
    err: error: no file on this machine is known to hold model [ID]; pull it by name or pass a .gguf file
    ");
}

#[test]
fn files_that_are_no_models_are_refused() {
    let sandbox = Sandbox::with_model();
    let whole = SmallModel::new(1).bytes();
    sandbox.write("cut.gguf", &whole[..whole.len() - 1000]);
    sandbox.write("letter.gguf", "Dear reader");
    sandbox.write("empty.gguf", "");
    let mut lying = SmallModel::new(1).writer();
    lying.tensor_mut("blk.1.ffn_up.weight").dims[1] += 1;
    sandbox.write("lying.gguf", lying.finish());
    assert_snapshot!(sandbox.run(&["model", "show", "absent.gguf"]), @r#"
    exit 2
    err: error: "absent.gguf" is no model that is known by name (SmolLM2-135M-Instruct) and no file on this machine
    "#);
    assert_snapshot!(sandbox.run(&["model", "show", "cut.gguf"]), @r#"
    exit 1
    err: error: cut.gguf: tensor "blk.1.ffn_down.weight" takes 3840 bytes from offset 55104, past the end of the file's 57944 bytes of data
    "#);
    assert_snapshot!(sandbox.run(&["model", "show", "letter.gguf"]), @r"
    exit 1
    err: error: letter.gguf: this is not a GGUF file: it does not start with the letters GGUF
    ");
    assert_snapshot!(sandbox.run(&["model", "show", "empty.gguf"]), @r"
    exit 1
    err: error: empty.gguf: this is not a GGUF file: it does not start with the letters GGUF
    ");
    assert_snapshot!(sandbox.run(&["model", "show", "lying.gguf"]), @r#"
    exit 1
    err: error: lying.gguf: tensor "blk.1.ffn_down.weight" overlaps tensor "blk.1.ffn_up.weight"
    "#);
}
