//! What a provider sells. Signed, gossiped, replaced by a higher sequence number, dead at its expiry.

use serde::{Deserialize, Serialize};

use super::{
    coordinate::Coordinate,
    quote::Quote,
    tier::{Spot, Tier},
};
use crate::{
    calibration::receipt::{Calibration, CalibrationFault, DeviceName},
    exact::{NUMERICS_VERSION, numerics_digest},
    id::{AdvertId, ModelId, NetworkId},
    layout::Layout,
    limits::{
        ADDRESS_BYTES_MAX, ADDRESSES_MAX, ADVERT_TTL_MS_MAX, GOSSIP_BYTES_MAX, MODELS_MAX, NAME_BYTES_MAX,
        PRICE_MAX, PROTOCOL_VERSION, QUOTE_TTL_MS_MAX, REGION_BYTES_MAX, WORK_RATE_MAX,
    },
    signed::{PublicKey, Signable, Signed},
    units::{Millis, PricePerHour, Timestamp},
    wire::{Wire, at_most},
    work::{Rates, WorkModel},
};

/// A provider's offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advert {
    /// Version of the protocol that the provider speaks.
    pub version: u16,
    /// The network it is for.
    pub network: NetworkId,
    /// Who sells; also the account that is paid.
    pub provider: PublicKey,
    /// Multiaddresses at which the provider's peer listens. Its peer id follows from the key.
    pub addresses: Vec<String>,
    /// A higher number replaces a lower one.
    pub sequence: u64,
    /// When it was signed, by the provider's clock.
    pub issued_at: Timestamp,
    /// When it dies.
    pub expires_at: Timestamp,
    /// What the jobs run on.
    pub device: Device,
    /// Models that are loaded.
    pub models: Vec<ModelOffer>,
    /// Price of a reference GPU-hour.
    pub ask: PricePerHour,
    /// How it serves in the spot tier, if it does.
    pub spot: Option<Spot>,
    /// Jobs that would start at once.
    pub slots_free: u16,
    /// Jobs that wait.
    pub queued: u16,
    /// Declared region, such as `eu-de`. Absent matches no order that asks for one.
    pub region: Option<String>,
    /// Declared jurisdiction, such as `DE`. Absent matches no order that asks for one.
    pub jurisdiction: Option<String>,
    /// Where the provider is in the network, as far as its own round trips tell. Absent, nothing follows from it.
    pub coordinate: Option<Coordinate>,
    /// For whom it is, if it is a quote: nobody else may accept it. Absent, it is for everybody, and gossiped as such.
    pub quote: Option<Quote>,
}

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DeviceClass {
    /// Runs on the processor alone.
    Cpu,
    /// Runs on a GPU through wgpu.
    Gpu,
}

impl DeviceClass {
    /// Its byte in what is signed.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Cpu => 0,
            Self::Gpu => 1,
        }
    }
}

/// Where a device's rates come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RateSource {
    /// The provider measured itself at start. Its word.
    SelfMeasured,
    /// A challenger measured it, and says so here.
    Calibrated(Box<Signed<Calibration>>),
}

/// A device as advertised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// CPU or GPU.
    pub class: DeviceClass,
    /// Name of the processor or adapter.
    pub name: String,
    /// The implementation that computes, such as `cpu/avx2`.
    pub backend: String,
    /// Bytes that the model's weights take, and those that keys and values of jobs may take.
    pub memory_bytes: u64,
    /// Threads that jobs use; 0 for a GPU.
    pub threads: u16,
    /// Version of the arithmetic.
    pub numerics: u16,
    /// Work per second.
    pub rates: Rates,
    /// Who says so.
    pub rate_source: RateSource,
}

/// A model that a provider serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelOffer {
    /// Which model.
    pub model: ModelId,
    /// Its work formula; the model's manifest implies it.
    pub work: WorkModel,
    /// Longest prompt and output together, in tokens.
    pub context: u32,
}

impl Advert {
    /// The model's entry, if the provider serves it.
    #[must_use]
    pub fn offer_of(&self, model: &ModelId) -> Option<&ModelOffer> {
        self.models.iter().find(|offer| offer.model == *model)
    }

    /// Whether `client` may accept it.
    #[must_use]
    pub fn is_for(&self, client: &PublicKey) -> bool {
        self.quote.is_none_or(|quote| quote.client == *client)
    }

    /// Whether it answers for a slot that is reserved, and for nothing else: its sequence number is that of no advert that
    /// is gossiped, and it is no quote.
    #[must_use]
    pub fn is_of_slot(&self) -> bool {
        self.sequence == 0 && self.quote.is_none()
    }

