//! A model on a graphics processor, as a device.

use std::{
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use gridhour_protocol::{exact::llama::LlamaConfig, exact::tables::RopePairs};
use wgpu::{Buffer, ComputePass, ComputePassDescriptor};

use super::{
    super::{
        choice::Choice,
        cpu::attend::HeadLaw,
        device::{
            Decoded, Device, DeviceFacts, DeviceFault, DeviceTime, Lane, PAGE, PageId, Pass, Row, See,
            decode_by_passes,
        },
        rope_table::RopeTable,
        sampler::Sampling,
        score_chain::Scores,
        weights,
    },
    adapter::{self, describe},
    buffers::{Buffers, DECODE_ROWS, RECORD_WORDS, ROW_WORDS, STEPS_MAX, Sizes},
    context::{Gpu, GpuFault},
    known_answers::{self, Refusal, generation},
    options::{GpuError, GpuOptions},
    program::{Arrangement, Arrangements, Maker, Pipelines, Program},
    remembered,
    rounds::Reach,
    shader::Rope,
    tuning,
    weights::Weights,
};

/// Rows of a pass at most.
const ROWS_MAX: usize = 512;
/// Bytes that the weights of attention, or the logits, may take between two kernels.
const SCRATCH_MAX: u64 = 128 << 20;
/// Measurements of a variant, of which the fastest counts.
const TIMINGS: usize = 3;

/// What a device is made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GpuLimits {
    /// Positions of a text at most.
    pub(crate) context: usize,
    /// Rows of a pass at most.
    pub(crate) rows_max: usize,
    /// Bytes that keys and values may take.
    pub(crate) kv_bytes_max: usize,
}

/// A model on an adapter.
#[derive(Debug)]
pub struct GpuDevice {
    gpu: Gpu,
    sizes: Sizes,
    weights: Weights,
    buffers: Buffers,
    decode: Program,
    /// For few rows of which some are one text's; where that takes another program.
    pieces: Option<Program>,
    prefill: Program,
    pipelines: Pipelines,
    rope: Rope,
    arrangements: Arrangements,
    page_bytes: usize,
    /// Held during a pass: buffers serve one at a time.
    turn: Mutex<()>,
}

/// The words of a batch and of its state.
struct Written {
    rows: u32,
    wanted: u32,
}

fn rope_of(config: &LlamaConfig) -> Rope {
    match config.architecture.rope_pairs() {
        RopePairs::Neighbours => Rope::Pairs,
        RopePairs::Halves => Rope::Halves,
    }
}

impl GpuDevice {
    /// Takes an adapter, lets it give the known answers, and puts a model on it.
    ///
    /// # Errors
    /// [`GpuError`], if there is no adapter, or it computes wrongly, or the model does not fit.
    pub(crate) fn load(
        options: &GpuOptions,
        config: &LlamaConfig,
        model: &weights::Weights,
        rope: &RopeTable,
        limits: &GpuLimits,
    ) -> Result<Self, GpuError> {
        let gpu = Gpu::open(&adapter::choose(&options.adapter)?, options)?;
        let reach = Reach::of(config, limits.context.min(config.context as usize), gpu.rounds_max());
        let place = options.memory.as_deref().map(|folder| remembered::place(folder, &gpu, config, &reach));
        let recalled = place.as_deref().and_then(remembered::recall).filter(|all| reach.fits_both(all));
        let guess = Arrangements::guess(&gpu, &reach);
        let chosen = options.arrangements.or(recalled);
        let mut device = Self::new(gpu, config, model, (rope, limits), &chosen.unwrap_or(guess))?;
        if chosen.is_none() && place.is_some() {
            device.tune(&reach)?;
        }
        if recalled.is_none() || options.arrangements.is_some() {
            device.ask(&reach)?;
        }
        let kept = place.filter(|_| chosen.is_none());
        if let Some(Err(error)) = kept.map(|place| remembered::keep(&place, &device.arrangements)) {
            tracing::warn!(%error, "what was found out about the adapter could not be kept");
        }
        Ok(device)
    }

