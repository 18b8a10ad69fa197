//! Tiers: how firmly an order is served, and so whose work gives way when a provider runs short.

use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// How firmly an order is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Tier {
    /// At the provider's ask. A job that has started runs to its end.
    #[default]
    OnDemand,
    /// Cheaper, on capacity that is idle. The provider may take it back: the job then gets notice, and goes on elsewhere.
    Spot,
    /// In a slot that was reserved and prepaid. It opens by drawing on its reservation, and in no other way.
    Reserved,
}

impl Tier {
    /// All of them, in the order of their bytes.
    pub const ALL: [Self; 3] = [Self::OnDemand, Self::Spot, Self::Reserved];

    /// Its byte in what is signed.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::OnDemand => 0,
            Self::Spot => 1,
            Self::Reserved => 2,
        }
    }

    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OnDemand => "on-demand",
            Self::Spot => "spot",
            Self::Reserved => "reserved",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no tier's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no tier: it is on-demand, spot or reserved")]
pub struct NoTier(pub String);

impl FromStr for Tier {
    type Err = NoTier;

    fn from_str(text: &str) -> Result<Self, NoTier> {
        Self::ALL.into_iter().find(|tier| tier.name() == text).ok_or_else(|| NoTier(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tier_is_known_by_its_name_and_its_byte() {
        for (at, tier) in Tier::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(tier.code()), at);
            assert_eq!(tier.to_string().parse(), Ok(tier));
        }
        assert_eq!("Spot".parse::<Tier>(), Err(NoTier("Spot".into())));
        assert_eq!(Tier::default(), Tier::OnDemand);
    }
}
