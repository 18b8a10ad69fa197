//! What a running node counts and measures, as Prometheus reads it: OpenMetrics text, version 1.0.0.
//!
//! The rooms count where things happen, in numbers of their own; here, at the moment of a scrape, those numbers get a
//! name, a unit and a sentence. No label names a peer, an account, a session or a text: whoever scrapes learns how a
//! node does, and nothing of whom it serves. Every label has a fixed set of values.
//!
//! | file | shows |
//! |---|---|
//! | [`sheet`] | how one family is written |
//! | [`process`] | the program, and the disk under its data directory |
//! | `net` | peers, adverts, and what was refused |
//! | [`ledger`] | a ledger that is kept here: height, sums, blocks; the sequencer; witnesses |
//! | [`contact`] | the ledger as a node sees it that asks others |
//! | `provider`, `engine` | slots, jobs, collecting; passes, tokens, memory |
//! | [`observer`] | how far a copy is behind, and its sources |
//! | [`times`] | how long something took |
//!
//! docs/OPERATING.md lists every family.

pub mod contact;
mod engine;
pub mod ledger;
mod net;
pub mod observer;
pub mod process;
mod provider;
pub mod sheet;
pub mod times;

use std::{
    fmt,
    sync::{PoisonError, RwLock},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text},
    registry::Registry,
};

use self::sheet::Sheet;

/// What every family's name begins with.
const PREFIX: &str = "gridhour";
/// The type of the text, with which Prometheus knows how to read it.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A room, or a part of one, that has something to show.
pub trait Source: Send + Sync + 'static {
    /// Writes its families as they stand now. It must not wait for long.
    ///
    /// # Errors
    /// Of the writer.
    fn write(&self, sheet: &mut Sheet<'_>) -> fmt::Result;
}

/// Everything that one node shows. Sources come while it starts.
#[derive(Default)]
pub struct Metrics(RwLock<Option<Registry>>);

struct Collected<S>(S);

impl<S> fmt::Debug for Collected<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collected").finish_non_exhaustive()
    }
}

impl<S: Source> Collector for Collected<S> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.write(&mut Sheet::new(encoder))
    }
}

impl Metrics {
    /// Shows this too from now on.
    pub fn add(&self, source: impl Source) {
        let mut registry = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let registry = registry.get_or_insert_with(|| Registry::with_prefix(PREFIX));
        registry.register_collector(Box::new(Collected(source)));
    }

    /// All families as they stand now.
    ///
    /// # Errors
    /// If a source fails, which none does: they write to memory.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let registry = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::new();
        match &*registry {
            Some(registry) => text::encode(&mut out, registry)?,
            None => text::encode_eof(&mut out)?,
        }
        Ok(out)
    }
}
