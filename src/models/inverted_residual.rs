//! The block of the MobileNets and of EfficientNet.

use super::layers::{Activation, BY_FAN_OUT, ConvNorm, ConvNormOptions, conv};
use crate::nn::{Conv2d, Module, Params, Sequential, StochasticDepth};
use crate::ops::Conv2dOptions;
use crate::{Result, Tensor};

/// The nearest multiple of 8 that is not more than a tenth below.
pub(super) fn divisible(channels: f64) -> usize {
    let rounded = ((channels + 4.0) as usize / 8 * 8).max(8);
    if (rounded as f64) < 0.9 * channels { rounded + 8 } else { rounded }
}

/// Each channel times a gate that all channels' means decide on (Hu et al. 2017, arXiv:1709.01507).
struct SqueezeExcitation {
    fc1: Conv2d,
    fc2: Conv2d,
    options: SqueezeOptions,
}

/// How many channels are left of a squeeze, and the functions after the two layers.
#[derive(Clone, Copy)]
pub(super) struct SqueezeOptions {
    pub channels: usize,
    pub activation: Activation,
    pub gate: Activation,
}

impl SqueezeExcitation {
    fn new(params: &Params, channels: usize, options: SqueezeOptions) -> Result<SqueezeExcitation> {
        let layer = |name: &str, inputs, outputs| {
            conv(&(params / name), inputs, outputs, 1, Conv2dOptions::default(), BY_FAN_OUT)
        };
        let fc1 = layer("fc1", channels, options.channels)?;
        Ok(SqueezeExcitation { fc1, fc2: layer("fc2", options.channels, channels)?, options })
    }
}

impl Module for SqueezeExcitation {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let squeezed = (self.options.activation)(&self.fc1.forward(&x.mean([2, 3], true)?)?)?;
        x.mul(&(self.options.gate)(&self.fc2.forward(&squeezed)?)?)
    }
}

/// The sizes of an [`InvertedResidual`].
#[derive(Clone, Copy)]
pub(super) struct InvertedResidualOptions {
    /// Inputs, outputs, kernel, stride and activation, and the batch norms' numbers.
    pub around: ConvNormOptions,
    /// Channels in between.
    pub expanded: usize,
    pub squeeze: Option<SqueezeOptions>,
    /// Probability of skipping the branch in training.
    pub drop: f64,
    /// Whether the last convolution and its batch norm are steps of the block each, as in MobileNetV2.
    pub flat: bool,
}

/// A 1x1 convolution to more channels, a convolution of each channel for itself, and a 1x1
/// convolution back to few, with a path around where the shape stays (Sandler et al. 2018,
/// arXiv:1801.04381).
pub(super) struct InvertedResidual {
    block: Sequential,
    depth: StochasticDepth,
    residual: bool,
}

impl InvertedResidual {
    pub fn new(params: &Params, options: InvertedResidualOptions) -> Result<InvertedResidual> {
        let InvertedResidualOptions { around, expanded, squeeze, drop, flat } = options;
        let mut block = Sequential::new();
        let mut index = 0;
        let mut next = || {
            index += 1;
            params / (index - 1)
        };
        if expanded != around.inputs {
            let expand = ConvNormOptions { outputs: expanded, kernel: 1, stride: 1, ..around };
            block = block.add(ConvNorm::nested(&next(), expand)?);
        }
        let depthwise = ConvNormOptions { inputs: expanded, outputs: expanded, groups: expanded, ..around };
        block = block.add(ConvNorm::nested(&next(), depthwise)?);
        if let Some(squeeze) = squeeze {
            block = block.add(SqueezeExcitation::new(&next(), expanded, squeeze)?);
        }
        let project = ConvNormOptions { inputs: expanded, kernel: 1, stride: 1, activation: None, ..around };
        let last = next();
        block = block.add(match flat {
            true => ConvNorm::new(&last, &next(), project)?,
            false => ConvNorm::nested(&last, project)?,
        });
        let residual = around.stride == 1 && around.inputs == around.outputs;
        Ok(InvertedResidual { block, depth: StochasticDepth::new(params, drop)?, residual })
    }
}

impl Module for InvertedResidual {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.block.forward(x)?;
        if self.residual { self.depth.forward(&y)?.add(x) } else { Ok(y) }
    }
}
