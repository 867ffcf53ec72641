//! Pooling over windows of volumes: a window is a product of one of images and one along the depth, so two
//! poolings of images do it.

use super::Pool2dOptions;
use crate::{Error, Result, Tensor};

/// The windows of [`max_pool3d`](Tensor::max_pool3d) and [`avg_pool3d`](Tensor::avg_pool3d); triples are depth,
/// height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool3dOptions {
    /// Size of a window.
    pub kernel: [usize; 3],
    /// Distance between windows.
    pub stride: [usize; 3],
    /// Elements added on each side, at most half the kernel: `-inf` for a maximum, 0 for a mean.
    pub padding: [usize; 3],
    /// Distance between the elements of a window; only 1 for a mean.
    pub dilation: [usize; 3],
    /// Whether a last window that reaches past the padding counts, unless it starts there.
    pub ceil_mode: bool,
    /// Whether a mean divides by the padding in its window too.
    pub count_include_pad: bool,
    /// What a mean divides by instead of counting; not 0.
    pub divisor: Option<usize>,
}

impl Pool3dOptions {
    /// Cubes of this size side by side, without padding; PyTorch's other defaults.
    pub fn new(kernel: usize) -> Pool3dOptions {
        Pool3dOptions {
            kernel: [kernel; 3],
            stride: [kernel; 3],
            padding: [0; 3],
            dilation: [1; 3],
            ceil_mode: false,
            count_include_pad: true,
            divisor: None,
        }
    }

    /// The part of a window in a slice, and that along the depth (of an image one column wide).
    fn parts(self) -> [Pool2dOptions; 2] {
        let image = |of: [usize; 3]| [of[1], of[2]];
        let slice = Pool2dOptions {
            kernel: image(self.kernel),
            stride: image(self.stride),
            padding: image(self.padding),
            dilation: image(self.dilation),
            ceil_mode: self.ceil_mode,
            count_include_pad: self.count_include_pad,
            divisor: self.divisor,
        };
        let depth = Pool2dOptions {
            kernel: [self.kernel[0], 1],
            stride: [self.stride[0], 1],
            padding: [self.padding[0], 0],
            dilation: [self.dilation[0], 1],
            // The slices' divisor is the whole one.
            divisor: self.divisor.map(|_| 1),
            ..slice
        };
        [slice, depth]
    }
}

impl Tensor {
    /// Pools slices of volumes `[N, C, D, H, W]`, and then what came of it along the depth.
    fn pool_volume(
        &self,
        op: &'static str,
        slices: impl Fn(&Tensor) -> Result<Tensor>,
        depth: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let &[batch, channels, deep, height, width] = self.dims() else {
            return Err(Error::op(op, format!("shape {} is not [N, C, D, H, W]", self.shape())));
        };
        let pooled = slices(&self.reshape([batch, channels * deep, height, width])?)?;
        let (height, width) = (pooled.dims()[2], pooled.dims()[3]);
        let pooled = depth(&pooled.reshape([batch, channels, deep, height * width])?)?;
        pooled.reshape([batch, channels, pooled.dims()[2], height, width])
    }

    /// The greatest element of each window of volumes `[N, C, D, H, W]`; NaN wins, and the gradient goes to
    /// the first of equal elements. Errors as [`max_pool2d`](Tensor::max_pool2d).
    pub fn max_pool3d(&self, options: Pool3dOptions) -> Result<Tensor> {
        let [slice, depth] = options.parts();
        self.pool_volume("max_pool3d", |x| x.max_pool2d(slice), |x| x.max_pool2d(depth))
    }

    /// The mean of each window of volumes `[N, C, D, H, W]`. Errors as [`avg_pool2d`](Tensor::avg_pool2d).
    pub fn avg_pool3d(&self, options: Pool3dOptions) -> Result<Tensor> {
        let [slice, depth] = options.parts();
        self.pool_volume("avg_pool3d", |x| x.avg_pool2d(slice), |x| x.avg_pool2d(depth))
    }

    /// The means of windows over volumes `[N, C, D, H, W]`; see
    /// [`adaptive_avg_pool2d`](Tensor::adaptive_avg_pool2d).
    pub fn adaptive_avg_pool3d(&self, output: [usize; 3]) -> Result<Tensor> {
        let [depth, height, width] = output;
        let along = |x: &Tensor| x.adaptive_avg_pool2d([depth, x.dims()[3]]);
        self.pool_volume("adaptive_avg_pool3d", |x| x.adaptive_avg_pool2d([height, width]), along)
    }

    /// The greatest elements of windows over volumes `[N, C, D, H, W]`; see
    /// [`adaptive_max_pool2d`](Tensor::adaptive_max_pool2d).
    pub fn adaptive_max_pool3d(&self, output: [usize; 3]) -> Result<Tensor> {
        let [depth, height, width] = output;
        let along = |x: &Tensor| x.adaptive_max_pool2d([depth, x.dims()[3]]);
        self.pool_volume("adaptive_max_pool3d", |x| x.adaptive_max_pool2d([height, width]), along)
    }
}
