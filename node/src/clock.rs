//! The wall clock, read in one place; rules get the time as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

use gridhour_protocol::units::Timestamp;

/// Milliseconds since the Unix epoch; 0 for a clock set before it.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
