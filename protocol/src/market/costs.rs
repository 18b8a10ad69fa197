//! What an offer costs a buyer beside the price: traffic to another region, and runs that must be made again.
//!
//! Both only compare offers; nobody is paid them, and neither excludes an offer. Only limits of the order exclude.
//!
//! ```text
//! egress = bytes that the buyer sends for the longest job, x its price, where the provider is not in its region
//! risk   = (1 - availability) x (cost of the longest job + what a run in vain costs the buyer)
//! ```
//!
//! Availability is what the buyer itself saw in the last five minutes ([`super::history`]), in parts per million; who was
//! not tried counts as available. Both are rounded up to a micro-credit.

use serde::{Deserialize, Serialize};

use super::{history::PPM, order::Order};
use crate::{layout::Layout, limits::CHUNK_TOKENS_MAX, units::Credits};

/// Bytes of a request beside its prompt, in frames and packets.
const REQUEST_BYTES: u64 = 512;
/// Bytes of a token of the prompt.
const TOKEN_BYTES: u64 = 4;
/// Bytes of a signed voucher, in frames and packets.
const VOUCHER_BYTES: u64 = 320;
/// Bytes that the price of traffic is for.
const GIB: u128 = 1 << 30;

/// What the buyer counts of its own. It is part of the match record, and nobody else's business before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuyerCosts {
    /// The region that the buyer is in. Without one, every provider is elsewhere.
    pub home: Option<String>,
    /// What the buyer pays for a GiB that it sends out of its region.
    pub egress_per_gib: Credits,
    /// What a run in vain costs the buyer beside running it again.
    pub retry: Credits,
}

impl BuyerCosts {
    /// A buyer that pays for no traffic, and for whom a run in vain costs another run and no more.
    pub const NONE: Self = Self { home: None, egress_per_gib: Credits::ZERO, retry: Credits::ZERO };

    /// What sending the order's longest job costs, to a provider that says that it is in `region`; one that does not say
    /// is elsewhere. `None` beyond 64 bits.
    #[must_use]
    pub fn egress(&self, order: &Order, region: Option<&str>) -> Option<Credits> {
        if self.egress_per_gib == Credits::ZERO || (self.home.is_some() && self.home.as_deref() == region) {
            return Some(Credits::ZERO);
        }
        let cost = u128::from(self.egress_per_gib.0) * u128::from(bytes_sent(order));
        u64::try_from(cost.div_ceil(GIB)).ok().map(Credits)
    }

    /// What a run of this cost must be expected to cost again, at a provider that served this share of its runs. `None`
    /// beyond 64 bits.
    #[must_use]
    pub fn risk(&self, cost: Credits, availability_ppm: Option<u32>) -> Option<Credits> {
        let failing = PPM.saturating_sub(availability_ppm.unwrap_or(PPM));
        if failing == 0 {
            return Some(Credits::ZERO);
        }
        let again = u128::from(cost.0) + u128::from(self.retry.0);
        u64::try_from((again * u128::from(failing)).div_ceil(PPM.into())).ok().map(Credits)
    }

    /// Appends all of it, for the hash of what was considered.
    pub fn lay_out(&self, out: &mut Layout) {
        match &self.home {
            None => out.u8(0),
            Some(home) => out.u8(1).bytes(home.as_bytes()),
        };
        out.u64(self.egress_per_gib.0).u64(self.retry.0);
    }
}

/// What the buyer sends for an order's longest job: the request, and a voucher for each chunk.
fn bytes_sent(order: &Order) -> u64 {
    let vouchers = u64::from(order.output_tokens).div_ceil(CHUNK_TOKENS_MAX as u64);
    REQUEST_BYTES + TOKEN_BYTES * u64::from(order.prompt_tokens) + VOUCHER_BYTES * vouchers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{arbitrary::key, sample, signed::Signed, wire};

    fn at_home() -> BuyerCosts {
        BuyerCosts { home: Some("eu-de".into()), egress_per_gib: Credits(90_000), retry: Credits(500) }
    }

    #[test]
    fn traffic_is_free_at_home_and_dear_elsewhere() {
        let long = Order { prompt_tokens: 120_000, ..sample::order() };
        assert_eq!(at_home().egress(&long, Some("eu-de")), Some(Credits(0)));
        // 512 + 480,000 + 7 x 320 bytes at 0.09 credits for a GiB.
        for elsewhere in [Some("eu-fi"), None] {
            assert_eq!(at_home().egress(&long, elsewhere), Some(Credits(41)));
        }
        let nowhere = BuyerCosts { home: None, ..at_home() };
        assert_eq!(nowhere.egress(&long, None), Some(Credits(41)), "who states no region is not in ours");
        assert_eq!(BuyerCosts::NONE.egress(&long, None), Some(Credits(0)));
    }

    #[test]
    fn a_provider_that_fails_costs_the_run_again() {
        let risk = |ppm| at_home().risk(Credits(1_000), ppm);
        assert_eq!(
            [risk(None), risk(Some(PPM)), risk(Some(800_000))],
            [0, 0, 300].map(|it| Some(Credits(it)))
        );
        assert_eq!(risk(Some(0)), Some(Credits(1_500)));
        assert_eq!(risk(Some(999_999)), Some(Credits(1)), "rounded up");
        assert_eq!(at_home().risk(Credits(u64::MAX), Some(0)), None);
    }

    #[test]
    fn a_voucher_is_no_longer_than_it_is_taken_to_be() {
        let voucher: Signed<_> = key(sample::CLIENT).sign(sample::voucher());
        let bytes = wire::encode(&voucher).len() as u64;
        assert!((VOUCHER_BYTES / 2..VOUCHER_BYTES).contains(&bytes), "{bytes}");
    }

    proptest! {
        #[test]
        fn risk_falls_with_availability_and_never_exceeds_a_run_in_vain(cost: u32, retry: u32, ppm in 0..PPM) {
            let costs = BuyerCosts { retry: Credits(retry.into()), ..BuyerCosts::NONE };
            let risk = |ppm| costs.risk(Credits(cost.into()), Some(ppm)).unwrap();
            prop_assert!(risk(ppm + 1) <= risk(ppm) && risk(0) == Credits(u64::from(cost) + u64::from(retry)));
        }
    }
}