    fn new(
        gpu: Gpu,
        config: &LlamaConfig,
        model: &weights::Weights,
        (rope, limits): (&RopeTable, &GpuLimits),
        arrangements: &Arrangements,
    ) -> Result<Self, GpuFault> {
        let weights = Weights::upload(&gpu, model)?;
        let sizes = sizes(&gpu, config, &weights, limits, arrangements);
        let turns: Vec<u32> = rope.words(sizes.positions).collect();
        let buffers = Buffers::new(&gpu, &sizes, &turns)?;
        let mut device = Self {
            page_bytes: Sizes::page_bytes(config),
            arrangements: *arrangements,
            decode: Program::default(),
            pieces: None,
            prefill: Program::default(),
            pipelines: Pipelines::default(),
            rope: rope_of(config),
            turn: Mutex::new(()),
            gpu,
            sizes,
            weights,
            buffers,
        };
        device.arrange(*arrangements)?;
        Ok(device)
    }

    /// Makes the programs of these variants.
    fn arrange(&mut self, arrangements: Arrangements) -> Result<(), GpuFault> {
        self.decode = self.make(arrangements.decode, true)?;
        self.pieces = arrangements.decode.fused.then(|| self.make(arrangements.decode, false)).transpose()?;
        self.prefill = self.make(arrangements.prefill, false)?;
        self.arrangements = arrangements;
        Ok(())
    }

    /// Makes a program, for passes in which no text has two rows if they are all `apart`.
    fn make(&mut self, arrangement: Arrangement, apart: bool) -> Result<Program, GpuFault> {
        let Self { gpu, weights, buffers, pipelines, sizes, rope, .. } = self;
        let (law, rope) = (HeadLaw::new(sizes.head_dim), *rope);
        Maker { gpu, pipelines, weights, buffers, sizes: *sizes, law, rope, arrangement, apart }.program()
    }

    /// Finds out which variants are fast here.
    fn tune(&mut self, reach: &Reach) -> Result<(), GpuFault> {
        let gpu = self.gpu.clone();
        let found = tuning::tune(&gpu, reach, &mut |arrangement, rows| {
            let program = self.make(arrangement, rows == 1)?;
            self.time(&program, rows)
        })?;
        self.arrange(found)
    }

