//! The engine's probabilities of a real text against those of floats.

use std::time::Instant;

use gridhour_node::{
    engine::sequence::SequenceError,
    evaluate::{Watch, Windows, evaluate},
    model::gguf::{Tensor, TensorType},
};
use testkit::{agreement::Agreement, f32_eval::LogProbs};

use crate::subject::{Subject, eight_bit_subject, subject};

/// Mean KL(floats || engine), nats, at most.
const DIVERGENCE_MAX: f64 = 1e-4;
/// Share of rows whose likeliest token is the same, at least.
const TOP1_MIN: f64 = 0.995;

/// Compares the engine's rows of one window, as they come, with those of the floats.
struct Compare<'a> {
    floats: LogProbs,
    next: usize,
    agreement: &'a mut Agreement,
}

impl Watch for Compare<'_> {
    type Error = SequenceError;

    fn row(&mut self, log_probabilities: &[f32]) -> Result<(), SequenceError> {
        self.agreement.add(self.floats.row(self.next), log_probabilities);
        self.next += 1;
        Ok(())
    }

    fn computed(&mut self, _tokens: usize) -> Result<(), SequenceError> {
        Ok(())
    }
}

/// Compares the last `rows` rows of one window, all for `None`; says how long both took.
fn compare(subject: &Subject, window: &[u32], rows: Option<usize>, agreement: &mut Agreement) {
    let cut = Windows::cut(window, window.len(), subject.engine.context());
    let windows = cut.and_then(|windows| windows.with_rows(rows)).expect("the model's context is longer");
    // The last token predicts nothing in its window.
    let read = &window[..window.len() - 1];
    let loaded = subject.floats();
    let started = Instant::now();
    let floats = loaded.log_probs(read, read.len() - windows.rows()..read.len());
    let floats_took = started.elapsed().as_secs_f64();
    let mut compare = Compare { floats, next: 0, agreement };
    let score = evaluate(&subject.engine, &windows, &mut compare).expect("the window fits");
    assert_eq!(compare.next, windows.rows());
    println!(
        "window of {}: floats {floats_took:.1} s, engine and comparison {:.1} s, perplexity {:.3}",
        window.len(),
        started.elapsed().as_secs_f64() - floats_took,
        score.perplexity()
    );
}

/// `count` windows of `length` tokens from the start of WikiText-2; `None` skips the test.
fn agreement(subject: &Subject, length: usize, count: usize, rows: Option<usize>) -> Option<Agreement> {
    let tokens = subject.wikitext()?;
    let mut agreement = Agreement::default();
    for window in tokens.chunks_exact(length).take(count) {
        compare(subject, window, rows, &mut agreement);
    }
    println!("wikitext, {count} x {length}: {agreement}");
    Some(agreement)
}

fn assert_close(agreement: &Agreement, rows: u32) {
    assert_eq!(agreement.rows(), rows);
    assert!(agreement.mean_divergence() <= DIVERGENCE_MAX, "{agreement}");
    assert!(agreement.top1() >= TOP1_MIN, "{agreement}");
}

#[test]
fn short_windows_agree_with_floats_at_every_position() {
    let Some(subject) = subject() else { return };
    if let Some(agreement) = agreement(subject, 512, 2, None) {
        assert_close(&agreement, 2 * 511);
    }
}

#[test]
fn a_long_window_agrees_with_floats_at_its_end() {
    let Some(subject) = subject() else { return };
    if let Some(agreement) = agreement(subject, 4_096, 1, Some(512)) {
        assert_close(&agreement, 512);
    }
}

/// The floats have the weights of the 8-bit file, not those of the file that it was made from.
#[test]
fn a_file_of_eight_bits_agrees_with_floats_at_every_position() {
    let Some(subject) = eight_bit_subject() else { return };
    let matrices = |tensor: &Tensor<'_>| tensor.rows > 1;
    assert!(subject.file.tensors().filter(matrices).all(|tensor| tensor.ty == TensorType::Q8_0));
    if let Some(agreement) = agreement(&subject, 512, 2, None) {
        assert_close(&agreement, 2 * 511);
    }
}
