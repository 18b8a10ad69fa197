//! Chi-square: how well counts fit probabilities, as the chance that a right sampler fits no better.

/// Cells with fewer expected draws are taken together, so that the statistic follows its distribution.
const EXPECTED_MIN: f64 = 10.0;

/// The probability that draws from `probabilities` fit them no better than `counts` do. A draw of what has no
/// probability gives 0.
///
/// # Panics
/// If the lengths differ.
#[must_use]
pub fn fit(counts: &[u64], probabilities: &[f64]) -> f64 {
    assert_eq!(counts.len(), probabilities.len());
    let draws = counts.iter().sum::<u64>() as f64;
    let mut cells: Vec<(f64, f64)> = Vec::new();
    let mut rest = (0.0, 0.0);
    for (count, probability) in counts.iter().zip(probabilities) {
        let (count, expected) = (*count as f64, probability * draws);
        if *probability == 0.0 && count > 0.0 {
            return 0.0;
        }
        match expected >= EXPECTED_MIN {
            true => cells.push((count, expected)),
            false => rest = (rest.0 + count, rest.1 + expected),
        }
    }
    cells.extend((rest.1 > 0.0).then_some(rest));
    if cells.len() < 2 {
        return 1.0;
    }
    let statistic: f64 = cells.iter().map(|(count, expected)| (count - expected).powi(2) / expected).sum();
    upper_tail(statistic, cells.len() - 1)
}

/// The probability that chi-square with `freedom` degrees of freedom exceeds `statistic`: the regularised upper
/// incomplete gamma function, as a sum (freedom is even) or from the error function's tail (odd).
#[must_use]
pub fn upper_tail(statistic: f64, freedom: usize) -> f64 {
    let half = statistic / 2.0;
    // Q(a + 1, x) = Q(a, x) + x^a e^-x / Gamma(a + 1), from Q(1, x) or Q(1/2, x) up to a = freedom / 2.
    let (mut a, mut tail, mut term) = match freedom % 2 {
        0 => (1.0, (-half).exp(), half * (-half).exp()),
        _ => (0.5, erfc(half.sqrt()), half.sqrt() * (-half).exp() * std::f64::consts::FRAC_2_SQRT_PI),
    };
    while 2.0 * a < freedom as f64 {
        tail += term;
        a += 1.0;
        term *= half / a;
    }
    tail.min(1.0)
}

/// The complementary error function of a number of at least 0: its series up to 3, its continued fraction beyond.
fn erfc(x: f64) -> f64 {
    let scale = (-x * x).exp() * std::f64::consts::FRAC_2_SQRT_PI;
    if x < 3.0 {
        let (mut sum, mut term) = (0.0, x);
        for n in 1..200 {
            sum += term;
            term *= 2.0 * x * x / f64::from(2 * n + 1);
        }
        return 1.0 - scale * sum;
    }
    let fraction = (1..100).rev().fold(x, |tail, n| x + f64::from(n) / 2.0 / tail);
    scale / 2.0 / fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_those_of_the_printed_tables() {
        // Upper 5%, 1% and 0.1% points.
        let points = [
            (1, 3.841_459, 0.05),
            (2, 5.991_465, 0.05),
            (7, 14.067_140, 0.05),
            (10, 23.209_251, 0.01),
            (30, 59.703_064, 0.001),
            (7, 40.521_831, 1e-6),
        ];
        for (freedom, statistic, probability) in points {
            let found = upper_tail(statistic, freedom);
            assert!((found / probability - 1.0).abs() < 1e-4, "{found} for {probability}");
        }
    }

    #[test]
    fn a_good_fit_is_likely_and_a_bad_one_is_not() {
        assert!(fit(&[498, 251, 251], &[0.5, 0.25, 0.25]) > 0.9);
        assert!(fit(&[600, 200, 200], &[0.5, 0.25, 0.25]) < 1e-6);
        assert_eq!(fit(&[999, 0, 1], &[0.5, 0.5, 0.0]), 0.0, "what cannot be was drawn");
    }
}
