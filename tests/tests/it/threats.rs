//! `docs/THREATS.md` names the test of every defence. A test that was renamed must be renamed there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

/// Names of all functions in the Rust files under `folder`.
fn functions_under(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of the workspace can be read") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            functions_under(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("source is UTF-8");
            let names = text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
            found.extend(names.map(str::to_owned));
        }
    }
}

#[test]
fn threats_name_tests_that_exist() {
    let mut functions = BTreeSet::new();
    for room in ["protocol", "contracts-sim", "node/src", "cli", "tests"] {
        functions_under(&root().join(room), &mut functions);
    }
    let page = fs::read_to_string(root().join("docs/THREATS.md")).expect("the page can be read");
    let quoted = page.split('`').skip(1).step_by(2).filter(|word| word.contains('_'));
    let (known, missing): (Vec<_>, Vec<_>) = quoted.partition(|word| functions.contains(*word));
    assert!(missing.is_empty(), "no such tests: {missing:?}");
    assert!(known.len() > 50, "the page names {} tests only", known.len());
}
