//! The auditor: replays an exported ledger from nothing but its bytes, and says what is wrong with it.
//!
//! Signatures are checked in parallel, for many blocks at once; the replay is the one that a node does. After the first
//! block that breaks a rule nothing that follows has a meaning, so the audit ends there.

mod collected;
mod report;
mod resume;
pub mod sample;

use gridhour_protocol::{
    id::BlockHash,
    signed::{PublicKey, Signed},
    units::{Height, Timestamp},
    wire,
};
use rayon::prelude::*;

pub use self::{
    collected::Collected,
    report::{Report, Resumed, Trust},
    resume::{RESUME_BYTES_MAX, Resume, ResumeError},
};
use crate::{
    block::{Block, CheckedBlock, Signatures, verify},
    checkpoint::Checkpoint,
    export::{Decoder, FrameError, FrameKind},
    finding::{Finding, Rule},
    network_file::NetworkFile,
    proof::{EntryProof, Seeker, Sought},
    state::{State, check_invariants},
};

/// Blocks that are checked at once; as many wait to be replayed meanwhile.
const PENDING_BLOCKS_MAX: usize = 64;
/// Bytes of blocks that are checked at once, one block more or less.
const PENDING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Audits a whole exported ledger at once.
#[must_use]
pub fn verify_export(export: &[u8], trust: Trust) -> Report {
    let mut auditor = Auditor::new(trust);
    auditor.push(export);
    auditor.finish().0
}

/// An audit in progress: push the file's bytes in pieces, then finish.
#[derive(Clone, Debug)]
pub struct Auditor {
    trust: Trust,
    now: Option<Timestamp>,
    decoder: Decoder,
    replay: Option<State>,
    pending: Vec<Vec<u8>>,
    pending_bytes: usize,
    checked: Vec<Result<CheckedBlock, Finding>>,
    ended: bool,
    findings: Vec<Finding>,
    seeker: Option<Seeker>,
    collected: Option<Collected>,
    until: Option<Height>,
    resumed: Option<Resumed>,
}

impl Auditor {
    /// An audit that rests on `trust`.
    #[must_use]
    pub fn new(trust: Trust) -> Self {
        Self {
            trust,
            now: None,
            decoder: Decoder::default(),
            replay: None,
            pending: Vec::new(),
            pending_bytes: 0,
            checked: Vec::new(),
            ended: false,
            findings: Vec::new(),
            seeker: None,
            collected: None,
            until: None,
            resumed: None,
        }
    }

    /// Has the audit look for an entry of the log on its way; [`Auditor::finish_seeking`] tells.
    #[must_use]
    pub fn seeking(self, sought: Sought) -> Self {
        Self { seeker: Some(Seeker::new(sought)), ..self }
    }

    /// Has the audit gather on its way what was collected for in some sessions; [`Auditor::finish_gathering`] tells.
    #[must_use]
    pub fn gathering(self, collected: Collected) -> Self {
        Self { collected: Some(collected), ..self }
    }

    /// Has the audit refuse a ledger whose last block is from the future.
    #[must_use]
    pub fn with_clock(self, now: Timestamp) -> Self {
        Self { now: Some(now), ..self }
    }

    /// Has the audit end behind block `height`: what follows is not looked at, not even whether there is more.
    #[must_use]
    pub fn until(self, height: Height) -> Self {
        Self { until: Some(height), ..self }
    }

    /// Whether more bytes can change nothing: there is a finding, or the audit was to go no further than this.
    #[must_use]
    pub fn is_over(&self) -> bool {
        !self.findings.is_empty() || self.has_arrived()
    }

    fn has_arrived(&self) -> bool {
        self.until.is_some_and(|until| self.frame_height() > until)
    }

