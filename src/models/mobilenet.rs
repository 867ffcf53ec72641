//! MobileNets.

use super::inverted_residual::{InvertedResidual, InvertedResidualOptions, SqueezeOptions, divisible};
use super::layers::{Activation, ConvNorm, ConvNormOptions, Network, global_mean, linear};
use super::{Architecture, Classifier};
use crate::nn::{Dropout, Hardswish, Init, Params, Sequential};
use crate::{Result, Tensor};

const LINEAR: Init = Init::Normal { mean: 0.0, std: 0.01 };

/// MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381).
pub(super) fn mobilenet_v2(params: &Params, a: &Architecture) -> Result<Box<dyn Classifier>> {
    let path = params / "features";
    let plain = |inputs, outputs, kernel, stride| ConvNormOptions {
        stride,
        activation: Some(Tensor::relu6),
        ..ConvNormOptions::new(inputs, outputs, kernel)
    };
    let mut features = Sequential::new().add(ConvNorm::nested(&(&path / 0), plain(a.channels, 32, 3, 2))?);
    let (mut inputs, mut index) = (32, 1);
    // Expansion, channels, blocks and the first block's stride.
    let stages = [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ];
    for (expansion, outputs, count, first) in stages {
        for block in 0..count {
            let options = InvertedResidualOptions {
                around: plain(inputs, outputs, 3, if block == 0 { first } else { 1 }),
                expanded: inputs * expansion,
                squeeze: None,
                drop: 0.0,
                flat: true,
            };
            features = features.add(InvertedResidual::new(&(&path / index / "conv"), options)?);
            inputs = outputs;
            index += 1;
        }
    }
    features = features.add(ConvNorm::nested(&(&path / index), plain(inputs, 1280, 1, 1))?);
    let classifier = Sequential::new().add(global_mean).add(Dropout::new(params, 0.2)?).add(linear(
        &(params / "classifier" / 1),
        1280,
        a.classes,
        LINEAR,
    )?);
    Ok(Box::new(Network { features, classifier, head: "classifier.1" }))
}

/// A block of MobileNetV3: kernel, expanded channels, channels, squeeze-and-excitation, hardswish
/// in place of ReLU, and stride.
type Row = (usize, usize, usize, bool, bool, usize);

const LARGE: [Row; 15] = [
    (3, 16, 16, false, false, 1),
    (3, 64, 24, false, false, 2),
    (3, 72, 24, false, false, 1),
    (5, 72, 40, true, false, 2),
    (5, 120, 40, true, false, 1),
    (5, 120, 40, true, false, 1),
    (3, 240, 80, false, true, 2),
    (3, 200, 80, false, true, 1),
    (3, 184, 80, false, true, 1),
    (3, 184, 80, false, true, 1),
    (3, 480, 112, true, true, 1),
    (3, 672, 112, true, true, 1),
    (5, 672, 160, true, true, 2),
    (5, 960, 160, true, true, 1),
    (5, 960, 160, true, true, 1),
];

const SMALL: [Row; 11] = [
    (3, 16, 16, true, false, 2),
    (3, 72, 24, false, false, 2),
    (3, 88, 24, false, false, 1),
    (5, 96, 40, true, true, 2),
    (5, 240, 40, true, true, 1),
    (5, 240, 40, true, true, 1),
    (5, 120, 48, true, true, 1),
    (5, 144, 48, true, true, 1),
    (5, 288, 96, true, true, 2),
    (5, 576, 96, true, true, 1),
    (5, 576, 96, true, true, 1),
];

/// MobileNetV3-Large (Howard et al. 2019, arXiv:1905.02244).
pub(super) fn mobilenet_v3_large(params: &Params, a: &Architecture) -> Result<Box<dyn Classifier>> {
    mobilenet_v3(params, a, &LARGE, 1280)
}

/// MobileNetV3-Small.
pub(super) fn mobilenet_v3_small(params: &Params, a: &Architecture) -> Result<Box<dyn Classifier>> {
    mobilenet_v3(params, a, &SMALL, 1024)
}

fn mobilenet_v3(
    params: &Params,
    a: &Architecture,
    blocks: &[Row],
    hidden: usize,
) -> Result<Box<dyn Classifier>> {
    let path = params / "features";
    let plain = |inputs, outputs, kernel, stride, activation: Activation| ConvNormOptions {
        stride,
        eps: 1e-3,
        momentum: 0.01,
        activation: Some(activation),
        ..ConvNormOptions::new(inputs, outputs, kernel)
    };
    let stem = plain(a.channels, 16, 3, 2, Tensor::hardswish);
    let mut features = Sequential::new().add(ConvNorm::nested(&(&path / 0), stem)?);
    let mut inputs = 16;
    for (index, &(kernel, expanded, outputs, squeeze, hardswish, stride)) in (1..).zip(blocks) {
        let activation = if hardswish { Tensor::hardswish } else { Tensor::relu };
        let squeeze = squeeze.then(|| SqueezeOptions {
            channels: divisible((expanded / 4) as f64),
            activation: Tensor::relu,
            gate: Tensor::hardsigmoid,
        });
        let around = plain(inputs, outputs, kernel, stride, activation);
        let options = InvertedResidualOptions { around, expanded, squeeze, drop: 0.0, flat: false };
        features = features.add(InvertedResidual::new(&(&path / index / "block"), options)?);
        inputs = outputs;
    }
    let last = plain(inputs, 6 * inputs, 1, 1, Tensor::hardswish);
    features = features.add(ConvNorm::nested(&(&path / (blocks.len() + 1)), last)?);
    let path = params / "classifier";
    let classifier = Sequential::new()
        .add(global_mean)
        .add(linear(&(&path / 0), 6 * inputs, hidden, LINEAR)?)
        .add(Hardswish)
        .add(Dropout::new(params, 0.2)?)
        .add(linear(&(&path / 3), hidden, a.classes, LINEAR)?);
    Ok(Box::new(Network { features, classifier, head: "classifier.3" }))
}
