//! A provider that takes money and says nothing.

use gridhour_protocol::{job::message::ProviderMessage, signed::SecretKey};

use super::provider::Twist;

/// When it falls silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// It keeps voucher 0 and never says a word.
    FromTheStart,
    /// It stops after this many messages of a job, in the middle of the output.
    After(u32),
}

/// The twist.
#[derive(Clone, Copy, Debug)]
pub struct Silent {
    silence: Silence,
    said: u32,
}

impl Silent {
    /// Falls silent so.
    #[must_use]
    pub fn new(silence: Silence) -> Self {
        Self { silence, said: 0 }
    }
}

impl Twist for Silent {
    fn say(&mut self, _: &SecretKey, message: ProviderMessage) -> Vec<ProviderMessage> {
        self.said = if matches!(message, ProviderMessage::Accepted { .. }) { 0 } else { self.said + 1 };
        let speaks = match self.silence {
            Silence::FromTheStart => false,
            Silence::After(messages) => self.said < messages,
        };
        if speaks { vec![message] } else { Vec::new() }
    }
}
