//! Known answers of attention over pages: short texts, and one as long as a model's.

use super::{
    super::{
        super::{
            cpu::{
                attend::{AttendScratch, HeadLaw, Queries, attend},
                kv_store::{KvEntry, KvPlace, KvShape, KvStore},
            },
            device::{PAGE, PageId},
            fixed::{Scale, narrow_shift, round_shift},
            isa::Kernels,
        },
        rounds::Reach,
        shader::{Kernel, Lanes},
    },
    Answer, Case, Filled,
    draw::{Draw, scale_words},
    heads::{HEAD_DIM, HEADS, KV_HEADS, PAGES, POSITIONS, TABLE},
};

/// Rows that attend, all by one page table.
struct Texts {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    /// Pages of the cache.
    pages: usize,
    table: Vec<u32>,
    /// The position of each row.
    positions: Vec<usize>,
}

/// Attention of a few rows over a few pages.
pub(super) fn short(lanes: Lanes, draw: &mut Draw) -> Case {
    let texts = Texts {
        heads: HEADS,
        kv_heads: KV_HEADS,
        head_dim: HEAD_DIM,
        pages: PAGES,
        table: TABLE.into(),
        positions: POSITIONS.into(),
    };
    texts.attended(lanes, draw)
}

/// Attention of a row at the last position of as long a text as a model has. The text comes back to the same pages.
pub(super) fn longest(lanes: Lanes, reach: &Reach, draw: &mut Draw) -> Case {
    let pages = reach.positions.div_ceil(PAGE);
    let texts = Texts {
        heads: 2,
        kv_heads: 1,
        head_dim: reach.head_dim,
        pages: pages.min(16),
        table: (0..pages as u32).map(|page| page % 16).collect(),
        positions: vec![reach.positions.max(1) - 1],
    };
    texts.attended(lanes, draw)
}

impl Texts {
    fn attended(&self, lanes: Lanes, draw: &mut Draw) -> Case {
        let seed = draw.word();
        let mut draw = Draw::new(seed);
        let Self { heads, kv_heads, head_dim, .. } = *self;
        let rows = self.positions.len();
        let cached = self.pages * 2 * kv_heads * PAGE;
        let codes: Vec<i16> = (0..cached * head_dim).map(|_| draw.code()).collect();
        // Scales of a text are of similar size, so that many positions count.
        let scales: Vec<Scale> = (0..cached)
            .map(|_| if draw.below(16) == 0 { Scale::ZERO } else { Scale::from(draw.word() >> 30 | 1, -50) })
            .collect();
        let queries: Vec<i16> = (0..rows * heads * head_dim).map(|_| draw.code()).collect();
        // From logits that are all but equal to some of which only the largest count.
        let query_scales: Vec<Scale> = (0..rows * heads)
            .map(|_| Scale::from(draw.word() >> 34 | 1, -56 + draw.below(20) as i32))
            .collect();
        let store = self.store(&codes, &scales);
        let mut expected = (Vec::new(), Vec::new());
        for (at, query) in queries.chunks_exact(head_dim).enumerate() {
            let (row, kv_head) = (at / heads, at % heads / (heads / kv_heads));
            let query = (query, query_scales[at]);
            let (sums, scale) = attend_to(&store, (&self.table, kv_head), self.positions[row] + 1, query);
            expected.0.extend(sums);
            expected.1.extend(scale_words([scale]));
        }
        let (law, positions) = (HeadLaw::new(head_dim), self.table.len() * PAGE);
        let to_bits = law.to_bits();
        let sizes = [heads, kv_heads, head_dim].map(|size| size as u32);
        Case {
            kernel: Kernel::Attend(lanes),
            input: format!(
                "{heads} heads of {head_dim} behind positions {:?} drawn from {seed:#x}",
                self.positions
            ),
            pass: [rows as u32, rows as u32, positions as u32, 1],
            own: Filled {
                params: [&sizes[..], &[law.dot_shift(), to_bits.m, to_bits.e as u32]].concat(),
                storage: vec![
                    batch(&self.positions, &self.table),
                    pairs(&queries),
                    scale_words(query_scales),
                    pairs(&codes),
                    scale_words(scales),
                    vec![0; rows * heads * positions],
                    vec![0; expected.0.len()],
                    vec![0; expected.1.len()],
                ],
            },
            rows: None,
            grid: (lanes.workgroups(heads as u32), rows as u32),
            results: vec![Answer::own(6, "sums", expected.0), Answer::own(7, "scales", expected.1)],
        }
    }

