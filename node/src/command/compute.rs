//! What computes, as a user names it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::{
    engine::{
        Backend,
        gpu::{adapter::AdapterChoice, options::GpuOptions},
    },
    model::catalogue::ModelCache,
    settings::Settings,
};

/// Folder of the model cache that remembers what was found out about adapters.
const ADAPTERS: &str = "adapters";

/// Kinds of machines that compute.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// The processor
    Cpu,
    /// A graphics adapter, by Vulkan, Metal or DirectX 12
    Gpu,
}

/// What computes, in flags.
#[derive(Clone, Debug, Default, Args)]
pub struct ComputeArgs {
    /// Compute on the processor or on a graphics adapter [default: cpu]
    #[arg(long, value_enum, env = "GRIDHOUR_BACKEND", hide_env_values = true)]
    pub backend: Option<BackendKind>,

    /// Take this graphics adapter: its number, or a part of its name [default: the best]
    #[arg(long, value_name = "ADAPTER", env = "GRIDHOUR_ADAPTER", hide_env_values = true)]
    pub adapter: Option<String>,
}

impl ComputeArgs {
    /// Flags over settings over defaults.
    #[must_use]
    pub fn backend(&self, settings: &Settings, models: &ModelCache) -> Backend {
        let adapter = self.adapter.as_deref().or(settings.adapter.as_deref());
        match self.backend.or(settings.backend).unwrap_or(BackendKind::Cpu) {
            BackendKind::Cpu => Backend::Cpu,
            BackendKind::Gpu => on_gpu(adapter, models.folder().join(ADAPTERS)),
        }
    }
}

/// A graphics adapter, with what is known of it from earlier starts.
fn on_gpu(adapter: Option<&str>, memory: PathBuf) -> Backend {
    let adapter = match adapter.unwrap_or_default().parse::<AdapterChoice>() {
        Ok(choice) => choice,
        Err(never) => match never {},
    };
    Backend::Gpu(GpuOptions { adapter, memory: Some(memory), ..GpuOptions::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_come_before_settings() {
        let models = ModelCache::new(PathBuf::from("models"));
        let settings = Settings { backend: Some(BackendKind::Gpu), ..Settings::default() };
        let asked = |backend| ComputeArgs { backend, adapter: Some("1".to_owned()) };
        assert_eq!(asked(Some(BackendKind::Cpu)).backend(&settings, &models), Backend::Cpu);
        let Backend::Gpu(options) = asked(None).backend(&settings, &models) else {
            panic!("the settings say a graphics adapter");
        };
        assert_eq!(options.adapter, AdapterChoice::Index(1));
        assert_eq!(options.memory, Some(PathBuf::from("models/adapters")));
    }
}
