//! Known answers of the kernel that does all that happens to heads between two products.

use gridhour_protocol::exact::tables::{RopePair, RopePairs};

use super::{
    super::{
        super::{
            cpu::{
                attend::HeadLaw,
                head_form::form_heads,
                head_quant::head_quant,
                kv_store::KvShape,
                rope::{SCALE_SHIFT, rotate},
            },
            device::PAGE,
            fixed::Scale,
            head_form::HeadForm,
            isa::Kernels,
        },
        shader::{HeadScale, Kernel, Lanes, Rope},
        weights::form_words,
    },
    Answer, Case, Filled,
    attention::{attend_to, pairs, place, stored},
    draw::{Draw, scale_words, words},
    heads::{HEAD_DIM, HEADS, KV_HEADS, POSITIONS, ROWS, forms, together, turn_words, turns},
};

/// Heads of a row of the product.
const ALL: usize = HEADS + 2 * KV_HEADS;
/// Pages of the cache.
const PAGES: usize = 6;
/// The page tables of the rows, each a text of its own.
const TABLES: [&[u32]; ROWS] = [&[2], &[0], &[5, 1, 4]];
/// What the processor keeps of it.
const SHAPE: KvShape = KvShape { layers: 1, heads: KV_HEADS, head_dim: HEAD_DIM };
/// Heads of the cache in its pages.
const PAGED: usize = PAGES * 2 * KV_HEADS * PAGE;

pub(super) fn cases(lanes: Lanes, draw: &mut Draw) -> Vec<Case> {
    let ways = [HeadScale::Product, HeadScale::Own];
    ways.into_iter()
        .flat_map(|way| [Rope::Pairs, Rope::Halves].map(|rope| (rope, way)))
        .map(|(rope, way)| case(rope, way, lanes, draw))
        .collect()
}

/// A cache of earlier positions, to which the rows add theirs.
struct Cache {
    codes: Vec<i16>,
    scales: Vec<Scale>,
}

impl Cache {
    fn draw(draw: &mut Draw) -> Self {
        let codes = (0..PAGED * HEAD_DIM).map(|_| draw.code()).collect();
        // Scales of a text are of similar size, so that many positions count.
        let scale = |draw: &mut Draw| match draw.below(16) {
            0 => Scale::ZERO,
            _ => Scale::from(draw.word() >> 30 | 1, -50),
        };
        Self { codes, scales: (0..PAGED).map(|_| scale(draw)).collect() }
    }

    /// Room for it, and for the heads beside its pages.
    fn words(&self) -> [Vec<u32>; 2] {
        let mut words = [pairs(&self.codes), scale_words(self.scales.iter().copied())];
        words[0].resize((PAGED + 2 * ROWS * HEADS) * HEAD_DIM / 2, 0xdead_beef);
        words[1].resize(2 * (PAGED + 2 * ROWS * HEADS), 0xdead_beef);
        words
    }

    fn put(&mut self, place: usize, codes: &[i16], scale: Scale) {
        self.codes[place * HEAD_DIM..][..HEAD_DIM].copy_from_slice(codes);
        self.scales[place] = scale;
    }
}

/// The rows of a batch, and their tables behind them.
fn batch() -> Vec<u32> {
    let mut firsts = Vec::new();
    let mut tables = Vec::new();
    for table in TABLES {
        firsts.push((5 * ROWS + tables.len()) as u32);
        tables.extend(table);
    }
    let rows = POSITIONS.iter().zip(firsts).flat_map(|(position, first)| [0, *position as u32, first, 0]);
    rows.chain([0; ROWS]).chain(tables).collect()
}

/// What the rows give beside their keys and values.
#[derive(Default)]
struct Answered {
    queries: Vec<u32>,
    attended: Vec<u32>,
    scales: Vec<Scale>,
}

/// What the heads of the rows are made of.
struct Heads {
    products: Vec<Vec<i32>>,
    scales: Vec<Scale>,
    exponents: [i32; 3],
    forms: [HeadForm; 3],
    turns: Vec<RopePair>,
}

impl Heads {
    fn draw(way: HeadScale, draw: &mut Draw) -> Self {
        Self {
            products: (0..ROWS * ALL).map(|_| draw.vector(HEAD_DIM)).collect(),
            scales: (0..ROWS).map(|_| Scale::from(draw.word() >> 34 | 1, -57)).collect(),
            exponents: std::array::from_fn(|_| draw.below(6) as i32 - 3),
            forms: match way {
                HeadScale::Product => [const { HeadForm::Plain }; 3],
                HeadScale::Own => forms(draw),
            },
            turns: turns(draw),
        }
    }

