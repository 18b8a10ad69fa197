//! Whoever orders honestly has the answer in time or the money back: of an order whose time is over without an answer, no
//! session that was opened for it holds anything once its deadline is past, nor at the end of the world. What was paid on
//! the way is the business of [`super::nobody_loses_more_than_a_chunk`].

use std::collections::{BTreeMap, BTreeSet};

use gridhour_contracts_sim::ledger::entry::{Entry, Event};
use gridhour_protocol::{
    id::SessionId,
    units::{Millis, Timestamp},
};

use super::{Checker, View, holds_have_deadlines::OVERDUE_MAX};
use crate::sim::{fact::Fact, net::NodeId};

type Order = (NodeId, usize);

/// Orders that are neither served nor refunded, and the sessions that hold something.
#[derive(Clone, Debug, Default)]
pub struct OrdersAreServedOrRefunded {
    waiting: BTreeMap<Order, Timestamp>,
    served: BTreeSet<Order>,
    /// By client: when each session opened.
    sessions: BTreeMap<SessionId, (NodeId, Timestamp)>,
}

impl OrdersAreServedOrRefunded {
    fn note(&mut self, fact: &Fact) {
        match fact {
            Fact::Wanted { by, errand, until } if !self.served.contains(&(*by, *errand)) => {
                self.waiting.entry((*by, *errand)).or_insert(*until);
            }
            Fact::Delivered { by, errand } => {
                self.waiting.remove(&(*by, *errand));
                self.served.insert((*by, *errand));
            }
            _ => {}
        }
    }

    fn take(&mut self, entry: &Entry, view: &View<'_>) {
        match &entry.event {
            Event::Opened { session, .. } => {
                let terms = view.ledger.state().session(session).map(|session| &session.terms);
                let client = terms.and_then(|terms| view.node_of(&terms.client));
                if let Some(client) = client {
                    self.sessions.insert(*session, (client, view.time));
                }
            }
            Event::Closed { session, .. } | Event::Expired { session, .. } => {
                self.sessions.remove(session);
            }
            _ => {}
        }
    }

    /// The sessions that may have been opened for an order: those that its client opened before its end.
    fn held_for(&self, by: NodeId, until: Timestamp) -> impl Iterator<Item = &SessionId> {
        let is_for = move |(_, (client, opened)): &(&SessionId, &(NodeId, Timestamp))| {
            *client == by && *opened < until
        };
        self.sessions.iter().filter(is_for).map(|(id, _)| id)
    }

    /// Settles the orders whose time is over.
    fn judge(&mut self, view: &View<'_>, is_end: bool) -> Result<(), String> {
        let over = self.waiting.iter().filter(|(_, until)| is_end || **until < view.time);
        let over: Vec<(Order, Timestamp)> = over.map(|(order, until)| (*order, *until)).collect();
        for ((by, errand), until) in over {
            let held: Vec<SessionId> = self.held_for(by, until).copied().collect();
            if held.is_empty() {
                self.waiting.remove(&(by, errand));
            }
            let is_honest = view.role(by).is_some_and(|role| role.honest);
            if let Some(id) = held.iter().find(|id| is_honest && (is_end || is_overdue(id, view))) {
                return Err(format!(
                    "order {errand} of node {} was not served, and {id} still holds for it",
                    by.0
                ));
            }
        }
        Ok(())
    }
}

fn is_overdue(id: &SessionId, view: &View<'_>) -> bool {
    let session = view.ledger.state().session(id);
    session.is_some_and(|session| view.time.since(session.collect_until) > Millis(OVERDUE_MAX.0))
}

impl Checker for OrdersAreServedOrRefunded {
    fn name(&self) -> &'static str {
        "orders_are_served_or_refunded"
    }

    fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        view.facts.iter().for_each(|fact| self.note(fact));
        view.entries.iter().for_each(|entry| self.take(entry, view));
        self.judge(view, false)
    }

    fn finish(&mut self, view: &View<'_>) -> Result<(), String> {
        self.judge(view, true)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::stage::{CLIENT, Stage, time},
        *,
    };

    fn wanted() -> Fact {
        Fact::Wanted { by: CLIENT, errand: 0, until: time(10) }
    }

    fn with_session() -> OrdersAreServedOrRefunded {
        let mut checker = OrdersAreServedOrRefunded::default();
        checker.sessions.insert(SessionId([1; 32]), (CLIENT, time(5)));
        checker
    }

    #[test]
    fn an_order_that_is_neither_served_nor_refunded_is_found() {
        let stage = Stage::new();
        let mut checker = with_session();
        assert_eq!(stage.show(&mut checker, &[wanted()]), Ok(()));
        assert_eq!(checker.check(&stage.view(20, &[])), Ok(()), "its session may still end");
        assert!(checker.finish(&stage.view(20, &[])).is_err());
    }

    #[test]
    fn one_that_was_served_or_whose_sessions_ended_is_not() {
        let stage = Stage::new();
        let mut checker = with_session();
        let served = Fact::Delivered { by: CLIENT, errand: 0 };
        assert_eq!(stage.show(&mut checker, &[wanted(), served, wanted()]), Ok(()));
        assert_eq!(checker.finish(&stage.view(20, &[])), Ok(()));
        let mut checker = OrdersAreServedOrRefunded::default();
        assert_eq!(stage.show(&mut checker, &[wanted()]), Ok(()));
        assert_eq!(checker.finish(&stage.view(20, &[])), Ok(()));
    }
}
