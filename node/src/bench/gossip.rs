//! How fast a new advert is known everywhere: many whole nodes in this process, over a transport within it.
//!
//! Every node is what a node of a network is, with its handshakes, checks, scores and meshes; only sockets are missing.
//! Each dials a few that were started before it, as a node with a few bootstrap peers does. A figure is told in
//! heartbeats of gossip, in which meshes are mended and rumours repeated.

mod advert;
mod crowd;

use std::time::{Duration, Instant};

use gridhour_protocol::signed::PublicKey;
use thiserror::Error;

use self::crowd::Crowd;
use super::ledger::Row;
use crate::net::{Closed, NetError, PublishError, limits::GOSSIP_HEARTBEAT};

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Nodes, at least 2.
    pub nodes: usize,
    /// Peers that each node dials, among those started before it.
    pub dials: usize,
    /// Adverts that are published, one after the other.
    pub adverts: usize,
    /// Decides who dials whom, and who publishes.
    pub seed: u64,
    /// An advert that takes longer to be known everywhere is given up.
    pub patience: Duration,
}

/// Why nothing was measured.
#[derive(Debug, Error)]
pub enum GossipError {
    /// A node did not start.
    #[error(transparent)]
    Start(#[from] NetError),
    /// A node ended.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// A node did not take its own advert.
    #[error("an advert was not published: {0}")]
    Publish(#[from] PublishError),
    /// Some nodes had not heard in time.
    #[error(
        "{missing} of {nodes} nodes did not hear of an advert within {patience:?}; try fewer, or a quieter machine"
    )]
    Unheard {
        /// Nodes that had not.
        missing: usize,
        /// All nodes.
        nodes: usize,
        /// How long they were given.
        patience: Duration,
    },
}

/// What was measured.
#[derive(Clone, PartialEq, Debug)]
pub struct Measured {
    /// Time until each node but the publisher knew each advert, in ascending order.
    pub delays: Vec<Duration>,
    /// Time until all nodes were started and had met those that they dialled.
    pub meeting: Duration,
    /// Connections of all nodes, each counted at both ends.
    pub links: usize,
}

impl Measured {
    /// The delay that a share of all, in per mille, stays within; zero for none.
    #[must_use]
    pub fn percentile(&self, per_mille: usize) -> Duration {
        let rank = (self.delays.len() * per_mille).div_ceil(1000).saturating_sub(1);
        self.delays.get(rank).copied().unwrap_or_default()
    }

    /// The figures.
    #[must_use]
    pub fn rows(&self, plan: &Plan) -> Vec<Row> {
        let plain = |name, value, unit| Row { name, value, unit, reference: None, ratio: None };
        let heartbeats = |delay: Duration| delay.as_secs_f64() / GOSSIP_HEARTBEAT.as_secs_f64();
        vec![
            plain("known_p50_heartbeats", heartbeats(self.percentile(500)), "heartbeats"),
            plain("known_p99_heartbeats", heartbeats(self.percentile(990)), "heartbeats"),
            plain("known_last_heartbeats", heartbeats(self.percentile(1000)), "heartbeats"),
            plain("known_p50_ms", self.percentile(500).as_secs_f64() * 1e3, "ms"),
            plain("known_p99_ms", self.percentile(990).as_secs_f64() * 1e3, "ms"),
            plain("meeting_s", self.meeting.as_secs_f64(), "s"),
            plain("links_per_node", self.links as f64 / plan.nodes as f64, "links"),
        ]
    }
}

/// Starts the nodes and publishes the adverts; `told` hears of each step that is done, of [`steps`].
///
/// The first advert warms up and is not counted: it is told when meshes have just begun to form.
///
/// # Errors
/// [`GossipError`].
pub async fn measure(plan: &Plan, told: &mut dyn FnMut()) -> Result<Measured, GossipError> {
    let began = Instant::now();
    let mut crowd = Crowd::gather(plan, told).await?;
    let (meeting, links) = (began.elapsed(), crowd.links());
    let mut delays = Vec::new();
    for at in 0..=plan.adverts {
        let heard = crowd.publish(plan.patience).await?;
        if at > 0 {
            delays.extend(heard);
        }
        told();
    }
    crowd.leave().await;
    delays.sort_unstable();
    Ok(Measured { delays, meeting, links })
}

/// Steps of a measurement.
#[must_use]
pub fn steps(plan: &Plan) -> u64 {
    (plan.nodes + plan.adverts + 1) as u64
}

/// One node heard of an advert.
#[derive(Clone, Copy, Debug)]
struct Heard {
    provider: PublicKey,
    sequence: u64,
    at: Instant,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { nodes: 60, dials: 3, adverts: 3, seed: 1, patience: Duration::from_secs(120) };

    #[tokio::test]
    async fn every_node_of_sixty_learns_of_every_advert() {
        let mut done = 0;
        let measured = measure(&PLAN, &mut || done += 1).await.expect("every node hears");
        assert_eq!(done, steps(&PLAN));
        assert_eq!(measured.delays.len(), PLAN.adverts * (PLAN.nodes - 1));
        assert!(measured.delays.is_sorted());
        assert!(measured.links >= 2 * (PLAN.nodes - 1), "each met at least one");
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let delays = (1..=100).map(Duration::from_millis).collect();
        let measured = Measured { delays, meeting: Duration::ZERO, links: 0 };
        assert_eq!(measured.percentile(500), Duration::from_millis(50));
        assert_eq!(measured.percentile(990), Duration::from_millis(99));
        assert_eq!(measured.percentile(1000), Duration::from_millis(100));
        let none = Measured { delays: Vec::new(), meeting: Duration::ZERO, links: 0 };
        assert_eq!(none.percentile(990), Duration::ZERO);
    }
}
