//! Convolution layers.

use super::{Init, Module, Param, Params};
use crate::ops::{Conv1dOptions, Conv2dOptions, ConvTranspose2dOptions};
use crate::{Error, Result, Tensor};
use std::borrow::Borrow;

fn check_groups(layer: &'static str, inputs: usize, outputs: usize, groups: usize) -> Result<()> {
    if groups > 0 && inputs.is_multiple_of(groups) && outputs.is_multiple_of(groups) {
        return Ok(());
    }
    let message = format!("{groups} groups of {inputs} input and {outputs} output channels");
    Err(Error::op(layer, message))
}

/// A layer for each kind of convolution: its options, its op, and the shape of its weight, in words too.
macro_rules! convolution {
    ($(
        $(#[$doc:meta])*
        $name:ident, $options:ident, $op:ident,
        |$inputs:ident, $outputs:ident, $groups:ident, $kernel:ident: $size:ty| $shape:expr, $words:literal;
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            #[doc = $words]
            pub weight: Param,
            /// `[out]`.
            pub bias: Option<Param>,
            /// Stride, padding, dilation and groups.
            pub options: $options,
        }

        impl $name {
            /// A layer with PyTorch's initial values. An error where the path is taken, or the groups do
            /// not divide both numbers of channels.
            pub fn new(
                params: impl Borrow<Params>,
                $inputs: usize,
                $outputs: usize,
                $kernel: $size,
                options: $options,
            ) -> Result<$name> {
                let params = params.borrow();
                let layer = $name::without_bias(params, $inputs, $outputs, $kernel, options)?;
                // PyTorch counts a weight's second dimension as that of the inputs, transposed or not.
                let fan_in = layer.weight.get().dims()[1..].iter().product();
                Ok($name { bias: Some(params.parameter("bias", $outputs, Init::bias(fan_in))?), ..layer })
            }

            /// The layer without bias, as before a normalisation.
            pub fn without_bias(
                params: impl Borrow<Params>,
                $inputs: usize,
                $outputs: usize,
                $kernel: $size,
                options: $options,
            ) -> Result<$name> {
                let $groups = options.groups;
                check_groups(stringify!($name), $inputs, $outputs, $groups)?;
                let weight = params.borrow().parameter("weight", $shape, Init::weight())?;
                Ok($name { weight, bias: None, options })
            }
        }

        impl Module for $name {
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                let bias = self.bias.as_ref().map(Param::get);
                x.$op(&self.weight.get(), bias.as_ref(), self.options)
            }
        }
    )*};
}

convolution! {
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
    Conv2d, Conv2dOptions, conv2d,
    |inputs, outputs, groups, kernel: [usize; 2]| [outputs, inputs / groups, kernel[0], kernel[1]],
    "`[out, in / groups, kernel height, kernel width]`.";

    /// A 1-D convolution: `[N, in, L]` to `[N, out, L']`; see [`Tensor::conv1d`].
    Conv1d, Conv1dOptions, conv1d,
    |inputs, outputs, groups, kernel: usize| [outputs, inputs / groups, kernel],
    "`[out, in / groups, kernel]`.";

    /// A transposed 2-D convolution, which enlarges where a convolution of the same stride makes smaller:
    /// `[N, in, H, W]` to `[N, out, H', W']`; see [`Tensor::conv_transpose2d`].
    ConvTranspose2d, ConvTranspose2dOptions, conv_transpose2d,
    |inputs, outputs, groups, kernel: [usize; 2]| [inputs, outputs / groups, kernel[0], kernel[1]],
    "`[in, out / groups, kernel height, kernel width]`.";
}
