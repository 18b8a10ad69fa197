//! What an organisation's caps and pot may never come to.

use std::{collections::BTreeSet, sync::Arc};

use gridhour_contracts_sim::{
    block::{Signatures, verify_and_apply},
    harness::{Chain, Deal, cap, key},
    ledger::{
        entry::{Book, Event},
        reject::Reject,
    },
    limits::BUDGET_MIN,
    state::State,
    tx::{Call, CapPlan, Tx},
};
use gridhour_node::{
    consensus::{
        Ordering, SubmitError,
        ledger_time::{Clock, Reading},
        solo::Solo,
    },
    store::{ledger_dir::Ledger, state_store::MemoryStore},
};
use gridhour_protocol::{
    id::BudgetId,
    signed::{SecretKey, Signed},
    units::{Credits, Height, Millis},
};
use testkit::{
    seeds::seeds,
    sim::{disk::SimDisk, rng::Rng},
};

use super::life::for_each_life;

const OWNER: u8 = 3;
const PROVIDER: u8 = 2;
/// Amount, parent and spender of each cap: an organisation of 1,000, a team of 600, three keys.
const TREE: [(u64, Option<u16>, Option<u8>); 5] = [
    (1_000, None, None),
    (600, Some(0), None),
    (400, Some(1), Some(11)),
    (400, Some(1), Some(12)),
    (900, Some(0), Some(13)),
];
/// The keys that spend, and the places of their caps.
const SPENDERS: [(u8, u16); 3] = [(11, 2), (12, 3), (13, 4)];

fn caps() -> Vec<CapPlan> {
    let planned = |(amount, parent, spender): (u64, Option<u16>, Option<u8>)| {
        cap(parent, spender.map(|spender| key(spender).public()).as_ref(), Credits(amount))
    };
    TREE.map(planned).to_vec()
}

fn deal(chain: &Chain, spender: u8, number: u64, hold: u64) -> Deal {
    let mut deal = Deal::new(chain, &key(spender), &key(PROVIDER));
    (deal.order.nonce, deal.terms.nonce, deal.hold) = (number, number, Credits(hold));
    deal.order.total_max = Credits(100_000);
    deal
}

/// A clock that stands at the beginning of the ledger.
struct Still(Reading);

impl Clock for Still {
    fn read(&self) -> Reading {
        self.0
    }
}

/// The real sequencer, and everyone at once: threads race for the caps, in every order that they come in. What is held
/// is never more than any cap; and no less than fits, so that who was refused was refused for a reason.
#[test]
fn concurrent_first_calls_never_overspend_a_cap() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().expect("a runtime");
    for seed in seeds(12) {
        let chain = Chain::new();
        let plan = chain.plan(caps());
        let budget = plan.budget_of(&key(OWNER).public());
        let disk = Arc::new(SimDisk::new(seed));
        let ledger = Ledger::open_on(disk, Box::new(MemoryStore::default()), chain.state().genesis());
        let now = Reading { wall: chain.now(), steady: std::time::Duration::ZERO };
        let solo = Solo::start(ledger.expect("opens"), chain.operator().clone(), Box::new(Still(now)));
        let solo = Arc::new(solo.expect("the operator's key"));
        let mint = Call::Mint { to: key(OWNER).public(), amount: BUDGET_MIN };
        let make = Call::Plan { plan: Box::new(plan), amount: BUDGET_MIN };
        runtime.block_on(async {
            solo.submit(sign(&chain, chain.issuer(), 1, mint)).await.expect("minted");
            solo.submit(sign(&chain, &key(OWNER), 1, make)).await.expect("planned");
        });
        let mut rng = Rng::new(seed);
        let draws = (0..90).map(|number| {
            let (spender, place) = SPENDERS[rng.below(3) as usize];
            let draw = deal(&chain, spender, number, 1 + rng.below(90)).draw(budget, place);
            sign(&chain, &key(spender), number, draw)
        });
        let refused = runtime.block_on(submit_at_once(&solo, draws.collect()));
        assert!(refused.iter().all(|why| *why == SubmitError::Rejected(Reject::OverCap)), "{refused:?}");
        assert!(!refused.is_empty(), "seed {seed}: nobody was at a cap");
        solo.view().read(|state| {
            let known = state.budget(&budget).expect("it is open");
            for (at, cap) in known.caps.iter().enumerate() {
                let below = |place: u16| known.path(place).contains(&at);
                let under =
                    |client| SPENDERS.iter().any(|(n, place)| key(*n).public() == client && below(*place));
                let held = state.sessions().filter(|(_, session)| under(session.terms.client));
                let held: u64 = held.map(|(_, session)| session.held.0).sum();
                assert!(held <= TREE[at].0, "seed {seed}: {held} under cap {at}");
                assert_eq!(cap.used_in(0), Credits(held), "seed {seed}, cap {at}");
            }
            let left = TREE[0].0 - known.caps[0].used_in(0).0;
            assert!(left < 90, "seed {seed}: {left} were left, and somebody was refused");
        });
    }
}

