//! One hash over everything that happened: two runs are the same if and only if their traces are.

use std::collections::VecDeque;

use super::{clock::Moment, net::NodeId};

/// Lines kept for the message of a failure.
const TAIL_LINES_MAX: usize = 40;

/// The running hash, and the last lines for people.
#[derive(Clone, Debug)]
pub struct Trace {
    hasher: blake3::Hasher,
    events: u64,
    tail: VecDeque<(Moment, NodeId, &'static str)>,
}

impl Default for Trace {
    fn default() -> Self {
        Self { hasher: blake3::Hasher::new(), events: 0, tail: VecDeque::new() }
    }
}

impl Trace {
    /// Notes that `what` happened at `node`, with the bytes that it is about.
    pub fn note(&mut self, at: Moment, node: NodeId, what: &'static str, bytes: &[u8]) {
        self.events += 1;
        self.hasher.update(&at.0.to_le_bytes()).update(&node.0.to_le_bytes());
        self.hasher.update(&(what.len() as u64).to_le_bytes()).update(what.as_bytes());
        self.hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        if self.tail.len() == TAIL_LINES_MAX {
            self.tail.pop_front();
        }
        self.tail.push_back((at, node, what));
    }

    /// Hash of everything so far.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        *self.hasher.finalize().as_bytes()
    }

    /// How many things were noted.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The last things that happened, one a line.
    #[must_use]
    pub fn tail(&self) -> String {
        let line = |(at, node, what): &(Moment, NodeId, &str)| {
            format!("{:>8} ms  node {:>2}  {what}\n", at.0, node.0)
        };
        self.tail.iter().map(line).collect()
    }
}
