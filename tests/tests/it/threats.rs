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

/// Words that a row and its test may differ in: whether it is denied, and how often.
const SMALL_WORDS: [&str; 11] =
    ["a", "an", "is", "no", "not", "never", "always", "ever", "can", "cannot", "that"];

/// The words of a sentence, or of a test's name, that say what it is about.
fn words(text: &str) -> Vec<String> {
    let plain = text.to_lowercase().replace(['\'', '\u{2019}'], "");
    let words = plain.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    words.filter(|word| !SMALL_WORDS.contains(word)).map(str::to_owned).collect()
}

/// First and last cell of each row of the table under `heading`.
fn rows<'p>(page: &'p str, heading: &str) -> Vec<(&'p str, &'p str)> {
    let (_, rest) = page.split_once(heading).expect("the page has the heading");
    let section = rest.split("\n## ").next().expect("a first part");
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    let cells = rows.map(|row| row.trim_matches(['|', ' ']).split(" | "));
    cells.filter_map(|mut cells| Some((cells.next()?, cells.last()?))).collect()
}

#[test]
fn every_row_of_what_must_never_happen_names_a_test_of_the_rows_name() {
    let page = fs::read_to_string(root().join("docs/THREATS.md")).expect("the page can be read");
    let rows = rows(&page, "\n## What must never happen\n");
    assert!(rows.len() >= 26, "{} rows", rows.len());
    for (row, tests) in rows {
        let named = tests.split('`').skip(1).step_by(2).any(|test| words(test) == words(row));
        assert!(named, "{row:?} names no test of its name, but {tests}");
    }
}

#[test]
fn a_row_and_its_test_are_compared_by_the_words_that_matter() {
    assert_eq!(words("unfinished work pays the hold"), words("unfinished_work_never_pays_the_hold"));
    assert_eq!(words("money has no way home"), words("money_always_has_a_way_home"));
    assert_eq!(words("the provider's finish, or"), words("the_providers_finish_or"));
    assert_ne!(words("unfinished work pays the hold"), words("unfinished_work_never_pays_a_chunk"));
}
