//! One turn: a pass for all jobs that may go on, and what becomes of them.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use gridhour_protocol::{
    receipt::{ClockSource, MeasuredTime},
    units::GpuNs,
};

use super::{
    super::{
        choice::Choice,
        device::{Decoded, Device, DeviceFault, DeviceTime, Lane, PageId, Pass, Row},
    },
    counts::Counting,
    job::Running,
    share::share,
};

/// What a job got from a pass: positions computed, and tokens chosen behind them.
#[derive(Default)]
struct Part {
    rows: usize,
    choices: Vec<Choice>,
}

/// Computes one pass for `jobs`, and drops those that end. Whether there was anything to compute.
///
/// # Errors
/// The device's fault; the jobs are then as they were.
pub(super) fn compute(
    device: &dyn Device,
    jobs: &mut Vec<Running>,
    turn: u64,
    counts: &Counting,
) -> Result<bool, DeviceFault> {
    let wants: Vec<usize> = jobs.iter().map(Running::wants).collect();
    let rows = share(&wants, rows_of_turn(device, jobs, &wants));
    if rows.iter().all(|rows| *rows == 0) {
        return Ok(false);
    }
    jobs.iter_mut().zip(&rows).filter(|(_, rows)| **rows > 0).for_each(|(job, _)| {
        job.start();
        job.turn = turn;
    });
    let begin = Instant::now();
    let (parts, time) = guarded(|| match wants.iter().all(|wants| *wants <= 1) {
        true => decode(device, jobs, &rows),
        false => mixed(device, jobs, &rows),
    })?;
    let measured = measured(begin.elapsed(), time);
    let all = parts.iter().map(|part| part.rows as u64).sum::<u64>().max(1);
    counts.pass(all, parts.iter().map(|part| part.choices.len() as u64).sum(), measured.time.0);
    let moved = std::mem::take(jobs).into_iter().zip(parts);
    // A pass that several jobs share is counted to each by its rows.
    jobs.extend(moved.filter_map(|(job, Part { rows, choices })| {
        job.advance(rows, &choices, measured.share(rows as u64, all))
    }));
    Ok(true)
}

/// The time of a pass: the device's own, else the host's around it.
fn measured(host: Duration, device: DeviceTime) -> MeasuredTime {
    let (time, clock) = match device {
        Some(time) => (time, ClockSource::DeviceTimestamps),
        None => (host, ClockSource::HostClock),
    };
    MeasuredTime { time: GpuNs(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)), clock }
}

/// Rows of this turn's pass. Fewer where a prompt is read while others wait for their next token, so that it
/// is not long in coming.
fn rows_of_turn(device: &dyn Device, jobs: &[Running], wants: &[usize]) -> usize {
    let (all, half) = (device.rows_max(), device.rows_max().div_ceil(2));
    let some_wait = jobs.iter().zip(wants).any(|(job, wants)| job.is_writing() && *wants > 0);
    match some_wait {
        true => wants.iter().filter(|wants| **wants > 0).count().clamp(half, all),
        false => all,
    }
}

/// A device that panics is as good as lost.
fn guarded<T>(compute: impl FnOnce() -> Result<T, DeviceFault>) -> Result<T, DeviceFault> {
    // Nothing of what it may have left half done is looked at again: all jobs end.
    let lost = |_| DeviceFault::Lost("a computation on it panicked".to_owned());
    catch_unwind(AssertUnwindSafe(compute)).map_err(lost)?
}

/// What each job got from a pass, and how long the pass took.
type Parts = (Vec<Part>, DeviceTime);

/// Every job that has rows needs just its last token computed: the device may take several steps.
fn decode(device: &dyn Device, jobs: &mut [Running], rows: &[usize]) -> Result<Parts, DeviceFault> {
    let steps_max = device.steps_max();
    let some = jobs.iter_mut().zip(rows).enumerate().filter(|(_, (_, rows))| **rows > 0);
    let steps: Vec<(usize, usize)> = some.map(|(at, (job, _))| (at, job.prepare(steps_max))).collect();
    let lanes: Vec<Lane<'_>> = steps.iter().map(|(at, steps)| jobs[*at].lane(*steps)).collect();
    let Decoded { chosen, time } = device.decode(&lanes)?;
    let mut parts: Vec<Part> = jobs.iter().map(|_| Part::default()).collect();
    for ((at, _), choices) in steps.into_iter().zip(chosen) {
        parts[at] = Part { rows: choices.len(), choices };
    }
    Ok((parts, time))
}

/// Some jobs read their prompts: one pass of all.
fn mixed(device: &dyn Device, jobs: &mut [Running], share: &[usize]) -> Result<Parts, DeviceFault> {
    let (mut rows, mut wanted, mut choosers) = (Vec::new(), Vec::new(), Vec::new());
    for (table, (job, share)) in jobs.iter_mut().zip(share).enumerate() {
        if *share == 0 {
            continue;
        }
        let (first, tokens, chooses) = job.piece(*share);
        // The engine bounds positions by 2^17.
        let row = |(position, token): (u32, &u32)| Row { token: *token, position, table };
        rows.extend((first as u32..).zip(tokens).map(row));
        if chooses {
            wanted.push(rows.len() - 1);
            choosers.push(table);
        }
    }
    let tables: Vec<&[PageId]> = jobs.iter().map(Running::pages).collect();
    let mut parts: Vec<Part> = share.iter().map(|rows| Part { rows: *rows, choices: Vec::new() }).collect();
    let mut choosers = choosers.into_iter();
    let time = device.run(&Pass { rows: &rows, tables: &tables, wanted: &wanted }, &mut |_, scores| {
        if let Some(at) = choosers.next() {
            parts[at].choices.push(jobs[at].choose(scores));
        }
    })?;
    Ok((parts, time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_a_clock_is_timed_by_the_host() {
        let (host, device) = (Duration::from_nanos(9), Duration::from_nanos(7));
        let of = |time: u64, clock| MeasuredTime { time: GpuNs(time), clock };
        assert_eq!(measured(host, None), of(9, ClockSource::HostClock));
        assert_eq!(measured(host, Some(device)), of(7, ClockSource::DeviceTimestamps));
        assert_eq!(measured(Duration::MAX, None).time, GpuNs(u64::MAX));
    }
}
