//! The engine on a graphics adapter: the bits of the processor, whatever the variant, and faults that end in order.
//!
//! On a machine without an adapter these tests are skipped in plain sight; where `CI` is set they fail.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use gridhour_node::{
    engine::{
        Backend, Engine, EngineConfig, EngineError,
        device::{Device, DeviceFault, PageId, Pass, Row},
        gpu::{
            context::{Gpu, GpuFault},
            known_answers::{self, Refusal, SEED},
            options::{GpuError, GpuOptions},
            program::{Arrangement, Arrangements},
            shader::{Dot, Kernel, Lanes, Tile},
        },
        scheduler::{JobEnd, JobEvent, Scheduler},
        score_chain::Scores,
    },
    model::gguf::Gguf,
};
use gridhour_protocol::{
    exact::llama::Architecture,
    receipt::{ClockSource, MeasuredTime},
};
use testkit::{data, gguf::SmallModel, seeds::seeds, sim::rng::Rng};

use crate::{
    engine_batches::{alone, random_request, read},
    engine_jobs::request,
};

/// Variants that between them use every file of `kernels/`.
pub(crate) fn variants(gpu: &Gpu) -> Vec<Arrangements> {
    let both = |lanes, splits, tokens, dot, fused| {
        let product = Tile { splits, tokens, dot };
        let prefill = Arrangement { rows: lanes, heads: lanes, attend: lanes, product, fused: false };
        // Fused products are of one token.
        let tokens = if fused { 1 } else { tokens };
        Arrangements {
            decode: Arrangement { product: Tile { tokens, ..product }, fused, ..prefill },
            prefill,
        }
    };
    let mut variants = vec![
        both(Lanes::One(8), 1, 1, Dot::Unpacked, false),
        both(Lanes::Barrier(32), 2, 4, Dot::Packed, false),
        both(Lanes::One(8), 1, 4, Dot::Unpacked, true),
    ];
    if gpu.has_subgroups() {
        variants.push(both(Lanes::Subgroup(64), 4, 8, Dot::Unpacked, true));
    }
    variants
}

pub(crate) fn open() -> Option<Gpu> {
    data::adapter().map(|adapter| Gpu::open(adapter, &GpuOptions::default()).expect("it opens"))
}

pub(crate) fn load(model: &SmallModel, backend: Backend, rows: usize) -> Result<Engine, EngineError> {
    let file = Gguf::from_bytes(model.bytes()).expect("a sound file");
    let rows_max = rows.try_into().expect("some rows");
    let kv_bytes_max = 16 << 20;
    Engine::from_gguf(&file, EngineConfig { backend, rows_max, kv_bytes_max, ..EngineConfig::default() })
}

pub(crate) fn on_gpu(arrangements: Arrangements) -> Backend {
    Backend::Gpu(GpuOptions { arrangements: Some(arrangements), ..GpuOptions::default() })
}

#[test]
fn every_variant_of_every_kernel_gives_the_known_answers() {
    let Some(gpu) = open() else { return };
    let mut cells = 0;
    for variant in variants(&gpu) {
        let mut pipelines = HashMap::new();
        for seed in seeds(2) {
            let mut compile = |kernel: Kernel| match pipelines.get(&kernel) {
                Some(pipeline) => Ok(Clone::clone(pipeline)),
                None => {
                    gpu.pipeline(kernel).inspect(|made| drop(pipelines.insert(kernel, Clone::clone(made))))
                }
            };
            let compared = known_answers::check(&gpu, &variant, SEED ^ seed, &mut compile);
            cells += compared.unwrap_or_else(|refusal| panic!("seed {seed}, {variant:?}: {refusal}"));
        }
    }
    println!("{cells} words of results are those of the processor");
    assert!(cells > 300_000, "{cells} words are too few to say much");
}

/// A kernel, a piece of its text, and the mistake that takes its place.
const MISTAKES: [(&str, &str, &str); 16] = [
    ("norm_quant", "i32(shift) - 14", "i32(shift) - 13"),
    ("join_heads", "31 + joined_top);", "30 + joined_top);"),
    ("silu_mul", "up_scale), i32(shift)", "up_scale), 1 + i32(shift)"),
    ("head_form", "i32(shift) - exponent", "i32(shift) + 1 - exponent"),
    ("head_quant", "select(1, 0, is_value)", "0"),
    ("attend", "31 + top + i32(shift)", "30 + top + i32(shift)"),
    ("matmul", "first + t <= last", "first + t < last"),
    ("matmul", ", 28u).x", ", 27u).x"),
    ("norm_quant, matmul", "input_scales[token] = scale;", "input_scales[token] = SCALE_ZERO;"),
    ("norm_quant, matmul", "0u, panel == 0u)", "0u, panel == 9u)"),
    ("join_heads, matmul", "31 + joined_top);", "30 + joined_top);"),
    ("silu_mul, matmul", "coded[first + 3u]", "coded[first + 2u]"),
    ("heads_together", "own_key = cache_place(row, position, kv_head, false)", "own_key = own_value"),
    ("embed", "k - 14", "k - 13"),
    ("sample", "Wide(63u, 0u), 28u", "Wide(62u, 0u), 28u"),
    ("choose", "found.token == found.first", "found.token != found.first"),
];

