//! Stories that cross the rooms, in one binary.

mod calibrations;
mod coordinates;
mod crashes;
mod engine_batches;
mod engine_continued;
mod engine_faults;
mod engine_gpu;
mod engine_gpu_ends;
mod engine_gpu_far;
mod engine_jobs;
mod engine_model;
mod engine_operators;
mod engine_sampling;
mod failover;
mod honest_market;
mod job_streams;
mod lying_ledger;
mod misdeeds;
mod never;
mod posted;
mod redundant;
mod simulated_wan;
mod standard_model;
mod threats;
mod warm_sessions;
