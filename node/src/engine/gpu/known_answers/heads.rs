//! Known answers of the kernels that see heads: their coding, and attention over pages.

use super::{
    super::{
        super::{
            cpu::{
                attend::{AttendScratch, HeadLaw, Queries, attend},
                head_form::form_heads,
                head_quant::head_quant,
                kv_store::{KvEntry, KvPlace, KvShape, KvStore},
                rope::{SCALE_SHIFT, rotate},
            },
            device::{PAGE, PageId},
            fixed::{Scale, narrow_shift, round_shift},
            head_form::HeadForm,
            isa::Kernels,
            norm_weights::HeadNorm,
            row_weights::RowWeights,
        },
        shader::{HeadScale, Kernel, Lanes, Rope},
        weights::form_words,
    },
    Case,
    draw::{Draw, scale_words, words},
};
use gridhour_protocol::exact::tables::{RopePair, RopePairs};

/// Query heads, key-value heads, and the size of both.
const HEADS: usize = 6;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 24;
/// Rows of a case.
const ROWS: usize = 3;
/// Pages of the cache; a row's table names some of them, in no order.
const PAGES: usize = 4;
/// Positions of the rows: one, a whole page, and some over two pages.
const POSITIONS: [usize; ROWS] = [0, PAGE - 1, 2 * PAGE + 5];
/// The table of every row.
const TABLE: [u32; 3] = [2, 0, 3];

pub(super) fn cases(coding: Lanes, attention: Lanes, draw: &mut Draw) -> Vec<Case> {
    let ways = [
        (Rope::Pairs, HeadScale::Product),
        (Rope::Pairs, HeadScale::Own),
        (Rope::Halves, HeadScale::Product),
        (Rope::Halves, HeadScale::Own),
    ];
    let mut cases: Vec<Case> = ways.map(|way| quant(way, coding, draw)).into();
    cases.push(formed(coding, draw));
    cases.push(attended(attention, draw));
    cases
}

/// The rows of a batch, and their table behind them.
fn batch() -> Vec<u32> {
    let table = (5 * ROWS) as u32;
    let rows = POSITIONS.iter().flat_map(|position| [0, *position as u32, table, 0]);
    rows.chain([0; ROWS]).chain(TABLE).collect()
}

/// Where a position of a key-value head lies in the cache, counted in heads.
fn place(position: usize, kv_head: usize, is_value: bool) -> usize {
    let page = TABLE[position / PAGE] as usize;
    (page * 2 * KV_HEADS + if is_value { KV_HEADS } else { 0 } + kv_head) * PAGE + position % PAGE
}

/// Two codes a word.
fn pairs(codes: &[i16]) -> Vec<u32> {
    let (both, _) = codes.as_chunks::<2>();
    both.iter().map(|[low, high]| u32::from(*low as u16) | u32::from(*high as u16) << 16).collect()
}

