//! A model's weights in an adapter's memory.

use wgpu::Buffer;

use super::{
    super::{fixed::Scale, head_form::HeadForm, norm_weights::NormWeights, weights},
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
    pub(super) head_forms: Option<HeadForms>,
    pub(super) attn_output: Matrices,
    pub(super) ffn_norm: Norm,
    pub(super) ffn_gate_up: Matrices,
    pub(super) ffn_down: Matrices,
}

/// Biases or norms of the heads of a layer.
#[derive(Debug)]
pub(super) struct HeadForms {
    /// Those of queries, keys and values, one behind the other.
    pub(super) weights: Buffer,
    /// The kernel's parameters from the first rows on.
    pub(super) params: Vec<u32>,
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
        let attn_qkv = Matrices::upload(gpu, "attn_qkv", &[&layer.attn_q, &layer.attn_k, &layer.attn_v])?;
        Ok(Self {
            attn_norm: Norm::upload(gpu, &layer.attn_norm)?,
            head_forms: HeadForms::upload(gpu, layer, &attn_qkv)?,
            attn_qkv,
            attn_output: Matrices::upload(gpu, "attn_output", &[&layer.attn_output])?,
            ffn_norm: Norm::upload(gpu, &layer.ffn_norm)?,
            ffn_gate_up: Matrices::upload(gpu, "ffn_gate_up", &[&layer.ffn_gate, &layer.ffn_up])?,
            ffn_down: Matrices::upload(gpu, "ffn_down", &[&layer.ffn_down])?,
        })
    }
}

impl HeadForms {
    /// Nothing where the architecture does nothing with heads.
    fn upload(gpu: &Gpu, layer: &weights::Layer, qkv: &Matrices) -> Result<Option<Self>, GpuFault> {
        let forms = [&layer.query_form, &layer.key_form, &layer.value_form];
        if forms.iter().all(|form| **form == HeadForm::Plain) {
            return Ok(None);
        }
        let firsts: Vec<u32> = qkv.members.iter().map(|(first, _)| *first).collect();
        let exponents: Vec<i32> = qkv.members.iter().map(|(_, exponent)| *exponent).collect();
        let (params, weights) = form_words(&forms, &firsts, &exponents);
        Ok(Some(Self { weights: gpu.storage_of("weights of heads", &weights)?, params }))
    }
}

/// The parameters of `head_form.wgsl` from the first rows on, and the weights of all forms.
pub(super) fn form_words(forms: &[&HeadForm], firsts: &[u32], exponents: &[i32]) -> (Vec<u32>, Vec<u32>) {
    let mut weights: Vec<u32> = Vec::new();
    let mut columns: [Vec<u32>; 5] = Default::default();
    for form in forms {
        let (kind, row, epsilon) = match form {
            HeadForm::Plain => (0, None, Scale::ZERO),
            HeadForm::Biased(biases) => (1, Some(biases), Scale::ZERO),
            HeadForm::Normed(norm) => (2, Some(&norm.weights), norm.epsilon),
        };
        let exponent = row.map_or(0, |row| row.exponent);
        let entries = [kind, weights.len() as u32, exponent as u32, epsilon.m, epsilon.e as u32];
        columns.iter_mut().zip(entries).for_each(|(column, entry)| column.push(entry));
        weights.extend(row.iter().flat_map(|row| &row.values).map(|value| *value as u32));
    }
    let exponents = exponents.iter().map(|exponent| *exponent as u32).collect();
    let all = [firsts.to_vec(), exponents].into_iter().chain(columns);
    // Each is a vector of four, of which the last is not read.
    (all.flat_map(|three| three.into_iter().chain([0])).collect(), weights)
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
