//! What a provider says of its device: what it measures itself. A calibration puts other rates in the place
//! of these.

use std::{fs, sync::Arc};

use gridhour_protocol::{
    exact::NUMERICS_VERSION,
    limits::NAME_BYTES_MAX,
    market::advert::{Device, DeviceClass, RateSource},
    units::{Work, WorkRate},
    work::{Rates, WorkModel},
};

use crate::engine::{
    Engine,
    device::DeviceFacts,
    rates::{Measured, measure_rates},
    sequence::SequenceError,
};

/// Why a device could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The engine failed.
    #[error("the engine failed while it was measured: {0}")]
    Engine(#[from] SequenceError),
    /// A rate of zero, or one that no number holds.
    #[error("the measured rates make no sense: {0}")]
    Absurd(String),
}

/// Measures `engine` and describes what it runs on. Takes a second or two.
///
/// # Errors
/// If the engine fails.
pub fn measure_device(engine: &Arc<Engine>, work: &WorkModel) -> Result<Device, MeasureError> {
    let measured = measure_rates(engine)?;
    let absurd = || MeasureError::Absurd(format!("{measured:?}"));
    let prefill = work.prefill(measured.prefill_tokens).ok_or_else(absurd)?;
    let decode = passes(work, &measured).ok_or_else(absurd)?;
    let rates = Rates {
        prefill: rate(prefill, measured.prefill_ns).ok_or_else(absurd)?,
        decode: rate(decode, measured.decode_ns).ok_or_else(absurd)?,
    };
    let DeviceFacts { kind, name, adapter, .. } = engine.device().facts();
    Ok(Device {
        class: if adapter.is_some() { DeviceClass::Gpu } else { DeviceClass::Cpu },
        name: shortened(&adapter.unwrap_or_else(processor_name)),
        backend: format!("{kind}/{name}"),
        memory_bytes: (engine.weight_bytes() + engine.pages().limit()) as u64,
        threads: u16::try_from(engine.threads()).unwrap_or(u16::MAX),
        numerics: NUMERICS_VERSION,
        rates,
        rate_source: RateSource::SelfMeasured,
    })
}

/// Work of the measured passes: the decoding of one token more than passes, but for the first, which needs none.
fn passes(work: &WorkModel, measured: &Measured) -> Option<Work> {
    let (prompt, passes) = (measured.prefill_tokens, measured.decode_tokens);
    work.decode(prompt, passes.checked_add(1)?)?.checked_sub(work.decode(prompt, 1)?)
}

/// Work per second; `None` for none at all.
fn rate(work: Work, ns: u64) -> Option<WorkRate> {
    let per_s = (u128::from(work.0) * 1_000_000_000).checked_div(u128::from(ns))?;
    u64::try_from(per_s).ok().filter(|rate| *rate > 0).map(WorkRate)
}

/// The processor's name as the system gives it.
fn processor_name() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let name = line.trim_start_matches([' ', '\t', ':']).trim();
    if name.is_empty() { std::env::consts::ARCH } else { name }.to_owned()
}

/// A name cut to what an advert holds.
fn shortened(name: &str) -> String {
    name.chars().filter(char::is_ascii).take(NAME_BYTES_MAX).collect()
}
