//! Hard masks: what makes an offer unfit for an order, whatever it costs.
//!
//! They are tried in the order of [`Reason`]'s variants and the first that fails is the one that is told, so everybody
//! names the same reason. An attribute that an advert does not state matches no order that asks for it.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::{
    advert::{Advert, ModelOffer},
    data_class::DataClass,
    estimate::{self, Measured, Reach, Times},
    order::{LatencyLimit, LimitKind, Order},
    tier::Tier,
};
use crate::{
    signed::PublicKey,
    units::{Credits, Millis, PricePerHour, Timestamp},
};

/// Which mask failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// The order itself is over.
    OrderExpired,
    /// Order and advert are for different networks.
    WrongNetwork,
    /// The provider is the client.
    OwnOffer,
    /// It is a quote to another client.
    QuotedToAnother,
    /// The advert is over.
    Expired,
    /// The order's data may not leave the client's own machines, and this is none of them.
    NotOwn,
    /// The provider computes with another version of the arithmetic.
    NumericsVersion,
    /// The provider does not serve the model.
    ModelNotServed,
    /// Prompt and output together do not fit.
    ContextTooShort,
    /// Not in a region that the order allows, or in none that it states.
    RegionNotAllowed,
    /// Not in a jurisdiction that the order allows, or in none that it states.
    JurisdictionNotAllowed,
    /// Calibrated by nobody whom the order trusts.
    NotCalibrated,
    /// Less is at stake for the device than the order wants, or it is not known how much.
    StakeTooLow,
    /// The provider does not serve in the order's tier.
    TierNotOffered,
    /// No job of the order's tier would get a slot.
    NoFreeSlot,
    /// The ask is over the order's price.
    PriceOverLimit,
    /// Reference time or cost of the job is beyond 64 bits.
    AmountOverflow,
    /// The longest job costs more than the order allows.
    TotalOverLimit,
    /// The provider did not answer a ping just now, or was not even asked, as too many like it do not.
    NotReached,
    /// Its round trip is shorter than light needs: it is not where it says.
    FasterThanLight,
    /// The order limits a time, and the provider was not measured.
    LatencyUnknown,
    /// The first token is expected too late.
    TtftOverLimit,
    /// The last token is expected too late.
    TotalTimeOverLimit,
    /// Cost and penalties together are beyond 64 bits.
    ScoreOverflow,
}

impl Reason {
    /// All of them, in the order in which they are tried.
    pub const ALL: [Self; 24] = [
        Self::OrderExpired,
        Self::WrongNetwork,
        Self::OwnOffer,
        Self::QuotedToAnother,
        Self::Expired,
        Self::NotOwn,
        Self::NumericsVersion,
        Self::ModelNotServed,
        Self::ContextTooShort,
        Self::RegionNotAllowed,
        Self::JurisdictionNotAllowed,
        Self::NotCalibrated,
        Self::StakeTooLow,
        Self::TierNotOffered,
        Self::NoFreeSlot,
        Self::PriceOverLimit,
        Self::AmountOverflow,
        Self::TotalOverLimit,
        Self::NotReached,
        Self::FasterThanLight,
        Self::LatencyUnknown,
        Self::TtftOverLimit,
        Self::TotalTimeOverLimit,
        Self::ScoreOverflow,
    ];

    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OrderExpired => "order-expired",
            Self::WrongNetwork => "wrong-network",
            Self::OwnOffer => "own-offer",
            Self::QuotedToAnother => "quoted-to-another",
            Self::Expired => "expired",
            Self::NotOwn => "not-own",
            Self::NumericsVersion => "numerics-version",
            Self::ModelNotServed => "model-not-served",
            Self::ContextTooShort => "context-too-short",
            Self::RegionNotAllowed => "region-not-allowed",
            Self::JurisdictionNotAllowed => "jurisdiction-not-allowed",
            Self::NotCalibrated => "not-calibrated",
            Self::StakeTooLow => "stake-too-low",
            Self::TierNotOffered => "tier-not-offered",
            Self::NoFreeSlot => "no-free-slot",
            Self::PriceOverLimit => "price-over-limit",
            Self::AmountOverflow => "amount-overflow",
            Self::TotalOverLimit => "total-over-limit",
            Self::NotReached => "not-reached",
            Self::FasterThanLight => "faster-than-light",
            Self::LatencyUnknown => "latency-unknown",
            Self::TtftOverLimit => "ttft-over-limit",
            Self::TotalTimeOverLimit => "total-time-over-limit",
            Self::ScoreOverflow => "score-overflow",
        }
    }
}

