//! Pooling over windows of sequences, by way of images one row high.

use super::Pool2dOptions;
use crate::{Error, Result, Tensor};

/// The windows of [`max_pool1d`](Tensor::max_pool1d) and [`avg_pool1d`](Tensor::avg_pool1d).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool1dOptions {
    /// Size of a window.
    pub kernel: usize,
    /// Distance between windows.
    pub stride: usize,
    /// Elements added on each side, at most half the kernel: `-inf` for a maximum, 0 for a mean.
    pub padding: usize,
    /// Distance between the elements of a window; only 1 for a mean.
    pub dilation: usize,
    /// Whether a last window that reaches past the padding counts, unless it starts there.
    pub ceil_mode: bool,
    /// Whether a mean divides by the padding in its window too.
    pub count_include_pad: bool,
}

impl Pool1dOptions {
    /// Windows of this size side by side, without padding; PyTorch's other defaults.
    pub fn new(kernel: usize) -> Pool1dOptions {
        Pool1dOptions {
            kernel,
            stride: kernel,
            padding: 0,
            dilation: 1,
            ceil_mode: false,
            count_include_pad: true,
        }
    }

    fn flat(self) -> Pool2dOptions {
        Pool2dOptions {
            kernel: [1, self.kernel],
            stride: [1, self.stride],
            padding: [0, self.padding],
            dilation: [1, self.dilation],
            ceil_mode: self.ceil_mode,
            count_include_pad: self.count_include_pad,
            divisor: None,
        }
    }
}

impl Tensor {
    fn row(&self, op: &'static str) -> Result<Tensor> {
        if self.rank() != 3 {
            return Err(Error::op(op, format!("shape {} is not [N, C, L]", self.shape())));
        }
        self.unsqueeze(2)
    }

    /// The greatest element of each window of sequences `[N, C, L]`; NaN wins, and the gradient goes
    /// to the first of equal elements. Errors as [`max_pool2d`](Tensor::max_pool2d).
    pub fn max_pool1d(&self, options: Pool1dOptions) -> Result<Tensor> {
        self.row("max_pool1d")?.max_pool2d(options.flat())?.squeeze(2)
    }

    /// As [`max_pool1d`](Tensor::max_pool1d), and the position of each greatest element, `I32`.
    pub fn max_pool1d_with_indices(&self, options: Pool1dOptions) -> Result<(Tensor, Tensor)> {
        let (values, indices) = self.row("max_pool1d")?.max_pool2d_with_indices(options.flat())?;
        Ok((values.squeeze(2)?, indices.squeeze(2)?))
    }

    /// The mean of each window of sequences `[N, C, L]`. Errors as [`avg_pool2d`](Tensor::avg_pool2d).
    pub fn avg_pool1d(&self, options: Pool1dOptions) -> Result<Tensor> {
        self.row("avg_pool1d")?.avg_pool2d(options.flat())?.squeeze(2)
    }

    /// The `p`-norm of each window of sequences `[N, C, L]`; see [`lp_pool2d`](Tensor::lp_pool2d).
    pub fn lp_pool1d(&self, p: f64, options: Pool1dOptions) -> Result<Tensor> {
        self.row("lp_pool1d")?.lp_pool2d(p, options.flat())?.squeeze(2)
    }

    /// The means of `output` windows over sequences `[N, C, L]`; see
    /// [`adaptive_avg_pool2d`](Tensor::adaptive_avg_pool2d).
    pub fn adaptive_avg_pool1d(&self, output: usize) -> Result<Tensor> {
        self.row("adaptive_avg_pool1d")?.adaptive_avg_pool2d([1, output])?.squeeze(2)
    }

    /// The greatest elements of `output` windows over sequences `[N, C, L]`; see
    /// [`adaptive_max_pool2d`](Tensor::adaptive_max_pool2d).
    pub fn adaptive_max_pool1d(&self, output: usize) -> Result<Tensor> {
        self.row("adaptive_max_pool1d")?.adaptive_max_pool2d([1, output])?.squeeze(2)
    }
}
