//! A provider that follows the protocol.

use super::provider::{MarketProvider, Twist};

/// No departure from the protocol.
#[derive(Clone, Copy, Debug, Default)]
pub struct Honest;

impl Twist for Honest {}

/// An honest provider.
pub type HonestProvider = MarketProvider<Honest>;
