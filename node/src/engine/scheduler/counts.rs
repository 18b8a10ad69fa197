//! What an engine computed since it was started.

use std::{
    ops::Add,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Sums over all passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineCounts {
    /// Passes: turns in which something was computed.
    pub passes: u64,
    /// Positions computed, of prompts and outputs.
    pub positions: u64,
    /// Output tokens chosen.
    pub tokens: u64,
    /// Time that passes took, by the device's clock where it has one.
    pub nanoseconds: u64,
}

impl Add for EngineCounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passes: self.passes.saturating_add(other.passes),
            positions: self.positions.saturating_add(other.positions),
            tokens: self.tokens.saturating_add(other.tokens),
            nanoseconds: self.nanoseconds.saturating_add(other.nanoseconds),
        }
    }
}

/// Counts on the engine's thread, for readers on others.
#[derive(Clone, Debug, Default)]
pub(super) struct Counting(Arc<Atomics>);

#[derive(Debug, Default)]
struct Atomics {
    passes: AtomicU64,
    positions: AtomicU64,
    tokens: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Counting {
    pub(super) fn pass(&self, positions: u64, tokens: u64, nanoseconds: u64) {
        self.0.passes.fetch_add(1, Relaxed);
        self.0.positions.fetch_add(positions, Relaxed);
        self.0.tokens.fetch_add(tokens, Relaxed);
        self.0.nanoseconds.fetch_add(nanoseconds, Relaxed);
    }

    pub(super) fn so_far(&self) -> EngineCounts {
        EngineCounts {
            passes: self.0.passes.load(Relaxed),
            positions: self.0.positions.load(Relaxed),
            tokens: self.0.tokens.load(Relaxed),
            nanoseconds: self.0.nanoseconds.load(Relaxed),
        }
    }
}
