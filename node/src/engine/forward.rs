//! The forward pass of rows of any texts: `docs/NUMERICS.md`, section 4.
//!
//! A token's result depends on the tokens before it alone, so a pass is computed layer by layer for all its
//! rows at once, and the bits are those of one token at a time.

use gridhour_protocol::exact::llama::LlamaConfig;
use rayon::prelude::*;

use super::{
    cpu::{
        a15::{A15RowMut, A15Rows},
        attend::{AttendScratch, HeadLaw, Queries, attend},
        embed::embed,
        head_form::form_heads,
        head_quant::head_quant,
        join_heads::join_heads,
        kv_store::{KvEntry, KvPlace, KvStore},
        logits::logits,
        matmul::{Product, matmul},
        norm_quant::norm_quant,
        residual::{add, checksum},
        rope::{SCALE_SHIFT, rotate},
        silu_mul::{SiluScratch, silu_mul_quant},
    },
    device::{PAGE, Pass, See},
    fixed::Scale,
    head_form::HeadForm,
    isa::Kernels,
    matrix::Matrix,
    norm_weights::NormWeights,
    rope_table::RopeTable,
    score_chain::Scores,
    weights::{Layer, Weights},
};

/// Multiplications of an attention below which one thread does it alone; about the cost of waking another.
const SERIAL_ATTENTION: usize = 1 << 14;
/// Tasks of an attention that a thread gets at least, so that all have done at about the same time.
const TASKS_PER_THREAD: usize = 4;
/// Rows whose logits are computed together; bounds the memory for them.
const OUTPUT_ROWS: usize = 64;
/// Logits that a task works out, a whole number of panels.
const LOGITS_PART: usize = 8192;

/// What a forward pass reads: the model, and how to compute.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) config: LlamaConfig,
    pub(crate) weights: Weights,
    pub(crate) rope: RopeTable,
    pub(crate) law: HeadLaw,
    pub(crate) kernels: Kernels,
}

/// Buffers of a forward pass, kept from pass to pass.
#[derive(Debug)]
pub(crate) struct Workspace {
    stream: Vec<i32>,
    /// By layer, then by row.
    checksums: Vec<u32>,
    hidden: A15Rows,
    heads_in: A15Rows,
    gated: A15Rows,
    first: Product,
    second: Product,
    third: Product,
    queries: HeadCodes,
    keys: HeadCodes,
    values: HeadCodes,
    attended: Vec<i64>,
    attended_scales: Vec<Scale>,
    logits: Vec<i32>,
}

/// Heads of every row of a pass, in A15.
#[derive(Debug, Default)]
struct HeadCodes {
    codes: Vec<i16>,
    scales: Vec<Scale>,
}

/// The heads of one row.
struct HeadRowMut<'a> {
    codes: &'a mut [i16],
    scales: &'a mut [Scale],
}

impl HeadCodes {
    /// Room for `heads` heads of each of `rows` rows, to be filled.
    fn rows_mut(
        &mut self,
        (rows, heads): (usize, usize),
        head_dim: usize,
    ) -> impl IndexedParallelIterator<Item = HeadRowMut<'_>> {
        self.codes.resize(rows * heads * head_dim, 0);
        self.scales.resize(rows * heads, Scale::ZERO);
        let codes = self.codes.par_chunks_mut(heads * head_dim);
        codes.zip(self.scales.par_chunks_mut(heads)).map(|(codes, scales)| HeadRowMut { codes, scales })
    }

    /// One head of all: the index counts heads, token after token.
    fn head(&self, index: usize, head_dim: usize) -> (&[i16], Scale) {
        (&self.codes[index * head_dim..(index + 1) * head_dim], self.scales[index])
    }
}

impl HeadRowMut<'_> {
    /// Codes the heads of a row's product, of this scale, in the given form, turned to `position` where there is one.
    fn fill(
        self,
        plan: &Plan,
        (product, scale): (&mut [i32], Scale),
        form: &HeadForm,
        position: Option<u32>,
        wide: &mut Vec<i64>,
    ) {
        self.scales.fill(scale);
        form_heads(form, product, self.scales, wide);
        if let Some(position) = position {
            let turns = plan.rope.row(position as usize);
            rotate(plan.kernels, product, turns, plan.config.architecture.rope_pairs());
            self.scales.iter_mut().for_each(|scale| *scale = scale.exp2(SCALE_SHIFT));
        }
        head_quant(plan.kernels, product, self.codes, self.scales);
    }
}

