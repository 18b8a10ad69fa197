//! The public part of an order that is posted: what providers need to quote a price, and nothing of what the
//! client would pay.
//!
//! A posting is the order with its limits on money blank, with a nonce and a short life of its own, signed
//! under a domain of its own: nobody can open a session with it, nor tell from its id which order it is of.

use serde::{Deserialize, Serialize};

use super::order::{LatencyLimit, LimitKind, Order};
use crate::{
    id::PostingId,
    layout::Layout,
    limits::{GOSSIP_BYTES_MAX, POSTING_TTL_MS_MAX, PRICE_MAX},
    signed::{PublicKey, Signable, Signed},
    units::{Credits, Millis, PricePerHour, Timestamp},
    wire::Wire,
};

/// What a client wants, without what it would pay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Posting(Order);

impl Posting {
    /// The public part of `order`, made at `now`, to be answered within `life` (at most
    /// [`POSTING_TTL_MS_MAX`]). `nonce` is fresh, so that nothing but what is wanted links it to the order.
    #[must_use]
    pub fn of(order: &Order, nonce: u64, now: Timestamp, life: Millis) -> Self {
        let life = Millis(life.0.clamp(1, POSTING_TTL_MS_MAX));
        Self(Order { nonce, issued_at: now, expires_at: now.after(life).unwrap_or(now), ..blank(order) })
    }

    /// What is wanted, as an order that any price meets: a provider puts its own offer through the same masks
    /// as the client will.
    #[must_use]
    pub const fn wanted(&self) -> &Order {
        &self.0
    }

    /// Who posted it.
    #[must_use]
    pub const fn client(&self) -> PublicKey {
        self.0.client
    }

    /// Whether quotes are still waited for at `now`.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.0.expires_at
    }
}

/// The order without what its client would pay, and without its purse.
fn blank(order: &Order) -> Order {
    Order {
        price_max: PricePerHour(PRICE_MAX),
        total_max: Credits(u64::MAX),
        ttft: hard(order.ttft),
        total_time: hard(order.total_time),
        tag: None,
        ..order.clone()
    }
}

/// What a soft limit says is what lateness is worth to the client; a hard one is a condition.
fn hard(limit: Option<LatencyLimit>) -> Option<LatencyLimit> {
    limit.filter(|limit| limit.kind == LimitKind::Hard)
}

impl Signed<Posting> {
    /// The identity of this signed posting.
    #[must_use]
    pub fn id(&self) -> PostingId {
        PostingId(self.digest())
    }
}

impl Signable for Posting {
    fn layout(&self) -> Layout {
        let mut out = Layout::new("gridhour/posting/v1");
        out.fixed(&self.0.layout().hash());
        out
    }

    fn signer(&self) -> PublicKey {
        self.0.client
    }
}

impl Wire for Posting {
    const BYTES_MAX: usize = GOSSIP_BYTES_MAX - 64;

    fn check_bounds(&self) -> Result<(), String> {
        self.0.check_bounds()?;
        let life = self.0.expires_at.since(self.0.issued_at).0;
        if life > POSTING_TTL_MS_MAX {
            return Err(format!("a life of {life} ms is over the limit of {POSTING_TTL_MS_MAX}"));
        }
        if self.0 != blank(&self.0) {
            return Err("a posting tells what its client would pay".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{arbitrary, sample, wire};

    const LIFE: Millis = Millis(1_000);

    fn posted(order: &Order) -> Posting {
        Posting::of(order, 7, sample::NOW, LIFE)
    }

    #[test]
    fn an_order_that_tells_what_its_client_pays_is_no_posting() {
        let public = posted(&sample::order()).0;
        assert_eq!(Posting(public.clone()).check_bounds(), Ok(()));
        let with = |change: fn(&mut Order)| {
            let mut order = public.clone();
            change(&mut order);
            Posting(order).check_bounds().is_err()
        };
        let soft = LatencyLimit { limit: Millis(1), kind: LimitKind::Soft { per_ms: Credits(1) } };
        assert!(with(|order| order.price_max.0 -= 1) && with(|order| order.total_max.0 -= 1));
        assert!(with(|order| order.tag = Some([1; 32])));
        let soft = Posting(Order { ttft: Some(soft), ..public.clone() });
        assert!(soft.check_bounds().is_err());
        assert!(with(|order| order.expires_at.0 = order.issued_at.0 + POSTING_TTL_MS_MAX + 1));
    }

    /// The order's bytes are frozen with the others.
    #[test]
    fn signed_bytes_are_frozen() {
        let posting = posted(&sample::order());
        let expected = [b"gridhour/posting/v1\0".as_slice(), &posting.0.layout().hash()].concat();
        assert_eq!(posting.layout().as_bytes(), expected);
    }

    #[test]
    fn nobody_takes_a_posting_for_an_order() {
        let key = arbitrary::key(sample::CLIENT);
        let posting = key.sign(posted(&sample::order()));
        let order = Signed { body: posting.body.0.clone(), signature: posting.signature };
        assert!(order.verify().is_err(), "the signature is under another domain");
        assert!(posting.verify().is_ok());
    }

    proptest! {
        /// Whatever two orders would pay, and from which purse: if they want the same, their postings are the
        /// same bytes.
        #[test]
        fn a_posting_says_nothing_of_money(
            order in arbitrary::orders(arbitrary::key(1).public()),
            other in arbitrary::orders(arbitrary::key(1).public()),
        ) {
            let Order { price_max, total_max, tag, nonce, issued_at, expires_at, .. } = other;
            let rich = Order { price_max, total_max, tag, nonce, issued_at, expires_at, ..order.clone() };
            prop_assert_eq!(wire::encode(&posted(&rich)), wire::encode(&posted(&order)));
            let soft = |limit: Option<LatencyLimit>| limit.filter(|limit| limit.kind != LimitKind::Hard);
            let eager = Order { ttft: soft(rich.ttft), ..rich };
            let calm = Order { ttft: None, ..eager.clone() };
            prop_assert_eq!(posted(&eager), posted(&calm));
            prop_assert_eq!(posted(&eager).check_bounds(), Ok(()));
        }
    }
}
