//! Reads a public log over HTTP. What comes is bounded, and believed only as far as a checkpoint vouches for it.

use std::{
    io::{self, Read},
    time::Duration,
};

use gridhour_contracts_sim::checkpoint::{CheckpointError, SignedCheckpoint};
use gridhour_protocol::{
    merkle::{
        Hash,
        tile::{TILE_WIDTH, Tile},
        tiled::TileReader,
    },
    note::{NOTE_BYTES_MAX, VerifierKey},
};
use ureq::{Agent, AgentBuilder};

/// How long a server may take to be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one answer may take in all.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a full tile.
const TILE_BYTES: usize = TILE_WIDTH as usize * size_of::<Hash>();

/// Why something could not be had from a log's server.
#[derive(Debug, thiserror::Error)]
pub enum LogClientError {
    /// It is not reached, or refuses.
    #[error("{url}: {why}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What went wrong.
        why: String,
    },
    /// What it calls a checkpoint is none of this network's operator.
    #[error("{url}: {source}")]
    Checkpoint {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        source: CheckpointError,
    },
}

/// A log at a URL. Calls block.
#[derive(Clone, Debug)]
pub struct LogClient {
    prefix: String,
    agent: Agent,
}

impl LogClient {
    /// The log at `prefix`, such as `http://192.0.2.7:4880`.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        let agent = AgentBuilder::new().timeout_connect(CONNECT_TIMEOUT).timeout(ANSWER_TIMEOUT).build();
        Self { prefix: prefix.trim_end_matches('/').to_owned(), agent }
    }

    /// The newest checkpoint, signed by `operator`.
    ///
    /// # Errors
    /// If it cannot be had, or is not the operator's.
    pub fn checkpoint(&self, operator: &VerifierKey) -> Result<SignedCheckpoint, LogClientError> {
        let note = self.get("checkpoint", NOTE_BYTES_MAX)?;
        SignedCheckpoint::open(&note, operator)
            .map_err(|source| LogClientError::Checkpoint { url: self.url("checkpoint"), source })
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.prefix)
    }

    fn get(&self, path: &str, bytes_max: usize) -> Result<Vec<u8>, LogClientError> {
        let url = self.url(path);
        let answer = self.agent.get(&url).call().map_err(|error| error.to_string());
        let bytes = answer.and_then(|answer| {
            read_at_most(answer.into_reader(), bytes_max).map_err(|error| error.to_string())
        });
        bytes.map_err(|why| LogClientError::Answer { url, why })
    }
}

impl TileReader for LogClient {
    type Error = LogClientError;

    fn read(&self, tile: Tile) -> Result<Vec<Hash>, LogClientError> {
        let bytes = self.get(&tile.to_string(), TILE_BYTES)?;
        let (hashes, rest) = bytes.as_chunks();
        if rest.is_empty() {
            return Ok(hashes.to_vec());
        }
        Err(LogClientError::Answer { url: self.url(&tile.to_string()), why: "no whole hashes".into() })
    }
}

fn read_at_most(reader: impl Read, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > max { Err(io::Error::other(format!("over {max} bytes"))) } else { Ok(bytes) }
}
