//! Natural-log probabilities of integer logits. Only reports use them: no token is ever chosen by a float.

/// Value of a logit's last bit, in nats: logits are Q16.
const NATS: f64 = 1.0 / 65_536.0;

/// What turns the logits of one row into log probabilities.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogSoftmax {
    top: i32,
    log_sum: f64,
}

impl LogSoftmax {
    /// The normaliser of a row; its sum is taken relative to the largest logit, so that nothing overflows.
    pub(super) fn new(logits: &[i32]) -> Self {
        let top = logits.iter().copied().max().unwrap_or(0);
        let sum: f64 = logits.iter().map(|logit| below(top, *logit).exp()).sum();
        Self { top, log_sum: sum.ln() }
    }

    /// The log probability of a token with this logit.
    pub(super) fn of(&self, logit: i32) -> f64 {
        below(self.top, logit) - self.log_sum
    }
}

/// `logit - top` in nats, exactly.
fn below(top: i32, logit: i32) -> f64 {
    (f64::from(logit) - f64::from(top)) * NATS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_known_row() {
        // Logits ln 1, ln 2 and ln 5 give one, two and five eighths.
        let logits = [1.0f64, 2.0, 5.0].map(|weight| (weight.ln() * 65_536.0).round() as i32);
        let softmax = LogSoftmax::new(&logits);
        for (logit, eighths) in logits.iter().zip([1.0, 2.0, 5.0]) {
            assert!((softmax.of(*logit).exp() - eighths / 8.0).abs() < 1e-5);
        }
    }

    proptest! {
        #[test]
        fn probabilities_sum_to_one(logits in prop::collection::vec(any::<i32>(), 1..200)) {
            let softmax = LogSoftmax::new(&logits);
            let sum: f64 = logits.iter().map(|logit| softmax.of(*logit).exp()).sum();
            prop_assert!((sum - 1.0).abs() < 1e-9, "{sum}");
            prop_assert!(logits.iter().all(|logit| softmax.of(*logit) <= 0.0));
        }
    }
}
