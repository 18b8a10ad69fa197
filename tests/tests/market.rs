//! A market of hundreds of simulated nodes.

#[path = "market/fair.rs"]
mod fair;
