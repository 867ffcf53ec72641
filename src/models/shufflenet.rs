//! ShuffleNetV2.

use super::layers::{Activation, ConvNorm, ConvNormOptions, Network, global_mean};
use super::{Architecture, Classifier};
use crate::nn::{Init, Linear, MaxPool2d, Module, Params, Sequential};
use crate::ops::Pool2dOptions;
use crate::{Result, Tensor};

/// A convolution with PyTorch's own initial values.
fn plain(inputs: usize, outputs: usize, kernel: usize, stride: usize, relu: bool) -> ConvNormOptions {
    ConvNormOptions {
        stride,
        init: Init::weight(),
        activation: relu.then_some(Tensor::relu as Activation),
        ..ConvNormOptions::new(inputs, outputs, kernel)
    }
}

/// Two branches whose channels are shuffled at the end. The first passes its half of the channels
/// on, or where the size is halved sees all of them.
struct Unit {
    first: Option<Sequential>,
    second: Sequential,
}

impl Unit {
    fn new(params: &Params, inputs: usize, outputs: usize, stride: usize) -> Result<Unit> {
        let half = outputs / 2;
        let depthwise =
            |channels| ConvNormOptions { groups: channels, ..plain(channels, channels, 3, stride, false) };
        let layer = |branch: &str, index: usize, options| {
            let path = params / branch;
            ConvNorm::new(&(&path / index), &(&path / (index + 1)), options)
        };
        let first = match stride {
            1 => None,
            _ => Some(Sequential::new().add(layer("branch1", 0, depthwise(inputs))?).add(layer(
                "branch1",
                2,
                plain(inputs, half, 1, 1, true),
            )?)),
        };
        let seen = if first.is_some() { inputs } else { half };
        let second = Sequential::new()
            .add(layer("branch2", 0, plain(seen, half, 1, 1, true))?)
            .add(layer("branch2", 3, depthwise(half))?)
            .add(layer("branch2", 5, plain(half, half, 1, 1, true))?);
        Ok(Unit { first, second })
    }
}

impl Module for Unit {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (first, second) = match &self.first {
            Some(first) => (first.forward(x)?, self.second.forward(x)?),
            None => {
                let half = x.size(1)? / 2;
                (x.narrow(1, 0, half)?, self.second.forward(&x.narrow(1, half, half)?)?)
            }
        };
        // Channels of the two in turns.
        Tensor::stack(&[&first, &second], 2)?.flatten(1, 2)
    }
}

/// ShuffleNetV2 (Ma et al. 2018, arXiv:1807.11164) with these channels in its three stages.
pub(super) fn shufflenet_v2(
    params: &Params,
    a: &Architecture,
    channels: [usize; 3],
) -> Result<Box<dyn Classifier>> {
    let nested = |path: &str, options| ConvNorm::nested(&(params / path), options);
    let pool = Pool2dOptions { stride: [2, 2], padding: [1, 1], ..Pool2dOptions::new(3) };
    let mut features =
        Sequential::new().add(nested("conv1", plain(a.channels, 24, 3, 2, true))?).add(MaxPool2d(pool));
    let mut inputs = 24;
    for (stage, (units, outputs)) in (2..).zip([4, 8, 4].into_iter().zip(channels)) {
        for unit in 0..units {
            let path = params / format!("stage{stage}") / unit;
            features = features.add(Unit::new(&path, inputs, outputs, if unit == 0 { 2 } else { 1 })?);
            inputs = outputs;
        }
    }
    features = features.add(nested("conv5", plain(inputs, 1024, 1, 1, true))?);
    let classifier = Sequential::new().add(global_mean).add(Linear::new(params / "fc", 1024, a.classes)?);
    Ok(Box::new(Network { features, classifier, head: "fc" }))
}
