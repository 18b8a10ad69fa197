//! How fast this machine is, figure by figure. It reports and never judges.
//!
//! Every figure is the median of its repeats. What is compared is measured in turns, so that whatever else the machine
//! does falls on both.

pub mod audit;
pub mod engine;
pub mod first_token;
pub mod gossip;
pub mod ledger;
pub mod market;
pub mod matching;
pub mod matrix;
mod random;

/// The middle of `samples`, the mean of both where there are two; 0 for none.
pub fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    let middle = samples.len() / 2;
    match samples.len() {
        0 => 0.0,
        len if len % 2 == 1 => samples[middle],
        _ => (samples[middle - 1] + samples[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&mut []), 0.0);
    }
}
