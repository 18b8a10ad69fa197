//! The text of every kernel, put together from the files in `kernels/`.
//!
//! WGSL has no includes: a kernel is the words it uses, one after the other, and a few constants. A variant
//! swaps single words (how lanes meet, how four bytes are multiplied), so that every variant computes the same
//! integers in another arrangement.

mod text;

use serde::{Deserialize, Serialize};

/// How the invocations of a group share its work.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Lanes {
    /// One invocation does it all; so many groups make a workgroup. Without barriers, for processors.
    One(u32),
    /// A workgroup of so many, a power of two, meets at barriers.
    Barrier(u32),
    /// A workgroup of so many meets by subgroups.
    Subgroup(u32),
}

/// How four pairs of bytes are multiplied and added.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Dot {
    /// `dot4I8Packed`.
    Packed,
    /// Byte by byte in 32-bit lanes.
    Unpacked,
}

/// The arrangement of a matrix product.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Tile {
    /// Invocations that share the blocks of a matrix row.
    pub splits: u32,
    /// Tokens an invocation computes.
    pub tokens: u32,
    /// How bytes are multiplied.
    pub dot: Dot,
}

/// How codes lie in memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Form {
    /// Four bits a code; with minima, or less a constant offset of 8.
    Nibbles {
        /// Whether the codes stand for themselves less 8.
        offset: bool,
    },
    /// Eight bits a code, one scale a block.
    Bytes {
        /// Whether blocks have minima.
        minima: bool,
    },
    /// Eight bits a code, a scale for each half of a block.
    Halves,
    /// Two limbs of eight bits a code.
    Words,
}

/// What becomes of a product.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Keep {
    /// It is stored for the next operator.
    Store,
    /// It is stored, gates behind `silu`.
    Gates,
    /// It is added to the residual stream.
    Residual,
    /// It becomes logits.
    Logits,
}

/// Which values of a head are turned together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rope {
    /// Neighbours.
    Pairs,
    /// One of each half.
    Halves,
}

/// Where the scale of a head comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HeadScale {
    /// From the product that all heads are of.
    Product,
    /// From what was done with the head since.
    Own,
}

/// An operator that codes whole rows for products.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "each is named as its file")]
pub enum RowOp {
    NormQuant,
    JoinHeads,
    SiluMul,
}

/// Where the input of a product comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Input {
    /// From memory.
    Stored,
    /// Every workgroup makes it for itself.
    Made {
        /// What makes it.
        by: RowOp,
        /// How the invocations of the workgroup meet meanwhile.
        lanes: Lanes,
        /// Blocks of the input.
        blocks: u32,
    },
}

/// A kernel in one of its variants.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "each is named as its file")]
pub enum Kernel {
    Embed(Form),
    Rows(RowOp, Lanes),
    Matmul(Form, Keep, Tile, Input),
    HeadForm(Lanes),
    HeadQuant(Rope, HeadScale, Lanes),
    Attend(Lanes),
    /// `heads_together`
    Heads(Rope, HeadScale, Lanes),
    Sample,
    Choose,
}

/// Invocations of a workgroup in kernels without lanes.
const PLAIN_WORKGROUP: u32 = 64;
/// Rows of a panel.
pub const PANEL: u32 = 32;

impl Kernel {
    /// Invocations of a workgroup.
    pub fn workgroup(self) -> u32 {
        match self {
            Self::Matmul(_, _, tile, _) => tile.workgroup(),
            Self::Rows(_, lanes)
            | Self::HeadForm(lanes)
            | Self::HeadQuant(_, _, lanes)
            | Self::Attend(lanes)
            | Self::Heads(_, _, lanes) => lanes.workgroup(),
            Self::Embed(_) | Self::Sample | Self::Choose => PLAIN_WORKGROUP,
        }
    }

    /// Name for labels and reports: the stem of the kernel's file, or of both.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embed(_) => "embed",
            Self::Rows(RowOp::NormQuant, _) => "norm_quant",
            Self::Rows(RowOp::JoinHeads, _) => "join_heads",
            Self::Rows(RowOp::SiluMul, _) => "silu_mul",
            Self::Matmul(.., Input::Stored) => "matmul",
            Self::Matmul(.., Input::Made { by: RowOp::NormQuant, .. }) => "norm_quant, matmul",
            Self::Matmul(.., Input::Made { by: RowOp::JoinHeads, .. }) => "join_heads, matmul",
            Self::Matmul(.., Input::Made { by: RowOp::SiluMul, .. }) => "silu_mul, matmul",
            Self::HeadForm(_) => "head_form",
            Self::HeadQuant(..) => "head_quant",
            Self::Attend(_) => "attend",
            Self::Heads(..) => "heads_together",
            Self::Sample => "sample",
            Self::Choose => "choose",
        }
    }
}

impl Input {
    /// Words of the codes of a block: two limbs a column.
    const BLOCK_WORDS: u32 = 16;