fn quant((rope, own): (Rope, HeadScale), lanes: Lanes, draw: &mut Draw) -> Case {
    let seed = draw.word();
    let mut draw = Draw::new(seed);
    let heads = HEADS + 2 * KV_HEADS;
    let turns: Vec<RopePair> = (0..=POSITIONS[ROWS - 1] * (HEAD_DIM / 2) + HEAD_DIM)
        .map(|_| RopePair { cos: draw.value(1 << 30, 3), sin: draw.value(1 << 29, 3) })
        .collect();
    let product: Vec<Vec<i32>> = (0..ROWS * heads).map(|_| draw.vector(HEAD_DIM)).collect();
    let scales: Vec<Scale> = (0..ROWS * heads).map(|_| draw.scale()).collect();
    let exponents: [i32; 3] = std::array::from_fn(|_| draw.below(60) as i32 - 30);
    let together = match rope {
        Rope::Pairs => RopePairs::Neighbours,
        Rope::Halves => RopePairs::Halves,
    };
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
            rotate(Kernels::PORTABLE, &mut values, turns, together);
            scale = scale.exp2(SCALE_SHIFT);
        }
        let (mut codes, mut coded) = ([0; HEAD_DIM], [scale]);
        head_quant(Kernels::PORTABLE, &values, &mut codes, &mut coded);
        if head < HEADS {
            queries.0.extend(pairs(&codes));
            queries.1.extend(scale_words(coded));
        } else {
            let at = place(POSITIONS[row], (head - HEADS) % KV_HEADS, is_value);
            cache.0[at * HEAD_DIM / 2..][..HEAD_DIM / 2].copy_from_slice(&pairs(&codes));
            cache.1[2 * at..][..2].copy_from_slice(&scale_words(coded));
        }
    }
    let sizes = [HEADS, KV_HEADS, HEAD_DIM, heads * HEAD_DIM, HEADS * HEAD_DIM];
    let value_first = (HEADS + KV_HEADS) * HEAD_DIM;
    let params = sizes.iter().chain([&value_first]).map(|size| *size as u32);
    let turn_words = turns.iter().flat_map(|turn| [turn.cos as u32, turn.sin as u32]).collect();
    let room = |words: &[u32]| vec![0; words.len()];
    Case {
        kernel: Kernel::HeadQuant(rope, own, lanes),
        input: format!("{heads} heads of {HEAD_DIM} at positions {POSITIONS:?} drawn from {seed:#x}"),
        pass: [ROWS as u32, ROWS as u32, 3 * PAGE as u32, 1],
        params: params.chain(exponents.map(|exponent| exponent as u32)).collect(),
        storage: vec![
            batch(),
            words(&product.concat()),
            scale_words(scales),
            turn_words,
            room(&queries.0),
            room(&queries.1),
            room(&cache.0),
            room(&cache.1),
        ],
        grid: (lanes.workgroups(heads as u32), ROWS as u32),
        results: vec![
            (4, "codes of queries", queries.0),
            (5, "scales of queries", queries.1),
            (6, "codes of keys and values", cache.0),
            (7, "scales of keys and values", cache.1),
        ],
    }
}

fn formed(lanes: Lanes, draw: &mut Draw) -> Case {
    let seed = draw.word();
    let mut draw = Draw::new(seed);
    let heads = HEADS + 2 * KV_HEADS;
    let mut row = |len: usize, zeros: bool| RowWeights {
        values: (0..len).map(|_| if zeros { 0 } else { draw.value(66_568_320, 20) }).collect(),
        exponent: draw.below(60) as i32 - 20,
        matrix_exponent: 0,
    };
    // Queries with biases, keys with norms, values with biases that are all zero.
    let biases = HeadForm::Biased(row(HEADS * HEAD_DIM, false));
    let (weights, none) = (row(HEAD_DIM, false), HeadForm::Biased(row(KV_HEADS * HEAD_DIM, true)));
    let forms = [&biases, &HeadForm::Normed(HeadNorm { weights, epsilon: Scale::from(0x5a83, -60) }), &none];
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
            form_heads(forms[kind], &mut formed, &mut each, &mut Vec::new());
            values.extend(words(&formed));
            formed_scales.extend(scale_words(each));
        }
    }
    let stride = (heads * HEAD_DIM) as u32;
    let firsts = [0, HEADS, HEADS + KV_HEADS].map(|head| (head * HEAD_DIM) as u32);
    let (params, weights) = form_words(&forms, &firsts, &exponents);
    let sizes = [HEADS as u32, KV_HEADS as u32, HEAD_DIM as u32, stride];
    Case {
        kernel: Kernel::HeadForm(lanes),
        input: format!("{ROWS} rows of {heads} heads of {HEAD_DIM} drawn from {seed:#x}"),
        pass: [ROWS as u32, ROWS as u32, PAGE as u32, 1],
        params: sizes.into_iter().chain(params).collect(),
        storage: vec![
            words(&products.concat()),
            scale_words(scales),
            weights,
            vec![0xdead_beef; formed_scales.len()],
        ],
        grid: (lanes.workgroups(heads as u32), ROWS as u32),
        results: vec![(0, "heads", values), (3, "scales of heads", formed_scales)],
    }
}

