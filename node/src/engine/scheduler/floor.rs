//! All jobs of an engine: those in line, and those that run.

use std::{collections::VecDeque, sync::Arc};

use super::{
    super::{Engine, device::DeviceFault},
    Job,
    counts::Counting,
    health::Health,
    job::Running,
    turn,
};

/// The jobs on the engine's thread.
pub(super) struct Floor {
    engine: Arc<Engine>,
    health: Health,
    counts: Counting,
    /// In line for memory, first come first.
    line: VecDeque<Box<Job>>,
    running: Vec<Running>,
    turns: u64,
}

impl Floor {
    pub(super) fn new(engine: Arc<Engine>, health: Health, counts: Counting) -> Self {
        Self { engine, health, counts, line: VecDeque::new(), running: Vec::new(), turns: 0 }
    }

    /// Puts a job in line.
    pub(super) fn take(&mut self, job: Box<Job>) {
        match self.health.fault() {
            None => self.line.push_back(job),
            // The job was taken just before the fault.
            Some(fault) => job.fail(fault),
        }
    }

    /// Ends the cancelled, admits who fits, and computes one pass. Whether anything was computed.
    pub(super) fn turn(&mut self) -> bool {
        self.turns += 1;
        self.end_cancelled();
        self.admit();
        // Where rows are short, they go to whoever waits for longest.
        self.running.sort_by_key(|job| job.turn);
        match turn::compute(self.engine.device(), &mut self.running, self.turns, &self.counts) {
            Ok(computed) => computed,
            Err(fault) => {
                self.fail(&fault);
                false
            }
        }
    }

    /// Ends every job: nobody wants more.
    pub(super) fn cancel_all(self) {
        self.running.into_iter().for_each(Running::cancel);
        self.line.into_iter().for_each(|job| job.cancel());
    }

    /// Ends jobs whose readers want no more; their memory is free at once.
    fn end_cancelled(&mut self) {
        self.running.extract_if(.., |job| job.is_cancelled()).for_each(Running::cancel);
        let (cancelled, line): (VecDeque<_>, _) = self.line.drain(..).partition(|job| job.is_cancelled());
        self.line = line;
        cancelled.into_iter().for_each(|job| job.cancel());
    }

    /// Gives jobs their memory in the order in which they came. The first that does not fit holds up those
    /// behind it, or it might wait for ever.
    fn admit(&mut self) {
        // As if they had been computed in the turn before: others are not put off by newcomers, nor they by them.
        let before = self.turns - 1;
        while let Some(job) = self.line.pop_front() {
            match job.admit(self.engine.pages(), before) {
                Ok(running) => self.running.push(running),
                Err(job) => return self.line.push_front(job),
            }
        }
    }

    /// The device is of no more use: every job ends by its fault.
    fn fail(&mut self, fault: &DeviceFault) {
        self.health.fail(fault);
        self.running.drain(..).for_each(|job| job.fail(fault.clone()));
        self.line.drain(..).for_each(|job| job.fail(fault.clone()));
    }
}