/// A mask that failed and the numbers that failed it. Made without allocating; its text is the `detail` of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure<'a> {
    /// [`Reason::OrderExpired`].
    OrderExpired(Millis),
    /// [`Reason::WrongNetwork`].
    WrongNetwork,
    /// [`Reason::OwnOffer`].
    OwnOffer,
    /// [`Reason::QuotedToAnother`]: to whom.
    QuotedToAnother(PublicKey),
    /// [`Reason::Expired`].
    Expired(Millis),
    /// [`Reason::NotOwn`].
    NotOwn,
    /// [`Reason::NumericsVersion`]: theirs, ours.
    NumericsVersion(u16, u16),
    /// [`Reason::ModelNotServed`]: how many models it does serve.
    ModelNotServed(usize),
    /// [`Reason::ContextTooShort`]: its context, what is needed.
    ContextTooShort(u32, u64),
    /// [`Reason::RegionNotAllowed`]: where it is, what is allowed.
    RegionNotAllowed(Option<&'a str>, &'a [String]),
    /// [`Reason::JurisdictionNotAllowed`]: where it is, what is allowed.
    JurisdictionNotAllowed(Option<&'a str>, &'a [String]),
    /// [`Reason::NotCalibrated`]: by whom it is calibrated, how many challengers are trusted.
    NotCalibrated(Option<PublicKey>, usize),
    /// [`Reason::StakeTooLow`]: what is at stake if that is known, what is wanted.
    StakeTooLow(Option<Credits>, Credits),
    /// [`Reason::TierNotOffered`]: the order's tier, and what the provider asks on demand.
    TierNotOffered(Tier, PricePerHour),
    /// [`Reason::NoFreeSlot`]: how many jobs wait.
    NoFreeSlot(u16),
    /// [`Reason::PriceOverLimit`]: the ask, the limit.
    PriceOverLimit(PricePerHour, PricePerHour),
    /// [`Reason::AmountOverflow`].
    AmountOverflow,
    /// [`Reason::TotalOverLimit`]: the cost, the limit.
    TotalOverLimit(Credits, Credits),
    /// [`Reason::NotReached`]: whether it was asked.
    NotReached(bool),
    /// [`Reason::FasterThanLight`]: its round trip and the least that can be, in microseconds.
    FasterThanLight(u64, u64),
    /// [`Reason::LatencyUnknown`].
    LatencyUnknown,
    /// [`Reason::TtftOverLimit`].
    TtftOverLimit(TooLate),
    /// [`Reason::TotalTimeOverLimit`].
    TotalTimeOverLimit(TooLate),
    /// [`Reason::ScoreOverflow`]: the cost.
    ScoreOverflow(Credits),
}

/// A hard limit that would be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLate {
    /// Expected milliseconds, at the 95th percentile.
    pub expected_ms: u64,
    /// The limit.
    pub limit: Millis,
    /// How many of the expected milliseconds are the wait for jobs that were there before.
    pub queue_ms: u64,
}

impl fmt::Display for TooLate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expected_ms, limit, queue_ms } = self;
        write!(f, "after {expected_ms} ms, limit {}", limit.0)?;
        match queue_ms {
            0 => Ok(()),
            queue => {
                write!(f, ": {} ms late, its queue takes {queue} ms", expected_ms.saturating_sub(limit.0))
            }
        }
    }
}

