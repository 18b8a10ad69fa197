//! Logs, to standard error, and only when asked for.

use gridhour_node::logging::{LogFormat, start as start_logging};
use tracing_subscriber::EnvFilter;

/// Environment variable with filters such as `gridhour_node=debug`.
const VARIABLE: &str = "GRIDHOUR_LOG";

/// Starts logging if `-v` was given `verbosity` times, or if [`VARIABLE`] asks for it.
pub fn start(verbosity: u8, format: LogFormat) {
    let filter = match (verbosity, EnvFilter::try_from_env(VARIABLE)) {
        (0, Ok(filter)) => filter,
        (0, Err(_)) => return,
        (1, _) => EnvFilter::new("info"),
        _ => EnvFilter::new("debug"),
    };
    start_logging(filter, format);
}
