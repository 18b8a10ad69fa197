//! A provider that says it is where its customers are.

use gridhour_protocol::{
    market::advert::Advert,
    signed::{SecretKey, Signed},
};

use super::provider::{Rumour, Twist};

/// The twist: it declares another region each time.
#[derive(Clone, Debug)]
pub struct Misplaced {
    regions: Vec<String>,
    told: usize,
}

impl Misplaced {
    /// Declares these in turn.
    #[must_use]
    pub fn new(regions: Vec<String>) -> Self {
        Self { regions, told: 0 }
    }
}

impl Twist for Misplaced {
    fn gossip(&mut self, key: &SecretKey, honest: Signed<Advert>) -> Vec<Rumour> {
        self.told += 1;
        let region = self.regions.get(self.told % self.regions.len().max(1)).cloned();
        vec![Rumour::Own(Box::new(key.sign(Advert { region, ..honest.body })))]
    }
}
