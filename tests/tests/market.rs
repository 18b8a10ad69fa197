//! A market of hundreds of simulated nodes.

#[path = "market/classes.rs"]
mod classes;
#[path = "market/fair.rs"]
mod fair;
#[path = "market/scores.rs"]
mod scores;
