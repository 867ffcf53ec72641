//! Kiln's own network for small data sets.

use super::Classifier;
use super::layers::{ConvNorm, ConvNormOptions, global_mean};
use super::resnet::Block;
use crate::nn::{Linear, Module, Params, Sequential};
use crate::{Result, Tensor};

/// The smallest images that the network halves at once.
const LARGE: usize = 48;

/// A small residual network: a 3x3 convolution to 32 channels, then residual blocks of two 3x3
/// convolutions with 64 and 128 channels that halve the size each. For images of 48 pixels and more the
/// first convolution halves it too, a block with 32 channels follows it, and one with 256 is the last.
pub struct Small {
    features: Sequential,
    fc: Linear,
}

impl Small {
    /// Registers the parameters of a network for images of about `image_size` pixels a side under
    /// `params`. An error where a path is taken.
    pub fn new(params: &Params, channels: usize, image_size: usize, classes: usize) -> Result<Small> {
        let large = image_size >= LARGE;
        let stem = ConvNormOptions {
            stride: if large { 2 } else { 1 },
            activation: Some(Tensor::relu),
            ..ConvNormOptions::new(channels, 32, 3)
        };
        let stem = ConvNorm::new(&(params / "conv1"), &(params / "bn1"), stem)?;
        let mut features = Sequential::new().add(stem);
        let mut inputs = 32;
        let stages: &[usize] = if large { &[32, 64, 128, 256] } else { &[64, 128] };
        for (stage, &outputs) in (1..).zip(stages) {
            let stride = outputs / inputs;
            let path = params / format!("layer{stage}") / 0;
            features = features.add(Block::new(&path, inputs, outputs, outputs, stride, false)?);
            inputs = outputs;
        }
        Ok(Small { features, fc: Linear::new(params / "fc", inputs, classes)? })
    }
}

impl Module for Small {
    /// Images `[N, channels, H, W]` to logits `[N, classes]`.
    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        self.classify(&self.features(images)?)
    }
}

impl Classifier for Small {
    fn features(&self, images: &Tensor) -> Result<Tensor> {
        self.features.forward(images)
    }

    fn classify(&self, features: &Tensor) -> Result<Tensor> {
        self.fc.forward(&global_mean(features)?)
    }

    fn head(&self) -> &'static str {
        "fc"
    }
}
