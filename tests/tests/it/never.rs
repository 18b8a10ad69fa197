//! What must never happen, and what must always hold: a test for each row of the table in `docs/THREATS.md`, named after
//! the row. Rows that one room alone can break have their test there; these need several rooms, or the whole ledger.

mod always;
mod budgets;
mod growth;
mod life;
mod money;
mod offers;
mod replicas;
mod sessions;
mod unattended;
