//! Files that lie: refused by the name of the tensor or key at fault, and never with a panic.

use std::sync::LazyLock;

use gridhour_node::model::{
    config::llama_config,
    gguf::{Gguf, TensorType, Value},
    tokenizer::{Tokenizer, tokenizer_asset},
};
use gridhour_protocol::exact::llama::Architecture;
use proptest::prelude::*;
use testkit::gguf::{GgufWriter, RawTensor, SmallModel};

const Q: &str = "blk.1.attn_q.weight";

/// What a user reads when this file is loaded; empty if it loads.
fn refusal(file: &GgufWriter) -> String {
    refusal_of(file.finish())
}

fn refusal_of(bytes: Vec<u8>) -> String {
    let load = || -> Result<(), String> {
        let file = Gguf::from_bytes(bytes).map_err(|error| error.to_string())?;
        llama_config(&file).map_err(|error| error.to_string())?;
        let asset = tokenizer_asset(&file).map_err(|error| error.to_string())?;
        Tokenizer::new(asset).map_err(|error| error.to_string())?;
        Ok(())
    };
    load().err().unwrap_or_default()
}

/// Checks that a file changed by `change` is refused in words that contain all of `words`.
fn refused(change: impl FnOnce(&mut GgufWriter), words: &[&str]) {
    let mut file = SmallModel::new(1).writer();
    assert_eq!(refusal(&file), "", "the file is sound before the change");
    change(&mut file);
    let found = refusal(&file);
    assert!(words.iter().all(|word| found.contains(word)), "{found:?} should contain {words:?}");
}

#[test]
fn sound_files_of_every_type_load() {
    assert_eq!(refusal(&SmallModel::new(1).writer()), "");
    assert_eq!(refusal(&SmallModel::mixed(1).writer()), "");
    let file = Gguf::from_bytes(SmallModel::mixed(1).bytes()).expect("the file is sound");
    let tensor = file.tensor(Q).expect("the file has it");
    assert_eq!((tensor.ty, tensor.rows, tensor.cols), (TensorType::F32, 64, 64));
    assert_eq!(tensor.row(63).len(), 256);
    assert_eq!(file.tensors().len(), 2 + 1 + 2 * 9);
}

#[test]
fn one_seed_gives_one_file() {
    assert_eq!(SmallModel::new(7).bytes(), SmallModel::new(7).bytes());
    assert_ne!(SmallModel::new(7).bytes(), SmallModel::new(8).bytes());
}

#[test]
fn unsupported_types_are_named_with_the_tensor() {
    refused(|file| file.tensor_mut(Q).code = 13, &[Q, "Q5_K", "F32, F16, BF16, Q8_0", "Q4_K, Q6_K"]);
    refused(|file| file.tensor_mut(Q).code = 10, &[Q, "Q2_K"]);
    refused(|file| file.tensor_mut(Q).code = 39, &[Q, "MXFP4"]);
    refused(|file| file.tensor_mut(Q).code = 4_000, &[Q, "4000"]);
}

#[test]
fn impossible_places_are_named_with_the_tensor() {
    refused(|file| file.tensor_mut(Q).offset = Some(1 << 40), &[Q, "past the end"]);
    refused(|file| file.tensor_mut(Q).offset = Some(u64::MAX - 31), &[Q, "past the end"]);
    refused(|file| file.tensor_mut(Q).offset = Some(33), &[Q, "alignment"]);
    refused(|file| file.tensor_mut(Q).offset = Some(0), &["overlaps", Q]);
}

#[test]
fn impossible_shapes_are_named_with_the_tensor() {
    refused(|file| file.tensor_mut(Q).dims = vec![64, 64, 1], &[Q, "3 dimensions"]);
    refused(|file| file.tensor_mut(Q).dims = vec![], &[Q, "0 dimensions"]);
    refused(|file| file.tensor_mut(Q).dims = vec![64, 0], &[Q, "dimension of 0"]);
    refused(|file| file.tensor_mut(Q).dims = vec![64, u64::MAX], &[Q, "dimension of"]);
    refused(|file| file.tensor_mut(Q).dims = vec![63, 64], &[Q, "63 columns", "Q4_1 blocks of 32"]);
    refused(|file| file.tensor_mut(Q).code = 14, &[Q, "64 columns", "Q6_K blocks of 256"]);
    refused(|file| file.tensor_mut(Q).dims = vec![64, 32], &[Q, "32 x 64", "64 x 64"]);
}

#[test]
fn missing_doubled_and_foreign_tensors_are_named() {
    refused(|file| file.tensors.retain(|tensor| tensor.name != Q), &["no tensor", Q]);
    refused(|file| file.tensor_mut(Q).name = "blk.0.attn_q.weight".into(), &["blk.0.attn_q.weight", "twice"]);
    let bias = || RawTensor::new("blk.0.attn_q.bias", TensorType::F32, vec![64], vec![0; 256]);
    refused(|file| file.tensor(bias()), &["blk.0.attn_q.bias", "not part of the architecture"]);
    let norm = "blk.0.attn_norm.weight";
    let coded = || RawTensor::new(norm, TensorType::Q8_0, vec![64], vec![0; 68]);
    refused(|file| *file.tensor_mut(norm) = coded(), &[norm, "Q8_0", "F32"]);
}

