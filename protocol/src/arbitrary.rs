//! Strategies for every wire type: test data for this crate and, behind the feature `arbitrary`, for others.
//!
//! Values are within the bounds of their types, signed by keys of known seeds, and otherwise anything.

use proptest::{collection::vec, option, prelude::*};

use crate::{
    calibration::{
        job::Challenge,
        message::{
            Ask, ChallengerMessage, ProviderMessage as CalibrationAnswer, RefusalCode as CalibrationRefusal,
        },
        receipt::{Calibration, DeviceName},
        shape::{MEMORY_MAX, MEMORY_MIN, OUTPUT_TOKENS as STANDARD_OUTPUT_TOKENS},
    },
    id::{
        AdvertId, DeviceId, ModelId, NetworkId, OrderId, OutputDigest, PostingId, ReceiptId, RequestDigest,
        ScoreDigest, SessionId,
    },
    job::{
        logprobs::{Alternative, Logprobs},
        message::{Chunk, ClientMessage, Open, ProviderMessage, RefusalCode},
        request::Request,
        sampling::{FACTOR_Q16_MAX, FACTOR_Q16_MIN, ONE_Q16, PENALTY_Q16_MAX, Sampling},
    },
    limits::{
        ADVERT_TTL_MS_MAX, ANSWER_MS_MIN, CHUNK_TOKENS_MAX, GRACE_MS_MAX, GRACE_MS_MIN, LANES_MAX,
        LOGPROBS_MAX, ORDER_TTL_MS_MAX, OUTPUT_TOKENS_MAX, POSTING_TTL_MS_MAX, PRICE_MAX, PROMPT_TOKENS_MAX,
        PROTOCOL_VERSION, QUOTE_TTL_MS_MAX, REDUNDANT_MAX, RUNG_MAX, RUNGS_MAX, SLOT_MS_MAX, SLOT_MS_MIN,
        SLOTS_MAX, SPOT_NOTICE_MS_MAX, SPOT_NOTICE_MS_MIN, STOP_TEXTS_MAX, WORK_RATE_MAX,
    },
    market::{
        advert::{Advert, Device, DeviceClass, ModelOffer, RateSource},
        coordinate::{ADJUSTMENT_US_MAX, Coordinate, DIMENSIONS, ERROR_PPM_MAX, FAR_US_MAX, HEIGHT_US_MIN},
        data_class::DataClass,
        history::{Ended, ProviderHistory, Run},
        order::{LatencyLimit, LimitKind, Order, Verification},
        posting::Posting,
        quote::Quote,
        reservation::{ReservationOffer, ReservationWish, WHOLE},
        tier::{Spot, Tier},
    },
    merkle::{Frontier, leaf_hash},
    receipt::{Cause, ClockSource, Receipt},
    session::{lane::LaneLedger, terms::Terms, voucher::Voucher},
    signed::{PublicKey, SecretKey, Signable, Signed},
    units::{Credits, GpuNs, Millis, PricePerHour, Timestamp, Work, WorkRate},
    work::{Rates, WORK_PER_TOKEN_MAX, WorkModel},
};

/// The key with a seed of this byte.
#[must_use]
pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

/// Any key of 256.
pub fn keys() -> impl Strategy<Value = SecretKey> {
    any::<u8>().prop_map(key)
}

/// What `bodies` yields, signed by the key that each names.
pub fn signed<T: Signable + std::fmt::Debug>(
    bodies: impl Fn(PublicKey) -> BoxedStrategy<T>,
) -> impl Strategy<Value = Signed<T>> {
    let bodies = std::rc::Rc::new(bodies);
    keys().prop_flat_map(move |key| bodies(key.public()).prop_map(move |body| key.sign(body)))
}

fn bytes32() -> impl Strategy<Value = [u8; 32]> {
    any::<[u8; 32]>()
}

fn public_keys() -> impl Strategy<Value = PublicKey> {
    keys().prop_map(|key| key.public())
}

