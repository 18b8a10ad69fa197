//! Long texts and wide rows on a graphics adapter: as far as its loops reach, and not a position further.

use gridhour_node::engine::{
    Backend, Engine,
    device::{PAGE, PageId, Pass, Row},
    gpu::{
        known_answers::{self, Refusal, SEED},
        options::GpuOptions,
        program::{Arrangement, Arrangements},
        rounds::Reach,
        shader::{Dot, Lanes, Tile},
    },
    score_chain::Scores,
};
use testkit::{gguf::SmallModel, seeds::seeds, sim::rng::Rng};

use crate::engine_gpu::{load, on_gpu, open};

/// Positions of a long text: more than twice those that one invocation of Mesa's software driver attends to alone.
const LONG: u32 = 1_500;

fn arrangements(lanes: Lanes, fused: bool) -> Arrangements {
    let product = Tile { splits: 1, tokens: 1, dot: Dot::Unpacked };
    let prefill = Arrangement { rows: lanes, heads: lanes, attend: lanes, product, fused: false };
    Arrangements { decode: Arrangement { fused, ..prefill }, prefill }
}

const LANES: [Lanes; 4] = [Lanes::One(8), Lanes::Barrier(8), Lanes::Barrier(64), Lanes::Subgroup(64)];

#[test]
fn loops_reach_as_far_as_was_counted_and_an_adapter_that_leaves_them_early_is_refused() {
    let Some(gpu) = open() else { return };
    let limit = gpu.rounds_max();
    println!("rounds of all loops together: {limit:?}");
    // Adapters that do all rounds are asked for the lengths at which Mesa's driver ends.
    let counted = |head_dim, widest| Reach { positions: 0, head_dim, widest, limit: limit.or(Some(65_535)) };
    let check = |lanes, reach| {
        known_answers::check_far(&gpu, &arrangements(lanes, false), &reach, SEED, &mut |kernel| {
            gpu.pipeline(kernel)
        })
    };
    for lanes in LANES.into_iter().filter(|lanes| gpu.has_subgroups() || !matches!(lanes, Lanes::Subgroup(_)))
    {
        for head_dim in [32, 64, 128] {
            let least = counted(head_dim, 32);
            let reach = Reach { positions: least.attended(lanes), widest: least.coded(lanes), ..least };
            println!(
                "{lanes:?}, heads of {head_dim}: {} positions, {} columns",
                reach.positions, reach.widest
            );
            check(lanes, reach).unwrap_or_else(|refusal| panic!("{lanes:?}, {reach:?}: {refusal}"));
            if limit.is_none() {
                continue;
            }
            for (too_far, operators) in [
                (Reach { positions: 2 * reach.positions, widest: 32, ..reach }, &["attend"][..]),
                (Reach { positions: 1, widest: 2 * reach.widest, ..reach }, &["norm_quant", "silu_mul"]),
            ] {
                match check(lanes, too_far) {
                    Err(Refusal::Wrong { operator, .. }) => {
                        assert!(operators.contains(&operator), "{operator}")
                    }
                    other => panic!("{lanes:?} over {too_far:?}: {other:?}"),
                }
            }
        }
    }
}

/// The scores behind every 97th position of a text and the last ones, which are computed one by one.
fn scores(engine: &Engine, text: &[u32]) -> Vec<(usize, Vec<i32>, Vec<u32>)> {
    let pages = text.len().div_ceil(PAGE) as u32;
    let table: Vec<PageId> = (0..pages).rev().map(PageId).collect();
    let mut seen = Vec::new();
    let mut done = 0;
    while done < text.len() {
        let many = engine.device().rows_max().min(text.len() - done);
        let many = if done + 8 < text.len() { many.min(text.len() - 8 - done) } else { 1 };
        let rows: Vec<Row> =
            (done..done + many).map(|at| Row { token: text[at], position: at as u32, table: 0 }).collect();
        let wanted: Vec<usize> = (0..many).filter(|at| (done + at) % 97 == 0 || many == 1).collect();
        let see = |row: usize, scores: Scores<'_>| {
            seen.push((done + row, scores.logits.to_vec(), scores.checksums.to_vec()));
        };
        let pass = Pass { rows: &rows, tables: &[&table], wanted: &wanted };
        engine.device().run(&pass, &mut { see }).expect("it computes");
        done += many;
    }
    seen
}

#[test]
fn long_texts_have_the_bits_of_the_processor_in_every_variant_that_takes_them() {
    let Some(gpu) = open() else { return };
    for seed in seeds(1) {
        let model = SmallModel {
            layers: 1,
            heads: 2,
            kv_heads: 1,
            head_dim: Some(64),
            context: 4_096,
            ..SmallModel::new(seed)
        };
        let reference = load(&model, Backend::Cpu, 64).expect("a sound model");
        let mut rng = Rng::new(seed);
        let vocab = u64::from(reference.config().vocab);
        let text: Vec<u32> = (0..LONG).map(|_| rng.below(vocab) as u32).collect();
        let right = scores(&reference, &text);
        let variants = [
            on_gpu(arrangements(Lanes::Barrier(8), false)),
            on_gpu(arrangements(Lanes::Barrier(64), true)),
            // What is taken where nothing was asked for or measured.
            Backend::Gpu(GpuOptions::default()),
        ];
        for variant in variants {
            let named = format!("seed {seed}, {variant:?}");
            let engine = load(&model, variant, 64).expect("it computes");
            assert!(engine.context() >= LONG as usize, "{named}: {}", engine.context());
            for (found, right) in scores(&engine, &text).iter().zip(&right) {
                assert_eq!(found.0, right.0);
                assert_eq!(found, right, "{named}: position {} differs", right.0);
            }
        }
    }
    // One invocation alone takes as many positions as it can; where that is not all, it says so.
    let alone =
        load(&SmallModel { context: 4_096, ..SmallModel::new(1) }, on_gpu(arrangements(LANES[0], false)), 8)
            .expect("it computes");
    assert_eq!(alone.context() < 4_096, gpu.rounds_max().is_some(), "{}", alone.context());
}