    /// How long a pass of so many rows takes.
    fn time(&self, program: &Program, rows: usize) -> Result<Duration, GpuFault> {
        let rows = rows.min(self.sizes.rows).min(self.sizes.positions);
        let rows: Vec<Row> =
            (0..rows).map(|at| Row { token: at as u32 % 2, position: at as u32, table: 0 }).collect();
        let table: Vec<PageId> = (0..rows.len().div_ceil(PAGE) as u32).map(PageId).collect();
        let pass = Pass { rows: &rows, tables: &[&table], wanted: &[rows.len() - 1] };
        let mut least = Duration::MAX;
        for _ in 0..TIMINGS {
            let written = self.write(&pass, 1);
            let start = Instant::now();
            self.gpu.submit(|encoder| {
                let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor::default());
                program.record(&mut pass, written.rows, written.wanted);
            })?;
            least = least.min(start.elapsed());
        }
        Ok(least)
    }

    /// Lets the adapter give the known answers, also of sizes as far as its loops will have to reach.
    fn ask(&mut self, reach: &Reach) -> Result<(), Refusal> {
        let Self { gpu, arrangements, pipelines, sizes, .. } = self;
        let mut compile = |kernel| pipelines.get(gpu, kernel);
        known_answers::check(gpu, arrangements, known_answers::SEED, &mut compile)?;
        let reach = Reach { positions: sizes.positions, ..*reach };
        known_answers::check_far(gpu, arrangements, &reach, known_answers::SEED, &mut compile)?;
        let (model, rope) = generation::model();
        // Rows enough for the arrangements of both kinds of passes.
        let rows_max = 2 * DECODE_ROWS;
        let limits = GpuLimits { context: usize::MAX, rows_max, kv_bytes_max: 1 << 20 };
        let small = Self::new(gpu.clone(), &generation::CONFIG, &model, (&rope, &limits), arrangements)?;
        // A fault of the device is kept by the adapter.
        let found = generation::digest(&small).map_err(|fault| GpuFault::Lost(fault.to_string()))?;
        if found == generation::KNOWN { Ok(()) } else { Err(Refusal::Generation { found }) }
    }

    /// Positions that a text may have here.
    pub(crate) fn positions(&self) -> usize {
        self.sizes.positions
    }

    /// Bytes of keys and values that there is room for.
    pub(crate) fn kv_bytes(&self) -> usize {
        self.sizes.pages * self.page_bytes
    }

    fn turn(&self) -> Result<MutexGuard<'_, ()>, DeviceFault> {
        self.turn.lock().map_err(|_| DeviceFault::Lost("a computation on it panicked".to_owned()))
    }

    fn program(&self, rows: &[Row]) -> &Program {
        // The rows of one text stand one after another.
        let are_apart = || rows.windows(2).all(|two| two[0].table != two[1].table);
        match &self.pieces {
            _ if rows.len() >= DECODE_ROWS => &self.prefill,
            Some(pieces) if !are_apart() => pieces,
            _ => &self.decode,
        }
    }

    /// Writes the rows, and what they need to know of each other.
    fn write(&self, pass: &Pass<'_>, steps: usize) -> Written {
        let tables_first = pass.rows.len() * ROW_WORDS + pass.wanted.len();
        let mut firsts = Vec::with_capacity(pass.tables.len());
        let mut tables: Vec<u32> = Vec::new();
        for (index, table) in pass.tables.iter().enumerate() {
            firsts.push((tables_first + tables.len()) as u32);
            // Texts that wait in this pass have tables without rows, and reserve more pages than they have filled.
            let rows = pass.rows.iter().filter(|row| row.table == index);
            let pages = rows.map(|row| (row.position as usize + steps).div_ceil(PAGE)).max().unwrap_or(0);
            tables.extend(table.iter().take(pages).map(|PageId(page)| *page));
        }
        let rows = pass.rows.iter().flat_map(|row| [row.token, row.position, firsts[row.table], 0]);
        let wanted = pass.wanted.iter().map(|row| *row as u32);
        let words: Vec<u32> = rows.chain(wanted).chain(tables).collect();
        self.gpu.write(&self.buffers.batch, 0, &words);
        let last = pass.rows.iter().map(|row| row.position as usize).max().unwrap_or(0);
        let positions = (last + steps).next_multiple_of(PAGE) as u32;
        let (rows, wanted) = (pass.rows.len() as u32, pass.wanted.len() as u32);
        self.gpu.write(
            &self.buffers.shared.pass_state,
            0,
            &[rows, wanted, positions, self.sizes.layers as u32],
        );
        Written { rows, wanted }
    }

    /// Chooses `steps` tokens a lane, in one submission.
    fn choose(&self, pass: &Pass<'_>, samplers: &[u32], steps: usize) -> Result<Decoded, GpuFault> {
        let Written { rows, wanted } = self.write(pass, steps);
        self.gpu.write(&self.buffers.samplers, 0, samplers);
        let (record, lanes) = (self.sizes.record(), pass.wanted.len());
        let words = (steps * lanes * record) as u64;
        let reads: [(&Buffer, u64); 1] = [(&self.buffers.records, words)];
        let program = self.program(pass.rows);
        let record_steps = |pass: &mut ComputePass<'_>| {
            for _ in 0..steps {
                program.record(pass, rows, wanted);
                program.record_sampling(pass, rows, wanted);
            }
        };
        let (read, time) = self.gpu.submit_pass(record_steps, &reads)?;
        let records: Vec<Choice> = read[0].chunks_exact(record).map(choice_of).collect();
        let of_lane = |lane| records.iter().skip(lane).step_by(lanes).cloned().collect();
        Ok(Decoded { chosen: (0..lanes).map(of_lane).collect(), time })
    }
}

impl Device for GpuDevice {
    fn facts(&self) -> DeviceFacts {
        DeviceFacts {
            kind: "gpu",
            name: self.gpu.info().backend.to_str().to_owned(),
            adapter: Some(describe(self.gpu.info())),
            threads: 1,
            weight_bytes: self.weights.bytes() as usize,
            dispatches: self.decode.dispatches(),
        }
    }

    fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    fn rows_max(&self) -> usize {
        self.sizes.rows
    }

    fn steps_max(&self) -> usize {
        STEPS_MAX
    }

    fn close(&self) {
        self.gpu.destroy();
    }

    fn run(&self, pass: &Pass<'_>, see: &mut See<'_>) -> Result<DeviceTime, DeviceFault> {
        let _turn = self.turn()?;
        let Written { rows, wanted } = self.write(pass, 1);
        let Sizes { vocab, layers, .. } = self.sizes;
        let program = self.program(pass.rows);
        let record = |pass: &mut ComputePass<'_>| program.record(pass, rows, wanted);
        if wanted == 0 {
            return Ok(self.gpu.submit_pass(record, &[])?.1);
        }
        let logits = (wanted as usize * vocab) as u64;
        let checksums = (rows as usize * layers) as u64;
        let reads = [(&self.buffers.logits, logits), (&self.buffers.checksums, checksums)];
        let (read, time) = self.gpu.submit_pass(record, &reads)?;
        for (row, logits) in pass.wanted.iter().zip(read[0].chunks_exact(vocab)) {
            let logits: Vec<i32> = logits.iter().map(|word| *word as i32).collect();
            see(*row, Scores { logits: &logits, checksums: &read[1][row * layers..(row + 1) * layers] });
        }
        Ok(time)
    }

