//! Puts a program together from a model's weights.

use wgpu::Buffer;

use super::{
    super::{
        super::{cpu::attend::HeadLaw, fixed::Scale, head_form::HeadForm},
        bound::{Given, STORAGE_MOST, bind},
        buffers::{Buffers, RECORD_WORDS, Sizes, Vectors},
        context::{Gpu, GpuFault},
        matrix::{Matrices, Part},
        shader::{HeadScale, Input, Keep, Kernel, Rope, RowOp},
        weights::{HeadForms, Layer, Norm, Weights, form_words},
    },
    Arrangement, Grid, Pipelines, Program, Step, Which,
};

/// Bytes of a workgroup's memory that lanes and splits take, an invocation.
const MEETING_BYTES: u32 = 16;
/// Bytes of it for the scale of an input.
const SCALE_BYTES: u32 = 16;

/// What a program is made of.
pub(in super::super) struct Maker<'a> {
    pub(in super::super) gpu: &'a Gpu,
    pub(in super::super) pipelines: &'a mut Pipelines,
    pub(in super::super) weights: &'a Weights,
    pub(in super::super) buffers: &'a Buffers,
    pub(in super::super) sizes: Sizes,
    pub(in super::super) law: HeadLaw,
    pub(in super::super) rope: Rope,
    pub(in super::super) arrangement: Arrangement,
    /// Whether no text has two rows in a pass.
    pub(in super::super) apart: bool,
}

/// A product: matrices, their input and what becomes of the result.
#[derive(Clone, Copy)]
struct Product<'a> {
    matrices: &'a Matrices,
    input: &'a Vectors,
    result: &'a Buffer,
    keep: Keep,
}

impl<'a> Maker<'a> {
    /// Makes the program.
    ///
    /// # Errors
    /// [`GpuFault`], if a kernel is refused or there is no memory for parameters.
    pub(in super::super) fn program(&mut self) -> Result<Program, GpuFault> {
        let (weights, b) = (self.weights, self.buffers);
        let mut forward = self.embed()?;
        for (index, layer) in weights.layers.iter().enumerate() {
            // A layer's checksum is of the stream behind it, which the next norm reads.
            let norm = self.norm(&layer.attn_norm, index.checked_sub(1), Which::All);
            let qkv = Product {
                matrices: &layer.attn_qkv,
                input: &b.hidden,
                result: &b.product,
                keep: Keep::Store,
            };
            forward.extend(self.coded_product(RowOp::NormQuant, &norm, qkv)?);
            forward.extend(self.heads(index, layer)?);
            forward.extend(self.output(layer)?);
            forward.extend(self.feed_forward(layer)?);
        }
        let output = forward.len();
        let norm = self.norm(&weights.output_norm, weights.layers.len().checked_sub(1), Which::Wanted);
        let logits =
            Product { matrices: weights.output(), input: &b.hidden, result: &b.logits, keep: Keep::Logits };
        forward.extend(self.coded_product(RowOp::NormQuant, &norm, logits)?);
        Ok(Program { forward, output, sample: self.sample()? })
    }

    fn embed(&mut self) -> Result<Vec<Step>, GpuFault> {
        let (weights, b) = (self.weights, self.buffers);
        let parts = weights.embedding.parts.iter().zip(&weights.embedding_exponents);
        parts
            .map(|(part, exponents)| {
                let kernel = Kernel::Embed(part.form);
                let params = vec![part.blocks, part.first_panel, part.panels];
                let storage = vec![&part.codes, &part.scales, exponents, &b.batch, &b.stream];
                let grid = Grid::Each((part.blocks * 32).div_ceil(kernel.workgroup()), Which::All);
                self.step(kernel, &Given { params, storage }, None, grid)
            })
            .collect()
    }

