//! All weights of a model, coded and laid out at load, with the entries of the model's manifest.

use gridhour_protocol::{
    exact::llama::LlamaConfig,
    model::{Digest, RowCodes, RowType, TensorEntry, TreeBuilder, WeightRow},
};
use thiserror::Error;

use super::{
    coding::{CodedRow, Coding, Form, Kind},
    head_form::HeadForm,
    matrix::{Matrix, MatrixError},
    norm_weights::{HeadNorm, NormWeights},
    row_weights::RowWeights,
    source::{SourceTensor, TensorSource},
};
use crate::model::gguf::GgufError;

/// Why a tensor was refused. But for the last two, the file is at fault.
#[derive(Debug, Error)]
pub enum WeightsError {
    /// The file has no such tensor.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A tensor cannot be computed with.
    #[error("tensor {name:?}: {reason}; the file is damaged or not for this program")]
    Tensor {
        /// Its name in the file.
        name: String,
        /// What is wrong.
        reason: MatrixError,
    },
    /// There is no memory to make a tensor in.
    #[error("there are no {bytes} bytes left for tensor {name:?}: give the engine less to hold")]
    NoMemory {
        /// Its name.
        name: String,
        /// Its bytes.
        bytes: usize,
    },
    /// Whoever wanted the model does not want it any more.
    #[error("loading was given up")]
    GivenUp,
}

/// Matrices and norms of one layer, named as in the file, and what happens to its heads.
#[derive(Debug)]
#[expect(missing_docs, reason = "the names are those of the file format")]
pub struct Layer {
    pub query_form: HeadForm,
    pub key_form: HeadForm,
    pub value_form: HeadForm,
    pub attn_norm: NormWeights,
    pub attn_q: Matrix,
    pub attn_k: Matrix,
    pub attn_v: Matrix,
    pub attn_output: Matrix,
    pub ffn_norm: NormWeights,
    pub ffn_gate: Matrix,
    pub ffn_up: Matrix,
    pub ffn_down: Matrix,
}

impl Layer {
    /// Codes one layer of a source alone.
    ///
    /// # Errors
    /// [`WeightsError`], naming the tensor.
    pub(crate) fn load(
        source: &dyn TensorSource,
        config: &LlamaConfig,
        index: u32,
    ) -> Result<Self, WeightsError> {
        Loader::new(source, config).layer(index)
    }

    /// Codes the norm with which a layer of a source begins.
    ///
    /// # Errors
    /// As [`Layer::load`].
    pub(crate) fn load_first_norm(
        source: &dyn TensorSource,
        config: &LlamaConfig,
        index: u32,
    ) -> Result<NormWeights, WeightsError> {
        Loader::new(source, config).norm(&attn_norm(index))
    }
}

/// The weights of a model.
#[derive(Debug)]
pub struct Weights {
    /// One row a token.
    pub embedding: Matrix,
    /// The layers, in order.
    pub layers: Vec<Layer>,
    /// The norm before the output.
    pub output_norm: NormWeights,
    output: Option<Matrix>,
}

impl Weights {
    /// Codes the tensors of a source whose shapes were checked against `config`; also gives the tensors'
    /// manifest entries.
    ///
    /// # Errors
    /// [`WeightsError`], naming the tensor.
    pub fn load(
        source: &dyn TensorSource,
        config: &LlamaConfig,
    ) -> Result<(Self, Vec<TensorEntry>), WeightsError> {
        let mut loader = Loader::new(source, config);
        let weights = Self {
            embedding: loader.matrix("token_embd.weight")?,
            layers: (0..config.layers).map(|layer| loader.layer(layer)).collect::<Result<_, _>>()?,
            output_norm: loader.norm("output_norm.weight")?,
            output: match source.is_tied() {
                true => None,
                false => Some(loader.matrix("output.weight")?),
            },
        };
        Ok((weights, loader.entries))
    }

    /// The weights before and behind the layers of a model whose embedding also gives logits.
    ///
    /// # Errors
    /// [`WeightsError`], naming the tensor.
    pub(crate) fn ends(source: &dyn TensorSource, config: &LlamaConfig) -> Result<Self, WeightsError> {
        let mut loader = Loader::new(source, config);
        let embedding = loader.matrix("token_embd.weight")?;
        Ok(Self::from_parts(embedding, Vec::new(), loader.norm("output_norm.weight")?))
    }

    /// The weights of a model whose embedding also gives logits.
    pub(crate) fn from_parts(embedding: Matrix, layers: Vec<Layer>, output_norm: NormWeights) -> Self {
        Self { embedding, layers, output_norm, output: None }
    }

    /// The matrix that gives logits: the embedding's, where the file has no other.
    pub fn output(&self) -> &Matrix {
        self.output.as_ref().unwrap_or(&self.embedding)
    }

    /// Whether the embedding is that matrix.
    pub fn is_tied(&self) -> bool {
        self.output.is_none()
    }

    /// Bytes held in memory by the matrices.
    pub fn bytes(&self) -> usize {
        let layer = |l: &Layer| {
            [&l.attn_q, &l.attn_k, &l.attn_v, &l.attn_output, &l.ffn_gate, &l.ffn_up, &l.ffn_down]
                .map(Matrix::bytes)
                .iter()
                .sum::<usize>()
        };
        let output = self.output.as_ref().map_or(0, Matrix::bytes);
        self.embedding.bytes() + output + self.layers.iter().map(layer).sum::<usize>()
    }
}