impl Workspace {
    pub(crate) fn new(config: &LlamaConfig) -> Self {
        Self {
            stream: Vec::new(),
            checksums: Vec::new(),
            hidden: A15Rows::new(config.width as usize),
            heads_in: A15Rows::new(config.query_width()),
            gated: A15Rows::new(config.ffn as usize),
            first: Product::default(),
            second: Product::default(),
            third: Product::default(),
            queries: HeadCodes::default(),
            keys: HeadCodes::default(),
            values: HeadCodes::default(),
            attended: Vec::new(),
            attended_scales: Vec::new(),
            logits: Vec::new(),
        }
    }

    /// Runs all layers over the rows of `pass`, and stores their keys and values. [`Workspace::show`] then
    /// gives the scores of the wanted rows.
    pub(crate) fn run(&mut self, plan: &Plan, store: &mut KvStore, pass: &Pass<'_>) {
        let layers = &plan.weights.layers;
        self.begin(plan, pass, &layers[0].attn_norm);
        for (index, layer) in layers.iter().enumerate() {
            let next = layers.get(index + 1).map(|layer| &layer.attn_norm);
            self.layer(plan, (index, layer, next), (store, index), pass);
        }
    }

    /// Begins a pass, whose layers follow one by one; `norm` is that of the first.
    pub(crate) fn begin(&mut self, plan: &Plan, pass: &Pass<'_>, norm: &NormWeights) {
        let width = plan.config.width as usize;
        self.stream.resize(pass.rows.len() * width, 0);
        self.hidden.resize(pass.rows.len());
        self.checksums.resize(pass.rows.len() * plan.config.layers as usize, 0);
        let rows = self.stream.par_chunks_mut(width).zip(self.hidden.par_rows_mut()).zip(pass.rows);
        rows.for_each_init(Vec::new, |scratch, ((stream, hidden), row)| {
            embed(&plan.weights.embedding, row.token as usize, stream);
            hidden.norm(plan, stream, norm, scratch);
        });
    }

    /// Runs one layer, behind which another with the norm `next` may follow. Its keys and values lie where
    /// those of the store's layer `place` do.
    pub(crate) fn layer(
        &mut self,
        plan: &Plan,
        (index, layer, next): (usize, &Layer, Option<&NormWeights>),
        (store, place): (&mut KvStore, usize),
        pass: &Pass<'_>,
    ) {
        self.attention(plan, (place, layer), store, pass);
        self.feed_forward(plan, (index, layer), next);
    }

    fn attention(
        &mut self,
        plan: &Plan,
        (index, layer): (usize, &Layer),
        store: &mut KvStore,
        pass: &Pass<'_>,
    ) {
        let products = [
            (&layer.attn_q, &mut self.first),
            (&layer.attn_k, &mut self.second),
            (&layer.attn_v, &mut self.third),
        ];
        matmul(plan.kernels, &self.hidden, &mut { products });
        self.code_heads(plan, layer, pass);
        self.store(plan, store, pass, index);
        self.attend(plan, store, pass, index);
        self.join(plan);
        matmul(plan.kernels, &self.heads_in, &mut [(&layer.attn_output, &mut self.first)]);
        let scales = self.heads_in.scales_of(&layer.attn_output);
        self.settle(plan, &scales, (None, Some(&layer.ffn_norm)));
    }

