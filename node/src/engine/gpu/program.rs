//! The forward pass as a list of dispatches, made once: every bind group is static, and only the numbers of
//! rows change from pass to pass. `docs/NUMERICS.md`, section 4.

mod maker;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use wgpu::{BindGroup, ComputePass, ComputePipeline, DeviceType};

pub(super) use self::maker::Maker;
use super::{
    context::{Gpu, GpuFault},
    rounds::Reach,
    shader::{Dot, Kernel, Lanes, Tile},
};

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
    /// Whether products make their inputs themselves, and one kernel does all that happens to heads, where sizes
    /// and rows allow it: fewer dispatches for more work.
    pub fused: bool,
}

/// The variants for both kinds of passes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Arrangements {
    /// For few rows, one or some more.
    pub decode: Arrangement,
    /// For many rows.
    pub prefill: Arrangement,
}

/// What computes on software adapters, the simplest first: on their vectors of eight, more lanes win nothing but
/// reach.
pub(super) const SOFTWARE_LANES: [Lanes; 3] = [Lanes::One(8), Lanes::Barrier(8), Lanes::Barrier(64)];

impl Arrangements {
    /// What is likely fast on an adapter, before anything was measured there.
    pub(super) fn guess(gpu: &Gpu, reach: &Reach) -> Self {
        if gpu.info().device_type == DeviceType::Cpu {
            let (rows, attend) = (reach.coding(&SOFTWARE_LANES), reach.attending(&SOFTWARE_LANES));
            let product = Tile { splits: 1, tokens: 1, dot: Dot::Unpacked };
            let decode = Arrangement { rows, heads: SOFTWARE_LANES[0], attend, product, fused: false };
            return Self { decode, prefill: decode };
        }
        let meet = if gpu.has_subgroups() { Lanes::Subgroup } else { Lanes::Barrier };
        let product = Tile { splits: 4, tokens: 1, dot: Dot::Packed };
        let (rows, heads, attend) = (meet(256), meet(32), meet(64));
        let decode = Arrangement { rows, heads, attend, product, fused: gpu.has_room_to_fuse() };
        let product = Tile { splits: 2, tokens: 8, dot: Dot::Packed };
        let prefill = Arrangement { product, fused: false, ..decode };
        Self { decode, prefill }
    }
}

impl Arrangements {
    /// Whether every size is one that the kernels are written for: lanes that meet halve their number at each
    /// step, and an input that a workgroup makes for itself is one token's.
    pub(super) fn is_sound(&self) -> bool {
        let power = |size: u32, most: u32| size.is_power_of_two() && size <= most;
        let lanes = |lanes: Lanes| power(lanes.workgroup(), 256) && (lanes.workgroup() > 1);
        let singly = !self.decode.fused || self.decode.product.tokens == 1;
        singly
            && !self.prefill.fused
            && [self.decode, self.prefill].iter().all(|a| {
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
    groups: Vec<BindGroup>,
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
        for (index, group) in (0..).zip(&self.groups) {
            pass.set_bind_group(index, group, &[]);
        }
        pass.dispatch_workgroups(x, y, 1);
    }
}
