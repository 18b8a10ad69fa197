//! Quotes for posted orders: this provider's offer to one client, for less than it asks of everybody and for
//! a short while, with a slot kept for it. [`desk`] decides; here the client's account is looked up, the
//! quote is signed and sent, and its slot given back when nobody came for it.
//!
//! Before it keeps a slot, a provider puts its own offer through the masks of whoever posted, and makes sure
//! that the account could pay for the job: a posting that cannot become a session costs it a look-up and no
//! capacity.

mod desk;

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gridhour_protocol::{
    exact::NUMERICS_VERSION,
    id::AdvertId,
    job::admission::Applicant,
    limits::QUOTE_TTL_MS_MAX,
    market::{
        advert::Advert,
        estimate::{Latency, Measured},
        mask,
        posting::Posting,
        quote::Quote,
        tier::Tier,
    },
    session::terms::Terms,
    signed::{PublicKey, Signed, Verified},
    units::{Credits, Millis, PricePerHour, Timestamp},
};
use tokio::{
    sync::{Semaphore, oneshot, watch},
    time::sleep,
};

pub use self::desk::QuotePlan;
use self::desk::{Desk, NoQuote};
use super::{ProviderEvent, Shared, advert_of, desk::Slot, told};
use crate::{clock, drivers::ledger_client::LedgerError};

/// Postings that are looked into at once; others go unanswered.
const LOOKED_INTO_MAX: usize = 4;

/// A slot that is kept; whoever waits for its quote to lapse hears when it is taken out.
type KeptSlot = (Slot, oneshot::Sender<Infallible>);

/// What a provider keeps for its quotes.
pub(crate) struct Quotes {
    desk: Mutex<Desk<KeptSlot>>,
    looking: Semaphore,
}

