//! A checkpoint between the block behind which it is begun and the one that names it.

use std::collections::BTreeMap;

use gridhour_contracts_sim::{
    block::{Block, Header, Proposal, Signatures, propose, verify_and_apply},
    finding::{Finding, Rule},
    harness::{Chain, key},
    ledger::admit::Admitted,
    limits::{CHECKPOINT_BLOCKS, CHECKPOINT_LAG_BLOCKS, CHECKPOINT_MS},
    state::{PendingCheckpoint, State, StateKey, StateValue, check_invariants},
    tx::Call,
};
use gridhour_protocol::units::{Credits, Height, Millis};

/// A ledger at which a checkpoint was just begun, which nobody hashes: [`Chain`] itself is always quick.
struct Slow {
    chain: Chain,
    state: State,
    begun: Height,
}

impl Slow {
    fn new() -> Self {
        let mut chain = Chain::new();
        chain.fund(&key(1).public(), Credits(1_000));
        let mut slow = Self { state: chain.state().clone(), chain, begun: Height(0) };
        slow.chain.advance(Millis(CHECKPOINT_MS));
        slow.pay(9);
        slow.begun = slow.state.tip().height;
        assert_eq!(slow.pending(), Some(slow.begun));
        slow
    }

    /// A block in which one credit goes to somebody.
    fn pay(&mut self, to: u8) -> Block {
        let call = Call::Transfer { to: key(to).public(), amount: Credits(1) };
        let tx = self.chain.sign(&key(1), call);
        let tx = Admitted::check(tx).expect("it is well formed");
        let Proposal { block, batch, answers } =
            propose(&self.state, self.chain.operator(), self.chain.now(), vec![tx]);
        assert!(answers[0].is_ok());
        self.state.commit(&batch);
        check_invariants(&self.state).expect("every invariant holds after every block");
        block
    }

    fn finish(&self) {
        self.state.pending_checkpoint().map(PendingCheckpoint::finish);
    }

    fn pending(&self) -> Option<Height> {
        self.state.pending_checkpoint().map(PendingCheckpoint::height)
    }

    fn named(&self) -> Height {
        self.state.tip().checkpoint.height
    }

    fn balance_shown(&self, of: u8) -> Option<StateValue> {
        self.state.show(&StateKey::Account(key(of).public())).expect("the tree is the state's own").value
    }
}

fn credits(amount: u64) -> Option<StateValue> {
    Some(StateValue::Balance(Credits(amount)))
}

#[test]
fn a_block_names_a_checkpoint_when_it_is_finished() {
    let mut slow = Slow::new();
    slow.pay(9);
    slow.pay(9);
    assert_eq!((slow.named(), slow.pending()), (Height(0), Some(slow.begun)));
    assert_eq!(slow.balance_shown(9), None, "as of the checkpoint before");
    slow.finish();
    slow.pay(9);
    assert_eq!((slow.named(), slow.pending()), (slow.begun, None));
    assert_eq!(slow.balance_shown(9), credits(1), "what came after it is not in it");
    assert_eq!(slow.state.balance(&key(9).public()), Credits(4));
}

#[test]
fn a_block_names_an_unfinished_checkpoint_when_it_must() {
    let mut slow = Slow::new();
    for _ in 1..CHECKPOINT_LAG_BLOCKS {
        slow.pay(9);
        assert_eq!(slow.named(), Height(0));
    }
    slow.pay(9);
    assert_eq!((slow.named(), slow.pending()), (slow.begun, None));
    assert_eq!(slow.balance_shown(9), credits(1));
}

/// While one is pending, the next waits: blocks name checkpoints in the order in which they were begun.
#[test]
fn no_checkpoint_is_begun_while_one_is_pending() {
    let mut slow = Slow::new();
    while slow.state.tip().height.0 < CHECKPOINT_BLOCKS - 2 {
        slow.finish();
        slow.pay(9);
    }
    slow.chain.advance(Millis(CHECKPOINT_MS));
    slow.pay(9);
    assert_eq!(slow.pending(), Some(Height(CHECKPOINT_BLOCKS - 1)));
    slow.pay(9);
    assert_eq!(slow.pending(), Some(Height(CHECKPOINT_BLOCKS - 1)), "one would be due");
    slow.chain.advance(Millis(CHECKPOINT_MS));
    slow.finish();
    slow.pay(9);
    assert_eq!(slow.named(), Height(CHECKPOINT_BLOCKS - 1));
    assert_eq!(slow.pending(), Some(Height(CHECKPOINT_BLOCKS + 1)), "time made it due");
}

/// Whoever names it when, roots and shown values are the same.
#[test]
fn the_root_does_not_depend_on_when_it_was_made() {
    let roots = (0..CHECKPOINT_LAG_BLOCKS).step_by(7).map(|waits| {
        let mut slow = Slow::new();
        (0..waits).for_each(|_| drop(slow.pay(9)));
        slow.finish();
        slow.pay(9);
        assert_eq!((slow.named(), slow.balance_shown(9)), (slow.begun, credits(1)));
        assert_eq!(slow.state.root(), load(&slow.state).root(), "what is kept since is whole");
        slow.state.tip().checkpoint.root
    });
    let roots: Vec<_> = roots.collect();
    assert!(roots.len() > 5 && roots.windows(2).all(|pair| pair[0] == pair[1]), "{roots:?}");
}

