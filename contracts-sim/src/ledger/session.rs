//! A session after its opening: top-up, collect, close, expire.
//!
//! A hold is a pending transfer with a deadline. Until the deadline the provider posts parts of it with the client's
//! vouchers; closing refunds what is left; after the deadline anyone may have it refunded.

use gridhour_protocol::{
    id::SessionId,
    limits::LANES_MAX,
    session::voucher::Voucher,
    signed::Signed,
    units::{Credits, Timestamp},
};

use crate::{
    ledger::{
        Effects, Env, Write,
        admit::ensure,
        draw::{self, Source},
        entry::{Book, Event, Lane, Posting},
        reject::Reject,
    },
    state::{OrderBudget, Session, changes::Overlay},
    tx::{Release, Tx},
};

/// Adds to the hold, within the order's limit.
pub(crate) fn top_up(
    overlay: &Overlay<'_>,
    env: &Env,
    tx: &Tx,
    id: &SessionId,
    amount: Credits,
) -> Result<Effects, Reject> {
    ensure(amount != Credits::ZERO, Reject::ZeroAmount)?;
    let mut session = find(overlay, id)?.clone();
    let source = session.draw.map(|draw| Source::of(overlay, env, draw, amount)).transpose()?;
    ensure(tx.sender == session.terms.client, Reject::NotParty)?;
    check_deadline(&session, env.time)?;
    let is_open = source.as_ref().is_none_or(|source| source.is_open(env));
    ensure(env.time <= session.terms.use_until && is_open, Reject::UseOver)?;
    ensure(!session.closing, Reject::SessionClosing)?;
    let mut order = order_of(overlay, &session);
    order.held = order.held.checked_add(amount).ok_or(Reject::OverOrder)?;
    ensure(order.is_within(), Reject::OverOrder)?;
    session.held = session.held.checked_add(amount).ok_or(Reject::OverOrder)?;
    session.draw = source.as_ref().map(Source::draw);
    let posting = Posting { debit: draw::payer(&session), credit: Book::Hold(*id), amount };
    let effects = Effects {
        postings: vec![posting],
        writes: vec![Write::Order(session.terms.order, order), Write::Session(*id, Some(session))],
        ..Effects::of(Event::ToppedUp { session: *id })
    };
    match source {
        None => Ok(effects),
        Some(source) => source.pay(effects, amount),
    }
}

/// Pays the provider what the client's newest vouchers grant.
pub(crate) fn collect(
    overlay: &Overlay<'_>,
    env: &Env,
    tx: &Tx,
    id: &SessionId,
    vouchers: &[Signed<Voucher>],
) -> Result<Effects, Reject> {
    let session = find(overlay, id)?;
    ensure(tx.sender == session.terms.provider, Reject::NotParty)?;
    check_deadline(session, env.time)?;
    ensure(!vouchers.is_empty(), Reject::NoVouchers)?;
    let Settled { session, order, paid, receipts } = settle(overlay, id, session, vouchers)?;
    let lanes = vouchers.iter().map(|voucher| Lane::of(&voucher.body)).collect();
    Ok(Effects {
        postings: payment(id, Book::Account(session.terms.provider), paid).into_iter().collect(),
        writes: vec![Write::Order(session.terms.order, order), Write::Session(*id, Some(session))],
        receipts,
        ..Effects::of(Event::Collected { session: *id, lanes })
    })
}

/// Ends a session, or starts its end when the client asks alone.
pub(crate) fn close(
    overlay: &Overlay<'_>,
    env: &Env,
    tx: &Tx,
    id: &SessionId,
    vouchers: &[Signed<Voucher>],
    release: Option<&Signed<Release>>,
) -> Result<Effects, Reject> {
    let session = find(overlay, id)?;
    let by_client = tx.sender == session.terms.client;
    ensure(by_client || tx.sender == session.terms.provider, Reject::NotParty)?;
    check_deadline(session, env.time)?;
    if by_client && release.is_none() {
        return start_closing(env, id, session, vouchers);
    }
    let settled = settle(overlay, id, session, vouchers)?;
    let agreed = match release {
        Some(release) => by_client && fits(&release.body, id, &settled.session),
        None => true,
    };
    ensure(agreed, Reject::BadRelease)?;
    Ok(finish(overlay, env, id, settled))
}

/// Refunds what is still held after the deadline.
pub(crate) fn expire(overlay: &Overlay<'_>, env: &Env, id: &SessionId) -> Result<Effects, Reject> {
    let session = find(overlay, id)?;
    ensure(env.time > session.collect_until, Reject::NotYetExpired)?;
    let settled = settle(overlay, id, session, &[])?;
    let lanes = settled.session.lanes.clone();
    Ok(Effects { event: Event::Expired { session: *id, lanes }, ..finish(overlay, env, id, settled) })
}

fn find<'o>(overlay: &'o Overlay<'_>, id: &SessionId) -> Result<&'o Session, Reject> {
    overlay.session(id).ok_or(Reject::UnknownSession)
}

