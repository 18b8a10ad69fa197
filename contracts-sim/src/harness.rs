//! A ledger in one process, for tests: money appears, time passes, people act, and every invariant is checked after
//! every block.
//!
//! ```
//! use gridhour_contracts_sim::{harness::{Chain, key}, ledger::reject::Reject, tx::Call};
//! use gridhour_protocol::units::Credits;
//!
//! let mut chain = Chain::new();
//! let (alice, bob) = (key(1), key(2));
//! chain.fund(&alice.public(), Credits(100));
//! let pay = |amount| Call::Transfer { to: bob.public(), amount: Credits(amount) };
//! chain.acting(&alice).ok(pay(60));
//! chain.acting(&alice).expect(pay(60), Reject::InsufficientBalance);
//! assert_eq!(chain.state().balance(&bob.public()), Credits(60));
//! ```

use gridhour_protocol::{
    signed::{PublicKey, SecretKey, Signed},
    units::{Credits, Height, Millis, Timestamp},
};

use crate::{
    block::{Answer, Batch, Block, CheckedBlock, Proposal, Signatures, propose, verify},
    export,
    genesis::Genesis,
    ledger::{admit::Admitted, entry::Entry, reject::Reject},
    limits::LEDGER_VERSION,
    network_file::NetworkFile,
    state::{PendingCheckpoint, State, check_invariants},
    tx::{Call, Tx},
    witnesses::Witnesses,
};

mod budget;
mod deal;
mod reservation;
mod stake;
mod table;

pub use budget::cap;
pub use deal::Deal;
pub use table::table;

/// Time of the genesis of a [`Chain`].
pub const START: Timestamp = Timestamp(1_800_000_000_000);

/// How many blocks ahead the transactions of a [`Chain`] are valid.
const VALID_BLOCKS: u64 = 100;

/// The secret key number `n`, for tests alone: everyone knows it.
#[must_use]
pub fn key(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

/// A ledger, its operator, its issuer and its clock.
#[derive(Clone, Debug)]
pub struct Chain {
    operator: SecretKey,
    issuer: SecretKey,
    state: State,
    now: Timestamp,
    nonce: u64,
    blocks: Vec<Block>,
}

/// A [`Chain`] as it was.
#[derive(Clone, Debug)]
pub struct Snapshot(Chain);

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}

impl Chain {
    /// An empty ledger at [`START`].
    ///
    /// # Panics
    /// Never: its genesis is within the rules.
    #[must_use]
    pub fn new() -> Self {
        let (operator, issuer) = (key(254), key(255));
        let genesis = Genesis {
            version: LEDGER_VERSION,
            name: "test".into(),
            created_at: START,
            operator: operator.public(),
            issuer: issuer.public(),
            allocations: Vec::new(),
            grace_min: Millis(60_000),
            clock_skew: Millis(5_000),
        };
        let state = State::new(genesis).expect("the genesis is within the rules");
        Self { operator, issuer, state, now: START, nonce: 0, blocks: Vec::new() }
    }

    /// The state after the last block.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The time of the next block.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Every block so far.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Who orders transactions.
    #[must_use]
    pub fn operator(&self) -> &SecretKey {
        &self.operator
    }

    /// Who mints and burns.
    #[must_use]
    pub fn issuer(&self) -> &SecretKey {
        &self.issuer
    }

    /// Mints credits.
    ///
    /// # Panics
    /// If the ledger refuses.
    pub fn fund(&mut self, to: &PublicKey, amount: Credits) -> Entry {
        let issuer = self.issuer.clone();
        self.acting(&issuer).ok(Call::Mint { to: *to, amount })
    }

    /// Lets time pass.
    ///
    /// # Panics
    /// Past the end of time.
    pub fn advance(&mut self, span: Millis) {
        self.now = self.now.after(span).expect("tests end before time does");
    }

    /// Someone who acts.
    pub fn acting<'c>(&'c mut self, key: &'c SecretKey) -> Actor<'c> {
        Actor { chain: self, key }
    }

