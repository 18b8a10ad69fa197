//! Adverts and checkpoints for this room's tests.

use gridhour_contracts_sim::{
    checkpoint::{Checkpoint, operator_key},
    witnesses::{LogKeys, NamedWitness, Witnesses},
};
use gridhour_protocol::{
    id::{BlockHash, ModelId, NetworkId, PostingId},
    limits::{POSTING_TTL_MS_MAX, PROTOCOL_VERSION, QUOTE_TTL_MS_MAX},
    market::{
        advert::{Advert, Device, DeviceClass, ModelOffer, RateSource},
        data_class::DataClass,
        order::{Order, Verification},
        posting::Posting,
        quote::Quote,
        tier::Tier,
    },
    merkle::{TreeHead, leaf_hash},
    note::VerifierKey,
    signed::{SecretKey, Signed},
    units::{Credits, Height, Millis, PricePerHour, Timestamp, WorkRate},
    wire,
    work::{Rates, WorkModel},
};

pub(crate) const NETWORK: NetworkId = NetworkId([0x11; 32]);
pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000_000);

pub(crate) fn clock() -> Timestamp {
    NOW
}

pub(crate) fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

/// Seed of the operator's key.
pub(crate) const OPERATOR: u8 = 200;

pub(crate) fn operator_vkey() -> VerifierKey {
    operator_key(&NETWORK, secret(OPERATOR).public()).expect("a good key")
}

/// Seeds of the witnesses' keys.
pub(crate) const WITNESSES: [u8; 3] = [201, 202, 203];

pub(crate) fn witness_name(seed: u8) -> String {
    format!("witness.example/{seed}")
}

/// The keys under the operator's checkpoints; two of three witnesses are required.
pub(crate) fn log_keys() -> LogKeys {
    let named = WITNESSES.map(|seed| NamedWitness { name: witness_name(seed), key: secret(seed).public() });
    let witnesses = Witnesses { named: named.to_vec(), required: 2 };
    LogKeys::new(operator_vkey(), &witnesses).expect("good keys")
}

/// The checkpoint of block `height` in one of several histories.
pub(crate) fn checkpoint(height: u64, history: u8) -> Checkpoint {
    let hash = leaf_hash(&[&height.to_le_bytes(), [history].as_slice()].concat());
    let log = TreeHead { size: 2 * height, root: hash };
    Checkpoint { network: NETWORK, log, height: Height(height), hash: BlockHash(hash) }
}

pub(crate) fn bytes_of(signed: &Signed<Advert>) -> Vec<u8> {
    wire::encode(signed)
}

pub(crate) fn advert(seed: u8, sequence: u64) -> Advert {
    let rate = WorkRate(1_000_000_000);
    Advert {
        version: PROTOCOL_VERSION,
        network: NETWORK,
        provider: secret(seed).public(),
        addresses: Vec::new(),
        sequence,
        issued_at: NOW,
        expires_at: Timestamp(NOW.0 + 60_000),
        device: Device {
            class: DeviceClass::Cpu,
            name: "test".into(),
            backend: "cpu/portable".into(),
            memory_bytes: 1 << 30,
            threads: 1,
            numerics: 1,
            rates: Rates { prefill: rate, decode: rate },
            rate_source: RateSource::SelfMeasured,
        },
        models: vec![ModelOffer {
            model: ModelId([3; 32]),
            work: WorkModel { layers: 1000, head: 100, attention: 10 },
            context: 2048,
        }],
        ask: PricePerHour(2_000_000),
        spot: None,
        slots_free: 2,
        queued: 0,
        region: Some("eu-de".into()),
        jurisdiction: Some("DE".into()),
        coordinate: None,
        quote: None,
    }
}

/// What client `seed` posts.
pub(crate) fn posting(seed: u8, nonce: u64) -> Signed<Posting> {
    let order = Order {
        version: PROTOCOL_VERSION,
        network: NETWORK,
        client: secret(seed).public(),
        nonce: 0,
        issued_at: NOW,
        expires_at: Timestamp(NOW.0 + 60_000),
        model: ModelId([3; 32]),
        prompt_tokens: 100,
        output_tokens: 100,
        price_max: PricePerHour(3_000_000),
        total_max: Credits(1_000_000),
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
    };
    secret(seed).sign(Posting::of(&order, nonce, NOW, Millis(POSTING_TTL_MS_MAX)))
}

/// A quote of provider `seed` to client `client`.
pub(crate) fn quote(seed: u8, client: u8, posting: PostingId) -> Signed<Advert> {
    let quote = Quote { client: secret(client).public(), posting };
    secret(seed).sign(Advert {
        quote: Some(quote),
        expires_at: Timestamp(NOW.0 + QUOTE_TTL_MS_MAX),
        ..advert(seed, 0)
    })
}