fn prices() -> impl Strategy<Value = PricePerHour> {
    prop_oneof![0..=PRICE_MAX, 0..10_000_000u64].prop_map(PricePerHour)
}

/// Both rates of a device.
pub fn rates() -> impl Strategy<Value = Rates> {
    let rate = || prop_oneof![1..=WORK_RATE_MAX, 1_000_000_000..100_000_000_000u64].prop_map(WorkRate);
    (rate(), rate()).prop_map(|(prefill, decode)| Rates { prefill, decode })
}

/// A model's work formula.
pub fn work_models() -> impl Strategy<Value = WorkModel> {
    let work = || prop_oneof![0..=WORK_PER_TOKEN_MAX, 0..1_000_000_000u64];
    (work(), work(), work()).prop_map(|(layers, head, attention)| WorkModel { layers, head, attention })
}

fn places() -> impl Strategy<Value = String> {
    prop_oneof![Just("eu-de".to_owned()), Just("eu-fi".to_owned()), "[a-z]{2}-[a-z0-9]{2,13}"]
}

fn device_names() -> impl Strategy<Value = DeviceName> {
    let class = prop_oneof![Just(DeviceClass::Cpu), Just(DeviceClass::Gpu)];
    let named = |(class, name, backend)| DeviceName { class, name, backend };
    (class, ".{0,16}", "[a-z0-9/]{0,64}").prop_map(named)
}

/// A challenge by `challenger`.
fn challenges(challenger: PublicKey) -> impl Strategy<Value = Challenge> {
    (bytes32(), bytes32(), public_keys(), MEMORY_MIN..=MEMORY_MAX, bytes32()).prop_map(
        move |(numerics, network, provider, memory_bytes, seed)| Challenge {
            numerics,
            network: NetworkId(network),
            challenger,
            provider,
            memory_bytes,
            seed,
        },
    )
}

/// A calibration by `challenger`.
pub fn calibrations(challenger: PublicKey) -> BoxedStrategy<Calibration> {
    let nonces = (bytes32(), bytes32(), bytes32(), bytes32());
    let times = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    (challenges(challenger), device_names(), nonces, times)
        .prop_map(|(challenge, device, (prompt_nonce, output_nonce, output, scores), times)| Calibration {
            challenge,
            device,
            prompt_nonce,
            output_nonce,
            output: OutputDigest(output),
            scores: ScoreDigest(scores),
            prefill_ns: times.0,
            decode_ns: times.1,
            started_at: Timestamp(times.2),
            ended_at: Timestamp(times.3),
        })
        .boxed()
}

/// What a challenger says.
pub fn challenger_messages() -> impl Strategy<Value = ChallengerMessage> {
    let ask = (bytes32(), any::<u64>(), bytes32());
    prop_oneof![
        ask.prop_map(|(numerics, memory_bytes, seed)| ChallengerMessage::Ask(Ask {
            numerics,
            memory_bytes,
            seed
        })),
        bytes32().prop_map(|nonce| ChallengerMessage::Prompt { nonce }),
        bytes32().prop_map(|nonce| ChallengerMessage::Continue { nonce }),
        signed(calibrations).prop_map(|receipt| ChallengerMessage::Receipt(Box::new(receipt))),
    ]
}

/// What a provider that is calibrated says.
pub fn calibration_answers() -> impl Strategy<Value = CalibrationAnswer> {
    let tokens = vec(any::<u32>(), 0..STANDARD_OUTPUT_TOKENS as usize);
    prop_oneof![
        ".{0,60}".prop_map(|detail| CalibrationAnswer::Refused { code: CalibrationRefusal::TooSoon, detail }),
        Just(CalibrationAnswer::Preparing),
        Just(CalibrationAnswer::Ready),
        any::<u32>().prop_map(|token| CalibrationAnswer::First { token }),
        (tokens, bytes32())
            .prop_map(|(tokens, scores)| CalibrationAnswer::Rest { tokens, scores: ScoreDigest(scores) }),
    ]
}

