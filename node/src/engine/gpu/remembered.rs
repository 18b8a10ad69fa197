//! What was found out about an adapter, kept for the next start: which variants are fast on it, and that it gave
//! the known answers with them.
//!
//! It holds for one build of this program, one adapter, one driver, one shape of model and one length of texts:
//! all are in the name of the file.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use gridhour_protocol::exact::llama::LlamaConfig;

use super::{context::Gpu, known_answers::SEED, program::Arrangements, rounds::Reach};

const CONTEXT: &str = "gridhour known answers v1";

/// Where it is kept for an adapter and models of one shape.
pub(super) fn place(folder: &Path, gpu: &Gpu, shape: &LlamaConfig, reach: &Reach) -> PathBuf {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    let (info, version) = (gpu.info(), env!("CARGO_PKG_VERSION"));
    hasher.update(format!("{info:?} {shape:?} {reach:?} {SEED:x} {version} {}", program()).as_bytes());
    folder.join(format!("adapter-{}.json", &hasher.finalize().to_hex()[..32]))
}

/// What is kept there; nothing if there is nothing, or it cannot be read.
pub(super) fn recall(place: &Path) -> Option<Arrangements> {
    serde_json::from_slice(&fs::read(place).ok()?).ok().filter(Arrangements::is_sound)
}

/// Keeps the variants with which the known answers were given.
///
/// # Errors
/// If the file cannot be written; it is then found out again.
pub(super) fn keep(place: &Path, arrangements: &Arrangements) -> io::Result<()> {
    if let Some(folder) = place.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(place, serde_json::to_vec(arrangements)?)
}

/// What tells this build of the program from others: its file's length and time.
fn program() -> String {
    let described = env::current_exe().and_then(|path| {
        let data = fs::metadata(path)?;
        let since = data.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(format!("{} {}", data.len(), since.as_nanos()))
    });
    // Without an answer nothing is remembered from one process to the next.
    described.unwrap_or_else(|_| std::process::id().to_string())
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            program::Arrangement,
            shader::{Dot, Lanes, Tile},
        },
        *,
    };

    #[test]
    fn what_is_kept_is_recalled_and_damage_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("new").join("adapter-0.json");
        let product = Tile { splits: 2, tokens: 8, dot: Dot::Packed };
        let (rows, heads, attend) = (Lanes::Subgroup(64), Lanes::One(8), Lanes::Barrier(32));
        let arrangement = Arrangement { rows, heads, attend, product, fused: false };
        let both = Arrangements { decode: arrangement, prefill: arrangement };
        assert_eq!(recall(&place), None);
        keep(&place, &both).expect("writable");
        assert_eq!(recall(&place), Some(both));
        fs::write(&place, b"{").expect("writable");
        assert_eq!(recall(&place), None);
        // A variant that no search finds was asked for no known answers.
        let odd = Arrangement { rows: Lanes::Barrier(48), ..arrangement };
        let wide = Arrangement { product: Tile { splits: 3, ..product }, ..arrangement };
        let fused = Arrangement { fused: true, ..arrangement };
        for other in [odd, wide, fused] {
            keep(&place, &Arrangements { prefill: other, ..both }).expect("writable");
            assert_eq!(recall(&place), None);
        }
    }
}