    fn store(&self, codes: &[i16], scales: &[Scale]) -> KvStore {
        let Self { kv_heads, head_dim, .. } = *self;
        // Each page once, however often the text comes back to it.
        let table = &self.table[..self.table.len().min(self.pages)];
        stored(KvShape { layers: 1, heads: kv_heads, head_dim }, table, codes, scales)
    }
}

/// The rows of a batch at these positions, and their table behind them.
pub(super) fn batch(positions: &[usize], table: &[u32]) -> Vec<u32> {
    let first = 5 * positions.len();
    let rows = positions.iter().flat_map(|position| [0, *position as u32, first as u32, 0]);
    rows.chain(positions.iter().map(|_| 0)).chain(table.iter().copied()).collect()
}

/// Two codes a word.
pub(super) fn pairs(codes: &[i16]) -> Vec<u32> {
    let (both, _) = codes.as_chunks::<2>();
    both.iter().map(|[low, high]| u32::from(*low as u16) | u32::from(*high as u16) << 16).collect()
}

/// Where a position of one of the key-value heads lies in a cache, counted in heads.
pub(super) fn place(
    (table, kv_heads): (&[u32], usize),
    position: usize,
    kv_head: usize,
    is_value: bool,
) -> usize {
    let page = table[position / PAGE] as usize;
    (page * 2 * kv_heads + if is_value { kv_heads } else { 0 } + kv_head) * PAGE + position % PAGE
}

/// A text's part of the cache, as the processor has it.
pub(super) fn stored(shape: KvShape, table: &[u32], codes: &[i16], scales: &[Scale]) -> KvStore {
    let KvShape { heads, head_dim, .. } = shape;
    let mut store = KvStore::new(shape);
    for (position, head) in (0..table.len() * PAGE).flat_map(|at| (0..heads).map(move |head| (at, head))) {
        let (page, slot) = (PageId(table[position / PAGE]), position % PAGE);
        let [key, value] = [false, true].map(|is_value| {
            let at = place((table, heads), position, head, is_value);
            (&codes[at * head_dim..][..head_dim], scales[at])
        });
        store.back(page).expect("a little memory");
        store.write(KvPlace { layer: 0, head, page, slot }, KvEntry { key, value });
    }
    store
}

/// What attention gives for one query, as kernels keep it: narrowed, two words a value, and the scale.
pub(super) fn attend_to(
    store: &KvStore,
    (table, kv_head): (&[u32], usize),
    positions: usize,
    query: (&[i16], Scale),
) -> (Vec<u32>, Scale) {
    let head_dim = query.0.len();
    let table: Vec<PageId> = table.iter().copied().map(PageId).collect();
    let pages = store.head((0, kv_head), &table, positions);
    let (law, mut out, mut scale) = (HeadLaw::new(head_dim), vec![0; head_dim], [Scale::ZERO]);
    let queries = Queries { codes: query.0, scales: &[query.1], sums: &mut out, sum_scales: &mut scale };
    attend(Kernels::PORTABLE, &law, queries, pages, &mut AttendScratch::default());
    let shift = narrow_shift(out.iter().map(|o| o.unsigned_abs()).max().unwrap_or(0));
    let narrowed = out.iter().map(|o| round_shift(*o, shift));
    (narrowed.flat_map(|o| [o as u32, (o >> 32) as u32]).collect(), scale[0].exp2(shift as i32))
}
