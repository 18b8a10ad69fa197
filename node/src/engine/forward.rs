//! The forward pass of rows of any texts: `docs/NUMERICS.md`, section 4.
//!
//! A token's result depends on the tokens before it alone, so a pass is computed layer by layer for all its
//! rows at once, and the bits are those of one token at a time.

use gridhour_protocol::exact::llama::LlamaConfig;
use rayon::prelude::*;

use super::{
    cpu::{
        a15::A15Rows,
        attend::{AttendScratch, HeadLaw, attend},
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
    device::{PAGE, Pass, Row, See},
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
/// Rows whose logits are computed together; bounds the memory for them.
const OUTPUT_ROWS: usize = 64;

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
    /// By layer, then by row: the checksums of the wanted rows.
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

impl HeadCodes {
    /// Codes the heads of each row's product, `heads` in the given form, turned to the rows' positions where
    /// `turned` gives them.
    fn fill(
        &mut self,
        plan: &Plan,
        (product, scales): (&Product, &[Scale]),
        (heads, form): (usize, &HeadForm),
        turned: Option<&[Row]>,
    ) {
        let head_dim = plan.config.head_dim as usize;
        self.codes.resize(scales.len() * heads * head_dim, 0);
        self.scales.resize(scales.len() * heads, Scale::ZERO);
        let codes = self.codes.par_chunks_mut(heads * head_dim);
        let tokens = codes.zip(self.scales.par_chunks_mut(heads)).zip(scales).enumerate();
        let scratch = || (Vec::new(), Vec::new());
        tokens.for_each_init(scratch, |(row, wide), (token, ((codes, out), scale))| {
            product.copy_to(token, row);
            out.fill(*scale);
            form_heads(form, row, out, wide);
            if let Some(rows) = turned {
                let turns = plan.rope.row(rows[token].position as usize);
                rotate(plan.kernels, row, turns, plan.config.architecture.rope_pairs());
                out.iter_mut().for_each(|scale| *scale = scale.exp2(SCALE_SHIFT));
            }
            head_quant(plan.kernels, row, codes, out);
        });
    }

    /// One head of all: the index counts heads, token after token.
    fn head(&self, index: usize, head_dim: usize) -> (&[i16], Scale) {
        (&self.codes[index * head_dim..(index + 1) * head_dim], self.scales[index])
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
        self.begin(plan, pass);
        for (index, layer) in plan.weights.layers.iter().enumerate() {
            self.layer(plan, (index, layer), store, pass);
        }
    }

    /// Begins a pass, whose layers follow one by one.
    pub(crate) fn begin(&mut self, plan: &Plan, pass: &Pass<'_>) {
        let width = plan.config.width as usize;
        self.stream.resize(pass.rows.len() * width, 0);
        self.stream.par_chunks_mut(width).zip(pass.rows).for_each(|(stream, row)| {
            embed(&plan.weights.embedding, row.token as usize, stream);
        });
        self.checksums.clear();
    }

    /// Runs one layer over the rows of a pass; its keys and values are those of layer `index` of the store.
    pub(crate) fn layer(
        &mut self,
        plan: &Plan,
        (index, layer): (usize, &Layer),
        store: &mut KvStore,
        pass: &Pass<'_>,
    ) {
        let width = plan.config.width as usize;
        self.attention(plan, (index, layer), store, pass);
        self.feed_forward(plan, layer);
        let wanted = pass.wanted.par_iter().map(|row| &self.stream[row * width..(row + 1) * width]);
        self.checksums.par_extend(wanted.map(checksum));
    }

    fn attention(
        &mut self,
        plan: &Plan,
        (index, layer): (usize, &Layer),
        store: &mut KvStore,
        pass: &Pass<'_>,
    ) {
        let kv_heads = plan.config.kv_heads as usize;
        self.norm(plan, &layer.attn_norm);
        let products = [
            (&layer.attn_q, &mut self.first),
            (&layer.attn_k, &mut self.second),
            (&layer.attn_v, &mut self.third),
        ];
        matmul(plan.kernels, &self.hidden, &mut { products });
        let (turned, heads) = (Some(pass.rows), plan.config.heads as usize);
        let scales = |matrix| self.hidden.scales_of(matrix);
        let (of_q, of_k, of_v) = (scales(&layer.attn_q), scales(&layer.attn_k), scales(&layer.attn_v));
        self.queries.fill(plan, (&self.first, &of_q), (heads, &layer.query_form), turned);
        self.keys.fill(plan, (&self.second, &of_k), (kv_heads, &layer.key_form), turned);
        self.values.fill(plan, (&self.third, &of_v), (kv_heads, &layer.value_form), None);
        self.store(plan, store, pass, index);
        self.attend(plan, store, pass, index);
        self.join(plan);
        matmul(plan.kernels, &self.heads_in, &mut [(&layer.attn_output, &mut self.first)]);
        add_product(
            plan.kernels,
            &mut self.stream,
            &self.first,
            &self.heads_in.scales_of(&layer.attn_output),
        );
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
        let (heads, head_dim) = (plan.config.heads as usize, plan.config.head_dim as usize);
        let group = heads / plan.config.kv_heads as usize;
        let queries = &self.queries;
        self.attended.resize(queries.codes.len(), 0);
        self.attended_scales.resize(queries.scales.len(), Scale::ZERO);
        let one = |scratch: &mut AttendScratch, index: usize, out: &mut [i64], scale: &mut Scale| {
            let row = &pass.rows[index / heads];
            let (table, positions) = (pass.tables[row.table], row.position as usize + 1);
            let pages = store.head((layer, index % heads / group), table, positions);
            *scale = attend(plan.kernels, &plan.law, queries.head(index, head_dim), pages, scratch, out);
        };
        let positions: usize = pass.rows.iter().map(|row| row.position as usize + 1).sum();
        let (outs, scales) = (&mut self.attended, &mut self.attended_scales);
        if positions * heads * head_dim < SERIAL_ATTENTION {
            let mut scratch = AttendScratch::default();
            let each = outs.chunks_mut(head_dim).zip(scales).enumerate();
            each.for_each(|(index, (out, scale))| one(&mut scratch, index, out, scale));
        } else {
            let each = outs.par_chunks_mut(head_dim).zip(scales).enumerate();
            each.for_each_init(AttendScratch::default, |scratch, (index, (out, scale))| {
                one(scratch, index, out, scale);
            });
        }
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

    fn feed_forward(&mut self, plan: &Plan, layer: &Layer) {
        self.norm(plan, &layer.ffn_norm);
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
        add_product(plan.kernels, &mut self.stream, &self.first, &self.gated.scales_of(&layer.ffn_down));
    }

    /// Norms every row of the stream.
    fn norm(&mut self, plan: &Plan, weights: &NormWeights) {
        let width = plan.config.width as usize;
        norm_rows(plan, weights, self.stream.par_chunks(width), &mut self.hidden);
    }

    /// Shows the scores behind each wanted row of the pass that was run, in order.
    pub(crate) fn show(&mut self, plan: &Plan, pass: &Pass<'_>, see: &mut See<'_>) {
        let width = plan.config.width as usize;
        let mut checksums = Vec::with_capacity(plan.weights.layers.len());
        for (part, rows) in pass.wanted.chunks(OUTPUT_ROWS).enumerate() {
            let stream = rows.par_iter().map(|row| &self.stream[row * width..(row + 1) * width]);
            norm_rows(plan, &plan.weights.output_norm, stream, &mut self.hidden);
            matmul(plan.kernels, &self.hidden, &mut [(plan.weights.output(), &mut self.first)]);
            for (at, row) in rows.iter().enumerate() {
                checksums.clear();
                let of_row = self.checksums[part * OUTPUT_ROWS + at..].iter();
                checksums.extend(of_row.step_by(pass.wanted.len()));
                self.first.copy_to(at, &mut self.logits);
                logits(
                    plan.kernels,
                    &mut self.logits,
                    self.hidden.scale(at).exp2(plan.weights.output().exponent()),
                );
                see(*row, Scores { logits: &self.logits, checksums: &checksums });
            }
        }
    }
}

fn norm_rows<'a>(
    plan: &Plan,
    weights: &NormWeights,
    rows: impl IndexedParallelIterator<Item = &'a [i32]>,
    out: &mut A15Rows,
) {
    out.resize(rows.len());
    let rows = out.par_rows_mut().zip(rows);
    rows.for_each_init(Vec::new, |scratch, (row, stream)| {
        row.fill_with(|codes| norm_quant(plan.kernels, stream, weights, scratch, codes));
    });
}

fn add_product(kernels: Kernels, stream: &mut [i32], product: &Product, scales: &[Scale]) {
    let width = stream.len() / scales.len();
    let tokens = stream.par_chunks_mut(width).zip(scales).enumerate();
    tokens.for_each_init(Vec::new, |row, (token, (stream, scale))| {
        product.copy_to(token, row);
        add(kernels, stream, row, *scale);
    });
}

impl A15Rows {
    /// The scales of these vectors' products with a matrix.
    fn scales_of(&self, matrix: &Matrix) -> Vec<Scale> {
        (0..self.rows()).map(|row| self.scale(row).exp2(matrix.exponent())).collect()
    }
}
