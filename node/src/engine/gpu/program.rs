//! The forward pass as a list of dispatches, made once: every bind group is static, and only the numbers of
//! rows change from pass to pass. `docs/NUMERICS.md`, section 4.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use wgpu::{
    BindGroup, BindGroupDescriptor, BindGroupEntry, Buffer, ComputePass, ComputePipeline, DeviceType,
};

use super::{
    super::{cpu::attend::HeadLaw, fixed::Scale},
    buffers::{Buffers, RECORD_WORDS, Sizes, Vectors},
    context::{Gpu, GpuFault},
    matrix::{Matrices, Part},
    shader::{Dot, HeadScale, Keep, Kernel, Lanes, Rope, Tile},
    weights::{Layer, Norm, Weights},
};

/// Where the tables of exponentials and of Gumbel noise are bound.
pub(super) const EXP2_BINDING: u32 = 12;
pub(super) const GUMBEL_BINDING: u32 = 13;

/// Which variant of each kernel a program uses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Arrangement {
    /// Of norms, joined heads and gated units: the kernels that see whole rows.
    pub rows: Lanes,
    /// Of the coding of heads.
    pub heads: Lanes,
    /// Of attention.
    pub attend: Lanes,
    /// Of the products.
    pub product: Tile,
}

/// The variants for both kinds of passes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Arrangements {
    /// For few rows, one or some more.
    pub decode: Arrangement,
    /// For many rows.
    pub prefill: Arrangement,
}

impl Arrangements {
    /// What is likely fast on an adapter, before anything was measured there.
    pub fn guess(gpu: &Gpu) -> Self {
        if gpu.info().device_type == DeviceType::Cpu {
            let one = Lanes::One(8);
            let product = Tile { splits: 1, tokens: 1, dot: Dot::Unpacked };
            let decode = Arrangement { rows: one, heads: one, attend: one, product };
            return Self { decode, prefill: decode };
        }
        let meet = if gpu.has_subgroups() { Lanes::Subgroup } else { Lanes::Barrier };
        let product = Tile { splits: 4, tokens: 1, dot: Dot::Packed };
        let decode = Arrangement { rows: meet(256), heads: meet(32), attend: meet(64), product };
        let prefill = Arrangement { product: Tile { splits: 2, tokens: 8, dot: Dot::Packed }, ..decode };
        Self { decode, prefill }
    }
}

impl Arrangements {
    /// Whether every size is one that the kernels are written for: lanes that meet halve their number at each step.
    pub(super) fn is_sound(&self) -> bool {
        let power = |size: u32, most: u32| size.is_power_of_two() && size <= most;
        let lanes = |lanes: Lanes| power(lanes.workgroup(), 256) && (lanes.workgroup() > 1);
        [self.decode, self.prefill].iter().all(|a| {
            let Tile { splits, tokens, .. } = a.product;
            [a.rows, a.heads, a.attend].into_iter().all(lanes) && power(splits, 8) && power(tokens, 16)
        })
    }
}

/// How many workgroups a dispatch has.
#[derive(Clone, Copy, Debug)]
enum Grid {
    /// Groups of one row each, of all rows or of the wanted ones.
    Rows(Lanes, Which),
    /// So many groups a row.
    Heads(u32, Lanes),
    /// So many panels, and so many tokens a workgroup.
    Panels(u32, u32, Which),
    /// So many workgroups a row.
    Each(u32, Which),
}

/// Which rows a dispatch computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Which {
    All,
    Wanted,
}

/// A dispatch.
#[derive(Debug)]
struct Step {
    pipeline: ComputePipeline,
    group: BindGroup,
    grid: Grid,
}

/// A pass, ready to be recorded.
#[derive(Debug, Default)]
pub(super) struct Program {
    /// Tokens to logits.
    forward: Vec<Step>,
    /// Where the steps begin that only serve wanted rows.
    output: usize,
    /// Logits to chosen tokens.
    sample: Vec<Step>,
}

/// Compiled kernels, each variant once.
#[derive(Debug, Default)]
pub(super) struct Pipelines(HashMap<Kernel, ComputePipeline>);

impl Pipelines {
    /// The kernel, compiled now if it was not before.
    ///
    /// # Errors
    /// [`GpuFault::Refused`], if the driver does not take it.
    pub(super) fn get(&mut self, gpu: &Gpu, kernel: Kernel) -> Result<ComputePipeline, GpuFault> {
        if let Some(pipeline) = self.0.get(&kernel) {
            return Ok(pipeline.clone());
        }
        let pipeline = gpu.pipeline(kernel)?;
        self.0.insert(kernel, pipeline.clone());
        Ok(pipeline)
    }
}

