//! Sessions that something else pays for than their client's account: a budget, or a slot that was reserved.

use gridhour_protocol::units::Credits;

use crate::{
    ledger::{Effects, Env, Write, budget, entry::Book, reject::Reject, reservation, reservation::Touched},
    state::{Budget, Draw, Session, budget::BudgetDraw, changes::Overlay, reservation::SlotDraw},
};

/// Where more of a session's hold comes from, once that has agreed.
pub(crate) enum Source {
    /// A budget whose caps were charged, and what the session has drawn then.
    Budget(Budget, BudgetDraw),
    /// The slot in which the session opened.
    Slot(Box<Touched>, SlotDraw),
}

impl Source {
    /// The source of what the session has drawn before, for `amount` more.
    pub(crate) fn of(overlay: &Overlay<'_>, env: &Env, draw: Draw, amount: Credits) -> Result<Self, Reject> {
        match draw {
            Draw::Budget(draw) => {
                let (budget, draw) = budget::top_up(overlay, env, draw, amount)?;
                Ok(Self::Budget(budget, draw))
            }
            Draw::Slot(draw) => {
                let touched = Touched::find(overlay, env, &draw.reservation)?;
                Ok(Self::Slot(Box::new(touched), draw))
            }
        }
    }

    /// What the session has drawn then.
    pub(crate) fn draw(&self) -> Draw {
        match self {
            Self::Budget(_, draw) => Draw::Budget(*draw),
            Self::Slot(_, draw) => Draw::Slot(*draw),
        }
    }

    /// Whether it still gives: a slot does until it has ended or was missed.
    pub(crate) fn is_open(&self, env: &Env) -> bool {
        match self {
            Self::Budget(..) => true,
            Self::Slot(touched, draw) => touched.is_running(env, draw.slot),
        }
    }

    /// Pays `amount` of the hold.
    pub(crate) fn pay(self, effects: Effects, amount: Credits) -> Result<Effects, Reject> {
        match self {
            Self::Budget(budget, draw) => budget::pay_from(effects, budget, &draw.budget, amount),
            Self::Slot(touched, _) => touched.pay(effects, amount),
        }
    }
}

/// What gives when a session holds more.
pub(crate) fn payer(session: &Session) -> Book {
    match session.draw {
        None => Book::Account(session.terms.client),
        Some(Draw::Budget(draw)) => Book::Budget(draw.budget),
        Some(Draw::Slot(draw)) => Book::Reservation(draw.reservation),
    }
}

/// Where what is left of an ended session's hold goes, and what else changes then.
pub(crate) fn end(
    overlay: &Overlay<'_>,
    env: &Env,
    session: &Session,
) -> (Vec<(Book, Credits)>, Option<Write>) {
    let rest = session.held;
    match &session.draw {
        None => (vec![(Book::Account(session.terms.client), rest)], None),
        Some(Draw::Budget(draw)) => {
            let (home, write) = budget::end_draw(overlay, env, draw, rest);
            (vec![(home, rest)], Some(write))
        }
        Some(Draw::Slot(draw)) => {
            let (homes, write) = reservation::end_draw(overlay, draw, rest);
            (homes, Some(write))
        }
    }
}
