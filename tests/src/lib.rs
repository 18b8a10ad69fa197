//! The simulated world, the misbehaving actors and the stories that use them.

pub mod actors;
pub mod agreement;
pub mod altered;
pub mod checkers;
pub mod data;
pub mod definition;
pub mod f32_eval;
pub mod fair;
pub mod fuzz;
pub mod gguf;
pub mod mounts;
pub mod scenario;
pub mod seeds;
pub mod sim;
pub mod statistics;
pub mod wan;
pub mod watched;