/// What a program is made of.
pub(super) struct Maker<'a> {
    pub(super) gpu: &'a Gpu,
    pub(super) pipelines: &'a mut Pipelines,
    pub(super) weights: &'a Weights,
    pub(super) buffers: &'a Buffers,
    pub(super) sizes: Sizes,
    pub(super) law: HeadLaw,
    pub(super) rope: Rope,
    pub(super) arrangement: Arrangement,
}

impl Program {
    /// Records the pass of `rows` rows. Where no row is wanted, nothing behind the layers is computed.
    pub(super) fn record(&self, pass: &mut ComputePass<'_>, rows: u32, wanted: u32) {
        let steps = if wanted == 0 { &self.forward[..self.output] } else { &self.forward[..] };
        steps.iter().for_each(|step| step.record(pass, rows, wanted));
    }

    /// Records the choice of a token behind each wanted row.
    pub(super) fn record_sampling(&self, pass: &mut ComputePass<'_>, rows: u32, wanted: u32) {
        self.sample.iter().for_each(|step| step.record(pass, rows, wanted));
    }

    /// Dispatches of a token that is decoded and sampled.
    pub(super) fn dispatches(&self) -> usize {
        self.forward.len() + self.sample.len()
    }
}

impl Step {
    fn record(&self, pass: &mut ComputePass<'_>, rows: u32, wanted: u32) {
        let count = |which| if which == Which::All { rows } else { wanted };
        let (x, y) = match self.grid {
            Grid::Rows(lanes, which) => (lanes.workgroups(count(which)), 1),
            Grid::Heads(heads, lanes) => (lanes.workgroups(heads), rows),
            Grid::Panels(panels, tokens, which) => (panels, count(which).div_ceil(tokens)),
            Grid::Each(workgroups, which) => (workgroups, count(which)),
        };
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        pass.dispatch_workgroups(x, y, 1);
    }
}

