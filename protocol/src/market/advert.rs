//! What a provider sells. Signed, gossiped, replaced by a higher sequence number, dead at its expiry.

use serde::{Deserialize, Serialize};

use crate::{
    id::{AdvertId, ModelId, NetworkId},
    layout::Layout,
    limits::{
        ADDRESS_BYTES_MAX, ADDRESSES_MAX, ADVERT_TTL_MS_MAX, GOSSIP_BYTES_MAX, MODELS_MAX, NAME_BYTES_MAX,
        PRICE_MAX, PROTOCOL_VERSION, REGION_BYTES_MAX, WORK_RATE_MAX,
    },
    signed::{PublicKey, Signable, Signed},
    units::{PricePerHour, Timestamp},
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
    /// Jobs that would start at once.
    pub slots_free: u16,
    /// Jobs that wait.
    pub queued: u16,
    /// Declared region, such as `eu-de`. Absent matches no order that asks for one.
    pub region: Option<String>,
    /// Declared jurisdiction, such as `DE`. Absent matches no order that asks for one.
    pub jurisdiction: Option<String>,
}

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DeviceClass {
    /// Runs on the processor alone.
    Cpu,
    /// Runs on a GPU through wgpu.
    Gpu,
}

/// Where a device's rates come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RateSource {
    /// The provider measured itself at start. Its word.
    SelfMeasured,
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
    /// Memory that jobs may use, in bytes.
    pub memory_bytes: u64,
    /// Threads that jobs use; 0 for a GPU.
    pub threads: u16,
    /// Version of the arithmetic .
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
        let mut out = Layout::new("gridhour/advert/v1");
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
        out.u64(self.ask.0).u16(self.slots_free).u16(self.queued);
        for place in [&self.region, &self.jurisdiction] {
            lay_out_optional(&mut out, place.as_deref());
        }
        out
    }

    fn signer(&self) -> PublicKey {
        self.provider
    }
}

impl Device {
    fn lay_out(&self, out: &mut Layout) {
        out.u8(match self.class {
            DeviceClass::Cpu => 0,
            DeviceClass::Gpu => 1,
        });
        out.bytes(self.name.as_bytes()).bytes(self.backend.as_bytes());
        out.u64(self.memory_bytes).u16(self.threads).u16(self.numerics);
        self.rates.lay_out(out);
        out.u8(match self.rate_source {
            RateSource::SelfMeasured => 0,
        });
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
        for place in [&self.region, &self.jurisdiction].into_iter().flatten() {
            at_most("region", place.len(), REGION_BYTES_MAX)?;
        }
        self.check_numbers()
    }
}

impl Advert {
    fn check_numbers(&self) -> Result<(), String> {
        let rates = [self.device.rates.prefill.0, self.device.rates.decode.0];
        if rates.iter().any(|&rate| rate == 0 || rate > WORK_RATE_MAX) {
            return Err(format!("rates {rates:?} are not between 1 and {WORK_RATE_MAX} MACs/s"));
        }
        if self.ask.0 > PRICE_MAX {
            return Err(format!("ask {} is over the limit of {PRICE_MAX}", self.ask.0));
        }
        if !self.models.iter().all(|offer| offer.work.is_sane()) {
            return Err("a model's work per token is absurd".into());
        }
        let life = self.expires_at.since(self.issued_at).0;
        if life == 0 || life > ADVERT_TTL_MS_MAX {
            return Err(format!("a life of {life} ms is not between 1 and {ADVERT_TTL_MS_MAX}"));
        }
        Ok(())
    }
}
