//! A ledger node: orders transactions, answers questions about the ledger, and releases holds whose deadline is over.

use std::{net::IpAddr, sync::Arc, time::Duration};

use gridhour_contracts_sim::{
    limits::CHECKPOINT_MS,
    network_file::NetworkFile,
    state::{Budget, Reservation, Session, Stake, State, StateKey},
    tx::Tx,
};
use gridhour_protocol::{
    id::{BudgetId, DeviceId, ReservationId},
    market::reservation::ReservationOffer,
    signed::{PublicKey, SecretKey, Signed},
    units::{Credits, Height, Timestamp},
    wire,
};
use tokio::{
    sync::{Mutex, mpsc, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{
    clock,
    consensus::{
        LedgerView, Ordering, SubmitError,
        expiry::{Due, expire_tx, expired},
        solo::Solo,
    },
    drivers::checkup::Checkups,
    limbo::limbo_of,
    net::{InboundRequest, NetEvent, Service},
    rpc::{
        Account, Applied, BLOCKS_MAX, BUDGETS_MAX, HOLDS_MAX, Hold, LEDGER_ANSWER_BYTES_MAX, LedgerAnswer,
        LedgerRequest, LedgerStatus, Purpose, RESERVATIONS_MAX, Selling, checkup::CheckupRequest, detail,
    },
};

/// How often deadlines are looked through.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);
/// Questions answered at once.
pub(super) const REQUESTS_MAX: usize = 256;
/// Blocks made for one proof at most: one that takes a checkpoint, and one that names it.
const PROOF_BLOCKS_MAX: usize = 2;

/// Parts of a running ledger node.
pub struct Validator {
    shared: Shared,
}

/// A node that answers about a ledger.
pub(super) trait Answers: Send + Sync + 'static {
    /// What it knows.
    fn view(&self) -> &LedgerView;
    /// The network file it hands out.
    fn network(&self) -> &Signed<NetworkFile>;
    /// Does what it can so that what changed last can be proven.
    fn freshen(&self) -> impl Future<Output = Result<(), SubmitError>> + Send;
    /// Who looks at other nodes for it; nobody if it looks at none.
    fn checkups(&self) -> Option<&Checkups>;
    /// What it says to a transaction.
    fn submit(&self, tx: Signed<Tx>) -> impl Future<Output = LedgerAnswer> + Send;
}

struct Shared {
    solo: Solo,
    key: SecretKey,
    network: Signed<NetworkFile>,
    /// Held while blocks are made for a proof, so that many who ask at once make no more of them than one.
    proving: Mutex<()>,
    checkups: Option<Checkups>,
}

impl Answers for Shared {
    fn checkups(&self) -> Option<&Checkups> {
        self.checkups.as_ref()
    }

    fn view(&self) -> &LedgerView {
        self.solo.view()
    }

    fn network(&self) -> &Signed<NetworkFile> {
        &self.network
    }

    async fn submit(&self, tx: Signed<Tx>) -> LedgerAnswer {
        match self.solo.submit(tx).await {
            Ok(accepted) => LedgerAnswer::Applied(Applied { tx: accepted.tx, height: accepted.height }),
            Err(error) => refusal(&error),
        }
    }

    /// Where the last checkpoint is old and the state has moved on, or no block names it yet, blocks of nothing but the
    /// time are made: no more than one every [`CHECKPOINT_MS`], and one that names it.
    async fn freshen(&self) -> Result<(), SubmitError> {
        let _turn = self.proving.lock().await;
        for _ in 0..PROOF_BLOCKS_MAX {
            if !self.view().read(|state| needs_block(state, clock::now())) {
                break;
            }
            self.finish_checkpoint().await;
            self.solo.tick().await?;
        }
        Ok(())
    }
}

impl Shared {
    /// Waits until the next block can name the checkpoint that is pending.
    async fn finish_checkpoint(&self) {
        if let Some(pending) = self.view().read(|state| state.pending_checkpoint().cloned()) {
            // It fails only when the process ends.
            let _ = tokio::task::spawn_blocking(move || pending.finish()).await;
        }
    }
}

impl Validator {
    /// A node that orders with `solo` and hands out `network`.
    #[must_use]
    pub fn new(solo: Solo, key: SecretKey, network: Signed<NetworkFile>) -> Self {
        Self { shared: Shared { solo, key, network, proving: Mutex::new(()), checkups: None } }
    }

    /// It also tells other nodes how they look from here.
    #[must_use]
    pub fn with_checkups(mut self, checkups: Checkups) -> Self {
        self.shared.checkups = Some(checkups);
        self
    }

    /// The ledger.
    #[must_use]
    pub fn view(&self) -> &LedgerView {
        self.shared.solo.view()
    }

    /// Serves until `stop` turns true.
    ///
    /// # Errors
    /// If the ledger cannot go on: only a restart finds out what is durable.
    pub async fn run(
        self,
        mut inbox: mpsc::Receiver<NetEvent>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), String> {
        let shared = Arc::new(self.shared);
        let mut tasks = JoinSet::new();
        let mut deadlines = interval(EXPIRE_EVERY);
        deadlines.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = loop {
            tokio::select! {
                () = told(&mut stop) => break Ok(()),
                reason = shared.solo.failed() => break Err(reason),
                _ = deadlines.tick() => expire(&shared).await,
                Some(_) = tasks.join_next() => {}
                event = inbox.recv() => match event {
                    None => break Err("the network ended".into()),
                    Some(NetEvent::Request(request)) if tasks.len() < REQUESTS_MAX => {
                        tasks.spawn(answer(shared.clone(), request));
                    }
                    // Dropping it refuses it. Adverts pass through by gossip alone; jobs are for providers.
                    Some(_) => {}
                },
            }
        };
        while tasks.join_next().await.is_some() {}
        ended
    }
}

pub(super) async fn told(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody is left who could say so: the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Releases what is over. The ledger's own time decides, so it is moved on first if something is due by the clock.
async fn expire(shared: &Shared) {
    let now = clock::now();
    let overdue: Vec<Due> = shared.solo.view().read(|state| expired(state, now));
    if overdue.is_empty() {
        return;
    }
    if let Err(error) = shared.solo.tick().await {
        tracing::warn!(%error, "deadlines wait");
        return;
    }
    for due in overdue {
        let tx = shared.solo.view().read(|state| expire_tx(state, &shared.key, due));
        match shared.solo.submit(tx).await {
            Ok(_) => tracing::info!(?due, "released after its deadline"),
            Err(error) => tracing::info!(?due, %error, "not released"),
        }
    }
}

/// Answers one request about the ledger.
pub(super) async fn answer(shared: Arc<impl Answers>, request: InboundRequest) {
    let InboundRequest { service, bytes, observed, responder, .. } = request;
    let sent = match (service, wire::decode::<LedgerRequest>(&bytes)) {
        (Service::Ledger, Ok(asked)) => {
            responder.respond(wire::encode(&answer_to(&*shared, asked, observed).await)).await
        }
        (Service::Ledger, Err(error)) => responder.refuse(&error.to_string()).await,
        _ => responder.refuse("this node keeps a ledger and serves no models").await,
    };
    if sent.is_err() {
        tracing::debug!("the network ended before an answer left");
    }
}

async fn answer_to(shared: &impl Answers, asked: LedgerRequest, from: Option<IpAddr>) -> LedgerAnswer {
    let view = shared.view();
    match asked {
        LedgerRequest::Status => LedgerAnswer::Status(view.read(status_of)),
        LedgerRequest::Network => LedgerAnswer::Network(Box::new(shared.network().clone())),
        LedgerRequest::Account(id) => LedgerAnswer::Account(view.read(|state| account_of(state, &id))),
        LedgerRequest::Limbo(id) => {
            LedgerAnswer::Limbo(view.read(|state| limbo_of(state, &id, clock::now())))
        }
        LedgerRequest::Session(id) => {
            LedgerAnswer::Session(view.read(|state| state.session(&id).cloned().map(Box::new)))
        }
        LedgerRequest::Submit(tx) => shared.submit(*tx).await,
        LedgerRequest::Blocks { from } => blocks(view.clone(), from).await,
        LedgerRequest::Prove(key) => prove(shared, key).await,
        LedgerRequest::Record(key) => {
            LedgerAnswer::Record(view.read(|state| state.value(&key)).map(Box::new))
        }
        LedgerRequest::Devices(owner) => LedgerAnswer::Devices(
            view.read(|state| state.devices_of(&owner).map(|(_, device)| device.clone()).collect()),
        ),
        LedgerRequest::Budgets(account) => {
            LedgerAnswer::Budgets(view.read(|state| budgets_of(state, &account)))
        }
        LedgerRequest::Checkup(asked) => checkup(shared, asked, from).await,
        LedgerRequest::Reservations(account) => {
            LedgerAnswer::Reservations(view.read(|state| reservations_of(state, &account)))
        }
    }
}

async fn checkup(shared: &impl Answers, asked: CheckupRequest, from: Option<IpAddr>) -> LedgerAnswer {
    let Some(checkups) = shared.checkups() else {
        return LedgerAnswer::Fault("this node looks at no others; ask another".into());
    };
    match checkups.answer(asked, from).await {
        Ok(checkup) => LedgerAnswer::Checkup(checkup),
        Err(why) => LedgerAnswer::Fault(detail(why)),
    }
}

fn refusal(error: &SubmitError) -> LedgerAnswer {
    match error {
        SubmitError::Rejected(reject) => LedgerAnswer::Rejected {
            code: reject.code(),
            name: reject.name().to_owned(),
            detail: detail(reject.to_string()),
            transient: reject.is_transient(),
        },
        other => LedgerAnswer::Fault(detail(other.to_string())),
    }
}

async fn blocks(view: LedgerView, from: Height) -> LedgerAnswer {
    // Lengths and tags take a little beside the blocks.
    let room = LEDGER_ANSWER_BYTES_MAX - 16 * BLOCKS_MAX - 64;
    let read = tokio::task::spawn_blocking(move || view.blocks(from, BLOCKS_MAX, room)).await;
    match read {
        Ok(Ok(blocks)) => LedgerAnswer::Blocks(blocks),
        Ok(Err(error)) => LedgerAnswer::Fault(detail(error.to_string())),
        Err(error) => LedgerAnswer::Fault(detail(error.to_string())),
    }
}

/// Proves a record, as newly as this node can.
async fn prove(shared: &impl Answers, key: StateKey) -> LedgerAnswer {
    if let Err(error) = shared.freshen().await {
        return LedgerAnswer::Fault(detail(error.to_string()));
    }
    let view = shared.view().clone();
    match tokio::task::spawn_blocking(move || view.prove(key)).await {
        Ok(Ok(proof)) => LedgerAnswer::Proven(proof.map(Box::new)),
        Ok(Err(error)) => LedgerAnswer::Fault(detail(error.to_string())),
        Err(error) => LedgerAnswer::Fault(detail(error.to_string())),
    }
}

/// Whether a block more makes a proof possible, or newer.
fn needs_block(state: &State, now: Timestamp) -> bool {
    let due = state.tip().checkpoint.time.0.saturating_add(CHECKPOINT_MS);
    state.pending_checkpoint().is_some() || (state.is_ahead_of_checkpoint() && now.0 >= due)
}

/// Where the ledger stands.
#[must_use]
pub fn status_of(state: &State) -> LedgerStatus {
    let tip = state.tip();
    LedgerStatus { height: tip.height, hash: tip.hash, time: tip.time, totals: tip.totals }
}

/// Balance and holds of an account: what is set aside for its sessions, at stake for its devices, in the pots of its budgets,
/// and for reservations. What a session holds that a budget pays for is its client's to see, and goes back to the budget.
#[must_use]
pub fn account_of(state: &State, account: &PublicKey) -> Account {
    let own = state.sessions().filter(|(_, session)| session.terms.client == *account);
    let sessions = own.map(|(id, session)| Hold {
        purpose: Purpose::Session { session: *id, provider: session.terms.provider },
        amount: session.held,
        deadline: session.collect_until,
    });
    let staked = state.stakes().filter(|(_, stake)| stake.owner == *account);
    let stakes = staked.flat_map(|(device, stake)| parts_of(*device, stake));
    let planned =
        state.budgets().filter(|(_, budget)| budget.owner == *account && budget.pot != Credits::ZERO);
    let pots = planned.map(|(id, budget)| Hold {
        purpose: Purpose::Budget { budget: *id },
        amount: budget.pot,
        deadline: budget.until,
    });
    let slots = state.reservations().flat_map(|(id, reservation)| sides_of(*id, reservation, account));
    let holds = sessions.chain(stakes).chain(pots).chain(slots).take(HOLDS_MAX).collect();
    Account { balance: state.balance(account), holds, selling: selling_of(state, account) }
}

/// The open sessions in which `account` is the provider.
fn selling_of(state: &State, account: &PublicKey) -> Selling {
    let sums = |sum: Selling, session: &Session| Selling {
        sessions: sum.sessions + 1,
        held: Credits(sum.held.0.saturating_add(session.held.0)),
        collected: Credits(sum.collected.0.saturating_add(session.collected.0)),
    };
    let sold = state.sessions().map(|(_, session)| session);
    sold.filter(|session| session.terms.provider == *account).fold(Selling::default(), sums)
}

/// What an account has set aside for a reservation: as its client, as its provider, or nothing.
fn sides_of(id: ReservationId, reservation: &Reservation, account: &PublicKey) -> impl Iterator<Item = Hold> {
    let ReservationOffer { client, provider, .. } = reservation.terms;
    let prepaid = (client, Purpose::Prepaid { reservation: id, provider }, reservation.prepaid());
    let promised = (provider, Purpose::Promised { reservation: id, client }, reservation.bond());
    let (account, deadline) = (*account, reservation.end());
    let own = [prepaid, promised].into_iter().filter(move |(who, _, amount)| *who == account && amount.0 > 0);
    own.map(move |(_, purpose, amount)| Hold { purpose, amount, deadline })
}

/// The budgets that `account` owns or may spend from, whatever is in their pots.
fn budgets_of(state: &State, account: &PublicKey) -> Vec<BudgetId> {
    let concerns = |budget: &Budget| {
        budget.owner == *account || budget.caps.iter().any(|cap| cap.plan.spender == Some(*account))
    };
    let ours = state.budgets().filter(|(_, budget)| concerns(budget));
    ours.map(|(id, _)| *id).take(BUDGETS_MAX).collect()
}

/// The reservations that `account` has booked or promised.
fn reservations_of(state: &State, account: &PublicKey) -> Vec<Reservation> {
    let is_side = |terms: &ReservationOffer| terms.client == *account || terms.provider == *account;
    let ours = state.reservations().filter(|(_, known)| is_side(&known.terms));
    ours.map(|(_, known)| known.clone()).take(RESERVATIONS_MAX).collect()
}

fn parts_of(device: DeviceId, stake: &Stake) -> impl Iterator<Item = Hold> {
    let bonded = (stake.bonded != Credits::ZERO).then_some(Hold {
        purpose: Purpose::Bond { device },
        amount: stake.bonded,
        deadline: stake.until,
    });
    let unbonding = stake.unbonding.iter().map(move |part| Hold {
        purpose: Purpose::Unbonding { device },
        amount: part.amount,
        deadline: part.release_at,
    });
    bonded.into_iter().chain(unbonding)
}
