//! How fast this machine multiplies small integers: the bound on prefill.

use std::{thread, time::Instant};

use super::memory::rate;
use crate::engine::{cpu::peak::multiply, isa::Kernels};

/// Rounds of one run, some milliseconds.
const ROUNDS: u32 = 1 << 21;
/// Runs of which the fastest counts.
const RUNS: usize = 3;

/// Products of a code and a limb a second that `threads` threads do together with the instructions of `kernels`.
pub(super) fn product_rate(kernels: Kernels, threads: usize) -> f64 {
    let one = || {
        let start = Instant::now();
        let done: u64 = thread::scope(|scope| {
            let all: Vec<_> =
                (0..threads.max(1)).map(|_| scope.spawn(move || multiply(kernels, ROUNDS))).collect();
            all.into_iter().map(|thread| thread.join().unwrap_or(0)).sum()
        });
        rate(done, start.elapsed().as_secs_f64())
    };
    (0..RUNS).map(|_| one()).fold(0.0, f64::max)
}