fn load(state: &State) -> State {
    let records = state.records().into_iter();
    let records: BTreeMap<_, _> = records.map(|(key, value)| (key, value.expect("a record"))).collect();
    State::from_records(state.genesis().clone(), &records).expect("a state")
}

/// Records of a later block cannot give the root; so it is stored with them, and compared with what the block says.
#[test]
fn a_state_stored_while_a_checkpoint_was_pending_goes_on() {
    let mut slow = Slow::new();
    slow.pay(8);
    let mut loaded = load(&slow.state);
    assert_eq!(loaded, slow.state);
    slow.finish();
    let naming = slow.pay(9);
    let good = verify_and_apply(&mut loaded.clone(), naming.clone(), Signatures::Check);
    assert!(good.is_ok());
    let mut header = naming.header.body.clone();
    header.checkpoint.root[0] ^= 1;
    let lie = Block { header: slow.chain.operator().sign(header), ..naming.clone() };
    let refused = verify_and_apply(&mut loaded, lie, Signatures::Check);
    assert_eq!(refused.unwrap_err().rule, Rule::StateRoot);
    verify_and_apply(&mut loaded, naming, Signatures::Check).expect("it was left as it was");
    assert_eq!(loaded, slow.state);
    assert_eq!(loaded.show(&StateKey::Account(key(9).public())), None, "it saw too little");
}

impl Slow {
    /// The next block, whose header its operator changed before it signed.
    fn next_with(&self, change: impl FnOnce(&mut Header)) -> Block {
        let operator = self.chain.operator();
        let Proposal { block, .. } = propose(&self.state, operator, self.chain.now(), Vec::new());
        let mut header = block.header.body;
        change(&mut header);
        Block { header: operator.sign(header), txs: block.txs }
    }

    fn take(&mut self, block: Block) -> Result<(), Finding> {
        verify_and_apply(&mut self.state, block, Signatures::Check).map(drop)
    }
}

#[test]
fn a_header_names_the_pending_checkpoint_or_for_a_while_the_one_before() {
    let mut slow = Slow::new();
    let before = slow.state.tip().checkpoint;
    let pending = slow.state.pending_checkpoint().expect("one is pending").finish();
    let lies: [fn(&mut Header); 4] = [
        |header| header.checkpoint.root[5] ^= 1,
        |header| header.checkpoint.time.0 += 1,
        |header| header.checkpoint.height.0 += 1,
        |header| header.checkpoint.height = header.height,
    ];
    for _ in 1..CHECKPOINT_LAG_BLOCKS {
        for (named, lie) in [before, pending].into_iter().zip(lies.iter().cycle()) {
            let lied = slow.next_with(|header| {
                header.checkpoint = named;
                lie(header);
            });
            assert_eq!(slow.take(lied).unwrap_err().rule, Rule::StateRoot);
        }
        slow.take(slow.next_with(|header| header.checkpoint = before)).expect("there is time");
    }
    for lie in lies {
        assert_eq!(slow.take(slow.next_with(lie)).unwrap_err().rule, Rule::StateRoot);
    }
    let Finding { rule, expected, found, .. } =
        slow.take(slow.next_with(|header| header.checkpoint = before)).unwrap_err();
    let heights = [pending, before].map(|at| at.height.0.to_string());
    assert_eq!((rule, [expected, found]), (Rule::StateRoot, heights), "it is overdue");
    slow.take(slow.next_with(|header| header.checkpoint = pending)).expect("it is the one that is due");
    assert_eq!((slow.named(), slow.pending()), (slow.begun, None));
}

/// Who replays its own blocks takes the roots before the last one as they come; the last covers everything before it.
#[test]
fn a_trusting_replay_ends_in_the_same_state_and_hashes_the_last_checkpoint() {
    let mut chain = Chain::new();
    for to in 1..100 {
        chain.fund(&key(to).public(), Credits(1_000 + u64::from(to)));
        chain.advance(Millis(CHECKPOINT_MS / 7));
    }
    chain.idle(3);
    let last = chain.state().tip().checkpoint;
    let replay = |lie_at: Option<Height>| -> Result<State, Finding> {
        let mut state = State::new(chain.state().genesis().clone()).expect("the genesis is sound");
        state.trust_checkpoints_until(last.height);
        let mut previous = state.tip().hash;
        for mut block in chain.blocks().iter().cloned() {
            block.header.body.previous = previous;
            if lie_at == Some(block.header.body.checkpoint.height) {
                block.header.body.checkpoint.root[0] ^= 1;
            }
            previous = block.hash();
            verify_and_apply(&mut state, block, Signatures::CheckedBefore)?;
            check_invariants(&state).expect("every invariant holds after every block");
            if state.tip().height < last.height {
                assert_eq!(state.show(&StateKey::Account(key(1).public())), None, "there is no tree");
            }
        }
        Ok(state)
    };
    let honest = replay(None).expect("the chain is sound");
    assert_eq!(&honest, chain.state());
    assert_eq!(honest.root(), chain.state().root());
    let shown = StateKey::Account(key(7).public());
    assert!(honest.show(&shown).is_some() && honest.show(&shown) == chain.state().show(&shown));
    let refused = replay(Some(last.height)).expect_err("the last root is hashed");
    assert_eq!(refused.rule, Rule::StateRoot);
    let named: Vec<Height> = chain.blocks().iter().map(|block| block.header.body.checkpoint.height).collect();
    let earlier = named.iter().rev().find(|height| **height < last.height && height.0 > 0);
    assert!(replay(earlier.copied()).is_ok(), "that is what trust means");
}
