//! Kiln's own network for small data sets.

use super::layers::{ConvNorm, ConvNormOptions, Network, global_mean};
use super::resnet::Block;
use super::{Architecture, Classifier};
use crate::nn::{Linear, Params, Sequential};
use crate::{Result, Tensor};

/// The smallest images that the network halves at once.
const LARGE: usize = 48;

/// A small residual network: a 3x3 convolution to 32 channels, then residual blocks of two 3x3
/// convolutions with 64 and 128 channels that halve the size each. For images of 48 pixels and more the
/// first convolution halves it too, a block with 32 channels follows it, and one with 256 is the last.
pub(super) fn small(params: &Params, a: &Architecture) -> Result<Box<dyn Classifier>> {
    let large = a.image_size >= LARGE;
    let stem = ConvNormOptions {
        stride: if large { 2 } else { 1 },
        activation: Some(Tensor::relu),
        ..ConvNormOptions::new(a.channels, 32, 3)
    };
    let stem = ConvNorm::new(&(params / "conv1"), &(params / "bn1"), stem)?;
    let mut features = Sequential::new().add(stem);
    let mut inputs = 32;
    let stages: &[usize] = if large { &[32, 64, 128, 256] } else { &[64, 128] };
    for (stage, &outputs) in (1..).zip(stages) {
        let path = params / format!("layer{stage}") / 0;
        features = features.add(Block::new(&path, inputs, outputs, outputs, outputs / inputs, false)?);
        inputs = outputs;
    }
    let classifier = Sequential::new().add(global_mean).add(Linear::new(params / "fc", inputs, a.classes)?);
    Ok(Box::new(Network { features, classifier, head: "fc" }))
}
