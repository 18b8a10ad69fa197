//! Time by an adapter's own clock: two timestamps a submission, at the begin and at the end of its pass.
//!
//! Adapters are not to be trusted with it. Some leave zeros, some count in units that they guess, and an empty
//! pass need not be written at all. What cannot be right counts as no time, and the host's clock is taken.

use std::time::Duration;

use wgpu::{
    Buffer, BufferUsages, CommandEncoder, ComputePass, ComputePassDescriptor, ComputePassTimestampWrites,
    Features, QuerySet, QuerySetDescriptor, QueryType, Queue,
};

use super::{
    super::device::DeviceTime,
    context::{Gpu, GpuFault},
};

/// Timestamps of a submission.
const STAMPS: u32 = 2;
/// Words in which they are read.
pub(super) const STAMP_WORDS: u64 = 2 * STAMPS as u64;

/// The clock of an adapter that has one.
#[derive(Clone, Debug)]
pub(super) struct DeviceClock {
    queries: QuerySet,
    /// Where timestamps are put for the host.
    pub(super) stamps: Buffer,
    period: Period,
}

/// Nanoseconds of a tick: `mantissa * 2^exponent`, exactly what the driver's float says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Period {
    mantissa: u32,
    exponent: i32,
}

impl DeviceClock {
    /// The adapter's clock; none if the device was opened without it, or its unit makes no sense.
    ///
    /// # Errors
    /// [`GpuFault`], if there is no memory for two timestamps.
    pub(super) fn of(gpu: &Gpu, queue: &Queue) -> Result<Option<Self>, GpuFault> {
        if !gpu.device().features().contains(Features::TIMESTAMP_QUERY) {
            return Ok(None);
        }
        let Some(period) = Period::of(queue.get_timestamp_period().to_bits()) else { return Ok(None) };
        let usage = BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC;
        let stamps = gpu.buffer("timestamps", 4 * STAMP_WORDS, usage)?;
        let described = QuerySetDescriptor { label: Some("pass"), ty: QueryType::Timestamp, count: STAMPS };
        Ok(Some(Self { queries: gpu.device().create_query_set(&described), stamps, period }))
    }

    /// Records a pass between two timestamps.
    pub(super) fn record(&self, encoder: &mut CommandEncoder, record: impl FnOnce(&mut ComputePass<'_>)) {
        let timestamp_writes = Some(ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        });
        record(&mut encoder.begin_compute_pass(&ComputePassDescriptor { label: None, timestamp_writes }));
        encoder.resolve_query_set(&self.queries, 0..STAMPS, &self.stamps, 0);
    }

    /// The time between the timestamps in `words`, if it can be believed; `host` is the time around the
    /// submission.
    pub(super) fn time(&self, words: &[u32], host: Duration) -> DeviceTime {
        let (pairs, _) = words.as_chunks::<2>();
        let stamp = |at: usize| pairs.get(at).map(|[low, high]| u64::from(*low) | u64::from(*high) << 32);
        believed(stamp(0)?, stamp(1)?, self.period, host)
    }
}

impl Period {
    /// Of the bits of a float; none for what is not a positive number.
    fn of(bits: u32) -> Option<Self> {
        let (biased, fraction) = ((bits >> 23) as i32, bits & 0x7f_ffff);
        match (biased, fraction) {
            // Negative, infinite or no number, and zero.
            (255.., _) | (0, 0) => None,
            (0, _) => Some(Self { mantissa: fraction, exponent: -149 }),
            _ => Some(Self { mantissa: fraction | 1 << 23, exponent: biased - 150 }),
        }
    }

    /// So many ticks in nanoseconds, rounded down; none if they are more than fit.
    fn nanos(self, ticks: u64) -> Option<u64> {
        let product = u128::from(ticks) * u128::from(self.mantissa);
        let nanos = match u32::try_from(self.exponent) {
            Ok(0) => product,
            // The product has 88 bits.
            Ok(up) => (up < 40).then(|| product << up)?,
            Err(_) => product.checked_shr(self.exponent.unsigned_abs()).unwrap_or(0),
        };
        u64::try_from(nanos).ok()
    }
}

/// The time from `begin` to `end` in ticks of `period`. Zeros, a clock that stands or goes backwards, and more
/// than the `host` saw pass around it are no time.
fn believed(begin: u64, end: u64, period: Period, host: Duration) -> DeviceTime {
    let ticks = end.checked_sub(begin).filter(|_| begin != 0)?;
    let time = Duration::from_nanos(period.nanos(ticks)?);
    (!time.is_zero() && time <= host).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Duration = Duration::from_micros(50);

    fn period(nanos: f32) -> Period {
        Period::of(nanos.to_bits()).expect("a period")
    }

    fn read(begin: u64, end: u64) -> Option<u128> {
        believed(begin, end, period(1.0), HOST).map(|time| time.as_nanos())
    }

    #[test]
    fn only_time_that_can_have_passed_is_believed() {
        assert_eq!(read(1_000, 31_000), Some(30_000));
        assert_eq!(read(1_000, 51_000), Some(50_000));
        // Never written, one not written, standing still, backwards, longer than the host's, absurd.
        let wrong =
            [(0, 0), (0, 30_000), (1_000, 0), (9, 9), (31_000, 1_000), (1_000, 51_001), (1, u64::MAX)];
        assert_eq!(wrong.map(|(begin, end)| read(begin, end)), [None; 7]);
    }

    #[test]
    fn ticks_become_nanoseconds_without_floats() {
        assert_eq!(period(1.0).nanos(12_345), Some(12_345));
        assert_eq!(period(0.5).nanos(u64::MAX), Some(u64::MAX / 2));
        // 83.333 ns, as one vendor counts: the float is a little above.
        assert_eq!(period(83.333_336).nanos(3_000_000), Some(250_000_007));
        assert_eq!(period(52.083_332).nanos(1), Some(52));
        assert_eq!(period(f32::MIN_POSITIVE / 2.0).nanos(u64::MAX), Some(0));
        assert_eq!([period(f32::MAX), period(2.0)].map(|period| period.nanos(u64::MAX)), [None; 2]);
    }

    #[test]
    fn a_unit_that_is_no_positive_number_is_no_unit() {
        let wrong = [0.0, -0.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        assert_eq!(wrong.map(|nanos| Period::of(nanos.to_bits())), [None; 6]);
    }
}
