//! The operations: one file each, with its shape rule, CPU kernel, GPU plan, gradient and the
//! tensor methods that record it. The WGSL is in `shaders/` under the same name.

mod broadcast;
mod concat;
pub(crate) mod constant;
mod conv2d;
pub mod elementwise;
pub(crate) mod fused;
mod gather;
mod matmul;
mod pad;
mod permute;
mod pool2d;
pub mod random;
mod reduce;
mod reshape;
mod slice;
mod softmax;

pub use conv2d::Conv2dOptions;
pub use pool2d::Pool2dOptions;