fn rate_sources() -> impl Strategy<Value = RateSource> {
    prop_oneof![
        Just(RateSource::SelfMeasured),
        signed(calibrations).prop_map(|receipt| RateSource::Calibrated(Box::new(receipt))),
    ]
}

fn devices() -> impl Strategy<Value = Device> {
    (device_names(), any::<u64>(), any::<u16>(), any::<u16>(), rates(), rate_sources()).prop_map(
        |(DeviceName { class, name, backend }, memory_bytes, threads, numerics, rates, rate_source)| Device {
            class,
            name,
            backend,
            memory_bytes,
            threads,
            numerics,
            rates,
            rate_source,
        },
    )
}

fn model_offers() -> impl Strategy<Value = ModelOffer> {
    (bytes32(), work_models(), any::<u32>()).prop_map(|(id, work, context)| ModelOffer {
        model: ModelId(id),
        work,
        context,
    })
}

/// A coordinate.
pub fn coordinates() -> impl Strategy<Value = Coordinate> {
    let (far, adjustment) = (FAR_US_MAX as i32, ADJUSTMENT_US_MAX as i32);
    let position = prop::array::uniform::<_, DIMENSIONS>(-far..=far);
    (position, HEIGHT_US_MIN..=FAR_US_MAX, -adjustment..=adjustment, 0..=ERROR_PPM_MAX).prop_map(
        |(position_us, height_us, adjustment_us, error_ppm)| Coordinate {
            position_us,
            height_us,
            adjustment_us,
            error_ppm,
        },
    )
}

/// An advert of `provider`.
pub fn adverts(provider: PublicKey) -> BoxedStrategy<Advert> {
    let times = (0..1u64 << 50, 1..=ADVERT_TTL_MS_MAX);
    let what = (devices(), vec(model_offers(), 0..4), prices());
    let load = (any::<u16>(), any::<u16>(), option::of((any::<u64>(), notices(), any::<u16>())));
    let addresses = vec("[a-z0-9/.]{0,40}", 0..4);
    let where_ = (addresses, option::of(places()), option::of(places()), option::of(coordinates()));
    (bytes32(), any::<u64>(), times, what, load, where_)
        .prop_map(move |(network, sequence, (at, life), (device, models, ask), load, places)| Advert {
            version: PROTOCOL_VERSION,
            network: NetworkId(network),
            provider,
            addresses: places.0,
            sequence,
            issued_at: Timestamp(at),
            expires_at: Timestamp(at + life),
            device,
            models,
            ask,
            spot: load.2.map(|(ask_in, notice, held)| Spot {
                ask: PricePerHour(ask_in.checked_rem(ask.0.saturating_add(1)).unwrap_or(0)),
                notice,
                held,
            }),
            slots_free: load.0,
            queued: load.1,
            region: places.1,
            jurisdiction: places.2,
            coordinate: places.3,
            quote: None,
        })
        .boxed()
}

/// A quote of `provider`.
pub fn quotes(provider: PublicKey) -> BoxedStrategy<Advert> {
    (adverts(provider), public_keys(), bytes32(), 1..=QUOTE_TTL_MS_MAX)
        .prop_map(|(advert, client, posting, life)| Advert {
            expires_at: Timestamp(advert.issued_at.0 + life),
            quote: Some(Quote { client, posting: PostingId(posting) }),
            ..advert
        })
        .boxed()
}