fn check_deadline(session: &Session, now: Timestamp) -> Result<(), Reject> {
    ensure(now <= session.collect_until, Reject::SessionOver)
}

fn order_of(overlay: &Overlay<'_>, session: &Session) -> OrderBudget {
    overlay.order(&session.terms.order).cloned().expect("an order is kept while a session is open under it")
}

/// The client asks alone: its provider keeps the session's grace, but never more time than it had.
fn start_closing(
    env: &Env,
    id: &SessionId,
    session: &Session,
    vouchers: &[Signed<Voucher>],
) -> Result<Effects, Reject> {
    ensure(!session.closing, Reject::SessionClosing)?;
    ensure(vouchers.is_empty(), Reject::BadRelease)?;
    let grace = session.terms.collect_until.since(session.terms.use_until);
    let soon = env.time.after(grace).unwrap_or(session.collect_until);
    let collect_until = soon.min(session.collect_until);
    let session = Session { closing: true, collect_until, ..session.clone() };
    let event = Event::Closing { session: *id, collect_until };
    Ok(Effects::of(event).with(Write::Session(*id, Some(session))))
}

fn fits(release: &Release, id: &SessionId, session: &Session) -> bool {
    release.session == *id
        && release.provider == session.terms.provider
        && release.collected == session.collected
}

/// A session and its order after vouchers were paid.
struct Settled {
    session: Session,
    order: OrderBudget,
    paid: Credits,
    receipts: u64,
}

fn settle(
    overlay: &Overlay<'_>,
    id: &SessionId,
    session: &Session,
    vouchers: &[Signed<Voucher>],
) -> Result<Settled, Reject> {
    let mut session = session.clone();
    let receipts = take_vouchers(&mut session, id, vouchers)?;
    let total = Credits::sum(session.lanes.iter().map(|lane| lane.amount)).ok_or(Reject::OverHold)?;
    let paid = total.saturating_sub(session.collected);
    session.held = session.held.checked_sub(paid).ok_or(Reject::OverHold)?;
    session.collected = total;

    let mut order = order_of(overlay, &session);
    order.held = order.held.saturating_sub(paid);
    order.spent = order.spent.checked_add(paid).ok_or(Reject::OverOrder)?;
    ensure(order.is_within() && order.allows(&session.terms), Reject::OverOrder)?;
    Ok(Settled { session, order, paid, receipts })
}

/// Replaces each voucher's lane, and returns how many receipts are new.
fn take_vouchers(session: &mut Session, id: &SessionId, vouchers: &[Signed<Voucher>]) -> Result<u64, Reject> {
    let mut lane_min = 0;
    let mut receipts = 0;
    for Signed { body: voucher, .. } in vouchers {
        let is_ours = voucher.session == *id && voucher.client == session.terms.client;
        ensure(is_ours, Reject::VoucherSession)?;
        let is_next = voucher.lane >= lane_min && usize::from(voucher.lane) < LANES_MAX;
        ensure(is_next, Reject::VoucherLanes)?;
        lane_min = voucher.lane + 1;
        receipts += take_voucher(&mut session.lanes, voucher)?;
    }
    Ok(receipts)
}

fn take_voucher(lanes: &mut Vec<Lane>, voucher: &Voucher) -> Result<u64, Reject> {
    let new = Lane::of(voucher);
    match lanes.binary_search_by_key(&new.lane, |known| known.lane) {
        Err(at) => {
            lanes.insert(at, new);
            Ok(u64::from(new.receipts))
        }
        Ok(at) => {
            let old = lanes[at];
            ensure(new.sequence > old.sequence, Reject::VoucherStale)?;
            ensure(new.amount >= old.amount, Reject::VoucherLower)?;
            ensure(new.receipts >= old.receipts, Reject::ReceiptsShrink)?;
            lanes[at] = new;
            Ok(u64::from(new.receipts - old.receipts))
        }
    }
}

/// Pays and refunds everything; the session is pruned to the log.
fn finish(overlay: &Overlay<'_>, env: &Env, id: &SessionId, settled: Settled) -> Effects {
    let Settled { session, mut order, paid, receipts } = settled;
    order.held = order.held.saturating_sub(session.held);
    order.open = order.open.saturating_sub(1);
    let (homes, write) = draw::end(overlay, env, &session);
    let all = [(Book::Account(session.terms.provider), paid)].into_iter().chain(homes);
    let ended = [Write::Session(*id, None), Write::Order(session.terms.order, order)];
    Effects {
        postings: all.filter_map(|(credit, amount)| payment(id, credit, amount)).collect(),
        writes: ended.into_iter().chain(write).collect(),
        receipts,
        ..Effects::of(Event::Closed { session: *id, lanes: session.lanes })
    }
}

fn payment(id: &SessionId, credit: Book, amount: Credits) -> Option<Posting> {
    let posting = Posting { debit: Book::Hold(*id), credit, amount };
    (amount != Credits::ZERO).then_some(posting)
}