impl Maker<'_> {
    /// Makes the program.
    ///
    /// # Errors
    /// [`GpuFault`], if a kernel is refused or there is no memory for parameters.
    pub(super) fn program(&mut self) -> Result<Program, GpuFault> {
        let weights = self.weights;
        let mut forward = self.embed()?;
        for (index, layer) in weights.layers.iter().enumerate() {
            // A layer's checksum is of the stream behind it, which the next norm reads.
            forward.push(self.norm(&layer.attn_norm, index.checked_sub(1), Which::All)?);
            forward.extend(self.attention(index, layer)?);
            forward.push(self.norm(&layer.ffn_norm, None, Which::All)?);
            forward.extend(self.feed_forward(layer)?);
        }
        let output = forward.len();
        forward.push(self.norm(&weights.output_norm, weights.layers.len().checked_sub(1), Which::Wanted)?);
        let hidden = &self.buffers.hidden;
        forward.extend(self.matmul(weights.output(), hidden, &self.buffers.logits, Keep::Logits)?);
        Ok(Program { forward, output, sample: self.sample()? })
    }

    fn embed(&mut self) -> Result<Vec<Step>, GpuFault> {
        let (weights, buffers) = (self.weights, self.buffers);
        let parts = weights.embedding.parts.iter().zip(&weights.embedding_exponents);
        parts
            .map(|(part, exponents)| {
                let kernel = Kernel::Embed(part.form);
                let params = [part.blocks, part.first_panel, part.panels];
                let columns = part.blocks * 32;
                let grid = Grid::Each(columns.div_ceil(kernel.workgroup()), Which::All);
                let storage = [&part.codes, &part.scales, exponents, &buffers.batch, &buffers.stream];
                self.step(kernel, &params, &storage, None, grid)
            })
            .collect()
    }

    fn norm(&mut self, norm: &Norm, checksum_of: Option<usize>, which: Which) -> Result<Step, GpuFault> {
        let lanes = self.arrangement.rows;
        let params = [
            self.sizes.width as u32,
            norm.exponent as u32,
            norm.epsilon[0],
            norm.epsilon[1],
            u32::from(which == Which::Wanted),
            u32::from(checksum_of.is_some()),
            checksum_of.unwrap_or(0) as u32,
        ];
        let b = self.buffers;
        let Vectors { codes, sums, scales } = &b.hidden;
        let storage = [&b.batch, &b.stream, &norm.values, codes, sums, scales, &b.checksums];
        self.step(Kernel::NormQuant(lanes), &params, &storage, None, Grid::Rows(lanes, which))
    }

    fn attention(&mut self, index: usize, layer: &Layer) -> Result<Vec<Step>, GpuFault> {
        let b = self.buffers;
        let mut steps = self.matmul(&layer.attn_qkv, &b.hidden, &b.product, Keep::Store)?;
        steps.extend(self.head_forms(layer)?);
        steps.push(self.head_quant(index, layer)?);
        steps.push(self.attend(index)?);
        steps.push(self.join_heads()?);
        steps.extend(self.matmul(&layer.attn_output, &b.inner, &b.stream, Keep::Residual)?);
        Ok(steps)
    }

    /// Biases and norms of single heads, where the layer has any.
    fn head_forms(&mut self, layer: &Layer) -> Result<Option<Step>, GpuFault> {
        let Some(forms) = &layer.head_forms else { return Ok(None) };
        let lanes = self.arrangement.heads;
        let Sizes { heads, kv_heads, head_dim, .. } = self.sizes;
        let sizes = [heads as u32, kv_heads as u32, head_dim as u32, layer.attn_qkv.stride];
        let b = self.buffers;
        let storage = [&b.product, &b.hidden.scales, &forms.weights, &b.head_scales];
        let grid = Grid::Heads((heads + 2 * kv_heads) as u32, lanes);
        let params = [&sizes[..], &forms.params].concat();
        self.step(Kernel::HeadForm(lanes), &params, &storage, None, grid).map(Some)
    }

    fn head_quant(&mut self, index: usize, layer: &Layer) -> Result<Step, GpuFault> {
        let (lanes, qkv) = (self.arrangement.heads, &layer.attn_qkv);
        let Sizes { heads, kv_heads, head_dim, .. } = self.sizes;
        let [(_, query), (key_first, key), (value_first, value)] = qkv.members[..] else {
            return Err(GpuFault::Refused("queries, keys and values are three matrices".to_owned()));
        };
        let (scale, scales) = match layer.head_forms {
            None => (HeadScale::Product, &self.buffers.hidden.scales),
            Some(_) => (HeadScale::Own, &self.buffers.head_scales),
        };
        let exponents = [query, key, value].map(|exponent| exponent as u32);
        let params = [heads as u32, kv_heads as u32, head_dim as u32, qkv.stride, key_first, value_first];
        let b = self.buffers;
        let cache = &b.caches[index];
        let storage = [
            &b.batch,
            &b.product,
            scales,
            &b.turns,
            &b.queries,
            &b.query_scales,
            &cache.codes,
            &cache.scales,
        ];
        let grid = Grid::Heads((heads + 2 * kv_heads) as u32, lanes);
        let params = [&params[..], &exponents].concat();
        self.step(Kernel::HeadQuant(self.rope, scale, lanes), &params, &storage, None, grid)
    }

    fn attend(&mut self, index: usize) -> Result<Step, GpuFault> {
        let lanes = self.arrangement.attend;
        let Sizes { heads, kv_heads, head_dim, .. } = self.sizes;
        let Scale { m, e } = self.law.to_bits();
        let params = [heads as u32, kv_heads as u32, head_dim as u32, self.law.dot_shift(), m, e as u32];
        let b = self.buffers;
        let cache = &b.caches[index];
        let storage = [
            &b.batch,
            &b.queries,
            &b.query_scales,
            &cache.codes,
            &cache.scales,
            &b.scratch,
            &b.attended,
            &b.attended_scales,
        ];
        let table = Some((EXP2_BINDING, &b.exp2_table));
        self.step(Kernel::Attend(lanes), &params, &storage, table, Grid::Heads(heads as u32, lanes))
    }

    fn join_heads(&mut self) -> Result<Step, GpuFault> {
        let lanes = self.arrangement.rows;
        let params = [self.sizes.heads as u32, self.sizes.head_dim as u32];
        let b = self.buffers;
        let Vectors { codes, sums, scales } = &b.inner;
        let storage = [&b.attended, &b.attended_scales, codes, sums, scales];
        self.step(Kernel::JoinHeads(lanes), &params, &storage, None, Grid::Rows(lanes, Which::All))
    }

    fn feed_forward(&mut self, layer: &Layer) -> Result<Vec<Step>, GpuFault> {
        let b = self.buffers;
        let mut steps = self.matmul(&layer.ffn_gate_up, &b.hidden, &b.product, Keep::Store)?;
        steps.push(self.silu_mul(&layer.ffn_gate_up)?);
        steps.extend(self.matmul(&layer.ffn_down, &b.inner, &b.stream, Keep::Residual)?);
        Ok(steps)
    }

    fn silu_mul(&mut self, gate_up: &Matrices) -> Result<Step, GpuFault> {
        let lanes = self.arrangement.rows;
        let [(_, gate), (up_first, up)] = gate_up.members[..] else {
            return Err(GpuFault::Refused("gates and ups are two matrices".to_owned()));
        };
        let params = [self.sizes.ffn as u32, gate as u32, up as u32, gate_up.stride, up_first];
        let b = self.buffers;
        let Vectors { codes, sums, scales } = &b.inner;
        let storage = [&b.product, &b.hidden.scales, codes, sums, scales];
        let table = Some((EXP2_BINDING, &b.exp2_table));
        self.step(Kernel::SiluMul(lanes), &params, &storage, table, Grid::Rows(lanes, Which::All))
    }

    fn matmul(
        &mut self,
        matrices: &Matrices,
        input: &Vectors,
        result: &Buffer,
        keep: Keep,
    ) -> Result<Vec<Step>, GpuFault> {
        let steps = matrices.parts.iter().map(|part| self.product(matrices, part, input, result, keep));
        steps.collect()
    }

    fn product(
        &mut self,
        matrices: &Matrices,
        part: &Part,
        input: &Vectors,
        result: &Buffer,
        keep: Keep,
    ) -> Result<Step, GpuFault> {
        let tile = self.arrangement.product;
        let which = if keep == Keep::Logits { Which::Wanted } else { Which::All };
        // Stored products keep the rows that fill up panels; streams and logits have none.
        let (rows, stride) = match keep {
            Keep::Store => (matrices.stride, matrices.stride),
            Keep::Residual | Keep::Logits => (matrices.rows, matrices.rows),
        };
        let exponent = matrices.members.last().map_or(0, |(_, exponent)| *exponent);
        let params = [
            part.blocks,
            rows,
            stride,
            part.first_panel,
            part.block_shift,
            part.minimum_shift,
            exponent as u32,
            u32::from(which == Which::Wanted),
        ];
        let storage =
            [&part.codes, &part.scales, &part.shifts, &input.codes, &input.sums, &input.scales, result];
        let kernel = Kernel::Matmul(part.form, keep, tile);
        self.step(kernel, &params, &storage, None, Grid::Panels(part.panels, tile.tokens, which))
    }

    fn sample(&mut self) -> Result<Vec<Step>, GpuFault> {
        let b = self.buffers;
        let shares = self.sizes.shares();
        let table = Some((GUMBEL_BINDING, &b.gumbel_tables));
        let storage = [&b.batch, &b.logits, &b.samplers, &b.candidates];
        let workgroups = shares.div_ceil(Kernel::Sample.workgroup());
        let look = self.step(
            Kernel::Sample,
            &[self.sizes.vocab as u32, shares],
            &storage,
            table,
            Grid::Each(workgroups, Which::Wanted),
        )?;
        let record = (RECORD_WORDS + self.sizes.layers) as u32;
        let storage = [&b.batch, &b.candidates, &b.checksums, &b.records];
        let choose =
            self.step(Kernel::Choose, &[shares, record], &storage, None, Grid::Each(1, Which::Wanted))?;
        Ok(vec![look, choose])
    }

    /// A dispatch: parameters at binding 0, the pass at 1, storage from 2 on, a table where it has one.
    fn step(
        &mut self,
        kernel: Kernel,
        params: &[u32],
        storage: &[&Buffer],
        table: Option<(u32, &Buffer)>,
        grid: Grid,
    ) -> Result<Step, GpuFault> {
        let pipeline = self.pipelines.get(self.gpu, kernel)?;
        let params = self.gpu.uniform_of("parameters", params)?;
        let fixed = [(0, &params), (1, &self.buffers.pass_state)].into_iter().chain(table);
        let numbered = (2..).zip(storage.iter().copied());
        let unused = unused_bindings(kernel);
        let entries: Vec<BindGroupEntry<'_>> = fixed
            .chain(numbered)
            .filter(|(binding, _)| !unused.contains(binding))
            .map(|(binding, buffer)| BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        let group = self.gpu.device().create_bind_group(&BindGroupDescriptor {
            label: Some(kernel.name()),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        self.gpu.check()?;
        Ok(Step { pipeline, group, grid })
    }
}

/// Bindings that a variant of a kernel does not touch, so that its layout has no place for them.
pub(super) fn unused_bindings(kernel: Kernel) -> &'static [u32] {
    match kernel {
        // The scale of the input only matters where the product is brought to a fixed point.
        Kernel::Matmul(_, Keep::Store, _) => &[7],
        // Their rows are those of the grid.
        Kernel::Embed(_) | Kernel::HeadForm(_) | Kernel::HeadQuant(..) => &[1],
        _ => &[],
    }
}
