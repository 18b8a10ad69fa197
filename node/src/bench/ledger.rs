//! How fast a ledger is on this machine and disk, against what its signatures alone take.
//!
//! Transfers are what most of a ledger's work looks like: one signature, two accounts, one entry. They are handed to a
//! real sequencer on a real disk, and what it wrote is replayed.

pub(super) mod people;
mod proofs;
mod replay;
mod sequencer;

use std::{io, path::Path};

use serde::Serialize;
use thiserror::Error;

use self::{people::People, proofs::Proofs, replay::Replayed, sequencer::Bench};
use super::median;
use crate::{
    consensus::{SubmitError, solo::StartError},
    store::{export::ExportError, ledger_dir::OpenError, restore::RestoreError},
};

/// Transactions of a block whose acknowledgement is timed.
const ACK_BLOCK: usize = 100;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Accounts with money.
    pub accounts: usize,
    /// Transfers of a round.
    pub transfers: usize,
    /// Transfers that wait together, about as many as go into a block.
    pub block: usize,
    /// Blocks of 100 transfers of a round.
    pub acks: usize,
    /// Rounds, of which the medians are told.
    pub repeat: usize,
    /// Entries of the log in which proofs are looked at.
    pub proven_entries: u32,
    /// Accounts of the state in which proofs are looked at.
    pub proven_accounts: u32,
}

/// One figure.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Row {
    /// Its stable name.
    pub name: &'static str,
    /// The figure.
    pub value: f64,
    /// What it counts.
    pub unit: &'static str,
    /// What it is compared with, measured in turns with it.
    pub reference: Option<f64>,
    /// The figure over that.
    pub ratio: Option<f64>,
}

