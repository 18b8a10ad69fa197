//! How a graphics processor is to be used.

use std::{path::PathBuf, time::Duration};

use super::{
    adapter::{AdapterChoice, AdapterError},
    context::{GpuFault, WATCHDOG},
    known_answers::Refusal,
    program::Arrangements,
};
use thiserror::Error;

/// How a graphics processor is to be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GpuOptions {
    /// Which one.
    pub adapter: AdapterChoice,
    /// Variants of the kernels; those that were measured to be fast here where there are none.
    pub arrangements: Option<Arrangements>,
    /// Bytes of one binding at most, below what the adapter says.
    pub binding_max: u64,
    /// Bytes of memory that a workgroup shares at most, below what the adapter says.
    pub workgroup_max: u32,
    /// How long a submission may take before the adapter counts as hung.
    pub watchdog: Duration,
    /// Whether passes are timed by the adapter's own clock, where it has one.
    pub timestamps: bool,
    /// Folder that remembers which adapters gave the known answers, and which variants are fast on them;
    /// without one, both are found out at every start.
    pub memory: Option<PathBuf>,
}

impl Default for GpuOptions {
    fn default() -> Self {
        Self {
            adapter: AdapterChoice::Best,
            arrangements: None,
            binding_max: u64::MAX,
            workgroup_max: u32::MAX,
            watchdog: WATCHDOG,
            timestamps: true,
            memory: None,
        }
    }
}

/// Why a graphics processor does not compute a model.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum GpuError {
    /// There is none, or none as asked for.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// It failed, or has no room for the model.
    #[error(transparent)]
    Fault(#[from] GpuFault),
    /// It computes wrongly.
    #[error(transparent)]
    Refused(#[from] Refusal),
}
