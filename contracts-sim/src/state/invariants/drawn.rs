//! What budgets and reservations say of the sessions under them, against the sessions themselves.
//!
//! Sessions are gone through once, not once for each budget and reservation: a state has any number of all three, and
//! whoever loads one checks it.

use std::collections::BTreeMap;

use gridhour_protocol::id::{BudgetId, ReservationId};

use super::{Violation, hold};
use crate::state::{Draw, State};

#[derive(Default)]
struct Drawn {
    budgets: BTreeMap<BudgetId, usize>,
    reservations: BTreeMap<ReservationId, Slots>,
}

/// Sessions that drew on a reservation.
#[derive(Default)]
struct Slots {
    count: usize,
    /// The last slot that one of them opened in.
    last: u16,
}

pub(super) fn check_drawn(state: &State) -> Result<(), Violation> {
    let drawn = Drawn::of(state);
    for (id, budget) in state.budgets() {
        let count = drawn.budgets.get(id).copied().unwrap_or(0);
        hold("budget-open", u32::try_from(count) == Ok(budget.open), || format!("{id}: {count}"))?;
    }
    let none = Slots::default();
    for (id, reservation) in state.reservations() {
        let Slots { count, last } = drawn.reservations.get(id).unwrap_or(&none);
        let counted = u32::try_from(*count) == Ok(reservation.open) && *last <= reservation.settled;
        hold("reservation-open", counted, || format!("{id}: {count}, the last of slot {last}"))?;
    }
    Ok(())
}

impl Drawn {
    fn of(state: &State) -> Self {
        let mut drawn = Self::default();
        for draw in state.sessions().filter_map(|(_, session)| session.draw) {
            match draw {
                Draw::Budget(draw) => *drawn.budgets.entry(draw.budget).or_default() += 1,
                Draw::Slot(draw) => {
                    let slots = drawn.reservations.entry(draw.reservation).or_default();
                    slots.count += 1;
                    slots.last = slots.last.max(draw.slot);
                }
            }
        }
        drawn
    }
}

#[cfg(test)]
mod tests {
    use std::{
        hint::black_box,
        time::{Duration, Instant},
    };

    use gridhour_protocol::{
        id::SessionId,
        market::tier::Tier,
        units::{Credits, Millis},
    };

    use super::*;
    use crate::{
        harness::{Chain, Deal, cap, key},
        state::{Reservation, Session, check_invariants, reservation::SlotDraw},
    };

    const SLOT: Millis = Millis(10 * 60_000);

    /// A session that a budget pays for, and one that a slot pays for.
    fn drawn_on() -> State {
        let (mut chain, client) = (Chain::new(), key(1));
        let first = Deal::new(&chain, &client, &key(2));
        chain.ready_device(&first);
        let reservation = chain.book(&first, &first.reservation());
        let caps = vec![cap(None, Some(&client.public()), Credits(900))];
        let budget = chain.open_budget(&key(3), caps);
        chain.advance(SLOT);
        let mut deal = Deal::new(&chain, &client, &key(2));
        chain.acting(&client).ok(deal.draw(budget, 0));
        deal.terms.nonce = 2;
        deal.terms.use_until = chain.now().after(Millis(SLOT.0 / 2)).expect("time goes on");
        let deal = deal.in_tier(Tier::Reserved);
        chain.acting(&client).ok(deal.draw_slot(reservation));
        chain.state().clone()
    }

    fn broken(change: impl FnOnce(&mut State)) -> &'static str {
        let mut state = drawn_on();
        assert_eq!(check_invariants(&state), Ok(()));
        change(&mut state);
        check_drawn(&state).expect_err("it was changed").rule
    }

    fn reservation(state: &mut State) -> &mut Reservation {
        state.reservations.values_mut().next().expect("there is one")
    }

    fn budget(state: &mut State) -> &mut u32 {
        &mut state.budgets.values_mut().next().expect("there is one").open
    }

    #[test]
    fn sessions_are_counted_where_they_draw() {
        assert_eq!(broken(|state| *budget(state) += 1), "budget-open");
        assert_eq!(broken(|state| *budget(state) = 0), "budget-open");
        assert_eq!(broken(|state| reservation(state).open += 1), "reservation-open");
        assert_eq!(broken(|state| reservation(state).open = 0), "reservation-open");
        let all_gone = |state: &mut State| state.sessions.clear();
        assert_eq!(broken(all_gone), "budget-open");
    }

    #[test]
    fn no_session_draws_on_a_slot_to_come() {
        let later = |state: &mut State| {
            for session in state.sessions.values_mut() {
                if let Some(Draw::Slot(draw)) = &mut session.draw {
                    draw.slot += 1;
                }
            }
        };
        assert_eq!(broken(later), "reservation-open");
    }

    fn id(number: u32) -> [u8; 32] {
        *blake3::hash(&number.to_le_bytes()).as_bytes()
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "a test may look at the clock to tell how long something took"
    )]
    fn shortest(of: impl Fn()) -> Duration {
        let runs = (0..3).map(|_| {
            let start = Instant::now();
            of();
            start.elapsed()
        });
        runs.min().expect("three runs")
    }

    /// Going through them once for each of 10,000 reservations would take 10,000 times as long; this takes about 100 times,
    /// most of it for looking up.
    #[test]
    fn many_reservations_go_through_the_sessions_once() {
        let mut state = drawn_on();
        let known: Vec<Reservation> = state.reservations.values().cloned().collect();
        let sessions: Vec<Session> = state.sessions.values().cloned().collect();
        let session = sessions.into_iter().find(|session| matches!(session.draw, Some(Draw::Slot(_))));
        let (reservation, session) = (known[0].clone(), session.expect("there is one"));
        (state.sessions, state.budgets) = Default::default();
        state.reservations.clear();
        for number in 0..10_000 {
            let reserved = ReservationId(id(number));
            state.reservations.insert(reserved, reservation.clone());
            let draw = Some(Draw::Slot(SlotDraw { reservation: reserved, slot: 0 }));
            state.sessions.insert(SessionId(id(number)), Session { draw, ..session.clone() });
        }
        let once = shortest(|| {
            black_box(state.sessions().filter(|(_, session)| session.closing).count());
        });
        let checked = shortest(|| assert_eq!(check_drawn(&state), Ok(())));
        assert!(checked < 1_000 * once, "{checked:?}, and {once:?} to go through the sessions");
    }
}
