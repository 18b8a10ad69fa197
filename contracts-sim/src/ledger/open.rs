//! Opening a session: the ledger checks the order again, against the advert and the terms, before it holds a credit.

use gridhour_protocol::{
    calibration::receipt::DeviceName,
    id::{NetworkId, SessionId},
    limits::{CLOCK_SKEW_MS_MAX, SESSION_MS_MAX},
    market::{advert::Advert, order::Order, tier::Tier},
    session::terms::Terms,
    signed::{PublicKey, Signed},
    units::{Credits, Millis, Timestamp},
};

use crate::{
    ledger::{
        Effects, Env, Write,
        admit::ensure,
        draw::payer,
        entry::{Book, Event, Posting},
        reject::Reject,
    },
    limits::ORDER_SESSIONS_MAX,
    state::{Draw, OrderBudget, Session, changes::Overlay},
    tx::{Open, Tx},
};

/// Holds the client's credits for a session.
pub(crate) fn open(overlay: &Overlay<'_>, env: &Env, tx: &Tx, open: &Open) -> Result<Effects, Reject> {
    check_unreserved(open)?;
    check_sides(open)?;
    opened(overlay, env, tx, open, None)
}

/// An order for what is reserved opens nothing but what its reservation pays for.
pub(crate) fn check_unreserved(open: &Open) -> Result<(), Reject> {
    ensure(open.order.body.tier != Tier::Reserved, Reject::NotAsReserved)
}

/// What can be said before anything else is looked at.
pub(crate) fn check_sides(open: &Open) -> Result<(), Reject> {
    ensure(open.hold != Credits::ZERO, Reject::ZeroAmount)?;
    ensure(open.order.body.client != open.advert.body.provider, Reject::SameAccount)
}

/// The session, and the hold: the client's credits, or what is drawn from a budget or a slot. The caller has checked the
/// sides, and takes a draw from where it comes from.
pub(crate) fn opened(
    overlay: &Overlay<'_>,
    env: &Env,
    tx: &Tx,
    open: &Open,
    draw: Option<Draw>,
) -> Result<Effects, Reject> {
    let genesis = overlay.base().genesis();
    let Open { order: Signed { body: order, .. }, advert: Signed { body: advert, .. }, terms, hold } = open;
    check_parties(open, &tx.sender, overlay.base().network())?;
    check_live(order, advert, env.time)?;
    check_goods(order, advert, terms)?;
    check_price(order, advert, terms)?;
    check_places(order, advert)?;
    check_windows(terms, env.time, genesis.grace_min)?;

    let session = terms.id();
    let budget = reserve(overlay, open, session)?;
    let fresh = fresh(terms, *hold, draw);
    Ok(Effects {
        postings: vec![Posting { debit: payer(&fresh), credit: Book::Hold(session), amount: *hold }],
        writes: vec![Write::Session(session, Some(fresh)), Write::Order(terms.order, budget)],
        ..Effects::of(Event::Opened { session, order: terms.order, advert: terms.advert })
    })
}

fn fresh(terms: &Terms, hold: Credits, draw: Option<Draw>) -> Session {
    Session {
        terms: terms.clone(),
        held: hold,
        collected: Credits::ZERO,
        collect_until: terms.collect_until,
        closing: false,
        lanes: Vec::new(),
        draw,
    }
}

fn check_parties(open: &Open, sender: &PublicKey, network: NetworkId) -> Result<(), Reject> {
    let Open { order, advert, terms, .. } = open;
    ensure(order.body.client == *sender, Reject::NotTheClient)?;
    let networks = [order.body.network, advert.body.network, terms.network];
    ensure(networks == [network; 3], Reject::TermsNetwork)?;
    let named = terms.client == order.body.client && terms.order == order.id();
    let under_order = named && terms.tier == order.body.tier;
    ensure(under_order, Reject::TermsOrder)?;
    let from_advert = terms.provider == advert.body.provider && terms.advert == advert.id();
    ensure(from_advert && advert.body.is_for(sender), Reject::TermsAdvert)?;
    ensure(is_calibrated(&order.body, &advert.body), Reject::NotCalibrated)
}

/// Whether somebody whom the order trusts calibrated the provider, if the order insists on it.
fn is_calibrated(order: &Order, advert: &Advert) -> bool {
    let by = advert.device.calibration().map(|calibration| calibration.challenge.challenger);
    let trusted = by.is_some_and(|by| order.calibrated_by.contains(&by));
    order.calibrated_by.is_empty() || (trusted && advert.check_calibration().is_ok())
}

