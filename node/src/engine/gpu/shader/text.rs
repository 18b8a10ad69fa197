//! The text of a kernel: the words it uses, one after the other.

use super::{
    super::super::device::PAGE, Dot, Form, HeadScale, Input, Keep, Kernel, Lanes, Rope, RowOp, Tile,
};

macro_rules! word {
    ($stem:literal) => {
        include_str!(concat!("../../kernels/", $stem, ".wgsl"))
    };
}

impl Kernel {
    /// The whole module.
    pub fn source(self) -> String {
        let mut text = format!("const PAGE: u32 = {PAGE}u;\n");
        text += &format!("const WORKGROUP: u32 = {}u;\n", self.workgroup());
        let words = match self {
            Self::Embed(form) => {
                text += &constants(form);
                vec![word!("fixed"), word!("pass"), codes(form), word!("embed")]
            }
            Self::Matmul(form, keep, tile, input) => {
                text += &constants(form);
                text += &format!("const TOKENS: u32 = {}u;\n", tile.tokens);
                text += &room(input);
                product(form, keep, tile, input)
            }
            Self::Rows(op, lanes) => [with_lanes(lanes), row_op(op), vec![word!("rows_stored")]].concat(),
            Self::HeadForm(lanes) => {
                let own = [word!("root"), word!("head_form"), word!("head_form_alone")];
                [&with_lanes(lanes)[..], &own].concat()
            }
            Self::HeadQuant(rope, scale, lanes) => {
                let own = [pairs(rope), scale_before(scale), word!("head_quant"), word!("head_quant_alone")];
                [&with_lanes(lanes)[..], &own].concat()
            }
            Self::Attend(lanes) => {
                let own = [word!("exp2_neg"), word!("attend"), word!("attend_alone")];
                [&with_lanes(lanes)[..], &own].concat()
            }
            Self::Heads(rope, scale, lanes) => {
                let own = [word!("exp2_neg"), word!("head_quant"), word!("attend"), word!("heads_together")];
                [with_lanes(lanes), formed(scale), vec![pairs(rope)], own.into()].concat()
            }
            Self::Sample => {
                vec![word!("fixed"), word!("pass"), word!("gumbel"), word!("candidate"), word!("sample")]
            }
            Self::Choose => vec![word!("fixed"), word!("pass"), word!("candidate"), word!("choose")],
        };
        text + &words.join("\n")
    }
}

/// What every kernel with lanes uses.
fn with_lanes(lanes: Lanes) -> Vec<&'static str> {
    let meeting = match lanes {
        Lanes::One(_) => word!("lanes_one"),
        Lanes::Barrier(_) => word!("lanes_barrier"),
        Lanes::Subgroup(_) => word!("lanes_subgroup"),
    };
    vec![word!("fixed"), word!("pass"), meeting, word!("a15")]
}

/// A product, and before it what makes its input, if it is made there.
fn product(form: Form, keep: Keep, tile: Tile, input: Input) -> Vec<&'static str> {
    // A workgroup is one group of lanes, which only meet where they make the input.
    let (lanes, made) = match input {
        Input::Stored => (Lanes::Barrier(tile.workgroup()), vec![word!("input_stored")]),
        Input::Made { by, lanes, .. } => (lanes, [row_op(by), vec![word!("input_made")]].concat()),
    };
    let own = [dot(tile.dot), codes(form), block(form), splits(tile)];
    [with_lanes(lanes), made, own.into(), kept(keep), vec![word!("matmul")]].concat()
}

fn row_op(op: RowOp) -> Vec<&'static str> {
    match op {
        RowOp::NormQuant => vec![word!("root"), word!("write_codes"), word!("norm_quant")],
        RowOp::JoinHeads => vec![word!("write_codes"), word!("join_heads")],
        RowOp::SiluMul => vec![word!("write_codes"), word!("silu_mul")],
    }
}

/// Sizes of the workgroup's memory for an input that is made there.
fn room(input: Input) -> String {
    match input {
        Input::Stored => String::new(),
        Input::Made { blocks, .. } => format!(
            "const INPUT_BLOCKS: u32 = {blocks}u;\nconst INPUT_WORDS: u32 = {}u;\n",
            Input::BLOCK_WORDS * blocks
        ),
    }
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

fn kept(keep: Keep) -> Vec<&'static str> {
    match keep {
        Keep::Store => vec![word!("product_store")],
        Keep::Gates => vec![word!("exp2_neg"), word!("product_gates")],
        Keep::Residual => vec![word!("residual")],
        Keep::Logits => vec![word!("logits")],
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

/// What is done with the heads of a product first.
fn formed(scale: HeadScale) -> Vec<&'static str> {
    match scale {
        HeadScale::Product => vec![word!("head_form_none")],
        HeadScale::Own => vec![word!("root"), word!("head_form")],
    }
}
