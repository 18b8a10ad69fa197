//! Talks to a ledger node over the network.

mod checked;

use gridhour_contracts_sim::{
    block::Block,
    network_file::NetworkFile,
    proof::{Anchor, ProofError},
    state::{Device, Reservation, Session, StateKey, StateValue},
    tx::{Call, Tx},
};
use gridhour_protocol::{
    id::{BudgetId, SessionId, TxId},
    signed::{PublicKey, SecretKey, Signed},
    units::Height,
    wire::{self, WireError},
};

pub use self::checked::{CheckedAccount, CheckedRecord, Evidence};
use crate::{
    keys::{KeyError, random_u64},
    limbo::Limbo,
    net::{NetHandle, RequestError, Service},
    rpc::{
        Account, Applied, LedgerAnswer, LedgerRequest, LedgerStatus,
        checkup::{Checkup, CheckupRequest},
    },
};

/// Blocks for which a transaction stays valid: a retry within them is harmless.
const VALID_FOR_BLOCKS: u64 = 1_000;

/// Why the ledger did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The ledger node did not answer.
    #[error("the ledger node {node} does not answer: {source}", node = .node.short())]
    Unreachable {
        /// Which node.
        node: PublicKey,
        /// What the network said.
        source: RequestError,
    },
    /// A transaction was sent, and no answer came: it may be applied, or still be until the ledger is past a height.
    #[error(
        "transaction {tx} was sent, and whether it is applied is not known: {source}; it can be until block {until}",
        until = .valid_until.0
    )]
    Unknown {
        /// The transaction.
        tx: TxId,
        /// The last block that takes it.
        valid_until: Height,
        /// Why no answer came.
        source: Box<LedgerError>,
    },
    /// It answered something else. Its fault.
    #[error("the ledger node {node} answered nonsense: {why}", node = .node.short())]
    Nonsense {
        /// Which node.
        node: PublicKey,
        /// What is wrong with the answer.
        why: String,
    },
    /// It offered a proof that is none. Its fault: an honest node never does.
    #[error("the ledger node {node} lies: {source}", node = .node.short())]
    Lie {
        /// Which node.
        node: PublicKey,
        /// Why its proof is none.
        source: ProofError,
    },
    /// A rule of the ledger said no.
    #[error("the ledger refused ({name}): {detail}")]
    Rejected {
        /// The rule's stable name.
        name: String,
        /// The numbers.
        detail: String,
        /// Whether the same transaction may be accepted later.
        transient: bool,
    },
    /// The ledger node failed.
    #[error("the ledger node failed: {0}")]
    Fault(String),
    /// No randomness for a nonce.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl LedgerError {
    /// Whether no answer came at all.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Unknown { source, .. } => source.is_silence(),
            _ => false,
        }
    }
}

/// A way to the ledger: its node, and others that serve copies of it.
#[derive(Clone, Debug)]
pub struct LedgerClient {
    net: NetHandle,
    anchor: Anchor,
    node: PublicKey,
    /// Asked in turn while the one before cannot be reached.
    others: Vec<PublicKey>,
}

impl LedgerClient {
    /// Talks to the ledger node whose key is `node`. What it proves, it proves under headers of `anchor`.
    #[must_use]
    pub fn new(net: NetHandle, anchor: Anchor, node: PublicKey) -> Self {
        Self { net, anchor, node, others: Vec::new() }
    }

    /// Asks `node` the same questions, and nobody else.
    #[must_use]
    pub fn at(&self, node: PublicKey) -> Self {
        Self { node, others: Vec::new(), ..self.clone() }
    }

    /// The same, but where the node cannot be reached, one of `others` is asked: observers, which answer what they have
    /// followed so far and pass transactions on.
    #[must_use]
    pub fn or_ask(mut self, others: impl IntoIterator<Item = PublicKey>) -> Self {
        self.others = others.into_iter().filter(|other| *other != self.node).collect();
        self
    }

    /// Asks the ledger node alone: a copy may be behind it.
    #[must_use]
    pub fn without_copies(&self) -> Self {
        self.at(self.node)
    }

    async fn ask(&self, request: &LedgerRequest) -> Result<LedgerAnswer, LedgerError> {
        let mut outcome = self.ask_node(self.node, request).await;
        for other in &self.others {
            if !outcome.as_ref().is_err_and(|error| another_may(request, error)) {
                break;
            }
            let next = self.ask_node(*other, request).await;
            // What may have reached one node is not undone by another that cannot be reached.
            if next.is_ok() || !outcome.as_ref().is_err_and(may_have_arrived) {
                outcome = next;
            }
        }
        outcome
    }

