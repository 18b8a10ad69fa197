//! What a ledger node says, beside what it can prove of it.
//!
//! A proof is as of the last checkpoint, at most [`CHECKPOINT_MS`] old on a ledger where anything happened since. What
//! differs from it is newer, or a lie: which of the two shows at the next checkpoint, and until then it is the node's
//! word and marked so.
//!
//! [`CHECKPOINT_MS`]: gridhour_contracts_sim::limits::CHECKPOINT_MS

use gridhour_contracts_sim::{
    proof::{ProvenRecord, RecordProof},
    state::{Session, StateKey, StateValue},
};
use gridhour_protocol::{
    id::SessionId,
    signed::PublicKey,
    units::{Credits, Millis, Timestamp},
};

use super::{LedgerClient, LedgerError};
use crate::rpc::{Account, Hold, Purpose};

/// A record that was proven, and its proof, for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// What is proven.
    pub proven: ProvenRecord,
    /// By this.
    pub proof: RecordProof,
}

impl Evidence {
    /// The balance that is proven; of an account that is not there, nothing.
    #[must_use]
    pub fn balance(&self) -> Credits {
        match self.proven.value {
            Some(StateValue::Balance(balance)) => balance,
            _ => Credits::ZERO,
        }
    }

    /// The session that is proven to be open or closing.
    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        match &self.proven.value {
            Some(StateValue::Session(session)) => Some(session),
            _ => None,
        }
    }

    /// Whether a session that was open at `seen`, by a clock that may differ from the ledger's by `skew`, is proven to
    /// have ended: it is not there after a later block. A checkpoint from before says nothing, and an old one is all
    /// that who wants a session to be forgotten would have to show.
    #[must_use]
    pub fn shows_end(&self, seen: Timestamp, skew: Millis) -> bool {
        self.proven.value.is_none() && self.proven.time.since(seen) > skew
    }
}

/// An account as its ledger node says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedAccount {
    /// What it says.
    pub said: Account,
    /// What it proves of the balance; `None` if there is no checkpoint that it could prove anything of.
    pub evidence: Option<Evidence>,
    /// For each hold that it says there is, whether it proves it.
    pub holds_proven: Vec<bool>,
}

impl CheckedAccount {
    /// Whether the balance is proven to be as the node says.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.evidence.as_ref().is_some_and(|evidence| evidence.balance() == self.said.balance)
    }
}

/// A record as its ledger node says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedRecord {
    /// What it says; `None` where there is no record.
    pub said: Option<StateValue>,
    /// What it proves; `None` if there is no checkpoint that it could prove anything of.
    pub evidence: Option<Evidence>,
}

impl CheckedRecord {
    /// Whether the record is proven to be as the node says.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.evidence.as_ref().is_some_and(|evidence| evidence.proven.value == self.said)
    }
}

impl LedgerClient {
    /// A record as it is now, checked by proof as far as there is one.
    ///
    /// # Errors
    /// [`LedgerError::Lie`] if the node offers a proof that is none; or if it does not answer.
    pub async fn checked_record(&self, key: StateKey) -> Result<CheckedRecord, LedgerError> {
        let said = self.record(key).await?;
        Ok(CheckedRecord { said, evidence: self.prove(key).await? })
    }

    /// Balance and holds, checked by proof as far as there is one.
    ///
    /// # Errors
    /// [`LedgerError::Lie`] if the node offers a proof that is none; or if it does not answer.
    pub async fn checked_account(&self, account: PublicKey) -> Result<CheckedAccount, LedgerError> {
        let said = self.account(account).await?;
        let evidence = self.prove(StateKey::Account(account)).await?;
        let mut holds_proven = Vec::with_capacity(said.holds.len());
        for hold in &said.holds {
            let evidence = self.prove(record_of(&hold.purpose)).await?;
            let record = evidence.as_ref().and_then(|evidence| evidence.proven.value.as_ref());
            holds_proven.push(record.is_some_and(|record| holds(record, hold, &account)));
        }
        Ok(CheckedAccount { said, evidence, holds_proven })
    }

    /// A session as of the last checkpoint. `None` if there is no checkpoint that anything could be proven of.
    ///
    /// # Errors
    /// [`LedgerError::Lie`] if it is not proven; or if the node does not answer.
    pub async fn prove_session(&self, session: SessionId) -> Result<Option<Evidence>, LedgerError> {
        self.prove(StateKey::Session(session)).await
    }
}

/// The record that says what is set aside.
fn record_of(purpose: &Purpose) -> StateKey {
    match purpose {
        Purpose::Session { session, .. } => StateKey::Session(*session),
        Purpose::Budget { budget } => StateKey::Budget(*budget),
        Purpose::Bond { device } | Purpose::Unbonding { device } => StateKey::Stake(*device),
        Purpose::Prepaid { reservation, .. } | Purpose::Promised { reservation, .. } => {
            StateKey::Reservation(*reservation)
        }
    }
}

