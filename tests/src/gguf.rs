//! Small model files from a seed: real GGUF bytes with random weights, so that most tests need no download.

mod quantise;
mod random;
mod vocabulary;
mod writer;

use gridhour_node::model::gguf::{TensorType, Value};

use self::{quantise::encode_rows, random::Random, vocabulary::put_tokenizer};
pub use self::{
    vocabulary::{CHATML, MERGES, SPECIALS, VOCABULARY_LEAST, ZEPHYR},
    writer::{GgufWriter, RawTensor},
};

/// A `llama` model to be made up.
#[derive(Clone, Debug)]
pub struct SmallModel {
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
    /// Width of the feed-forward layer, a multiple of 32.
    pub ffn: u32,
    /// Tokens, at least [`VOCABULARY_LEAST`].
    pub vocab: u32,
    /// Positions.
    pub context: u32,
    /// Whether logits come from the token embedding.
    pub tied: bool,
    /// Type of each matrix, by its name in the file; norms are always F32.
    pub types: fn(&str) -> TensorType,
    /// Chat template of the file.
    pub template: &'static str,
}

impl SmallModel {
    /// Two layers, 64 wide, with the types of a common file: Q8_0 embedding, Q4_1 elsewhere.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            layers: 2,
            width: 64,
            heads: 4,
            kv_heads: 2,
            ffn: 96,
            vocab: VOCABULARY_LEAST,
            context: 256,
            tied: true,
            types: common_types,
            template: CHATML,
        }
    }

    /// The same with every type in use and an output matrix of its own.
    pub fn mixed(seed: u64) -> Self {
        Self { tied: false, types: mixed_types, ..Self::new(seed) }
    }

    /// The file.
    ///
    /// # Panics
    /// If the vocabulary is smaller than [`VOCABULARY_LEAST`] or the width is no multiple of the heads.
    pub fn bytes(&self) -> Vec<u8> {
        self.writer().finish()
    }

    /// The file before its bytes are laid out, to be changed by a test.
    ///
    /// # Panics
    /// As [`SmallModel::bytes`].
    pub fn writer(&self) -> GgufWriter {
        assert!(self.width.is_multiple_of(self.heads), "the heads share the width evenly");
        let mut file = GgufWriter::default();
        self.put_numbers(&mut file);
        put_tokenizer(&mut file, self.vocab as usize, self.template);
        self.put_tensors(&mut file);
        file
    }

    fn put_numbers(&self, file: &mut GgufWriter) {
        let head_dim = self.width / self.heads;
        file.meta("general.architecture", Value::Text("llama".to_owned()));
        for (key, number) in [
            ("llama.block_count", self.layers),
            ("llama.embedding_length", self.width),
            ("llama.attention.head_count", self.heads),
            ("llama.attention.head_count_kv", self.kv_heads),
            ("llama.feed_forward_length", self.ffn),
            ("llama.context_length", self.context),
            ("llama.vocab_size", self.vocab),
            ("llama.rope.dimension_count", head_dim),
        ] {
            file.meta(key, Value::Uint(number.into()));
        }
        file.meta("llama.rope.freq_base", Value::F32(10_000.0));
        file.meta("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5));
    }

    fn put_tensors(&self, file: &mut GgufWriter) {
        let kv_width = self.width / self.heads * self.kv_heads;
        self.matrix(file, "token_embd.weight", self.vocab, self.width);
        self.norm(file, "output_norm.weight");
        if !self.tied {
            self.matrix(file, "output.weight", self.vocab, self.width);
        }
        for layer in 0..self.layers {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            self.norm(file, &name("attn_norm"));
            self.matrix(file, &name("attn_q"), self.width, self.width);
            self.matrix(file, &name("attn_k"), kv_width, self.width);
            self.matrix(file, &name("attn_v"), kv_width, self.width);
            self.matrix(file, &name("attn_output"), self.width, self.width);
            self.norm(file, &name("ffn_norm"));
            self.matrix(file, &name("ffn_gate"), self.ffn, self.width);
            self.matrix(file, &name("ffn_up"), self.ffn, self.width);
            self.matrix(file, &name("ffn_down"), self.width, self.ffn);
        }
    }

    /// Weights of about the size that keeps a vector's length, so that signals neither fade nor explode.
    fn matrix(&self, file: &mut GgufWriter, name: &str, rows: u32, cols: u32) {
        let mut random = Random::new(self.seed, name);
        let spread = (cols as f32).sqrt().recip();
        let count = rows as usize * cols as usize;
        let weights: Vec<f32> = (0..count).map(|_| spread * random.normal()).collect();
        let ty = (self.types)(name);
        let dims = vec![cols.into(), rows.into()];
        file.tensor(RawTensor::new(name, ty, dims, encode_rows(ty, &weights)));
    }

    fn norm(&self, file: &mut GgufWriter, name: &str) {
        let mut random = Random::new(self.seed, name);
        let weights: Vec<f32> = (0..self.width).map(|_| 1.0 + 0.2 * random.normal()).collect();
        let ty = TensorType::F32;
        file.tensor(RawTensor::new(name, ty, vec![self.width.into()], encode_rows(ty, &weights)));
    }
}

fn common_types(name: &str) -> TensorType {
    if name == "token_embd.weight" { TensorType::Q8_0 } else { TensorType::Q4_1 }
}

fn mixed_types(name: &str) -> TensorType {
    match name.rsplit('.').nth(1) {
        Some("attn_q" | "ffn_down" | "output") => TensorType::F32,
        Some("attn_k" | "attn_output" | "ffn_up") => TensorType::Q8_0,
        _ => TensorType::Q4_1,
    }
}