impl Failure<'_> {
    /// Which mask.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::OrderExpired(..) => Reason::OrderExpired,
            Self::WrongNetwork => Reason::WrongNetwork,
            Self::OwnOffer => Reason::OwnOffer,
            Self::QuotedToAnother(..) => Reason::QuotedToAnother,
            Self::Expired(..) => Reason::Expired,
            Self::NotOwn => Reason::NotOwn,
            Self::NumericsVersion(..) => Reason::NumericsVersion,
            Self::ModelNotServed(..) => Reason::ModelNotServed,
            Self::ContextTooShort(..) => Reason::ContextTooShort,
            Self::RegionNotAllowed(..) => Reason::RegionNotAllowed,
            Self::JurisdictionNotAllowed(..) => Reason::JurisdictionNotAllowed,
            Self::NotCalibrated(..) => Reason::NotCalibrated,
            Self::StakeTooLow(..) => Reason::StakeTooLow,
            Self::TierNotOffered(..) => Reason::TierNotOffered,
            Self::NoFreeSlot(..) => Reason::NoFreeSlot,
            Self::PriceOverLimit(..) => Reason::PriceOverLimit,
            Self::AmountOverflow => Reason::AmountOverflow,
            Self::TotalOverLimit(..) => Reason::TotalOverLimit,
            Self::NotReached(..) => Reason::NotReached,
            Self::FasterThanLight(..) => Reason::FasterThanLight,
            Self::LatencyUnknown => Reason::LatencyUnknown,
            Self::TtftOverLimit(..) => Reason::TtftOverLimit,
            Self::TotalTimeOverLimit(..) => Reason::TotalTimeOverLimit,
            Self::ScoreOverflow(..) => Reason::ScoreOverflow,
        }
    }
}

impl fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OrderExpired(ago) => write!(f, "the order expired {} ms ago", ago.0),
            Self::WrongNetwork => f.write_str("order and advert are for different networks"),
            Self::OwnOffer => f.write_str("the provider is the client itself"),
            Self::QuotedToAnother(client) => write!(f, "is a quote to {}", client.short()),
            Self::Expired(ago) => write!(f, "the advert expired {} ms ago", ago.0),
            Self::NotOwn => f.write_str("the data may not leave your own machines, and this is none of them"),
            Self::NumericsVersion(theirs, ours) => {
                write!(f, "computes with numerics v{theirs}, need v{ours}")
            }
            Self::ModelNotServed(served) => write!(f, "serves {served} models, not this one"),
            Self::ContextTooShort(has, needs) => write!(f, "context of {has} tokens, need {needs}"),
            Self::RegionNotAllowed(place, allowed) => write_place(f, "region", *place, allowed),
            Self::JurisdictionNotAllowed(place, allowed) => write_place(f, "jurisdiction", *place, allowed),
            Self::NotCalibrated(None, trusted) => {
                write!(f, "measured itself, {trusted} challengers are trusted")
            }
            Self::NotCalibrated(Some(by), trusted) => {
                write!(f, "calibrated by {}, {trusted} others are trusted", by.short())
            }
            Self::StakeTooLow(Some(stake), least) => write!(f, "{stake} credits at stake, need {least}"),
            Self::StakeTooLow(None, least) => {
                write!(f, "it is not known what is at stake, need {least} credits")
            }
            Self::TierNotOffered(tier, ask) => {
                write!(f, "asks {} credits/GPU-h on demand, nothing for {tier}", Credits(ask.0))
            }
            Self::NoFreeSlot(queued) => write!(f, "no free slot, {queued} jobs wait"),
            Self::PriceOverLimit(ask, limit) => {
                write!(f, "asks {} credits/GPU-h, limit {}", Credits(ask.0), Credits(limit.0))
            }
            Self::AmountOverflow => {
                f.write_str("reference time or cost of the longest job is beyond 64 bits")
            }
            Self::TotalOverLimit(cost, limit) => write!(f, "may cost {cost} credits, limit {limit}"),
            Self::NotReached(true) => f.write_str("did not answer a ping just now"),
            Self::NotReached(false) => {
                f.write_str("was not asked: too many that looked as good did not answer or were worse")
            }
            Self::FasterThanLight(us, least) => {
                write!(f, "round trip of {us} us, from the region that it states light needs {least} us")
            }
            Self::LatencyUnknown => f.write_str("the order limits a time and this provider was not measured"),
            Self::TtftOverLimit(late) => write!(f, "first token {late}"),
            Self::TotalTimeOverLimit(late) => write!(f, "last token {late}"),
            Self::ScoreOverflow(cost) => write!(f, "cost of {cost} credits and penalties are beyond 64 bits"),
        }
    }
}

