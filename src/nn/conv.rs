//! Convolution layers.

use super::{Init, Module, Param, Params};
use crate::ops::{Conv1dOptions, Conv2dOptions, ConvTranspose2dOptions};
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
        check_groups("Conv2d", inputs, outputs, options.groups)?;
        let shape = [outputs, inputs / options.groups, kernel[0], kernel[1]];
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

fn check_groups(layer: &'static str, inputs: usize, outputs: usize, groups: usize) -> Result<()> {
    if groups > 0 && inputs.is_multiple_of(groups) && outputs.is_multiple_of(groups) {
        return Ok(());
    }
    let message = format!("{groups} groups of {inputs} input and {outputs} output channels");
    Err(Error::op(layer, message))
}

/// A 1-D convolution: `[N, in, L]` to `[N, out, L']`; see [`Tensor::conv1d`].
#[derive(Clone, Debug)]
pub struct Conv1d {
    /// `[out, in / groups, kernel]`.
    pub weight: Param,
    /// `[out]`.
    pub bias: Option<Param>,
    /// Stride, padding, dilation and groups.
    pub options: Conv1dOptions,
}

impl Conv1d {
    /// A layer with PyTorch's initial values. An error where the path is taken, or the groups do
    /// not divide both numbers of channels.
    pub fn new(
        params: impl Borrow<Params>,
        inputs: usize,
        outputs: usize,
        kernel: usize,
        options: Conv1dOptions,
    ) -> Result<Conv1d> {
        let params = params.borrow();
        let layer = Conv1d::without_bias(params, inputs, outputs, kernel, options)?;
        let fan_in = inputs / options.groups * kernel;
        Ok(Conv1d { bias: Some(params.parameter("bias", outputs, Init::bias(fan_in))?), ..layer })
    }

    /// The layer without bias, as before a normalisation.
    pub fn without_bias(
        params: impl Borrow<Params>,
        inputs: usize,
        outputs: usize,
        kernel: usize,
        options: Conv1dOptions,
    ) -> Result<Conv1d> {
        check_groups("Conv1d", inputs, outputs, options.groups)?;
        let shape = [outputs, inputs / options.groups, kernel];
        let weight = params.borrow().parameter("weight", shape, Init::weight())?;
        Ok(Conv1d { weight, bias: None, options })
    }
}

impl Module for Conv1d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let bias = self.bias.as_ref().map(Param::get);
        x.conv1d(&self.weight.get(), bias.as_ref(), self.options)
    }
}

/// A transposed 2-D convolution, which enlarges where a convolution of the same stride makes smaller:
/// `[N, in, H, W]` to `[N, out, H', W']`; see [`Tensor::conv_transpose2d`].
#[derive(Clone, Debug)]
pub struct ConvTranspose2d {
    /// `[in, out / groups, kernel height, kernel width]`.
    pub weight: Param,
    /// `[out]`.
    pub bias: Option<Param>,
    /// Stride, padding, dilation and groups.
    pub options: ConvTranspose2dOptions,
}

impl ConvTranspose2d {
    /// A layer with PyTorch's initial values. An error where the path is taken, or the groups do
    /// not divide both numbers of channels.
    pub fn new(
        params: impl Borrow<Params>,
        inputs: usize,
        outputs: usize,
        kernel: [usize; 2],
        options: ConvTranspose2dOptions,
    ) -> Result<ConvTranspose2d> {
        let params = params.borrow();
        let layer = ConvTranspose2d::without_bias(params, inputs, outputs, kernel, options)?;
        // PyTorch counts a transposed weight's second dimension as that of the inputs.
        let fan_in = layer.weight.get().dims()[1..].iter().product();
        Ok(ConvTranspose2d { bias: Some(params.parameter("bias", outputs, Init::bias(fan_in))?), ..layer })
    }

    /// The layer without bias, as before a normalisation.
    pub fn without_bias(
        params: impl Borrow<Params>,
        inputs: usize,
        outputs: usize,
        kernel: [usize; 2],
        options: ConvTranspose2dOptions,
    ) -> Result<ConvTranspose2d> {
        check_groups("ConvTranspose2d", inputs, outputs, options.groups)?;
        let shape = [inputs, outputs / options.groups, kernel[0], kernel[1]];
        let weight = params.borrow().parameter("weight", shape, Init::weight())?;
        Ok(ConvTranspose2d { weight, bias: None, options })
    }
}

impl Module for ConvTranspose2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let bias = self.bias.as_ref().map(Param::get);
        x.conv_transpose2d(&self.weight.get(), bias.as_ref(), self.options)
    }
}
