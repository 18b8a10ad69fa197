//! Small model files from a seed: real GGUF bytes with random weights, so that most tests need no download.

mod quantise;
mod random;
mod requantise;
mod vocabulary;
mod writer;

use gridhour_node::model::gguf::{TensorType, Value};
use gridhour_protocol::exact::llama::Architecture;

pub use self::{
    quantise::encode_rows,
    requantise::requantise,
    vocabulary::{CHATML, MERGES, SPECIALS, VOCABULARY_LEAST, ZEPHYR},
    writer::{GgufWriter, RawTensor},
};
use self::{random::Random, vocabulary::put_tokenizer};

/// Which types the matrices of a made-up model have; norms and biases are always F32.
#[derive(Clone, Copy, Debug)]
pub enum Types {
    /// Those of a common file: Q8_0 embedding, Q4_1 elsewhere.
    Common,
    /// F32, Q8_0 and Q4_1.
    Mixed,
    /// One type for all.
    Only(TensorType),
}

/// How the frequencies of a made-up model's rotary embedding are scaled.
#[derive(Clone, Copy, Debug)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All divided by one factor.
    Linear(f32),
    /// The later a pair, the more, as in Llama 3.
    Factors,
}

/// A model to be made up.
#[derive(Clone, Debug)]
pub struct SmallModel {
    /// The architecture.
    pub architecture: Architecture,
    /// Decides every weight.
    pub seed: u64,
    /// Layers.
    pub layers: u32,
    /// Width of the residual stream, a multiple of 32.
    pub width: u32,
    /// Query heads.
    pub heads: u32,
    /// Key-value heads.
    pub kv_heads: u32,
    /// Width of a head; heads share the width evenly where it is not given.
    pub head_dim: Option<u32>,
    /// Width of the feed-forward layer, a multiple of 32.
    pub ffn: u32,
    /// Tokens, at least [`VOCABULARY_LEAST`].
    pub vocab: u32,
    /// Positions.
    pub context: u32,
    /// Whether logits come from the token embedding.
    pub tied: bool,
    /// Type of each matrix.
    pub types: Types,
    /// Scaling of the rotary embedding.
    pub rope_scaling: RopeScaling,
    /// Chat template of the file.
    pub template: &'static str,
}

impl SmallModel {
    /// Two layers, 64 wide, with the types of a common file: Q8_0 embedding, Q4_1 elsewhere.
    pub fn new(seed: u64) -> Self {
        Self {
            architecture: Architecture::Llama,
            seed,
            layers: 2,
            width: 64,
            heads: 4,
            kv_heads: 2,
            head_dim: None,
            ffn: 96,
            vocab: VOCABULARY_LEAST,
            context: 256,
            tied: true,
            types: Types::Common,
            rope_scaling: RopeScaling::None,
            template: CHATML,
        }
    }

    /// The same with every type in use and an output matrix of its own.
    pub fn mixed(seed: u64) -> Self {
        Self { tied: false, types: Types::Mixed, ..Self::new(seed) }
    }

    /// Two layers of an architecture with heads of 32, whose width is not that of the stream.
    pub fn of(architecture: Architecture, seed: u64) -> Self {
        Self { architecture, head_dim: Some(32), ..Self::mixed(seed) }
    }

    /// One layer that is wide enough for every type, all matrices being of this one.
    pub fn typed(architecture: Architecture, ty: TensorType, seed: u64) -> Self {
        let wide = Self { layers: 1, width: 256, ffn: 256, head_dim: Some(64), ..Self::new(seed) };
        Self { architecture, types: Types::Only(ty), ..wide }
    }

    /// The file.
    ///
    /// # Panics
    /// If the vocabulary is smaller than [`VOCABULARY_LEAST`], or the width is no multiple of the heads although
    /// these have none of their own.
    pub fn bytes(&self) -> Vec<u8> {
        self.writer().finish()
    }

    /// The file before its bytes are laid out, to be changed by a test.
    ///
    /// # Panics
    /// As [`SmallModel::bytes`].
    pub fn writer(&self) -> GgufWriter {
        let mut file = GgufWriter::default();
        self.put_numbers(&mut file);
        put_tokenizer(&mut file, self.vocab as usize, self.template);
        self.put_tensors(&mut file);
        file
    }

    fn head_dim(&self) -> u32 {
        self.head_dim.unwrap_or_else(|| {
            assert!(self.width.is_multiple_of(self.heads), "the heads share the width evenly");
            self.width / self.heads
        })
    }

