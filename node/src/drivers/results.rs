//! Results as their client keeps them: one JSON file each, readable by people, complete enough to be checked and run
//! again. Nothing rests on these files but the client's own wish to look: what is paid is in the records.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use gridhour_protocol::{
    id::{ReceiptId, from_hex, to_hex},
    job::{agreement::Tally, logprobs::Logprobs, request::Request},
    limits::{LOGPROBS_MAX, OUTPUT_TOKENS_MAX, PROMPT_TOKENS_MAX},
    market::matching::MatchRecord,
    receipt::{Cause, Receipt},
    session::{terms::Terms, voucher::Voucher},
    signed::Signed,
    units::Credits,
    wire::{self, Wire, at_most},
};
use serde::{Deserialize, Serialize};

/// The largest result file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of one token's log probabilities at most: its own, a count, and pairs of id and log probability.
pub(super) const LOGPROBS_BYTES_MAX: usize = 4 + 8 + 8 * LOGPROBS_MAX;

/// Providers that may have written parts of one answer, at most.
pub const PARTS_MAX: usize = 4;

/// What one provider wrote of an answer with which another went on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The terms of its session.
    pub terms: Terms,
    /// What it was asked.
    pub request: Request,
    /// How many of its tokens the answer keeps.
    pub tokens: u32,
    /// One entry for each of these if the request asks for log probabilities, else none.
    pub logprobs: Vec<Logprobs>,
    /// What it answers for; nothing if it was gone before it could.
    pub receipt: Option<Signed<Receipt>>,
    /// The newest voucher that it was sent.
    pub voucher: Signed<Voucher>,
    /// The most that it can collect: exact if there is a receipt.
    pub cost: Credits,
    /// Why it did not finish.
    pub cause: Cause,
}

/// What came of asking several providers for one answer at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreed {
    /// Who gave the same answer, and who did not.
    pub tally: Tally,
    /// The most that the others cost; nothing in a result that is not the one that was returned.
    pub others: Credits,
}

/// A result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobResult {
    /// The session's terms.
    pub terms: Terms,
    /// What was asked.
    pub request: Request,
    /// Token ids that this provider wrote.
    pub output: Vec<u32>,
    /// One entry a token if the request asks for log probabilities, else none.
    pub logprobs: Vec<Logprobs>,
    /// What the provider answers for.
    pub receipt: Signed<Receipt>,
    /// The voucher that paid for it exactly and commits to the receipt.
    pub voucher: Signed<Voucher>,
    /// What this job alone cost.
    pub cost: Credits,
    /// What other providers had written before, in order; empty if this one wrote everything.
    pub before: Vec<Part>,
    /// What a provider costs that was asked at the same time and was slower. None of the answer is of it.
    pub beside: Option<Part>,
    /// What others answered that were asked the same at the same time, if any were.
    pub agreement: Option<Agreed>,
    /// How the provider was chosen.
    pub matched: MatchRecord,
    /// Milliseconds from the request to the first token, by the client's clock.
    pub ttft_ms: u64,
    /// Milliseconds from the request to the receipt, by the client's clock.
    pub total_ms: u64,
}

impl JobResult {
    /// The whole answer: what was written before, and here.
    #[must_use]
    pub fn answer(&self) -> Vec<u32> {
        [&self.request.written[..], &self.output].concat()
    }

    /// Log probabilities of the whole answer, if they were asked for.
    #[must_use]
    pub fn all_logprobs(&self) -> Vec<Logprobs> {
        let before = self.before.iter().flat_map(|part| &part.logprobs);
        before.chain(&self.logprobs).cloned().collect()
    }

    /// The most that the whole answer costs.
    #[must_use]
    pub fn cost_in_all(&self) -> Credits {
        let add = |sum: Credits, part: &Part| sum.checked_add(part.cost).unwrap_or(Credits(u64::MAX));
        let others = self.agreement.as_ref().map_or(Credits::ZERO, |agreed| agreed.others);
        let own = self.cost.checked_add(others).unwrap_or(Credits(u64::MAX));
        self.before.iter().chain(&self.beside).fold(own, add)
    }
}

impl Wire for JobResult {
    const BYTES_MAX: usize = (PARTS_MAX + 2) * 4 * PROMPT_TOKENS_MAX
        + (4 + LOGPROBS_BYTES_MAX) * OUTPUT_TOKENS_MAX
        + (PARTS_MAX + 2) * 512 * 1024;

