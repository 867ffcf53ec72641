//! The operations: one file each, with its shape rule, CPU kernel, GPU plan, gradient and the
//! tensor methods that record it. The WGSL is in `shaders/` under the same name.

mod argsort;
mod arrange;
mod attention;
mod broadcast;
mod concat;
pub(crate) mod constant;
mod conv;
mod conv2d;
mod conv_transpose3d;
mod einsum;
pub mod elementwise;
pub(crate) mod fused;
mod gather;
mod linear;
pub(crate) mod matmul;
mod norm;
mod pad;
mod pad_mode;
mod permute;
mod pool1d;
mod pool2d;
mod pool3d;
pub mod random;
pub(crate) mod recurrent;
mod reduce;
mod resample;
mod reshape;
mod scan;
mod scatter;
mod slice;
mod softmax;
mod statistics;
mod windows;

pub use attention::AttentionOptions;
pub use conv::{Conv1dOptions, Conv3dOptions, ConvTranspose1dOptions, ConvTranspose2dOptions};
pub use conv_transpose3d::ConvTranspose3dOptions;
pub use conv2d::Conv2dOptions;
pub use norm::BatchStatistics;
pub use pad_mode::PadMode;
pub use pool1d::Pool1dOptions;
pub use pool2d::Pool2dOptions;
pub use pool3d::Pool3dOptions;
pub use resample::Interpolation;
pub use windows::UnfoldOptions;
