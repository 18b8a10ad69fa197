//! No credit appears, disappears or moves without an entry that says so: a second set of books, kept from the
//! entries alone, always agrees with the ledger's.

use std::collections::BTreeMap;

use gridhour_contracts_sim::{
    genesis::Genesis,
    ledger::entry::{Book, Posting},
    state::{Reservation, Stake, State, check_invariants},
};

use super::{Checker, View};

/// The second set of books. Issuance is negative by what was issued, so that all books together are zero.
#[derive(Clone, Debug)]
pub struct MoneyConserved {
    books: BTreeMap<Book, i128>,
}

impl MoneyConserved {
    /// The books at the beginning.
    #[must_use]
    pub fn new(genesis: &Genesis) -> Self {
        let mut this = Self { books: BTreeMap::new() };
        for allocation in &genesis.allocations {
            this.post(&Posting {
                debit: Book::Issuance,
                credit: Book::Account(allocation.account),
                amount: allocation.amount,
            });
        }
        this
    }

    fn post(&mut self, posting: &Posting) {
        *self.books.entry(posting.debit).or_default() -= i128::from(posting.amount.0);
        *self.books.entry(posting.credit).or_default() += i128::from(posting.amount.0);
    }

    fn compare(&self, state: &State) -> Result<(), String> {
        let accounts = state.accounts().map(|(key, balance)| (Book::Account(*key), balance.0));
        let holds = state.sessions().map(|(id, session)| (Book::Hold(*id), session.held.0));
        let staked = |stake: &Stake| stake.total().map_or(0, |total| total.0);
        let stakes = state.stakes().map(|(device, stake)| (Book::Stake(*device), staked(stake)));
        let pots = state.budgets().map(|(id, budget)| (Book::Budget(*id), budget.pot.0));
        let held = |reservation: &Reservation| reservation.total().map_or(0, |total| total.0);
        let reserved = state.reservations().map(|(id, item)| (Book::Reservation(*id), held(item)));
        let theirs: BTreeMap<Book, i128> = accounts
            .chain(holds)
            .chain(stakes)
            .chain(pots)
            .chain(reserved)
            .map(|(book, sum)| (book, i128::from(sum)))
            .collect();
        let ours = self.books.iter().filter(|(book, _)| **book != Book::Issuance);
        for (book, sum) in ours {
            let found = theirs.get(book).copied().unwrap_or(0);
            if *sum != found {
                return Err(format!("{book:?}: the entries give {sum}, the ledger says {found}"));
            }
        }
        let sum: i128 = theirs.values().sum();
        let issued = -self.books.get(&Book::Issuance).copied().unwrap_or(0);
        if sum == issued { Ok(()) } else { Err(format!("{sum} credits exist, {issued} were issued")) }
    }
}

impl Checker for MoneyConserved {
    fn name(&self) -> &'static str {
        "money_conserved"
    }

    fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        if view.entries.is_empty() {
            return Ok(());
        }
        view.entries.iter().flat_map(|entry| &entry.postings).for_each(|posting| self.post(posting));
        check_invariants(view.ledger.state()).map_err(|violation| violation.to_string())?;
        self.compare(view.ledger.state())
    }
}
