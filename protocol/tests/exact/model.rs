//! The composed forward pass: against floats, at the extremes of what a file can hold, and its refusals.

use std::collections::BTreeMap;

use gridhour_protocol::exact::{
    llama::{
        Architecture, ConfigError, LlamaConfig, LlamaWeights, LoadError, ROPE_UNSCALED, Reference, StepError,
        Tensor,
    },
    weights::{BlockType, WeightsError},
};
use proptest::prelude::*;

use crate::support::{Seeded, dequantise, distance, peak};

/// A tensor that owns its bytes.
#[derive(Clone)]
struct Stored {
    kind: BlockType,
    rows: usize,
    columns: usize,
    bytes: Vec<u8>,
}

/// A small model file: sizes and tensors by name.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) config: LlamaConfig,
    tensors: BTreeMap<String, Stored>,
}

pub(crate) const SMALL: LlamaConfig = LlamaConfig {
    architecture: Architecture::Llama,
    layers: 2,
    width: 32,
    heads: 4,
    kv_heads: 2,
    head_dim: 8,
    ffn: 64,
    vocab: 24,
    context: 32,
    rope_base: 0x461c_4000, // 10,000
    rope_scaling: ROPE_UNSCALED,
    epsilon: 0x3727_c5ac, // 0.00001
};

/// The sizes of [`SMALL`], but for a head of its own width, with what the other architectures add.
pub(crate) const VARIANTS: [LlamaConfig; 3] = [
    LlamaConfig { architecture: Architecture::Qwen2, kv_heads: 4, ..SMALL },
    LlamaConfig { architecture: Architecture::Qwen3, head_dim: 32, ..SMALL },
    LlamaConfig { rope_scaling: 0x4080_0000, ..SMALL },
];

impl File {
    /// A file whose blocks come from `block`.
    fn build(config: LlamaConfig, mut bytes: impl FnMut(&str, BlockType, usize, usize) -> Vec<u8>) -> Self {
        let mut tensors = BTreeMap::new();
        for (name, kind, rows, columns) in shapes(&config) {
            let bytes = bytes(&name, kind, rows, columns);
            tensors.insert(name, Stored { kind, rows, columns, bytes });
        }
        Self { config, tensors }
    }

    /// Weights of a size that keeps activations moderate.
    pub(crate) fn seeded(config: LlamaConfig, seed: u64) -> Self {
        let mut seeded = Seeded::new(seed);
        Self::build(config, |_, kind, rows, columns| {
            let size = match kind {
                BlockType::Q4_1 => 0.06,
                BlockType::Q8_0 => 0.01,
                _ => 1.5,
            };
            seeded.tensor(kind, rows, columns, size)
        })
    }

    fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let Stored { kind, rows, columns, ref bytes } = *self.tensors.get(name)?;
        Some(Tensor { kind, rows, columns, bytes })
    }

    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&str, Tensor<'_>)> {
        self.tensors.keys().filter_map(|name| Some((name.as_str(), self.tensor(name)?)))
    }

    pub(crate) fn load(&self) -> Result<LlamaWeights, LoadError> {
        LlamaWeights::load(self.config, |name| self.tensor(name))
    }

    fn floats(&self, name: &str) -> Vec<f64> {
        let tensor = &self.tensors[name];
        dequantise(tensor.kind, &tensor.bytes)
    }
}

fn shapes(c: &LlamaConfig) -> Vec<(String, BlockType, usize, usize)> {
    let (width, ffn, vocab) = (c.width as usize, c.ffn as usize, c.vocab as usize);
    let (query, kv) = (c.query_width(), c.kv_width());
    let mut all = vec![
        ("token_embd.weight".to_owned(), BlockType::Q8_0, vocab, width),
        ("output_norm.weight".to_owned(), BlockType::F32, 1, width),
    ];
    for layer in 0..c.layers {
        let parts = [
            ("attn_norm", BlockType::F32, 1, width),
            ("attn_q", BlockType::Q4_1, query, width),
            ("attn_k", BlockType::Q4_1, kv, width),
            ("attn_v", BlockType::Q4_1, kv, width),
            ("attn_output", BlockType::Q4_1, width, query),
            ("ffn_norm", BlockType::F32, 1, width),
            ("ffn_gate", BlockType::Q4_1, ffn, width),
            ("ffn_up", BlockType::Q8_0, ffn, width),
            ("ffn_down", BlockType::F32, width, ffn),
        ];
        all.extend(
            parts.map(|(part, kind, rows, columns)| {
                (format!("blk.{layer}.{part}.weight"), kind, rows, columns)
            }),
        );
        all.extend(
            head_vectors(c).map(|(part, count)| (format!("blk.{layer}.{part}"), BlockType::F32, 1, count)),
        );
    }
    all
}