/// What a buyer learned of a provider, by recording it.
pub fn histories() -> impl Strategy<Value = ProviderHistory> {
    let run = (any::<u64>(), any::<u64>(), 1..300u32);
    let job = (0..3u8, 1..=PROMPT_TOKENS_MAX as u32, 0..1u64 << 50, option::of(run));
    (public_keys(), vec(job, 0..40)).prop_map(|(provider, jobs)| {
        let mut history = ProviderHistory::new(provider);
        for (model, prompt, at, run) in jobs {
            let at = Timestamp(at);
            let ended = run.map_or(Ended::Failed(at), |(first, total, tokens)| {
                Ended::Served(Run::new(at, first, total, tokens))
            });
            history.record(ModelId([model; 32]), prompt, ended);
        }
        history
    })
}

/// A limit on a time.
pub fn latency_limits() -> impl Strategy<Value = LatencyLimit> {
    let kind = prop_oneof![
        Just(LimitKind::Hard),
        any::<u64>().prop_map(|per_ms| LimitKind::Soft { per_ms: Credits(per_ms) })
    ];
    (any::<u64>(), kind).prop_map(|(limit, kind)| LatencyLimit { limit: Millis(limit), kind })
}

/// Every way to verify.
pub fn verifications() -> BoxedStrategy<Verification> {
    let redundant = (2..=REDUNDANT_MAX).prop_map(|providers| Verification::Redundant { providers });
    prop_oneof![Just(Verification::Receipt), redundant].boxed()
}

/// Every class of data.
pub fn data_classes() -> impl Strategy<Value = DataClass> {
    prop::sample::select(&DataClass::ALL[..])
}

/// Every tier.
pub fn tiers() -> impl Strategy<Value = Tier> {
    prop::sample::select(&Tier::ALL[..])
}

fn notices() -> impl Strategy<Value = Millis> {
    (SPOT_NOTICE_MS_MIN..=SPOT_NOTICE_MS_MAX).prop_map(Millis)
}

/// An order of `client`.
pub fn orders(client: PublicKey) -> BoxedStrategy<Order> {
    let times = (0..1u64 << 50, 1..=ORDER_TTL_MS_MAX);
    let tokens = (1..=PROMPT_TOKENS_MAX as u32, 1..=OUTPUT_TOKENS_MAX as u32);
    let limits = (option::of(latency_limits()), option::of(latency_limits()));
    let money = (prices(), any::<u64>(), any::<u64>());
    // What is resident names a place.
    let named = |(places, data): &((Vec<String>, Vec<String>, _), DataClass)| {
        *data != DataClass::Resident || !(places.0.is_empty() && places.1.is_empty())
    };
    let where_ = (vec(places(), 0..3), vec(places(), 0..3), vec(public_keys(), 0..3));
    let where_ = (where_, data_classes()).prop_filter("it names a place", named);
    let ids = (bytes32(), bytes32(), any::<u64>(), option::of(bytes32()));
    (ids, times, tokens, limits, (money, verifications(), tiers()), where_)
        .prop_map(move |((network, model, nonce, tag), (at, life), tokens, limits, how, (places, data))| {
            Order {
                version: PROTOCOL_VERSION,
                network: NetworkId(network),
                client,
                nonce,
                issued_at: Timestamp(at),
                expires_at: Timestamp(at + life),
                model: ModelId(model),
                prompt_tokens: tokens.0,
                output_tokens: tokens.1,
                price_max: how.0.0,
                total_max: Credits(how.0.1),
                ttft: limits.0,
                total_time: limits.1,
                regions: places.0,
                jurisdictions: places.1,
                calibrated_by: places.2,
                stake_min: Credits(how.0.2),
                verification: how.1,
                tier: how.2,
                data,
                tag,
            }
        })
        .boxed()
}

/// A posting of `client`.
pub fn postings(client: PublicKey) -> BoxedStrategy<Posting> {
    (orders(client), any::<u64>(), 0..1u64 << 50, 1..=POSTING_TTL_MS_MAX)
        .prop_map(|(order, nonce, now, life)| Posting::of(&order, nonce, Timestamp(now), Millis(life)))
        .boxed()
}

