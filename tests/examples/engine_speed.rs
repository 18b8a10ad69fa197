//! The engine beside llama.cpp's `llama-bench` on one model file, in turns: decoding at a depth of 256, and a prompt of
//! 256 tokens, with 2 threads each. The figures depend on what else the machine does; the medians of the ratios say more,
//! and where the reference spreads by more than a fifth they say nothing ("void").
//!
//! `LLAMA_BENCH=.../llama-bench cargo run --release -p gridhour-testkit --example engine_speed -- MODEL.gguf`
//!
//! `THREADS` (2) and `ROUNDS` (5) may be set in the environment.

use std::{env, error::Error, num::NonZeroUsize, path::Path, process::Command, sync::Arc, time::Instant};

use gridhour_node::{
    bench::median,
    engine::{Engine, EngineConfig, sequence::Sequence},
};

const DEPTH: usize = 256;
const DECODE: usize = 64;
/// Largest spread of the reference, from its slowest round to its fastest, at which a ratio means something.
const SPREAD_MAX: f64 = 1.2;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Tokens a second of one side.
#[derive(Clone, Copy)]
struct Speed {
    prefill: f64,
    decode: f64,
}

fn number(name: &str, default: usize) -> Result<NonZeroUsize> {
    let value = env::var(name).map_or(Ok(default), |text| text.parse())?;
    Ok(NonZeroUsize::new(value).ok_or(format!("{name} is 0"))?)
}

fn ours(engine: &Arc<Engine>, tokens: &[u32]) -> Result<Speed> {
    let mut sequence = Sequence::new(engine, DEPTH + DECODE)?;
    let start = Instant::now();
    sequence.prefill(tokens, |_| ())?;
    let prefill = DEPTH as f64 / start.elapsed().as_secs_f64();
    let start = Instant::now();
    for token in &tokens[..DECODE] {
        sequence.prefill(&[*token], |_| ())?;
    }
    Ok(Speed { prefill, decode: DECODE as f64 / start.elapsed().as_secs_f64() })
}

/// One run of the reference; its last field but one is the rate in tokens a second.
fn reference(bench: &str, model: &str, threads: usize, lengths: [usize; 3]) -> Result<f64> {
    let [prompt, output, depth] = lengths.map(|length| length.to_string());
    let threads = threads.to_string();
    let arguments = ["-m", model, "-t", &threads, "-ngl", "0", "-r", "1", "-o", "csv"];
    let lengths = ["-p", &prompt, "-n", &output, "-d", &depth];
    let answer = Command::new(bench).args(arguments).args(lengths).output()?;
    let text = String::from_utf8(answer.stdout)?;
    let line = text.lines().last().filter(|_| answer.status.success()).ok_or("llama-bench failed")?;
    let rate = line.rsplit(',').nth(1).ok_or("llama-bench printed no rate")?;
    Ok(rate.trim_matches('"').parse()?)
}

fn tell(what: &str, ours: &[f64], theirs: &[f64]) {
    let mut ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
    let (mut ours, mut theirs) = (ours.to_vec(), theirs.to_vec());
    let (ours, middle) = (median(&mut ours), median(&mut theirs));
    let spread = theirs[theirs.len() - 1] / theirs[0];
    let verdict = if spread > SPREAD_MAX { "void: the reference spreads" } else { "spread" };
    println!(
        "{what}: {ours:.1} tokens/s, reference {middle:.1}, ratio {:.2} ({verdict} {spread:.2})",
        median(&mut ratios)
    );
}

fn main() -> Result<()> {
    let bench = env::var("LLAMA_BENCH").map_err(|_| "LLAMA_BENCH names no llama-bench")?;
    let model = env::args().nth(1).ok_or("name a model file")?;
    let (threads, rounds) = (number("THREADS", 2)?, number("ROUNDS", 5)?.get());
    let engine =
        Arc::new(Engine::load(Path::new(&model), EngineConfig { threads, ..EngineConfig::default() })?);
    let vocab = engine.config().vocab;
    let tokens: Vec<u32> = (0..DEPTH as u32).map(|at| at.wrapping_mul(7919) % vocab).collect();
    ours(&engine, &tokens)?;
    let (mut mine, mut prefill, mut decode) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        mine.push(ours(&engine, &tokens)?);
        prefill.push(reference(&bench, &model, threads.get(), [DEPTH, 0, 0])?);
        decode.push(reference(&bench, &model, threads.get(), [0, DECODE, DEPTH])?);
    }
    println!("{} on {} threads, {rounds} rounds", engine.isa_name(), engine.threads());
    tell("prefill", &mine.iter().map(|speed| speed.prefill).collect::<Vec<_>>(), &prefill);
    tell("decode", &mine.iter().map(|speed| speed.decode).collect::<Vec<_>>(), &decode);
    Ok(())
}
