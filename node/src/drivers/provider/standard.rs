//! Loading the standard model of a calibration, if this machine has room for it.

use std::sync::Arc;

use gridhour_protocol::calibration::message::RefusalCode;

use crate::engine::{
    Backend, Engine, EngineConfig, EngineError,
    device::DeviceFault,
    gpu::{context::GpuFault, options::GpuError},
    standard::StandardModel,
    weights::WeightsError,
};

/// Loads the standard model of a challenge where the provider's own was.
pub type LoadStandard = Arc<dyn Fn(&StandardModel) -> Result<Engine, StandardError> + Send + Sync>;

/// Why the standard model is not there.
#[derive(Debug, thiserror::Error)]
pub enum StandardError {
    /// This machine has not enough main memory left.
    #[error("loading takes {needed} bytes of main memory, {available} are left")]
    NoRoom {
        /// Bytes that loading takes.
        needed: u64,
        /// Bytes that can be had.
        available: u64,
    },
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl StandardError {
    /// What the challenger is told.
    #[must_use]
    pub fn code(&self) -> RefusalCode {
        match self {
            Self::NoRoom { .. }
            | Self::Engine(
                EngineError::Weights(WeightsError::NoMemory { .. })
                | EngineError::Device(DeviceFault::OutOfMemory { .. })
                | EngineError::Gpu(GpuError::Fault(GpuFault::OutOfMemory { .. })),
            ) => RefusalCode::OutOfMemory,
            Self::Engine(EngineError::Weights(WeightsError::GivenUp)) => RefusalCode::BrokenOff,
            Self::Engine(_) => RefusalCode::DeviceFault,
        }
    }
}

/// Loads with the settings of the provider's own engine, after a look at what `available` says is left of
/// main memory; where it says nothing, the system decides.
///
/// Weights pass through main memory on their way to an adapter, so all of them must fit there too.
pub fn load_standard(
    config: EngineConfig,
    available: impl Fn() -> Option<u64> + Send + Sync + 'static,
) -> LoadStandard {
    Arc::new(move |model: &StandardModel| {
        let keys_and_values = match config.backend {
            Backend::Cpu => 0,
            // They lie on the adapter alone.
            Backend::Gpu(_) => model.shape().kv_bytes(),
        };
        let needed = model.shape().bytes() - keys_and_values + model.bytes_beside();
        match available() {
            Some(available) if available < needed => Err(StandardError::NoRoom { needed, available }),
            _ => Ok(model.load(config.clone())?),
        }
    })
}

#[cfg(test)]
mod tests {
    use gridhour_protocol::calibration::shape::{MEMORY_MIN, StandardShape};

    use super::*;

    #[test]
    fn a_model_for_which_there_is_no_room_is_refused_before_anything_is_made() {
        let model = StandardModel::new(StandardShape::of(MEMORY_MIN).expect("the least"), [1; 32]);
        let needed = model.shape().bytes() + model.bytes_beside();
        let load = |left| load_standard(EngineConfig::default(), move || left)(&model);
        let refused = load(Some(needed - 1)).expect_err("a byte is missing");
        assert!(matches!(refused, StandardError::NoRoom { available, .. } if available == needed - 1));
        assert_eq!(refused.code(), RefusalCode::OutOfMemory);
        assert!(load(Some(needed)).is_ok() && load(None).is_ok());
    }

    #[test]
    fn memory_that_is_short_has_one_name_wherever_it_is_found() {
        let code = |error: EngineError| StandardError::from(error).code();
        let short = [
            EngineError::Device(DeviceFault::OutOfMemory { bytes: 1 }),
            EngineError::Weights(WeightsError::NoMemory { name: "x".into(), bytes: 1 }),
            EngineError::Gpu(GpuError::Fault(GpuFault::OutOfMemory { what: "x".into(), bytes: 1 })),
        ];
        assert!(short.into_iter().all(|error| code(error) == RefusalCode::OutOfMemory));
        assert_eq!(code(EngineError::Isa), RefusalCode::DeviceFault);
        assert_eq!(code(EngineError::Weights(WeightsError::GivenUp)), RefusalCode::BrokenOff);
    }
}
