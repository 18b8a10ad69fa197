//! Known answers: every kernel computes numbers whose results the processor's operators know, before an
//! adapter computes for anybody. What a driver miscompiles is found here, and the adapter refused.

mod draw;
pub(crate) mod generation;
mod heads;
mod products;
mod rows;
mod sampling;

use std::collections::HashSet;

use thiserror::Error;
use wgpu::{BindGroupDescriptor, BindGroupEntry, Buffer, ComputePassDescriptor, ComputePipeline};

use self::{draw::Draw, generation::KNOWN};
use super::{
    buffers::{exp2_words, gumbel_words},
    context::{Gpu, GpuFault},
    program::{Arrangements, EXP2_BINDING, GUMBEL_BINDING, unused_bindings},
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
    params: Vec<u32>,
    /// Contents of the buffers from binding 2 on.
    storage: Vec<Vec<u32>>,
    grid: (u32, u32),
    /// Buffers, by their place in `storage`, with what they are and must hold then.
    results: Vec<(usize, &'static str, Vec<u32>)>,
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
        let cases = rows::cases(arrangement.rows, &mut draw)
            .into_iter()
            .chain(heads::cases(arrangement.heads, arrangement.attend, &mut draw))
            .chain(products::cases(arrangement.product, &mut draw))
            .chain(sampling::cases(&mut draw));
        // Both arrangements share kernels; each is looked at once.
        let before = done.clone();
        for case in cases.filter(|case| !before.contains(&case.kernel)) {
            compared += case.check(gpu, &compile(case.kernel)?)?;
            done.insert(case.kernel);
        }
    }
    Ok(compared)
}

impl Case {
    fn check(&self, gpu: &Gpu, pipeline: &ComputePipeline) -> Result<usize, Refusal> {
        let found = self.compute(gpu, pipeline)?;
        for ((_, output, expected), found) in self.results.iter().zip(&found) {
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
        Ok(self.results.iter().map(|(_, _, expected)| expected.len()).sum())
    }

    fn compute(&self, gpu: &Gpu, pipeline: &ComputePipeline) -> Result<Vec<Vec<u32>>, GpuFault> {
        let uniform = |words: &[u32]| gpu.uniform_of("known answer", words);
        let mut bound = vec![(0, uniform(&self.params)?), (1, uniform(&self.pass)?)];
        let buffers = self.storage.iter().map(|words| gpu.storage_of("known answer", words));
        let buffers = buffers.collect::<Result<Vec<Buffer>, _>>()?;
        bound.extend((2..).zip(buffers.iter().cloned()));
        match self.kernel {
            Kernel::Attend(_) | Kernel::SiluMul(_) => bound.push((EXP2_BINDING, uniform(&exp2_words())?)),
            Kernel::Sample => bound.push((GUMBEL_BINDING, uniform(&gumbel_words())?)),
            _ => {}
        }
        bound.retain(|(binding, _)| !unused_bindings(self.kernel).contains(binding));
        let entries: Vec<BindGroupEntry<'_>> = bound
            .iter()
            .map(|(binding, buffer)| BindGroupEntry {
                binding: *binding,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        let group = gpu.device().create_bind_group(&BindGroupDescriptor {
            label: Some("known answer"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let reads: Vec<(&Buffer, u64)> =
            self.results.iter().map(|(at, _, expected)| (&buffers[*at], expected.len() as u64)).collect();
        gpu.submit_and_read(
            |encoder| {
                let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor::default());
                pass.set_pipeline(pipeline);
                pass.set_bind_group(0, &group, &[]);
                pass.dispatch_workgroups(self.grid.0, self.grid.1, 1);
            },
            &reads,
        )
    }
}
