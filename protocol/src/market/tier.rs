//! Tiers: how firmly an order is served, and so whose work gives way when a provider runs short.

use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    layout::Layout,
    limits::{SPOT_NOTICE_MS_MAX, SPOT_NOTICE_MS_MIN},
    units::{Millis, PricePerHour},
};

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

/// On which terms a provider serves in [`Tier::Spot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Spot {
    /// Price of a reference GPU-hour: no more than the provider's ask.
    pub ask: PricePerHour,
    /// How long a job goes on, at least, once its slot is wanted back.
    pub notice: Millis,
    /// Slots that spot jobs hold now: an order of another tier gets one after the notice.
    pub held: u16,
}

impl Spot {
    /// Appends all of it.
    pub fn lay_out(&self, out: &mut Layout) {
        out.u64(self.ask.0).u64(self.notice.0).u16(self.held);
    }

    /// Checks what a provider may say that asks so much on demand.
    ///
    /// # Errors
    /// In a sentence, if spot is dearer than on demand, or the notice is out of bounds.
    pub fn check(&self, ask: PricePerHour) -> Result<(), String> {
        if self.ask > ask {
            return Err(format!("spot asks {}, over the ask of {}", self.ask.0, ask.0));
        }
        check_notice(self.notice)
    }
}

/// Checks how long a spot job goes on once its slot is wanted back.
///
/// # Errors
/// In a sentence, if that is out of bounds.
pub fn check_notice(notice: Millis) -> Result<(), String> {
    match (SPOT_NOTICE_MS_MIN..=SPOT_NOTICE_MS_MAX).contains(&notice.0) {
        true => Ok(()),
        false => Err(format!(
            "a notice of {} ms is not between {SPOT_NOTICE_MS_MIN} and {SPOT_NOTICE_MS_MAX}",
            notice.0
        )),
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

    #[test]
    fn spot_is_never_dearer_and_gives_a_bounded_notice() {
        let spot = |ask, notice| {
            let spot = Spot { ask: PricePerHour(ask), notice: Millis(notice), held: u16::MAX };
            spot.check(PricePerHour(10)).is_ok()
        };
        assert!(spot(10, SPOT_NOTICE_MS_MIN) && spot(0, SPOT_NOTICE_MS_MAX));
        assert!(!spot(11, SPOT_NOTICE_MS_MIN));
        assert!(!spot(10, SPOT_NOTICE_MS_MIN - 1) && !spot(10, SPOT_NOTICE_MS_MAX + 1));
    }
}
