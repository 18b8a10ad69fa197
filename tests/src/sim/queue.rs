//! What is still to happen, by time; what falls on one moment happens in the order in which it was planned.

use std::collections::BTreeMap;

use super::clock::Moment;

/// Events to come.
#[derive(Clone, Debug)]
pub struct Queue<E> {
    events: BTreeMap<(Moment, u64), E>,
    planned: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { events: BTreeMap::new(), planned: 0 }
    }
}

impl<E> Queue<E> {
    /// Plans an event.
    pub fn plan(&mut self, at: Moment, event: E) {
        self.events.insert((at, self.planned), event);
        self.planned += 1;
    }

    /// The next event and its time.
    pub fn pop(&mut self) -> Option<(Moment, E)> {
        let ((at, _), event) = self.events.pop_first()?;
        Some((at, event))
    }
}
