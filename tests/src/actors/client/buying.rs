//! Sessions as their client sees them: matched, opened, topped up, closed, expired.

use gridhour_contracts_sim::{
    ledger::reject::Reject,
    state::Session,
    tx::{Call, Open},
};
use gridhour_protocol::{
    id::SessionId,
    limits::PROTOCOL_VERSION,
    market::{
        advert::Advert,
        data_class::DataClass,
        order::{Order, Verification},
        tier::Tier,
    },
    session::{book::SessionBook, terms::Terms},
    signed::{Signed, Verified},
    units::{Credits, Timestamp},
    wire,
};

use super::{Asked, Errand, MarketClient, Twist};
use crate::{
    actors::{forget_session, goods, sign_tx, terms_key},
    sim::{context::Context, durable::PowerCut, fact::Fact, ledger_node::Request},
};

/// A session this close to the end of its use takes no new job, in milliseconds.
const USE_LEFT_MS: u64 = 8_000;
/// How long after the deadline the client asks to expire a session: its clock may be wrong.
const LATE_MS: u64 = 4_000;
/// Streams that may break before a session takes no new job.
const BREAKS_MAX: u32 = 3;
/// Life of an order.
const ORDER_MS: u64 = 300_000;

/// A session that was bought, or is being bought.
#[derive(Clone, Debug)]
pub(super) struct Purchase {
    pub(super) book: SessionBook,
    /// What opens it; `None` once it was seen on the ledger, and after a restart.
    opening: Option<Box<Open>>,
    /// Whether the ledger has shown it.
    pub(super) is_open: bool,
    /// Whether it takes no more jobs.
    pub(super) is_spent: bool,
    /// Streams to its provider that broke.
    breaks: u32,
}

impl Purchase {
    /// A session that `opening` opens; or one from the records, and whether that was opened only the ledger
    /// knows.
    pub(super) fn new(book: SessionBook, opening: Option<Box<Open>>) -> Self {
        Self { book, opening, is_open: false, is_spent: false, breaks: 0 }
    }

    pub(super) fn terms(&self) -> &Terms {
        self.book.terms()
    }

    /// A stream to its provider broke. Whoever breaks several is left alone.
    pub(super) fn note_break(&mut self) {
        self.breaks += 1;
        self.is_spent |= self.breaks >= BREAKS_MAX;
    }

    /// Whether it takes a job now.
    pub(super) fn is_usable(&self, now: Timestamp) -> bool {
        self.is_open && !self.is_spent && self.has_time(now)
    }

    /// Whether the ledger may yet show it.
    fn is_awaited(&self, now: Timestamp) -> bool {
        !self.is_open && !self.is_spent && self.has_time(now)
    }

    fn has_time(&self, now: Timestamp) -> bool {
        now.0.saturating_add(USE_LEFT_MS) < self.terms().use_until.0
    }
}

impl<T: Twist> MarketClient<T> {
    /// Whether to open a session: too few are usable or on their way.
    pub(super) fn may_buy(&self, now: Timestamp) -> bool {
        let usable = self.purchases.values().filter(|one| one.is_usable(now) || one.is_awaited(now));
        usable.count() < self.twist.sessions(&self.profile) && self.bought < self.profile.purchases
    }

    /// Matches the order and opens a session with the best provider.
    pub(super) fn buy(&mut self, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        self.book.forget_expired(cx.now());
        let order = self.live_order(cx);
        let Some(advert) = self.best_offer(&order, cx) else { return Ok(()) };
        let (by, provider, expires_at) = (cx.me(), advert.body.provider, advert.body.expires_at);
        cx.report(Fact::Chose { by, provider, expires_at });
        let terms = self.terms(&order, &advert, cx);
        let longest = self.longest_job(&terms);
        let honest = Credits(longest.0 * u64::from(self.profile.lanes));
        let hold = self.twist.hold(&self.profile, honest);
        let id = terms.id();
        cx.save([(terms_key(&id), Some(wire::encode(&terms)))])?;
        let book = SessionBook::new(terms.clone(), hold, []);
        let open = Open { order: order.into_signed(), advert, terms, hold };
        self.purchases.insert(id, Purchase::new(book, Some(Box::new(open))));
        self.bought += 1;
        self.send_open(id, cx);
        Ok(())
    }

    fn live_order(&mut self, cx: &mut Context<'_>) -> Verified<Order> {
        let now = cx.now();
        if let Some(order) = self.order.as_ref().filter(|order| now.0 + 10_000 < order.expires_at.0) {
            return order.clone();
        }
        let longest = |count: fn(&Errand) -> u32| self.profile.errands.iter().map(count).max().unwrap_or(1);
        let order = self.profile.key.sign(Order {
            version: PROTOCOL_VERSION,
            network: self.profile.network,
            client: self.profile.key.public(),
            nonce: cx.rng().bits(),
            issued_at: now,
            expires_at: Timestamp(now.0 + ORDER_MS),
            model: goods::MODEL,
            prompt_tokens: longest(|errand| errand.prompt.len() as u32),
            output_tokens: longest(|errand| errand.max_tokens),
            price_max: self.profile.price_max,
            total_max: self.profile.total_max,
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
        });
        let order = order.verify().expect("signed with the client's own key");
        self.order.insert(order).clone()
    }

