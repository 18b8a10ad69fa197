//! Records of the state.

use std::collections::BTreeMap;

use gridhour_contracts_sim::{
    block::{Signatures, verify_and_apply},
    harness::{Chain, key},
    limits::{CHECKPOINT_BLOCKS, CHECKPOINT_MS},
    proof::{Anchor, ProofError, RecordProof},
    state::{
        PendingCheckpoint, State, StateKey, StateValue,
        tree::{Neighbour, Proof},
    },
    tx::Call,
};
use gridhour_protocol::{
    id::{OrderId, SessionId},
    units::{Credits, Height, Millis},
};

use super::{anchor, every_byte_counts, with_session};

/// Blocks until a checkpoint is taken, and the one that names it.
fn checkpoint(chain: &mut Chain) {
    chain.advance(Millis(CHECKPOINT_MS));
    chain.idle(2);
}

fn proof_of(chain: &Chain, key: StateKey) -> RecordProof {
    let shown = chain.state().show(&key).expect("the checkpoint is this state's own");
    let header = chain.blocks().last().expect("there are blocks").header.clone();
    RecordProof { key, value: shown.value, proof: shown.proof, header }
}

fn proven(chain: &Chain, key: StateKey) -> Option<StateValue> {
    proof_of(chain, key).verify(&anchor(chain), &key).expect("an honest proof holds").value
}

fn balance(amount: u64) -> Option<StateValue> {
    Some(StateValue::Balance(Credits(amount)))
}

#[test]
fn what_stood_at_the_checkpoint_is_shown_whatever_happened_since() {
    let (mut chain, deal) = with_session();
    checkpoint(&mut chain);
    let (client, provider) = (deal.client.public(), deal.provider.public());
    let session = StateKey::Session(deal.session());
    let held = chain.state().session(&deal.session()).cloned();
    let at = chain.state().tip().checkpoint.height;
    let check = |chain: &Chain| {
        assert_eq!(proven(chain, StateKey::Account(client)), balance(10_000 - 400 - 5));
        assert_eq!(proven(chain, StateKey::Account(provider)), balance(5));
        assert_eq!(proven(chain, StateKey::Account(key(9).public())), None);
        assert_eq!(proven(chain, StateKey::Session(SessionId([3; 32]))), None);
        assert_eq!(proven(chain, StateKey::Order(OrderId([3; 32]))), None);
        assert_eq!(proven(chain, session), held.clone().map(Box::new).map(StateValue::Session));
        assert_eq!(proof_of(chain, session).verify(&anchor(chain), &session).map(|proven| proven.at), Ok(at));
    };
    assert!(!chain.state().is_ahead_of_checkpoint());
    check(&chain);
    chain.acting(&deal.client).ok(Call::Transfer { to: key(9).public(), amount: Credits(7) });
    chain.acting(&deal.provider).ok(Call::Close { session: deal.session(), vouchers: vec![], release: None });
    assert!(chain.state().is_ahead_of_checkpoint());
    check(&chain);
    checkpoint(&mut chain);
    assert_eq!(proven(&chain, StateKey::Account(client)), balance(10_000 - 5 - 7));
    assert_eq!(proven(&chain, StateKey::Account(key(9).public())), balance(7));
    assert_eq!(proven(&chain, session), None, "it ended");
}

#[test]
fn an_orders_use_is_shown() {
    let (mut chain, deal) = with_session();
    checkpoint(&mut chain);
    let order = deal.sign().order.id();
    let Some(StateValue::Order(used)) = proven(&chain, StateKey::Order(order)) else {
        panic!("the order is remembered");
    };
    assert_eq!((used.held, used.open, used.sessions), (Credits(400), 1, vec![deal.session()]));
}

/// What stands behind a promise of capacity can be shown to whoever relies on it.
#[test]
fn a_reservation_is_shown() {
    let (mut chain, deal) = with_session();
    chain.ready_device(&deal);
    let offer = deal.reservation();
    let key = StateKey::Reservation(chain.book(&deal, &offer));
    checkpoint(&mut chain);
    let Some(StateValue::Reservation(known)) = proven(&chain, key) else { panic!("it is booked") };
    assert_eq!(known.terms, offer);
    assert_eq!(known.total(), Credits::sum([offer.price_of(4), offer.bond(0)]));
    let mut lie = proof_of(&chain, key);
    let Some(StateValue::Reservation(known)) = &mut lie.value else { panic!("it is booked") };
    known.terms.capacity.0 -= 1;
    let kind = ProofError::Contradiction("the value is not one of the key");
    assert_eq!(lie.verify(&anchor(&chain), &key), Err(kind), "its terms are its name");
    every_byte_counts(&proof_of(&chain, key), |proof| proof.verify(&anchor(&chain), &key));
}

