//! The engine on graphics processors, by wgpu: the same integers as `cpu/`, from the kernels in `kernels/`.

pub mod adapter;
pub mod context;
pub mod shader;

/// Positions of a page.
const PAGE: usize = 64;