    /// What a norm codes rows from.
    fn norm(&self, norm: &'a Norm, checksum_of: Option<usize>, which: Which) -> Given<'a> {
        let params = vec![
            self.sizes.width as u32,
            norm.exponent as u32,
            norm.epsilon[0],
            norm.epsilon[1],
            u32::from(which == Which::Wanted),
            u32::from(checksum_of.is_some()),
            checksum_of.unwrap_or(0) as u32,
        ];
        let b = self.buffers;
        Given { params, storage: vec![&b.batch, &b.stream, &norm.values, &b.checksums] }
    }

    /// All that happens to heads between the products.
    fn heads(&mut self, index: usize, layer: &Layer) -> Result<Vec<Step>, GpuFault> {
        let room = self.gpu.device().limits().max_storage_buffers_per_shader_stage;
        if self.arrangement.fused && self.apart && room >= STORAGE_MOST {
            return Ok(vec![self.heads_together(index, layer)?]);
        }
        let mut steps: Vec<Step> = self.head_forms(layer)?.into_iter().collect();
        steps.push(self.head_quant(index, layer)?);
        steps.push(self.attend(index)?);
        Ok(steps)
    }

    fn heads_together(&mut self, index: usize, layer: &Layer) -> Result<Step, GpuFault> {
        let (lanes, qkv, b) = (self.arrangement.attend, &layer.attn_qkv, self.buffers);
        let (scale, forms, weights) = match &layer.head_forms {
            None => (HeadScale::Product, plain_forms(qkv), &b.head_scales),
            Some(HeadForms { params, weights }) => (HeadScale::Own, params.clone(), weights),
        };
        let to_bits = self.law.to_bits();
        let [heads, kv_heads, head_dim] = self.head_sizes();
        let law = [self.law.dot_shift(), to_bits.m, to_bits.e as u32, self.sizes.beside()];
        let cache = &b.caches[index];
        let storage = vec![
            &b.batch,
            &b.product,
            &b.hidden.scales,
            weights,
            &b.turns,
            &b.heads,
            &b.queries,
            &cache.codes,
            &cache.scales,
            &b.scratch,
            &b.attended,
            &b.attended_scales,
        ];
        let params = [&[heads, kv_heads, head_dim, qkv.stride][..], &forms, &law].concat();
        let kernel = Kernel::Heads(self.rope, scale, lanes);
        self.step(kernel, &Given { params, storage }, None, Grid::Heads(heads, lanes))
    }

    /// Biases and norms of single heads, where the layer has any.
    fn head_forms(&mut self, layer: &Layer) -> Result<Option<Step>, GpuFault> {
        let Some(forms) = &layer.head_forms else { return Ok(None) };
        let (lanes, b) = (self.arrangement.heads, self.buffers);
        let [heads, kv_heads, head_dim] = self.head_sizes();
        let params = [&[heads, kv_heads, head_dim, layer.attn_qkv.stride][..], &forms.params].concat();
        let storage = vec![&b.product, &b.hidden.scales, &forms.weights, &b.head_scales];
        let grid = Grid::Heads(heads + 2 * kv_heads, lanes);
        self.step(Kernel::HeadForm(lanes), &Given { params, storage }, None, grid).map(Some)
    }

    fn head_quant(&mut self, index: usize, layer: &Layer) -> Result<Step, GpuFault> {
        let (lanes, qkv, b) = (self.arrangement.heads, &layer.attn_qkv, self.buffers);
        let [heads, kv_heads, head_dim] = self.head_sizes();
        let [(_, query), (key_first, key), (value_first, value)] = qkv.members[..] else {
            return Err(GpuFault::Refused("queries, keys and values are three matrices".to_owned()));
        };
        let (scale, scales) = match layer.head_forms {
            None => (HeadScale::Product, &b.hidden.scales),
            Some(_) => (HeadScale::Own, &b.head_scales),
        };
        let exponents = [query, key, value].map(|exponent| exponent as u32);
        let params = [heads, kv_heads, head_dim, qkv.stride, key_first, value_first];
        let cache = &b.caches[index];
        let storage = vec![
            &b.batch,
            &b.product,
            scales,
            &b.turns,
            &b.queries,
            &b.query_scales,
            &cache.codes,
            &cache.scales,
        ];
        let given = Given { params: [&params[..], &exponents].concat(), storage };
        let grid = Grid::Heads(heads + 2 * kv_heads, lanes);
        self.step(Kernel::HeadQuant(self.rope, scale, lanes), &given, None, grid)
    }

    fn attend(&mut self, index: usize) -> Result<Step, GpuFault> {
        let (lanes, b) = (self.arrangement.attend, self.buffers);
        let [heads, kv_heads, head_dim] = self.head_sizes();
        let Scale { m, e } = self.law.to_bits();
        let params = vec![heads, kv_heads, head_dim, self.law.dot_shift(), m, e as u32];
        let cache = &b.caches[index];
        let storage = vec![
            &b.batch,
            &b.queries,
            &b.query_scales,
            &cache.codes,
            &cache.scales,
            &b.scratch,
            &b.attended,
            &b.attended_scales,
        ];
        let grid = Grid::Heads(heads, lanes);
        self.step(Kernel::Attend(lanes), &Given { params, storage }, None, grid)
    }

    fn output(&mut self, layer: &Layer) -> Result<Vec<Step>, GpuFault> {
        let b = self.buffers;
        let [heads, _, head_dim] = self.head_sizes();
        let rows = Given { params: vec![heads, head_dim], storage: vec![&b.attended, &b.attended_scales] };
        let output = Product {
            matrices: &layer.attn_output,
            input: &b.inner,
            result: &b.stream,
            keep: Keep::Residual,
        };
        self.coded_product(RowOp::JoinHeads, &rows, output)
    }

    fn feed_forward(&mut self, layer: &Layer) -> Result<Vec<Step>, GpuFault> {
        let b = self.buffers;
        let [(_, gate), (up_first, up)] = layer.ffn_gate_up.members[..] else {
            return Err(GpuFault::Refused("gates and ups are two matrices".to_owned()));
        };
        let norm = self.norm(&layer.ffn_norm, None, Which::All);
        let gate_up =
            Product { matrices: &layer.ffn_gate_up, input: &b.hidden, result: &b.product, keep: Keep::Gates };
        let params = vec![self.sizes.ffn as u32, gate as u32, up as u32, layer.ffn_gate_up.stride, up_first];
        let gated = Given { params, storage: vec![&b.product, &b.hidden.scales] };
        let down =
            Product { matrices: &layer.ffn_down, input: &b.inner, result: &b.stream, keep: Keep::Residual };
        let mut steps = self.coded_product(RowOp::NormQuant, &norm, gate_up)?;
        steps.extend(self.coded_product(RowOp::SiluMul, &gated, down)?);
        Ok(steps)
    }

    /// A product whose input is coded by `op` from `rows`: by a step of its own, or where it is taken.
    fn coded_product(
        &mut self,
        op: RowOp,
        rows: &Given<'_>,
        product: Product<'_>,
    ) -> Result<Vec<Step>, GpuFault> {
        let made = product.matrices.parts.first().and_then(|part| self.made(op, part.blocks));
        let mut steps = Vec::new();
        if made.is_none() {
            let lanes = self.arrangement.rows;
            let Vectors { codes, sums, scales } = product.input;
            let coded = Given { params: Vec::new(), storage: vec![codes, sums, scales] };
            let grid = Grid::Rows(lanes, product.keep.which());
            steps.push(self.step(Kernel::Rows(op, lanes), &coded, Some(rows), grid)?);
        }
        for part in &product.matrices.parts {
            steps.push(self.part(product, part, made.map(|made| (made, rows)))?);
        }
        Ok(steps)
    }

    /// The input of a product as its workgroups make it, where they are to and it fits their memory.
    fn made(&self, by: RowOp, blocks: u32) -> Option<Input> {
        let Arrangement { rows, product, fused, .. } = self.arrangement;
        let input = Input::made(by, rows, product, blocks);
        let bytes = input.workgroup_bytes() + MEETING_BYTES * product.workgroup() + SCALE_BYTES;
        let fits = bytes <= self.gpu.device().limits().max_compute_workgroup_storage_size;
        (fused && fits).then_some(input)
    }

    /// The product of one part of the matrices.
    fn part(
        &mut self,
        Product { matrices, input, result, keep }: Product<'_>,
        part: &Part,
        made: Option<(Input, &Given<'_>)>,
    ) -> Result<Step, GpuFault> {
        let tile = self.arrangement.product;
        // Stored products keep the rows that fill up panels; streams and logits have none.
        let (rows, stride) = match keep {
            Keep::Store | Keep::Gates => (matrices.stride, matrices.stride),
            Keep::Residual | Keep::Logits => (matrices.rows, matrices.rows),
        };
        // Residuals and logits are of one matrix; of gates and ups, only gates are looked at.
        let exponent = matrices.members.first().map_or(0, |(_, exponent)| *exponent);
        let gates = if keep == Keep::Gates { matrices.members[1].0 } else { 0 };
        let params = vec![
            part.blocks,
            rows,
            stride,
            part.first_panel,
            part.block_shift,
            part.minimum_shift,
            exponent as u32,
            u32::from(keep.which() == Which::Wanted),
            gates,
        ];
        let Vectors { codes, sums, scales } = input;
        let storage = vec![&part.codes, &part.scales, &part.shifts, codes, sums, scales, result];
        let kernel = Kernel::Matmul(part.form, keep, tile, made.map_or(Input::Stored, |(input, _)| input));
        let grid = Grid::Panels(part.panels, tile.tokens, keep.which());
        self.step(kernel, &Given { params, storage }, made.map(|(_, rows)| rows), grid)
    }

    fn sample(&mut self) -> Result<Vec<Step>, GpuFault> {
        let (b, shares) = (self.buffers, self.sizes.shares());
        let params = vec![self.sizes.vocab as u32, shares];
        let look = Given { params, storage: vec![&b.batch, &b.logits, &b.samplers, &b.candidates] };
        let grid = Grid::Each(shares.div_ceil(Kernel::Sample.workgroup()), Which::Wanted);
        let params = vec![shares, (RECORD_WORDS + self.sizes.layers) as u32];
        let choose = Given { params, storage: vec![&b.batch, &b.candidates, &b.checksums, &b.records] };
        Ok(vec![
            self.step(Kernel::Sample, &look, None, grid)?,
            self.step(Kernel::Choose, &choose, None, Grid::Each(1, Which::Wanted))?,
        ])
    }

    fn step(
        &mut self,
        kernel: Kernel,
        own: &Given<'_>,
        rows: Option<&Given<'_>>,
        grid: Grid,
    ) -> Result<Step, GpuFault> {
        let pipeline = self.pipelines.get(self.gpu, kernel)?;
        let groups = bind(self.gpu, (kernel, &pipeline), &self.buffers.shared, own, rows)?;
        Ok(Step { pipeline, groups, grid })
    }

    /// Query heads, key-value heads, and the size of both.
    fn head_sizes(&self) -> [u32; 3] {
        let Sizes { heads, kv_heads, head_dim, .. } = self.sizes;
        [heads, kv_heads, head_dim].map(|size| size as u32)
    }
}

impl Keep {
    /// The rows whose product it is.
    fn which(self) -> Which {
        if self == Self::Logits { Which::Wanted } else { Which::All }
    }
}

/// The parameters of heads with which nothing is done.
fn plain_forms(qkv: &Matrices) -> Vec<u32> {
    let (firsts, exponents): (Vec<u32>, Vec<i32>) = qkv.members.iter().copied().unzip();
    form_words(&[&HeadForm::Plain; 3], &firsts, &exponents).0
}
