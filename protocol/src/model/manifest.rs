//! The top leaves of a model's tree: all that a peer without the weights can know of it.

use thiserror::Error;

use super::{
    MANIFEST_BYTES_MAX, ModelId, TENSOR_DIM_MAX, TENSOR_NAME_MAX, TENSORS_MAX,
    bytes::{MalformedBytes, Reader, put_count, put_text},
    row::RowType,
    tree::{Digest, TreeBuilder},
};
use crate::exact::llama::{Architecture, LlamaConfig, ROPE_UNSCALED};

const FACTS_CONTEXT: &str = "gridhour model facts v1";
const TENSOR_CONTEXT: &str = "gridhour model tensor v1";
const TEMPLATE_CONTEXT: &str = "gridhour chat template v1";
/// Added to the first byte of the facts' encoding, the architecture, where the rotary embedding is scaled: the
/// factor then follows the other numbers.
const SCALED: u8 = 0x80;
/// Bytes of a tensor's entry with an empty name.
const TENSOR_LEAST: usize = 4 + 1 + 4 + 4 + 2 + 32;

/// What a model is beside its weights.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// Version of the arithmetic that the rows are coded for.
    pub numerics_version: u16,
    /// Hyperparameters.
    pub config: LlamaConfig,
    /// Digest of the rope and exponential tables.
    pub tables: Digest,
    /// Digest of the [`TokenizerAsset`](super::TokenizerAsset).
    pub tokenizer: Digest,
    /// [`chat_template_digest`] of the file's template, of the empty text if it has none.
    pub chat_template: Digest,
}

/// One tensor: what it is, and the root over its rows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorEntry {
    /// Name in the model file.
    pub name: String,
    /// How its rows are coded.
    pub ty: RowType,
    /// Rows.
    pub rows: u32,
    /// Columns.
    pub cols: u32,
    /// The exponent X of the matrix (NUMERICS, section 2).
    pub exponent: i16,
    /// Root over the rows' leaves.
    pub root: Digest,
}

/// The content of all top leaves, tensors in the order of their names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    facts: Facts,
    tensors: Vec<TensorEntry>,
}

/// A manifest that no model can have.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ManifestError {
    /// More tensors than the bound.
    #[error("a model has at most {max} tensors, this one {0}", max = TENSORS_MAX)]
    TooManyTensors(usize),
    /// A name twice, or longer than the bound, or a shape outside the bounds.
    #[error("tensor {0:?} appears twice, or its name or shape is outside the bounds")]
    Tensor(String),
}

/// Digest of a chat template's text.
pub fn chat_template_digest(template: &str) -> Digest {
    blake3::derive_key(TEMPLATE_CONTEXT, template.as_bytes())
}

