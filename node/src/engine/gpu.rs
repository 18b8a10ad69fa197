//! The engine on graphics processors, by wgpu: the same integers as `cpu/`, from the kernels in `kernels/`.
//!
//! ```text
//! adapter -> context (buffers, pipelines, faults)      shader (the text of each kernel, in variants)
//! weights -> matrix (panels) -> program (dispatches, bound once) -> device (passes, decoding)
//! ```

pub mod adapter;
mod bound;
mod buffers;
mod clock;
pub mod context;
pub mod device;
pub mod known_answers;
mod matrix;
pub mod options;
pub mod program;
mod remembered;
pub mod rounds;
pub mod shader;
mod tuning;
mod weights;