#[test]
fn an_adapter_that_computes_any_kernel_wrongly_is_refused_by_its_name() {
    let Some(gpu) = open() else { return };
    // A fused arrangement falls back to every kernel that is not.
    let variant = variants(&gpu)[2];
    let mut sound = HashMap::new();
    for (operator, right, wrong) in MISTAKES {
        let mut planted = false;
        let mut compile = |kernel: Kernel| {
            let source = gpu.source(kernel);
            if kernel.name() == operator && source.contains(right) {
                planted = true;
                return gpu.compile(operator, source.replace(right, wrong));
            }
            match sound.get(&kernel) {
                Some(pipeline) => Ok(Clone::clone(pipeline)),
                None => gpu.pipeline(kernel).inspect(|made| drop(sound.insert(kernel, Clone::clone(made)))),
            }
        };
        let answer = known_answers::check(&gpu, &variant, SEED, &mut compile);
        assert!(planted, "{operator} no longer says {right:?}");
        match answer {
            Err(Refusal::Wrong { operator: found, expected, found: word, .. }) => {
                assert_eq!(found, operator);
                assert_ne!(expected, word);
            }
            other => panic!("a wrong {operator} was let through: {other:?}"),
        }
    }
}

/// Jobs in batches of 1, 2 and 7 on an adapter, each with the bits that it has alone on a processor.
fn batches_are_exact(model: &SmallModel, arrangements: Arrangements, rows: usize, seed: u64) -> usize {
    let reference = Arc::new(load(model, Backend::Cpu, 64).expect("a sound model"));
    let engine = Arc::new(load(model, on_gpu(arrangements), rows).expect("it computes"));
    assert_eq!(engine.model_id(), reference.model_id());
    let scheduler = Scheduler::start(engine).expect("a thread");
    let mut rng = Rng::new(seed);
    let mut compared = 0;
    for batch in [1, 2, 7] {
        let requests: Vec<_> = (0..batch).map(|_| random_request(&mut rng, &reference)).collect();
        let jobs: Vec<_> =
            requests.iter().map(|request| scheduler.submit(request.clone()).expect("a place")).collect();
        for (job, request) in jobs.iter().zip(&requests) {
            assert_eq!(read(job, request), alone(&reference, request), "seed {seed}, batch of {batch}");
            compared += 1;
        }
    }
    compared
}

#[test]
fn generations_have_the_bits_of_the_processor_in_every_batch_chunk_and_variant() {
    let Some(gpu) = open() else { return };
    let mut compared = 0;
    for seed in seeds(1) {
        for (at, variant) in variants(&gpu).into_iter().enumerate() {
            let architecture = Architecture::ALL[(seed as usize + at) % 3];
            let model = SmallModel { context: 1024, ..SmallModel::of(architecture, seed) };
            let rows = [64, 1, 512][(seed as usize + at) % 3];
            compared += batches_are_exact(&model, variant, rows, seed);
        }
    }
    println!("{compared} generations are those of the processor");
}

/// One pass of up to seven rows of up to three texts, which grow by it.
struct Mixed {
    rows: Vec<Row>,
    wanted: Vec<usize>,
}

impl Mixed {
    fn draw(rng: &mut Rng, lengths: &mut [u32; 3], vocab: u32) -> Self {
        let (mut rows, mut wanted) = (Vec::new(), Vec::new());
        for (table, length) in lengths.iter_mut().enumerate() {
            for _ in 0..rng.below(4).min(7 - rows.len() as u64) {
                if rng.below(2) == 0 {
                    wanted.push(rows.len());
                }
                rows.push(Row { token: rng.below(vocab.into()) as u32, position: *length, table });
                *length += 1;
            }
        }
        Self { rows, wanted }
    }

