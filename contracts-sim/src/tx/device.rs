//! What a provider says about one of its devices when it registers it.

use gridhour_protocol::{
    calibration::receipt::DeviceName,
    id::{DeviceId, ModelId},
    layout::Layout,
    limits::MODELS_MAX,
    signed::PublicKey,
    units::Timestamp,
    wire::at_most,
};
use serde::{Deserialize, Serialize};

use crate::limits::NUMERICS_MAX;

/// An entry of the registry. Everything in it is its provider's word, except that it is signed and dated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Class, name and backend, as adverts name them. With the owner they are the device's id.
    pub name: DeviceName,
    /// Memory for weights, keys and values, in bytes.
    pub memory_bytes: u64,
    /// Versions of the arithmetic that it computes, rising.
    pub numerics: Vec<u16>,
    /// Models that it serves, rising.
    pub models: Vec<ModelId>,
    /// A higher number replaces a lower one.
    pub sequence: u64,
    /// When the entry is dropped, unless a newer one replaces it.
    pub expires_at: Timestamp,
}

impl Registration {
    /// The device, if `owner` registers it.
    #[must_use]
    pub fn device_of(&self, owner: &PublicKey) -> DeviceId {
        self.name.id_of(owner)
    }

    /// Appends every field.
    pub(crate) fn lay_out(&self, out: &mut Layout) {
        self.name.lay_out(out);
        out.u64(self.memory_bytes).count(self.numerics.len());
        for version in &self.numerics {
            out.u16(*version);
        }
        out.count(self.models.len());
        for model in &self.models {
            out.fixed(&model.0);
        }
        out.u64(self.sequence).u64(self.expires_at.0);
    }

    /// Checks lengths, and that lists rise, so that one set has one form.
    pub(crate) fn check_bounds(&self) -> Result<(), String> {
        self.name.check_bounds()?;
        at_most("versions of the arithmetic", self.numerics.len(), NUMERICS_MAX)?;
        at_most("models", self.models.len(), MODELS_MAX)?;
        let rises = self.numerics.is_sorted_by(|a, b| a < b) && self.models.is_sorted_by(|a, b| a < b);
        if rises { Ok(()) } else { Err("versions of the arithmetic or models do not rise".into()) }
    }
}