/// What an architecture adds to the heads of each layer.
fn head_vectors(c: &LlamaConfig) -> impl Iterator<Item = (&'static str, usize)> {
    let (query, kv, head) = (c.query_width(), c.kv_width(), c.head_dim as usize);
    let vectors = match c.architecture {
        Architecture::Llama => vec![],
        Architecture::Qwen2 => vec![("attn_q.bias", query), ("attn_k.bias", kv), ("attn_v.bias", kv)],
        Architecture::Qwen3 => vec![("attn_q_norm.weight", head), ("attn_k_norm.weight", head)],
    };
    vectors.into_iter()
}

/// The same model in floats, from the file's own dequantised weights.
struct Floats<'a> {
    file: &'a File,
    keys: Vec<Vec<Vec<f64>>>,
    values: Vec<Vec<Vec<f64>>>,
}

impl<'a> Floats<'a> {
    fn new(file: &'a File) -> Self {
        let empty = vec![Vec::new(); file.config.layers as usize];
        Self { file, keys: empty.clone(), values: empty }
    }

    fn product(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let dot = |row: &[f64]| row.iter().zip(x).map(|(w, x)| w * x).sum();
        self.file.floats(name).chunks_exact(x.len()).map(dot).collect()
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let mean = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
        let inverse = 1.0 / (mean + f64::from(f32::from_bits(self.file.config.epsilon))).sqrt();
        self.file.floats(name).iter().zip(x).map(|(w, x)| w * x * inverse).collect()
    }

    /// The heads of a product, biased, normed and turned as the architecture has it.
    fn heads(&self, layer: usize, part: &str, input: &[f64], position: Option<usize>) -> Vec<f64> {
        let name = |end: &str| format!("blk.{layer}.{part}{end}");
        let mut y = self.product(&name(".weight"), input);
        if self.file.tensors.contains_key(&name(".bias")) {
            y.iter_mut().zip(self.file.floats(&name(".bias"))).for_each(|(y, b)| *y += b);
        }
        for head in y.chunks_exact_mut(self.file.config.head_dim as usize) {
            if self.file.tensors.contains_key(&name("_norm.weight")) {
                head.copy_from_slice(&self.norm(&name("_norm.weight"), head));
            }
            position.into_iter().for_each(|position| self.turn(head, position));
        }
        y
    }

    fn turn(&self, head: &mut [f64], position: usize) {
        let (d, c) = (head.len(), &self.file.config);
        let float = |bits| f64::from(f32::from_bits(bits));
        for i in 0..d / 2 {
            let frequency = float(c.rope_base).powf(-2.0 * i as f64 / d as f64) / float(c.rope_scaling);
            let (sin, cos) = (position as f64 * frequency).sin_cos();
            let (a, b) =
                if c.architecture == Architecture::Llama { (2 * i, 2 * i + 1) } else { (i, i + d / 2) };
            (head[a], head[b]) = (head[a] * cos - head[b] * sin, head[a] * sin + head[b] * cos);
        }
    }

    fn head(&self, layer: usize, head: usize, q: &[f64]) -> Vec<f64> {
        let c = &self.file.config;
        let d = c.head_dim as usize;
        let at = head / (c.heads / c.kv_heads) as usize * d;
        let slice = |v: &Vec<f64>| v[at..at + d].to_vec();
        let dot = |k: &Vec<f64>| slice(k).iter().zip(q).map(|(k, q)| k * q).sum::<f64>() / (d as f64).sqrt();
        let weights: Vec<f64> = self.keys[layer].iter().map(|k| dot(k).exp()).collect();
        let total: f64 = weights.iter().sum();
        (0..d)
            .map(|j| weights.iter().zip(&self.values[layer]).map(|(w, v)| w / total * slice(v)[j]).sum())
            .collect()
    }