    /// The codes of the heads of a kind of a row, formed, turned and coded.
    fn coded(&self, row: usize, kind: usize, rope: RopePairs) -> (Vec<i16>, Vec<Scale>) {
        let (first, count) = [(0, HEADS), (HEADS, KV_HEADS), (HEADS + KV_HEADS, KV_HEADS)][kind];
        let mut values = self.products[row * ALL + first..][..count].concat();
        let mut scales = vec![self.scales[row].exp2(self.exponents[kind]); count];
        form_heads(&self.forms[kind], &mut values, &mut scales, &mut Vec::new());
        if kind < 2 {
            let turns = &self.turns[POSITIONS[row] * HEAD_DIM / 2..][..HEAD_DIM / 2];
            rotate(Kernels::PORTABLE, &mut values, turns, rope);
            scales.iter_mut().for_each(|scale| *scale = scale.exp2(SCALE_SHIFT));
        }
        let mut codes = vec![0; values.len()];
        head_quant(Kernels::PORTABLE, &values, &mut codes, &mut scales);
        (codes, scales)
    }

    /// What all rows give; their keys and values go into `cache`.
    fn answered(&self, rope: RopePairs, cache: &mut Cache) -> Answered {
        let mut answered = Answered::default();
        for (row, position) in POSITIONS.into_iter().enumerate() {
            for (kind, is_value) in [(1, false), (2, true)] {
                let (codes, scales) = self.coded(row, kind, rope);
                for (head, (codes, scale)) in codes.chunks_exact(HEAD_DIM).zip(scales).enumerate() {
                    cache.put(place((TABLES[row], KV_HEADS), position, head, is_value), codes, scale);
                }
            }
            let store = stored(SHAPE, TABLES[row], &cache.codes, &cache.scales);
            let (codes, scales) = self.coded(row, 0, rope);
            answered.queries.extend(pairs(&codes));
            for (head, query) in codes.chunks_exact(HEAD_DIM).zip(scales).enumerate() {
                let kv_head = head / (HEADS / KV_HEADS);
                let (words, scale) = attend_to(&store, (TABLES[row], kv_head), position + 1, query);
                answered.attended.extend(words);
                answered.scales.push(scale);
            }
        }
        answered
    }

    fn params(&self, law: &HeadLaw) -> Vec<u32> {
        let firsts = [0, HEADS, HEADS + KV_HEADS].map(|head| (head * HEAD_DIM) as u32);
        let sizes = [HEADS, KV_HEADS, HEAD_DIM, ALL * HEAD_DIM].map(|size| size as u32);
        let to_bits = law.to_bits();
        let law = [law.dot_shift(), to_bits.m, to_bits.e as u32, PAGED as u32];
        [&sizes[..], &form_words(&self.forms.each_ref(), &firsts, &self.exponents).0, &law].concat()
    }
}

fn case(rope: Rope, way: HeadScale, lanes: Lanes, draw: &mut Draw) -> Case {
    let seed = draw.word();
    let mut draw = Draw::new(seed);
    let (heads, mut cache) = (Heads::draw(way, &mut draw), Cache::draw(&mut draw));
    let (law, [codes_before, scales_before]) = (HeadLaw::new(HEAD_DIM), cache.words());
    let Answered { queries, attended, scales } = heads.answered(together(rope), &mut cache);
    let room = |words: usize| vec![0xdead_beef; words];
    let positions = 3 * PAGE;
    let storage = vec![
        batch(),
        words(&heads.products.concat()),
        scale_words(heads.scales.iter().copied()),
        form_words(&heads.forms.each_ref(), &[0; 3], &heads.exponents).1,
        turn_words(&heads.turns),
        room(3 * ROWS * HEADS * HEAD_DIM),
        room(queries.len()),
        codes_before,
        scales_before,
        room(ROWS * HEADS * positions),
        room(attended.len()),
        room(2 * scales.len()),
    ];
    Case {
        kernel: Kernel::Heads(rope, way, lanes),
        input: format!("{ALL} heads of {HEAD_DIM} at positions {POSITIONS:?} drawn from {seed:#x}"),
        pass: [ROWS as u32, ROWS as u32, positions as u32, 1],
        own: Filled { params: heads.params(&law), storage },
        rows: None,
        grid: (lanes.workgroups(HEADS as u32), ROWS as u32),
        results: vec![
            Answer::own(6, "codes of queries", queries),
            Answer::own(7, "codes of keys and values", pairs(&cache.codes)),
            Answer::own(8, "scales of keys and values", scale_words(cache.scales.iter().copied())),
            Answer::own(10, "sums", attended),
            Answer::own(11, "scales", scale_words(scales)),
        ],
    }
}