    /// Price of a reference GPU-hour in this tier, if it is served. What is reserved has a price of its own, which is the
    /// ask of the adverts that answer for it: under those nothing else is sold.
    #[must_use]
    pub fn ask_in(&self, tier: Tier) -> Option<PricePerHour> {
        match tier {
            Tier::OnDemand => (!self.is_of_slot()).then_some(self.ask),
            Tier::Reserved => Some(self.ask),
            Tier::Spot => self.spot.map(|spot| spot.ask),
        }
    }

    /// How long a job of this tier goes on, at least, once its slot is wanted back: nothing where that never happens.
    #[must_use]
    pub fn notice_in(&self, tier: Tier) -> Millis {
        match tier {
            Tier::OnDemand | Tier::Reserved => Millis(0),
            Tier::Spot => self.spot.map_or(Millis(0), |spot| spot.notice),
        }
    }

    /// Jobs of this tier that would get a slot: idle ones and, but for other spot jobs, those that spot jobs hold.
    #[must_use]
    pub fn slots_in(&self, tier: Tier) -> u16 {
        let held = self.spot.map_or(0, |spot| spot.held);
        match tier {
            Tier::OnDemand | Tier::Reserved => self.slots_free.saturating_add(held),
            Tier::Spot => self.slots_free,
        }
    }

    /// How long the next job of this tier waits for a spot job to leave its slot.
    #[must_use]
    pub fn reclaim_in(&self, tier: Tier) -> Millis {
        match (tier, self.slots_free) {
            (Tier::OnDemand | Tier::Reserved, 0) => self.notice_in(Tier::Spot),
            _ => Millis(0),
        }
    }

    /// Whether the advert still lives at `now`.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }
}

impl Signed<Advert> {
    /// The identity of this signed advert.
    #[must_use]
    pub fn id(&self) -> AdvertId {
        AdvertId(self.digest())
    }
}

impl Signable for Advert {
    fn layout(&self) -> Layout {
        let mut out = Layout::new("gridhour/advert/v3");
        out.u16(self.version).fixed(&self.network.0).fixed(&self.provider.0).count(self.addresses.len());
        for address in &self.addresses {
            out.bytes(address.as_bytes());
        }
        out.u64(self.sequence).u64(self.issued_at.0).u64(self.expires_at.0);
        self.device.lay_out(&mut out);
        out.count(self.models.len());
        for offer in &self.models {
            out.fixed(&offer.model.0).u32(offer.context);
            offer.work.lay_out(&mut out);
        }
        out.u64(self.ask.0);
        match &self.spot {
            None => out.u8(0),
            Some(spot) => {
                spot.lay_out(out.u8(1));
                &mut out
            }
        };
        out.u16(self.slots_free).u16(self.queued);
        for place in [&self.region, &self.jurisdiction] {
            lay_out_optional(&mut out, place.as_deref());
        }
        match &self.coordinate {
            None => out.u8(0),
            Some(coordinate) => {
                coordinate.lay_out(out.u8(1));
                &mut out
            }
        };
        match &self.quote {
            None => out.u8(0),
            Some(quote) => {
                quote.lay_out(out.u8(1));
                &mut out
            }
        };
        out
    }

    fn signer(&self) -> PublicKey {
        self.provider
    }
}

impl Device {
    fn lay_out(&self, out: &mut Layout) {
        out.u8(self.class.code());
        out.bytes(self.name.as_bytes()).bytes(self.backend.as_bytes());
        out.u64(self.memory_bytes).u16(self.threads).u16(self.numerics);
        self.rates.lay_out(out);
        match &self.rate_source {
            RateSource::SelfMeasured => out.u8(0),
            RateSource::Calibrated(receipt) => out.u8(1).fixed(&receipt.digest()),
        };
    }

    /// The same device with what a challenger measured; `None` if its times give no rates.
    #[must_use]
    pub fn calibrated(&self, receipt: &Signed<Calibration>) -> Option<Self> {
        let rates = receipt.body.rates()?;
        let rate_source = RateSource::Calibrated(Box::new(receipt.clone()));
        Some(Self { rates, rate_source, ..self.clone() })
    }

    /// Who measured the rates, if anybody but the provider did. Only an advert whose calibration was checked
    /// says so truly ([`Advert::check_calibration`]).
    #[must_use]
    pub fn calibration(&self) -> Option<&Calibration> {
        match &self.rate_source {
            RateSource::SelfMeasured => None,
            RateSource::Calibrated(receipt) => Some(&receipt.body),
        }
    }
}

fn lay_out_optional(out: &mut Layout, text: Option<&str>) {
    match text {
        None => out.u8(0),
        Some(text) => out.u8(1).bytes(text.as_bytes()),
    };
}

impl Wire for Advert {
    const BYTES_MAX: usize = GOSSIP_BYTES_MAX - 64;

