//! What a pass leaves in an adapter's memory between two kernels, and the pages of keys and values.

use wgpu::Buffer;

use super::{
    super::device::PAGE,
    bound::Shared,
    context::{Gpu, GpuFault},
};
use gridhour_protocol::{exact::llama::LlamaConfig, exact::tables};

/// Words that describe a row in the batch.
pub(super) const ROW_WORDS: usize = 4;
/// Invocations that share the vocabulary of a row, at most.
const SHARES_MAX: u32 = 1024;
/// Steps of one submission at most.
pub(super) const STEPS_MAX: usize = 16;
/// Rows from which a pass is a prefill's.
pub(super) const DECODE_ROWS: usize = 8;
/// Words of a candidate.
const CANDIDATE_WORDS: u64 = 8;
/// Words of a record before the checksums.
pub(super) const RECORD_WORDS: usize = 4;

/// Sizes on which all buffers depend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) rows: usize,
    pub(super) positions: usize,
    pub(super) pages: usize,
    pub(super) width: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) ffn: usize,
    pub(super) vocab: usize,
    pub(super) layers: usize,
    /// Rows of the widest product.
    pub(super) product: usize,
}

/// An input of products: codes, sums of blocks, scales.
#[derive(Debug)]
pub(super) struct Vectors {
    pub(super) codes: Buffer,
    pub(super) sums: Buffer,
    pub(super) scales: Buffer,
}

/// Pages of one layer.
#[derive(Debug)]
pub(super) struct Cache {
    pub(super) codes: Buffer,
    pub(super) scales: Buffer,
}

/// All buffers, each named as the kernels name it.
#[derive(Debug)]
pub(super) struct Buffers {
    pub(super) shared: Shared,
    pub(super) batch: Buffer,
    pub(super) stream: Buffer,
    /// What norms give.
    pub(super) hidden: Vectors,
    /// What attention and the gated unit give.
    pub(super) inner: Vectors,
    pub(super) product: Buffer,
    /// Scales of single heads, where something was done with them.
    pub(super) head_scales: Buffer,
    /// Heads that groups of `heads_together` work on.
    pub(super) heads: Buffer,
    pub(super) queries: Buffer,
    pub(super) query_scales: Buffer,
    pub(super) scratch: Buffer,
    pub(super) attended: Buffer,
    pub(super) attended_scales: Buffer,
    pub(super) checksums: Buffer,
    pub(super) logits: Buffer,
    pub(super) samplers: Buffer,
    pub(super) candidates: Buffer,
    pub(super) records: Buffer,
    pub(super) caches: Vec<Cache>,
    pub(super) turns: Buffer,
}

impl Sizes {
    /// Bytes of a page over all layers.
    pub(super) fn page_bytes(config: &LlamaConfig) -> usize {
        let heads = 2 * config.kv_heads as usize * PAGE;
        config.layers as usize * heads * (2 * config.head_dim as usize + 8)
    }

    /// Pages that a text may have.
    pub(super) fn table(&self) -> usize {
        self.positions.div_ceil(PAGE)
    }

    /// Words of a record.
    pub(super) fn record(&self) -> usize {
        RECORD_WORDS + self.layers
    }

    /// Invocations that share the vocabulary of a row.
    pub(super) fn shares(&self) -> u32 {
        SHARES_MAX.min(self.vocab as u32)
    }

    /// Where a layer's cache has heads beside its pages, of which a query head of a decoded row has two.
    pub(super) fn beside(&self) -> u32 {
        // A buffer has fewer than 2^32 words.
        (self.pages * 2 * self.kv_heads * PAGE) as u32
    }

    /// Bytes of the heads beside the pages of a layer.
    pub(super) fn beside_bytes(config: &LlamaConfig) -> u64 {
        let heads = 2 * DECODE_ROWS * config.heads as usize;
        (heads * (2 * config.head_dim as usize + 8)) as u64
    }

