//! EfficientNet.

use super::inverted_residual::{InvertedResidual, InvertedResidualOptions, SqueezeOptions, divisible};
use super::layers::{ConvNorm, ConvNormOptions, Network, global_mean, linear};
use super::{Architecture, Classifier};
use crate::nn::{Dropout, Init, Params, Sequential};
use crate::{Result, Tensor};

/// EfficientNet (Tan and Le 2019, arXiv:1905.11946) with the channels of B0 times `width`, its
/// blocks times `depth`, and dropout before the head.
pub(super) fn efficientnet(
    params: &Params,
    a: &Architecture,
    width: f64,
    depth: f64,
    dropout: f64,
) -> Result<Box<dyn Classifier>> {
    let path = params / "features";
    let plain = |inputs, outputs, kernel, stride| ConvNormOptions {
        stride,
        activation: Some(Tensor::silu),
        ..ConvNormOptions::new(inputs, outputs, kernel)
    };
    // Expansion, kernel, the first block's stride, channels and blocks.
    let stages = [
        (1, 3, 1, 16, 1),
        (6, 3, 2, 24, 2),
        (6, 5, 2, 40, 2),
        (6, 3, 2, 80, 3),
        (6, 5, 1, 112, 3),
        (6, 5, 2, 192, 4),
        (6, 3, 1, 320, 1),
    ]
    .map(|(expansion, kernel, stride, channels, blocks)| {
        let blocks = (f64::from(blocks) * depth).ceil() as usize;
        (expansion, kernel, stride, divisible(f64::from(channels) * width), blocks)
    });
    let total: usize = stages.iter().map(|stage| stage.4).sum();
    let mut inputs = divisible(32.0 * width);
    let mut features =
        Sequential::new().add(ConvNorm::nested(&(&path / 0), plain(a.channels, inputs, 3, 2))?);
    let mut done = 0;
    for (index, (expansion, kernel, first, outputs, blocks)) in (1..).zip(stages) {
        for block in 0..blocks {
            let squeeze = SqueezeOptions {
                channels: (inputs / 4).max(1),
                activation: Tensor::silu,
                gate: Tensor::sigmoid,
            };
            let options = InvertedResidualOptions {
                around: plain(inputs, outputs, kernel, if block == 0 { first } else { 1 }),
                expanded: inputs * expansion,
                squeeze: Some(squeeze),
                drop: 0.2 * done as f64 / total as f64,
                flat: false,
            };
            features = features.add(InvertedResidual::new(&(&path / index / block / "block"), options)?);
            inputs = outputs;
            done += 1;
        }
    }
    let last = plain(inputs, 4 * inputs, 1, 1);
    features = features.add(ConvNorm::nested(&(&path / (stages.len() + 1)), last)?);
    let bound = 1.0 / (a.classes as f64).sqrt();
    let start = Init::Uniform { low: -bound, high: bound };
    let classifier = Sequential::new().add(global_mean).add(Dropout::new(params, dropout)?).add(linear(
        &(params / "classifier" / 1),
        4 * inputs,
        a.classes,
        start,
    )?);
    Ok(Box::new(Network { features, classifier, head: "classifier.1" }))
}