fn write_place(
    f: &mut fmt::Formatter<'_>,
    kind: &str,
    place: Option<&str>,
    allowed: &[String],
) -> fmt::Result {
    match place {
        Some(place) => write!(f, "{kind} {place:?}, allowed {}", allowed.join(", ")),
        None => write!(f, "states no {kind}, allowed {}", allowed.join(", ")),
    }
}

/// What an offer that passes every mask costs and takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Cost of the longest job.
    pub cost: Credits,
    /// Expected times; `None` if the provider was not measured, which only an order without time limits accepts.
    pub times: Option<Times>,
}

/// Puts an offer through all masks.
///
/// # Errors
/// With the first mask that fails.
pub fn check<'a>(
    order: &'a Order,
    numerics: u16,
    now: Timestamp,
    advert: &'a Advert,
    measured: &Measured,
) -> Result<Fit, Failure<'a>> {
    check_parties(order, now, advert)?;
    check_owner(order, measured.own)?;
    let model = check_model(order, numerics, advert)?;
    check_places(order, advert)?;
    check_calibration(order, advert)?;
    check_stake(order, measured)?;
    let ask = advert.ask_in(order.tier).ok_or(Failure::TierNotOffered(order.tier, advert.ask))?;
    if advert.slots_in(order.tier) == 0 {
        return Err(Failure::NoFreeSlot(advert.queued));
    }
    let cost = check_cost(order, advert, model, ask)?;
    check_reach(measured)?;
    let times = check_times(order, advert, model, measured)?;
    Ok(Fit { cost, times })
}

/// Whether the data of an order may go to the provider of `advert`: the masks that guard it, and nothing else. Whoever
/// sends a prompt asks this again, whatever was matched before.
///
/// # Errors
/// With the first mask that fails.
pub fn check_data<'a>(order: &'a Order, advert: &'a Advert, own: bool) -> Result<(), Failure<'a>> {
    check_owner(order, own)?;
    check_places(order, advert)
}

fn check_owner(order: &Order, own: bool) -> Result<(), Failure<'static>> {
    match order.data == DataClass::LocalOnly && !own {
        true => Err(Failure::NotOwn),
        false => Ok(()),
    }
}

fn check_parties(order: &Order, now: Timestamp, advert: &Advert) -> Result<(), Failure<'static>> {
    if now >= order.expires_at {
        return Err(Failure::OrderExpired(now.since(order.expires_at)));
    }
    if order.network != advert.network {
        return Err(Failure::WrongNetwork);
    }
    if order.client == advert.provider {
        return Err(Failure::OwnOffer);
    }
    if let Some(quote) = advert.quote.filter(|quote| quote.client != order.client) {
        return Err(Failure::QuotedToAnother(quote.client));
    }
    if !advert.is_live(now) {
        return Err(Failure::Expired(now.since(advert.expires_at)));
    }
    Ok(())
}

fn check_model<'a>(
    order: &Order,
    numerics: u16,
    advert: &'a Advert,
) -> Result<&'a ModelOffer, Failure<'static>> {
    if advert.device.numerics != numerics {
        return Err(Failure::NumericsVersion(advert.device.numerics, numerics));
    }
    let model = advert.offer_of(&order.model).ok_or(Failure::ModelNotServed(advert.models.len()))?;
    let needed = u64::from(order.prompt_tokens) + u64::from(order.output_tokens);
    if u64::from(model.context) < needed {
        return Err(Failure::ContextTooShort(model.context, needed));
    }
    Ok(model)
}

