//! Where the nodes of a world are, and how far that is from each other.

use gridhour_node::bench::matrix::Matrix;

use super::net::NodeId;

/// Nodes in regions, with the round trips between these.
#[derive(Clone, Debug)]
pub struct Atlas {
    regions: Vec<usize>,
    matrix: Matrix,
}

impl Atlas {
    /// The nodes in turn in the regions of `matrix`.
    #[must_use]
    pub fn new(matrix: Matrix, nodes: usize) -> Self {
        let count = matrix.names().len();
        Self { regions: (0..nodes).map(|node| node % count).collect(), matrix }
    }

    /// The same with one node in the region of another.
    #[must_use]
    pub fn with_beside(mut self, node: NodeId, other: NodeId) -> Self {
        self.regions[usize::from(node.0)] = self.regions[usize::from(other.0)];
        self
    }

    /// The region of a node.
    #[must_use]
    pub fn region(&self, node: NodeId) -> &str {
        &self.matrix.names()[self.regions[usize::from(node.0)]]
    }

    /// Number of regions.
    #[must_use]
    pub fn regions(&self) -> usize {
        self.matrix.names().len()
    }

    /// The nodes of a region, by its number.
    #[must_use]
    pub fn within(&self, region: usize) -> Vec<NodeId> {
        (0..).map(NodeId).zip(&self.regions).filter(|(_, at)| **at == region).map(|(node, _)| node).collect()
    }

    /// The way from one to the other, in milliseconds: half the round trip, rounded up.
    #[must_use]
    pub fn delay_ms(&self, a: NodeId, b: NodeId) -> u64 {
        let [a, b] = [a, b].map(|node| self.regions[usize::from(node.0)]);
        self.matrix.rtt_us(a, b).div_ceil(2_000).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_there_and_back_is_the_round_trip() {
        let atlas = Atlas::new(Matrix::parse("id,a,b\na,2.0,45.5\nb,45.5,2.0\n").unwrap(), 4);
        assert_eq!([atlas.region(NodeId(1)), atlas.region(NodeId(2))], ["b", "a"]);
        assert_eq!(atlas.delay_ms(NodeId(0), NodeId(3)), 23);
        assert_eq!(atlas.delay_ms(NodeId(0), NodeId(2)), 1);
        assert_eq!(atlas.within(1), [NodeId(1), NodeId(3)]);
        assert_eq!(atlas.with_beside(NodeId(2), NodeId(1)).region(NodeId(2)), "b");
    }
}
