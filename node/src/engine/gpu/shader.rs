//! The text of every kernel, put together from the files in `kernels/`.
//!
//! WGSL has no includes: a kernel is the words it uses, one after the other, and a few constants. A variant
//! swaps single words (how lanes meet, how four bytes are multiplied), so that every variant computes the same
//! integers in another arrangement.

use serde::{Deserialize, Serialize};

use super::super::device::PAGE;

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

/// A kernel in one of its variants.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "each is named as its file")]
pub enum Kernel {
    Embed(Form),
    NormQuant(Lanes),
    Matmul(Form, Keep, Tile),
    HeadForm(Lanes),
    HeadQuant(Rope, HeadScale, Lanes),
    Attend(Lanes),
    JoinHeads(Lanes),
    SiluMul(Lanes),
    Sample,
    Choose,
}

/// Invocations of a workgroup in kernels without lanes.
const PLAIN_WORKGROUP: u32 = 64;
/// Rows of a panel.
pub const PANEL: u32 = 32;

macro_rules! word {
    ($stem:literal) => {
        include_str!(concat!("../kernels/", $stem, ".wgsl"))
    };
}

impl Kernel {
    /// The whole module.
    pub fn source(self) -> String {
        let mut text = format!("const PAGE: u32 = {PAGE}u;\n");
        text += &format!("const WORKGROUP: u32 = {}u;\n", self.workgroup());
        match self {
            Self::Embed(form) => {
                text += &constants(form);
                join(text, &[word!("fixed"), word!("pass"), codes(form), word!("embed")])
            }
            Self::Matmul(form, keep, tile) => {
                text += &constants(form);
                text += &format!("const TOKENS: u32 = {}u;\n", tile.tokens);
                let parts = [dot(tile.dot), codes(form), block(form), splits(tile), kept(keep)];
                join(text, &[&[word!("fixed"), word!("pass")], &parts[..], &[word!("matmul")]].concat())
            }
            Self::NormQuant(lanes) => {
                let own = [word!("root"), word!("write_codes"), word!("norm_quant")];
                join(text, &with_lanes(lanes, &own))
            }
            Self::HeadForm(lanes) => join(text, &with_lanes(lanes, &[word!("root"), word!("head_form")])),
            Self::HeadQuant(rope, scale, lanes) => {
                let own = [pairs(rope), scale_before(scale), word!("head_quant")];
                join(text, &with_lanes(lanes, &own))
            }
            Self::Attend(lanes) => join(text, &with_lanes(lanes, &[word!("exp2_neg"), word!("attend")])),
            Self::JoinHeads(lanes) => {
                join(text, &with_lanes(lanes, &[word!("write_codes"), word!("join_heads")]))
            }
            Self::SiluMul(lanes) => {
                let own = [word!("exp2_neg"), word!("write_codes"), word!("silu_mul")];
                join(text, &with_lanes(lanes, &own))
            }
            Self::Sample => join(
                text,
                &[word!("fixed"), word!("pass"), word!("gumbel"), word!("candidate"), word!("sample")],
            ),
            Self::Choose => join(text, &[word!("fixed"), word!("pass"), word!("candidate"), word!("choose")]),
        }
    }

    /// Invocations of a workgroup.
    pub fn workgroup(self) -> u32 {
        match self {
            Self::Matmul(_, _, tile) => PANEL * tile.splits,
            Self::NormQuant(lanes)
            | Self::HeadForm(lanes)
            | Self::HeadQuant(_, _, lanes)
            | Self::Attend(lanes)
            | Self::JoinHeads(lanes)
            | Self::SiluMul(lanes) => lanes.workgroup(),
            Self::Embed(_) | Self::Sample | Self::Choose => PLAIN_WORKGROUP,
        }
    }

    /// Name for labels and reports: the stem of the kernel's file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embed(_) => "embed",
            Self::NormQuant(_) => "norm_quant",
            Self::Matmul(..) => "matmul",
            Self::HeadForm(_) => "head_form",
            Self::HeadQuant(..) => "head_quant",
            Self::Attend(_) => "attend",
            Self::JoinHeads(_) => "join_heads",
            Self::SiluMul(_) => "silu_mul",
            Self::Sample => "sample",
            Self::Choose => "choose",
        }
    }
}