    /// The queries, keys and values of every row in A15.
    fn code_heads(&mut self, plan: &Plan, layer: &Layer, pass: &Pass<'_>) {
        let (heads, kv_heads) = (plan.config.heads as usize, plan.config.kv_heads as usize);
        let (rows, head_dim) = (pass.rows.len(), plan.config.head_dim as usize);
        let scales = |matrix| self.hidden.scales_of(matrix);
        let (of_q, of_k, of_v) = (scales(&layer.attn_q), scales(&layer.attn_k), scales(&layer.attn_v));
        let queries = self.queries.rows_mut((rows, heads), head_dim);
        let keys = self.keys.rows_mut((rows, kv_heads), head_dim);
        let values = self.values.rows_mut((rows, kv_heads), head_dim);
        let each = queries.zip(keys).zip(values).enumerate();
        let scratch = || (Vec::new(), Vec::new());
        each.for_each_init(scratch, |(row, wide), (at, ((query, key), value))| {
            let position = Some(pass.rows[at].position);
            self.first.copy_to(at, row);
            query.fill(plan, (row, of_q[at]), &layer.query_form, position, wide);
            self.second.copy_to(at, row);
            key.fill(plan, (row, of_k[at]), &layer.key_form, position, wide);
            self.third.copy_to(at, row);
            value.fill(plan, (row, of_v[at]), &layer.value_form, None, wide);
        });
    }

    /// Writes the keys and values of every row to its text's pages.
    fn store(&self, plan: &Plan, store: &mut KvStore, pass: &Pass<'_>, layer: usize) {
        let (kv_heads, head_dim) = (plan.config.kv_heads as usize, plan.config.head_dim as usize);
        for (at, row) in pass.rows.iter().enumerate() {
            let position = row.position as usize;
            let (page, slot) = (pass.tables[row.table][position / PAGE], position % PAGE);
            for head in 0..kv_heads {
                let index = at * kv_heads + head;
                let (key, value) = (self.keys.head(index, head_dim), self.values.head(index, head_dim));
                store.write(KvPlace { layer, head, page, slot }, KvEntry { key, value });
            }
        }
    }

    /// Every query head over the positions up to its own.
    fn attend(&mut self, plan: &Plan, store: &KvStore, pass: &Pass<'_>, layer: usize) {
        let (kv_heads, head_dim) = (plan.config.kv_heads as usize, plan.config.head_dim as usize);
        let heads = plan.config.heads as usize;
        // Heads that share keys read them together, where there is work for all threads all the same.
        let few = pass.rows.len() * kv_heads < TASKS_PER_THREAD * rayon::current_num_threads();
        let group = if few { 1 } else { heads / kv_heads };
        let HeadCodes { codes, scales } = &self.queries;
        self.attended.resize(codes.len(), 0);
        self.attended_scales.resize(scales.len(), Scale::ZERO);
        let queries = codes.par_chunks(group * head_dim).zip(scales.par_chunks(group));
        let sums = self.attended.par_chunks_mut(group * head_dim);
        let groups = queries.zip(sums.zip(self.attended_scales.par_chunks_mut(group))).enumerate();
        let positions: usize = pass.rows.iter().map(|row| row.position as usize + 1).sum();
        // Where there is little to do, one thread does it all.
        let least = if positions * heads * head_dim < SERIAL_ATTENTION { usize::MAX } else { 1 };
        let groups = groups.with_min_len(least);
        groups.for_each_init(
            AttendScratch::default,
            |scratch, (at, ((codes, scales), (sums, sum_scales)))| {
                let (row, head) = (&pass.rows[at * group / heads], at * group % heads);
                let (table, positions) = (pass.tables[row.table], row.position as usize + 1);
                let pages = store.head((layer, head * kv_heads / heads), table, positions);
                let queries = Queries { codes, scales, sums, sum_scales };
                attend(plan.kernels, &plan.law, queries, pages, scratch);
            },
        );
    }

    fn join(&mut self, plan: &Plan) {
        let heads = plan.config.heads as usize;
        self.heads_in.resize(self.attended_scales.len() / heads);
        let values = self.attended.par_chunks(plan.config.query_width());
        let tokens = self.heads_in.par_rows_mut().zip(values).zip(self.attended_scales.par_chunks(heads));
        tokens.for_each_init(Vec::new, |scratch, ((row, values), scales)| {
            row.fill_with(|codes| join_heads(plan.kernels, values, scales, scratch, codes));
        });
    }