    fn layer(&mut self, layer: usize, x: &mut [f64]) {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let position = self.keys[layer].len();
        let input = self.norm(&name("attn_norm"), x);
        let q = self.heads(layer, "attn_q", &input, Some(position));
        let k = self.heads(layer, "attn_k", &input, Some(position));
        self.keys[layer].push(k);
        let v = self.heads(layer, "attn_v", &input, None);
        self.values[layer].push(v);
        let heads = q.chunks_exact(self.file.config.head_dim as usize).enumerate();
        let joined: Vec<f64> = heads.flat_map(|(h, q)| self.head(layer, h, q)).collect();
        x.iter_mut().zip(self.product(&name("attn_output"), &joined)).for_each(|(x, y)| *x += y);
        let input = self.norm(&name("ffn_norm"), x);
        let gate = self.product(&name("ffn_gate"), &input);
        let up = self.product(&name("ffn_up"), &input);
        let gated: Vec<f64> = gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
        x.iter_mut().zip(self.product(&name("ffn_down"), &gated)).for_each(|(x, y)| *x += y);
    }

    fn forward(&mut self, token: u32) -> Vec<f64> {
        let width = self.file.config.width as usize;
        let mut x = self.file.floats("token_embd.weight")[token as usize * width..][..width].to_vec();
        (0..self.file.config.layers as usize).for_each(|layer| self.layer(layer, &mut x));
        let normed = self.norm("output_norm.weight", &x);
        self.product("token_embd.weight", &normed)
    }
}

#[test]
fn the_forward_pass_agrees_with_floats() {
    for (config, seed) in [SMALL, SMALL, SMALL].into_iter().chain(VARIANTS).zip(1..) {
        let file = File::seeded(config, seed);
        let weights = file.load().expect("a sound file");
        let (mut exact, mut floats) = (Reference::new(&weights), Floats::new(&file));
        for position in 0..SMALL.context {
            let token = position * 7 % SMALL.vocab;
            let step = exact.forward(token).expect("a token of the vocabulary");
            let got: Vec<f64> = step.logits.iter().map(|&l| f64::from(l) / 65536.0).collect();
            let expected = floats.forward(token);
            let error = distance(&got, &expected) / peak(&expected);
            // What 12-bit scales cost a model as small as this; an operator gone wrong costs a hundred times more.
            assert!(error < 5e-3, "seed {seed}, position {position}: {error}");
        }
        assert_eq!(exact.forward(0), Err(StepError::ContextFull { context: SMALL.context }));
    }
}

#[test]
fn factors_of_the_file_divide_the_frequencies() {
    let logits = |file: &File| {
        let weights = file.load().expect("a sound file");
        let mut sequence = Reference::new(&weights);
        [1, 2, 3].map(|token| sequence.forward(token).expect("in the vocabulary").logits)
    };
    let with = |factors: [f32; 4]| {
        let mut file = File::seeded(SMALL, 8);
        let bytes = factors.iter().flat_map(|f| f.to_le_bytes()).collect();
        let stored = Stored { kind: BlockType::F32, rows: 1, columns: 4, bytes };
        file.tensors.insert("rope_freqs.weight".to_owned(), stored);
        file
    };
    let scaled = |file: File| File { config: LlamaConfig { rope_scaling: 4f32.to_bits(), ..SMALL }, ..file };
    assert_eq!(logits(&with([1.0; 4])), logits(&File::seeded(SMALL, 8)));
    assert_eq!(logits(&with([4.0; 4])), logits(&scaled(File::seeded(SMALL, 8))));
    assert_ne!(logits(&with([1.0, 1.0, 2.0, 8.0])), logits(&File::seeded(SMALL, 8)));
    let wrong = with([1.0, 0.5, 1.0, 1.0]).load().expect_err("a factor below 1");
    assert_eq!(wrong, LoadError::Config(ConfigError::RopeScaling(0.5f32.to_bits())));
}

#[test]
fn a_token_depends_on_those_before_it_only() {
    let file = File::seeded(SMALL, 4);
    let weights = file.load().expect("a sound file");
    let run = |tokens: &[u32]| -> Vec<_> {
        let mut sequence = Reference::new(&weights);
        tokens.iter().map(|&t| sequence.forward(t).expect("a token of the vocabulary")).collect()
    };
    let (first, second) = (run(&[1, 2, 3, 4]), run(&[1, 2, 9, 4]));
    assert_eq!(first[..2], second[..2]);
    assert!(first[2] != second[2] && first[3] != second[3]);
}

#[test]
fn an_untied_output_matrix_is_used() {
    let mut file = File::seeded(SMALL, 5);
    let tied = Reference::new(&file.load().expect("a sound file")).forward(3).expect("in the vocabulary");
    let mut output = file.tensors["token_embd.weight"].clone();
    output.bytes.rotate_left(BlockType::Q8_0.group_bytes());
    file.tensors.insert("output.weight".to_owned(), output);
    let untied = Reference::new(&file.load().expect("a sound file")).forward(3).expect("in the vocabulary");
    assert_eq!((untied.logits[0], &untied.checksums), (tied.logits[1], &tied.checksums));
}