    fn check_bounds(&self) -> Result<(), String> {
        at_most("output", self.output.len(), OUTPUT_TOKENS_MAX)?;
        at_most("logprobs", self.logprobs.len(), OUTPUT_TOKENS_MAX)?;
        self.logprobs.iter().try_for_each(Logprobs::check_bounds)?;
        at_most("earlier parts", self.before.len(), PARTS_MAX)?;
        for part in self.before.iter().chain(&self.beside) {
            at_most("tokens of a part", part.tokens as usize, OUTPUT_TOKENS_MAX)?;
            at_most("logprobs of a part", part.logprobs.len(), OUTPUT_TOKENS_MAX)?;
            part.logprobs.iter().try_for_each(Logprobs::check_bounds)?;
            part.request.check_bounds()?;
        }
        self.agreement.iter().try_for_each(|agreed| agreed.tally.check_bounds())?;
        self.request.check_bounds()
    }
}

/// The file: what people read, and everything else as one hexadecimal record.
#[derive(Serialize, Deserialize)]
struct ResultFile {
    receipt_id: String,
    model_id: String,
    provider: String,
    text: String,
    token_ids: Vec<u32>,
    /// [`JobResult`] without its output.
    record: String,
}

/// Why a result could not be kept or shown.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// There is none with this id.
    #[error("no result {0} in this data directory")]
    Unknown(ReceiptId),
    /// The file is no result.
    #[error("{path} is no result: {why}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The system could not read or write.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The results under one folder.
#[derive(Clone, Debug)]
pub struct Results(PathBuf);

impl Results {
    /// Those under `folder`, which need not exist.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Where the result of `receipt` lies.
    #[must_use]
    pub fn path(&self, receipt: ReceiptId) -> PathBuf {
        self.0.join(format!("{receipt}.json"))
    }

    /// Writes `result`, whose output reads `text`.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn keep(&self, result: &JobResult, text: &str) -> Result<(), ResultError> {
        let record = JobResult { output: Vec::new(), ..result.clone() };
        let file = ResultFile {
            receipt_id: result.receipt.id().to_string(),
            model_id: result.terms.model.to_string(),
            provider: result.terms.provider.to_string(),
            text: text.to_owned(),
            token_ids: result.answer(),
            record: to_hex(&wire::encode(&record)),
        };
        let path = self.path(result.receipt.id());
        let bytes = serde_json::to_vec_pretty(&file).expect("numbers and texts are JSON");
        write_whole(&path, &bytes).map_err(|source| ResultError::Io { path, source })
    }

    /// The result of `receipt` and its text, as the file says. Nothing is checked but that it can be read.
    ///
    /// # Errors
    /// If there is none, or the file is no result.
    pub fn load(&self, receipt: ReceiptId) -> Result<(JobResult, String), ResultError> {
        let path = self.path(receipt);
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ResultError::Unknown(receipt)),
            _ => read_result(path),
        }
    }

    /// The ids of all results, oldest first.
    ///
    /// # Errors
    /// If the folder or a file in it cannot be read.
    pub fn list(&self) -> Result<Vec<(JobResult, String)>, ResultError> {
        let fail = |source| ResultError::Io { path: self.0.clone(), source };
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(fail)?,
        };
        let mut results = Vec::new();
        for entry in entries {
            let path = entry.map_err(fail)?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                results.push(read_result(path)?);
            }
        }
        results.sort_by_key(|(result, _)| (result.receipt.body.started_at, result.receipt.id()));
        Ok(results)
    }
}

fn read_result(path: PathBuf) -> Result<(JobResult, String), ResultError> {
    let parsed = match fs::metadata(&path) {
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => Ok(Err("it is too large".into())),
        Ok(_) => fs::read(&path).map(|bytes| parse(&bytes)),
        Err(source) => Err(source),
    };
    match parsed {
        Ok(result) => result.map_err(|why| ResultError::Unreadable { path, why }),
        Err(source) => Err(ResultError::Io { path, source }),
    }
}

fn parse(bytes: &[u8]) -> Result<(JobResult, String), String> {
    let file: ResultFile = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let record = from_hex(&file.record).ok_or("the record is not hexadecimal")?;
    let mut result: JobResult = wire::decode(&record).map_err(|error| error.to_string())?;
    at_most("output", file.token_ids.len(), OUTPUT_TOKENS_MAX)?;
    let written = result.request.written.len();
    if file.token_ids.get(..written) != Some(&result.request.written[..]) {
        return Err("the tokens do not begin with what was written before".into());
    }
    result.output = file.token_ids[written..].to_vec();
    Ok((result, file.text))
}

/// Writes a file so that a kill leaves the old one or the new one, never a part.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let unfinished = path.with_extension("part");
    let mut file = fs::File::create(&unfinished)?;
    io::Write::write_all(&mut file, bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}
