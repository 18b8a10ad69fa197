//! The rules through their public interface: contracts, blocks, proofs and audits. One binary, which is built and linked once.

mod audit;
mod audit_flips;
mod audit_resume;
mod budget;
mod budget_table;
mod c2sp;
mod calibrated;
mod cost;
mod double_spend;
mod model;
mod money;
mod precedence;
mod precedence_budgets;
mod precedence_reservations;
mod precedence_stakes;
mod proofs;
mod quoted;
mod registry;
mod reservation;
mod reservation_table;
mod session_table;
mod slash;
mod stake_table;
mod staked;
mod state;
mod witnesses;
