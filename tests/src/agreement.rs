//! How far two predictions of the same text lie apart. Rows hold the natural logarithm of the probability of
//! each token of the vocabulary.

use std::fmt;

/// Margin, in nats, up to which the two likeliest tokens of a row count as tied: there rounding may choose.
pub const NEAR_TIE: f32 = 0.02;

/// The likeliest token of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Top {
    /// The token; of equally likely ones the lowest.
    pub token: u32,
    /// Nats between it and the second likeliest.
    pub margin: f32,
}

impl Top {
    /// The likeliest token of `row`, which has at least two.
    pub fn of(row: &[f32]) -> Self {
        let (mut token, mut first, mut second) = (0, f32::NEG_INFINITY, f32::NEG_INFINITY);
        for (id, value) in (0..).zip(row) {
            if *value > first {
                (token, first, second) = (id, *value, first);
            } else {
                second = second.max(*value);
            }
        }
        Self { token, margin: first - second }
    }

    /// Whether the second likeliest token is about as likely.
    pub fn is_near_tie(&self) -> bool {
        self.margin <= NEAR_TIE
    }
}

/// What comparing rows with those of a reference gave.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Agreement {
    rows: u32,
    same_top: u32,
    divergence_sum: f64,
    divergence_max: f64,
    gap_max: f32,
}

impl Agreement {
    /// Compares one row with the reference's.
    pub fn add(&mut self, reference: &[f32], found: &[f32]) {
        let divergence = divergence(reference, found);
        self.rows += 1;
        self.same_top += u32::from(Top::of(reference).token == Top::of(found).token);
        self.divergence_sum += divergence;
        self.divergence_max = self.divergence_max.max(divergence);
        let gaps = reference.iter().zip(found).map(|(a, b)| (a - b).abs());
        self.gap_max = gaps.fold(self.gap_max, f32::max);
    }

    /// Rows compared.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Mean over the rows of KL(reference || found), nats; not a number without rows.
    pub fn mean_divergence(&self) -> f64 {
        self.divergence_sum / f64::from(self.rows)
    }

    /// Share of rows with the same likeliest token; not a number without rows.
    pub fn top1(&self) -> f64 {
        f64::from(self.same_top) / f64::from(self.rows)
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, same_top, divergence_max, gap_max, .. } = self;
        let (mean, share) = (self.mean_divergence(), 100.0 * self.top1());
        write!(f, "{rows} rows, mean KL {mean:.3e}, largest KL {divergence_max:.3e}, ")?;
        write!(f, "top-1 {same_top}/{rows} = {share:.3}%, largest gap of a log probability {gap_max:.4}")
    }
}

/// KL(reference || found) of one row, nats.
pub fn divergence(reference: &[f32], found: &[f32]) -> f64 {
    let term = |(reference, found): (&f32, &f32)| {
        let (reference, found) = (f64::from(*reference), f64::from(*found));
        reference.exp() * (reference - found)
    };
    reference.iter().zip(found).map(term).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(odds: &[f32]) -> Vec<f32> {
        let sum: f32 = odds.iter().sum();
        odds.iter().map(|odd| (odd / sum).ln()).collect()
    }

    #[test]
    fn the_top_is_the_first_of_the_largest() {
        assert_eq!(Top::of(&[-3.0, -1.0, -1.5]), Top { token: 1, margin: 0.5 });
        assert_eq!(Top::of(&[-1.0, -2.0, -1.0]), Top { token: 0, margin: 0.0 });
        assert_eq!(Top::of(&[-9.0, -2.0, -1.75]), Top { token: 2, margin: 0.25 });
        assert!(Top { token: 0, margin: 0.02 }.is_near_tie());
        assert!(!Top { token: 0, margin: 0.021 }.is_near_tie());
    }

    /// Half and half against a quarter and three quarters: ½ ln 2 + ½ ln ⅔ = ½ ln 4/3.
    #[test]
    fn divergence_is_that_of_the_definition() {
        let found = divergence(&row(&[1.0, 1.0]), &row(&[1.0, 3.0]));
        assert!((found - (4.0f64 / 3.0).ln() / 2.0).abs() < 1e-7, "{found}");
        assert_eq!(divergence(&row(&[1.0, 3.0]), &row(&[1.0, 3.0])), 0.0);
    }

    #[test]
    fn rows_are_counted_and_the_worst_is_kept() {
        let mut agreement = Agreement::default();
        agreement.add(&row(&[1.0, 2.0]), &row(&[1.0, 2.0]));
        agreement.add(&row(&[2.0, 1.0]), &row(&[1.0, 2.0]));
        assert_eq!((agreement.rows(), agreement.top1()), (2, 0.5));
        let worst = 2f64.ln() / 3.0;
        assert!((agreement.mean_divergence() - worst / 2.0).abs() < 1e-6);
        assert!((agreement.divergence_max - worst).abs() < 1e-6);
        assert!((agreement.gap_max - 2f32.ln()).abs() < 1e-6);
    }
}
