//! What a client wants: one signed object that holds everything it insists on. An order carries no prompt.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::{data_class::DataClass, tier::Tier};
use crate::{
    id::{ModelId, NetworkId, OrderId},
    layout::Layout,
    limits::{
        CHALLENGERS_MAX, GOSSIP_BYTES_MAX, ORDER_TTL_MS_MAX, OUTPUT_TOKENS_MAX, PRICE_MAX, PROMPT_TOKENS_MAX,
        PROTOCOL_VERSION, REDUNDANT_MAX, REGION_BYTES_MAX, REGIONS_MAX,
    },
    signed::{PublicKey, Signable, Signed},
    units::{Credits, Millis, PricePerHour, Timestamp},
    wire::{Wire, at_most},
};

/// An order for inference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Version of the protocol that the client speaks.
    pub version: u16,
    /// The network it is for.
    pub network: NetworkId,
    /// Who buys; also the account that pays.
    pub client: PublicKey,
    /// Makes two orders with the same content different.
    pub nonce: u64,
    /// When it was signed, by the client's clock.
    pub issued_at: Timestamp,
    /// After this no session may open under it.
    pub expires_at: Timestamp,
    /// The model to run.
    pub model: ModelId,
    /// Tokens of the longest prompt.
    pub prompt_tokens: u32,
    /// Tokens of the longest output.
    pub output_tokens: u32,
    /// The most the client pays for a reference GPU-hour.
    pub price_max: PricePerHour,
    /// The most the client pays in all.
    pub total_max: Credits,
    /// Time to the first token, from the client's side.
    pub ttft: Option<LatencyLimit>,
    /// Time to the last token, from the client's side.
    pub total_time: Option<LatencyLimit>,
    /// Regions that are allowed; empty means any.
    pub regions: Vec<String>,
    /// Jurisdictions that are allowed; empty means any.
    pub jurisdictions: Vec<String>,
    /// Who must have calibrated the provider, one of these; empty means that its own word will do.
    pub calibrated_by: Vec<PublicKey>,
    /// The least that must be at stake for the device until the session's use is over; nothing means that none need be.
    pub stake_min: Credits,
    /// How the client finds out whether the answer is right.
    pub verification: Verification,
    /// How firmly it is served.
    pub tier: Tier,
    /// Where its data may go.
    pub data: DataClass,
    /// Hash of the client's budget tag. The tag itself never travels.
    pub tag: Option<[u8; 32]>,
}

/// How a client finds out whether an answer is what the model gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verification {
    /// One provider runs it and signs a receipt, by which it can be held to its answer later.
    #[default]
    Receipt,
    /// So many providers with different stake accounts run it at the same time, and their answers are compared.
    Redundant {
        /// From 2 to [`REDUNDANT_MAX`].
        providers: u8,
    },
}

impl Verification {
    /// Providers that run the order at the same time.
    #[must_use]
    pub const fn providers(self) -> u8 {
        match self {
            Self::Receipt => 1,
            Self::Redundant { providers } => providers,
        }
    }

    fn check(self) -> Result<(), String> {
        match self {
            Self::Redundant { providers } if !(2..=REDUNDANT_MAX).contains(&providers) => {
                Err(format!("{providers} providers at the same time are not between 2 and {REDUNDANT_MAX}"))
            }
            Self::Receipt | Self::Redundant { .. } => Ok(()),
        }
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Receipt => f.write_str("receipt"),
            Self::Redundant { providers } => write!(f, "redundant({providers})"),
        }
    }
}

/// A limit on a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LatencyLimit {
    /// The time.
    pub limit: Millis,
    /// What happens beyond it.
    pub kind: LimitKind,
}

/// What happens beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LimitKind {
    /// An offer expected to be slower is refused.
    Hard,
    /// Every millisecond beyond it counts as this much money when offers are compared. Nobody pays it.
    Soft {
        /// Micro-credits per millisecond.
        per_ms: Credits,
    },
}

impl Signed<Order> {
    /// The identity of this signed order.
    #[must_use]
    pub fn id(&self) -> OrderId {
        OrderId(self.digest())
    }
}

impl Signable for Order {
    fn layout(&self) -> Layout {
        let mut out = Layout::new("gridhour/order/v5");
        out.u16(self.version).fixed(&self.network.0).fixed(&self.client.0).u64(self.nonce);
        out.u64(self.issued_at.0).u64(self.expires_at.0);
        out.fixed(&self.model.0).u32(self.prompt_tokens).u32(self.output_tokens);
        out.u64(self.price_max.0).u64(self.total_max.0);
        for limit in [&self.ttft, &self.total_time] {
            lay_out_limit(&mut out, limit.as_ref());
        }
        for places in [&self.regions, &self.jurisdictions] {
            out.count(places.len());
            for place in places {
                out.bytes(place.as_bytes());
            }
        }
        out.count(self.calibrated_by.len());
        for challenger in &self.calibrated_by {
            out.fixed(&challenger.0);
        }
        out.u64(self.stake_min.0);
        match self.verification {
            Verification::Receipt => out.u8(0),
            Verification::Redundant { providers } => out.u8(1).u8(providers),
        };
        out.u8(self.tier.code());
        out.u8(self.data.code());
        match &self.tag {
            None => out.u8(0),
            Some(tag) => out.u8(1).fixed(tag),
        };
        out
    }

    fn signer(&self) -> PublicKey {
        self.client
    }
}