#[test]
fn any_byte_of_a_record_proof_changed_is_refused() {
    let (mut chain, deal) = with_session();
    checkpoint(&mut chain);
    let order = deal.sign().order.id();
    let keys = [
        StateKey::Account(deal.client.public()),
        StateKey::Account(key(9).public()),
        StateKey::Session(deal.session()),
        StateKey::Session(SessionId([5; 32])),
        StateKey::Order(order),
    ];
    for key in keys {
        every_byte_counts(&proof_of(&chain, key), |proof| proof.verify(&anchor(&chain), &key));
    }
}

#[test]
fn lies_about_a_record_are_refused() {
    let (mut chain, deal) = with_session();
    checkpoint(&mut chain);
    let own = anchor(&chain);
    let honest = proof_of(&chain, StateKey::Account(deal.client.public()));
    let root = Err(ProofError::Root("state root"));
    let kind = Err(ProofError::Contradiction("the value is not one of the key"));
    let mut session = proof_of(&chain, StateKey::Session(deal.session()));
    let Some(StateValue::Session(held)) = &mut session.value else { panic!("it is open") };
    held.terms.price.0 += 1;
    // The leaf that is there, shown as the one that is there instead.
    let own_leaf =
        honest.value.as_ref().map(|value| Neighbour { path: honest.key.path(), value: value.hash() });
    let denied = Proof { neighbour: own_leaf, ..honest.proof.clone() };
    let lies = [
        (RecordProof { value: None, proof: denied, ..honest.clone() }, root),
        (RecordProof { value: balance(1 << 40), ..honest.clone() }, root),
        (RecordProof { value: None, ..honest.clone() }, root),
        (RecordProof { key: StateKey::Account(key(9).public()), ..honest.clone() }, root),
        (RecordProof { header: chain.blocks()[0].header.clone(), ..honest.clone() }, root),
        (RecordProof { value: balance(0), ..honest.clone() }, kind),
        (RecordProof { key: StateKey::Order(OrderId([1; 32])), ..honest.clone() }, kind),
        (session, kind),
    ];
    for (lie, refusal) in lies {
        assert_eq!(lie.verify(&own, &lie.key).map(|proven| proven.at), refusal);
    }
    let another = "it is about another record than was asked for";
    let asked = StateKey::Account(key(9).public());
    assert_eq!(honest.verify(&own, &asked), Err(ProofError::Contradiction(another)));
    let elsewhere = Anchor { operator: key(7).public(), ..own };
    assert_eq!(honest.verify(&elsewhere, &honest.key), Err(ProofError::Foreign));
    let forged = key(7).sign(honest.header.body.clone());
    let forged = RecordProof { header: forged, ..honest };
    assert_eq!(forged.verify(&own, &forged.key), Err(ProofError::Signature("block header")));
}

#[test]
fn a_checkpoint_is_taken_after_so_many_blocks_or_so_much_time() {
    let mut chain = Chain::new();
    let begun = |chain: &Chain| chain.state().pending_checkpoint().map(PendingCheckpoint::height);
    let named = |chain: &Chain| chain.state().tip().checkpoint.height;
    chain.idle(CHECKPOINT_BLOCKS - 1);
    assert_eq!((named(&chain), begun(&chain)), (Height(0), None));
    chain.idle(1);
    assert_eq!((named(&chain), begun(&chain)), (Height(0), Some(Height(CHECKPOINT_BLOCKS))));
    chain.idle(1);
    assert_eq!((named(&chain), begun(&chain)), (Height(CHECKPOINT_BLOCKS), None));
    chain.advance(Millis(CHECKPOINT_MS - 1));
    chain.idle(3);
    assert_eq!((named(&chain), begun(&chain)), (Height(CHECKPOINT_BLOCKS), None));
    chain.advance(Millis(1));
    chain.idle(3);
    assert_eq!((named(&chain), begun(&chain)), (Height(CHECKPOINT_BLOCKS + 5), None));
}

/// Who loads a state in between two checkpoints knows the root of the last, but not what stood there.
#[test]
fn a_state_that_was_loaded_shows_nothing_before_its_next_checkpoint() {
    let (mut chain, deal) = with_session();
    checkpoint(&mut chain);
    let key = StateKey::Account(deal.client.public());
    let load = |chain: &Chain| {
        let records = chain.state().records().into_iter();
        let records: BTreeMap<_, _> = records.map(|(key, value)| (key, value.expect("a record"))).collect();
        State::from_records(chain.state().genesis().clone(), &records).expect("a state")
    };
    let mut loaded = load(&chain);
    assert_eq!(loaded.tip().checkpoint.height.0 + 1, loaded.tip().height.0);
    assert_eq!((loaded.show(&key), loaded.is_ahead_of_checkpoint()), (None, true));
    let before = chain.blocks().len();
    chain.acting(&deal.client).ok(Call::Transfer { to: deal.provider.public(), amount: Credits(1) });
    checkpoint(&mut chain);
    for block in &chain.blocks()[before..] {
        let applied = verify_and_apply(&mut loaded, block.clone(), Signatures::Check);
        applied.expect("the chain goes on from the loaded state");
    }
    assert_eq!(loaded.show(&key), chain.state().show(&key));
    assert!(loaded.show(&key).is_some());
    assert_eq!(loaded.root(), chain.state().root());
}
