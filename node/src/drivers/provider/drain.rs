//! Leaving in good order, once the provider was told to stop: it offers nothing more, lets running jobs end for as long as
//! its operator allows, and hands the others over.
//!
//! ```text
//!  stop ─> offer withdrawn, new jobs refused ─> jobs end by themselves ─────────────────────> their clients settle ─> gone
//!                                            └─> time over: `reclaimed`, clients go on elsewhere ─┘
//! ```
//!
//! Sessions without a job stay open: they are on the ledger, and the provider takes them up again when it is back. Those
//! that end meanwhile are collected as ever: jobs may be given longer than is left to collect.

use std::{pin::pin, sync::Arc, time::Duration};

use gridhour_protocol::units::Millis;
use tokio::{
    sync::{mpsc, watch},
    time::{Interval, sleep},
};

use super::{ProviderEvent, Shared, Stops, Tasks, advertise, settle, take};
use crate::net::NetEvent;

/// How long an advert lives that withdraws the offer for good.
pub(super) const LAST_ADVERT_LIFE: Millis = Millis(5_000);
/// How long clients may take to settle after their jobs have ended.
const PARTING_TIME: Duration = Duration::from_secs(3);

/// How a provider leaves.
pub(super) struct Drain<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) tasks: &'a mut Tasks,
    pub(super) inbox: &'a mut mpsc::Receiver<NetEvent>,
    pub(super) stops: &'a Stops,
    /// When sessions are looked through.
    pub(super) sweep: &'a mut Interval,
    /// Has running jobs handed over.
    pub(super) reclaim: &'a watch::Sender<bool>,
}

impl Drain<'_> {
    /// Withdraws the offer and waits until every job has ended, one way or the other, and is settled.
    pub(super) async fn run(mut self, sequence: &mut u64) {
        let jobs = self.shared.jobs();
        self.shared.tell(ProviderEvent::Draining { jobs, at_most: self.shared.config.drain });
        advertise(self.shared, sequence).await;
        if jobs > 0 {
            self.until_idle().await;
            self.until_settled().await;
            // Whatever ended last was perhaps not looked at yet.
            settle::last_sweep(self.shared).await;
        }
    }

    async fn until_idle(&mut self) {
        let mut end = pin!(sleep(Duration::from_millis(self.shared.config.drain.0)));
        let mut over = false;
        while self.shared.jobs() > 0 {
            tokio::select! {
                () = &mut end, if !over => {
                    over = true;
                    self.reclaim.send_replace(true);
                }
                going = self.step() => if !going { return },
            }
        }
    }

    /// Clients ask for their settlement when their jobs have ended.
    async fn until_settled(&mut self) {
        let mut end = pin!(sleep(PARTING_TIME));
        while !self.tasks.is_empty() || !self.shared.busy.lock().await.is_empty() {
            tokio::select! {
                () = &mut end => return,
                going = self.step() => if !going { return },
            }
        }
    }

    /// Serves as before until something happens. Whether the network is still there.
    async fn step(&mut self) -> bool {
        tokio::select! {
            Some(_) = self.tasks.join_next() => true,
            () = settle::time_to_sweep(self.shared, self.sweep) => {
                self.tasks.spawn(settle::sweep(self.shared.clone()));
                true
            }
            event = self.inbox.recv() => match event {
                Some(event) => {
                    take(self.shared, self.tasks, event, self.stops);
                    true
                }
                None => false,
            },
        }
    }
}
