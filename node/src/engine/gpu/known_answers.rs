//! Known answers: every kernel computes numbers whose results the processor's operators know, before an
//! adapter computes for anybody. What a driver miscompiles is found here, and the adapter refused.

mod attention;
mod draw;
pub(crate) mod generation;
mod heads;
mod products;
mod rows;
mod sampling;
mod together;

use std::collections::HashSet;

use thiserror::Error;
use wgpu::{BindGroup, Buffer, ComputePassDescriptor, ComputePipeline};

use self::{draw::Draw, generation::KNOWN};
use super::{
    bound::{Given, Shared, bind},
    buffers::{exp2_words, gumbel_words},
    context::{Gpu, GpuFault},
    program::{Arrangement, Arrangements},
    rounds::Reach,
    shader::Kernel,
};

/// Seed of the numbers that an adapter computes at start.
pub const SEED: u64 = 0x6772_6964_686f_7572;

/// Why an adapter may not compute.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Refusal {
    /// It failed before it gave an answer.
    #[error(transparent)]
    Fault(#[from] GpuFault),
    /// It computes single operators well, and a generation wrongly.
    #[error(
        "the adapter's generation has the digest {found} where {KNOWN} is right; its driver cannot be used for \
         exact inference"
    )]
    Generation {
        /// The digest of what it generated.
        found: String,
    },
    /// It gave a wrong answer.
    #[error(
        "the adapter computes operator {operator} wrongly: for {input}, word {place} of {output} is \
         {found} where {expected} is right; its driver cannot be used for exact inference"
    )]
    Wrong {
        /// The kernel's file.
        operator: &'static str,
        /// What it was given.
        input: String,
        /// Which of its results.
        output: &'static str,
        /// Which word of that.
        place: usize,
        /// The word that is right.
        expected: i32,
        /// The word that it gave.
        found: i32,
    },
}

/// One dispatch whose results are known.
pub(crate) struct Case {
    kernel: Kernel,
    /// What it computes, for a report.
    input: String,
    /// Rows, wanted rows, positions and layers of the pass.
    pass: [u32; 4],
    /// What it is given itself.
    own: Filled,
    /// What it codes rows from, if it does.
    rows: Option<Filled>,
    grid: (u32, u32),
    results: Vec<Answer>,
}

/// Parameters, and the contents of buffers.
#[derive(Clone, Debug, Default)]
struct Filled {
    params: Vec<u32>,
    storage: Vec<Vec<u32>>,
}

/// What a buffer must hold behind the dispatch, from its first word on.
#[derive(Debug)]
struct Answer {
    place: Place,
    /// What it is, for a report.
    output: &'static str,
    expected: Vec<u32>,
}

/// A buffer, by its place among those of one kind.
#[derive(Clone, Copy, Debug)]
enum Place {
    Own(usize),
    Rows(usize),
}

impl Answer {
    fn own(place: usize, output: &'static str, expected: Vec<u32>) -> Self {
        Self { place: Place::Own(place), output, expected }
    }
}

/// Lets an adapter compute every kernel that `arrangements` use, over numbers from `seed`; `compile` makes the
/// pipelines. Gives the number of words that were compared.
///
/// # Errors
/// [`Refusal`], with the first word that is wrong.
pub fn check(
    gpu: &Gpu,
    arrangements: &Arrangements,
    seed: u64,
    compile: &mut dyn FnMut(Kernel) -> Result<ComputePipeline, GpuFault>,
) -> Result<usize, Refusal> {
    let (mut compared, mut done) = (0, HashSet::new());
    for arrangement in [&arrangements.decode, &arrangements.prefill] {
        let mut draw = Draw::new(seed);
        let cases = cases(arrangement, &mut draw);
        // Both arrangements share kernels; each is looked at once.
        let before = done.clone();
        for case in cases.into_iter().filter(|case| !before.contains(&case.kernel)) {
            compared += case.check(gpu, &compile(case.kernel)?)?;
            done.insert(case.kernel);
        }
    }
    Ok(compared)
}

