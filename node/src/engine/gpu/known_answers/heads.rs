//! Known answers of the kernels that see heads before attention: what is done with them, and their coding.

use super::{
    super::{
        super::{
            cpu::{
                head_form::form_heads,
                head_quant::head_quant,
                rope::{SCALE_SHIFT, rotate},
            },
            device::PAGE,
            fixed::Scale,
            head_form::HeadForm,
            isa::Kernels,
            norm_weights::HeadNorm,
            row_weights::RowWeights,
        },
        shader::{HeadScale, Kernel, Lanes, Rope},
        weights::form_words,
    },
    Answer, Case, Filled,
    attention::{batch, pairs, place},
    draw::{Draw, scale_words, words},
};
use gridhour_protocol::exact::tables::{RopePair, RopePairs};

/// Query heads, key-value heads, and the size of both.
pub(super) const HEADS: usize = 6;
pub(super) const KV_HEADS: usize = 2;
pub(super) const HEAD_DIM: usize = 24;
/// Rows of a case.
pub(super) const ROWS: usize = 3;
/// Pages of the cache; a row's table names some of them, in no order.
pub(super) const PAGES: usize = 4;
/// Positions of the rows: one, a whole page, and some over two pages.
pub(super) const POSITIONS: [usize; ROWS] = [0, PAGE - 1, 2 * PAGE + 5];
/// The table of every row.
pub(super) const TABLE: [u32; 3] = [2, 0, 3];

pub(super) fn cases(lanes: Lanes, draw: &mut Draw) -> Vec<Case> {
    let ways = [
        (Rope::Pairs, HeadScale::Product),
        (Rope::Pairs, HeadScale::Own),
        (Rope::Halves, HeadScale::Product),
        (Rope::Halves, HeadScale::Own),
    ];
    let mut cases: Vec<Case> = ways.map(|way| quant(way, lanes, draw)).into();
    cases.push(formed(lanes, draw));
    cases
}

/// Turns of every position of the rows.
pub(super) fn turns(draw: &mut Draw) -> Vec<RopePair> {
    (0..(POSITIONS[ROWS - 1] + 1) * (HEAD_DIM / 2))
        .map(|_| RopePair { cos: draw.value(1 << 30, 3), sin: draw.value(1 << 29, 3) })
        .collect()
}

pub(super) fn turn_words(turns: &[RopePair]) -> Vec<u32> {
    turns.iter().flat_map(|turn| [turn.cos as u32, turn.sin as u32]).collect()
}

/// Which values are turned together.
pub(super) fn together(rope: Rope) -> RopePairs {
    match rope {
        Rope::Pairs => RopePairs::Neighbours,
        Rope::Halves => RopePairs::Halves,
    }
}

fn quant((rope, own): (Rope, HeadScale), lanes: Lanes, draw: &mut Draw) -> Case {
    let seed = draw.word();
    let mut draw = Draw::new(seed);
    let heads = HEADS + 2 * KV_HEADS;
    let turns = turns(&mut draw);
    let product: Vec<Vec<i32>> = (0..ROWS * heads).map(|_| draw.vector(HEAD_DIM)).collect();
    let scales: Vec<Scale> = (0..ROWS * heads).map(|_| draw.scale()).collect();
    let exponents: [i32; 3] = std::array::from_fn(|_| draw.below(60) as i32 - 30);
    let mut queries = (Vec::new(), Vec::new());
    let cached = PAGES * 2 * KV_HEADS * PAGE;
    let mut cache = (vec![0u32; cached * HEAD_DIM / 2], vec![0u32; 2 * cached]);
    for (at, values) in product.iter().enumerate() {
        let (row, head) = (at / heads, at % heads);
        let is_value = head >= HEADS + KV_HEADS;
        let mut scale = match own {
            HeadScale::Own => scales[at],
            HeadScale::Product => {
                scales[row].exp2(exponents[usize::from(head >= HEADS) + usize::from(is_value)])
            }
        };
        let mut values = values.clone();
        if !is_value {
            let turns = &turns[POSITIONS[row] * HEAD_DIM / 2..][..HEAD_DIM / 2];
            rotate(Kernels::PORTABLE, &mut values, turns, together(rope));
            scale = scale.exp2(SCALE_SHIFT);
        }
        let (mut codes, mut coded) = ([0; HEAD_DIM], [scale]);
        head_quant(Kernels::PORTABLE, &values, &mut codes, &mut coded);
        if head < HEADS {
            queries.0.extend(pairs(&codes));
            queries.1.extend(scale_words(coded));
        } else {
            let at = place((&TABLE, KV_HEADS), POSITIONS[row], (head - HEADS) % KV_HEADS, is_value);
            cache.0[at * HEAD_DIM / 2..][..HEAD_DIM / 2].copy_from_slice(&pairs(&codes));
            cache.1[2 * at..][..2].copy_from_slice(&scale_words(coded));
        }
    }
    let sizes = [HEADS, KV_HEADS, HEAD_DIM, heads * HEAD_DIM, HEADS * HEAD_DIM];
    let value_first = (HEADS + KV_HEADS) * HEAD_DIM;
    let params = sizes.iter().chain([&value_first]).map(|size| *size as u32);
    let room = |words: &[u32]| vec![0; words.len()];
    Case {
        kernel: Kernel::HeadQuant(rope, own, lanes),
        input: format!("{heads} heads of {HEAD_DIM} at positions {POSITIONS:?} drawn from {seed:#x}"),
        pass: [ROWS as u32, ROWS as u32, 3 * PAGE as u32, 1],
        own: Filled {
            params: params.chain(exponents.map(|exponent| exponent as u32)).collect(),
            storage: vec![
                batch(&POSITIONS, &TABLE),
                words(&product.concat()),
                scale_words(scales),
                turn_words(&turns),
                room(&queries.0),
                room(&queries.1),
                room(&cache.0),
                room(&cache.1),
            ],
        },
        rows: None,
        grid: (lanes.workgroups(heads as u32), ROWS as u32),
        results: vec![
            Answer::own(4, "codes of queries", queries.0),
            Answer::own(5, "scales of queries", queries.1),
            Answer::own(6, "codes of keys and values", cache.0),
            Answer::own(7, "scales of keys and values", cache.1),
        ],
    }
}

