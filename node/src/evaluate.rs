//! How well a model predicts a text: perplexity over windows, and the probabilities behind it.
//!
//! A text is cut into windows of W tokens that do not overlap, each computed on its own with nothing put
//! before it. Row j of a window is what the model says after its tokens 0..=j, so it predicts token j+1, and
//! a window has W-1 rows. The second half of the positions, from W/2 on, is scored:
//! `perplexity = exp(-mean ln p)`.

pub mod npy;
mod softmax;

use std::sync::Arc;

use thiserror::Error;

use self::softmax::LogSoftmax;
use crate::engine::{
    Engine,
    sequence::{Sequence, SequenceError},
};

/// Tokens of a window at least: one to read, one to predict.
pub const WINDOW_MIN: usize = 2;

/// Why a text cannot be cut as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WindowsError {
    /// A window of one token predicts nothing, and one beyond the context cannot be computed.
    #[error("windows of {asked} tokens asked for; this model takes {WINDOW_MIN} to {max}")]
    Length {
        /// Tokens of a window.
        asked: usize,
        /// Positions that the model has.
        max: usize,
    },
    /// There is not one full window.
    #[error("{tokens} tokens do not fill one window of {window}: give more text or a smaller window")]
    TooFew {
        /// Tokens to be used.
        tokens: usize,
        /// Tokens of a window.
        window: usize,
    },
    /// More rows of each window are wanted than there are.
    #[error("the last {asked} rows of each window asked for; a window has {rows}")]
    Rows {
        /// Rows wanted.
        asked: usize,
        /// Rows of a window.
        rows: usize,
    },
}

/// A text cut into windows, and the rows of each that are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Windows<'a> {
    tokens: &'a [u32],
    length: usize,
    rows: usize,
}

impl<'a> Windows<'a> {
    /// Cuts `tokens` into windows of `length` tokens, for a model with `context` positions; a rest that does
    /// not fill a window is left out. No rows are wanted.
    ///
    /// # Errors
    /// [`WindowsError::Length`] and [`WindowsError::TooFew`].
    pub fn cut(tokens: &'a [u32], length: usize, context: usize) -> Result<Self, WindowsError> {
        if !(WINDOW_MIN..=context).contains(&length) {
            return Err(WindowsError::Length { asked: length, max: context });
        }
        match tokens.len() / length {
            0 => Err(WindowsError::TooFew { tokens: tokens.len(), window: length }),
            count => Ok(Self { tokens: &tokens[..count * length], length, rows: 0 }),
        }
    }

    /// Wants the last `rows` rows of each window; all for `None`.
    ///
    /// # Errors
    /// [`WindowsError::Rows`] if a window has fewer, or for none.
    pub fn with_rows(self, rows: Option<usize>) -> Result<Self, WindowsError> {
        let most = self.length - 1;
        match rows.unwrap_or(most) {
            asked if asked == 0 || asked > most => Err(WindowsError::Rows { asked, rows: most }),
            rows => Ok(Self { rows, ..self }),
        }
    }

    /// Windows.
    #[must_use]
    pub fn count(&self) -> usize {
        self.tokens.len() / self.length
    }

    /// Tokens in all windows.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Rows wanted of all windows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.count() * self.rows
    }

    /// The first row that is scored: it predicts the first position of the second half.
    fn first_scored(&self) -> usize {
        self.length / 2 - 1
    }

    /// The first row that is wanted.
    fn first_wanted(&self) -> usize {
        self.length - 1 - self.rows
    }
}

/// What was found about a text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Predictions that were scored.
    pub predictions: u64,
    /// Sum of their natural-log probabilities.
    pub log_likelihood: f64,
}

impl Score {
    /// The exponential of the mean surprise; 1 for a text foreseen with certainty.
    #[must_use]
    pub fn perplexity(&self) -> f64 {
        (-self.log_likelihood / self.predictions as f64).exp()
    }
}

/// Follows an evaluation, and may end it.
pub trait Watch: Send {
    /// Why it ends.
    type Error: From<SequenceError> + Send;

    /// Takes a wanted row, in order: the natural-log probability of each token of the vocabulary.
    ///
    /// # Errors
    /// To end the evaluation.
    fn row(&mut self, log_probabilities: &[f32]) -> Result<(), Self::Error>;