    async fn ask_node(&self, node: PublicKey, request: &LedgerRequest) -> Result<LedgerAnswer, LedgerError> {
        let ask = || self.net.request(node, Service::Ledger, wire::encode(request));
        let answer = match ask().await {
            // A blip. To ask again is harmless: a transaction that was taken is taken once.
            Err(broken @ RequestError::Broken(_)) => match ask().await {
                Err(RequestError::Unreachable(_)) => Err(broken),
                answer => answer,
            },
            answer => answer,
        };
        let bytes = answer.map_err(|source| LedgerError::Unreachable { node, source })?;
        match wire::decode(&bytes) {
            Ok(LedgerAnswer::Fault(detail)) => Err(LedgerError::Fault(detail)),
            Ok(answer) => Ok(answer),
            Err(error) => Err(LedgerError::Nonsense { node, why: error.to_string() }),
        }
    }

    fn malformed(&self, error: &WireError) -> LedgerError {
        LedgerError::Nonsense { node: self.node, why: error.to_string() }
    }

    fn other(&self) -> LedgerError {
        LedgerError::Nonsense { node: self.node, why: "the answer is to another question".into() }
    }

    /// Where the ledger stands.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn status(&self) -> Result<LedgerStatus, LedgerError> {
        match self.ask(&LedgerRequest::Status).await? {
            LedgerAnswer::Status(status) => Ok(status),
            _ => Err(self.other()),
        }
    }

    /// The network file that the node holds. The caller checks it.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn network_file(&self) -> Result<Signed<NetworkFile>, LedgerError> {
        match self.ask(&LedgerRequest::Network).await? {
            LedgerAnswer::Network(file) => Ok(*file),
            _ => Err(self.other()),
        }
    }

    /// How a node looks from there.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn checkup(&self, asked: CheckupRequest) -> Result<Checkup, LedgerError> {
        match self.ask(&LedgerRequest::Checkup(asked)).await? {
            LedgerAnswer::Checkup(checkup) => Ok(checkup),
            _ => Err(self.other()),
        }
    }

    /// Balance and holds.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn account(&self, account: PublicKey) -> Result<Account, LedgerError> {
        match self.ask(&LedgerRequest::Account(account)).await? {
            LedgerAnswer::Account(account) => Ok(account),
            _ => Err(self.other()),
        }
    }

    /// What of an account's money is in limbo, by the ledger node's word.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn limbo(&self, account: PublicKey) -> Result<Vec<Limbo>, LedgerError> {
        match self.ask(&LedgerRequest::Limbo(account)).await? {
            LedgerAnswer::Limbo(limbo) => Ok(limbo),
            _ => Err(self.other()),
        }
    }

    /// A session, if it is open or closing.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn session(&self, session: SessionId) -> Result<Option<Session>, LedgerError> {
        match self.ask(&LedgerRequest::Session(session)).await? {
            LedgerAnswer::Session(session) => Ok(session.map(|session| *session)),
            _ => Err(self.other()),
        }
    }

    /// A record of the state as it is now, by the node's word; see [`LedgerClient::checked_record`].
    ///
    /// # Errors
    /// If the node does not answer, or answers with another kind of record.
    pub async fn record(&self, key: StateKey) -> Result<Option<StateValue>, LedgerError> {
        match self.ask(&LedgerRequest::Record(key)).await? {
            LedgerAnswer::Record(None) => Ok(None),
            LedgerAnswer::Record(Some(record)) if record.fits(&key) => Ok(Some(*record)),
            _ => Err(self.other()),
        }
    }

    /// The registered devices of an account, by the node's word.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn devices(&self, owner: PublicKey) -> Result<Vec<Device>, LedgerError> {
        match self.ask(&LedgerRequest::Devices(owner)).await? {
            LedgerAnswer::Devices(devices) => Ok(devices),
            _ => Err(self.other()),
        }
    }

    /// The budgets that an account owns or may spend from, by the node's word.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn budgets(&self, account: PublicKey) -> Result<Vec<BudgetId>, LedgerError> {
        match self.ask(&LedgerRequest::Budgets(account)).await? {
            LedgerAnswer::Budgets(budgets) => Ok(budgets),
            _ => Err(self.other()),
        }
    }

    /// The reservations that an account has booked or promised, by the node's word.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn reservations(&self, account: PublicKey) -> Result<Vec<Reservation>, LedgerError> {
        match self.ask(&LedgerRequest::Reservations(account)).await? {
            LedgerAnswer::Reservations(reservations) => Ok(reservations),
            _ => Err(self.other()),
        }
    }

    /// A record of the state as of the last checkpoint, and what proves it to anyone. `None` if there is no checkpoint
    /// that anything could be proven of.
    ///
    /// # Errors
    /// [`LedgerError::Lie`] if it is not proven; or if the node does not answer.
    pub async fn prove(&self, key: StateKey) -> Result<Option<Evidence>, LedgerError> {
        match self.ask(&LedgerRequest::Prove(key)).await? {
            LedgerAnswer::Proven(None) => Ok(None),
            LedgerAnswer::Proven(Some(proof)) => match proof.verify(&self.anchor, &key) {
                Ok(proven) => Ok(Some(Evidence { proven, proof: *proof })),
                Err(source) => Err(LedgerError::Lie { node: self.node, source }),
            },
            _ => Err(self.other()),
        }
    }

    /// Encoded blocks from `from` on, as many as fit one answer.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn blocks(&self, from: Height) -> Result<Vec<Vec<u8>>, LedgerError> {
        match self.ask(&LedgerRequest::Blocks { from }).await? {
            LedgerAnswer::Blocks(blocks) => Ok(blocks),
            _ => Err(self.other()),
        }
    }

    /// Gives every block behind the one at `known` up to the tip at the time of asking to `take`, in order and encoded, with
    /// its height and the tip's; an answer's worth of them is in memory at a time. Returns the height of the last.
    ///
    /// # Errors
    /// If the node does not answer, or answers what is no block; and those of `take`.
    pub async fn each_block<E: From<LedgerError>>(
        &self,
        known: Height,
        mut take: impl FnMut(Height, Height, &[u8]) -> Result<(), E>,
    ) -> Result<Height, E> {
        let tip = self.status().await?.height;
        let mut last = known;
        while last < tip {
            let from = Height(last.0 + 1);
            let batch = self.blocks(from).await?;
            if batch.is_empty() {
                let why = format!("no block at {}", from.0);
                return Err(LedgerError::Nonsense { node: self.node, why }.into());
            }
            for bytes in batch {
                wire::decode::<Block>(&bytes).map_err(|error| self.malformed(&error))?;
                last = Height(last.0 + 1);
                take(last, tip.max(last), &bytes)?;
            }
        }
        Ok(last)
    }

    /// Hands in a transaction that someone else signed, and returns what the ledger says to it.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn pass_on(&self, tx: Signed<Tx>) -> Result<LedgerAnswer, LedgerError> {
        match self.ask(&LedgerRequest::Submit(Box::new(tx))).await? {
            said @ (LedgerAnswer::Applied(_) | LedgerAnswer::Rejected { .. }) => Ok(said),
            _ => Err(self.other()),
        }
    }

    /// Signs `call` and has it ordered. On return it is applied and durable.
    ///
    /// # Errors
    /// If a rule says no, or the node does not answer.
    pub async fn submit(&self, key: &SecretKey, call: Call) -> Result<Applied, LedgerError> {
        self.hand_in(&self.sign(key, call).await?).await
    }

    /// Signs `call` for the ledger's next blocks.
    ///
    /// # Errors
    /// If the node does not answer how far the ledger is, or there is no randomness.
    pub async fn sign(&self, key: &SecretKey, call: Call) -> Result<Signed<Tx>, LedgerError> {
        let valid_until = Height(self.status().await?.height.0.saturating_add(VALID_FOR_BLOCKS));
        let (network, sender, nonce) = (self.anchor.network, key.public(), random_u64()?);
        Ok(key.sign(Tx { network, sender, nonce, valid_until, call }))
    }

    /// Has a signed transaction ordered; one that is applied already, again and again. On return it is applied and durable.
    ///
    /// # Errors
    /// If a rule says no, or the node does not answer.
    pub async fn hand_in(&self, signed: &Signed<Tx>) -> Result<Applied, LedgerError> {
        let unknown = |source| LedgerError::Unknown {
            tx: TxId(signed.digest()),
            valid_until: signed.body.valid_until,
            source: Box::new(source),
        };
        match self.ask(&LedgerRequest::Submit(Box::new(signed.clone()))).await {
            Ok(LedgerAnswer::Applied(applied)) => Ok(applied),
            Ok(LedgerAnswer::Rejected { name, detail, transient, .. }) => {
                Err(LedgerError::Rejected { name, detail, transient })
            }
            Ok(_) => Err(unknown(self.other())),
            Err(error) if may_have_arrived(&error) => Err(unknown(error)),
            Err(error) => Err(error),
        }
    }
}

/// Whether it is worth asking another node. One that failed to pass a transaction on does not speak for the others, and
/// the ledger takes the same transaction once.
fn another_may(request: &LedgerRequest, error: &LedgerError) -> bool {
    match error {
        LedgerError::Unreachable { .. } => true,
        LedgerError::Fault(_) => matches!(request, LedgerRequest::Submit(_)),
        _ => false,
    }
}

/// Whether a transaction may be with the ledger although this came instead of an answer.
fn may_have_arrived(error: &LedgerError) -> bool {
    match error {
        LedgerError::Unreachable { source, .. } => {
            use RequestError::{Broken, Misbehaved, Refused, Timeout};
            matches!(source, Timeout | Refused(_) | Broken(_) | Misbehaved(_))
        }
        LedgerError::Nonsense { .. } | LedgerError::Fault(_) => true,
        _ => false,
    }
}
