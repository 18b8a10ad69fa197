//! The tree against its definition, and proofs against every change of them.

use std::collections::BTreeMap;

use gridhour_protocol::wire::{decode, encode};
use proptest::prelude::*;

use super::*;

type Set = BTreeMap<Hash, Hash>;

/// The root of a set as the module's head defines it, from the set alone.
fn root_of(set: &[(Hash, Hash)]) -> Hash {
    match set {
        [] => empty_root(),
        [(path, value)] => leaf_hash(path, value),
        _ => {
            let bit = (0..=255)
                .find(|bit| set.iter().any(|(path, _)| has_bit(path, *bit) != has_bit(&set[0].0, *bit)));
            let bit = bit.expect("paths of a set differ");
            let (ones, zeros): (Vec<_>, Vec<_>) = set.iter().partition(|(path, _)| has_bit(path, bit));
            node_hash(bit, &root_of(&zeros), &root_of(&ones))
        }
    }
}

fn naive(set: &Set) -> Hash {
    root_of(&set.iter().map(|(path, value)| (*path, *value)).collect::<Vec<_>>())
}

fn apply(set: &mut Set, changes: &[Change]) {
    for change in changes {
        match change.value {
            Some(value) => set.insert(change.path, value),
            None => set.remove(&change.path),
        };
    }
}

/// Paths that often share long beginnings and ends, so that every shape of tree comes up.
fn paths() -> impl Strategy<Value = Hash> {
    let close = (0usize..32, 0u8..8, 0u8..4).prop_map(|(at, bit, low)| {
        let mut path = [0; 32];
        path[at] = 1 << bit;
        path[31] ^= low;
        path
    });
    prop_oneof![any::<Hash>(), close]
}

fn changes(most: usize) -> impl Strategy<Value = Vec<Change>> {
    let value = prop_oneof![2 => any::<Hash>().prop_map(Some), 1 => Just(None)];
    let change = (paths(), value).prop_map(|(path, value)| Change { path, value });
    prop::collection::vec(change, 0..most).prop_map(|mut changes| {
        changes.sort_unstable();
        changes.dedup_by_key(|change| change.path);
        changes
    })
}

/// Whether `proof` shows what `set` holds at `path`, under the root.
fn shows(proof: &Proof, root: &Hash, path: &Hash, value: Option<&Hash>) -> bool {
    proof.root(path, value) == Some(*root)
}

#[test]
fn the_empty_tree_proves_that_nothing_is_there() {
    let tree = Tree::default();
    let (path, value) = ([7; 32], [8; 32]);
    let proof = tree.prove(&path);
    assert!(shows(&proof, &tree.root(), &path, None));
    assert_eq!(proof.root(&path, Some(&value)), Some(leaf_hash(&path, &value)), "the tree of it alone");
    assert_ne!(tree.root(), leaf_hash(&path, &value));
}

#[test]
fn bits_are_counted_from_the_highest() {
    let mut path = [0; 32];
    path[0] = 0x80;
    path[31] = 1;
    assert!(has_bit(&path, 0) && has_bit(&path, 255) && !has_bit(&path, 1) && !has_bit(&path, 254));
    assert_eq!(first_difference(&path, &[0; 32]), Some(0));
    path[0] = 0;
    assert_eq!(first_difference(&path, &[0; 32]), Some(255));
    assert_eq!(first_difference(&path, &path), None);
}

#[test]
fn steps_out_of_order_prove_nothing() {
    let set: Vec<Change> =
        (0..=255).map(|n| Change { path: *blake3::hash(&[n]).as_bytes(), value: Some([n; 32]) }).collect();
    let tree = Tree::default().with(set.clone());
    let mut proof = tree.prove(&set[5].path);
    assert!(proof.steps.len() > 4);
    proof.steps.swap(0, 1);
    assert_eq!(proof.root(&set[5].path, set[5].value.as_ref()), None);
    proof.steps = vec![proof.steps[0]; 2];
    assert_eq!(proof.root(&set[5].path, set[5].value.as_ref()), None, "nor the same bit twice");
}

/// Large enough that both sides are worked on at once, at several levels.
#[test]
fn a_large_tree_is_its_set() {
    let path = |n: u32| *blake3::hash(&n.to_le_bytes()).as_bytes();
    let insert = |n: u32| Change { path: path(n), value: Some(path(n ^ 1)) };
    let mut set = Set::new();
    let first: Vec<Change> = (0..6_000).map(insert).collect();
    let second: Vec<Change> = (3_000..9_000)
        .map(|n| if n % 3 == 0 { Change { value: None, ..insert(n) } } else { insert(n + 7) })
        .collect();
    let tree = Tree::default().with(first.clone());
    apply(&mut set, &first);
    assert_eq!(tree.root(), naive(&set));
    let tree = tree.with(second.clone());
    apply(&mut set, &second);
    assert_eq!(tree.root(), naive(&set));
    let none = Tree::default().with(Vec::new());
    let emptied = tree.with(set.keys().map(|path| Change { path: *path, value: None }).collect());
    assert_eq!((none.root(), emptied.root()), (empty_root(), empty_root()));
}

proptest! {
    /// Whatever is put in and taken out, and in whatever steps: the root is the one of what is left.
    #[test]
    fn the_root_depends_on_the_set_alone(batches in prop::collection::vec(changes(24), 1..6)) {
        let (mut tree, mut set, mut versions) = (Tree::default(), Set::new(), Vec::new());
        for batch in &batches {
            versions.push((tree.clone(), tree.root()));
            tree = tree.with(batch.clone());
            apply(&mut set, batch);
            prop_assert_eq!(tree.root(), naive(&set));
        }
        let left = set.iter().rev().map(|(path, value)| Change { path: *path, value: Some(*value) });
        let one_by_one = left.fold(Tree::default(), |tree, change| tree.with(vec![change]));
        prop_assert_eq!(one_by_one.root(), tree.root());
        prop_assert!(versions.iter().all(|(version, root)| version.root() == *root), "old versions stay");
    }

    #[test]
    fn what_is_there_and_what_is_not_can_be_shown_and_nothing_else(
        batch in changes(40), absent in paths(), forged in any::<Hash>(),
    ) {
        let mut set = Set::new();
        apply(&mut set, &batch);
        let tree = Tree::default().with(batch);
        let root = tree.root();
        for path in set.keys().chain([&absent]) {
            let (proof, value) = (tree.prove(path), set.get(path));
            prop_assert!(shows(&proof, &root, path, value));
            prop_assert!(!shows(&proof, &root, path, Some(&forged)), "no other value");
            prop_assert!(value.is_none() || !shows(&proof, &root, path, None), "nor that it is absent");
            prop_assert!(!shows(&proof, &forged, path, value), "nor under another root");
        }
    }

    /// Any proof that is decoded after any of its bytes changed shows nothing of this tree.
    #[test]
    fn a_proof_with_any_byte_changed_is_refused(batch in changes(24), absent in paths(), flip in 1u8..) {
        let mut set = Set::new();
        apply(&mut set, &batch);
        let tree = Tree::default().with(batch);
        let present = set.keys().next().copied();
        for path in present.into_iter().chain([absent]) {
            let bytes = encode(&tree.prove(&path));
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                let shown = decode::<Proof>(&changed)
                    .is_ok_and(|proof| shows(&proof, &tree.root(), &path, set.get(&path)));
                prop_assert!(!shown, "byte {} of {}", at, bytes.len());
            }
        }
    }
}