    fn feed_forward(&mut self, plan: &Plan, (index, layer): (usize, &Layer), next: Option<&NormWeights>) {
        let products = [(&layer.ffn_gate, &mut self.first), (&layer.ffn_up, &mut self.second)];
        matmul(plan.kernels, &self.hidden, &mut { products });
        let gate_scales = self.hidden.scales_of(&layer.ffn_gate);
        let up_scales = self.hidden.scales_of(&layer.ffn_up);
        self.gated.resize(gate_scales.len());
        let tokens = self.gated.par_rows_mut().enumerate();
        let scratch = || (Vec::new(), Vec::new(), SiluScratch::default());
        tokens.for_each_init(scratch, |(gate, up, scratch), (token, row)| {
            self.first.copy_to(token, gate);
            self.second.copy_to(token, up);
            let (gate, up) = ((&gate[..], gate_scales[token]), (&up[..], up_scales[token]));
            row.fill_with(|codes| silu_mul_quant(plan.kernels, gate, up, scratch, codes));
        });
        matmul(plan.kernels, &self.gated, &mut [(&layer.ffn_down, &mut self.first)]);
        let scales = self.gated.scales_of(&layer.ffn_down);
        self.settle(plan, &scales, (Some(index), next));
    }

    /// Adds the first product, of these scales, to every row of the stream; where a layer ends with it, takes the row's
    /// checksum; where another follows, norms the row for it.
    fn settle(&mut self, plan: &Plan, scales: &[Scale], (ends, norm): (Option<usize>, Option<&NormWeights>)) {
        let (rows, width) = (scales.len(), plan.config.width as usize);
        let checksums = &mut self.checksums[ends.unwrap_or(0) * rows..][..rows];
        let streams = self.stream.par_chunks_mut(width).zip(self.hidden.par_rows_mut());
        let each = streams.zip(checksums).zip(scales).enumerate();
        each.for_each_init(Vec::new, |scratch, (at, (((stream, hidden), sum), scale))| {
            self.first.copy_to(at, scratch);
            add(plan.kernels, stream, scratch, *scale);
            if ends.is_some() {
                *sum = checksum(stream);
            }
            if let Some(norm) = norm {
                hidden.norm(plan, stream, norm, scratch);
            }
        });
    }

    /// Shows the scores behind each wanted row of the pass that was run, in order.
    pub(crate) fn show(&mut self, plan: &Plan, pass: &Pass<'_>, see: &mut See<'_>) {
        let width = plan.config.width as usize;
        let mut checksums = Vec::with_capacity(plan.weights.layers.len());
        for rows in pass.wanted.chunks(OUTPUT_ROWS) {
            self.hidden.resize(rows.len());
            let norms = self.hidden.par_rows_mut().zip(rows);
            norms.for_each_init(Vec::new, |scratch, (hidden, row)| {
                let stream = &self.stream[row * width..(row + 1) * width];
                hidden.norm(plan, stream, &plan.weights.output_norm, scratch);
            });
            matmul(plan.kernels, &self.hidden, &mut [(plan.weights.output(), &mut self.first)]);
            self.score(plan);
            for (row, logits) in rows.iter().zip(self.logits.chunks_exact(plan.config.vocab as usize)) {
                checksums.clear();
                checksums.extend(self.checksums[*row..].iter().step_by(pass.rows.len()));
                see(*row, Scores { logits, checksums: &checksums });
            }
        }
    }

    /// Brings the first product, one of the output matrix, to logits, row after row.
    fn score(&mut self, plan: &Plan) {
        let (scales, vocab) = (self.hidden.scales_of(plan.weights.output()), plan.config.vocab as usize);
        self.logits.resize(scales.len() * vocab, 0);
        let rows = self.logits.par_chunks_mut(vocab).zip(scales).enumerate();
        rows.for_each(|(row, (out, scale))| {
            let parts = out.par_chunks_mut(LOGITS_PART).enumerate();
            parts.for_each(|(part, out)| {
                self.first.copy_part(row, part * LOGITS_PART, out);
                logits(plan.kernels, out, scale);
            });
        });
    }
}

impl A15RowMut<'_> {
    /// Takes the norm of a row of the stream.
    fn norm(self, plan: &Plan, stream: &[i32], weights: &NormWeights, scratch: &mut Vec<i32>) {
        self.fill_with(|codes| norm_quant(plan.kernels, stream, weights, scratch, codes));
    }
}

impl A15Rows {
    /// The scales of these vectors' products with a matrix.
    fn scales_of(&self, matrix: &Matrix) -> Vec<Scale> {
        (0..self.rows()).map(|row| self.scale(row).exp2(matrix.exponent())).collect()
    }
}
