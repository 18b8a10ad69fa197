//! How fast this machine reads memory: the bound on decoding.

use std::{thread, time::Instant};

/// Words of what is read; four times as large as most processors' last cache.
const WORDS: usize = 1 << 24;
/// Reads of which the fastest counts.
const READS: usize = 3;

/// Bytes a second that `threads` threads read together, each its own part, adding them up.
pub(super) fn read_rate(threads: usize) -> f64 {
    let words: Vec<u64> = (0..WORDS as u64).collect();
    let part = WORDS.div_ceil(threads.max(1));
    let one = || {
        let start = Instant::now();
        thread::scope(|scope| {
            for part in words.chunks(part) {
                scope.spawn(move || std::hint::black_box(sum(part)));
            }
        });
        start.elapsed().as_secs_f64()
    };
    let fastest = (0..READS).map(|_| one()).fold(f64::INFINITY, f64::min);
    rate(size_of_val(words.as_slice()) as u64, fastest)
}

/// How many a second; 0 for no time at all.
pub(super) fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

fn sum(words: &[u64]) -> u64 {
    words.iter().fold(0, |sum: u64, word| sum.wrapping_add(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_counts_over_seconds() {
        assert_eq!(rate(100, 0.5), 200.0);
        assert_eq!(rate(100, 0.0), 0.0);
        assert_eq!(sum(&[u64::MAX, 3]), 2);
    }
}