struct Loader<'a> {
    source: &'a dyn TensorSource,
    config: &'a LlamaConfig,
    eps: f32,
    entries: Vec<TensorEntry>,
}

impl<'a> Loader<'a> {
    fn new(source: &'a dyn TensorSource, config: &'a LlamaConfig) -> Self {
        Self { source, config, eps: f32::from_bits(config.epsilon), entries: Vec::new() }
    }

    fn layer(&mut self, layer: u32) -> Result<Layer, WeightsError> {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        Ok(Layer {
            query_form: self.head_form(layer, "attn_q", true)?,
            key_form: self.head_form(layer, "attn_k", true)?,
            value_form: self.head_form(layer, "attn_v", false)?,
            attn_norm: self.norm(&attn_norm(layer))?,
            attn_q: self.matrix(&name("attn_q"))?,
            attn_k: self.matrix(&name("attn_k"))?,
            attn_v: self.matrix(&name("attn_v"))?,
            attn_output: self.matrix(&name("attn_output"))?,
            ffn_norm: self.norm(&name("ffn_norm"))?,
            ffn_gate: self.matrix(&name("ffn_gate"))?,
            ffn_up: self.matrix(&name("ffn_up"))?,
            ffn_down: self.matrix(&name("ffn_down"))?,
        })
    }

    /// What happens to the heads of one part of a layer; values are never normed.
    fn head_form(&mut self, layer: u32, part: &str, may_be_normed: bool) -> Result<HeadForm, WeightsError> {
        if self.config.architecture.has_biases() {
            return Ok(HeadForm::Biased(self.row(&format!("blk.{layer}.{part}.bias"))?));
        }
        if self.config.architecture.has_head_norms() && may_be_normed {
            let weights = self.row(&format!("blk.{layer}.{part}_norm.weight"))?;
            return Ok(HeadForm::Normed(HeadNorm::new(weights, self.eps)));
        }
        Ok(HeadForm::Plain)
    }

    fn matrix(&mut self, name: &str) -> Result<Matrix, WeightsError> {
        let tensor = self.source.tensor(name)?;
        let kind = tensor.kind;
        let built = Matrix::build(kind, tensor.rows, tensor.cols, &tensor.bytes, |row| leaf(kind, row));
        let (matrix, leaves) = built.map_err(|reason| refused(name, reason))?;
        self.enter(name, &tensor, matrix.exponent(), leaves);
        Ok(matrix)
    }

    fn norm(&mut self, name: &str) -> Result<NormWeights, WeightsError> {
        let tensor = self.source.tensor(name)?;
        let built = NormWeights::build(tensor.cols, &tensor.bytes, self.eps, |row| leaf(Kind::F32, row));
        let (norm, leaf) = built.map_err(|reason| refused(name, reason))?;
        self.enter(name, &tensor, norm.matrix_exponent, vec![leaf]);
        Ok(norm)
    }

    fn row(&mut self, name: &str) -> Result<RowWeights, WeightsError> {
        let tensor = self.source.tensor(name)?;
        let built = RowWeights::build(tensor.cols, &tensor.bytes, |row| leaf(Kind::F32, row));
        let (row, leaf) = built.map_err(|reason| refused(name, reason))?;
        self.enter(name, &tensor, row.matrix_exponent, vec![leaf]);
        Ok(row)
    }

    fn enter(&mut self, name: &str, tensor: &SourceTensor<'_>, exponent: i32, leaves: Vec<Digest>) {
        let mut tree = TreeBuilder::new();
        tree.extend(leaves);
        self.entries.push(TensorEntry {
            name: name.to_owned(),
            ty: row_type(tensor.kind),
            // Sources bound both by 2^24; exponents of finite floats are below 2^9.
            rows: tensor.rows as u32,
            cols: tensor.cols as u32,
            exponent: exponent as i16,
            root: tree.root().unwrap_or_default(),
        });
    }
}

/// Name of the norm with which a layer begins.
fn attn_norm(layer: u32) -> String {
    format!("blk.{layer}.attn_norm.weight")
}

fn refused(name: &str, reason: MatrixError) -> WeightsError {
    WeightsError::Tensor { name: name.to_owned(), reason }
}

fn row_type(kind: Kind) -> RowType {
    RowType::from_code(kind.code()).expect("both are the types that the format numbers and numerics v1 takes")
}

/// The leaf of one row in its tensor's tree.
fn leaf(kind: Kind, row: &CodedRow) -> Digest {
    let with = |codes: RowCodes<'_>| {
        let (kd, km) = (row.scale_exponent as i16, row.minimum_exponent as i16);
        WeightRow { ty: row_type(kind), kd, km, scales: &row.scales, mins: &row.minima, codes }.leaf()
    };
    let Coding { form, offset, .. } = kind.coding();
    match form {
        Form::Words => with(RowCodes::Words(&row.codes)),
        Form::Bytes => with(RowCodes::Bytes(&row.codes.iter().map(|c| *c as i8).collect::<Vec<_>>())),
        Form::Nibbles => {
            let pairs = row.codes.as_chunks::<2>().0.iter();
            let byte = |[low, high]: &[i16; 2]| ((low + offset) | (high + offset) << 4) as u8;
            with(RowCodes::Nibbles(&pairs.map(byte).collect::<Vec<_>>()))
        }
    }
}
