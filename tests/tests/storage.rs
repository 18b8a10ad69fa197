//! Stories about what survives: power cuts, kills, damage, and what is built on the journal.

#[path = "storage/fail_points.rs"]
mod fail_points;
#[path = "storage/flips.rs"]
mod flips;
#[path = "storage/follower.rs"]
mod follower;
#[path = "storage/full.rs"]
mod full;
#[path = "storage/journal.rs"]
mod journal;
#[path = "storage/kill.rs"]
mod kill;
#[path = "storage/ledger_export.rs"]
mod ledger_export;
#[path = "storage/observer.rs"]
mod observer;
#[path = "storage/power_cut.rs"]
mod power_cut;
#[path = "storage/records.rs"]
mod records;
#[path = "storage/repair.rs"]
mod repair;
#[path = "storage/solo.rs"]
mod solo;
#[path = "storage/split_view.rs"]
mod split_view;
#[path = "storage/start.rs"]
mod start;
#[path = "storage/state_store.rs"]
mod state_store;
#[path = "storage/still_clock.rs"]
mod still_clock;
#[path = "storage/tiles.rs"]
mod tiles;
#[path = "storage/witness.rs"]
mod witness;
#[path = "storage/witnessing.rs"]
mod witnessing;
#[path = "storage/world.rs"]
mod world;

use testkit::seeds::scale;