    /// The scores behind its wanted rows.
    fn scores(&self, device: &dyn Device, tables: &[&[PageId]]) -> Vec<(usize, Vec<i32>, Vec<u32>)> {
        let pass = Pass { rows: &self.rows, tables, wanted: &self.wanted };
        let mut seen = Vec::new();
        let see =
            |row, scores: Scores<'_>| seen.push((row, scores.logits.to_vec(), scores.checksums.to_vec()));
        device.run(&pass, &mut { see }).expect("it computes");
        seen
    }
}

#[test]
fn small_passes_of_any_mix_of_texts_have_the_bits_of_the_processor() {
    let Some(gpu) = open() else { return };
    let tables = [0, 3, 6].map(|first| [2, 0, 1].map(|page| PageId(first + page)));
    let tables = tables.each_ref().map(|table| &table[..]);
    for seed in seeds(1) {
        let mut rng = Rng::new(seed);
        for (at, variant) in variants(&gpu).into_iter().enumerate() {
            let architecture = Architecture::ALL[(seed as usize + at) % 3];
            let model = SmallModel { context: 192, ..SmallModel::of(architecture, seed) };
            let reference = load(&model, Backend::Cpu, 64).expect("a sound model");
            let engine = load(&model, on_gpu(variant), 64).expect("it computes");
            let mut lengths = [0; 3];
            while lengths.iter().all(|length| *length < 150) {
                let pass = Mixed::draw(&mut rng, &mut lengths, engine.config().vocab);
                if !pass.rows.is_empty() {
                    let [found, right] =
                        [&engine, &reference].map(|engine| pass.scores(engine.device(), &tables));
                    assert_eq!(found, right, "seed {seed}, {variant:?}, behind {lengths:?}");
                }
            }
        }
    }
}

#[test]
fn texts_that_wait_for_their_turn_take_no_room_in_a_pass() {
    let Some(gpu) = open() else { return };
    // Passes of one row have room for the pages of one text; three long ones take turns.
    let model = SmallModel { context: 1024, ..SmallModel::new(8) };
    let reference = Arc::new(load(&model, Backend::Cpu, 64).expect("a sound model"));
    let engine = Arc::new(load(&model, on_gpu(variants(&gpu)[0]), 1).expect("it computes"));
    let scheduler = Scheduler::start(engine).expect("a thread");
    let requests = [1, 2, 3].map(|seed| request(&reference, 560, 4, seed));
    let jobs = requests.clone().map(|request| scheduler.submit(request).expect("a place"));
    for (job, request) in jobs.iter().zip(&requests) {
        assert_eq!(read(job, request), alone(&reference, request));
    }
}

/// Dispatches of a decoded token, and the scores behind a text.
fn dispatches(model: &SmallModel, arrangements: Arrangements, workgroup_max: u32) -> usize {
    let arrangements = Some(arrangements);
    let backend = Backend::Gpu(GpuOptions { arrangements, workgroup_max, ..GpuOptions::default() });
    let engine = Arc::new(load(model, backend, 4).expect("it computes"));
    let dispatches = engine.device().facts().dispatches;
    let scheduler = Scheduler::start(engine).expect("a thread");
    let request = request(scheduler.engine(), 9, 6, 1);
    let reference = Arc::new(load(model, Backend::Cpu, 64).expect("a sound model"));
    let job = scheduler.submit(request.clone()).expect("a place");
    assert_eq!(read(&job, &request), alone(&reference, &request));
    dispatches
}

#[test]
fn a_fused_layer_is_five_dispatches_and_what_does_not_fit_a_workgroup_is_not_fused() {
    let Some(gpu) = open() else { return };
    let [plain, fused] = [0, 2].map(|at| variants(&gpu)[at]);
    // Inputs of 64, 128 and 1,024 columns, of 68 bytes a block.
    let model =
        |architecture| SmallModel { architecture, head_dim: Some(32), ffn: 1_024, ..SmallModel::new(3) };
    let (llama, qwen3) = (model(Architecture::Llama), model(Architecture::Qwen3));
    let layers = llama.layers as usize;
    // Beside the layers: the embedding, the last norm, the logits, and two for sampling.
    assert_eq!(dispatches(&llama, plain, u32::MAX), layers * 10 + 5);
    for model in [&llama, &qwen3] {
        assert_eq!(dispatches(model, fused, u32::MAX), layers * 5 + 4, "{:?}", model.architecture);
    }
    // There is room for the narrow inputs alone: what gates and ups give is coded by a dispatch of its own.
    assert_eq!(dispatches(&llama, fused, 2_048), layers * 6 + 4);
}