fn check_live(order: &Order, advert: &Advert, now: Timestamp) -> Result<(), Reject> {
    ensure(is_past(order.issued_at, now) && now < order.expires_at, Reject::OrderNotLive)?;
    ensure(is_live(advert, now), Reject::AdvertNotLive)
}

/// Whether an advert is neither expired nor from the future.
pub(crate) fn is_live(advert: &Advert, now: Timestamp) -> bool {
    is_past(advert.issued_at, now) && advert.is_live(now)
}

fn is_past(issued: Timestamp, now: Timestamp) -> bool {
    now.after(Millis(CLOCK_SKEW_MS_MAX)).is_none_or(|soon| issued <= soon)
}

fn check_goods(order: &Order, advert: &Advert, terms: &Terms) -> Result<(), Reject> {
    let offer = advert.offer_of(&terms.model).filter(|_| terms.model == order.model);
    let offer = offer.ok_or(Reject::ModelMismatch)?;
    ensure(terms.work == offer.work, Reject::WorkMismatch)?;
    ensure(terms.rates == advert.device.rates, Reject::RatesMismatch)?;
    ensure(terms.numerics == advert.device.numerics, Reject::NumericsMismatch)
}

fn check_price(order: &Order, advert: &Advert, terms: &Terms) -> Result<(), Reject> {
    let offered = (advert.ask_in(order.tier), advert.notice_in(order.tier));
    ensure((Some(terms.price), terms.notice) == offered, Reject::PriceNotAsk)?;
    ensure(terms.price <= order.price_max, Reject::PriceOverLimit)
}

/// An attribute that is absent matches no order that asks for one.
fn check_places(order: &Order, advert: &Advert) -> Result<(), Reject> {
    let allows = |allowed: &[String], place: &Option<String>| {
        allowed.is_empty() || place.as_ref().is_some_and(|place| allowed.contains(place))
    };
    ensure(allows(&order.regions, &advert.region), Reject::RegionNotAllowed)?;
    ensure(allows(&order.jurisdictions, &advert.jurisdiction), Reject::JurisdictionNotAllowed)
}

fn check_windows(terms: &Terms, now: Timestamp, grace_min: Millis) -> Result<(), Reject> {
    let use_left = terms.use_until.since(now);
    ensure((1..=SESSION_MS_MAX).contains(&use_left.0), Reject::UseWindow)?;
    ensure(terms.collect_until.since(terms.use_until) >= grace_min, Reject::CollectWindow)
}

/// The order's use with this session in it: its sessions together never exceed its limit, and none opens twice.
fn reserve(overlay: &Overlay<'_>, open: &Open, session: SessionId) -> Result<OrderBudget, Reject> {
    let known = overlay.order(&open.terms.order);
    let mut budget = known.cloned().unwrap_or_else(|| unused(&open.order.body));
    ensure(!budget.sessions.contains(&session), Reject::SessionExists)?;
    ensure(budget.sessions.len() < ORDER_SESSIONS_MAX, Reject::OrderSessionsFull)?;
    ensure(is_staked(overlay, open), Reject::StakeTooLow)?;
    budget.held = budget.held.checked_add(open.hold).ok_or(Reject::OverOrder)?;
    budget.open += 1;
    budget.sessions.push(session);
    ensure(budget.is_within(), Reject::OverOrder)?;
    Ok(budget)
}

/// Whether as much is bonded for the advert's device as the order wants, for longer than the session is used. What is
/// unbonded after that still answers for the session ([`crate::limits::UNBOND_DELAY`]); what is on its way back already
/// may not, and does not count.
fn is_staked(overlay: &Overlay<'_>, open: &Open) -> bool {
    let (least, advert) = (open.order.body.stake_min, &open.advert.body);
    if least == Credits::ZERO {
        return true;
    }
    let device = DeviceName::of(&advert.device).id_of(&advert.provider);
    let stake = overlay.stake(&device);
    stake.is_some_and(|stake| stake.bonded >= least && stake.until >= open.terms.use_until)
}

fn unused(order: &Order) -> OrderBudget {
    OrderBudget {
        client: order.client,
        model: order.model,
        price_max: order.price_max,
        total_max: order.total_max,
        expires_at: order.expires_at,
        held: Credits::ZERO,
        spent: Credits::ZERO,
        open: 0,
        sessions: Vec::new(),
    }
}
