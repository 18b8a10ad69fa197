//! What a node reports, for programs and for people.

use std::{
    io::{Write, stdout},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
};

use gridhour_contracts_sim::witnesses::Quorum;
use gridhour_protocol::signed::PublicKey;
use serde_json::{Value, json};

use super::{observer, provider, repair};
use crate::{
    drivers::{observer::ObserverEvent, provider::ProviderEvent},
    store::repair::Repaired,
};

/// Told about events, from any thread; it must not wait.
pub type OnNodeEvent = Arc<dyn Fn(NodeEvent) + Send + Sync>;

/// Prints events to standard output: each as a line of JSON, or else the text of those that have one.
#[must_use]
pub fn printer(json: bool) -> OnNodeEvent {
    Arc::new(move |event| {
        let line = if json { Some(event.to_json().to_string()) } else { event.to_text() };
        // An output that nobody reads any more, or that is full, is no reason to stop serving.
        let _ = line.map(|line| writeln!(stdout(), "{line}"));
    })
}

/// What a node reports.
#[derive(Clone, Debug)]
pub enum NodeEvent {
    /// A model file is on its way.
    Pulling {
        /// Its name.
        model: String,
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The ledger was opened.
    Ledger {
        /// Its height.
        height: u64,
        /// What had to be mended, in sentences.
        mended: Vec<String>,
    },
    /// A journal was looked at, and made whole if it was not.
    Repaired(Option<Repaired>),
    /// The engine is loaded and measured.
    Measured {
        /// The model.
        model: String,
        /// What computes.
        backend: String,
        /// Threads.
        threads: u16,
        /// MACs a second, reading.
        prefill: u64,
        /// MACs a second, writing.
        decode: u64,
    },
    /// Peers can reach it now.
    Ready {
        /// Its account.
        id: PublicKey,
        /// Where it listens.
        addresses: Vec<String>,
    },
    /// Metrics and health can be read over HTTP.
    Http {
        /// Where they are served.
        address: SocketAddr,
    },
    /// The public log can be read over HTTP.
    PublicLog {
        /// Where it is served.
        address: SocketAddr,
        /// The key that signs its checkpoints.
        vkey: String,
    },
    /// A checkpoint of the public log was published, or published again with more cosignatures.
    Published {
        /// Its block.
        height: u64,
        /// Who has cosigned it.
        quorum: Quorum,
    },
    /// A witness began to give no cosignatures.
    WitnessTrouble {
        /// Where it is asked.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// The ledger's operator signed two histories.
    Fraud {
        /// What they contradict each other in.
        conflict: &'static str,
        /// Where the proof was written.
        proof: PathBuf,
    },
    /// A provider's doings.
    Provider(ProviderEvent),
    /// How an observer gets on.
    Observer(ObserverEvent),
}

impl NodeEvent {
    /// One line of JSON for programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Pulling { model, done, total } => {
                json!({ "event": "pulling", "model": model, "done": done, "total": total })
            }
            Self::Ledger { height, mended } => {
                json!({ "event": "ledger", "height": height, "mended": mended })
            }
            Self::Repaired(repaired) => repair::event_json(repaired.as_ref()),
            Self::Measured { model, backend, threads, prefill, decode } => json!({
                "event": "measured", "model_id": model, "backend": backend, "threads": threads,
                "prefill_macs_per_s": prefill, "decode_macs_per_s": decode,
            }),
            Self::Ready { id, addresses } => {
                json!({ "event": "ready", "id": id.to_string(), "addresses": addresses })
            }
            Self::Http { address } => json!({ "event": "http", "url": format!("http://{address}") }),
            Self::PublicLog { address, vkey } => {
                json!({ "event": "public-log", "url": format!("http://{address}"), "vkey": vkey })
            }
            Self::Published { height, quorum } => json!({
                "event": "published", "height": height, "cosigned": quorum.cosigned.len(),
                "required": quorum.required, "witnesses": quorum.named,
            }),
            Self::WitnessTrouble { url, why } => {
                json!({ "event": "witness-trouble", "url": url, "why": why })
            }
            Self::Fraud { conflict, proof } => {
                json!({ "event": "fraud", "conflict": conflict, "proof": proof })
            }
            Self::Provider(event) => provider::event_json(event),
            Self::Observer(event) => observer::event_json(event),
        }
    }

    /// One line for people; `None` for what would only scroll by.
    #[must_use]
    pub fn to_text(&self) -> Option<String> {
        Some(match self {
            Self::Pulling { done, total, model } if done == total => format!("model {model} is here"),
            Self::Pulling { .. } => return None,
            Self::Ledger { height, mended } if mended.is_empty() => format!("ledger at height {height}"),
            Self::Ledger { height, mended } => format!("ledger at height {height}; {}", mended.join("; ")),
            Self::Repaired(repaired) => repair::event_text(repaired.as_ref()),
            Self::Measured { backend, threads, prefill, decode, .. } => format!(
                "{backend}, {threads} threads: {} million MACs/s reading, {} writing (measured here)",
                prefill / 1_000_000,
                decode / 1_000_000
            ),
            Self::Ready { id, addresses } => format!("ready: {id} at {}", addresses.join(", ")),
            Self::Http { address } => format!("metrics and health at http://{address}"),
            Self::PublicLog { address, vkey } => format!("public log at http://{address}, signed by {vkey}"),
            Self::Published { .. } => return None,
            Self::WitnessTrouble { url, why } => {
                format!("no cosignature comes from {url}: {why}; it is asked again")
            }
            Self::Fraud { conflict, proof } => format!(
                "THE LEDGER'S OPERATOR SIGNED TWO HISTORIES ({conflict}); trade no more, and show everyone {}",
                proof.display()
            ),
            Self::Provider(event) => return provider::event_text(event),
            Self::Observer(event) => return observer::event_text(event),
        })
    }
}
