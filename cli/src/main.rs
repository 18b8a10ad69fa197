//! The program `gridhour`, for clients, auditors and operators.
#![allow(unreachable_pub, reason = "nobody links a program: `pub` says what a module offers to the others")]

mod commands;
mod context;
mod error;
mod human_time;
mod interrupt;
mod joined;
mod logging;
mod memory;
mod models;
mod output;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::main(std::env::args_os().collect())
}