    /// Learns that `tokens` more were computed.
    ///
    /// # Errors
    /// To end the evaluation.
    fn computed(&mut self, tokens: usize) -> Result<(), Self::Error>;
}

/// Computes all windows and scores them.
///
/// # Errors
/// What `watch` says, and [`SequenceError`] if the windows are not for this engine.
pub fn evaluate<W: Watch>(
    engine: &Arc<Engine>,
    windows: &Windows<'_>,
    watch: &mut W,
) -> Result<Score, W::Error> {
    let mut evaluation = Evaluation { windows, watch, score: Score::default(), row: Vec::new() };
    for window in windows.tokens.chunks_exact(windows.length) {
        evaluation.window(engine, window)?;
    }
    Ok(evaluation.score)
}

struct Evaluation<'a, W> {
    windows: &'a Windows<'a>,
    watch: &'a mut W,
    score: Score,
    row: Vec<f32>,
}

impl<W: Watch> Evaluation<'_, W> {
    fn window(&mut self, engine: &Arc<Engine>, window: &[u32]) -> Result<(), W::Error> {
        // The last token is predicted, and predicts nothing in its window.
        let (read, first_seen) =
            (window.len() - 1, self.windows.first_scored().min(self.windows.first_wanted()));
        let mut sequence = Sequence::new(engine, read)?;
        let size = engine.device().rows_max();
        for (index, chunk) in window[..read].chunks(size).enumerate() {
            let start = index * size;
            let unseen = first_seen.saturating_sub(start).min(chunk.len());
            let mut outcome = Ok(());
            sequence.prefill_from(chunk, unseen, |at, scores| {
                if outcome.is_ok() {
                    outcome = self.see(start + at, scores.logits, window);
                }
            })?;
            outcome?;
            self.watch.computed(chunk.len())?;
        }
        self.watch.computed(1)
    }

    fn see(&mut self, row: usize, logits: &[i32], window: &[u32]) -> Result<(), W::Error> {
        let softmax = LogSoftmax::new(logits);
        if row >= self.windows.first_scored() {
            self.score.predictions += 1;
            self.score.log_likelihood += softmax.of(logits[window[row + 1] as usize]);
        }
        if row < self.windows.first_wanted() {
            return Ok(());
        }
        self.row.clear();
        self.row.extend(logits.iter().map(|logit| softmax.of(*logit) as f32));
        self.watch.row(&self.row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_is_left_out_and_half_is_scored() {
        let tokens = [0; 25];
        let windows = Windows::cut(&tokens, 8, 100).unwrap();
        assert_eq!((windows.count(), windows.tokens(), windows.rows()), (3, 24, 0));
        assert_eq!((windows.first_scored(), windows.first_wanted()), (3, 7), "row 3 predicts position 4");
        let all = windows.with_rows(None).unwrap();
        assert_eq!((all.rows(), all.first_wanted()), (21, 0));
        let last = windows.with_rows(Some(2)).unwrap();
        assert_eq!((last.rows(), last.first_wanted()), (6, 5));
    }

    #[test]
    fn the_least_window_has_one_row_and_scores_it() {
        let windows = Windows::cut(&[0; 2], 2, 2).unwrap().with_rows(None).unwrap();
        assert_eq!((windows.first_scored(), windows.first_wanted(), windows.rows()), (0, 0, 1));
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        let tokens = [0; 9];
        let cut = |length, context| Windows::cut(&tokens, length, context).map(|windows| windows.count());
        assert_eq!(cut(1, 8), Err(WindowsError::Length { asked: 1, max: 8 }));
        assert_eq!(cut(9, 8), Err(WindowsError::Length { asked: 9, max: 8 }));
        assert_eq!(cut(10, 16), Err(WindowsError::TooFew { tokens: 9, window: 10 }));
        let rows = |rows| Windows::cut(&tokens, 4, 8).unwrap().with_rows(Some(rows)).err();
        assert_eq!(rows(0), Some(WindowsError::Rows { asked: 0, rows: 3 }));
        assert_eq!(rows(4), Some(WindowsError::Rows { asked: 4, rows: 3 }));
    }

    #[test]
    fn even_odds_of_four_are_perplexity_four() {
        let score = Score { predictions: 10, log_likelihood: 10.0 * 0.25f64.ln() };
        assert!((score.perplexity() - 4.0).abs() < 1e-12);
    }
}