    /// An input that a product's workgroups make, whose lanes meet by subgroups if those of `rows` do.
    pub fn made(by: RowOp, rows: Lanes, tile: Tile, blocks: u32) -> Self {
        let lanes = match rows {
            Lanes::Subgroup(_) => Lanes::Subgroup(tile.workgroup()),
            Lanes::One(_) | Lanes::Barrier(_) => Lanes::Barrier(tile.workgroup()),
        };
        Self::Made { by, lanes, blocks }
    }

    /// Bytes of a workgroup's memory that codes and block sums take, where they are made.
    pub fn workgroup_bytes(self) -> u32 {
        match self {
            Self::Stored => 0,
            Self::Made { blocks, .. } => 4 * (Self::BLOCK_WORDS + 1) * blocks,
        }
    }
}

impl Tile {
    /// Invocations of a workgroup.
    pub fn workgroup(self) -> u32 {
        PANEL * self.splits
    }
}

impl Lanes {
    /// Invocations of a workgroup.
    pub fn workgroup(self) -> u32 {
        let (Self::One(size) | Self::Barrier(size) | Self::Subgroup(size)) = self;
        size
    }

    /// Invocations that share the work of a group.
    pub fn sharing(self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Barrier(size) | Self::Subgroup(size) => size as usize,
        }
    }

    /// Workgroups that so many groups take.
    pub fn workgroups(self, groups: u32) -> u32 {
        match self {
            Self::One(together) => groups.div_ceil(together),
            Self::Barrier(_) | Self::Subgroup(_) => groups,
        }
    }
}

#[cfg(test)]
mod tests {
    use wgpu::naga::{
        front::wgsl,
        valid::{Capabilities, ValidationFlags, Validator},
    };

    use super::*;

    fn kernels() -> Vec<Kernel> {
        let lanes = [Lanes::One(8), Lanes::Barrier(64), Lanes::Subgroup(64)];
        let forms = [
            Form::Nibbles { offset: false },
            Form::Nibbles { offset: true },
            Form::Bytes { minima: false },
            Form::Bytes { minima: true },
            Form::Halves,
            Form::Words,
        ];
        let tiles = [1, 4].into_iter().flat_map(|splits| {
            [Dot::Packed, Dot::Unpacked].map(|dot| [1, 8].map(|tokens| Tile { splits, tokens, dot }))
        });
        let tiles: Vec<Tile> = tiles.flatten().collect();
        let keeps = [Keep::Store, Keep::Gates, Keep::Residual, Keep::Logits];
        let ops = [RowOp::NormQuant, RowOp::JoinHeads, RowOp::SiluMul];
        let mut all: Vec<Kernel> = forms.map(Kernel::Embed).into();
        for (form, keep) in forms.iter().flat_map(|form| keeps.map(|keep| (*form, keep))) {
            all.extend(tiles.iter().map(|tile| Kernel::Matmul(form, keep, *tile, Input::Stored)));
            let single = tiles.iter().filter(|tile| tile.tokens == 1);
            all.extend(single.flat_map(|tile| {
                let size = tile.workgroup();
                let lanes = [Lanes::Barrier(size), Lanes::Subgroup(size)];
                let made = lanes.map(|lanes| ops.map(|by| Input::Made { by, lanes, blocks: 18 }));
                made.into_iter().flatten().map(|input| Kernel::Matmul(form, keep, *tile, input))
            }));
        }
        for lanes in lanes {
            for scale in [HeadScale::Product, HeadScale::Own] {
                all.extend([Rope::Pairs, Rope::Halves].map(|rope| Kernel::HeadQuant(rope, scale, lanes)));
                all.extend([Rope::Pairs, Rope::Halves].map(|rope| Kernel::Heads(rope, scale, lanes)));
            }
            all.extend([Kernel::HeadForm, Kernel::Attend].map(|kernel| kernel(lanes)));
            all.extend(ops.map(|op| Kernel::Rows(op, lanes)));
        }
        all.extend([Kernel::Sample, Kernel::Choose]);
        all
    }

    #[test]
    fn every_variant_is_a_valid_module_of_its_workgroup() {
        for kernel in kernels() {
            let source = kernel.source();
            let module = wgsl::parse_str(&source)
                .unwrap_or_else(|error| panic!("{kernel:?}: {}", error.emit_to_string(&source)));
            let mut validator = Validator::new(ValidationFlags::all(), Capabilities::SUBGROUP);
            if let Err(error) = validator.validate(&module) {
                panic!("{kernel:?}: {}", error.emit_to_string(&source));
            }
            assert_eq!(module.entry_points[0].workgroup_size, [kernel.workgroup(), 1, 1], "{kernel:?}");
        }
    }

    #[test]
    fn no_kernel_computes_with_floats() {
        for kernel in kernels() {
            let source = kernel.source();
            assert!(!source.contains("f32") && !source.contains("f16"), "{kernel:?}");
        }
    }
}