fn check_places<'a>(order: &'a Order, advert: &'a Advert) -> Result<(), Failure<'a>> {
    let (region, jurisdiction) = (advert.region.as_deref(), advert.jurisdiction.as_deref());
    if !allows(&order.regions, region) {
        return Err(Failure::RegionNotAllowed(region, &order.regions));
    }
    if !allows(&order.jurisdictions, jurisdiction) {
        return Err(Failure::JurisdictionNotAllowed(jurisdiction, &order.jurisdictions));
    }
    Ok(())
}

/// That the calibration speaks for the device was checked before the advert was remembered.
fn check_calibration(order: &Order, advert: &Advert) -> Result<(), Failure<'static>> {
    let by = advert.device.calibration().map(|calibration| calibration.challenge.challenger);
    match order.calibrated_by.is_empty() || by.is_some_and(|by| order.calibrated_by.contains(&by)) {
        true => Ok(()),
        false => Err(Failure::NotCalibrated(by, order.calibrated_by.len())),
    }
}

/// What is unknown is no stake.
fn check_stake(order: &Order, measured: &Measured) -> Result<(), Failure<'static>> {
    match measured.stake.unwrap_or(Credits::ZERO) >= order.stake_min {
        true => Ok(()),
        false => Err(Failure::StakeTooLow(measured.stake, order.stake_min)),
    }
}

fn allows(allowed: &[String], place: Option<&str>) -> bool {
    allowed.is_empty() || place.is_some_and(|place| allowed.iter().any(|one| one == place))
}

fn check_cost(
    order: &Order,
    advert: &Advert,
    model: &ModelOffer,
    ask: PricePerHour,
) -> Result<Credits, Failure<'static>> {
    if ask > order.price_max {
        return Err(Failure::PriceOverLimit(ask, order.price_max));
    }
    let cost = estimate::cost(order, advert, model, ask).ok_or(Failure::AmountOverflow)?;
    if cost > order.total_max {
        return Err(Failure::TotalOverLimit(cost, order.total_max));
    }
    Ok(cost)
}

fn check_reach(measured: &Measured) -> Result<(), Failure<'static>> {
    match measured.reach {
        Reach::Silent => return Err(Failure::NotReached(true)),
        Reach::GivenUp => return Err(Failure::NotReached(false)),
        Reach::NotAsked | Reach::Answered => {}
    }
    match measured.latency {
        Some(latency) if latency.ewma_us < measured.light_us => {
            Err(Failure::FasterThanLight(latency.ewma_us, measured.light_us))
        }
        _ => Ok(()),
    }
}

fn check_times(
    order: &Order,
    advert: &Advert,
    model: &ModelOffer,
    measured: &Measured,
) -> Result<Option<Times>, Failure<'static>> {
    if measured.latency.is_none() {
        let limited = order.ttft.is_some() || order.total_time.is_some();
        return if limited { Err(Failure::LatencyUnknown) } else { Ok(None) };
    }
    let times = estimate::times(order, advert, model, measured).ok_or(Failure::AmountOverflow)?;
    if let Some(late) = broken(order.ttft, times.ttft_p95_ms, times.queue_ms) {
        return Err(Failure::TtftOverLimit(late));
    }
    if let Some(late) = broken(order.total_time, times.total_p95_ms, times.queue_ms) {
        return Err(Failure::TotalTimeOverLimit(late));
    }
    Ok(Some(times))
}

fn broken(limit: Option<LatencyLimit>, expected_ms: u64, queue_ms: u64) -> Option<TooLate> {
    let LatencyLimit { limit, .. } = limit.filter(|limit| limit.kind == LimitKind::Hard)?;
    (expected_ms > limit.0).then_some(TooLate { expected_ms, limit, queue_ms })
}