/// Why nothing was measured.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The directory cannot hold a ledger.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The sequencer did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It did not take a transfer.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// What it wrote cannot be replayed.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// What it wrote cannot be exported.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// What it wrote does not pass an audit.
    #[error("the ledger that was written does not pass its audit: {0}")]
    Audit(String),
    /// A proof that was just made does not hold.
    #[error("this must hold and does not: {0}; this machine computes wrongly, use it for nothing")]
    Proof(&'static str),
    /// The exported ledger cannot be written or read again.
    #[error("the exported ledger: {0}")]
    File(io::Error),
    /// The system has no thread to give.
    #[error("cannot start a thread: {0}")]
    Threads(#[from] io::Error),
}

/// Measures a new ledger in `dir`, which must be empty; `told` hears of each step that is done, of [`steps`].
///
/// # Errors
/// [`BenchError`].
pub fn measure(dir: &Path, plan: &Plan, told: &mut dyn FnMut()) -> Result<Vec<Row>, BenchError> {
    let mut people = People::new(plan.accounts);
    let mut bench = Bench::start(dir, &people)?;
    bench.submit(people.funding(), plan.block)?;
    told();
    let mut samples = Samples::default();
    for _ in 0..plan.repeat {
        samples.round(&mut bench, &mut people, plan)?;
        told();
    }
    let written = bench.stop();
    for _ in 0..plan.repeat {
        samples.replay(written.replay()?);
        told();
    }
    let proofs = proofs::measure(plan.proven_entries, plan.proven_accounts)?;
    told();
    let mut rows = samples.rows();
    rows.extend(proofs.rows());
    Ok(rows)
}

/// Steps of a measurement.
#[must_use]
pub fn steps(plan: &Plan) -> u64 {
    2 + 2 * plan.repeat as u64
}

/// Rates a second, and seconds.
#[derive(Default)]
struct Samples {
    verified: Vec<f64>,
    durable: Vec<f64>,
    durable_ratio: Vec<f64>,
    blocks: Vec<f64>,
    acks: Vec<f64>,
    unsigned: Vec<f64>,
    signed: Vec<f64>,
    signed_ratio: Vec<f64>,
}

impl Samples {
    fn round(&mut self, bench: &mut Bench, people: &mut People, plan: &Plan) -> Result<(), BenchError> {
        let transfers = people.transfers(plan.transfers, bench.height());
        let verified = people::verified_per_s(&transfers);
        let count = transfers.len() as f64;
        let before = bench.height();
        let durable = count / bench.submit(transfers, 2 * plan.block)?.as_secs_f64();
        self.verified.push(verified);
        self.durable.push(durable);
        self.durable_ratio.push(durable / verified);
        self.blocks.push(count / (bench.height().0 - before.0).max(1) as f64);
        for _ in 0..plan.acks {
            let transfers = people.transfers(ACK_BLOCK, bench.height());
            self.acks.push(bench.submit(transfers, ACK_BLOCK)?.as_secs_f64());
        }
        Ok(())
    }

    fn replay(&mut self, replayed: Replayed) {
        self.unsigned.push(replayed.unsigned_per_s);
        self.signed.push(replayed.signed_per_s);
        self.signed_ratio.push(replayed.signed_per_s / replayed.verified_per_s);
        self.verified.push(replayed.verified_per_s);
    }

    fn rows(mut self) -> Vec<Row> {
        let verified = median(&mut self.verified);
        let plain = |name, value, unit| Row { name, value, unit, reference: None, ratio: None };
        let against = |name, value, ratio| Row {
            name,
            value,
            unit: "1/s",
            reference: Some(verified),
            ratio: Some(ratio),
        };
        let [ack_p50, ack_p99] = [50, 99].map(|percent| 1e3 * percentile(&mut self.acks, percent));
        let unsigned = median(&mut self.unsigned);
        vec![
            plain("verify_strict_per_s", verified, "1/s"),
            against("durable_transfers_per_s", median(&mut self.durable), median(&mut self.durable_ratio)),
            plain("durable_transfers_per_block", median(&mut self.blocks), "1"),
            plain("block_100_ack_p50_ms", ack_p50, "ms"),
            plain("block_100_ack_p99_ms", ack_p99, "ms"),
            against("replay_unsigned_per_s", unsigned, unsigned / verified),
            against("replay_signed_per_s", median(&mut self.signed), median(&mut self.signed_ratio)),
        ]
    }
}

impl Proofs {
    fn rows(&self) -> [Row; 4] {
        let bytes = |name, value| Row { name, value, unit: "B", reference: None, ratio: None };
        let verify = Row {
            name: "bundle_verify_us",
            value: self.bundle_us,
            unit: "us",
            reference: Some(self.signature_us),
            ratio: Some(self.bundle_us / self.signature_us),
        };
        [
            bytes("inclusion_proof_bytes", self.inclusion_bytes),
            bytes("balance_proof_bytes", self.balance_bytes),
            bytes("bundle_bytes", self.bundle_bytes),
            verify,
        ]
    }
}

/// The sample below or at which so many percent of all lie; 0 for none.
fn percentile(samples: &mut [f64], percent: usize) -> f64 {
    samples.sort_by(f64::total_cmp);
    let rank = (samples.len() * percent).div_ceil(100);
    samples.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let mut samples: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!([50, 99, 100].map(|percent| percentile(&mut samples, percent)), [100.0, 198.0, 200.0]);
        assert_eq!(percentile(&mut [7.0], 99), 7.0);
        assert_eq!(percentile(&mut [], 50), 0.0);
    }

    #[test]
    fn a_small_ledger_is_measured() {
        let dir = tempfile::tempdir().expect("a folder");
        let plan = Plan {
            accounts: 1_100,
            transfers: 60,
            block: 20,
            acks: 2,
            repeat: 1,
            proven_entries: 100,
            proven_accounts: 300,
        };
        let mut done = 0;
        let rows = measure(dir.path(), &plan, &mut || done += 1).expect("it is measured");
        assert_eq!(done, steps(&plan));
        assert!(rows.iter().all(|row| row.value > 0.0), "{rows:?}");
        assert!(rows.iter().all(|row| row.ratio.is_some() == row.reference.is_some()), "{rows:?}");
    }
}
