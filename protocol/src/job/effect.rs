//! What a state machine asks of its driver: a short list, in the order in which it must be done.

use core::slice;
use std::vec;

/// The most that one step asks for.
pub const EFFECTS_MAX: usize = 8;

/// Effects of one or more steps. The driver takes them all before the next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effects<E>(Vec<E>);

impl<E> Default for Effects<E> {
    fn default() -> Self {
        Self(Vec::with_capacity(EFFECTS_MAX))
    }
}

impl<E> Effects<E> {
    /// Asks for one thing more.
    ///
    /// # Panics
    /// If a single step asks for more than [`EFFECTS_MAX`] things, which is a defect of that machine: no input changes
    /// how many there are. Also if the driver does not take what earlier steps asked for.
    pub(crate) fn ask(&mut self, effect: E) {
        assert!(self.0.len() < EFFECTS_MAX, "a step asks for few things and the driver takes them all");
        self.0.push(effect);
    }

    /// Hands over everything asked for, oldest first, and leaves the list empty.
    pub fn take(&mut self) -> vec::IntoIter<E> {
        core::mem::take(&mut self.0).into_iter()
    }

    /// What is asked for, oldest first.
    pub fn iter(&self) -> slice::Iter<'_, E> {
        self.0.iter()
    }
}
