//! The simulated world: everything that happens in it follows from one seed.
//!
//! No threads, no tokio, no real time. [`world::World`] takes one event after the other from one queue; nodes
//! are [`crate::actors::Actor`]s that see nothing but their [`context::Context`].

pub mod atlas;
pub mod chronicle;
pub mod clock;
pub mod context;
pub mod disk;
pub mod durable;
pub mod engine;
pub mod fact;
pub mod ledger_node;
pub mod mesh;
pub mod net;
pub mod queue;
pub mod rng;
pub mod trace;
pub mod world;
