//! The ledger's only operator: answers requests, one block a transaction, and never answers before the block
//! is durable.

use gridhour_contracts_sim::{
    block::{Signatures, propose, verify_and_apply},
    genesis::Genesis,
    ledger::{admit::Admitted, entry::Entry, reject::Reject},
    state::{Session, State},
    tx::Tx,
};
use gridhour_protocol::{
    id::SessionId,
    signed::{SecretKey, Signed},
    units::Height,
    wire,
};

use super::{
    chronicle::{block_key, read_block},
    context::Context,
    durable::PowerCut,
    fact::Fact,
};
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
}

/// The operator's node.
pub struct LedgerNode {
    operator: SecretKey,
    state: State,
}

impl LedgerNode {
    /// A node that has not read its blocks yet.
    ///
    /// # Panics
    /// If the genesis breaks its own rules: the scenario is wrong.
    #[must_use]
    pub fn new(operator: SecretKey, genesis: Genesis) -> Self {
        Self { operator, state: State::new(genesis).expect("the scenario's genesis is sound") }
    }

    fn answer(&mut self, request: Request, cx: &mut Context<'_>) -> Result<Answer, PowerCut> {
        Ok(match request {
            Request::Submit(tx) => self.submit(*tx, cx)?,
            Request::Session(id) => Answer::Session(self.state.session(&id).cloned().map(Box::new)),
            Request::Overdue => {
                let now = cx.now();
                let overdue = self.state.sessions().filter(|(_, session)| session.collect_until < now);
                Answer::Overdue(overdue.map(|(id, _)| *id).collect())
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
        let mut proposal = propose(&self.state, &self.operator, cx.now(), vec![admitted]);
        let answer = proposal.answers.pop().expect("one transaction, one answer");
        if answer.is_ok() {
            let key = block_key(proposal.block.height());
            cx.save([(key, Some(wire::encode(&proposal.block)))])?;
            self.state.commit(&proposal.batch);
            self.report_root(cx);
        }
        Ok(answer)
    }

    fn report_root(&self, cx: &mut Context<'_>) {
        cx.report(Fact::Root { height: self.state.tip().height, root: self.state.root() });
    }
}

impl Actor for LedgerNode {
    fn start(&mut self, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        for height in (1..).map(Height) {
            let Some(bytes) = cx.saved().get(&block_key(height)) else { break };
            verify_and_apply(&mut self.state, read_block(bytes), Signatures::CheckedBefore)
                .expect("the node wrote only blocks that it could apply");
        }
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
