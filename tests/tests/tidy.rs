//! House rules as tests: the walls between the rooms, and what no file may hold.
//!
//! Rules read the part of a file before its first `#[cfg(test)]`, without comment lines, and no file of tests alone.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Lines of the longest file, tests apart.
const FILE_LINES_MAX: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

/// Every Rust file under `folder`, as (path from the root, code without tests and comments).
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the workspace can be read") {
            let path = entry.expect("an entry can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("source is UTF-8");
                let name = path.strip_prefix(root()).expect("under the root").display().to_string();
                if !is_tests_alone(&name) {
                    found.push((name, code_of(&text)));
                }
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no sources under {folder}");
    found
}

/// Whether a file under a `src` holds tests and nothing else, by its name or its folder's.
fn is_tests_alone(name: &str) -> bool {
    let inside = name.split_once("/src/").map_or("", |(_, inside)| inside);
    inside.contains("tests/") || inside.ends_with("tests.rs")
}

fn code_of(text: &str) -> String {
    let lines = text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
    lines.filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// Whether `code` has `word` with no identifier character on either side.
fn has_word(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

/// Asserts that under `folders`, only files that `may` allows hold `word`.
fn only_in(word: &str, folders: &[&str], may: impl Fn(&str) -> bool) {
    let files = folders.iter().flat_map(|folder| sources(folder));
    let strays: Vec<String> =
        files.filter(|(name, code)| !may(name) && has_word(code, word)).map(|(name, _)| name).collect();
    assert!(strays.is_empty(), "`{word}` behind its wall: {strays:?}");
}

const ROOMS: [&str; 4] = ["protocol/src", "contracts-sim/src", "node/src", "cli/src"];

#[test]
fn the_rules_themselves_find_what_they_look_for() {
    assert!(has_word("use libp2p::Swarm;", "libp2p"));
    assert!(!has_word("use my_libp2p::Swarm;", "libp2p"));
    assert!(is_tests_alone("protocol/src/job/tests/pair.rs") && is_tests_alone("protocol/src/wire_tests.rs"));
    assert!(!is_tests_alone("tests/src/sim/disk.rs") && !is_tests_alone("tests/tests/tidy.rs"));
    assert_eq!(code_of("a\n// b\n#[cfg(test)]\nc\n"), "a\n");
}

#[test]
fn each_named_crate_stays_in_its_room() {
    only_in("bincode", &ROOMS, |name| name == "protocol/src/wire.rs");
    only_in("libp2p", &ROOMS, |name| name.starts_with("node/src/net"));
    only_in("libp2p_stream", &ROOMS, |name| name.starts_with("node/src/net"));
    only_in("sled", &ROOMS, |name| name.starts_with("node/src/store"));
    only_in("wgpu", &ROOMS, |name| name.starts_with("node/src/engine/gpu"));
    only_in("prometheus_client", &ROOMS, |name| name.starts_with("node/src/metrics"));
    only_in("tokenizers", &ROOMS, |name| name.starts_with("node/src/model"));
}

#[test]
fn pure_rooms_are_pure() {
    const PURE: [&str; 2] = ["protocol/src", "contracts-sim/src"];
    for word in ["f32", "f64", "HashMap", "HashSet", "SystemTime", "Instant", "println", "unwrap", "unsafe"] {
        only_in(word, &PURE, |_| false);
    }
}

#[test]
fn pure_rooms_name_no_impure_crate() {
    for package in ["gridhour-protocol", "gridhour-contracts-sim"] {
        let tree = Command::new(env!("CARGO"))
            .args(["tree", "--offline", "-p", package, "-e", "normal", "--prefix", "none"])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
        let names = String::from_utf8(tree.stdout).expect("crate names are UTF-8");
        assert!(names.contains(package));
        for impure in ["tokio", "libp2p", "sled", "wgpu", "axum", "rand"] {
            let stray = names.lines().find(|line| line.split(' ').next() == Some(impure));
            assert_eq!(stray, None, "{package} must not depend on {impure}");
        }
    }
}

/// The engine's files, its front page among them.
fn engine_sources() -> Vec<(String, String)> {
    let all = sources("node/src").into_iter();
    all.filter(|(name, _)| name == "node/src/engine.rs" || name.starts_with("node/src/engine/")).collect()
}

#[test]
fn the_engine_knows_neither_network_nor_disk_state() {
    for (name, code) in engine_sources() {
        for room in ["crate::net", "crate::store", "crate::gateway", "crate::drivers", "crate::consensus"] {
            assert!(!code.contains(room), "{name} reaches into {room}");
        }
    }
}

/// What the engine may take from `protocol::exact`: data and sizes, never an operator that it is compared with.
const SHARED_WITH_DEFINITION: [&str; 5] =
    ["tables", "llama::Architecture", "llama::LlamaConfig", "llama::ConfigError", "NUMERICS_VERSION"];

/// The first use of the definition in `code` beyond [`SHARED_WITH_DEFINITION`].
fn use_of_definition(code: &str) -> Option<&str> {
    let uses = code.split("exact::").skip(1);
    uses.map(|rest| rest.lines().next().unwrap_or(rest))
        .find(|rest| !SHARED_WITH_DEFINITION.iter().any(|shared| rest.starts_with(shared)))
}

#[test]
fn the_engine_never_calls_the_definition() {
    assert_eq!(use_of_definition("use exact::tables;\nuse exact::a15::a15;"), Some("a15::a15;"));
    assert_eq!(use_of_definition("use exact::{tables, a15};"), Some("{tables, a15};"));
    for (name, code) in engine_sources() {
        assert_eq!(use_of_definition(&code), None, "{name} calls the definition it must be compared with");
    }
    only_in("gridhour_node", &["protocol/src", "contracts-sim/src"], |_| false);
}

#[test]
fn libraries_do_not_print() {
    for word in ["println", "eprintln", "dbg"] {
        only_in(word, &["protocol/src", "contracts-sim/src", "node/src"], |name| {
            name.starts_with("node/src/bin/")
        });
    }
}

#[test]
fn nothing_is_left_open() {
    for folder in ROOMS.iter().chain(&["tests/src", "tests/tests"]) {
        for (name, code) in sources(folder) {
            for open in ["todo!(", "unimplemented!(", "#[ignore", "thread::sleep("] {
                assert!(!code.contains(open) || name == "tests/tests/tidy.rs", "{name} holds {open}");
            }
        }
    }
}

#[test]
fn unsafe_stays_in_the_files_that_need_it() {
    for folder in ["node/src", "cli/src", "tests/src"] {
        for (name, code) in sources(folder) {
            let simd = name.contains("/avx2") || name.contains("/avx512");
            let allowed = simd || name == "node/src/model/map.rs";
            assert!(allowed || !has_word(&code, "unsafe"), "{name} holds unsafe code");
        }
    }
}

#[test]
fn the_top_level_holds_what_belongs_there() {
    const FOLDERS: [&str; 6] = ["node", "protocol", "contracts-sim", "cli", "tests", "docs"];
    const FILES: [&str; 10] = [
        "Cargo.toml",
        "Cargo.lock",
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "clippy.toml",
        "deny.toml",
        "rust-toolchain.toml",
        "rustfmt.toml",
    ];
    let belongs = |name: &str| {
        FOLDERS.contains(&name) || FILES.contains(&name) || name.starts_with('.') || name == "target"
    };
    let all = fs::read_dir(root()).expect("the workspace can be read");
    let names =
        all.map(|entry| entry.expect("an entry can be read").file_name().to_string_lossy().into_owned());
    let strays: Vec<String> = names.filter(|name| !belongs(name)).collect();
    assert!(strays.is_empty(), "at the top level, which the design names: {strays:?}");
}

#[test]
fn a_file_holds_one_idea() {
    for folder in ROOMS.iter().chain(&["tests/src"]) {
        for (name, code) in sources(folder) {
            let lines = code.lines().count();
            assert!(lines <= FILE_LINES_MAX, "{name} has {lines} lines: does it hold one idea?");
        }
    }
}

/// Parts of kernels that are no operators: arithmetic, and how work is shared, laid out and kept.
const KERNEL_PARTS: [&str; 32] = [
    "pass",
    "root",
    "lanes_one",
    "lanes_barrier",
    "lanes_subgroup",
    "splits_one",
    "splits_many",
    "dot_packed",
    "dot_unpacked",
    "codes_nibbles",
    "codes_bytes",
    "codes_words",
    "block_whole",
    "block_halves",
    "block_words",
    "product_store",
    "product_gates",
    "input_stored",
    "input_made",
    "rows_stored",
    "head_form_alone",
    "head_form_none",
    "head_quant_alone",
    "attend_alone",
    "heads_together",
    "write_codes",
    "rope_halves",
    "scale_of_product",
    "scale_of_head",
    "candidate",
    "choose",
    "rounds",
];

#[test]
fn every_kernel_has_a_twin_of_the_same_stem() {
    let engine = root().join("node/src/engine");
    let kernels = fs::read_dir(engine.join("kernels")).expect("there are kernels");
    let mut count = 0;
    for kernel in kernels {
        let path = kernel.expect("a readable folder").path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
        let twins = ["cpu", "sampler", "."].map(|room| engine.join(room).join(format!("{stem}.rs")));
        let sampling = stem == "sample" && engine.join("sampler.rs").exists();
        assert!(
            KERNEL_PARTS.contains(&stem.as_str()) || sampling || twins.iter().any(|twin| twin.exists()),
            "kernels/{stem}.wgsl has no twin among the processor's operators"
        );
        count += 1;
    }
    assert!(count > KERNEL_PARTS.len(), "only {count} kernels were found");
}
