//! Every decoder against damaged bytes: it refuses, or takes bytes that mean exactly what it took. Never a
//! panic, never a loop without end, and never more memory than [`RESIDENT_BYTES_MAX`] for all of them
//! together.

#[path = "fuzz/files.rs"]
mod files;
#[path = "fuzz/ledger.rs"]
mod ledger;
#[path = "fuzz/model.rs"]
mod model;
#[path = "fuzz/net.rs"]
mod net;
#[path = "fuzz/proofs.rs"]
mod proofs;
#[path = "fuzz/public_log.rs"]
mod public_log;
#[path = "fuzz/samples.rs"]
mod samples;
#[path = "fuzz/store.rs"]
mod store;
#[path = "fuzz/wire.rs"]
mod wire;

use testkit::fuzz::{Tally, Target};

/// Memory of this process at its highest, in bytes, checked after each target.
#[cfg(target_os = "linux")]
const RESIDENT_BYTES_MAX: u64 = 1 << 30;

/// Runs `target`, both sides of whose decoder must be reached, and checks the memory that it took.
fn run(target: &Target, check: impl Fn(&[u8]) -> Result<(), String>) {
    let Tally { inputs, accepted, reasons } = target.run(check);
    assert!(accepted > 0 && reasons > 0, "{inputs} inputs: {accepted} accepted, {reasons} reasons to refuse");
    #[cfg(target_os = "linux")]
    check_memory();
}

/// Asks the system for the most memory that this process ever had.
#[cfg(target_os = "linux")]
fn check_memory() {
    let status = std::fs::read_to_string("/proc/self/status").expect("a process can read its own status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the peak is in it");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
    println!("peak of resident memory: {} MiB", kib / 1024);
    assert!(kib * 1024 <= RESIDENT_BYTES_MAX, "{kib} KiB were resident");
}