#[test]
fn tokens_outside_the_vocabulary_leave_the_sequence_as_it_was() {
    let file = File::seeded(SMALL, 6);
    let weights = file.load().expect("a sound file");
    let mut sequence = Reference::new(&weights);
    assert_eq!(sequence.forward(24), Err(StepError::Token { token: 24, vocab: 24 }));
    assert_eq!(sequence.position(), 0);
    assert_eq!(sequence.forward(23), Reference::new(&weights).forward(23));
}

#[test]
fn bad_files_are_refused_by_tensor_name() {
    let sound = File::seeded(SMALL, 7);
    let refuse = |change: fn(&mut File)| {
        let mut file = sound.clone();
        change(&mut file);
        file.load().expect_err("the file is bad")
    };
    let name = || "blk.1.attn_k.weight".to_owned();
    assert_eq!(
        refuse(|f| drop(f.tensors.remove("blk.1.attn_k.weight"))),
        LoadError::Missing { name: name() }
    );
    assert_eq!(
        refuse(|f| f.tensors.get_mut("blk.1.attn_k.weight").expect("is there").rows = 17),
        LoadError::Shape { name: name(), expected: (16, 32), actual: (17, 32) }
    );
    assert_eq!(
        refuse(|f| f.tensors.get_mut("blk.1.attn_k.weight").expect("is there").bytes[21] = 0x7c),
        LoadError::Weights { name: name(), source: WeightsError::NotFinite { row: 1, block: 0 } }
    );
    let norm = "output_norm.weight".to_owned();
    assert_eq!(
        refuse(|f| f.tensors.get_mut("output_norm.weight").expect("is there").kind = BlockType::Q8_0),
        LoadError::VectorType { name: norm, kind: BlockType::Q8_0 }
    );
    let config = refuse(|f| f.config.width = 33);
    assert_eq!(config, LoadError::Config(ConfigError::Multiple { name: "width", value: 33, of: 32 }));
}

/// Bytes in which every float is finite and any magnitude is as likely as any other.
fn wild(seeded: &mut Seeded, kind: BlockType, rows: usize, columns: usize) -> Vec<u8> {
    let mut bytes = seeded.bytes(rows * columns / 32 * kind.group_bytes());
    for block in bytes.chunks_exact_mut(kind.group_bytes()) {
        let high_bytes: &[usize] = match kind {
            BlockType::Q4_1 => &[1, 3],
            BlockType::Q8_0 => &[1],
            _ => &[],
        };
        for &at in high_bytes {
            block[at] ^= if block[at] & 0x7c == 0x7c { 0x04 } else { 0 };
        }
    }
    if kind == BlockType::F32 {
        bytes.chunks_exact_mut(4).filter(|w| w[3] & 0x7f == 0x7f).for_each(|w| w[3] ^= 1);
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_finite_weights_overflow(seed: u64, variant in 0..4usize) {
        let mut seeded = Seeded::new(seed);
        let config = [SMALL].into_iter().chain(VARIANTS).nth(variant).expect("there are four");
        let file = File::build(config, |_, kind, rows, columns| wild(&mut seeded, kind, rows, columns));
        let weights = file.load().expect("every float is finite");
        let mut sequence = Reference::new(&weights);
        for token in [0, 23, 5] {
            let step = sequence.forward(token).expect("a token of the vocabulary");
            prop_assert!(step.logits.iter().all(|&l| l != i32::MIN));
        }
    }

    #[test]
    fn weights_of_one_magnitude_do_not_overflow(
        bits in 0u32..0x7f80_0000,
        half in 0u16..0x7c00,
        variant in 0..4usize,
    ) {
        let config = [SMALL].into_iter().chain(VARIANTS).nth(variant).expect("there are four");
        let file = File::build(config, |_, kind, rows, columns| {
            let half = half.to_le_bytes();
            let block = match kind {
                BlockType::Q4_1 => [&half[..], &half, &[0xf0; 16]].concat(),
                BlockType::Q8_0 => [&half[..], &[0x80; 32]].concat(),
                _ => bits.to_le_bytes().repeat(32),
            };
            block.repeat(rows * columns / 32)
        });
        let weights = file.load().expect("every float is finite");
        let step = Reference::new(&weights).forward(1).expect("a token of the vocabulary");
        prop_assert_eq!(step.checksums.len(), 2);
    }
}
