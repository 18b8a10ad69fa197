//! One valid object of each kind, with fixed numbers: the ground that unit tests vary.

use crate::{
    arbitrary::key,
    calibration::{
        job::Challenge,
        receipt::{Calibration, DeviceName},
        shape::MEMORY_MIN,
    },
    exact::numerics_digest,
    id::{
        AdvertId, ModelId, NetworkId, OrderId, OutputDigest, PostingId, ReceiptId, RequestDigest, ScoreDigest,
    },
    job::{request::Request, sampling::Sampling},
    limits::PROTOCOL_VERSION,
    market::{
        advert::{Advert, Device, DeviceClass, ModelOffer, RateSource},
        coordinate::Coordinate,
        data_class::DataClass,
        order::{LatencyLimit, LimitKind, Order, Verification},
        quote::Quote,
        reservation::ReservationOffer,
        tier::Tier,
    },
    model::{TokenKind, TokenizerAsset, TokenizerFamily},
    receipt::{Cause, ClockSource, Receipt},
    session::{terms::Terms, voucher::Voucher},
    units::{Credits, GpuNs, Millis, PricePerHour, Timestamp, Work, WorkRate},
    work::{Rates, WorkModel},
};

/// Version of the arithmetic in all samples.
pub(crate) const NUMERICS: u16 = 1;
/// The time at which all samples are alive.
pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);
/// SmolLM2's work formula.
pub(crate) const WORK: WorkModel = WorkModel { layers: 106_168_320, head: 28_311_552, attention: 34_560 };
/// A small processor's rates.
pub(crate) const RATES: Rates = Rates { prefill: WorkRate(20_000_000_000), decode: WorkRate(5_000_000_000) };

/// Key of the sample client.
pub(crate) const CLIENT: u8 = 1;
/// Key of the sample provider.
pub(crate) const PROVIDER: u8 = 2;

/// Somewhere.
pub(crate) fn coordinate() -> Coordinate {
    let position_us = [1_000, -2_000, 3_000, -4_000, 5_000, -6_000, 7_000, -8_000];
    Coordinate { position_us, height_us: 900, adjustment_us: -50, error_ppm: 120_000 }
}

/// An advert that meets [`order`].
pub(crate) fn advert() -> Advert {
    Advert {
        version: PROTOCOL_VERSION,
        network: NetworkId([9; 32]),
        provider: key(PROVIDER).public(),
        addresses: vec!["/ip4/127.0.0.1/tcp/4001".into()],
        sequence: 7,
        issued_at: Timestamp(NOW.0 - 1_000),
        expires_at: Timestamp(NOW.0 + 60_000),
        device: Device {
            class: DeviceClass::Cpu,
            name: "processor".into(),
            backend: "cpu/avx2".into(),
            memory_bytes: 8 << 30,
            threads: 4,
            numerics: NUMERICS,
            rates: RATES,
            rate_source: RateSource::SelfMeasured,
        },
        models: vec![ModelOffer { model: ModelId([3; 32]), work: WORK, context: 2048 }],
        ask: PricePerHour(1_000_000),
        spot: None,
        slots_free: 2,
        queued: 0,
        region: Some("eu-de".into()),
        jurisdiction: Some("DE".into()),
        coordinate: Some(coordinate()),
        quote: None,
    }
}

/// The sample provider's quote to the sample client, for the price of the advert.
pub(crate) fn quote(posting: PostingId) -> Advert {
    let quote = Quote { client: key(CLIENT).public(), posting };
    Advert { sequence: 0, expires_at: Timestamp(NOW.0 + 9_000), quote: Some(quote), ..advert() }
}

/// A challenge of the sample provider by the sample client, for the least memory.
pub(crate) fn challenge() -> Challenge {
    Challenge {
        numerics: numerics_digest(),
        network: NetworkId([9; 32]),
        challenger: key(CLIENT).public(),
        provider: key(PROVIDER).public(),
        memory_bytes: MEMORY_MIN,
        seed: [15; 32],
    }
}

/// What the challenger found, in 10 and 20 milliseconds.
pub(crate) fn calibration() -> Calibration {
    Calibration {
        challenge: challenge(),
        device: DeviceName::of(&advert().device),
        prompt_nonce: [16; 32],
        output_nonce: [17; 32],
        output: OutputDigest([18; 32]),
        scores: ScoreDigest([19; 32]),
        prefill_ns: 10_000_000,
        decode_ns: 20_000_000,
        started_at: Timestamp(NOW.0 - 9_000),
        ended_at: Timestamp(NOW.0 - 5_000),
    }
}

/// The sample advert with that calibration.
pub(crate) fn calibrated_advert() -> Advert {
    let mut advert = advert();
    advert.device.memory_bytes = MEMORY_MIN;
    advert.device.rates = calibration().rates().expect("the times are sound");
    advert.device.rate_source = RateSource::Calibrated(Box::new(key(CLIENT).sign(calibration())));
    advert
}