impl Lanes {
    /// Invocations of a workgroup.
    pub fn workgroup(self) -> u32 {
        let (Self::One(size) | Self::Barrier(size) | Self::Subgroup(size)) = self;
        size
    }

    /// Workgroups that so many groups take.
    pub fn workgroups(self, groups: u32) -> u32 {
        match self {
            Self::One(together) => groups.div_ceil(together),
            Self::Barrier(_) | Self::Subgroup(_) => groups,
        }
    }
}

fn join(mut text: String, parts: &[&str]) -> String {
    for part in parts {
        text.push('\n');
        text.push_str(part);
    }
    text
}

/// What every kernel with lanes uses, then the kernel's own.
fn with_lanes<'a>(lanes: Lanes, own: &[&'a str]) -> Vec<&'a str> {
    let meeting = match lanes {
        Lanes::One(_) => word!("lanes_one"),
        Lanes::Barrier(_) => word!("lanes_barrier"),
        Lanes::Subgroup(_) => word!("lanes_subgroup"),
    };
    [&[word!("fixed"), word!("pass"), meeting, word!("a15")], own].concat()
}

fn constants(form: Form) -> String {
    let sign_bit = if form == (Form::Nibbles { offset: true }) { "0x08080808u" } else { "0u" };
    let minima = form == Form::Bytes { minima: true };
    let halves = form == Form::Halves;
    format!(
        "const SIGN_BIT: u32 = {sign_bit};\nconst BYTES_HAVE_MINIMA: bool = {minima};\n\
         const HAS_HALVES: bool = {halves};\n"
    )
}

fn codes(form: Form) -> &'static str {
    match form {
        Form::Nibbles { .. } => word!("codes_nibbles"),
        Form::Bytes { .. } | Form::Halves => word!("codes_bytes"),
        Form::Words => word!("codes_words"),
    }
}

fn block(form: Form) -> &'static str {
    match form {
        Form::Nibbles { .. } | Form::Bytes { .. } => word!("block_whole"),
        Form::Halves => word!("block_halves"),
        Form::Words => word!("block_words"),
    }
}

fn dot(dot: Dot) -> &'static str {
    match dot {
        Dot::Packed => word!("dot_packed"),
        Dot::Unpacked => word!("dot_unpacked"),
    }
}

fn splits(tile: Tile) -> &'static str {
    if tile.splits == 1 { word!("splits_one") } else { word!("splits_many") }
}

fn kept(keep: Keep) -> &'static str {
    match keep {
        Keep::Store => word!("product_store"),
        Keep::Residual => word!("residual"),
        Keep::Logits => word!("logits"),
    }
}

fn pairs(rope: Rope) -> &'static str {
    match rope {
        Rope::Pairs => word!("rope"),
        Rope::Halves => word!("rope_halves"),
    }
}

fn scale_before(scale: HeadScale) -> &'static str {
    match scale {
        HeadScale::Product => word!("scale_of_product"),
        HeadScale::Own => word!("scale_of_head"),
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
        let keeps = [Keep::Store, Keep::Residual, Keep::Logits];
        let products = forms.iter().flat_map(|form| {
            keeps.iter().flat_map(|keep| tiles.iter().map(|tile| Kernel::Matmul(*form, *keep, *tile)))
        });
        let mut all: Vec<Kernel> = products.chain(forms.map(Kernel::Embed)).collect();
        for lanes in lanes {
            for scale in [HeadScale::Product, HeadScale::Own] {
                all.extend([Rope::Pairs, Rope::Halves].map(|rope| Kernel::HeadQuant(rope, scale, lanes)));
            }
            all.push(Kernel::HeadForm(lanes));
            all.extend(
                [Kernel::NormQuant, Kernel::Attend, Kernel::JoinHeads, Kernel::SiluMul].map(|k| k(lanes)),
            );
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