fn sign(chain: &Chain, who: &SecretKey, nonce: u64, call: Call) -> Signed<Tx> {
    let (network, valid_until) = (chain.state().network(), Height(1_000));
    who.sign(Tx { network, sender: who.public(), nonce, valid_until, call })
}

/// Hands in all of them from as many tasks, and returns the refusals.
async fn submit_at_once(solo: &Arc<Solo>, txs: Vec<Signed<Tx>>) -> Vec<SubmitError> {
    let start = Arc::new(tokio::sync::Barrier::new(txs.len()));
    let tasks = txs.into_iter().map(|tx| {
        let (solo, start) = (solo.clone(), start.clone());
        tokio::spawn(async move {
            start.wait().await;
            solo.submit(tx).await
        })
    });
    let mut refused = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        refused.extend(task.await.expect("no task panics").err());
    }
    refused
}

/// A hold may take all of a cap while it lasts, and what it turns out not to need is there again the moment that it ends,
/// whichever way it ends, in the same period: at zero spend the budget is whole.
#[test]
fn a_hold_is_never_so_large_that_the_budget_is_full_at_zero_spend() {
    for (spender, place) in SPENDERS {
        for spent in [0, 1, 120] {
            for by_deadline in [false, true] {
                let mut chain = Chain::new();
                let budget = chain.open_budget(&key(OWNER), caps());
                let most = TREE[usize::from(place)].0;
                for round in 0..3 {
                    let whole = most - if by_deadline { 0 } else { round * spent };
                    let full = deal(&chain, spender, 2 * round, whole);
                    chain.acting(&key(spender)).ok(full.draw(budget, place));
                    let more = deal(&chain, spender, 2 * round + 1, 1).draw(budget, place);
                    chain.acting(&key(spender)).expect(more, Reject::OverCap);
                    end(&mut chain, &full, spent, by_deadline);
                    let used = if by_deadline { 0 } else { (round + 1) * spent };
                    assert_eq!(
                        used_under(&chain, &budget, place),
                        used,
                        "{spender}: what was spent, no more"
                    );
                }
            }
        }
    }
}

/// Ends a session: with what was spent by its provider, or with nothing, by anyone, after its deadline.
fn end(chain: &mut Chain, deal: &Deal, spent: u64, by_deadline: bool) {
    let session = deal.session();
    if by_deadline {
        chain.advance(Millis(12 * 60_000 + 1));
        chain.acting(&key(9)).ok(Call::Expire { session });
    } else {
        let vouchers = if spent > 0 { vec![deal.voucher(0, 1, Credits(spent))] } else { Vec::new() };
        chain.acting(&key(PROVIDER)).ok(Call::Close { session, vouchers, release: None });
    }
}

fn used_under(chain: &Chain, budget: &BudgetId, place: u16) -> u64 {
    let budget = chain.state().budget(budget).expect("it is open");
    budget.caps[usize::from(place)].used_in(budget.period_at(chain.now())).0
}

/// By whatever call a pot is paid out of, it was charged to every cap above, or went home to its owner. This is the
/// ledger's part: a route of a node above it can hold money in no other way.
#[test]
fn a_new_route_never_escapes_the_budget() {
    for_each_life("a_new_route_never_escapes_the_budget", 12, |life| {
        let mut state = State::new(life.chain.state().genesis().clone()).expect("sound");
        let mut routes = BTreeSet::new();
        for block in life.chain.blocks() {
            let signatures = Signatures::CheckedBefore;
            let before = state.clone();
            let batch = verify_and_apply(&mut state, block.clone(), signatures).expect("an honest block");
            for entry in batch.entries() {
                for posting in &entry.postings {
                    let Book::Budget(budget) = posting.debit else { continue };
                    routes.insert(entry.event.name());
                    if let Event::Opened { session, .. } | Event::ToppedUp { session } = entry.event {
                        let cap = state
                            .session(&session)
                            .and_then(|session| session.draw?.budget().copied())
                            .expect("a draw")
                            .cap;
                        let (old, new) =
                            (before.budget(&budget).expect("open"), state.budget(&budget).expect("open"));
                        let period = new.period_at(state.tip().time);
                        for at in new.path(cap) {
                            let grown = new.caps[at].used_in(period).0 - old.caps[at].used_in(period).0;
                            assert_eq!(grown, posting.amount.0, "cap {at} by {}", entry.event.name());
                            assert!(new.caps[at].used_in(period) <= new.caps[at].plan.amount);
                        }
                    } else {
                        let owner = before.budget(&budget).expect("open").owner;
                        assert_eq!(posting.credit, Book::Account(owner), "{} pays out", entry.event.name());
                    }
                }
            }
        }
        let known = BTreeSet::from(["opened", "topped-up", "budget-closed"]);
        assert!(routes.is_subset(&known), "a new way out of a pot: {routes:?}");
    });
}
