//! A provider that passes on adverts of others with another price, which nobody signed, and old ones once more.

use std::collections::VecDeque;

use gridhour_protocol::{
    market::advert::Advert,
    signed::{SecretKey, Signed},
    units::PricePerHour,
    wire,
};

use super::provider::{Rumour, Twist};

/// Adverts of others that it remembers.
const HEARD_MAX: usize = 512;
/// Adverts that it passes on at a time.
const AT_ONCE: usize = 8;

/// What it does to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// The price is another one.
    Price,
    /// Nothing: they are old.
    Replay,
}

/// The twist.
#[derive(Clone, Debug)]
pub struct Forging {
    forgery: Forgery,
    heard: VecDeque<Signed<Advert>>,
}

impl Forging {
    /// Does this to them.
    #[must_use]
    pub fn new(forgery: Forgery) -> Self {
        Self { forgery, heard: VecDeque::new() }
    }

    fn forged(&self, mut advert: Signed<Advert>) -> Rumour {
        if self.forgery == Forgery::Price {
            advert.body.ask = PricePerHour(advert.body.ask.0 + 1);
        }
        Rumour::Foreign(wire::encode(&advert))
    }
}

impl Twist for Forging {
    fn heard_advert(&mut self, advert: &Signed<Advert>) {
        if self.heard.len() == HEARD_MAX {
            self.heard.pop_front();
        }
        self.heard.push_back(advert.clone());
    }

    fn gossip(&mut self, _: &SecretKey, honest: Signed<Advert>) -> Vec<Rumour> {
        // Forgeries of what is new, as old ones are dropped before anybody looks at who signed them.
        let (old, new) = (self.heard.iter().take(AT_ONCE), self.heard.iter().rev().take(AT_ONCE));
        let chosen: Vec<Signed<Advert>> = match self.forgery {
            Forgery::Replay => old.cloned().collect(),
            Forgery::Price => new.cloned().map(next_sequence).collect(),
        };
        let rumours = chosen.into_iter().map(|advert| self.forged(advert));
        rumours.chain([Rumour::Own(Box::new(honest))]).collect()
    }
}

fn next_sequence(mut advert: Signed<Advert>) -> Signed<Advert> {
    advert.body.sequence += 1;
    advert
}