    fn check_bounds(&self) -> Result<(), String> {
        if self.version != PROTOCOL_VERSION {
            return Err(format!("protocol version {} is not {PROTOCOL_VERSION}", self.version));
        }
        at_most("addresses", self.addresses.len(), ADDRESSES_MAX)?;
        for address in &self.addresses {
            at_most("address", address.len(), ADDRESS_BYTES_MAX)?;
        }
        at_most("models", self.models.len(), MODELS_MAX)?;
        at_most("device name", self.device.name.len(), NAME_BYTES_MAX)?;
        at_most("device backend", self.device.backend.len(), NAME_BYTES_MAX)?;
        if let RateSource::Calibrated(receipt) = &self.device.rate_source {
            receipt.check_bounds()?;
        }
        for place in [&self.region, &self.jurisdiction].into_iter().flatten() {
            at_most("region", place.len(), REGION_BYTES_MAX)?;
        }
        if let Some(coordinate) = &self.coordinate {
            coordinate.check_bounds()?;
        }
        self.check_numbers()
    }
}

impl Advert {
    /// Checks that the calibration, if the advert shows one, speaks for its device: signed by somebody else
    /// than the provider, about this provider, this network, this device and arithmetic, at least the claimed
    /// memory, and these very rates.
    ///
    /// # Errors
    /// With the first that is not so. Every node finds the same, so whoever passes such an advert on is at
    /// fault.
    pub fn check_calibration(&self) -> Result<(), CalibrationFault> {
        let RateSource::Calibrated(receipt) = &self.device.rate_source else { return Ok(()) };
        self.check_claims_of(&receipt.body)?;
        match receipt.clone().verify() {
            Ok(_) => Ok(()),
            Err(_) => Err(CalibrationFault::BadSignature),
        }
    }

    fn check_claims_of(&self, receipt: &Calibration) -> Result<(), CalibrationFault> {
        let Calibration { challenge, device, .. } = receipt;
        if challenge.provider != self.provider || challenge.network != self.network {
            return Err(CalibrationFault::OtherProvider);
        }
        if challenge.challenger == self.provider {
            return Err(CalibrationFault::OwnChallenge);
        }
        // What another version's page says is not known here; no order of ours meets that device.
        if self.device.numerics == NUMERICS_VERSION && challenge.numerics != numerics_digest() {
            return Err(CalibrationFault::OtherNumerics);
        }
        if *device != DeviceName::of(&self.device) {
            return Err(CalibrationFault::OtherDevice);
        }
        if challenge.memory_bytes < self.device.memory_bytes {
            return Err(CalibrationFault::LessMemory);
        }
        match receipt.rates() {
            Some(rates) if rates == self.device.rates => Ok(()),
            _ => Err(CalibrationFault::OtherRates),
        }
    }

