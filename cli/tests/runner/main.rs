//! What users and scripts see: every command as a process, its text, its JSON and its exit code.
#![allow(unreachable_pub, reason = "nobody links a program: `pub` says what a module offers to the others")]

mod audit;
mod audit_replay;
mod audit_rerun;
mod audit_resume;
mod bench;
mod budget;
mod calibrate;
mod completions;
mod demo;
mod doctor;
mod eval;
mod explain;
mod failover;
mod key;
mod kills;
mod logs;
mod market;
mod metrics;
mod observer;
mod proofs;
mod public_log;
mod pull;
mod receipt;
mod redundant;
mod sampling;
mod sandbox;
mod scrape;
mod show;
mod stakes;
mod tokenize;
mod usage;
mod wan;
mod warm;
mod witnesses;
