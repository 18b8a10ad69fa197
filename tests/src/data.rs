//! Where the data of tests lies: a text, and the file of the default model.
//!
//! What is missing skips the test that needs it, in plain sight. Where the environment variable `CI` is set,
//! nothing may be skipped, so there it fails the test.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    thread,
};

use gridhour_node::{
    bench::matrix::Matrix,
    engine::gpu::adapter::{Adapter, AdapterChoice, choose, describe},
    model::{
        catalogue::{CATALOGUE, MODEL_CACHE_VARIABLE, ModelCache},
        pull::{pull, sha256_of},
    },
};

/// Environment variable that names the folder of test data.
pub const TEST_DATA_VARIABLE: &str = "GRIDHOUR_TEST_DATA";
/// Measured round trips between regions, in milliseconds.
const ROUND_TRIPS: &str = "rtt_ms.csv";
/// The test split of WikiText-2, as plain text.
const WIKITEXT: &str = "wikitext2-test.txt";

/// The test split of WikiText-2, from the folder that [`TEST_DATA_VARIABLE`] names, else from `shared/data`
/// beside the repository. `None` if it is not there; the calling test is then to return.
///
/// # Panics
/// If it is not there and `CI` is set.
pub fn wikitext() -> Option<&'static str> {
    static TEXT: OnceLock<Result<String, String>> = OnceLock::new();
    let path = data_folder(env::var_os(TEST_DATA_VARIABLE).map(PathBuf::from)).join(WIKITEXT);
    present(TEXT.get_or_init(|| read(&path))).map(String::as_str)
}

/// Round trips that were measured between regions, from the same folder as [`wikitext`]. `None` if they are not there;
/// the calling test is then to return.
///
/// # Panics
/// If they are not there and `CI` is set.
pub fn round_trips() -> Option<&'static Matrix> {
    static MATRIX: OnceLock<Result<Matrix, String>> = OnceLock::new();
    let path = data_folder(env::var_os(TEST_DATA_VARIABLE).map(PathBuf::from)).join(ROUND_TRIPS);
    present(MATRIX.get_or_init(|| read(&path).and_then(|text| Matrix::parse(&text))))
}

/// The file of the catalogue's first model, from the user's cache; pulled if it is not there. `None` if it
/// cannot be had; the calling test is then to return.
///
/// # Panics
/// If the cached file is not the catalogue's, or if it cannot be had and `CI` is set.
pub fn smollm2() -> Option<&'static Path> {
    static FILE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    present(FILE.get_or_init(pull_default)).map(PathBuf::as_path)
}

/// A graphics adapter, the best of this machine. `None` if there is none; the calling test is then to return.
///
/// # Panics
/// If there is none and `CI` is set.
pub fn adapter() -> Option<&'static Adapter> {
    static ADAPTER: OnceLock<Result<Adapter, String>> = OnceLock::new();
    let found = ADAPTER.get_or_init(|| choose(&AdapterChoice::Best).map_err(|error| error.to_string()));
    present(found).inspect(|adapter| {
        // Which adapter a result was seen on belongs to the result.
        let name = describe(&adapter.get_info());
        writeln!(io::stderr(), "on {name}").ok();
    })
}

fn data_folder(chosen: Option<PathBuf>) -> PathBuf {
    chosen.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"))
}

fn read(path: &Path) -> Result<String, String> {
    let hint = |error| {
        let path = path.display();
        format!("{path}: {error}; set {TEST_DATA_VARIABLE} to the folder that holds it")
    };
    fs::read_to_string(path).map_err(hint)
}

fn pull_default() -> Result<PathBuf, String> {
    let entry = &CATALOGUE[0];
    let chosen = env::var_os(MODEL_CACHE_VARIABLE).map(PathBuf::from);
    let cache = ModelCache::locate(chosen).map_err(|error| error.to_string())?;
    let path = pull(entry, &cache, Arc::new(|_, _| ())).map_err(|error| error.to_string())?;
    // A file enters the cache by its digest, but may have been damaged since.
    let found = sha256_of(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    assert_eq!(found, entry.sha256, "{} is damaged: remove it", path.display());
    Ok(path)
}

/// What was found; else the calling test is skipped.
fn present<T>(found: &'static Result<T, String>) -> Option<&'static T> {
    found.as_ref().inspect_err(|missing| skip(missing)).ok()
}

/// Says who is skipped and why, past the capture of test output.
///
/// # Panics
/// If `CI` is set.
pub(crate) fn skip(missing: &str) {
    let ci = env::var_os("CI").is_some_and(|value| !value.is_empty());
    assert!(!ci, "nothing may be skipped where CI is set: {missing}");
    say_skipped(missing);
}

/// The same where it does not depend on who tests whether the test can run, as on what a kernel has.
pub(crate) fn say_skipped(missing: &str) {
    let thread = thread::current();
    // Without an error stream there is nobody to tell.
    writeln!(io::stderr(), "SKIPPED {}: {missing}", thread.name().unwrap_or("a test")).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_that_is_named_comes_first() {
        assert_eq!(data_folder(Some(PathBuf::from("/data"))), Path::new("/data"));
        assert!(data_folder(None).ends_with("shared/data"));
    }

    #[test]
    fn what_is_missing_is_named_with_the_remedy() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join(WIKITEXT);
        let missing = read(&path).expect_err("the folder is empty");
        assert!(missing.contains(WIKITEXT) && missing.contains(TEST_DATA_VARIABLE), "{missing}");
        fs::write(&path, "text").expect("the folder is writable");
        assert_eq!(read(&path).as_deref(), Ok("text"));
    }
}
