//! A client and a provider that fit each other, for tests: change what the test is about, then open.

use gridhour_protocol::{
    id::{AdvertId, ModelId, OrderId, SessionId},
    limits::PROTOCOL_VERSION,
    market::{
        advert::{Advert, Device, DeviceClass, ModelOffer, RateSource},
        data_class::DataClass,
        order::{Order, Verification},
        tier::{Spot, Tier},
    },
    merkle,
    session::{terms::Terms, voucher::Voucher},
    signed::{SecretKey, Signed},
    units::{Credits, Millis, PricePerHour, Timestamp, WorkRate},
    work::{Rates, WorkModel},
};

use crate::{
    harness::Chain,
    tx::{Call, Open, Release},
};

const MINUTE_MS: u64 = 60_000;

/// Order, advert and terms before anyone signed.
#[derive(Clone, Debug)]
pub struct Deal {
    /// Who pays.
    pub client: SecretKey,
    /// Who is paid.
    pub provider: SecretKey,
    /// What the client insists on: 1,000 micro-credits in all.
    pub order: Order,
    /// What the provider offers, for 5 minutes.
    pub advert: Advert,
    /// What both agree on: 10 minutes of use and 2 of grace. [`Deal::open`] fills in the ids of order and advert.
    pub terms: Terms,
    /// What is held: 400 micro-credits.
    pub hold: Credits,
}

impl Deal {
    /// A deal that the ledger accepts now, if the client has the money.
    #[must_use]
    pub fn new(chain: &Chain, client: &SecretKey, provider: &SecretKey) -> Self {
        let order = order(chain, client);
        let advert = advert(chain, provider, order.model);
        let terms = Terms {
            network: order.network,
            client: order.client,
            provider: advert.provider,
            order: OrderId([0; 32]),
            advert: AdvertId([0; 32]),
            model: order.model,
            work: advert.models[0].work,
            rates: advert.device.rates,
            numerics: advert.device.numerics,
            price: advert.ask,
            tier: order.tier,
            notice: advert.notice_in(order.tier),
            chunk_tokens: 16,
            use_until: later(chain, 10),
            collect_until: later(chain, 12),
            nonce: 1,
        };
        let (client, provider) = (client.clone(), provider.clone());
        Self { client, provider, order, advert, terms, hold: Credits(400) }
    }

    /// The same in this tier, as it is advertised.
    #[must_use]
    pub fn in_tier(mut self, tier: Tier) -> Self {
        (self.order.tier, self.terms.tier) = (tier, tier);
        self.terms.price = self.advert.ask_in(tier).unwrap_or(self.advert.ask);
        self.terms.notice = self.advert.notice_in(tier);
        self
    }

    /// Both sides sign; the terms name what was signed.
    #[must_use]
    pub fn sign(&self) -> Open {
        let order = self.client.sign(self.order.clone());
        let advert = self.provider.sign(self.advert.clone());
        let terms = Terms { order: order.id(), advert: advert.id(), ..self.terms.clone() };
        Open { order, advert, terms, hold: self.hold }
    }

    /// The call that opens the session.
    #[must_use]
    pub fn open(&self) -> Call {
        Call::Open(Box::new(self.sign()))
    }

    /// The session's id.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.sign().terms.id()
    }

    /// A voucher of the client that counts no receipt.
    #[must_use]
    pub fn voucher(&self, lane: u16, sequence: u32, amount: Credits) -> Signed<Voucher> {
        self.client.sign(Voucher {
            session: self.session(),
            client: self.client.public(),
            lane,
            sequence,
            amount,
            receipts: 0,
            receipts_root: merkle::empty_root(),
        })
    }

    /// The provider's agreement to an end at once.
    #[must_use]
    pub fn release(&self, collected: Credits) -> Signed<Release> {
        let provider = self.provider.public();
        self.provider.sign(Release { session: self.session(), provider, collected })
    }
}

fn later(chain: &Chain, minutes: u64) -> Timestamp {
    Timestamp(chain.now().0 + minutes * MINUTE_MS)
}

fn order(chain: &Chain, client: &SecretKey) -> Order {
    Order {
        version: PROTOCOL_VERSION,
        network: chain.state().network(),
        client: client.public(),
        nonce: 1,
        issued_at: chain.now(),
        expires_at: later(chain, 30),
        model: ModelId([7; 32]),
        prompt_tokens: 100,
        output_tokens: 100,
        price_max: PricePerHour(2_000_000),
        total_max: Credits(1_000),
        ttft: None,
        total_time: None,
        regions: Vec::new(),
        jurisdictions: Vec::new(),
        calibrated_by: Vec::new(),
        stake_min: Credits::ZERO,
        verification: Verification::Receipt,
        tier: Tier::OnDemand,
        data: DataClass::Any,
        tag: None,
    }
}

fn advert(chain: &Chain, provider: &SecretKey, model: ModelId) -> Advert {
    let rates = Rates { prefill: WorkRate(20_000_000_000), decode: WorkRate(5_000_000_000) };
    let work = WorkModel { layers: 106_168_320, head: 28_311_552, attention: 34_560 };
    Advert {
        version: PROTOCOL_VERSION,
        network: chain.state().network(),
        provider: provider.public(),
        addresses: vec!["/ip4/127.0.0.1/tcp/4001".into()],
        sequence: 1,
        issued_at: chain.now(),
        expires_at: later(chain, 5),
        device: Device {
            class: DeviceClass::Cpu,
            name: "test".into(),
            backend: "test".into(),
            memory_bytes: 1 << 30,
            threads: 2,
            numerics: 1,
            rates,
            rate_source: RateSource::SelfMeasured,
        },
        models: vec![ModelOffer { model, work, context: 2_048 }],
        ask: PricePerHour(1_000_000),
        spot: Some(Spot { ask: PricePerHour(400_000), notice: Millis(5_000), held: 0 }),
        slots_free: 1,
        queued: 0,
        region: Some("eu-de".into()),
        jurisdiction: Some("DE".into()),
        coordinate: None,
        quote: None,
    }
}