    fn terms(&self, order: &Verified<Order>, advert: &Signed<Advert>, cx: &mut Context<'_>) -> Terms {
        let use_until = cx.now().after(goods::USE).expect("time is far from its end");
        Terms {
            network: self.profile.network,
            client: self.profile.key.public(),
            provider: advert.body.provider,
            order: order.signed().id(),
            advert: advert.id(),
            model: goods::MODEL,
            work: goods::WORK,
            rates: advert.body.device.rates,
            numerics: goods::NUMERICS,
            price: advert.body.ask,
            tier: order.tier,
            notice: advert.body.notice_in(order.tier),
            chunk_tokens: self.profile.chunk_tokens,
            use_until,
            collect_until: use_until.after(self.profile.grace).expect("time is far from its end"),
            nonce: cx.rng().bits(),
        }
    }

    /// What the dearest errand may cost.
    pub(super) fn longest_job(&self, terms: &Terms) -> Credits {
        let cost = |errand: &Errand| terms.job_amount(errand.prompt.len() as u32, errand.max_tokens);
        let dearest = self.profile.errands.iter().filter_map(cost).max();
        dearest.unwrap_or(Credits::ZERO)
    }

    fn send_open(&mut self, id: SessionId, cx: &mut Context<'_>) {
        let Some(open) = self.purchases.get(&id).and_then(|one| one.opening.clone()) else { return };
        self.submit(Asked::Open(id), Call::Open(open), cx);
    }

    fn submit(&mut self, asked: Asked, call: Call, cx: &mut Context<'_>) {
        let tx = sign_tx(cx, &self.profile.key, self.profile.network, call);
        self.ask(asked, Request::Submit(tx), cx);
    }

    pub(super) fn opened(&mut self, id: SessionId) {
        if let Some(purchase) = self.purchases.get_mut(&id) {
            purchase.is_open = true;
            purchase.opening = None;
        }
    }

    /// A refusal is final, unless it says that an earlier copy was taken.
    pub(super) fn not_opened(
        &mut self,
        id: SessionId,
        why: Reject,
        cx: &mut Context<'_>,
    ) -> Result<(), PowerCut> {
        let known = self.purchases.get(&id).is_some_and(|one| one.is_open);
        match why {
            Reject::SessionExists | Reject::Duplicate => self.opened(id),
            _ if known => {}
            _ => return self.forget(id, cx),
        }
        Ok(())
    }

    /// Asks for more credits, for a job that the hold does not cover.
    pub(super) fn top_up(&mut self, id: SessionId, cx: &mut Context<'_>) {
        let Some(purchase) = self.purchases.get(&id) else { return };
        let amount = self.longest_job(purchase.terms());
        self.submit(Asked::TopUp(id), Call::TopUp { session: id, amount }, cx);
    }

    pub(super) fn exhausted(&mut self, id: SessionId) {
        if let Some(purchase) = self.purchases.get_mut(&id) {
            purchase.is_spent = true;
        }
    }

    /// Asks how every session stands; the answer says what to do.
    pub(super) fn look_at_purchases(&mut self, cx: &mut Context<'_>) {
        let known: Vec<_> = self.purchases.iter().map(|(id, one)| (*id, one.is_open)).collect();
        for (id, is_open) in known {
            self.ask(Asked::Look(id, is_open), Request::Session(id), cx);
        }
    }

    pub(super) fn look_at_open(&mut self, id: SessionId, session: &Session, cx: &mut Context<'_>) {
        self.opened(id);
        let idle = self.waiting(cx.now()).is_empty() && !self.twist.lingers();
        let Some(purchase) = self.purchases.get_mut(&id) else { return };
        purchase.book.raise_hold(Credits(session.held.0 + session.collected.0));
        purchase.is_spent |= session.closing;
        let is_useless = purchase.is_spent || !purchase.is_usable(cx.now()) || idle;
        let runs = purchase.book.running() > 0;
        let ends = if runs { self.twist.closes_early() } else { is_useless };
        let is_past = cx.now().0 > session.collect_until.0 + LATE_MS;
        if is_past || (runs && self.twist.expires_early()) {
            self.submit(Asked::End(id), Call::Expire { session: id }, cx);
        } else if ends && !session.closing {
            self.submit(Asked::End(id), Call::Close { session: id, vouchers: Vec::new(), release: None }, cx);
        }
    }

    /// The ledger does not know it: it has ended, was never opened, or its opening is still on its way.
    pub(super) fn look_at_none(
        &mut self,
        id: SessionId,
        was_open: bool,
        cx: &mut Context<'_>,
    ) -> Result<(), PowerCut> {
        let Some(purchase) = self.purchases.get(&id) else { return Ok(()) };
        let is_past = cx.now().0 > purchase.terms().collect_until.0 + LATE_MS;
        if was_open || is_past {
            return self.forget(id, cx);
        }
        if purchase.is_open {
            // It opened while the ledger was asked.
        } else if purchase.opening.is_none() {
            // It was being opened when the power went, and can only be waited for.
            self.exhausted(id);
        } else if cx.now() < purchase.terms().use_until {
            self.send_open(id, cx);
        }
        Ok(())
    }

    /// The session is over. Jobs that still run find out by their streams.
    pub(super) fn forget(&mut self, id: SessionId, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        if let Some(purchase) = self.purchases.get_mut(&id) {
            if purchase.book.running() > 0 {
                purchase.is_spent = true;
                return Ok(());
            }
            let changes = forget_session(cx.saved(), &id);
            cx.save(changes)?;
            self.purchases.remove(&id);
        }
        Ok(())
    }
}