/// As [`check`], over texts and rows as long as a model's on the adapter, which the cases of small sizes do not tell.
///
/// # Errors
/// [`Refusal`], with the first word that is wrong.
pub fn check_far(
    gpu: &Gpu,
    arrangements: &Arrangements,
    reach: &Reach,
    seed: u64,
    compile: &mut dyn FnMut(Kernel) -> Result<ComputePipeline, GpuFault>,
) -> Result<usize, Refusal> {
    let Arrangements { decode, prefill } = arrangements;
    let (mut rows, mut attending) = (vec![decode.rows, prefill.rows], vec![decode.attend, prefill.attend]);
    rows.dedup();
    attending.dedup();
    let mut draw = Draw::new(seed);
    let mut cases: Vec<Case> =
        rows.into_iter().flat_map(|lanes| rows::widest(lanes, reach.widest, &mut draw)).collect();
    cases.extend(attending.into_iter().map(|lanes| attention::longest(lanes, reach, &mut draw)));
    cases.iter().map(|case| case.check(gpu, &compile(case.kernel)?)).sum()
}

/// All that an arrangement may use: what is fused falls back to what is not where it does not fit.
fn cases(arrangement: &Arrangement, draw: &mut Draw) -> Vec<Case> {
    let Arrangement { rows, heads, attend, product, fused } = *arrangement;
    let mut cases = rows::cases(rows, draw);
    cases.extend(heads::cases(heads, draw));
    cases.push(attention::short(attend, draw));
    cases.extend(products::cases(product, draw));
    cases.extend(sampling::cases(draw));
    if fused {
        cases.extend(products::made(rows, product, draw));
        cases.extend(together::cases(attend, draw));
    }
    cases
}

impl Case {
    fn check(&self, gpu: &Gpu, pipeline: &ComputePipeline) -> Result<usize, Refusal> {
        let found = self.compute(gpu, pipeline)?;
        for (Answer { output, expected, .. }, found) in self.results.iter().zip(&found) {
            if let Some(place) = expected.iter().zip(found).position(|(right, word)| right != word) {
                return Err(Refusal::Wrong {
                    operator: self.kernel.name(),
                    input: self.input.clone(),
                    output,
                    place,
                    expected: expected[place] as i32,
                    found: found[place] as i32,
                });
            }
        }
        Ok(self.results.iter().map(|answer| answer.expected.len()).sum())
    }

    fn compute(&self, gpu: &Gpu, pipeline: &ComputePipeline) -> Result<Vec<Vec<u32>>, GpuFault> {
        let own = self.own.upload(gpu)?;
        let rows = self.rows.as_ref().map(|rows| rows.upload(gpu)).transpose()?;
        let groups = self.bind(gpu, pipeline, &own, rows.as_deref())?;
        let buffer = |place| match place {
            Place::Own(at) => &own[at],
            Place::Rows(at) => &rows.as_ref().expect("only a case with rows has results there")[at],
        };
        let reads: Vec<(&Buffer, u64)> =
            self.results.iter().map(|answer| (buffer(answer.place), answer.expected.len() as u64)).collect();
        gpu.submit_and_read(
            |encoder| {
                let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor::default());
                pass.set_pipeline(pipeline);
                for (index, group) in (0..).zip(&groups) {
                    pass.set_bind_group(index, group, &[]);
                }
                pass.dispatch_workgroups(self.grid.0, self.grid.1, 1);
            },
            &reads,
        )
    }

    fn bind(
        &self,
        gpu: &Gpu,
        pipeline: &ComputePipeline,
        own: &[Buffer],
        rows: Option<&[Buffer]>,
    ) -> Result<Vec<BindGroup>, GpuFault> {
        let uniform = |words: &[u32]| gpu.uniform_of("known answer", words);
        let shared = Shared {
            pass_state: uniform(&self.pass)?,
            exp2_table: uniform(&exp2_words())?,
            gumbel_tables: uniform(&gumbel_words())?,
        };
        let rows = self.rows.as_ref().zip(rows).map(|(filled, buffers)| filled.given(buffers));
        bind(gpu, (self.kernel, pipeline), &shared, &self.own.given(own), rows.as_ref())
    }
}

impl Filled {
    fn upload(&self, gpu: &Gpu) -> Result<Vec<Buffer>, GpuFault> {
        self.storage.iter().map(|words| gpu.storage_of("known answer", words)).collect()
    }

    fn given<'a>(&self, buffers: &'a [Buffer]) -> Given<'a> {
        Given { params: self.params.clone(), storage: buffers.iter().collect() }
    }
}