/// An offer of `provider`.
pub fn reservation_offers(provider: PublicKey) -> BoxedStrategy<ReservationOffer> {
    let slot_ms = SLOT_MS_MIN..=SLOT_MS_MAX;
    let window = (1u64 << 30..1 << 50, slot_ms, 1..=SLOTS_MAX, any::<u32>(), any::<u64>());
    let who = (public_keys(), bytes32(), bytes32(), bytes32(), any::<u64>());
    // Of half a minute at least, at a price at which that is a micro-credit.
    let money = (rates(), 1_000..=PRICE_MAX, 30_000..=SLOT_MS_MIN, 0..=WHOLE);
    let computed = (work_models(), any::<u16>());
    let ladder = vec(1..=RUNG_MAX, 1..=RUNGS_MAX);
    let answer_ms = ANSWER_MS_MIN..SLOT_MS_MIN;
    (window, who, money, computed, ladder, answer_ms)
        .prop_map(move |(window, who, money, (work, numerics), mut ladder, answer_ms)| {
            let (at, slot, slots, early, notice) = window;
            ladder.sort_unstable();
            ReservationOffer {
                network: NetworkId(who.1),
                provider,
                client: who.0,
                device: DeviceId(who.2),
                model: ModelId(who.3),
                work,
                rates: money.0,
                numerics,
                price: PricePerHour(money.1),
                starts_at: Timestamp(at),
                slot: Millis(slot),
                slots,
                capacity: GpuNs(money.2 * 1_000_000),
                standby: money.3,
                answer_within: Millis(answer_ms),
                notice: Millis(notice),
                ladder,
                accept_until: Timestamp(at.saturating_sub(early.into())),
                nonce: who.4,
            }
        })
        .boxed()
}

/// What a client may wish to have reserved.
pub fn reservation_wishes() -> impl Strategy<Value = ReservationWish> {
    let window = (1u64 << 30..1 << 50, SLOT_MS_MIN..=SLOT_MS_MAX, 1..=SLOTS_MAX);
    (bytes32(), window, 1..=SLOT_MS_MIN).prop_map(|(model, (at, slot, slots), capacity_ms)| ReservationWish {
        model: ModelId(model),
        starts_at: Timestamp(at),
        slot: Millis(slot),
        slots,
        capacity: GpuNs(capacity_ms * 1_000_000),
    })
}

/// Terms between any two keys.
pub fn terms() -> impl Strategy<Value = Terms> {
    let parties = (public_keys(), public_keys());
    let ids = (bytes32(), bytes32(), bytes32(), bytes32());
    let money = (work_models(), rates(), prices());
    let times = (0..1u64 << 50, GRACE_MS_MIN..=GRACE_MS_MAX);
    let tier = tiers().prop_flat_map(|tier| match tier {
        Tier::Spot => (Just(tier), notices().boxed()),
        Tier::OnDemand | Tier::Reserved => (Just(tier), Just(Millis(0)).boxed()),
    });
    let rest = (any::<u16>(), 1..=CHUNK_TOKENS_MAX as u16, any::<u64>(), tier);
    (parties, ids, money, times, rest).prop_map(|(parties, ids, (work, rates, price), times, rest)| Terms {
        network: NetworkId(ids.0),
        client: parties.0,
        provider: parties.1,
        order: OrderId(ids.1),
        advert: AdvertId(ids.2),
        model: ModelId(ids.3),
        work,
        rates,
        numerics: rest.0,
        price,
        tier: rest.3.0,
        notice: rest.3.1,
        chunk_tokens: rest.1,
        use_until: Timestamp(times.0),
        collect_until: Timestamp(times.0 + times.1),
        nonce: rest.2,
    })
}

fn lanes() -> impl Strategy<Value = u16> {
    0..LANES_MAX as u16
}