/// Whether the record says that so much is set aside for this, out of what `owner` has.
fn holds(record: &StateValue, hold: &Hold, owner: &PublicKey) -> bool {
    let said = (hold.amount, hold.deadline);
    match (record, &hold.purpose) {
        (StateValue::Session(session), Purpose::Session { provider, .. }) => {
            let parties = (&session.terms.client, &session.terms.provider);
            parties == (owner, provider) && (session.held, session.collect_until) == said
        }
        (StateValue::Budget(budget), Purpose::Budget { .. }) => {
            budget.owner == *owner && (budget.pot, budget.until) == said
        }
        (StateValue::Stake(stake), Purpose::Bond { .. }) => {
            stake.owner == *owner && (stake.bonded, stake.until) == said
        }
        (StateValue::Stake(stake), Purpose::Unbonding { .. }) => {
            let parts = &stake.unbonding;
            stake.owner == *owner && parts.iter().any(|part| (part.amount, part.release_at) == said)
        }
        (StateValue::Reservation(known), Purpose::Prepaid { provider, .. }) => {
            let parties = (&known.terms.client, &known.terms.provider);
            parties == (owner, provider) && (known.prepaid(), known.end()) == said
        }
        (StateValue::Reservation(known), Purpose::Promised { client, .. }) => {
            let parties = (&known.terms.provider, &known.terms.client);
            parties == (owner, client) && (known.bond(), known.end()) == said
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::{
        harness::{Chain, Deal, START, cap, key},
        limits::BUDGET_MIN,
        tx::Call,
    };

    use super::*;
    use crate::drivers::validator::account_of;

    /// The session of nobody, after a checkpoint at [`START`].
    fn evidence() -> Evidence {
        let mut chain = Chain::new();
        chain.idle(1);
        let key = StateKey::Session(SessionId([1; 32]));
        let shown = chain.state().show(&key).expect("the genesis is a checkpoint");
        let header = chain.blocks()[0].header.clone();
        let proof = RecordProof { key, value: shown.value, proof: shown.proof, header };
        let proven = proof.verify(&chain.state().genesis().into(), &key).expect("it holds");
        Evidence { proven, proof }
    }

    #[test]
    fn a_session_has_ended_when_it_is_gone_after_it_was_seen() {
        let evidence = evidence();
        let before = |ms: u64| Timestamp(START.0 - ms);
        assert!(evidence.shows_end(before(5_001), Millis(5_000)));
        assert!(!evidence.shows_end(before(5_000), Millis(5_000)), "the clocks may differ so much");
        assert!(!evidence.shows_end(Timestamp(START.0 + 1), Millis(0)), "an old checkpoint says nothing");
        let mut open = evidence;
        open.proven.value = Some(StateValue::Balance(Credits(1)));
        assert!(!open.shows_end(before(5_001), Millis(5_000)), "it is there");
    }

    /// A ledger on which one account has a session, bonds, an unbonding, a budget, and reservations on either side.
    fn busy() -> (Chain, PublicKey) {
        let (mut chain, owner) = (Chain::new(), key(1));
        chain.fund(&owner.public(), Credits(1 << 40));
        let session = Deal::new(&chain, &owner, &key(2));
        chain.acting(&owner).ok(session.open());
        let provider = Deal::new(&chain, &key(3), &owner);
        chain.acting(&owner).ok(provider.register());
        let (device, until) = (provider.device(), Timestamp(START.0 + 3_600_000));
        chain.acting(&owner).ok(Call::Bond { device, amount: Credits(20_000_000), until });
        chain.acting(&owner).ok(Call::Unbond { device, amount: Credits(5_000_000) });
        let plan = Box::new(chain.plan(vec![cap(None, None, Credits(1_000))]));
        chain.acting(&owner).ok(Call::Plan { plan, amount: BUDGET_MIN });
        for (client, provider) in [(key(1), key(4)), (key(5), key(1))] {
            let mut deal = Deal::new(&chain, &client, &provider);
            deal.advert.device.name = "reserved".into();
            chain.ready_device(&deal);
            chain.book(&deal, &deal.reservation());
        }
        (chain, owner.public())
    }

    #[test]
    fn every_kind_of_hold_is_proven_by_its_record_and_no_other() {
        let (chain, owner) = busy();
        let said = account_of(chain.state(), &owner).holds;
        let records =
            said.iter().map(|hold| chain.state().value(&record_of(&hold.purpose)).expect("it is there"));
        let records: Vec<StateValue> = records.collect();
        assert_eq!(said.len(), 7);
        for (at, hold) in said.iter().enumerate() {
            for (other, record) in records.iter().enumerate() {
                // Bond and unbonding are of one record.
                let same = at == other || records[at] == *record;
                assert_eq!(holds(record, hold, &owner), same, "{hold:?} by {record:?}");
            }
            let record = &records[at];
            let (more, later) = (Credits(hold.amount.0 + 1), Timestamp(hold.deadline.0 + 1));
            assert!(!holds(record, &Hold { amount: more, ..*hold }, &owner), "{hold:?}");
            assert!(!holds(record, &Hold { deadline: later, ..*hold }, &owner), "{hold:?}");
            assert!(!holds(record, hold, &key(9).public()), "{hold:?}");
        }
    }
}