fn lay_out_limit(out: &mut Layout, limit: Option<&LatencyLimit>) {
    let Some(LatencyLimit { limit, kind }) = limit else {
        out.u8(0);
        return;
    };
    match kind {
        LimitKind::Hard => out.u8(1).u64(limit.0),
        LimitKind::Soft { per_ms } => out.u8(2).u64(limit.0).u64(per_ms.0),
    };
}

impl Wire for Order {
    const BYTES_MAX: usize = GOSSIP_BYTES_MAX - 64;

    fn check_bounds(&self) -> Result<(), String> {
        if self.version != PROTOCOL_VERSION {
            return Err(format!("protocol version {} is not {PROTOCOL_VERSION}", self.version));
        }
        for (name, places) in [("regions", &self.regions), ("jurisdictions", &self.jurisdictions)] {
            at_most(name, places.len(), REGIONS_MAX)?;
            for place in places {
                at_most(name, place.len(), REGION_BYTES_MAX)?;
            }
        }
        at_most("challengers", self.calibrated_by.len(), CHALLENGERS_MAX)?;
        at_most("prompt tokens", self.prompt_tokens as usize, PROMPT_TOKENS_MAX)?;
        at_most("output tokens", self.output_tokens as usize, OUTPUT_TOKENS_MAX)?;
        self.verification.check()?;
        self.check_residence()?;
        self.check_numbers()
    }
}

impl Order {
    /// Whether sessions for `other` may be opened under this order: it insists on the same, and is for jobs no shorter.
    #[must_use]
    pub fn allows(&self, other: &Self) -> bool {
        let Self { nonce, issued_at, expires_at, prompt_tokens, output_tokens, .. } = *self;
        let alike = Self { nonce, issued_at, expires_at, prompt_tokens, output_tokens, ..other.clone() };
        *self == alike && other.prompt_tokens <= prompt_tokens && other.output_tokens <= output_tokens
    }

    /// Without a place the data could be anywhere.
    fn check_residence(&self) -> Result<(), String> {
        match self.data == DataClass::Resident && self.regions.is_empty() && self.jurisdictions.is_empty() {
            true => Err("an order whose data is resident names no region and no jurisdiction".into()),
            false => Ok(()),
        }
    }

    fn check_numbers(&self) -> Result<(), String> {
        if self.prompt_tokens == 0 || self.output_tokens == 0 {
            return Err("an order needs at least one prompt token and one output token".into());
        }
        if self.price_max.0 > PRICE_MAX {
            return Err(format!("price limit {} is over the limit of {PRICE_MAX}", self.price_max.0));
        }
        let life = self.expires_at.since(self.issued_at).0;
        if life == 0 || life > ORDER_TTL_MS_MAX {
            return Err(format!("a life of {life} ms is not between 1 and {ORDER_TTL_MS_MAX}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn with(change: impl FnOnce(&mut Order)) -> Order {
        let mut order = sample::order();
        change(&mut order);
        order
    }

    #[test]
    fn an_order_stands_for_others_that_insist_on_the_same() {
        let standing = sample::order();
        let allows = |change: fn(&mut Order)| standing.allows(&with(change));
        assert!(allows(|order| (order.nonce, order.issued_at, order.prompt_tokens) = (99, Timestamp(1), 1)));
        assert!(!allows(|order| order.prompt_tokens += 1) && !allows(|order| order.output_tokens += 1));
        assert!(!allows(|order| order.tag = Some([9; 32])), "another purse");
        assert!(!allows(|order| order.total_max.0 += 1) && !allows(|order| order.total_max.0 -= 1));
        assert!(!allows(|order| order.regions = vec!["us-tx".into()]), "another place");
        assert!(!allows(|order| order.tier = Tier::Spot), "another tier");
        assert!(
            !allows(|order| order.data = DataClass::LocalOnly),
            "what must not leave has an order of its own"
        );
    }

    #[test]
    fn an_order_whose_data_is_resident_names_a_place() {
        let resident = |regions: &[&str], jurisdictions: &[&str]| {
            let owned = |places: &[&str]| places.iter().map(ToString::to_string).collect();
            with(|order| {
                order.data = DataClass::Resident;
                (order.regions, order.jurisdictions) = (owned(regions), owned(jurisdictions));
            })
        };
        assert!(resident(&[], &[]).check_bounds().is_err_and(|why| why.contains("names no region")));
        for order in [resident(&["eu-de"], &[]), resident(&[], &["DE"]), resident(&["eu-de"], &["DE"])] {
            assert_eq!(order.check_bounds(), Ok(()));
        }
        for data in [DataClass::Any, DataClass::LocalOnly] {
            assert_eq!(Order { data, ..resident(&[], &[]) }.check_bounds(), Ok(()));
        }
    }

    #[test]
    fn every_class_is_signed_as_itself() {
        let bytes = DataClass::ALL.map(|data| with(|order| order.data = data).layout().hash());
        assert!(bytes[0] != bytes[1] && bytes[1] != bytes[2] && bytes[0] != bytes[2]);
    }

    #[test]
    fn an_order_is_for_one_provider_or_for_two_to_five_at_the_same_time() {
        let with = |verification| Order { verification, ..sample::order() };
        assert_eq!(with(Verification::Receipt).check_bounds(), Ok(()));
        for providers in 0..=u8::MAX {
            let order = with(Verification::Redundant { providers });
            assert_eq!(order.check_bounds().is_ok(), (2..=5).contains(&providers), "{providers}");
            assert_ne!(order.layout().hash(), with(Verification::Receipt).layout().hash());
        }
        assert_eq!(Verification::Redundant { providers: 3 }.to_string(), "redundant(3)");
    }
}
