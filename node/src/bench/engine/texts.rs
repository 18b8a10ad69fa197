//! Texts that are decoded together, and the re-run of one.

use std::{sync::Arc, time::Instant};

use gridhour_protocol::work::WorkModel;

use super::{BenchError, Plan};
use crate::engine::{
    Engine,
    choice::Choice,
    device::{Lane, PageId, Pass, Row},
    pages::table::PageTable,
    sampler::Sampling,
    sequence::{Sequence, SequenceError},
    verify::{Claim, verify},
};

/// `count` tokens of a fixed linear congruential sequence (Knuth's MMIX constants); the speed does not depend on which.
pub(super) fn tokens(vocab: u32, count: usize, seed: u64) -> Vec<u32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 32) % u64::from(vocab)) as u32
    };
    (0..count).map(|_| next()).collect()
}

/// Some texts, each with its pages.
pub(super) struct Texts {
    tables: Vec<PageTable>,
    texts: Vec<Vec<u32>>,
}

impl Texts {
    /// `count` different texts of `depth` computed positions, with room for `steps` more each.
    pub(super) fn new(
        engine: &Arc<Engine>,
        count: usize,
        depth: usize,
        steps: usize,
    ) -> Result<Self, BenchError> {
        let positions = depth + steps;
        if positions > engine.context() {
            return Err(SequenceError::Context { asked: positions, max: engine.context() }.into());
        }
        let full = || SequenceError::KvMemory { asked: count * positions, limit: engine.pages().limit() };
        let mut tables = Vec::with_capacity(count);
        for _ in 0..count {
            let mut table = engine.pages().admit(&[], positions).ok_or_else(full)?;
            table.grow(positions);
            tables.push(table);
        }
        let vocab = engine.config().vocab;
        let texts = (0..count).map(|text| tokens(vocab, depth + 1, text as u64)).collect();
        let texts = Self { tables, texts };
        texts.read(engine, depth)?;
        Ok(texts)
    }

    /// Computes the first `depth` positions of each text.
    fn read(&self, engine: &Engine, depth: usize) -> Result<(), BenchError> {
        for (table, text) in self.tables.iter().zip(&self.texts) {
            let positions: Vec<usize> = (0..depth).collect();
            for chunk in positions.chunks(engine.device().rows_max()) {
                let row = |at: &usize| Row { token: text[*at], position: *at as u32, table: 0 };
                let rows: Vec<Row> = chunk.iter().map(row).collect();
                let pass = Pass { rows: &rows, tables: &[table.ids()], wanted: &[] };
                engine.device().run(&pass, &mut |_, _| ())?;
            }
        }
        Ok(())
    }

    /// One more token of each text.
    pub(super) fn step(&mut self, engine: &Engine) -> Result<Vec<Choice>, BenchError> {
        let tables: Vec<&[PageId]> = self.tables.iter().map(PageTable::ids).collect();
        let mut choices = Vec::with_capacity(self.texts.len());
        let lanes: Vec<Lane<'_>> = tables
            .iter()
            .zip(&self.texts)
            .map(|(table, text)| Lane { table, text, sampling: &Sampling::GREEDY, stop: &[], steps: 1 })
            .collect();
        for part in lanes.chunks(engine.device().rows_max()) {
            choices.extend(engine.device().decode(part)?.chosen.into_iter().flatten());
        }
        self.texts.iter_mut().zip(&choices).for_each(|(text, choice)| text.push(choice.token));
        Ok(choices)
    }
}

/// Multiply-accumulates of reading `prompt` tokens and scoring the last.
pub(super) fn prefill_macs(work: &WorkModel, prompt: usize) -> u64 {
    let reading = work.prefill(prompt as u32).map_or(0, |work| work.0);
    reading.saturating_add(work.head)
}

/// The rate of a re-run, in multiply-accumulates, over that of a prefill of as many tokens beside it. Half of the
/// tokens are output.
pub(super) fn verify_against_prefill(
    engine: &Arc<Engine>,
    work: &WorkModel,
    plan: Plan,
) -> Result<f64, BenchError> {
    let (prompt, count) = (plan.prefill.div_ceil(2), (plan.prefill / 2).max(1));
    let mut texts = Texts::new(engine, 1, prompt - 1, count)?;
    for _ in 0..count {
        texts.step(engine)?;
    }
    let (prompt, output) = texts.texts[0].split_at(prompt);
    let claim = Claim {
        written: &[],
        prompt,
        output,
        sampling: Sampling::GREEDY.behind(prompt),
        logprobs: &[],
        request_digest: [0; 32],
    };
    let start = Instant::now();
    let rerun = verify(engine, &claim)?;
    let verified = start.elapsed().as_secs_f64();
    if rerun.difference.is_some() {
        return Err(BenchError::Differs);
    }
    let all = &texts.texts[0][..prompt.len() + output.len() - 1];
    let mut sequence = Sequence::new(engine, all.len())?;
    let start = Instant::now();
    sequence.prefill(all, |_| ())?;
    let read = start.elapsed().as_secs_f64();
    let heads = work.head.saturating_mul(output.len() as u64 - 1);
    let macs = prefill_macs(work, all.len()) as f64;
    Ok((macs + heads as f64) / verified / (macs / read))
}