/// Three hours of half of the sample provider's device.
pub(crate) fn reservation_offer() -> ReservationOffer {
    const HOUR_MS: u64 = 60 * 60 * 1000;
    ReservationOffer {
        network: NetworkId([9; 32]),
        provider: key(PROVIDER).public(),
        client: key(CLIENT).public(),
        device: DeviceName::of(&advert().device).id_of(&key(PROVIDER).public()),
        model: ModelId([3; 32]),
        work: WORK,
        rates: RATES,
        numerics: NUMERICS,
        price: PricePerHour(1_000_000),
        starts_at: Timestamp(NOW.0 + HOUR_MS),
        slot: Millis(HOUR_MS),
        slots: 3,
        capacity: GpuNs(HOUR_MS * 500_000),
        standby: 600,
        answer_within: Millis(60_000),
        notice: Millis(HOUR_MS),
        ladder: vec![100, 1_000],
        accept_until: Timestamp(NOW.0 + 60_000),
        nonce: 8,
    }
}

/// An order for 40 tokens of prompt and 100 of output.
pub(crate) fn order() -> Order {
    Order {
        version: PROTOCOL_VERSION,
        network: NetworkId([9; 32]),
        client: key(CLIENT).public(),
        nonce: 5,
        issued_at: Timestamp(NOW.0 - 10),
        expires_at: Timestamp(NOW.0 + 60_000),
        model: ModelId([3; 32]),
        prompt_tokens: 40,
        output_tokens: 100,
        price_max: PricePerHour(2_000_000),
        total_max: Credits(1_000_000),
        ttft: Some(LatencyLimit { limit: Millis(2_000), kind: LimitKind::Hard }),
        total_time: Some(LatencyLimit { limit: Millis(1_000), kind: LimitKind::Soft { per_ms: Credits(2) } }),
        regions: vec!["eu-de".into(), "eu-fi".into()],
        jurisdictions: vec![],
        calibrated_by: vec![],
        stake_min: Credits::ZERO,
        verification: Verification::Receipt,
        tier: Tier::OnDemand,
        data: DataClass::Any,
        tag: Some([6; 32]),
    }
}

/// Terms between the sample client and the sample provider, chunks of 4 tokens.
pub(crate) fn terms() -> Terms {
    Terms {
        network: NetworkId([9; 32]),
        client: key(CLIENT).public(),
        provider: key(PROVIDER).public(),
        order: OrderId([4; 32]),
        advert: AdvertId([5; 32]),
        model: ModelId([3; 32]),
        work: WORK,
        rates: RATES,
        numerics: NUMERICS,
        price: PricePerHour(3_600_000_000),
        tier: Tier::OnDemand,
        notice: Millis(0),
        chunk_tokens: 4,
        use_until: Timestamp(NOW.0 + 3_600_000),
        collect_until: Timestamp(NOW.0 + 7_200_000),
        nonce: 11,
    }
}

/// Voucher 0 of the first lane.
pub(crate) fn voucher() -> Voucher {
    Voucher {
        session: terms().id(),
        client: key(CLIENT).public(),
        lane: 0,
        sequence: 0,
        amount: Credits(123_456),
        receipts: 0,
        receipts_root: [8; 32],
    }
}

/// A receipt with every field set.
pub(crate) fn receipt() -> Receipt {
    Receipt {
        numerics: [1; 32],
        session: terms().id(),
        provider: key(PROVIDER).public(),
        lane: 0,
        index: 3,
        model: ModelId([3; 32]),
        request: RequestDigest([10; 32]),
        output: OutputDigest([11; 32]),
        scores: ScoreDigest([12; 32]),
        prompt_tokens: 5,
        output_tokens: 10,
        prepaid: 4,
        prefill_work: Work(100),
        decode_work: Work(200),
        reference: GpuNs(300),
        measured: GpuNs(310),
        measured_by: ClockSource::HostClock,
        started_at: NOW,
        ended_at: Timestamp(NOW.0 + 5),
        device: DeviceClass::Cpu,
        cause: Cause::Delivered,
        previous: ReceiptId([13; 32]),
    }
}

/// A request of five tokens for ten; token 0 stops it.
pub(crate) fn request() -> Request {
    Request {
        session: terms().id(),
        lane: 0,
        index: 0,
        prompt: vec![1, 2, 3, 4, 5],
        written: Vec::new(),
        prepaid: 0,
        sampling: Sampling::GREEDY,
        max_tokens: 10,
        stop: vec![0],
        stop_texts: Vec::new(),
        logprobs: 0,
        salt: [14; 32],
    }
}

/// A tokenizer whose tokens are these texts, as they stand.
pub(crate) fn tokenizer_of(texts: &[&str]) -> TokenizerAsset {
    TokenizerAsset {
        family: TokenizerFamily::SentencePiece,
        pre: String::new(),
        tokens: texts.iter().map(|text| (*text).to_owned()).collect(),
        kinds: vec![TokenKind::Normal; texts.len()],
        score_bits: Vec::new(),
        merges: Vec::new(),
        bos: None,
        eos: None,
        eot: None,
        unknown: None,
        add_bos: false,
        add_eos: false,
        add_space_prefix: false,
    }
}