#[test]
fn matrices_larger_than_a_binding_are_split_without_changing_a_bit() {
    let Some(gpu) = open() else { return };
    let model = SmallModel { vocab: 3_000, context: 128, ..SmallModel::new(5) };
    let backend = |binding_max| {
        let arrangements = Some(variants(&gpu)[0]);
        Backend::Gpu(GpuOptions { arrangements, binding_max, ..GpuOptions::default() })
    };
    let run = |backend| {
        let scheduler = Scheduler::start(Arc::new(load(&model, backend, 4)?)).expect("a thread");
        let request = request(scheduler.engine(), 9, 6, 1);
        let job = scheduler.submit(request.clone()).expect("a place");
        Ok::<_, EngineError>(read(&job, &request))
    };
    // The embedding alone takes 192,000 bytes.
    let whole = run(Backend::Cpu).expect("it computes");
    assert_eq!(run(backend(131_072)).expect("it computes"), whole);
    match run(backend(8_192)) {
        Err(EngineError::Gpu(
            GpuError::Fault(GpuFault::OutOfMemory { what, .. })
            | GpuError::Refused(Refusal::Fault(GpuFault::OutOfMemory { what, .. })),
        )) => assert!(!what.is_empty()),
        other => panic!("it does not fit, and: {other:?}"),
    }
}

/// What a job of some tokens was measured to take, and how long it took from outside.
fn measured(timestamps: bool, variant: Arrangements) -> (MeasuredTime, Duration) {
    let options = GpuOptions { arrangements: Some(variant), timestamps, ..GpuOptions::default() };
    let engine = load(&SmallModel::new(9), Backend::Gpu(options), 64).expect("it computes");
    let scheduler = Scheduler::start(Arc::new(engine)).expect("a thread");
    let request = request(scheduler.engine(), 70, 20, 1);
    let begin = Instant::now();
    let job = scheduler.submit(request).expect("a place");
    let mut last = MeasuredTime::NONE;
    loop {
        match job.next_event() {
            Some(JobEvent::Started { .. }) => {}
            Some(JobEvent::Token { measured, .. }) => {
                assert!(measured.time >= last.time, "time goes on");
                last = measured;
            }
            Some(JobEvent::Done(JobEnd { measured, .. })) => return (measured, begin.elapsed()),
            other => panic!("the job ends, and: {other:?}"),
        }
    }
}

#[test]
fn the_time_of_a_job_is_the_adapters_own_or_else_the_hosts() {
    let Some(gpu) = open() else { return };
    let of_device = if gpu.has_clock() { ClockSource::DeviceTimestamps } else { ClockSource::HostClock };
    for (timestamps, clock) in [(true, of_device), (false, ClockSource::HostClock)] {
        let (measured, outside) = measured(timestamps, variants(&gpu)[0]);
        println!("{:?} of {outside:?} by {}", measured.time, measured.clock.name());
        assert_eq!(measured.clock, clock);
        assert!(measured.time.0 > 0 && u128::from(measured.time.0) <= outside.as_nanos());
    }
}

#[test]
fn an_adapter_that_is_lost_ends_its_jobs_with_a_fault() {
    let Some(gpu) = open() else { return };
    let model = SmallModel { context: 1024, ..SmallModel::new(6) };
    let engine = Arc::new(load(&model, on_gpu(variants(&gpu)[0]), 64).expect("it computes"));
    let scheduler = Scheduler::start(engine.clone()).expect("a thread");
    let job = scheduler.submit(request(&engine, 9, 900, 1)).expect("a place");
    assert!(matches!(job.next_event(), Some(JobEvent::Started { .. })));
    assert!(matches!(job.next_event(), Some(JobEvent::Token { .. })));
    engine.device().close();
    let end = loop {
        match job.next_event() {
            Some(JobEvent::Token { .. }) => {}
            other => break other,
        }
    };
    assert!(matches!(&end, Some(JobEvent::Fault(DeviceFault::Lost(_)))), "{end:?}");
    assert!(matches!(scheduler.fault(), Some(DeviceFault::Lost(_))));
    assert_eq!(engine.pages().used(), 0);
}

#[test]
fn an_adapter_that_does_not_answer_in_time_counts_as_hung() {
    let Some(gpu) = open() else { return };
    let options = GpuOptions {
        arrangements: Some(variants(&gpu)[0]),
        watchdog: Duration::ZERO,
        ..GpuOptions::default()
    };
    match load(&SmallModel::new(7), Backend::Gpu(options), 64).map(drop) {
        Err(EngineError::Gpu(
            GpuError::Fault(GpuFault::Hung(_)) | GpuError::Refused(Refusal::Fault(GpuFault::Hung(_))),
        )) => {}
        other => panic!("no time was given, and: {other:?}"),
    }
}