/// A voucher of `client`.
pub fn vouchers(client: PublicKey) -> BoxedStrategy<Voucher> {
    (bytes32(), lanes(), any::<(u32, u64, u32)>(), bytes32())
        .prop_map(move |(session, lane, (sequence, amount, receipts), receipts_root)| Voucher {
            session: SessionId(session),
            client,
            lane,
            sequence,
            amount: Credits(amount),
            receipts,
            receipts_root,
        })
        .boxed()
}

/// A receipt of `provider`.
pub fn receipts(provider: PublicKey) -> BoxedStrategy<Receipt> {
    let cause = prop_oneof![
        Just(Cause::Delivered),
        Just(Cause::ClientFault),
        Just(Cause::ProviderFault),
        Just(Cause::Network),
        Just(Cause::Reclaimed)
    ];
    let device = prop_oneof![
        Just((DeviceClass::Cpu, ClockSource::HostClock)),
        Just((DeviceClass::Gpu, ClockSource::HostClock)),
        Just((DeviceClass::Gpu, ClockSource::DeviceTimestamps))
    ];
    let hashes = (bytes32(), bytes32(), bytes32(), bytes32(), bytes32(), bytes32(), bytes32());
    let numbers = (any::<[u64; 4]>(), any::<(u32, u32, u32, u32)>(), any::<(u64, u64)>());
    (hashes, numbers, lanes(), cause, device)
        .prop_map(move |(hashes, (work, counts, times), lane, cause, (device, clock))| Receipt {
            numerics: hashes.0,
            session: SessionId(hashes.1),
            provider,
            lane,
            index: counts.0,
            model: ModelId(hashes.2),
            request: RequestDigest(hashes.3),
            output: OutputDigest(hashes.4),
            scores: ScoreDigest(hashes.5),
            prompt_tokens: counts.1,
            output_tokens: counts.2,
            prepaid: counts.3,
            prefill_work: Work(work[0]),
            decode_work: Work(work[1]),
            reference: GpuNs(work[2]),
            measured: GpuNs(work[3]),
            measured_by: clock,
            started_at: Timestamp(times.0),
            ended_at: Timestamp(times.1),
            device,
            cause,
            previous: ReceiptId(hashes.6),
        })
        .boxed()
}

/// Rules of sampling, each of them off in about half of the cases.
pub fn samplings() -> impl Strategy<Value = Sampling> {
    let factor = || prop_oneof![FACTOR_Q16_MIN..=FACTOR_Q16_MAX, 20_000..200_000u32];
    let (temperature, repetition) = (prop_oneof![Just(0), factor()], prop_oneof![Just(ONE_Q16), factor()]);
    let share = |off: u32| prop_oneof![Just(off), 0..=ONE_Q16];
    let penalty = || prop_oneof![Just(0), -PENALTY_Q16_MAX..=PENALTY_Q16_MAX];
    let filters = (prop_oneof![Just(0), 1..50u32, any::<u32>()], share(ONE_Q16), share(0));
    let repeat_last = prop_oneof![0..20u32, any::<u32>()];
    ((temperature, filters), (repetition, repeat_last), (penalty(), penalty()), any::<u64>()).prop_map(
        |((temperature_q16, (top_k, top_p_q16, min_p_q16)), repeat, (frequency_q16, presence_q16), seed)| {
            let (repetition_q16, repeat_last) = repeat;
            Sampling {
                temperature_q16,
                top_k,
                top_p_q16,
                min_p_q16,
                repetition_q16,
                repeat_last,
                frequency_q16,
                presence_q16,
                seed,
            }
        },
    )
}

/// The most that others have written before in a request.
const WRITTEN_MAX: usize = 20;

