//! How an offer is chosen.

use gridhour_protocol::market::matching::Candidate;
use serde::Serialize;

/// How an offer is chosen among those that meet an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// As clients do: the shortlist is pinged, and the score decides, with what earlier jobs showed.
    Ours,
    /// The cheapest, whenever it finishes.
    CheapestFirst,
    /// The earliest first token that is expected, whatever it costs.
    FirstTokenFirst,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ours, Self::CheapestFirst, Self::FirstTokenFirst];

    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::CheapestFirst => "cheapest-first",
            Self::FirstTokenFirst => "first-token-first",
        }
    }

    /// The places of candidates that come best score first, in the order in which this policy asks them.
    pub(super) fn ranked(self, candidates: &[Candidate]) -> Vec<usize> {
        let mut places: Vec<usize> = (0..candidates.len()).collect();
        match self {
            Self::Ours => {}
            Self::CheapestFirst => places.sort_by_key(|place| candidates[*place].cost),
            Self::FirstTokenFirst => places.sort_by_key(|place| candidates[*place].expected_ttft_ms),
        }
        places
    }
}
