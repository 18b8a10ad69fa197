//! The engine that serves, and what becomes of the offer when its device fails, or its memory is wanted for a
//! calibration: it is withdrawn at once, and made again once the model was loaded anew.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{ProviderEvent, Shared, stopped};
use crate::engine::{
    device::DeviceFault,
    scheduler::{EngineCounts, Scheduler},
};

/// Loads the model anew, of the same id, after its device failed.
pub type Reload = Arc<dyn Fn() -> Result<Scheduler, String> + Send + Sync>;

/// How long after one attempt to load the model the next is made, at least.
const RELOAD_EVERY: Duration = Duration::from_secs(30);

/// The scheduler, while its device works.
pub(crate) struct Serving {
    state: Mutex<State>,
    /// Counts faults. A scheduler has one at most.
    faults: watch::Sender<u64>,
    reload: Option<Reload>,
}

struct State {
    scheduler: Option<Arc<Scheduler>>,
    /// When the model may next be loaded anew.
    reload_at: Instant,
    /// It works, and was taken out of service for a while.
    suspended: bool,
    /// What schedulers computed that serve no more.
    retired: EngineCounts,
}

impl State {
    fn retire(&mut self, when: impl FnOnce(&Scheduler) -> bool) -> Option<Arc<Scheduler>> {
        let scheduler = self.scheduler.take_if(|scheduler| when(scheduler))?;
        self.retired = self.retired + scheduler.counts();
        Some(scheduler)
    }
}

impl Serving {
    /// Serves with `scheduler`, and with those that `reload` gives after faults; without it the first fault is the
    /// end.
    pub(crate) fn new(scheduler: Scheduler, reload: Option<Reload>) -> Self {
        let state = State {
            scheduler: None,
            reload_at: Instant::now(),
            suspended: false,
            retired: EngineCounts::default(),
        };
        let state = Mutex::new(state);
        let serving = Self { state, faults: watch::Sender::new(0), reload };
        serving.put(scheduler);
        serving
    }

    /// Who takes jobs; none while the device is out of order.
    pub(crate) fn scheduler(&self) -> Option<Arc<Scheduler>> {
        self.state().scheduler.clone().filter(|scheduler| scheduler.fault().is_none())
    }

    /// Changes with every fault.
    pub(crate) fn faults(&self) -> watch::Receiver<u64> {
        self.faults.subscribe()
    }

    fn put(&self, scheduler: Scheduler) {
        let (scheduler, faults) = (Arc::new(scheduler), self.faults.clone());
        let mut state = self.state();
        (state.scheduler, state.suspended) = (Some(scheduler.clone()), false);
        drop(state);
        scheduler.on_fault(move |_| faults.send_modify(|count| *count += 1));
    }

    /// The scheduler whose device failed, whose memory the next one needs.
    fn take(&self) -> Option<Arc<Scheduler>> {
        self.state().retire(|scheduler| scheduler.fault().is_some())
    }

    /// Takes the working scheduler out of service: its memory is wanted for something else, and it is to be
    /// loaded anew.
    pub(crate) fn suspend(&self) -> Option<Arc<Scheduler>> {
        let mut state = self.state();
        let taken = state.retire(|scheduler| scheduler.fault().is_none());
        state.suspended |= taken.is_some();
        taken
    }

    /// Whether it was taken out of service for a while, and nothing failed since.
    pub(crate) fn is_suspended(&self) -> bool {
        self.state().suspended
    }

    /// What was computed since the start, up to where an engine was taken out of service.
    pub(crate) fn counts(&self) -> EngineCounts {
        let state = self.state();
        state.scheduler.as_ref().map_or(state.retired, |scheduler| state.retired + scheduler.counts())
    }

    /// Whether the model is served now, and could be loaded again.
    pub(crate) fn could_suspend(&self) -> bool {
        self.reload.is_some() && self.scheduler().is_some()
    }

    /// When the model may be loaded anew; the next time is later.
    fn next_attempt(&self) -> Instant {
        let mut state = self.state();
        let at = state.reload_at.max(Instant::now());
        state.reload_at = at + RELOAD_EVERY;
        at
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Withdraws the offer after a fault, and makes it again once the model could be loaded, unless `stop` turns true
/// before.
pub(crate) async fn recover(shared: Arc<Shared>, stop: watch::Receiver<bool>) {
    let Some(broken) = shared.serving.take() else { return };
    let why = broken.fault().map_or_else(String::new, |fault: DeviceFault| fault.to_string());
    tracing::error!(%why, "the offer is withdrawn");
    shared.tell(ProviderEvent::Withdrawn { why });
    shared.changed.notify_one();
    free(&shared, broken).await;
    let mut stop = Some(stop);
    tokio::select! {
        () = sleep_until(shared.serving.next_attempt()) => restore(&shared, stop).await,
        () = stopped(&mut stop) => {}
    }
}

/// Ends an engine's thread, and gives its memory back.
pub(crate) async fn free(shared: &Shared, engine: impl Send + 'static) {
    // It may take a moment, and the engine's thread to end.
    let freed = tokio::task::spawn_blocking(move || drop(engine));
    if let Err(error) = freed.await {
        shared.trouble(format!("an engine did not end well: {error}"));
    }
}

/// Loads the model anew, again and again until it works or `stop` turns true, and offers it.
pub(crate) async fn restore(shared: &Shared, mut stop: Option<watch::Receiver<bool>>) {
    let Some(reload) = shared.serving.reload.clone() else { return };
    loop {
        let reload = reload.clone();
        let loaded = tokio::task::spawn_blocking(move || reload()).await;
        match loaded.map_err(|error| error.to_string()).flatten() {
            Ok(scheduler) => {
                shared.serving.put(scheduler);
                shared.tell(ProviderEvent::Restored);
                return shared.changed.notify_one();
            }
            Err(error) => {
                shared.serving.state().suspended = false;
                shared.trouble(format!("the model could not be loaded again: {error}"));
            }
        }
        tokio::select! {
            () = sleep_until(shared.serving.next_attempt()) => {}
            () = stopped(&mut stop) => return,
        }
    }
}
