//! Pooling layers.

use super::Module;
use crate::ops::Pool2dOptions;
use crate::{Result, Tensor};

/// The greatest element of each window: `[N, C, H, W]` to `[N, C, H', W']`.
#[derive(Clone, Debug)]
pub struct MaxPool2d(
    /// Kernel, stride and padding.
    pub Pool2dOptions,
);

impl Module for MaxPool2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.max_pool2d(self.0)
    }
}

/// The mean of each window: `[N, C, H, W]` to `[N, C, H', W']`.
#[derive(Clone, Debug)]
pub struct AvgPool2d(
    /// Kernel, stride and padding.
    pub Pool2dOptions,
);

impl Module for AvgPool2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.avg_pool2d(self.0)
    }
}

/// The means of as many windows as make an output of this size, whatever that of the input.
#[derive(Clone, Copy, Debug)]
pub struct AdaptiveAvgPool2d(
    /// Height and width of the output.
    pub [usize; 2],
);

impl Module for AdaptiveAvgPool2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.adaptive_avg_pool2d(self.0)
    }
}