    fn decode(&self, lanes: &[Lane<'_>]) -> Result<Decoded, DeviceFault> {
        if !lanes.iter().all(|lane| lane.sampling.is_plain()) {
            return decode_by_passes(self, lanes);
        }
        let turn = self.turn()?;
        let steps = lanes.iter().map(|lane| lane.steps).min().unwrap_or(0).min(STEPS_MAX);
        let rows: Vec<_> = lanes.iter().enumerate().map(|(table, lane)| row_of(table, lane)).collect();
        let tables: Vec<&[PageId]> = lanes.iter().map(|lane| lane.table).collect();
        let wanted: Vec<usize> = (0..lanes.len()).collect();
        let samplers: Vec<u32> = lanes.iter().flat_map(|lane| sampler_words(lane.sampling)).collect();
        let pass = Pass { rows: &rows, tables: &tables, wanted: &wanted };
        let mut decoded = self.choose(&pass, &samplers, steps)?;
        drop(turn);
        for (lane, chosen) in lanes.iter().zip(&mut decoded.chosen) {
            // What was computed behind a stop token is not the lane's.
            if let Some(end) = chosen.iter().position(|choice| lane.stop.contains(&choice.token)) {
                chosen.truncate(end + 1);
            }
        }
        Ok(decoded)
    }
}

impl From<GpuFault> for DeviceFault {
    fn from(fault: GpuFault) -> Self {
        match fault {
            GpuFault::OutOfMemory { bytes, .. } => Self::OutOfMemory { bytes },
            GpuFault::Hung(waited) => Self::Hung { seconds: waited.as_secs() },
            other => Self::Lost(other.to_string()),
        }
    }
}

fn sizes(
    gpu: &Gpu,
    config: &LlamaConfig,
    weights: &Weights,
    limits: &GpuLimits,
    arrangements: &Arrangements,
) -> Sizes {
    let asked = limits.context.min(config.context as usize);
    let positions = Reach::of(config, asked, gpu.rounds_max()).within(arrangements);
    let heads = config.heads as usize;
    let scratch = SCRATCH_MAX.min(gpu.binding_max());
    let attention = heads as u64 * positions.next_multiple_of(PAGE) as u64;
    let a_row = 4 * attention.max(config.vocab.into());
    let rows = (scratch / a_row).clamp(1, limits.rows_max.min(ROWS_MAX) as u64) as usize;
    let page_layer = Sizes::page_bytes(config) as u64 / u64::from(config.layers);
    let fit = gpu.binding_max().saturating_sub(Sizes::beside_bytes(config)) / page_layer;
    let pages = (limits.kv_bytes_max as u64 / (page_layer * u64::from(config.layers))).min(fit);
    let wide = |layer: &super::weights::Layer| layer.attn_qkv.stride.max(layer.ffn_gate_up.stride);
    Sizes {
        rows,
        positions,
        pages: pages as usize,
        width: config.width as usize,
        heads,
        kv_heads: config.kv_heads as usize,
        head_dim: config.head_dim as usize,
        ffn: config.ffn as usize,
        vocab: config.vocab as usize,
        layers: config.layers as usize,
        product: weights.layers.iter().map(wide).max().unwrap_or(0) as usize,
    }
}

fn row_of(table: usize, lane: &Lane<'_>) -> Row {
    let token = lane.text.last().copied().unwrap_or(0);
    Row { token, position: lane.text.len().saturating_sub(1) as u32, table }
}

/// A sampler as the kernel takes it: the inverse of the temperature, or 0, and the key.
pub(super) fn sampler_words(sampling: &Sampling) -> [u32; 4] {
    let inverse = match sampling.rules.temperature_q16 {
        0 => 0,
        temperature => ((1u64 << 32) / u64::from(temperature)) as u32,
    };
    let [first, second] = sampling.key.0;
    [inverse, first, second, 0]
}

fn choice_of(record: &[u32]) -> Choice {
    Choice {
        token: record[0],
        logit: record[1] as i32,
        runner_up: record[2],
        runner_up_logit: record[3] as i32,
        logprobs: None,
        checksums: record[RECORD_WORDS..].to_vec(),
    }
}
