//! The operators of `docs/NUMERICS.md`, section 3, for CPUs: one operator a file.
//!
//! Every operator takes [`Kernels`](super::isa::Kernels) where it has a second form; the forms in `avx2/` and
//! `avx512/` give the same bits as the plain ones beside them. `device` puts them together with `kv_store`, where keys
//! and values lie.

pub mod a15;
pub mod attend;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod device;
pub mod embed;
pub mod exp2_neg;
pub mod head_form;
pub mod head_quant;
pub mod head_view;
pub mod join_heads;
pub mod kv_store;
pub mod logits;
pub mod matmul;
pub mod norm_quant;
pub mod peak;
pub mod residual;
pub mod rope;
pub mod silu_mul;