    fn cached_heads(&self) -> u64 {
        u64::from(self.beside()) + 2 * (DECODE_ROWS * self.heads) as u64
    }
}

impl Buffers {
    /// Room for passes of these sizes; `turns` are the cosines and sines of every position.
    ///
    /// # Errors
    /// [`GpuFault`], naming the first that does not fit.
    pub(super) fn new(gpu: &Gpu, sizes: &Sizes, turns: &[u32]) -> Result<Self, GpuFault> {
        let rows = sizes.rows as u64;
        let words = |what: &str, count: u64| gpu.storage(what, 4 * count);
        let queries = rows * (sizes.heads * sizes.head_dim) as u64;
        let heads = rows * sizes.heads as u64;
        let cache = |_| -> Result<Cache, GpuFault> {
            Ok(Cache {
                codes: words("keys and values", sizes.cached_heads() * sizes.head_dim as u64 / 2)?,
                scales: words("scales of keys and values", 2 * sizes.cached_heads())?,
            })
        };
        Ok(Self {
            shared: Shared {
                pass_state: gpu.uniform_of("pass", &[0; 4])?,
                exp2_table: gpu.uniform_of("exp2 table", &exp2_words())?,
                gumbel_tables: gpu.uniform_of("gumbel tables", &gumbel_words())?,
            },
            batch: words("batch", rows * (ROW_WORDS + 1 + sizes.table()) as u64)?,
            stream: words("residual stream", rows * sizes.width as u64)?,
            hidden: Vectors::new(gpu, sizes.rows, sizes.width)?,
            inner: Vectors::new(gpu, sizes.rows, sizes.ffn.max(sizes.heads * sizes.head_dim))?,
            product: words("product", rows * sizes.product as u64)?,
            head_scales: words("scales of heads", 2 * rows * (sizes.heads + 2 * sizes.kv_heads) as u64)?,
            heads: words("heads", 3 * (DECODE_ROWS * sizes.heads * sizes.head_dim) as u64)?,
            queries: words("queries", queries / 2)?,
            query_scales: words("scales of queries", 2 * heads)?,
            scratch: words("weights of attention", heads * (sizes.table() * PAGE) as u64)?,
            attended: words("attention", 2 * queries)?,
            attended_scales: words("scales of attention", 2 * heads)?,
            checksums: words("checksums", rows * sizes.layers as u64)?,
            logits: words("logits", rows * sizes.vocab as u64)?,
            samplers: words("samplers", 4 * rows)?,
            candidates: words("candidates", CANDIDATE_WORDS * rows * u64::from(sizes.shares()))?,
            records: words("records", (STEPS_MAX * sizes.record()) as u64 * rows)?,
            caches: (0..sizes.layers).map(cache).collect::<Result<_, _>>()?,
            turns: gpu.storage_of("turns", turns)?,
        })
    }
}

impl Vectors {
    fn new(gpu: &Gpu, rows: usize, width: usize) -> Result<Self, GpuFault> {
        let bytes = (2 * rows * width) as u64;
        Ok(Self {
            codes: gpu.storage("codes", bytes)?,
            sums: gpu.storage("sums", bytes / 16)?,
            scales: gpu.storage("scales", 8 * rows as u64)?,
        })
    }
}

/// The table of `exp2_neg.wgsl`.
pub(super) fn exp2_words() -> Vec<u32> {
    in_fours(&tables::EXP2)
}

/// The tables of `gumbel.wgsl`.
pub(super) fn gumbel_words() -> Vec<u32> {
    [in_fours(&tables::LOG2), in_fours(&tables::EXPONENTIAL_RATIO)].concat()
}

/// A table as its kernel reads it: whole vectors of four.
fn in_fours(table: &[i32]) -> Vec<u32> {
    let mut words: Vec<u32> = table.iter().map(|entry| *entry as u32).collect();
    words.resize(words.len().next_multiple_of(4), 0);
    words
}