    /// Signs a call with a fresh nonce, without sending it.
    pub fn sign(&mut self, key: &SecretKey, call: Call) -> Signed<Tx> {
        self.nonce += 1;
        key.sign(Tx {
            network: self.state.network(),
            sender: key.public(),
            nonce: self.nonce,
            valid_until: Height(self.state.tip().height.0 + VALID_BLOCKS),
            call,
        })
    }

    /// Sends a transaction, alone in its block if it is applied.
    pub fn send(&mut self, tx: Signed<Tx>) -> Answer {
        let admitted = Admitted::check(tx)?;
        let mut answers = self.block(vec![admitted]);
        answers.pop().expect("one answer for one transaction")
    }

    /// Makes a block of everything that is not refused; none where that is nothing. A block that was proposed must
    /// verify to the same changes, and leave every invariant intact.
    ///
    /// # Panics
    /// If it does not.
    pub fn block(&mut self, txs: Vec<Admitted>) -> Vec<Answer> {
        let Proposal { block, batch, answers } = propose(&self.state, &self.operator, self.now, txs);
        if block.txs.is_empty() {
            return answers;
        }
        let checked = CheckedBlock::check(block.clone(), &self.operator.public(), Signatures::Check)
            .expect("a proposed block has good signatures");
        assert_eq!(verify(&self.state, &checked).as_ref(), Ok(&batch), "what was proposed verifies");
        self.commit(&batch);
        check_invariants(&self.state).expect("every invariant holds after every block");
        self.blocks.push(block);
        answers
    }

    /// Makes `count` blocks without transactions.
    pub fn idle(&mut self, count: u64) {
        for _ in 0..count {
            let Proposal { block, batch, .. } = propose(&self.state, &self.operator, self.now, Vec::new());
            self.commit(&batch);
            self.blocks.push(block);
        }
    }

    /// A checkpoint is named by the next block.
    fn commit(&mut self, batch: &Batch) {
        self.state.commit(batch);
        self.state.pending_checkpoint().map(PendingCheckpoint::finish);
    }

    /// The ledger as it is now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.clone())
    }

    /// Goes back to a snapshot.
    pub fn revert(&mut self, snapshot: Snapshot) {
        *self = snapshot.0;
    }

    /// The network file, signed.
    #[must_use]
    pub fn network_file(&self) -> Signed<NetworkFile> {
        let genesis = self.state.genesis().clone();
        self.operator.sign(NetworkFile { genesis, bootstrap: Vec::new(), witnesses: Witnesses::default() })
    }

    /// The whole ledger as an exported file.
    #[must_use]
    pub fn export(&self) -> Vec<u8> {
        let mut bytes = export::opening(&self.network_file());
        bytes.extend(self.blocks.iter().flat_map(export::block_frame));
        bytes.extend(export::closing(self.state.tip().height));
        bytes
    }
}

/// Someone who acts on a [`Chain`].
#[derive(Debug)]
pub struct Actor<'c> {
    chain: &'c mut Chain,
    key: &'c SecretKey,
}

impl Actor<'_> {
    /// Sends a call.
    ///
    /// # Errors
    /// With what the ledger refuses.
    pub fn call(&mut self, call: Call) -> Answer {
        let tx = self.chain.sign(self.key, call);
        self.chain.send(tx)
    }

    /// Sends a call that must be applied.
    ///
    /// # Panics
    /// If it is refused.
    pub fn ok(&mut self, call: Call) -> Entry {
        let name = call.name();
        match self.call(call) {
            Ok(entry) => entry,
            Err(reject) => panic!("{name} is refused: {} ({reject})", reject.name()),
        }
    }

    /// Sends a call that must be refused so.
    ///
    /// # Panics
    /// If it is applied, or refused otherwise.
    pub fn expect(&mut self, call: Call, reject: Reject) {
        let name = call.name();
        assert_eq!(self.call(call), Err(reject), "{name}");
    }
}
