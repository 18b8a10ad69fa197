//! How long each side of a calibration waits for the other. Both count by the same table.
//!
//! Times grow with the memory claimed, and end at an hour: what is slower than a billion multiply-accumulates
//! a second, or too slow for its memory, is not worth a rate.

use super::shape::StandardShape;
use crate::units::{Millis, Work};

/// The longest that anything may take.
const MS_MAX: u64 = 60 * 60 * 1000;
/// What every computation may take beside its work.
const MS_BASE: u64 = 120_000;
/// Bytes of weights made, coded and laid out in a millisecond, at least: 16 MiB a second.
const BYTES_PER_MS: u64 = (16 << 20) / 1000;
/// Multiply-accumulates in a millisecond, at least.
const WORK_PER_MS: u64 = 1_000_000;

/// How long each step may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timetable {
    /// A message that needs nothing computed.
    pub reply: Millis,
    /// To free memory and load the standard model.
    pub load: Millis,
    /// To read the prompt.
    pub first: Millis,
    /// To write the rest.
    pub rest: Millis,
    /// To compute the job again, layer by layer.
    pub check: Millis,
}

impl Timetable {
    /// The table of a job.
    #[must_use]
    pub fn of(shape: &StandardShape) -> Self {
        let (load, prefill) = (shape.bytes() / BYTES_PER_MS, ms(shape.prefill_work()));
        let decode = ms(shape.decode_work());
        Self {
            reply: Millis(30_000),
            load: bounded(load),
            first: bounded(prefill),
            rest: bounded(decode),
            check: bounded(load.saturating_add(prefill).saturating_add(decode)),
        }
    }
}

impl Timetable {
    /// The same, but nothing may take longer than `patience`.
    #[must_use]
    pub fn within(self, patience: Millis) -> Self {
        let Self { reply, load, first, rest, check } = self;
        let [reply, load, first, rest, check] =
            [reply, load, first, rest, check].map(|limit| limit.min(patience));
        Self { reply, load, first, rest, check }
    }
}

fn ms(work: Work) -> u64 {
    work.0 / WORK_PER_MS
}

fn bounded(ms: u64) -> Millis {
    Millis(ms.saturating_add(MS_BASE).min(MS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::shape::{MEMORY_MAX, MEMORY_MIN};

    #[test]
    fn times_grow_with_the_memory_and_end_at_an_hour() {
        let of = |bytes| Timetable::of(&StandardShape::of(bytes).expect("within the bounds"));
        let small = of(MEMORY_MIN);
        assert!([small.load, small.first, small.rest, small.check].iter().all(|limit| limit.0 < 125_000));
        let middle = of(2 << 30);
        assert!(
            middle.load > Millis(240_000) && middle.first > Millis(500_000) && middle.rest < middle.first
        );
        let large = of(MEMORY_MAX);
        assert!([large.load, large.first, large.rest, large.check].iter().all(|limit| limit.0 == MS_MAX));
        let hasty = large.within(Millis(7));
        let all = [hasty.reply, hasty.load, hasty.first, hasty.rest, hasty.check];
        assert_eq!((all, large.within(Millis(MS_MAX))), ([Millis(7); 5], large));
    }
}
