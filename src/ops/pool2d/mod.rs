//! Pooling over windows of images `[N, C, H, W]`, with PyTorch's rules.

mod adaptive_max;
mod average;
mod max;

use crate::{DType, Error, Result, Shape, Spec};

/// Elements a thread should have at least.
const SHARE: usize = 8 * 1024;
/// The greatest kernel, stride or dilation: device kernels compute places with 32 bits.
const LIMIT: usize = 1 << 24;

/// The windows of [`max_pool2d`](crate::Tensor::max_pool2d) and
/// [`avg_pool2d`](crate::Tensor::avg_pool2d); pairs are height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pool2dOptions {
    /// Size of a window.
    pub kernel: [usize; 2],
    /// Distance between windows.
    pub stride: [usize; 2],
    /// Rows and columns added on each side, at most half the kernel: of `-inf` for a maximum, of 0
    /// for a mean.
    pub padding: [usize; 2],
    /// Distance between the elements of a window; only 1 for a mean.
    pub dilation: [usize; 2],
    /// Whether a last window that reaches past the padding counts, unless it starts there.
    pub ceil_mode: bool,
    /// Whether a mean divides by the padding in its window too.
    pub count_include_pad: bool,
    /// What a mean divides by instead of counting; not 0.
    pub divisor: Option<usize>,
}

impl Pool2dOptions {
    /// Square windows of this size side by side, without padding; PyTorch's other defaults.
    pub fn new(kernel: usize) -> Pool2dOptions {
        Pool2dOptions {
            kernel: [kernel; 2],
            stride: [kernel; 2],
            padding: [0; 2],
            dilation: [1; 2],
            ceil_mode: false,
            count_include_pad: true,
            divisor: None,
        }
    }

    /// Height and width of the output for an input of this shape.
    fn sizes(&self, op: &'static str, shape: &Shape) -> Result<[usize; 2]> {
        for (what, pair) in [("kernel", self.kernel), ("stride", self.stride), ("dilation", self.dilation)] {
            if pair.iter().any(|size| !(1..=LIMIT).contains(size)) {
                return Err(Error::op(op, format!("{what} {pair:?} is not from 1 to {LIMIT}")));
            }
        }
        if (0..2).any(|d| self.padding[d] > self.kernel[d] / 2) {
            let message = format!("padding {:?} is more than half of kernel {:?}", self.padding, self.kernel);
            return Err(Error::op(op, message));
        }
        let mut sizes = [0; 2];
        for (d, size) in sizes.iter_mut().enumerate() {
            let [input, kernel, stride, padding, dilation] =
                [shape[2 + d], self.kernel[d], self.stride[d], self.padding[d], self.dilation[d]]
                    .map(|value| value as i64);
            let free = input + 2 * padding - dilation * (kernel - 1) - 1;
            let mut count = (free + if self.ceil_mode { stride - 1 } else { 0 }).div_euclid(stride) + 1;
            if self.ceil_mode && (count - 1) * stride >= input + padding {
                count -= 1;
            }
            if input == 0 || count < 1 {
                let kernel = self.kernel;
                return Err(Error::op(op, format!("kernel {kernel:?} does not fit into shape {shape}")));
            }
            *size = count as usize;
        }
        Ok(sizes)
    }
}

/// An error unless the input is a batch of float images.
fn check_images(op: &'static str, input: &Spec) -> Result<()> {
    if !input.dtype.is_float() {
        return Err(Error::op(op, format!("is not defined for {}", input.dtype)));
    }
    if input.shape().rank() != 4 {
        return Err(Error::op(op, format!("shape {} is not [N, C, H, W]", input.shape())));
    }
    Ok(())
}

/// The images of `shape` at another height and width.
fn resized(shape: &Shape, [height, width]: [usize; 2]) -> Result<Spec> {
    Ok(Spec::new(DType::F32, Shape::new(&[shape[0], shape[1], height, width])?))
}