/// The same cache as the processor has it.
fn stored(codes: &[i16], scales: &[Scale]) -> KvStore {
    let mut store = KvStore::new(KvShape { layers: 1, heads: KV_HEADS, head_dim: HEAD_DIM });
    for (position, head) in (0..TABLE.len() * PAGE).flat_map(|at| (0..KV_HEADS).map(move |head| (at, head))) {
        let (page, slot) = (PageId(TABLE[position / PAGE]), position % PAGE);
        let [key, value] = [false, true].map(|is_value| {
            let at = place(position, head, is_value);
            (&codes[at * HEAD_DIM..][..HEAD_DIM], scales[at])
        });
        store.back(page).expect("a little memory");
        store.write(KvPlace { layer: 0, head, page, slot }, KvEntry { key, value });
    }
    store
}

fn attended(lanes: Lanes, draw: &mut Draw) -> Case {
    let seed = draw.word();
    let mut draw = Draw::new(seed);
    let law = HeadLaw::new(HEAD_DIM);
    let cached = PAGES * 2 * KV_HEADS * PAGE;
    let codes: Vec<i16> = (0..cached * HEAD_DIM).map(|_| draw.code()).collect();
    // Scales of a text are of similar size, so that many positions count.
    let scales: Vec<Scale> = (0..cached)
        .map(|_| if draw.below(16) == 0 { Scale::ZERO } else { Scale::from(draw.word() >> 30 | 1, -50) })
        .collect();
    let queries: Vec<i16> = (0..ROWS * HEADS * HEAD_DIM).map(|_| draw.code()).collect();
    let query_scales: Vec<Scale> =
        (0..ROWS * HEADS).map(|_| Scale::from(draw.word() >> 34 | 1, -56)).collect();
    let store = stored(&codes, &scales);
    let table = TABLE.map(PageId);
    let mut expected = (Vec::new(), Vec::new());
    for (at, query) in queries.chunks_exact(HEAD_DIM).enumerate() {
        let (row, kv_head) = (at / HEADS, at % HEADS / (HEADS / KV_HEADS));
        let pages = store.head((0, kv_head), &table, POSITIONS[row] + 1);
        let (mut out, mut scale) = ([0; HEAD_DIM], [Scale::ZERO]);
        let query =
            Queries { codes: query, scales: &query_scales[at..=at], sums: &mut out, sum_scales: &mut scale };
        attend(Kernels::PORTABLE, &law, query, pages, &mut AttendScratch::default());
        let shift = narrow_shift(out.iter().map(|o| o.unsigned_abs()).max().unwrap_or(0));
        let narrowed = out.iter().map(|o| round_shift(*o, shift));
        expected.0.extend(narrowed.flat_map(|o| [o as u32, (o >> 32) as u32]));
        expected.1.extend(scale_words(scale.map(|scale| scale.exp2(shift as i32))));
    }
    let to_bits = law.to_bits();
    let positions = 3 * PAGE as u32;
    Case {
        kernel: Kernel::Attend(lanes),
        input: format!("{HEADS} heads of {HEAD_DIM} behind positions {POSITIONS:?} drawn from {seed:#x}"),
        pass: [ROWS as u32, ROWS as u32, positions, 1],
        params: vec![
            HEADS as u32,
            KV_HEADS as u32,
            HEAD_DIM as u32,
            law.dot_shift(),
            to_bits.m,
            to_bits.e as u32,
        ],
        storage: vec![
            batch(),
            pairs(&queries),
            scale_words(query_scales),
            pairs(&codes),
            scale_words(scales),
            vec![0; ROWS * HEADS * positions as usize],
            vec![0; expected.0.len()],
            vec![0; expected.1.len()],
        ],
        grid: (lanes.workgroups(HEADS as u32), ROWS as u32),
        results: vec![(6, "sums", expected.0), (7, "scales", expected.1)],
    }
}
