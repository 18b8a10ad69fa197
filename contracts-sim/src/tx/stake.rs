//! The evidence by which a stake is lost.

use gridhour_protocol::{
    calibration::receipt::DeviceName, id::DeviceId, layout::Layout, limits::TX_BYTES_MAX,
    market::advert::Advert, receipt::Receipt, session::terms::Terms, signed::Signed, wire::Wire,
};
use serde::{Deserialize, Serialize};

use super::lay_out_signed;

/// Two receipts of one provider that contradict each other, and what leads from them to the device that answers: the
/// receipts name the session, the session is the hash of its terms, the terms name the advert, the advert names the
/// device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accusation {
    /// The session's terms.
    pub terms: Terms,
    /// The advert that the terms accept.
    pub advert: Signed<Advert>,
    /// What the provider said once.
    pub one: Signed<Receipt>,
    /// What it said as well.
    pub other: Signed<Receipt>,
}

impl Accusation {
    /// The device that the advert names.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        DeviceName::of(&self.advert.body.device).id_of(&self.advert.body.provider)
    }

    /// Appends every part; the session's id stands for the terms.
    pub(crate) fn lay_out(&self, out: &mut Layout) {
        lay_out_signed(out, &self.advert);
        out.fixed(&self.terms.id().0);
        lay_out_signed(out, &self.one);
        lay_out_signed(out, &self.other);
    }

    /// Whether receipt, terms and advert name each other.
    #[must_use]
    pub fn leads_to_device(&self) -> bool {
        let Self { terms, advert, one, .. } = self;
        one.body.session == terms.id()
            && one.body.provider == terms.provider
            && terms.advert == advert.id()
            && terms.provider == advert.body.provider
    }
}

impl Wire for Accusation {
    const BYTES_MAX: usize = TX_BYTES_MAX;

    fn check_bounds(&self) -> Result<(), String> {
        self.terms.check_bounds()?;
        self.advert.check_bounds()?;
        self.one.check_bounds()?;
        self.other.check_bounds()
    }
}
