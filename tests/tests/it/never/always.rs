//! What holds at every height of a ledger's life, as a stranger finds it who has the blocks alone.

use std::collections::BTreeMap;

use gridhour_contracts_sim::{
    audit::{Auditor, Trust},
    block::{Block, Signatures, verify_and_apply},
    harness::Chain,
    ledger::entry::{Book, Entry},
    limits::{BOND_MS_MAX, BUDGET_MS_MAX, RESERVATION_MS_MAX, UNBOND_DELAY, UNBONDINGS_MAX},
    state::{Stake, State},
};
use gridhour_node::consensus::expiry::{Due, expired};
use gridhour_protocol::{
    id::SessionId,
    limits::{GRACE_MS_MAX, SESSION_MS_MAX},
    units::{Credits, Timestamp},
    wire,
};
use testkit::sim::rng::Rng;

use super::life::for_each_life;

const LIVES: u64 = 16;

/// Replays the encoded blocks from the genesis, with every signature, and shows each height to `look`.
fn at_every_height(chain: &Chain, mut look: impl FnMut(&State, &[Entry])) {
    let mut state = State::new(chain.state().genesis().clone()).expect("a sound genesis");
    for block in chain.blocks() {
        let block: Block = wire::decode(&wire::encode(block)).expect("a block");
        let batch = verify_and_apply(&mut state, block, Signatures::Check).expect("an honest block");
        look(&state, batch.entries());
    }
    assert_eq!(state, *chain.state(), "the blocks are all there is");
}

/// What is issued, reckoned from the entries; and all that there is, counted piece by piece.
#[test]
fn the_sum_of_all_balances_and_holds_always_equals_what_was_issued() {
    for_each_life("the_sum_of_all_balances_and_holds_always_equals_what_was_issued", LIVES, |life| {
        let mut issued = 0_i128;
        at_every_height(&life.chain, |state, entries| {
            for posting in entries.iter().flat_map(|entry| &entry.postings) {
                let amount = i128::from(posting.amount.0);
                issued += if posting.debit == Book::Issuance { amount } else { 0 };
                issued -= if posting.credit == Book::Issuance { amount } else { 0 };
            }
            let totals = state.tip().totals;
            assert_eq!(everything(state), issued, "height {}", state.tip().height.0);
            assert_eq!(i128::from(totals.issued.0), issued, "as the header says");
            assert!(totals.are_conserved(), "{totals:?}");
        });
    });
}

fn everything(state: &State) -> i128 {
    let staked =
        |stake: &Stake| stake.unbonding.iter().map(|part| part.amount.0).sum::<u64>() + stake.bonded.0;
    let accounts = state.accounts().map(|(_, balance)| balance.0);
    let sessions = state.sessions().map(|(_, session)| session.held.0);
    let stakes = state.stakes().map(|(_, stake)| staked(stake));
    let pots = state.budgets().map(|(_, budget)| budget.pot.0);
    let slots = state.reservations().filter_map(|(_, reservation)| reservation.total()).map(|total| total.0);
    accounts.chain(sessions).chain(stakes).chain(pots).chain(slots).map(i128::from).sum()
}

/// Every hold has one that is not far off, that never moves back, and after which, and not before, anyone may have it
/// released.
#[test]
fn every_hold_always_has_a_deadline() {
    for_each_life("every_hold_always_has_a_deadline", LIVES, |life| {
        let mut sessions: BTreeMap<SessionId, Timestamp> = BTreeMap::new();
        at_every_height(&life.chain, |state, _| {
            for (id, session) in state.sessions() {
                let before =
                    sessions.insert(*id, session.collect_until).unwrap_or(session.terms.collect_until);
                assert!(session.collect_until <= before, "{id} got more time");
            }
            for (deadline, latest, due) in deadlines(state) {
                let height = state.tip().height.0;
                assert!(
                    deadline.since(state.tip().time).0 <= latest,
                    "height {height}: {due:?} at {deadline:?}"
                );
                let one = |at| expired(state, at).contains(&due);
                assert!(one(Timestamp(deadline.0 + 1)), "height {height}: nobody may release {due:?}");
                assert!(!one(Timestamp(deadline.0 - 1)), "height {height}: {due:?} is released too early");
            }
        });
    });
}

/// The deadline of every hold there is, the furthest that it may be off, and what is due after it.
fn deadlines(state: &State) -> Vec<(Timestamp, u64, Due)> {
    let mut all = Vec::new();
    for (id, session) in state.sessions() {
        all.push((session.collect_until, SESSION_MS_MAX + GRACE_MS_MAX, Due::Hold(*id)));
    }
    for (id, budget) in state.budgets().filter(|(_, budget)| !budget.closing) {
        all.push((budget.until, BUDGET_MS_MAX, Due::Budget(*id)));
    }
    for (device, stake) in state.stakes() {
        let (device, amount, until) = (*device, stake.bonded, stake.until);
        if let Some(part) = stake.unbonding.first() {
            let due = Due::Unbonding { device, release_at: part.release_at };
            all.push((part.release_at, UNBOND_DELAY.0, due));
        }
        // What is on its way back goes first, and as many unbondings as may wait leave no room for another.
        let first = stake.unbonding.first().is_none_or(|part| part.release_at.0 > until.0 + 1);
        if amount != Credits::ZERO && first && stake.unbonding.len() < UNBONDINGS_MAX {
            all.push((until, BOND_MS_MAX, Due::Bond { device, amount, until }));
        }
    }
    for (id, reservation) in state.reservations().filter(|(_, reservation)| reservation.is_live()) {
        let (terms, settled) = (&reservation.terms, reservation.settled);
        let missed = reservation.demand.filter(|demand| !demand.answered).map(|demand| demand.answer_by);
        let end = terms.start_of(settled + 1);
        let latest = RESERVATION_MS_MAX + terms.slot.0;
        all.push((missed.unwrap_or(end).min(end), latest, Due::Slots { reservation: *id, first: settled }));
    }
    all
}

/// Whoever begins at the genesis, at the records of any height, or with the exported file arrives at one state.
#[test]
fn replaying_the_log_always_gives_the_same_root() {
    for_each_life("replaying_the_log_always_gives_the_same_root", LIVES, |life| {
        let (chain, mut rng) = (&life.chain, Rng::new(life.chain.blocks().len() as u64));
        let mut roots = Vec::new();
        let mut kept = Vec::new();
        at_every_height(chain, |state, _| {
            roots.push(state.root());
            if rng.one_in(16) {
                kept.push((roots.len(), state.records()));
            }
        });
        assert!(kept.len() > 2, "a life of {} blocks", roots.len());
        for (from, records) in kept {
            let records = records.into_iter().filter_map(|(key, value)| Some((key, value?)));
            let mut state =
                State::from_records(chain.state().genesis().clone(), records).expect("sound records");
            assert_eq!(state.root(), roots[from - 1]);
            for (block, root) in chain.blocks()[from..].iter().zip(&roots[from..]) {
                verify_and_apply(&mut state, block.clone(), Signatures::CheckedBefore)
                    .expect("an honest block");
                assert_eq!(state.root(), *root, "from height {from} to {}", state.tip().height.0);
            }
        }
        let mut auditor = Auditor::new(Trust::Genesis(chain.state().network()));
        chain.export().chunks(997).for_each(|bytes| auditor.push(bytes));
        let (report, state) = auditor.finish();
        assert!(report.ok, "{:?}", report.findings);
        assert_eq!(state.map(|state| state.root()), roots.last().copied(), "as an audit finds it");
    });
}
