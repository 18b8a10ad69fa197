//! The ledger's only operator: answers requests, one block a transaction, and never answers before the block
//! is durable.

use std::sync::Arc;

use gridhour_contracts_sim::{
    block::propose,
    genesis::Genesis,
    ledger::{admit::Admitted, entry::Entry, reject::Reject},
    state::{Session, State},
    tx::Tx,
};
use gridhour_node::store::{
    journal::Journal,
    ledger_dir::{Ledger, OpenError},
    log_error::LogError,
    restore::RestoreError,
    state_store::MemoryStore,
};
use gridhour_protocol::{
    id::SessionId,
    signed::{SecretKey, Signed},
    units::Height,
    wire,
};

use super::{context::Context, durable::PowerCut, fact::Fact};
use crate::actors::{Actor, Input};

/// What a node asks of the ledger.
#[derive(Clone, Debug)]
pub enum Request {
    /// Apply this.
    Submit(Box<Signed<Tx>>),
    /// How a session stands.
    Session(SessionId),
    /// Sessions past their deadline.
    Overdue,
    /// Encoded blocks from this height on.
    Blocks {
        /// The first.
        from: Height,
    },
}

/// What the ledger answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It is applied, and durable.
    Applied(Box<Entry>),
    /// It is not.
    Refused(Reject),
    /// The session, if it is open or closing.
    Session(Option<Box<Session>>),
    /// Sessions past their deadline.
    Overdue(Vec<SessionId>),
    /// Blocks in order, a few at most; none beyond the last.
    Blocks(Vec<Vec<u8>>),
}

/// The operator's node: the real journal, on the node's disk.
pub struct LedgerNode {
    operator: SecretKey,
    genesis: Genesis,
    ledger: Option<(Journal, State)>,
}

/// Most blocks of one answer.
const BLOCKS_MAX: u64 = 8;

impl LedgerNode {
    /// A node that has not read its journal yet.
    #[must_use]
    pub fn new(operator: SecretKey, genesis: Genesis) -> Self {
        Self { operator, genesis, ledger: None }
    }

    fn opened(&mut self) -> (&mut Journal, &mut State) {
        let (journal, state) = self.ledger.as_mut().expect("a node starts before it hears anything");
        (journal, state)
    }

    fn answer(&mut self, request: Request, cx: &mut Context<'_>) -> Result<Answer, PowerCut> {
        let (journal, state) = self.opened();
        Ok(match request {
            Request::Submit(tx) => self.submit(*tx, cx)?,
            Request::Session(id) => Answer::Session(state.session(&id).cloned().map(Box::new)),
            Request::Overdue => {
                let now = cx.now();
                let overdue = state.sessions().filter(|(_, session)| session.collect_until < now);
                Answer::Overdue(overdue.map(|(id, _)| *id).collect())
            }
            Request::Blocks { from } => {
                let end = (state.tip().height.0 + 1).min(from.0.saturating_add(BLOCKS_MAX));
                let reader = journal.reader();
                let read = |height| reader.read(height).expect("the ledger node's disk keeps what it synced");
                Answer::Blocks((from.0..end).map(read).collect())
            }
        })
    }

    fn submit(&mut self, tx: Signed<Tx>, cx: &mut Context<'_>) -> Result<Answer, PowerCut> {
        let (sender, call) = (tx.body.sender, tx.body.call.name());
        match self.apply(tx, cx)? {
            Ok(entry) => Ok(Answer::Applied(Box::new(entry))),
            Err(why) => {
                cx.report(Fact::Refused { sender, call, why });
                Ok(Answer::Refused(why))
            }
        }
    }

    fn apply(&mut self, tx: Signed<Tx>, cx: &mut Context<'_>) -> Result<Result<Entry, Reject>, PowerCut> {
        let admitted = match Admitted::check(tx) {
            Ok(admitted) => admitted,
            Err(why) => return Ok(Err(why)),
        };
        let operator = self.operator.clone();
        let (journal, state) = self.opened();
        let mut proposal = propose(state, &operator, cx.now(), vec![admitted]);
        let answer = proposal.answers.pop().expect("one transaction, one answer");
        if answer.is_ok() {
            let block = wire::encode(&proposal.block);
            write(journal, &block)?;
            state.commit(&proposal.batch);
            cx.publish(block);
            self.report_root(cx);
        }
        Ok(answer)
    }

    fn report_root(&mut self, cx: &mut Context<'_>) {
        let (_, state) = self.opened();
        cx.report(Fact::Root { height: state.tip().height, root: state.root() });
    }
}

/// Durable on return.
fn write(journal: &mut Journal, block: &[u8]) -> Result<(), PowerCut> {
    journal.append(block).and_then(|_| journal.sync()).map_err(|error| match error {
        LogError::Disk { .. } => PowerCut,
        other => panic!("a disk with room and power refuses a block: {other}"),
    })
}

impl Actor for LedgerNode {
    /// Reads the journal. A block that was durable when the power went, before anyone heard of it, is published now.
    fn start(&mut self, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        let ledger = match open(cx, &self.genesis) {
            Ok(ledger) => ledger,
            Err(Unopened::PowerCut) => return Err(PowerCut),
            Err(Unopened::Damaged(error)) => panic!("nothing damages the ledger node's disk: {error}"),
        };
        let reader = ledger.journal.reader();
        for height in cx.published() as u64 + 1..=ledger.state.tip().height.0 {
            cx.publish(reader.read(height).expect("it was read a moment ago"));
        }
        self.ledger = Some((ledger.journal, ledger.state));
        self.report_root(cx);
        Ok(())
    }

    fn hear(&mut self, input: Input, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        if let Input::Request { from, id, request } = input {
            let answer = self.answer(request, cx)?;
            cx.answer(from, id, answer);
        }
        Ok(())
    }
}

/// Why a journal in the world cannot be opened.
pub enum Unopened {
    /// The power went meanwhile.
    PowerCut,
    /// It is not what was written. The sentence names the place.
    Damaged(String),
}

/// Opens the ledger on the node's disk with the code of a real node, and reports what it found. The state is built from
/// the journal each time.
///
/// # Errors
/// If the power goes, or the journal is damaged.
///
/// # Panics
/// If it is refused for anything but damage.
pub fn open(cx: &mut Context<'_>, genesis: &Genesis) -> Result<Ledger, Unopened> {
    let (disk, store) = (Arc::new(cx.disk().clone()), Box::new(MemoryStore::default()));
    match Ledger::open_on(disk, store, genesis) {
        Ok(ledger) => {
            if ledger.torn.is_some() {
                cx.report(Fact::Torn { node: cx.me() });
            }
            Ok(ledger)
        }
        Err(OpenError::Restore(RestoreError::Journal(LogError::Disk { .. }))) => Err(Unopened::PowerCut),
        Err(OpenError::Restore(RestoreError::Journal(error @ LogError::Corrupt { .. }))) => {
            Err(Unopened::Damaged(error.to_string()))
        }
        Err(other) => panic!("a journal is whole or damaged, and this says: {other}"),
    }
}