    /// Takes the next bytes of the file. Once the audit is over they are ignored.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.is_over() {
            self.decoder.push(bytes);
            self.keep(Self::take_frames);
        }
    }

    /// The blocks replayed so far.
    #[must_use]
    pub fn height(&self) -> Height {
        self.replay.as_ref().map_or(Height(0), |state| state.tip().height)
    }

    /// The end of the file: the report, and the state after the last block that is in order.
    #[must_use]
    pub fn finish(mut self) -> (Report, Option<State>) {
        if self.findings.is_empty() {
            self.keep(Self::check_end);
        }
        (self.report(), self.replay)
    }

    /// As [`Auditor::finish`]: the report, and the entry that was looked for under the last header, if the ledger is in
    /// order and has it.
    #[must_use]
    pub fn finish_seeking(mut self) -> (Report, Option<EntryProof>) {
        if self.findings.is_empty() {
            self.keep(Self::check_end);
        }
        let report = self.report();
        let found = self.seeker.filter(|_| report.ok);
        (report, found.and_then(|seeker| seeker.proof()))
    }

    /// As [`Auditor::finish`]: the report, and what was gathered, if the ledger is in order.
    #[must_use]
    pub fn finish_gathering(mut self) -> (Report, Option<Collected>) {
        if self.findings.is_empty() {
            self.keep(Self::check_end);
        }
        let report = self.report();
        let gathered = self.collected.filter(|_| report.ok);
        (report, gathered)
    }

    fn report(&self) -> Report {
        let tip = self.replay.as_ref().map(State::tip);
        let totals = tip.map(|tip| tip.totals).unwrap_or_default();
        Report {
            ok: self.findings.is_empty(),
            height: self.height(),
            root: tip.map_or(BlockHash([0; 32]), |tip| tip.hash),
            transactions: tip.map_or(0, |tip| tip.log.size()),
            receipts: totals.receipts,
            issued: totals.issued,
            balances: totals.balances,
            holds: totals.holds,
            stakes: totals.stakes,
            findings: self.findings.clone(),
            trust: self.trust,
            resumed: self.resumed,
        }
    }

    fn keep(&mut self, step: impl FnOnce(&mut Self) -> Result<(), Finding>) {
        if let Err(finding) = step(self) {
            self.findings.push(finding);
        }
    }

    // The height of the frame at hand: blocks that wait count.
    fn frame_height(&self) -> Height {
        let waiting = (self.pending.len() + self.checked.len()) as u64;
        Height(self.height().0 + waiting + u64::from(self.replay.is_some()))
    }

    fn take_frames(&mut self) -> Result<(), Finding> {
        while !self.has_arrived() {
            match self.decoder.next_frame() {
                Ok(None) => return Ok(()),
                Ok(Some((kind, payload))) => self.take_frame(kind, payload)?,
                Err(error) => {
                    let height = self.frame_height();
                    self.replay_pending()?;
                    return Err(of_frame(height, error));
                }
            }
        }
        Ok(())
    }

    fn take_frame(&mut self, kind: FrameKind, payload: Vec<u8>) -> Result<(), Finding> {
        match (kind, self.replay.is_some()) {
            _ if self.ended => self.misplaced(kind, "nothing after the end"),
            (FrameKind::Network, false) => self.begin(&payload),
            (FrameKind::Block, true) => self.take_block(payload),
            (FrameKind::End, true) => self.end(&payload),
            (_, false) => self.misplaced(kind, "the network file first"),
            (FrameKind::Network, true) => self.misplaced(kind, "one network file"),
        }
    }

    fn misplaced(&mut self, kind: FrameKind, expected: &str) -> Result<(), Finding> {
        let height = self.frame_height();
        self.replay_pending()?;
        Err(Finding::new(height, Rule::Frame, expected, format!("a frame of kind {kind:?}")))
    }

    fn begin(&mut self, payload: &[u8]) -> Result<(), Finding> {
        let of_genesis =
            |expected: &str, found: String| Finding::new(Height(0), Rule::Genesis, expected, found);
        let file: Signed<NetworkFile> = wire::decode(payload)
            .map_err(|error| Finding::new(Height(0), Rule::Encoding, "a network file", error))?;
        let file = file.verify().map_err(|error| {
            Finding::new(Height(0), Rule::Signature, "the operator's signature of the network file", error)
        })?;
        if let Some(network) = self.trust.network().filter(|network| *network != file.id()) {
            return Err(of_genesis(&format!("network {network}"), format!("network {}", file.id())));
        }
        let state = State::new(file.genesis.clone())
            .map_err(|error| of_genesis("a genesis within its own rules", error))?;
        self.replay = Some(state);
        self.check_pin()
    }

    fn take_block(&mut self, payload: Vec<u8>) -> Result<(), Finding> {
        self.pending_bytes += payload.len();
        self.pending.push(payload);
        if self.pending.len() < PENDING_BLOCKS_MAX && self.pending_bytes < PENDING_BYTES_MAX {
            return Ok(());
        }
        self.check_pending()
    }

    fn replay_pending(&mut self) -> Result<(), Finding> {
        self.check_pending()?;
        let checked = std::mem::take(&mut self.checked);
        checked.into_iter().try_for_each(|block| self.replay_block(block))
    }

    /// Checks the blocks that wait, while those that were checked before them are replayed.
    fn check_pending(&mut self) -> Result<(), Finding> {
        let Some(state) = &self.replay else {
            return Ok(());
        };
        let operator = state.genesis().operator;
        self.pending_bytes = 0;
        let (pending, before) = (std::mem::take(&mut self.pending), std::mem::take(&mut self.checked));
        let check = || pending.par_iter().map(|payload| check_block(payload, &operator)).collect();
        let replay = || before.into_iter().try_for_each(|block| self.replay_block(block));
        let (replayed, checked) = rayon::join(replay, check);
        self.checked = checked;
        replayed
    }

    fn replay_block(&mut self, block: Result<CheckedBlock, Finding>) -> Result<(), Finding> {
        let Some(state) = &mut self.replay else {
            return Ok(());
        };
        // What a bad block says of its own height counts for nothing.
        let height = Height(state.tip().height.0 + 1);
        let at_height = |finding| Finding { height, ..finding };
        let block = block.map_err(at_height)?;
        let batch = verify(state, &block).map_err(at_height)?;
        state.commit(&batch);
        state.hash_checkpoint_aside();
        if let Some(seeker) = &mut self.seeker {
            seeker.read(block.header(), batch.entries());
        }
        if let Some(collected) = &mut self.collected {
            collected.read(batch.entries());
        }
        self.check_pin()
    }

    fn check_pin(&self) -> Result<(), Finding> {
        let (Trust::Checkpoint(pin), Some(state)) = (self.trust, &self.replay) else {
            return Ok(());
        };
        if pin.height != state.tip().height {
            return Ok(());
        }
        let found = Checkpoint::of(state);
        Finding::unless_equal(pin.height, Rule::Checkpoint, pin.hash, found.hash)?;
        // Its writer signed a log that is not that of the block.
        Finding::unless_equal(pin.height, Rule::Checkpoint, pin, found)
    }

    fn end(&mut self, payload: &[u8]) -> Result<(), Finding> {
        self.replay_pending()?;
        self.ended = true;
        let height = self.height();
        let last = payload.try_into().map(u64::from_le_bytes);
        let last =
            last.map_err(|_| Finding::new(height, Rule::Encoding, "a height of 8 bytes", payload.len()))?;
        Finding::unless_equal(height, Rule::Frame, height.0, last)
    }

    fn check_end(&mut self) -> Result<(), Finding> {
        let next = self.frame_height();
        self.replay_pending()?;
        if !self.has_arrived() {
            self.check_file_end(next)?;
        }
        let Some(state) = &self.replay else {
            return Ok(());
        };
        let height = state.tip().height;
        check_invariants(state)
            .map_err(|violation| Finding::new(height, Rule::Conservation, "every invariant", violation))
    }

    /// Whether the file is whole, and has come as far as it must and no further than it may.
    fn check_file_end(&self, next: Height) -> Result<(), Finding> {
        if !self.ended || !self.decoder.is_drained() {
            return Err(Finding::new(next, Rule::Frame, "a whole frame, and an end", "the end of the file"));
        }
        let Some(state) = &self.replay else {
            return Ok(());
        };
        let (tip, height) = (state.tip(), state.tip().height);
        if let Trust::Checkpoint(pin) = self.trust
            && pin.height > height
        {
            let found = format!("a ledger that ends at {}", height.0);
            return Err(Finding::new(height, Rule::Checkpoint, format!("block {}", pin.height.0), found));
        }
        let latest = self.now.and_then(|now| now.after(state.genesis().clock_skew));
        if let Some(latest) = latest.filter(|latest| tip.time > *latest) {
            return Err(Finding::new(height, Rule::Time, format!("at most {} ms", latest.0), tip.time.0));
        }
        Ok(())
    }
}

fn check_block(payload: &[u8], operator: &PublicKey) -> Result<CheckedBlock, Finding> {
    let block: Block =
        wire::decode(payload).map_err(|error| Finding::new(Height(0), Rule::Encoding, "a block", error))?;
    CheckedBlock::check(block, operator, Signatures::Check)
}

fn of_frame(height: Height, error: FrameError) -> Finding {
    let (rule, expected) = match error {
        FrameError::Magic => (Rule::Format, "an exported ledger"),
        FrameError::Kind(_) | FrameError::TooLong { .. } => (Rule::Frame, "a frame of known kind and length"),
        FrameError::Hash => (Rule::FrameHash, "bytes as they were exported"),
    };
    Finding::new(height, rule, expected, error)
}
