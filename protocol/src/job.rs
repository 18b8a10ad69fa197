//! One job: what is asked, and how each side moves through it.
//!
//! [`buyer::Buyer`] and [`provider::Provider`] are state machines without clock, socket or disk. A driver gives them the
//! time and what arrived, then does what they ask, in the order in which they ask it. What must be on disk before a
//! message leaves comes before that message. Effects that a step asked for hold even if the step ended in an error.
//!
//! What each side risks: the buyer at most one chunk that was paid for and never came; the provider nothing, because it
//! computes only what a voucher that it holds on disk pays for.

pub mod admission;
pub mod agreement;
pub mod buyer;
pub mod effect;
pub mod ending;
pub mod logprobs;
pub mod message;
pub mod misbehavior;
pub mod pace;
pub mod provider;
mod receipt_check;
pub mod request;
pub mod sampling;

#[cfg(test)]
mod tests;
