//! The convolution layer.

use super::{Init, Module, Param, Params};
use crate::ops::Conv2dOptions;
use crate::{Error, Result, Tensor};
use std::borrow::Borrow;

/// A 2-D convolution (cross-correlation, as everywhere in deep learning): `[N, in, H, W]` to
/// `[N, out, H', W']` with `H' = (H + 2 padding - dilation (kernel - 1) - 1) / stride + 1`.
///
/// ```
/// use kiln::nn::{Conv2d, Params};
/// use kiln::ops::Conv2dOptions;
/// let params = Params::new(&kiln::Engine::cpu(), 0);
/// let same = Conv2dOptions { padding: [1, 1], ..Default::default() };
/// Conv2d::new(&params / "conv1", 1, 32, [3, 3], same)?;
/// # Ok::<(), kiln::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Conv2d {
    /// `[out, in / groups, kernel height, kernel width]`.
    pub weight: Param,
    /// `[out]`.
    pub bias: Option<Param>,
    /// Stride, padding, dilation and groups.
    pub options: Conv2dOptions,
}

impl Conv2d {
    /// A layer with PyTorch's initial values. An error where the path is taken, or the groups do
    /// not divide both numbers of channels.
    pub fn new(
        params: impl Borrow<Params>,
        inputs: usize,
        outputs: usize,
        kernel: [usize; 2],
        options: Conv2dOptions,
    ) -> Result<Conv2d> {
        let params = params.borrow();
        let layer = Conv2d::without_bias(params, inputs, outputs, kernel, options)?;
        let fan_in = layer.weight.get().dims()[1..].iter().product();
        Ok(Conv2d { bias: Some(params.parameter("bias", outputs, Init::bias(fan_in))?), ..layer })
    }

    /// The layer without bias, as before a batch norm.
    pub fn without_bias(
        params: impl Borrow<Params>,
        inputs: usize,
        outputs: usize,
        kernel: [usize; 2],
        options: Conv2dOptions,
    ) -> Result<Conv2d> {
        let groups = options.groups;
        if groups == 0 || !inputs.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
            let message = format!("{groups} groups of {inputs} input and {outputs} output channels");
            return Err(Error::op("Conv2d", message));
        }
        let shape = [outputs, inputs / groups, kernel[0], kernel[1]];
        let weight = params.borrow().parameter("weight", shape, Init::weight())?;
        Ok(Conv2d { weight, bias: None, options })
    }
}

impl Module for Conv2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let bias = self.bias.as_ref().map(Param::get);
        x.conv2d(&self.weight.get(), bias.as_ref(), self.options)
    }
}