/// Queries with biases, keys with norms, values with biases that are all zero.
pub(super) fn forms(draw: &mut Draw) -> [HeadForm; 3] {
    let mut row = |len: usize, zeros: bool| RowWeights {
        values: (0..len).map(|_| if zeros { 0 } else { draw.value(66_568_320, 20) }).collect(),
        exponent: draw.below(60) as i32 - 20,
        matrix_exponent: 0,
    };
    let biases = HeadForm::Biased(row(HEADS * HEAD_DIM, false));
    let (weights, none) = (row(HEAD_DIM, false), HeadForm::Biased(row(KV_HEADS * HEAD_DIM, true)));
    [biases, HeadForm::Normed(HeadNorm { weights, epsilon: Scale::from(0x5a83, -60) }), none]
}

fn formed(lanes: Lanes, draw: &mut Draw) -> Case {
    let seed = draw.word();
    let mut draw = Draw::new(seed);
    let heads = HEADS + 2 * KV_HEADS;
    let forms = forms(&mut draw);
    let products: Vec<Vec<i32>> = (0..ROWS * heads).map(|_| draw.vector(HEAD_DIM)).collect();
    let scales: Vec<Scale> = (0..ROWS).map(|_| draw.scale()).collect();
    let exponents: [i32; 3] = std::array::from_fn(|_| draw.below(60) as i32 - 30);
    let (mut values, mut formed_scales) = (Vec::new(), Vec::new());
    for (row, product) in products.chunks_exact(heads).enumerate() {
        let mut rest = product;
        for (kind, count) in [HEADS, KV_HEADS, KV_HEADS].into_iter().enumerate() {
            let (these, behind) = rest.split_at(count);
            rest = behind;
            let mut formed = these.concat();
            let mut each = vec![scales[row].exp2(exponents[kind]); count];
            form_heads(&forms[kind], &mut formed, &mut each, &mut Vec::new());
            values.extend(words(&formed));
            formed_scales.extend(scale_words(each));
        }
    }
    let stride = (heads * HEAD_DIM) as u32;
    let firsts = [0, HEADS, HEADS + KV_HEADS].map(|head| (head * HEAD_DIM) as u32);
    let (params, weights) = form_words(&forms.each_ref(), &firsts, &exponents);
    let sizes = [HEADS as u32, KV_HEADS as u32, HEAD_DIM as u32, stride];
    Case {
        kernel: Kernel::HeadForm(lanes),
        input: format!("{ROWS} rows of {heads} heads of {HEAD_DIM} drawn from {seed:#x}"),
        pass: [ROWS as u32, ROWS as u32, PAGE as u32, 1],
        own: Filled {
            params: sizes.into_iter().chain(params).collect(),
            storage: vec![
                words(&products.concat()),
                scale_words(scales),
                weights,
                vec![0xdead_beef; formed_scales.len()],
            ],
        },
        rows: None,
        grid: (lanes.workgroups(heads as u32), ROWS as u32),
        results: vec![Answer::own(0, "heads", values), Answer::own(3, "scales of heads", formed_scales)],
    }
}