#[test]
fn metadata_that_changes_the_arithmetic_is_named() {
    let text = |text: &str| Value::Text(text.to_owned());
    for (key, value, word) in [
        ("general.architecture", text("gemma3"), "supported are llama, qwen2, qwen3"),
        ("general.architecture", text("qwen3moe"), "qwen3moe"),
        ("llama.rope.scaling.type", text("yarn"), "yarn"),
        ("llama.rope.scaling.type", text("longrope"), "longrope"),
        ("llama.rope.scaling.factor", Value::F32(0.5), "rope scaling factor"),
        ("llama.rope.scaling.factor", text("four"), "32-bit float"),
        ("llama.attention.sliding_window", Value::Uint(4096), "is 4096, a variant"),
        ("llama.attention.causal", Value::Bool(false), "variant"),
        ("llama.final_logit_softcapping", Value::F32(30.0), "variant"),
        ("llama.rope.dimension_count", Value::Uint(8), "width of a head"),
        ("llama.expert_count", Value::Uint(8), "variant"),
        ("llama.block_count", Value::Uint(1 << 40), "llama.block_count"),
        ("llama.block_count", text("two"), "unsigned integer"),
        ("llama.attention.head_count", Value::Uint(0), "1 to"),
        ("llama.attention.head_count_kv", Value::Uint(3), "heads is 4"),
        ("llama.vocab_size", Value::Uint(5), "token_embd.weight"),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(f32::NAN), "epsilon"),
        ("llama.rope.freq_base", Value::F32(f32::INFINITY), "rope base"),
        ("general.alignment", Value::Uint(33), "power of two"),
        ("tokenizer.ggml.model", text("t5"), "t5"),
        ("tokenizer.ggml.pre", text("klingon"), "klingon"),
        ("tokenizer.ggml.eos_token_id", Value::Uint(9_999), "outside the vocabulary"),
        ("tokenizer.ggml.merges", Value::Texts(vec!["x yz".to_owned()]), "x yz"),
        ("tokenizer.ggml.token_type", Value::Ints(vec![1; 7]), "differ in number"),
        ("tokenizer.ggml.token_type", Value::Ints(vec![77; 283]), "unknown kind"),
    ] {
        refused(|file| file.meta(key, value), &[word]);
    }
    refused(|file| file.remove("llama.block_count"), &["no metadata key", "llama.block_count"]);
    refused(|file| file.meta("llama.rope.scaling.type", text("none")), &[]);
}

#[test]
fn each_architecture_has_tensors_of_its_own() {
    let sound = |architecture| SmallModel::of(architecture, 2).writer();
    let without = |architecture, name: &str| {
        let mut file = sound(architecture);
        assert_eq!(refusal(&file), "", "{architecture:?} is sound");
        let before = file.tensors.len();
        file.tensors.retain(|tensor| tensor.name != name);
        assert_eq!(file.tensors.len(), before - 1);
        refusal(&file)
    };
    for (architecture, name) in [
        (Architecture::Qwen2, "blk.1.attn_k.bias"),
        (Architecture::Qwen3, "blk.0.attn_q_norm.weight"),
        (Architecture::Llama, "blk.0.attn_q.weight"),
    ] {
        assert!(without(architecture, name).contains(name));
    }
    let foreign = |architecture, name: &str, count: usize| {
        let mut file = sound(architecture);
        file.tensor(RawTensor::new(name, TensorType::F32, vec![count as u64], vec![0; 4 * count]));
        refusal(&file)
    };
    assert!(foreign(Architecture::Qwen3, "blk.0.attn_q.bias", 128).contains("not part of the architecture"));
    assert!(foreign(Architecture::Qwen2, "rope_freqs.weight", 16).contains("rope_freqs.weight"));
    assert!(foreign(Architecture::Llama, "rope_freqs.weight", 16).contains("rope scaling factor"));
    assert!(foreign(Architecture::Llama, "rope_freqs.weight", 15).contains("1 x 16"));
}

#[test]
fn other_formats_and_versions_are_named() {
    let sound = SmallModel::new(1).bytes();
    let with = |at: usize, bytes: &[u8]| {
        let mut file = sound.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        refusal_of(file)
    };
    assert!(with(0, b"GGML").contains("not a GGUF file"));
    assert!(with(4, &[1]).contains("version 1"));
    assert!(with(4, &[0, 0, 0, 3]).contains("big-endian"));
    assert!(with(8, &[0xff; 8]).contains("number of tensors"));
    assert!(with(16, &[0xff; 8]).contains("number of metadata keys"));
    assert!(with(8, &[0xff, 0x1f, 0, 0, 0, 0, 0, 0]).contains("cut short"));
    assert!(refusal_of(Vec::new()).contains("not a GGUF file"));
}

static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| SmallModel::new(1).bytes());

proptest! {
    #[test]
    fn a_cut_file_is_refused(at in any::<prop::sample::Index>()) {
        let mut bytes = SOUND.clone();
        bytes.truncate(at.index(bytes.len()));
        prop_assert_ne!(refusal_of(bytes), "");
    }

    #[test]
    fn flipped_bits_never_panic(flips in prop::collection::vec((0usize..12_000, 0u8..8), 1..5)) {
        let mut bytes = SOUND.clone();
        for (at, bit) in flips {
            bytes[at] ^= 1 << bit;
        }
        if let Ok(file) = Gguf::from_bytes(bytes.clone()) {
            let sizes = file.tensors().map(|t| t.rows * t.ty.row_bytes(t.cols).unwrap_or(0) - t.bytes.len());
            prop_assert_eq!(sizes.sum::<usize>(), 0);
        }
        refusal_of(bytes);
    }

    #[test]
    fn any_bytes_after_the_magic_are_read_or_refused(tail in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = [b"GGUF\x03\0\0\0".as_slice(), &tail].concat();
        refusal_of(bytes);
    }
}