/// Why a posting goes unanswered.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("this provider does not quote")]
    NoPlan,
    #[error("enough postings are being looked into")]
    Busy,
    #[error("it is for work in the tier {0}, which is not quoted for")]
    Tier(Tier),
    #[error(transparent)]
    Desk(#[from] NoQuote),
    #[error("this provider's offer does not meet it: {0}")]
    Unfit(String),
    #[error("its client has {balance} credits, the job may cost {cost}")]
    Unfunded { balance: Credits, cost: Credits },
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Quotes {
    pub(crate) fn new(slots: u16) -> Self {
        Self { desk: Mutex::new(Desk::new(slots)), looking: Semaphore::new(LOOKED_INTO_MAX) }
    }

    fn desk(&self) -> MutexGuard<'_, Desk<KeptSlot>> {
        // Nothing panics while it holds the lock.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job of this client begins.
    pub(crate) fn came(&self, client: &PublicKey) {
        self.desk().came(client);
    }

    /// What the client would be quoted now.
    fn price(&self, shared: &Shared, plan: QuotePlan, client: &PublicKey) -> Result<PricePerHour, NoQuote> {
        let slots = shared.config.slots;
        let free = shared.load(clock::now()).idle;
        self.desk().admit(client, free, clock::now())?;
        Ok(plan.price(shared.config.ask, slots.saturating_sub(free), slots))
    }

    /// Keeps a free slot for the quote.
    fn keep(
        &self,
        shared: &Shared,
        quote: AdvertId,
        client: PublicKey,
    ) -> Result<oneshot::Receiver<Infallible>, NoQuote> {
        let mut desk = self.desk();
        desk.admit(&client, 1, clock::now())?;
        let who = Applicant { client, tier: Tier::OnDemand, notice: Millis(0) };
        let slot = shared.desk.take_idle(who).ok_or(NoQuote::NoFreeSlot)?;
        let (kept, claimed) = oneshot::channel();
        desk.keep(quote, client, (slot, kept));
        Ok(claimed)
    }
}

/// The slot that was kept for a job under these terms, if they accept a quote.
pub(crate) fn kept_slot(shared: &Shared, terms: &Terms) -> Option<Slot> {
    let kept = shared.quotes.desk().claim(&terms.advert, &terms.client, clock::now());
    kept.map(|(slot, _)| slot)
}

/// Answers a posting, or leaves it unanswered; then waits until the quote is accepted, or over.
pub(crate) async fn answer(shared: Arc<Shared>, posting: Verified<Posting>, mut stop: watch::Receiver<bool>) {
    let client = posting.client();
    let (quote, claimed) = match make(&shared, &posting).await {
        Ok(made) => made,
        Err(why) => return tracing::debug!(client = %client.short(), %why, "a posting goes unanswered"),
    };
    let (id, until, price) = (quote.id(), quote.body.expires_at, quote.body.ask);
    shared.changed.notify_one();
    if let Err(error) = shared.net.publish_quote(quote).await {
        shared.quotes.desk().withdraw(&id);
        shared.changed.notify_one();
        return shared.trouble(error);
    }
    shared.tell(ProviderEvent::Quoted { client, price, until });
    tokio::select! {
        () = sleep(Duration::from_millis(until.since(clock::now()).0)) => {}
        () = told(&mut stop) => {}
        // Nothing is ever sent: the other end goes with the slot.
        _ = claimed => return,
    }
    if shared.quotes.desk().lapse(&id, clock::now()).is_some() {
        shared.tell(ProviderEvent::QuoteLapsed { client });
        shared.changed.notify_one();
    }
}

/// A quote with a slot kept for it, and what ends when the slot is taken out.
async fn make(
    shared: &Shared,
    posting: &Verified<Posting>,
) -> Result<(Signed<Advert>, oneshot::Receiver<Infallible>), Unanswered> {
    let plan = shared.config.quotes.ok_or(Unanswered::NoPlan)?;
    let tier = posting.wanted().tier;
    if tier != Tier::OnDemand {
        return Err(Unanswered::Tier(tier));
    }
    let _looking = shared.quotes.looking.try_acquire().map_err(|_| Unanswered::Busy)?;
    let price = shared.quotes.price(shared, plan, &posting.client())?;
    let quote = offer(shared, posting, plan, price);
    let cost = check(shared, posting, &quote)?;
    let balance = shared.ledger.account(posting.client()).await?.balance;
    if balance < cost {
        return Err(Unanswered::Unfunded { balance, cost });
    }
    let quote = shared.key.sign(quote);
    let claimed = shared.quotes.keep(shared, quote.id(), posting.client())?;
    Ok((quote, claimed))
}

/// This provider's offer of this moment at `price`, to the client who posted and to nobody else.
fn offer(shared: &Shared, posting: &Verified<Posting>, plan: QuotePlan, price: PricePerHour) -> Advert {
    let now = clock::now();
    let quote = Quote { client: posting.client(), posting: posting.signed().id() };
    Advert {
        ask: price,
        expires_at: firm_until(plan, now),
        slots_free: 1,
        queued: 0,
        spot: None,
        quote: Some(quote),
        ..advert_of(shared, shared.calibration.receipt().as_ref(), 0, now)
    }
}

fn firm_until(plan: QuotePlan, now: Timestamp) -> Timestamp {
    now.after(Millis(plan.firm.0.clamp(1, QUOTE_TTL_MS_MAX))).unwrap_or(now)
}

/// What the longest job costs, if the offer meets what is wanted; the way to the client is taken to be none.
fn check(shared: &Shared, posting: &Posting, quote: &Advert) -> Result<Credits, Unanswered> {
    let here = Latency { ewma_us: 0, p95_us: 0, samples: 1 };
    let stake = Some(shared.counts.standing().bonded);
    let measured = Measured { latency: Some(here), stake, ..Measured::default() };
    mask::check(posting.wanted(), NUMERICS_VERSION, quote.issued_at, quote, &measured)
        .map(|fit| fit.cost)
        .map_err(|failure| Unanswered::Unfit(failure.to_string()))
}
