//! Which graphics processors this machine has, and which of them may compute.

use std::{fmt, str::FromStr};

use futures::executor::block_on;
use thiserror::Error;
use wgpu::{
    Adapter, AdapterInfo, Backend, Backends, DeviceType, Instance, InstanceDescriptor, InstanceFlags,
};

/// Which adapter to take.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum AdapterChoice {
    /// The first discrete one, else the first integrated one, else any.
    #[default]
    Best,
    /// The adapter at this place of [`adapters`].
    Index(usize),
    /// The first whose name contains this, whatever the case.
    Name(String),
}

/// Why there is no adapter to compute with.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum AdapterError {
    /// The machine has none.
    #[error(
        "no graphics adapter with Vulkan, Metal or DirectX 12 was found: install its driver, or a software \
         one such as Mesa's lavapipe, or compute on the processor"
    )]
    None,
    /// None is as asked for.
    #[error("no adapter matches {asked}; there are: {found}")]
    NoSuch {
        /// What was asked for.
        asked: String,
        /// What there is.
        found: String,
    },
}

/// The adapters that may compute, best first. OpenGL is not among them: its shader compilers leave integer
/// division and shifts undefined where the arithmetic needs them.
pub fn adapters() -> Vec<Adapter> {
    let instance = Instance::new(InstanceDescriptor {
        backends: Backends::PRIMARY,
        flags: InstanceFlags::empty(),
        ..InstanceDescriptor::new_without_display_handle()
    });
    let mut found = block_on(instance.enumerate_adapters(Backends::PRIMARY));
    found.retain(|adapter| is_exact(adapter.get_info().backend));
    found.sort_by_key(|adapter| rank(adapter.get_info().device_type));
    found
}

/// Takes one of the machine's adapters.
///
/// # Errors
/// [`AdapterError`] if there is none, or none as asked for.
pub fn choose(choice: &AdapterChoice) -> Result<Adapter, AdapterError> {
    let mut found = adapters();
    let names: Vec<String> = found.iter().map(|adapter| adapter.get_info().name).collect();
    if names.is_empty() {
        return Err(AdapterError::None);
    }
    match place(choice, &names) {
        Some(place) => Ok(found.swap_remove(place)),
        None => Err(AdapterError::NoSuch { asked: choice.to_string(), found: names.join(", ") }),
    }
}

/// A line that says which adapter and driver computed.
pub fn describe(info: &AdapterInfo) -> String {
    let AdapterInfo { name, driver, driver_info, .. } = info;
    format!("{name} ({driver} {driver_info})")
}

fn is_exact(backend: Backend) -> bool {
    matches!(backend, Backend::Vulkan | Backend::Metal | Backend::Dx12)
}

fn rank(kind: DeviceType) -> u8 {
    match kind {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    }
}

fn place(choice: &AdapterChoice, names: &[String]) -> Option<usize> {
    match choice {
        AdapterChoice::Best => (!names.is_empty()).then_some(0),
        AdapterChoice::Index(index) => (*index < names.len()).then_some(*index),
        AdapterChoice::Name(part) => {
            let part = part.to_lowercase();
            names.iter().position(|name| name.to_lowercase().contains(&part))
        }
    }
}

impl FromStr for AdapterChoice {
    type Err = std::convert::Infallible;

    /// A number is a place, `best` or nothing the best, anything else a part of the name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match (text, text.parse()) {
            ("" | "best", _) => Self::Best,
            (_, Ok(index)) => Self::Index(index),
            (name, Err(_)) => Self::Name(name.to_owned()),
        })
    }
}

impl fmt::Display for AdapterChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Best => f.write_str("best"),
            Self::Index(index) => write!(f, "{index}"),
            Self::Name(name) => write!(f, "{name:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opengl_and_unknown_backends_are_refused() {
        assert!(![Backend::Gl, Backend::Noop, Backend::BrowserWebGpu].into_iter().any(is_exact));
    }

    #[test]
    fn adapters_are_chosen_by_place_or_part_of_the_name() {
        let names = ["NVIDIA H100".to_owned(), "llvmpipe (LLVM 15)".to_owned()];
        let found = |text: &str| place(&text.parse().expect("never fails"), &names);
        assert_eq!(
            ["", "best", "1", "2", "LLVM", "amd"].map(found),
            [Some(0), Some(0), Some(1), None, Some(1), None]
        );
    }
}
