//! What a world lies on.

use crate::sim::{
    atlas::Atlas,
    net::{Partition, Weather},
};

/// How long a small world may last, in milliseconds of simulated time. Longer than any deadline that a scenario sets.
const HORIZON_MS: u64 = 400_000;
/// In small worlds almost everyone gossips with everyone.
const DEGREE: usize = 8;

/// The network between the nodes, and how long they may take.
#[derive(Clone, Debug)]
pub struct Land {
    /// How bad the network is.
    pub weather: Weather,
    /// Who is cut off when.
    pub partitions: Vec<Partition>,
    /// Where the nodes are; delays are drawn if `None`.
    pub atlas: Option<Atlas>,
    /// With how many others a node gossips, about.
    pub degree: usize,
    /// When the world ends at the latest, in milliseconds.
    pub horizon_ms: u64,
}

impl Land {
    /// For a few nodes.
    #[must_use]
    pub fn small(weather: Weather, partitions: Vec<Partition>) -> Self {
        Self { weather, partitions, atlas: None, degree: DEGREE, horizon_ms: HORIZON_MS }
    }
}