/// A request.
pub fn requests() -> impl Strategy<Value = Request> {
    let place = (bytes32(), lanes(), any::<u32>());
    let begun = (vec(any::<u32>(), 0..=WRITTEN_MAX), 0..=CHUNK_TOKENS_MAX as u32);
    let most = 1..=(OUTPUT_TOKENS_MAX - WRITTEN_MAX) as u32;
    let tokens = (vec(any::<u32>(), 1..40), begun, most, vec(any::<u32>(), 0..4));
    let asked = (vec(".{1,16}", 0..=STOP_TEXTS_MAX), 0..=LOGPROBS_MAX as u8);
    (place, tokens, samplings(), asked, bytes32()).prop_map(
        |(
            (session, lane, index),
            (prompt, begun, max_tokens, stop),
            sampling,
            (stop_texts, logprobs),
            salt,
        )| {
            Request {
                session: SessionId(session),
                lane,
                index,
                prompt,
                written: begun.0,
                prepaid: begun.1.min(max_tokens),
                sampling,
                max_tokens,
                stop,
                stop_texts,
                logprobs,
                salt,
            }
        },
    )
}

/// Log probabilities of a token.
pub fn logprobs() -> impl Strategy<Value = Logprobs> {
    let one = any::<(u32, i32)>().prop_map(|(token, logprob_q16)| Alternative { token, logprob_q16 });
    (any::<i32>(), vec(one, 0..=LOGPROBS_MAX)).prop_map(|(logprob_q16, top)| Logprobs { logprob_q16, top })
}

/// Some of an output.
pub fn chunks() -> impl Strategy<Value = Chunk> {
    let pairs = vec((any::<u32>(), logprobs()), 1..=CHUNK_TOKENS_MAX);
    (any::<u32>(), pairs, any::<bool>(), bytes32()).prop_map(|(start, pairs, asked, digest)| {
        let (tokens, all): (Vec<u32>, Vec<Logprobs>) = pairs.into_iter().unzip();
        let logprobs = if asked { all } else { Vec::new() };
        Chunk { start, tokens, logprobs, digest: OutputDigest(digest) }
    })
}

/// What a client may say.
pub fn client_messages() -> impl Strategy<Value = ClientMessage> {
    let open = (terms(), requests(), signed(vouchers))
        .prop_map(|(terms, request, voucher)| Box::new(Open { terms, request, voucher }));
    prop_oneof![
        open.prop_map(ClientMessage::Open),
        signed(vouchers).prop_map(ClientMessage::Voucher),
        signed(vouchers).prop_map(ClientMessage::Final),
        Just(ClientMessage::Cancel),
    ]
}

/// What a provider may say.
pub fn provider_messages() -> impl Strategy<Value = ProviderMessage> {
    let code = prop_oneof![Just(RefusalCode::Stopping), Just(RefusalCode::PrepaidTooMuch)];
    prop_oneof![
        any::<u32>().prop_map(|prompt_tokens| ProviderMessage::Accepted { prompt_tokens }),
        (code, "[ -~]{0,256}").prop_map(|(code, detail)| ProviderMessage::Refused { code, detail }),
        chunks().prop_map(ProviderMessage::Chunk),
        notices().prop_map(|within| ProviderMessage::Reclaiming { within }),
        signed(receipts).prop_map(|receipt| ProviderMessage::Done { receipt: Box::new(receipt) }),
        (signed(receipts), "[ -~]{0,256}")
            .prop_map(|(receipt, detail)| ProviderMessage::Fault { receipt: Box::new(receipt), detail }),
    ]
}

/// A lane as it is persisted.
pub fn lane_ledgers() -> impl Strategy<Value = LaneLedger> {
    let papers = (option::of(signed(vouchers)), option::of(signed(receipts)), 0..40u8);
    (bytes32(), lanes(), any::<(u64, u64, bool)>(), papers).prop_map(
        |(session, lane, (reference, committed, unsettled), (newest, pending, count))| {
            let mut receipts = Frontier::new();
            receipts.extend((0..count).map(|i| leaf_hash(&[i; 32])));
            LaneLedger {
                session: SessionId(session),
                lane,
                reference: GpuNs(reference),
                receipts,
                last_receipt: ReceiptId([count; 32]),
                newest,
                committed: Credits(committed),
                unsettled,
                pending,
            }
        },
    )
}
