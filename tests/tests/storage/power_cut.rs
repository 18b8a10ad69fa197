//! Power cuts of a real file system: ext4 on a loop device, whose image is copied while the writer stands still.
//!
//! The copy holds what reached the device. What the file system had only in memory is not in it, as after a power cut.
//! It models neither a device's own cache nor one that reorders.

use std::{fs, io::Write, path::Path, process::Command};

use gridhour_node::store::ledger_dir::Ledger;
use testkit::{
    mounts::{Mount, ext4_image},
    sim::rng::Rng,
};

use crate::{
    kill::{Victim, check_payments, pay_on, victim_dir},
    scale,
    world::genesis,
};

const IMAGE_BYTES: u64 = 64 * 1024 * 1024;
/// A file of the victim that nobody syncs: what a cut takes if nothing is done about it.
const UNSYNCED: &str = "unsynced";

fn signal(name: &str, process: u32) {
    let sent = Command::new("kill").args([name, &process.to_string()]).status().expect("kill is there");
    assert!(sent.success(), "{name} was not sent");
}

fn pay_and_note(dir: &Path) {
    let mut notes = fs::File::create(dir.join(UNSYNCED)).expect("creates");
    let ledger = Ledger::open(&dir.join("ledger"), &genesis()).expect("opens");
    let notes = std::cell::RefCell::new(&mut notes);
    pay_on(ledger, |nonce| notes.borrow_mut().write_all(&nonce.to_le_bytes()).expect("writes"));
}

#[test]
fn a_power_cut_of_a_real_file_system_loses_no_payment_that_was_acknowledged() {
    if let Some(dir) = victim_dir() {
        return pay_and_note(&dir);
    }
    let mut lost_notes = 0;
    let rounds = 2 * scale();
    for round in 0..rounds {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let Some(image) = ext4_image(folder.path(), IMAGE_BYTES) else { return };
        let Some(disk) = Mount::image(&image) else { return };
        let copy = folder.path().join("copy.img");
        let mut rng = Rng::new(round);
        let test = "power_cut::a_power_cut_of_a_real_file_system_loses_no_payment_that_was_acknowledged";
        let victim = Victim::start(test, disk.path());
        let last = victim.interrupt_after(1 + rng.below(150), |process| {
            signal("-STOP", process);
            fs::copy(&image, &copy).expect("copies");
        });
        drop(disk);
        let after = Mount::image(&copy).expect("the first one was mounted");
        let ledger = Ledger::open(&after.path().join("ledger"), &genesis());
        let ledger = ledger.unwrap_or_else(|error| panic!("round {round}: {error}"));
        check_payments(&ledger, last, &format!("round {round}"));
        let notes = fs::metadata(after.path().join(UNSYNCED)).map_or(0, |file| file.len() / 8);
        lost_notes += u64::from(notes <= last.expect("something was acknowledged"));
    }
    assert_eq!(lost_notes, rounds, "the harness must take what nobody synced");
}
