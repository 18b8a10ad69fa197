//! What providers collected for in some sessions, gathered while a history goes by.

use std::collections::BTreeMap;

use gridhour_protocol::id::SessionId;

use crate::ledger::entry::{Entry, Lane};

/// The lanes of some sessions, as the ledger stated them last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected(BTreeMap<SessionId, BTreeMap<u16, Lane>>);

impl Collected {
    /// Of these sessions; nothing is known yet.
    #[must_use]
    pub fn of(sessions: impl IntoIterator<Item = SessionId>) -> Self {
        Self(sessions.into_iter().map(|session| (session, BTreeMap::new())).collect())
    }

    /// Reads what the transactions of the next block left.
    pub fn read(&mut self, entries: &[Entry]) {
        for entry in entries {
            let lanes = entry.event.session().and_then(|session| self.0.get_mut(&session));
            let stated = entry.event.lanes().iter().map(|lane| (lane.lane, *lane));
            lanes.into_iter().for_each(|lanes| lanes.extend(stated.clone()));
        }
    }

    /// A lane, if it was collected on.
    #[must_use]
    pub fn lane(&self, session: &SessionId, lane: u16) -> Option<&Lane> {
        self.0.get(session)?.get(&lane)
    }
}
