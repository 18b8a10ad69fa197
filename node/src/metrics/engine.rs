//! The engine's counters and memory.

use std::fmt;

use super::sheet::{
    Sheet,
    Unit::{Bytes, Things},
};
use crate::engine::scheduler::{EngineCounts, Scheduler};

/// Writes what engines computed in all, and how the one stands that serves now, if one does.
pub(super) fn write(
    sheet: &mut Sheet<'_>,
    counts: &EngineCounts,
    serving: Option<&Scheduler>,
) -> fmt::Result {
    sheet.counter("engine_passes", Things, "Passes computed", counts.passes)?;
    let help = "Positions computed, of prompts and outputs";
    sheet.counter("engine_positions", Things, help, counts.positions)?;
    sheet.counter("engine_tokens", Things, "Output tokens chosen", counts.tokens)?;
    let help = "Time that passes took, by the device's clock where it has one";
    sheet.nanoseconds("engine_compute", help, counts.nanoseconds)?;
    let jobs = serving.map_or(0, Scheduler::jobs) as u64;
    sheet.gauge("engine_jobs", Things, "Jobs on the engine, running or in line for memory", jobs)?;
    let pages = serving.map(|scheduler| scheduler.engine().pages());
    let [used, kept, limit] =
        pages.map_or([0; 3], |pages| [pages.used(), pages.kept(), pages.limit()].map(|bytes| bytes as u64));
    let help = "Memory for keys and values that jobs use or were promised";
    sheet.gauge("engine_kv_used", Bytes, help, used)?;
    let help = "Memory for keys and values kept for jobs that begin as an earlier one did";
    sheet.gauge("engine_kv_kept", Bytes, help, kept)?;
    sheet.gauge("engine_kv_limit", Bytes, "Memory for keys and values; 0 while no model is loaded", limit)
}