    fn put_numbers(&self, file: &mut GgufWriter) {
        let name = self.architecture.name();
        let key = |end: &str| format!("{name}.{end}");
        file.meta("general.architecture", Value::Text(name.to_owned()));
        for (end, number) in [
            ("block_count", self.layers),
            ("embedding_length", self.width),
            ("attention.head_count", self.heads),
            ("attention.head_count_kv", self.kv_heads),
            ("feed_forward_length", self.ffn),
            ("context_length", self.context),
            ("vocab_size", self.vocab),
            ("rope.dimension_count", self.head_dim()),
        ] {
            file.meta(&key(end), Value::Uint(number.into()));
        }
        if let Some(head_dim) = self.head_dim {
            file.meta(&key("attention.key_length"), Value::Uint(head_dim.into()));
            file.meta(&key("attention.value_length"), Value::Uint(head_dim.into()));
        }
        file.meta(&key("rope.freq_base"), Value::F32(10_000.0));
        file.meta(&key("attention.layer_norm_rms_epsilon"), Value::F32(1e-5));
        if let RopeScaling::Linear(factor) = self.rope_scaling {
            file.meta(&key("rope.scaling.type"), Value::Text("linear".to_owned()));
            file.meta(&key("rope.scaling.factor"), Value::F32(factor));
        }
    }

    fn put_tensors(&self, file: &mut GgufWriter) {
        self.matrix(file, "token_embd.weight", self.vocab, self.width);
        self.norm(file, "output_norm.weight", self.width);
        if !self.tied {
            self.matrix(file, "output.weight", self.vocab, self.width);
        }
        if let RopeScaling::Factors = self.rope_scaling {
            let factors: Vec<f32> = (0..self.head_dim() / 2).map(|pair| 1.0 + 0.7 * pair as f32).collect();
            vector(file, "rope_freqs.weight", &factors);
        }
        (0..self.layers).for_each(|layer| self.put_layer(file, layer));
    }

    fn put_layer(&self, file: &mut GgufWriter, layer: u32) {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let (query, kv) = (self.head_dim() * self.heads, self.head_dim() * self.kv_heads);
        self.norm(file, &name("attn_norm.weight"), self.width);
        self.matrix(file, &name("attn_q.weight"), query, self.width);
        self.matrix(file, &name("attn_k.weight"), kv, self.width);
        self.matrix(file, &name("attn_v.weight"), kv, self.width);
        self.matrix(file, &name("attn_output.weight"), self.width, query);
        self.norm(file, &name("ffn_norm.weight"), self.width);
        self.matrix(file, &name("ffn_gate.weight"), self.ffn, self.width);
        self.matrix(file, &name("ffn_up.weight"), self.ffn, self.width);
        self.matrix(file, &name("ffn_down.weight"), self.width, self.ffn);
        match self.architecture {
            Architecture::Llama => {}
            Architecture::Qwen2 => {
                self.bias(file, &name("attn_q.bias"), query);
                self.bias(file, &name("attn_k.bias"), kv);
                self.bias(file, &name("attn_v.bias"), kv);
            }
            Architecture::Qwen3 => {
                self.norm(file, &name("attn_q_norm.weight"), self.head_dim());
                self.norm(file, &name("attn_k_norm.weight"), self.head_dim());
            }
        }
    }

    /// Weights of about the size that keeps a vector's length, so that signals neither fade nor explode.
    fn matrix(&self, file: &mut GgufWriter, name: &str, rows: u32, cols: u32) {
        let mut random = Random::new(self.seed, name);
        let spread = (cols as f32).sqrt().recip();
        let count = rows as usize * cols as usize;
        let weights: Vec<f32> = (0..count).map(|_| spread * random.normal()).collect();
        let ty = self.types.of(name);
        let dims = vec![cols.into(), rows.into()];
        file.tensor(RawTensor::new(name, ty, dims, encode_rows(ty, &weights)));
    }

    fn norm(&self, file: &mut GgufWriter, name: &str, count: u32) {
        let mut random = Random::new(self.seed, name);
        let weights: Vec<f32> = (0..count).map(|_| 1.0 + 0.2 * random.normal()).collect();
        vector(file, name, &weights);
    }

    /// Biases of the size of what they are added to, with some that stand out, as in files of this architecture.
    fn bias(&self, file: &mut GgufWriter, name: &str, count: u32) {
        let mut random = Random::new(self.seed, name);
        let weights: Vec<f32> =
            (0..count).map(|at| random.normal() * if at % 31 == 7 { 6.0 } else { 0.5 }).collect();
        vector(file, name, &weights);
    }
}

fn vector(file: &mut GgufWriter, name: &str, weights: &[f32]) {
    let ty = TensorType::F32;
    file.tensor(RawTensor::new(name, ty, vec![weights.len() as u64], encode_rows(ty, weights)));
}

impl Types {
    /// The type of the matrix called `name`.
    fn of(self, name: &str) -> TensorType {
        match (self, name.rsplit('.').nth(1)) {
            (Self::Only(ty), _) => ty,
            (Self::Common, Some("token_embd")) => TensorType::Q8_0,
            (Self::Mixed, Some("attn_q" | "ffn_down" | "output")) => TensorType::F32,
            (Self::Mixed, Some("attn_k" | "attn_output" | "ffn_up")) => TensorType::Q8_0,
            _ => TensorType::Q4_1,
        }
    }
}
