//! Waiting for programs that might never end: one that takes too long is killed, and the test fails and says where it hung.

use std::{
    fs,
    process::{Command, Output, Stdio},
    sync::mpsc::{RecvTimeoutError, sync_channel},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

/// Longer than any command of a test takes on a slow and busy machine.
const LONGEST: Duration = Duration::from_secs(600);

/// Runs a program to its end.
pub fn output(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    wait_for(child.id(), || child.wait_with_output()).expect("a child can be waited for")
}

/// Does what waits for the program with this process id, which has not been waited for yet.
pub fn wait_for<T>(id: u32, wait: impl FnOnce() -> T) -> T {
    wait_at_most(LONGEST, id, wait)
}

fn wait_at_most<T>(longest: Duration, id: u32, wait: impl FnOnce() -> T) -> T {
    let (waits, over) = sync_channel::<()>(0);
    thread::scope(|scope| {
        let watch = scope.spawn(move || {
            let hung = over.recv_timeout(longest) == Err(RecvTimeoutError::Timeout);
            hung.then(|| kill(id))
        });
        let waited = wait();
        drop(waits);
        let hung = watch.join().expect("the watch does not panic");
        assert!(hung.is_none(), "killed after {longest:?}: {}", hung.unwrap_or_default());
        waited
    })
}

/// Kills a process, and gives its threads, each with its state and the processor time that it used: which of them spun, and
/// which slept.
fn kill(id: u32) -> String {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let threads: String =
        tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok()).collect();
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw).expect("a process id");
    // It may end just now.
    let _ = kill_process(pid, Signal::KILL);
    threads
}

#[test]
fn a_program_that_hangs_is_killed_and_shown() {
    let mut child = Command::new("sleep").arg("1000").spawn().expect("there is a program that sleeps");
    let id = child.id();
    let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_at_most(Duration::from_millis(50), id, || child.wait())
    }));
    let why = waited.expect_err("it did not end by itself");
    let why = why.downcast_ref::<String>().expect("a text");
    assert!(why.contains("killed after 50ms") && why.contains("(sleep)"), "{why}");
}
