//! What a client would like to have reserved.

use serde::{Deserialize, Serialize};

use super::{check_capacity, check_window};
use crate::{
    id::ModelId,
    units::{GpuNs, Millis, Timestamp},
    wire::Wire,
};

/// A question to a provider: at what price and on which terms would it reserve this? Nothing is promised by asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationWish {
    /// The model that is to be served.
    pub model: ModelId,
    /// When the first slot begins.
    pub starts_at: Timestamp,
    /// Length of a slot.
    pub slot: Millis,
    /// How many slots follow one another.
    pub slots: u16,
    /// Reference time in each slot.
    pub capacity: GpuNs,
}

impl ReservationWish {
    /// When the last slot ends.
    #[must_use]
    pub fn ends_at(&self) -> Timestamp {
        // Within the bounds, so nothing saturates.
        Timestamp(self.starts_at.0.saturating_add(self.length().0))
    }

    /// How long all slots are together.
    #[must_use]
    pub fn length(&self) -> Millis {
        Millis(self.slot.0.saturating_mul(self.slots.into()))
    }
}

impl Wire for ReservationWish {
    const BYTES_MAX: usize = 72;

    fn check_bounds(&self) -> Result<(), String> {
        check_window(self.starts_at, self.slot, self.slots)?;
        check_capacity(self.capacity, self.slot)
    }
}
