//! A client that follows the protocol.

use super::client::{MarketClient, Twist};

/// No departure from the protocol.
#[derive(Clone, Copy, Debug, Default)]
pub struct Honest;

impl Twist for Honest {}

/// An honest client.
pub type HonestClient = MarketClient<Honest>;
