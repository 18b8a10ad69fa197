//! The forward pass, one token at a time.

use super::{LayerWeights, LlamaConfig, LlamaWeights};
use crate::exact::{
    a15::{A15, Scaled},
    attend::{attend, join_heads},
    bias::add_bias,
    embed::{add, embed},
    matvec::matvec,
    norm::{head_norm, norm_epsilon, norm_quant},
    rational::Dyadic,
    rope::{head_quant, rope},
    score_chain::layer_checksum,
    silu::silu_mul_quant,
    tables::RopePair,
    weights::{CodedMatrix, VectorWeights},
};

/// Fractional bits of the logits of a vocabulary.
const LOGIT_BITS: i32 = 16;

/// Why a token cannot be taken. The caller is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The token is not in the vocabulary.
    #[error("token {token} is not in the vocabulary of {vocab}")]
    Token {
        /// The token.
        token: u32,
        /// The size of the vocabulary.
        vocab: u32,
    },
    /// The sequence is as long as it may be.
    #[error("the context of {context} positions is full; start a new sequence")]
    ContextFull {
        /// Positions that a sequence may have.
        context: u32,
    },
}

/// What one token gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// One logit per token of the vocabulary: nats in Q16.
    pub logits: Vec<i32>,
    /// Per layer, the checksum of the residual stream after it.
    pub checksums: Vec<u32>,
}

/// The keys and values of one key-value head, by position.
#[derive(Clone, Debug, Default)]
struct HeadCache {
    keys: Vec<A15>,
    values: Vec<A15>,
}

/// A sequence and its key-value cache.
#[derive(Clone, Debug)]
pub struct Reference<'a> {
    weights: &'a LlamaWeights,
    epsilon: Dyadic,
    caches: Vec<Vec<HeadCache>>,
    position: u32,
}

impl<'a> Reference<'a> {
    /// An empty sequence.
    pub fn new(weights: &'a LlamaWeights) -> Self {
        let config = weights.config();
        let heads = vec![HeadCache::default(); config.kv_heads as usize];
        Self {
            weights,
            epsilon: config.epsilon().expect("a model's sizes are checked when it is loaded"),
            caches: vec![heads; config.layers as usize],
            position: 0,
        }
    }

    /// Positions that are filled.
    pub fn position(&self) -> u32 {
        self.position
    }

    /// Takes the next token of the sequence and gives the logits of the one after it.
    ///
    /// # Errors
    /// A token outside the vocabulary, or a full context; the sequence is then unchanged.
    pub fn forward(&mut self, token: u32) -> Result<Step, StepError> {
        self.check(token)?;
        let angles = self.weights.frequencies().row(self.position);
        let mut x = embed(self.weights.embedding(), token as usize);
        let mut checksums = Vec::with_capacity(self.caches.len());
        for (layer, cache) in self.weights.layers().iter().zip(&mut self.caches) {
            let block =
                Block { layer, config: self.weights.config(), angles: &angles, epsilon: self.epsilon };
            block.attention(&mut x, cache);
            block.feed_forward(&mut x);
            checksums.push(layer_checksum(&x));
        }
        self.position += 1;
        Ok(Step { logits: self.logits(&x), checksums })
    }

    fn check(&self, token: u32) -> Result<(), StepError> {
        let LlamaConfig { vocab, context, .. } = *self.weights.config();
        if token >= vocab {
            return Err(StepError::Token { token, vocab });
        }
        if self.position >= context {
            return Err(StepError::ContextFull { context });
        }
        Ok(())
    }

    fn logits(&self, x: &[i32]) -> Vec<i32> {
        let normed = norm_quant(x, self.weights.output_norm(), norm_epsilon(self.epsilon, x.len()));
        let y = matvec(self.weights.output(), &normed);
        y.values.iter().map(|&v| y.scale.apply(v, LOGIT_BITS)).collect()
    }
}

/// One layer at one position.
struct Block<'a> {
    layer: &'a LayerWeights,
    config: &'a LlamaConfig,
    angles: &'a [RopePair],
    epsilon: Dyadic,
}

/// A matrix whose product is cut into heads, and what happens to those.
#[derive(Clone, Copy)]
struct Projection<'a> {
    matrix: &'a CodedMatrix,
    bias: Option<&'a VectorWeights>,
    norm: Option<&'a VectorWeights>,
    turned: bool,
}

impl Block<'_> {
    fn attention(&self, x: &mut [i32], cache: &mut [HeadCache]) {
        let layer = self.layer;
        let input = self.norm(x, &layer.attn_norm);
        let projection = |matrix, bias, norm, turned| Projection { matrix, bias, norm, turned };
        let (q_bias, k_bias) = (layer.attn_q_bias.as_ref(), layer.attn_k_bias.as_ref());
        let (q_norm, k_norm) = (layer.attn_q_norm.as_ref(), layer.attn_k_norm.as_ref());
        let queries = self.heads(projection(&layer.attn_q, q_bias, q_norm, true), &input);
        let keys = self.heads(projection(&layer.attn_k, k_bias, k_norm, true), &input);
        let values = self.heads(projection(&layer.attn_v, layer.attn_v_bias.as_ref(), None, false), &input);
        for ((head, key), value) in cache.iter_mut().zip(keys).zip(values) {
            head.keys.push(key);
            head.values.push(value);
        }
        let group = (self.config.heads / self.config.kv_heads) as usize;
        let head_of = |i: usize| &cache[i / group];
        let heads: Vec<_> =
            (0..).zip(&queries).map(|(i, q)| attend(q, &head_of(i).keys, &head_of(i).values)).collect();
        add(x, &matvec(&layer.attn_output, &join_heads(&heads)));
    }

    /// The heads of a product: biased, normed and turned where the architecture says so, then quantised.
    fn heads(&self, projection: Projection<'_>, input: &A15) -> Vec<A15> {
        let head_dim = self.config.head_dim as usize;
        let y = matvec(projection.matrix, input);
        let head = |(i, values): (usize, &[i32])| {
            let mut head = Scaled { values: values.to_vec(), scale: y.scale };
            if let Some(bias) = projection.bias {
                head = add_bias(&head, &bias.head(i, head_dim));
            }
            if let Some(norm) = projection.norm {
                head = head_norm(&head, norm, self.epsilon);
            }
            if projection.turned {
                head = rope(&head, self.angles, self.config.architecture.rope_pairs());
            }
            head_quant(&head, head_dim)
        };
        y.values.chunks_exact(head_dim).enumerate().flat_map(head).collect()
    }

    fn norm(&self, x: &[i32], weights: &VectorWeights) -> A15 {
        norm_quant(x, weights, norm_epsilon(self.epsilon, x.len()))
    }

    fn feed_forward(&self, x: &mut [i32]) {
        let input = self.norm(x, &self.layer.ffn_norm);
        let gate = matvec(&self.layer.ffn_gate, &input);
        let up = matvec(&self.layer.ffn_up, &input);
        add(x, &matvec(&self.layer.ffn_down, &silu_mul_quant(&gate, &up)));
    }
}
