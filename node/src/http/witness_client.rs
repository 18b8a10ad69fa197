//! Asks a witness for a cosignature (c2sp.org/tlog-witness). What comes is bounded, and no line is believed here.

use std::{
    io::{self, Read},
    time::Duration,
};

use gridhour_contracts_sim::checkpoint::SignedCheckpoint;
use gridhour_protocol::{
    add_checkpoint::{AddCheckpoint, TLOG_SIZE_TYPE},
    merkle::{
        Hash,
        tiled::{TileReader, TiledError, TiledTree},
    },
    note::{Note, NoteError, decimal},
};
use ureq::{Agent, AgentBuilder, Response};

/// How long one answer may take in all; whoever ends the node waits no longer than that.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer: more than any witness has keys to sign with.
const ANSWER_BYTES_MAX: u64 = 32 * 1024;
/// Requests for one checkpoint: one to learn what the witness cosigned last, one that begins there.
const REQUESTS_MAX: usize = 2;

/// Why a witness gave no cosignature.
#[derive(Debug, thiserror::Error)]
pub enum AskError<E> {
    /// It is not reached, or says nothing that can be understood.
    #[error("{url}: {why}")]
    Answer {
        /// Who was asked.
        url: String,
        /// What went wrong.
        why: String,
    },
    /// It does not cosign.
    #[error("{url} does not cosign (status {status}): {said}")]
    Refused {
        /// Who was asked.
        url: String,
        /// The status of its answer.
        status: u16,
        /// Its reason.
        said: String,
    },
    /// It has cosigned another checkpoint.
    #[error("{url} has cosigned a checkpoint of {last} entries that this one, of {size}, does not continue")]
    Elsewhere {
        /// Who was asked.
        url: String,
        /// Entries of what it cosigned last, by its word.
        last: u64,
        /// Entries of the checkpoint at hand.
        size: u64,
    },
    /// The proof could not be computed.
    #[error("the public log's tiles: {0}")]
    Tiles(#[from] TiledError<E>),
}

enum Said {
    Cosigned(Note),
    Last(u64),
}

/// A witness at a URL. Calls block.
#[derive(Clone, Debug)]
pub struct WitnessClient {
    url: String,
    agent: Agent,
    /// Entries of what it cosigned last, as far as is known here.
    last: u64,
}

impl WitnessClient {
    /// The witness with the submission prefix `prefix`, such as `http://192.0.2.7:4881`.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        let agent = AgentBuilder::new().timeout(ANSWER_TIMEOUT).redirects(0).build();
        Self { url: format!("{}/add-checkpoint", prefix.trim_end_matches('/')), agent, last: 0 }
    }

    /// Asks it to cosign `signed`, the log of which is in `tiles`. The note that comes back holds the same text, and
    /// whatever lines the witness put under it.
    ///
    /// # Errors
    /// If it does not.
    pub fn ask<R: TileReader>(
        &mut self,
        signed: &SignedCheckpoint,
        tiles: &R,
    ) -> Result<Note, AskError<R::Error>> {
        let size = signed.checkpoint().log.size;
        for _ in 0..REQUESTS_MAX {
            if self.last > size {
                break;
            }
            let proof = proof(tiles, self.last, size)?;
            match self.post(&AddCheckpoint { old: self.last, proof, note: signed.note().clone() })? {
                Said::Cosigned(note) => {
                    self.last = size;
                    return Ok(note);
                }
                Said::Last(last) => self.last = last,
            }
        }
        Err(AskError::Elsewhere { url: self.url.clone(), last: self.last, size })
    }

    fn post<E>(&self, request: &AddCheckpoint) -> Result<Said, AskError<E>> {
        let fail = |why: String| AskError::Answer { url: self.url.clone(), why };
        match self.agent.post(&self.url).send_string(&request.to_string()) {
            Ok(answer) if answer.status() == 200 => {
                let lines = text(answer).map_err(|error| fail(error.to_string()))?;
                cosigned(&request.note, &lines).map(Said::Cosigned).map_err(|error| fail(error.to_string()))
            }
            Err(ureq::Error::Status(409, answer)) if answer.content_type() == TLOG_SIZE_TYPE => {
                let size = text(answer).map_err(|error| fail(error.to_string()))?;
                let size = size.strip_suffix('\n').and_then(decimal);
                size.map(Said::Last).ok_or_else(|| fail("its answer of status 409 is no size".into()))
            }
            Ok(answer) | Err(ureq::Error::Status(_, answer)) => {
                let (url, status) = (self.url.clone(), answer.status());
                let said = text(answer).unwrap_or_default().lines().next().unwrap_or_default().to_owned();
                Err(AskError::Refused { url, status, said })
            }
            Err(error) => Err(fail(error.to_string())),
        }
    }
}

/// That a log of `size` entries continues the one of `old` entries; nothing is to be proven of an empty one.
fn proof<R: TileReader>(tiles: &R, old: u64, size: u64) -> Result<Vec<Hash>, TiledError<R::Error>> {
    if old == 0 { Ok(Vec::new()) } else { TiledTree::new(tiles, size).consistency_proof(old) }
}

/// The note that was sent, with the lines that came back.
fn cosigned(note: &Note, lines: &str) -> Result<Note, NoteError> {
    Note::parse(format!("{note}{lines}").as_bytes())
}

fn text(answer: Response) -> io::Result<String> {
    let mut text = String::new();
    answer.into_reader().take(ANSWER_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}
