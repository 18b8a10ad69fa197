//! A provider that floods its neighbours with adverts of fresh keys, each as valid as any.

use gridhour_node::net::limits::GOSSIP_BURST_MAX;
use gridhour_protocol::{
    market::advert::Advert,
    signed::{SecretKey, Signed},
    wire,
};

use super::provider::{Rumour, Twist};

/// Adverts of one flood: more than a peer may bring in a burst before it is shut out.
const FLOOD: u64 = GOSSIP_BURST_MAX as u64 + 200;
/// Floods.
const FLOODS: u64 = 2;

/// The twist.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flooding {
    floods: u64,
}

impl Twist for Flooding {
    fn gossip(&mut self, key: &SecretKey, honest: Signed<Advert>) -> Vec<Rumour> {
        let mut rumours = Vec::new();
        if self.floods < FLOODS {
            let first = self.floods * FLOOD;
            rumours.extend((first..first + FLOOD).map(|number| stranger(key, &honest.body, number)));
            self.floods += 1;
        }
        rumours.push(Rumour::Own(Box::new(honest)));
        rumours
    }
}

/// The advert `honest` in the name of a key that `key` made up, the same for the same `number`.
pub(super) fn stranger(key: &SecretKey, honest: &Advert, number: u64) -> Rumour {
    let seed =
        *blake3::Hasher::new().update(&key.public().0).update(&number.to_le_bytes()).finalize().as_bytes();
    let fresh = SecretKey::from_seed(seed);
    Rumour::Foreign(wire::encode(&fresh.sign(Advert { provider: fresh.public(), ..honest.clone() })))
}
