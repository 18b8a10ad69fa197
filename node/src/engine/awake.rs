//! Threads that stay awake while a chunk is computed.
//!
//! A token takes some hundred short parallel loops. A pool's thread that finds nothing to do for some microseconds falls
//! asleep, and waking it takes as long as a loop does; so while there is work on the way, all look for it.
//!
//! No look lasts until the work is done. A thread that waits for the rest of a part may begin its look there, on top of
//! that part: a look that waited for the whole would wait for what lies beneath it, for ever.

use std::{
    hint::spin_loop,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rayon::{ThreadPool, Yield};

/// Fruitless looks for work after which a thread lets others have the processor in between.
const PATIENCE: u32 = 1 << 12;
/// Fruitless looks after which it falls asleep like any other: some milliseconds.
const PATIENCE_MAX: u32 = 1 << 14;

/// Runs `work` on one thread of `pool` and keeps the others looking for parts of it until it is done.
///
/// # Panics
/// If `work` does.
pub(super) fn install_awake<R: Send>(pool: &ThreadPool, work: impl FnOnce() -> R + Send) -> R {
    let work = Mutex::new(Some(work));
    let done = AtomicBool::new(false);
    let results = pool.broadcast(|_| match take(&work) {
        Some(work) => {
            let _at_the_end = SetOnDrop(&done);
            Some(work())
        }
        None => {
            look_for_work(&done);
            None
        }
    });
    results.into_iter().flatten().next().expect("one thread took the work")
}

fn take<T>(slot: &Mutex<Option<T>>) -> Option<T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Sets a flag even if the work panics: the others need look no longer.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn look_for_work(done: &AtomicBool) {
    let mut fruitless = 0;
    while fruitless < PATIENCE_MAX && !done.load(Ordering::Acquire) {
        match rayon::yield_now() {
            Some(Yield::Executed) => fruitless = 0,
            _ => {
                fruitless += 1;
                if fruitless < PATIENCE { spin_loop() } else { thread::yield_now() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::sync_channel, time::Duration};

    use rayon::{ThreadPoolBuilder, prelude::*};

    use super::*;

    #[test]
    fn work_is_done_once_with_the_help_of_all() {
        for threads in [1, 2, 3] {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            let sum = install_awake(&pool, || (0..1000u64).into_par_iter().sum::<u64>());
            assert_eq!(sum, 499_500);
        }
    }

    #[test]
    fn callers_at_the_same_time_are_all_served() {
        let pool = ThreadPoolBuilder::new().num_threads(2).build().expect("threads");
        thread::scope(|scope| {
            for caller in 0..4u64 {
                let pool = &pool;
                scope.spawn(move || {
                    for _ in 0..50 {
                        let work = || (0..64u64).into_par_iter().map(|n| n + caller).sum::<u64>();
                        assert_eq!(install_awake(pool, work), 2016 + 64 * caller);
                    }
                });
            }
        });
    }

    #[test]
    fn a_look_on_top_of_a_part_of_the_work_lets_that_part_go_on() {
        let pool = ThreadPoolBuilder::new().num_threads(2).build().expect("threads");
        let (told, ended) = sync_channel(1);
        thread::spawn(move || {
            let done = AtomicBool::new(false);
            pool.install(|| {
                rayon::join(|| look_for_work(&done), || look_for_work(&done));
                done.store(true, Ordering::Release);
            });
            told.send(()).expect("the test waits");
        });
        ended.recv_timeout(Duration::from_secs(100)).expect("looks end before the work that they lie on");
    }

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_the_pool_usable() {
        let pool = ThreadPoolBuilder::new().num_threads(2).build().expect("threads");
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            install_awake(&pool, || -> u32 { panic!("on purpose") })
        }));
        assert!(caught.is_err());
        assert_eq!(install_awake(&pool, || 7), 7);
    }
}
