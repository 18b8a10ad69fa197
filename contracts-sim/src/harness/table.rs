//! Tables of a contract, every state with every call, as docs/LEDGER.md shows them.

use super::Actor;
use crate::tx::Call;

/// The table: a row for each of `calls`, a column for each of `states`; `answer` says what a call is answered in a
/// state, as [`Actor::answered`] writes it.
#[must_use]
pub fn table<C>(states: &[&str], calls: &[(&str, C)], answer: impl Fn(&str, &C) -> String) -> String {
    let head = [format!("| | {} |", states.join(" | ")), format!("|---|{}", "---|".repeat(states.len()))];
    let rows = calls.iter().map(|(name, call)| {
        let cells: Vec<String> = states.iter().map(|state| answer(state, call)).collect();
        format!("| {name} | {} |", cells.join(" | "))
    });
    head.into_iter().chain(rows).collect::<Vec<_>>().join("\n")
}

impl Actor<'_> {
    /// Sends a call, and writes the answer as a table has it: yes, or the name of the refusal.
    ///
    /// # Panics
    /// If a call that is refused changes anything.
    pub fn answered(&mut self, call: Call) -> String {
        let before = self.chain.state().clone();
        match self.call(call) {
            Ok(_) => "**yes**".into(),
            Err(reject) => {
                assert_eq!(*self.chain.state(), before, "a refusal changes nothing");
                reject.name().into()
            }
        }
    }
}
