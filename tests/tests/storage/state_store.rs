//! One suite for every state store.

use gridhour_contracts_sim::state::Record;
use gridhour_node::store::{
    sled_store::SledStore,
    state_store::{MemoryStore, StateStore, StoreError, VALUE_BYTES_MAX},
};

fn put(key: &str, value: &str) -> Record {
    (key.into(), Some(value.into()))
}

fn pairs(store: &dyn StateStore) -> Vec<(String, String)> {
    let text = |bytes| String::from_utf8(bytes).expect("tests write text");
    store.load().expect("loads").into_iter().map(|(key, value)| (text(key), text(value))).collect()
}

fn expect(store: &dyn StateStore, expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    assert_eq!(pairs(store), expected);
}

/// What every store does. `reopen` lets go of the store and opens it again.
fn suite(mut store: Box<dyn StateStore>, reopen: impl Fn(Box<dyn StateStore>) -> Box<dyn StateStore>) {
    expect(&*store, &[]);
    store.apply(vec![put("b", "2"), put("a", "1"), put("ab", "")]).expect("applies");
    expect(&*store, &[("a", "1"), ("ab", ""), ("b", "2")]);
    store.apply(vec![put("a", "changed"), ("b".into(), None), ("never".into(), None)]).expect("applies");
    expect(&*store, &[("a", "changed"), ("ab", "")]);

    let long = (b"long".to_vec(), Some(vec![b'x'; VALUE_BYTES_MAX + 1]));
    let refused = store.apply(vec![put("z", "not this either"), long]);
    assert_eq!(refused, Err(StoreError::TooLong(VALUE_BYTES_MAX + 1)));
    expect(&*store, &[("a", "changed"), ("ab", "")]);
    store.apply(vec![("long".into(), Some(vec![b'x'; VALUE_BYTES_MAX]))]).expect("the limit itself fits");
    store.apply(vec![("long".into(), None)]).expect("applies");

    store.checkpoint().expect("is durable");
    let store = reopen(store);
    expect(&*store, &[("a", "changed"), ("ab", "")]);
}

#[test]
fn memory() {
    let store = MemoryStore::default();
    suite(Box::new(store.clone()), |_| {
        store.cut_power();
        Box::new(store.clone())
    });
}

#[test]
fn sled() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let open = || SledStore::open(&dir.path().join("state")).expect("opens");
    suite(Box::new(open()), |store| {
        drop(store);
        Box::new(open())
    });
}
