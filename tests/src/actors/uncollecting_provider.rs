//! A provider that never asks for what it earned, and never closes a session: holds end by their deadline alone.

use gridhour_contracts_sim::tx::Call;

use super::provider::Twist;

/// The twist.
#[derive(Clone, Copy, Debug, Default)]
pub struct Uncollecting;

impl Twist for Uncollecting {
    fn submit(&mut self, _: Call) -> Vec<Call> {
        Vec::new()
    }
}
