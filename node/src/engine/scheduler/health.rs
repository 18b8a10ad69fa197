//! Whether the device still computes. The first fault is final: what the device holds is unknown after it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::device::DeviceFault;

/// Hears of the fault, once.
type Listener = Box<dyn FnOnce(DeviceFault) + Send>;

/// Shared by the scheduler and its thread.
#[derive(Clone, Default)]
pub(super) struct Health(Arc<Mutex<State>>);

enum State {
    Serving(Vec<Listener>),
    Failed(DeviceFault),
}

impl Default for State {
    fn default() -> Self {
        Self::Serving(Vec::new())
    }
}

impl Health {
    pub(super) fn fault(&self) -> Option<DeviceFault> {
        match &*self.state() {
            State::Serving(_) => None,
            State::Failed(fault) => Some(fault.clone()),
        }
    }

    /// Calls `listener` when there is a fault; now, if there was one.
    pub(super) fn listen(&self, listener: Listener) {
        let fault = match &mut *self.state() {
            State::Serving(listeners) => return listeners.push(listener),
            State::Failed(fault) => fault.clone(),
        };
        listener(fault);
    }

    /// Notes a fault, unless there was one before.
    pub(super) fn fail(&self, fault: &DeviceFault) {
        let listeners = match &mut *self.state() {
            State::Failed(_) => return,
            state => std::mem::replace(state, State::Failed(fault.clone())),
        };
        if let State::Serving(listeners) = listeners {
            listeners.into_iter().for_each(|listener| listener(fault.clone()));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;

    fn listen(health: &Health) -> Receiver<DeviceFault> {
        let (tell, heard) = sync_channel(4);
        health.listen(Box::new(move |fault| tell.send(fault).expect("room")));
        heard
    }

    #[test]
    fn everyone_hears_the_first_fault_once_and_latecomers_at_once() {
        let (health, fault) = (Health::default(), |why: &str| DeviceFault::Lost(why.to_owned()));
        let early = listen(&health);
        assert_eq!((health.fault(), early.try_recv().ok()), (None, None));
        health.fail(&fault("first"));
        health.fail(&fault("second"));
        let late = listen(&health);
        for heard in [early, late] {
            assert_eq!(heard.try_iter().collect::<Vec<_>>(), [fault("first")]);
        }
        assert_eq!(health.fault(), Some(fault("first")));
    }
}