    fn check_numbers(&self) -> Result<(), String> {
        let rates = [self.device.rates.prefill.0, self.device.rates.decode.0];
        if rates.iter().any(|&rate| rate == 0 || rate > WORK_RATE_MAX) {
            return Err(format!("rates {rates:?} are not between 1 and {WORK_RATE_MAX} MACs/s"));
        }
        if self.ask.0 > PRICE_MAX {
            return Err(format!("ask {} is over the limit of {PRICE_MAX}", self.ask.0));
        }
        if let Some(spot) = &self.spot {
            spot.check(self.ask)?;
        }
        if !self.models.iter().all(|offer| offer.work.is_sane()) {
            return Err("a model's work per token is absurd".into());
        }
        let life = self.expires_at.since(self.issued_at).0;
        let longest = if self.quote.is_some() { QUOTE_TTL_MS_MAX } else { ADVERT_TTL_MS_MAX };
        if life == 0 || life > longest {
            return Err(format!("a life of {life} ms is not between 1 and {longest}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        arbitrary::key,
        calibration::job::Challenge,
        id::PostingId,
        market::coordinate::{ERROR_PPM_MAX, FAR_US_MAX},
        sample::{self, CLIENT, PROVIDER},
    };

    /// The sample's calibrated advert with a receipt that differs, signed by this key.
    fn shown(signer: u8, change: impl FnOnce(&mut Calibration)) -> Advert {
        let mut advert = sample::calibrated_advert();
        let mut receipt = sample::calibration();
        change(&mut receipt);
        advert.device.rates = receipt.rates().unwrap_or(advert.device.rates);
        advert.device.rate_source = RateSource::Calibrated(Box::new(key(signer).sign(receipt)));
        advert
    }

    fn fault(advert: &Advert) -> Option<CalibrationFault> {
        advert.check_calibration().err()
    }

    #[test]
    fn a_calibration_speaks_for_its_provider_network_device_and_memory_alone() {
        assert_eq!(sample::calibrated_advert().check_calibration(), Ok(()));
        assert_eq!(shown(CLIENT, |receipt| receipt.decode_ns += 1).check_calibration(), Ok(()));
        let of = |change: fn(&mut Challenge)| fault(&shown(CLIENT, |receipt| change(&mut receipt.challenge)));
        let other_device = shown(CLIENT, |receipt| receipt.device.name = "another".into());
        let found = [
            of(|challenge| challenge.provider = challenge.challenger),
            of(|challenge| challenge.network = NetworkId([1; 32])),
            of(|challenge| challenge.challenger = challenge.provider),
            of(|challenge| challenge.numerics = [1; 32]),
            fault(&other_device),
        ];
        let expected = [
            CalibrationFault::OtherProvider,
            CalibrationFault::OtherProvider,
            CalibrationFault::OwnChallenge,
            CalibrationFault::OtherNumerics,
            CalibrationFault::OtherDevice,
        ];
        assert_eq!(found, expected.map(Some));
    }

    #[test]
    fn an_insane_coordinate_makes_an_advert_malformed() {
        let with = |coordinate| Advert { coordinate, ..sample::advert() }.check_bounds();
        assert_eq!(with(None), Ok(()));
        assert_eq!(with(Some(sample::coordinate())), Ok(()));
        let sane = sample::coordinate();
        let far = Coordinate { height_us: FAR_US_MAX + 1, ..sane };
        let sure = Coordinate { error_ppm: ERROR_PPM_MAX + 1, ..sane };
        let mut edge = sane;
        edge.position_us[7] = i32::MIN;
        assert!([far, sure, edge].into_iter().all(|coordinate| with(Some(coordinate)).is_err()));
    }

    #[test]
    fn each_tier_has_its_price_its_notice_and_its_slots() {
        let spot = Spot { ask: PricePerHour(400_000), notice: Millis(5_000), held: 1 };
        let advert = Advert { spot: Some(spot), slots_free: 0, ..sample::advert() };
        assert_eq!(advert.check_bounds(), Ok(()));
        let of = |tier| (advert.ask_in(tier), advert.notice_in(tier), advert.slots_in(tier));
        assert_eq!(of(Tier::Spot), (Some(spot.ask), spot.notice, 0));
        for tier in [Tier::OnDemand, Tier::Reserved] {
            assert_eq!(of(tier), (Some(advert.ask), Millis(0), 1));
            assert_eq!(advert.reclaim_in(tier), spot.notice);
            assert_eq!(Advert { slots_free: 1, ..advert.clone() }.reclaim_in(tier), Millis(0));
        }
        let without = sample::advert();
        assert_eq!((without.ask_in(Tier::Spot), without.slots_in(Tier::OnDemand)), (None, 2));
        let of_slot = Advert { sequence: 0, ..without };
        assert_eq!([Tier::OnDemand, Tier::Spot].map(|tier| of_slot.ask_in(tier)), [None; 2]);
        assert_eq!(of_slot.ask_in(Tier::Reserved), Some(of_slot.ask));
        let quote = sample::quote(PostingId([1; 32]));
        assert_eq!(
            quote.ask_in(Tier::OnDemand),
            Some(quote.ask),
            "a quote is not gossiped as an advert either"
        );
        let dear = Spot { ask: PricePerHour(advert.ask.0 + 1), ..spot };
        assert!(Advert { spot: Some(dear), ..advert }.check_bounds().is_err());
    }

    #[test]
    fn memory_and_rates_are_those_of_the_calibration() {
        let changed = |change: fn(&mut Device)| {
            let mut advert = sample::calibrated_advert();
            change(&mut advert.device);
            fault(&advert)
        };
        assert_eq!(changed(|device| device.memory_bytes += 1), Some(CalibrationFault::LessMemory));
        assert_eq!(changed(|device| device.memory_bytes -= 1), None);
        assert_eq!(changed(|device| device.rates.prefill.0 += 1), Some(CalibrationFault::OtherRates));
        assert_eq!(changed(|device| device.rates.decode.0 -= 1), Some(CalibrationFault::OtherRates));
        assert_eq!(
            fault(&shown(CLIENT, |receipt| receipt.prefill_ns = 0)),
            Some(CalibrationFault::OtherRates)
        );
    }

    #[test]
    fn a_calibration_that_nobody_signed_is_false() {
        assert_eq!(fault(&shown(PROVIDER, |_| ())), Some(CalibrationFault::BadSignature));
        let advert = shown(CLIENT, |_| ());
        let RateSource::Calibrated(mut receipt) = advert.device.rate_source.clone() else { panic!("it is") };
        receipt.body.ended_at.0 += 1;
        let device = Device { rate_source: RateSource::Calibrated(receipt), ..advert.device };
        assert_eq!(
            fault(&Advert { device, ..sample::calibrated_advert() }),
            Some(CalibrationFault::BadSignature)
        );
    }
}
