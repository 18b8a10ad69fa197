//! A provider that pours adverts of other keys over its neighbours, each as valid as any, without end: so many that with
//! those that its node passes on it brings nearly as many a second as a peer may, and nobody shuts it out. Half of them are
//! of fresh keys, half renew what it said before.

use gridhour_node::net::limits::{GOSSIP_PER_SECOND_MAX, NEWCOMERS_PER_SECOND_MAX, PASSED_PER_SECOND_MAX};
use gridhour_protocol::{
    market::advert::Advert,
    signed::{SecretKey, Signed},
};

use super::{
    advert_flooder::stranger,
    provider::{Rumour, Twist},
};

/// Time between two of its own adverts, in milliseconds. With each it pours.
pub const EVERY_MS: u64 = 1_000;
/// Fresh keys at a time, and renewals.
const HALF: u64 = (GOSSIP_PER_SECOND_MAX - PASSED_PER_SECOND_MAX - NEWCOMERS_PER_SECOND_MAX) as u64 * 9 / 20;
/// Keys that it renews in turn, each as often as one is passed on.
const RENEWED: u64 = 5 * HALF;

/// The twist.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pouring {
    times: u64,
}

impl Twist for Pouring {
    fn gossip(&mut self, key: &SecretKey, honest: Signed<Advert>) -> Vec<Rumour> {
        let first = self.times * HALF;
        self.times += 1;
        let renewed = (first..first + HALF).map(|number| number % RENEWED);
        let fresh = (first..first + HALF).map(|number| RENEWED + number);
        let mut rumours: Vec<_> =
            renewed.chain(fresh).map(|number| stranger(key, &honest.body, number)).collect();
        rumours.push(Rumour::Own(Box::new(honest)));
        rumours
    }
}
