use std::{fs, os::unix::fs::PermissionsExt};

use insta::assert_snapshot;

use crate::sandbox::Sandbox;

fn mode(sandbox: &Sandbox, name: &str) -> u32 {
    fs::metadata(sandbox.path(name)).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_key_is_made_shown_and_backed_up() {
    let sandbox = Sandbox::new();
    let made = sandbox.json(&["key", "new"]);
    let id = made["id"].as_str().unwrap();
    assert!(id.len() == 64 && id.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')), "{id}");
    assert_eq!(sandbox.json(&["key", "show"]), made);
    assert_eq!(sandbox.json(&["key", "backup", "spare/key"])["id"], made["id"]);
    assert_eq!((mode(&sandbox, "data/key"), mode(&sandbox, "spare/key")), (0o600, 0o600));
    let [key, spare] = ["data/key", "spare/key"].map(|name| fs::read(sandbox.path(name)).unwrap());
    assert_eq!(key, spare);
    let shown = sandbox.run(&["key", "show"]).to_string().replace(id, "[ID]");
    assert_snapshot!(shown, @r"
    exit 0
    out: account  [ID]
    out: key      [DIR]/data/key
    ");
}

#[test]
fn a_key_is_never_overwritten() {
    let sandbox = Sandbox::new();
    let made = sandbox.json(&["key", "new"]);
    assert_snapshot!(sandbox.run(&["key", "new"]), @r"
    exit 1
    err: error: [DIR]/data/key exists already: a key is never overwritten; move it away first
    ");
    assert_eq!(sandbox.json(&["key", "show"]), made);
    sandbox.write("taken", "a letter");
    assert_snapshot!(sandbox.run(&["key", "backup", "taken"]), @r"
    exit 1
    err: error: taken exists already: a key is never overwritten; move it away first
    ");
    assert_eq!(fs::read(sandbox.path("taken")).unwrap(), b"a letter");
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.json(&["key", "new"]);
    fs::set_permissions(sandbox.path("data/key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_snapshot!(sandbox.run(&["key", "show"]), @r"
    exit 1
    err: error: [DIR]/data/key has mode 644, so others may read the key: run `chmod 600` on it
    ");
    assert_eq!(sandbox.run(&["key", "backup", "copy"]).code, Some(1));
    assert!(!sandbox.path("copy").exists());
}

#[test]
fn no_key_is_an_error_that_says_how_to_make_one() {
    let sandbox = Sandbox::new();
    assert_snapshot!(sandbox.run(&["key", "show"]), @r"
    exit 1
    err: error: no key at [DIR]/data/key: make one with `gridhour key new`
    ");
    assert_snapshot!(sandbox.run(&["key", "show", "--json"]), @r#"
    exit 1
    out: {
    out:   "error": {
    out:     "kind": "refused",
    out:     "message": "no key at [DIR]/data/key: make one with `gridhour key new`",
    out:     "hints": []
    out:   }
    out: }
    "#);
}

#[test]
fn a_data_directory_that_is_a_file_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "");
    assert_snapshot!(sandbox.run(&["--data-dir", "file", "key", "new"]), @r"
    exit 2
    err: error: file: File exists (os error 17)
    ");
}

#[test]
fn the_data_directory_of_the_command_line_wins() {
    let sandbox = Sandbox::new();
    sandbox.json(&["key", "new", "--data-dir", "other"]);
    assert_eq!(sandbox.files(), ["other"]);
}
