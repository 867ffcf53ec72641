//! The operations: one file each, with its shape rule, CPU kernel, GPU plan, gradient and the
//! tensor methods that record it. The WGSL is in `shaders/` under the same name.

mod broadcast;
pub(crate) mod constant;
pub mod elementwise;
pub(crate) mod fused;
mod pad;
mod permute;
mod reduce;
mod reshape;
mod slice;