impl Facts {
    fn put(&self, out: &mut Vec<u8>) {
        let scaled = if self.config.rope_scaling == ROPE_UNSCALED { 0 } else { SCALED };
        out.push(architecture_code(self.config.architecture) | scaled);
        out.extend_from_slice(&self.numerics_version.to_le_bytes());
        put_config(out, &self.config);
        for digest in [&self.tables, &self.tokenizer, &self.chat_template] {
            out.extend_from_slice(digest);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, MalformedBytes> {
        let first = reader.u8()?;
        let is_scaled = first & SCALED != 0;
        let known = |architecture: &Architecture| architecture_code(*architecture) == first & !SCALED;
        let architecture =
            Architecture::ALL.into_iter().find(known).ok_or(MalformedBytes("the architecture is unknown"))?;
        Ok(Self {
            numerics_version: reader.u16()?,
            config: read_config(reader, architecture, is_scaled)?,
            tables: reader.array()?,
            tokenizer: reader.array()?,
            chat_template: reader.array()?,
        })
    }

    fn leaf(&self) -> Digest {
        let mut bytes = Vec::new();
        self.put(&mut bytes);
        blake3::derive_key(FACTS_CONTEXT, &bytes)
    }
}

fn architecture_code(architecture: Architecture) -> u8 {
    match architecture {
        Architecture::Llama => 0,
        Architecture::Qwen2 => 1,
        Architecture::Qwen3 => 2,
    }
}

fn put_config(out: &mut Vec<u8>, config: &LlamaConfig) {
    let LlamaConfig { layers, width, heads, kv_heads, head_dim, ffn, vocab, context, .. } = *config;
    let LlamaConfig { rope_base, rope_scaling, epsilon, .. } = *config;
    for number in [layers, width, heads, kv_heads, head_dim, ffn, vocab, context, rope_base, epsilon] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    if rope_scaling != ROPE_UNSCALED {
        out.extend_from_slice(&rope_scaling.to_le_bytes());
    }
}

fn read_config(
    reader: &mut Reader<'_>,
    architecture: Architecture,
    is_scaled: bool,
) -> Result<LlamaConfig, MalformedBytes> {
    let mut config = LlamaConfig {
        architecture,
        layers: reader.u32()?,
        width: reader.u32()?,
        heads: reader.u32()?,
        kv_heads: reader.u32()?,
        head_dim: reader.u32()?,
        ffn: reader.u32()?,
        vocab: reader.u32()?,
        context: reader.u32()?,
        rope_base: reader.u32()?,
        epsilon: reader.u32()?,
        rope_scaling: ROPE_UNSCALED,
    };
    if is_scaled {
        config.rope_scaling = reader.u32()?;
        if config.rope_scaling == ROPE_UNSCALED {
            return Err(MalformedBytes("a rotary embedding is said to be scaled, by 1"));
        }
    }
    config.check().map_err(|_| MalformedBytes("the hyperparameters are outside their bounds"))?;
    Ok(config)
}

impl TensorEntry {
    fn put(&self, out: &mut Vec<u8>) {
        put_text(out, &self.name);
        out.push(self.ty.code());
        out.extend_from_slice(&self.rows.to_le_bytes());
        out.extend_from_slice(&self.cols.to_le_bytes());
        out.extend_from_slice(&self.exponent.to_le_bytes());
        out.extend_from_slice(&self.root);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, MalformedBytes> {
        let name = reader.text(TENSOR_NAME_MAX)?.to_owned();
        let ty = RowType::from_code(reader.u8()?).ok_or(MalformedBytes("a tensor's type is unknown"))?;
        let [rows, cols] = [reader.u32()?, reader.u32()?];
        Ok(Self { name, ty, rows, cols, exponent: reader.i16()?, root: reader.array()? })
    }

    /// The entry's leaf in the model's tree.
    pub(super) fn leaf(&self) -> Digest {
        let mut bytes = Vec::new();
        self.put(&mut bytes);
        blake3::derive_key(TENSOR_CONTEXT, &bytes)
    }

    fn is_bounded(&self) -> bool {
        let size = 1..=TENSOR_DIM_MAX;
        self.name.len() <= TENSOR_NAME_MAX && size.contains(&self.rows) && size.contains(&self.cols)
    }
}

impl Manifest {
    /// A manifest of these tensors, given in any order.
    ///
    /// # Errors
    /// [`ManifestError`] if there are too many, or one is a duplicate or outside the bounds.
    pub fn new(facts: Facts, mut tensors: Vec<TensorEntry>) -> Result<Self, ManifestError> {
        if tensors.len() > TENSORS_MAX {
            return Err(ManifestError::TooManyTensors(tensors.len()));
        }
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(twice) = tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(ManifestError::Tensor(twice[0].name.clone()));
        }
        if let Some(outside) = tensors.iter().find(|tensor| !tensor.is_bounded()) {
            return Err(ManifestError::Tensor(outside.name.clone()));
        }
        Ok(Self { facts, tensors })
    }

    /// What the model is beside its weights.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// All tensors, in the order of their names.
    pub fn tensors(&self) -> &[TensorEntry] {
        &self.tensors
    }

    /// Place in [`Manifest::tensors`] of the tensor called `name`.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.tensors.binary_search_by(|tensor| tensor.name.as_str().cmp(name)).ok()
    }

    /// The top leaves: the facts, then the tensors.
    pub(super) fn leaves(&self) -> Vec<Digest> {
        let tensors = self.tensors.iter().map(TensorEntry::leaf);
        std::iter::once(self.facts.leaf()).chain(tensors).collect()
    }

    /// The root over the top leaves.
    pub fn model_id(&self) -> ModelId {
        let mut tree = TreeBuilder::new();
        tree.push(self.facts.leaf());
        tree.extend(self.tensors.iter().map(TensorEntry::leaf));
        ModelId(tree.root().expect("the facts are a leaf"))
    }

    /// The manifest as bytes, at most [`MANIFEST_BYTES_MAX`].
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.facts.put(&mut out);
        put_count(&mut out, self.tensors.len());
        self.tensors.iter().for_each(|tensor| tensor.put(&mut out));
        out
    }

