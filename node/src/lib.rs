//! The room with sockets, disk, clock and randomness: the engine, the network, the store and the drivers.

pub mod available_memory;
pub mod bench;
pub mod clock;
pub mod command;
pub mod consensus;
pub mod data_dir;
pub mod drivers;
pub mod engine;
pub mod evaluate;
pub mod health;
pub mod http;
pub mod keys;
pub mod limbo;
pub mod logging;
pub mod metrics;
pub mod model;
pub mod net;
pub mod network_json;
pub mod own_machines;
pub mod rpc;
pub mod settings;
pub mod store;
