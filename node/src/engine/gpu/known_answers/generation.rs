//! A known generation: a small model from drawn numbers reads a prompt and writes two answers, whose digest was
//! worked out when the arithmetic was fixed. It shows what single kernels do not: that they fit together.

use gridhour_protocol::{
    exact::llama::Architecture, exact::llama::LlamaConfig, exact::tables::RopeFrequencies,
    job::sampling::Sampling as Rules,
};

use super::{
    super::super::{
        choice::Choice,
        coding::Kind,
        device::{Device, DeviceFault, Lane, PAGE, PageId, Pass, Row},
        head_form::HeadForm,
        matrix::Matrix,
        norm_weights::{HeadNorm, NormWeights},
        rope_table::RopeTable,
        row_weights::RowWeights,
        sampler::{Sampling, SamplingKey},
        score_chain::ScoreChain,
        weights::{Layer, Weights},
    },
    draw::Draw,
};

/// Digest of both answers, by `docs/NUMERICS.md`.
pub(crate) const KNOWN: &str = "4dbc505eaf5878b95d2fc532b83946dd3b553f99e0b7c4d1093cb27827fd1fb0";

/// Seed of weights and prompt.
const SEED: u64 = 0x6b6e_6f77_6e31;
/// Tokens of the prompt: more than a page.
const PROMPT: usize = PAGE + 6;
/// Tokens of each answer.
const ANSWER: usize = 12;
/// Pages of each text.
const PAGES: usize = 2;

/// The sizes of the model.
pub(crate) const CONFIG: LlamaConfig = LlamaConfig {
    architecture: Architecture::Qwen3,
    layers: 2,
    width: 64,
    heads: 4,
    kv_heads: 2,
    head_dim: 32,
    ffn: 96,
    vocab: 160,
    context: (PAGES * PAGE) as u32,
    rope_base: 10_000f32.to_bits(),
    rope_scaling: 1f32.to_bits(),
    epsilon: 1e-5f32.to_bits(),
};

/// The model's weights and its table of turns.
pub(crate) fn model() -> (Weights, RopeTable) {
    let mut draw = Draw::new(SEED);
    let (width, heads, ffn) = (CONFIG.width as usize, CONFIG.query_width(), CONFIG.ffn as usize);
    let embedding = matrix(&mut draw, Kind::Q8_0, CONFIG.vocab as usize, width);
    let mut layer = || Layer {
        query_form: head_norm(&mut draw),
        key_form: head_norm(&mut draw),
        value_form: HeadForm::Plain,
        attn_norm: norm(&mut draw),
        attn_q: matrix(&mut draw, Kind::Q4_0, heads, width),
        attn_k: matrix(&mut draw, Kind::Q4_0, CONFIG.kv_width(), width),
        attn_v: matrix(&mut draw, Kind::Q8_0, CONFIG.kv_width(), width),
        attn_output: matrix(&mut draw, Kind::Q4_1, width, heads),
        ffn_norm: norm(&mut draw),
        ffn_gate: matrix(&mut draw, Kind::Q5_1, ffn, width),
        ffn_up: matrix(&mut draw, Kind::Q8_0, ffn, width),
        ffn_down: matrix(&mut draw, Kind::F16, width, ffn),
    };
    let layers = (0..CONFIG.layers).map(|_| layer()).collect();
    let weights = Weights::from_parts(embedding, layers, norm(&mut draw));
    let base = CONFIG.rope_base().expect("ten thousand is a base");
    let frequencies = RopeFrequencies::new(base, CONFIG.head_dim as usize);
    (weights, RopeTable::new(&frequencies, CONFIG.head_dim as usize, CONFIG.context))
}

/// Lets `device`, which holds the model, read and write; gives the digest of what it wrote.
///
/// # Errors
/// [`DeviceFault`].
pub(crate) fn digest(device: &dyn Device) -> Result<String, DeviceFault> {
    let mut draw = Draw::new(!SEED);
    let mut prompt: Vec<u32> = (0..PROMPT).map(|_| draw.below(CONFIG.vocab.into()) as u32).collect();
    let tables: [Vec<PageId>; 2] = [vec![PageId(3), PageId(0)], vec![PageId(1), PageId(2)]];
    let warm = Rules { temperature_q16: 1 << 16, ..Rules::GREEDY };
    let samplings = [Sampling::GREEDY, Sampling::new(warm, SamplingKey([0x0123_4567, 0x89ab_cdef]))];
    for table in &tables {
        read(device, &prompt[..PROMPT - 1], table)?;
    }
    let text = std::mem::take(&mut prompt);
    let lane = |(table, sampling)| Lane { table, text: &text, sampling, stop: &[], steps: ANSWER };
    let lanes: Vec<Lane<'_>> = tables.iter().map(Vec::as_slice).zip(&samplings).map(lane).collect();
    let mut hasher = blake3::Hasher::new();
    for choices in device.decode(&lanes)?.chosen {
        let mut chain = ScoreChain::new(&[0x67; 32], PROMPT as u32);
        choices.iter().for_each(|choice: &Choice| chain.take(choice));
        hasher.update(&(choices.len() as u32).to_le_bytes()).update(&chain.digest());
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Computes a text from its start, in passes that the device takes.
fn read(device: &dyn Device, text: &[u32], table: &[PageId]) -> Result<(), DeviceFault> {
    let rows: Vec<Row> =
        (0..).zip(text).map(|(position, token)| Row { token: *token, position, table: 0 }).collect();
    rows.chunks(device.rows_max()).try_for_each(|rows| {
        device.run(&Pass { rows, tables: &[table], wanted: &[] }, &mut |_, _| ()).map(drop)
    })
}

fn matrix(draw: &mut Draw, kind: Kind, rows: usize, cols: usize) -> Matrix {
    let bytes = draw.small_matrix(kind, rows, cols);
    Matrix::build(kind, rows, cols, &bytes, |_| ()).expect("its floats are finite").0
}

fn norm(draw: &mut Draw) -> NormWeights {
    let epsilon = f32::from_bits(CONFIG.epsilon);
    let cols = CONFIG.width as usize;
    NormWeights::build(cols, &floats(draw, cols), epsilon, |_| ()).expect("its floats are finite").0
}

fn head_norm(draw: &mut Draw) -> HeadForm {
    let epsilon = f32::from_bits(CONFIG.epsilon);
    let cols = CONFIG.head_dim as usize;
    let weights = RowWeights::build(cols, &floats(draw, cols), |_| ()).expect("its floats are finite").0;
    HeadForm::Normed(HeadNorm::new(weights, epsilon))
}

/// Floats from 0.5 to 2.
fn floats(draw: &mut Draw, count: usize) -> Vec<u8> {
    let bits = (0..count).map(|_| 0x3f00_0000u32 + draw.below(1 << 24) as u32);
    bits.flat_map(u32::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use rayon::ThreadPoolBuilder;

    use super::{
        super::super::super::{
            cpu::{attend::HeadLaw, device::CpuDevice},
            forward::Plan,
            isa::Kernels,
        },
        *,
    };

    #[test]
    fn the_processor_gives_the_known_digest() {
        let (weights, rope) = model();
        let law = HeadLaw::new(CONFIG.head_dim as usize);
        let plan = Plan { config: CONFIG, weights, rope, law, kernels: Kernels::PORTABLE };
        let pool = ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        assert_eq!(digest(&CpuDevice::new(plan, pool, 64)).as_deref(), Ok(KNOWN));
    }
}