    /// Reads what [`Manifest::encode`] wrote. Whether it belongs to a model is for the caller to check, by
    /// comparing [`Manifest::model_id`].
    ///
    /// # Errors
    /// [`MalformedBytes`] for anything that no manifest encodes to.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedBytes> {
        let mut reader = Reader::new(bytes, MANIFEST_BYTES_MAX)?;
        let facts = Facts::read(&mut reader)?;
        let count = reader.count(TENSORS_MAX, TENSOR_LEAST)?;
        let mut tensors = Vec::with_capacity(count);
        for _ in 0..count {
            tensors.push(TensorEntry::read(&mut reader)?);
        }
        reader.finish()?;
        if !tensors.is_sorted_by(|a, b| a.name < b.name) {
            return Err(MalformedBytes("the tensors are not in the order of their names"));
        }
        Self::new(facts, tensors).map_err(|_| MalformedBytes("a tensor is outside the bounds"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    pub(in super::super) fn facts() -> Facts {
        let config = LlamaConfig {
            architecture: Architecture::Llama,
            layers: 2,
            width: 64,
            heads: 4,
            kv_heads: 2,
            head_dim: 16,
            ffn: 96,
            vocab: 300,
            context: 128,
            rope_base: 0x4700_0000,
            rope_scaling: ROPE_UNSCALED,
            epsilon: 0x3727_c5ac,
        };
        Facts { numerics_version: 1, config, tables: [1; 32], tokenizer: [2; 32], chat_template: [3; 32] }
    }

    fn entry() -> impl Strategy<Value = TensorEntry> {
        let ty = prop::sample::select(RowType::ALL.to_vec());
        ("[a-z.]{1,12}", ty, 1..=TENSOR_DIM_MAX, 1..=TENSOR_DIM_MAX, any::<i16>(), any::<[u8; 32]>())
            .prop_map(|(name, ty, rows, cols, exponent, root)| TensorEntry {
                name,
                ty,
                rows,
                cols,
                exponent,
                root,
            })
    }

    pub(in super::super) fn manifest() -> impl Strategy<Value = Manifest> {
        let architecture = prop::sample::select(Architecture::ALL.to_vec());
        let scaling = prop::sample::select(vec![ROPE_UNSCALED, 0x4100_0000]);
        let manifest = |(architecture, rope_scaling, tensors)| {
            let config = LlamaConfig { architecture, rope_scaling, head_dim: 32, ..facts().config };
            Manifest::new(Facts { config, ..facts() }, tensors).ok()
        };
        (architecture, scaling, vec(entry(), 1..12)).prop_filter_map("names differ", manifest)
    }

    proptest! {
        #[test]
        fn encoding_is_one_to_one(manifest in manifest()) {
            let bytes = manifest.encode();
            prop_assert!(bytes.len() <= MANIFEST_BYTES_MAX);
            prop_assert_eq!(Manifest::decode(&bytes), Ok(manifest));
        }

        #[test]
        fn a_changed_byte_is_another_model_or_none(manifest in manifest(), at in any::<prop::sample::Index>(),
                                                   flip in 1u8..) {
            let mut bytes = manifest.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(other) = Manifest::decode(&bytes) {
                prop_assert_ne!(other.model_id(), manifest.model_id());
                prop_assert_eq!(other.encode(), bytes);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..300)) {
            if let Ok(manifest) = Manifest::decode(&bytes) {
                prop_assert_eq!(manifest.encode(), bytes);
            }
        }

        #[test]
        fn order_of_tensors_does_not_matter(manifest in manifest()) {
            let mut tensors = manifest.tensors().to_vec();
            tensors.reverse();
            prop_assert_eq!(Manifest::new(*manifest.facts(), tensors), Ok(manifest));
        }
    }

    /// A file of the first architecture keeps the id that it had when there was no other.
    #[test]
    fn facts_begin_with_the_architecture_and_its_scaling() {
        let encoded = |config| {
            let mut bytes = Vec::new();
            Facts { config, ..facts() }.put(&mut bytes);
            (bytes[0], bytes.len())
        };
        let llama = facts().config;
        assert_eq!(encoded(llama), (0, 1 + 2 + 40 + 96));
        assert_eq!(encoded(LlamaConfig { architecture: Architecture::Qwen3, ..llama }), (2, 139));
        let scaled = LlamaConfig { architecture: Architecture::Qwen2, rope_scaling: 0x4000_0000, ..llama };
        assert_eq!(encoded(scaled), (0x81, 143));
    }

    #[test]
    fn a_scaling_by_one_is_not_written_out() {
        let mut facts = facts();
        facts.config.rope_scaling = 0x4000_0000;
        let mut bytes = Manifest::new(facts, Vec::new()).expect("no tensors").encode();
        bytes[43..47].copy_from_slice(&ROPE_UNSCALED.to_le_bytes());
        let refusal = MalformedBytes("a rotary embedding is said to be scaled, by 1");
        assert_eq!(Manifest::decode(&bytes), Err(refusal));
    }

    #[test]
    fn duplicates_and_impossible_shapes_are_refused_by_name() {
        let good =
            TensorEntry { name: "a".into(), ty: RowType::F32, rows: 1, cols: 1, exponent: 0, root: [0; 32] };
        let refused = |tensors| Manifest::new(facts(), tensors) == Err(ManifestError::Tensor("a".into()));
        assert!(refused(vec![good.clone(), good.clone()]));
        assert!(refused(vec![TensorEntry { rows: 0, ..good.clone() }]));
        assert!(refused(vec![TensorEntry { cols: TENSOR_DIM_MAX + 1, ..good.clone() }]));
    }

    #[test]
    fn a_claimed_count_allocates_nothing() {
        let mut bytes = Vec::new();
        facts().put(&mut bytes);
        put_count(&mut bytes, TENSORS_MAX);
        assert_eq!(Manifest::decode(&bytes), Err(super::super::bytes::CUT_SHORT));
    }
}
