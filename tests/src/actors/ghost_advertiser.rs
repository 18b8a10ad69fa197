//! A provider that advertises others, cheaper than anyone, who do not exist.

use gridhour_protocol::{
    market::advert::Advert,
    signed::{SecretKey, Signed},
    units::PricePerHour,
    wire,
};

use super::provider::{Rumour, Twist};

/// Providers that it makes up.
const GHOSTS: u8 = 4;

/// The twist.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ghosts;

impl Twist for Ghosts {
    fn gossip(&mut self, key: &SecretKey, honest: Signed<Advert>) -> Vec<Rumour> {
        let ghost = |number: u8| {
            let mut seed = key.public().0;
            seed[0] = seed[0].wrapping_add(number + 1);
            let ghost = SecretKey::from_seed(seed);
            let ask = PricePerHour(1 + u64::from(number));
            let advert = Advert { provider: ghost.public(), ask, slots_free: 64, ..honest.body.clone() };
            Rumour::Foreign(wire::encode(&ghost.sign(advert)))
        };
        let ghosts: Vec<Rumour> = (0..GHOSTS).map(ghost).collect();
        ghosts.into_iter().chain([Rumour::Own(Box::new(honest))]).collect()
    }
}
