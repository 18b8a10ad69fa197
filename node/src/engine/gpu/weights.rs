//! A model's weights in an adapter's memory.

use wgpu::Buffer;

use super::{
    super::{norm_weights::NormWeights, weights},
    context::{Gpu, GpuFault},
    matrix::{Matrices, upload_exponents},
};

/// The weights of a norm, with its constants.
#[derive(Debug)]
pub(super) struct Norm {
    pub(super) values: Buffer,
    pub(super) exponent: i32,
    pub(super) epsilon: [u32; 2],
}

/// One layer; matrices that take the same input are one.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) attn_norm: Norm,
    pub(super) attn_qkv: Matrices,
    pub(super) attn_output: Matrices,
    pub(super) ffn_norm: Norm,
    pub(super) ffn_gate_up: Matrices,
    pub(super) ffn_down: Matrices,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Weights {
    pub(super) embedding: Matrices,
    /// Exponents of the embedding's rows, part by part.
    pub(super) embedding_exponents: Vec<Buffer>,
    pub(super) layers: Vec<Layer>,
    pub(super) output_norm: Norm,
    output: Option<Matrices>,
}

impl Weights {
    /// Puts a model's weights into memory.
    ///
    /// # Errors
    /// [`GpuFault`], if there is no room.
    pub(super) fn upload(gpu: &Gpu, model: &weights::Weights) -> Result<Self, GpuFault> {
        let embedding = Matrices::upload(gpu, "token_embd", &[&model.embedding])?;
        let exponents = embedding.parts.iter().map(|part| upload_exponents(gpu, &model.embedding, part));
        let weights = Self {
            embedding_exponents: exponents.collect::<Result<_, _>>()?,
            embedding,
            layers: model.layers.iter().map(|layer| Layer::upload(gpu, layer)).collect::<Result<_, _>>()?,
            output_norm: Norm::upload(gpu, &model.output_norm)?,
            output: match model.is_tied() {
                true => None,
                false => Some(Matrices::upload(gpu, "output", &[model.output()])?),
            },
        };
        // What was written waits in memory of the host until a submission.
        gpu.submit(|_| ())?;
        Ok(weights)
    }

    /// The matrix that gives logits.
    pub(super) fn output(&self) -> &Matrices {
        self.output.as_ref().unwrap_or(&self.embedding)
    }

    /// Bytes of the adapter's memory that matrices take.
    pub(super) fn bytes(&self) -> u64 {
        let layer = |l: &Layer| {
            [&l.attn_qkv, &l.attn_output, &l.ffn_gate_up, &l.ffn_down]
                .map(Matrices::bytes)
                .iter()
                .sum::<u64>()
        };
        let output = self.output.as_ref().map_or(0, Matrices::bytes);
        self.embedding.bytes() + output + self.layers.iter().map(layer).sum::<u64>()
    }
}

impl Layer {
    fn upload(gpu: &Gpu, layer: &weights::Layer) -> Result<Self, GpuFault> {
        Ok(Self {
            attn_norm: Norm::upload(gpu, &layer.attn_norm)?,
            attn_qkv: Matrices::upload(gpu, "attn_qkv", &[&layer.attn_q, &layer.attn_k, &layer.attn_v])?,
            attn_output: Matrices::upload(gpu, "attn_output", &[&layer.attn_output])?,
            ffn_norm: Norm::upload(gpu, &layer.ffn_norm)?,
            ffn_gate_up: Matrices::upload(gpu, "ffn_gate_up", &[&layer.ffn_gate, &layer.ffn_up])?,
            ffn_down: Matrices::upload(gpu, "ffn_down", &[&layer.ffn_down])?,
        })
    }
}

impl Norm {
    fn upload(gpu: &Gpu, norm: &NormWeights) -> Result<Self, GpuFault> {
        let words: Vec<u32> = norm.values.iter().map(|value| *value as u32).collect();
        Ok(Self {
            values: gpu.storage_of("norm", &words)?,
            exponent: norm.exponent,
            epsilon: [norm.epsilon as u32, (norm.epsilon >> 32) as u32],
        })
    }
}
