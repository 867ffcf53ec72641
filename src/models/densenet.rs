//! DenseNet.

use super::layers::{ConvNorm, ConvNormOptions, Network, global_mean};
use super::{Architecture, Classifier};
use crate::nn::{
    AvgPool2d, BatchNorm2d, Conv2d, Fan, Init, Linear, MaxPool2d, Module, Params, ReLU, Sequential,
};
use crate::ops::{Conv2dOptions, Pool2dOptions};
use crate::{Result, Tensor};

/// Channels that a layer adds.
const GROWTH: usize = 32;

const BY_FAN_IN: Init = Init::KaimingNormal { slope: 0.0, fan: Fan::In };

/// A batch norm, a ReLU, and a convolution without bias that keeps the size.
fn norm_conv(
    norm: &Params,
    conv: &Params,
    inputs: usize,
    outputs: usize,
    kernel: usize,
) -> Result<Sequential> {
    let norm = BatchNorm2d::new(norm, inputs)?;
    let options = Conv2dOptions { padding: [kernel / 2; 2], ..Conv2dOptions::default() };
    let conv = Conv2d::without_bias(conv, inputs, outputs, [kernel; 2], options)?;
    conv.weight.init(BY_FAN_IN)?;
    Ok(Sequential::new().add(norm).add(ReLU).add(conv))
}

/// Two convolutions whose result is put beside their input.
struct DenseLayer(Sequential);

impl DenseLayer {
    fn new(params: &Params, inputs: usize) -> Result<DenseLayer> {
        let part = |index, inputs, outputs, kernel| {
            let [norm, conv] = ["norm", "conv"].map(|layer| params / format!("{layer}{index}"));
            norm_conv(&norm, &conv, inputs, outputs, kernel)
        };
        let first = part(1, inputs, 4 * GROWTH, 1)?;
        Ok(DenseLayer(first.add(part(2, 4 * GROWTH, GROWTH, 3)?)))
    }
}

impl Module for DenseLayer {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Tensor::concat(&[x, &self.0.forward(x)?], 1)
    }
}

/// DenseNet-121 (Huang et al. 2016, arXiv:1608.06993).
pub(super) fn densenet121(params: &Params, a: &Architecture) -> Result<Box<dyn Classifier>> {
    let path = params / "features";
    let stem = ConvNormOptions {
        stride: 2,
        init: BY_FAN_IN,
        activation: Some(Tensor::relu),
        ..ConvNormOptions::new(a.channels, 64, 7)
    };
    let pool = Pool2dOptions { stride: [2, 2], padding: [1, 1], ..Pool2dOptions::new(3) };
    let mut features = Sequential::new()
        .add(ConvNorm::new(&(&path / "conv0"), &(&path / "norm0"), stem)?)
        .add(MaxPool2d(pool));
    let mut inputs = 64;
    let blocks = [6, 12, 24, 16];
    for (block, layers) in (1..).zip(blocks) {
        for layer in 1..=layers {
            let path = &path / format!("denseblock{block}") / format!("denselayer{layer}");
            features = features.add(DenseLayer::new(&path, inputs)?);
            inputs += GROWTH;
        }
        if block < blocks.len() {
            let path = &path / format!("transition{block}");
            features = features
                .add(norm_conv(&(&path / "norm"), &(&path / "conv"), inputs, inputs / 2, 1)?)
                .add(AvgPool2d(Pool2dOptions::new(2)));
            inputs /= 2;
        }
    }
    features = features.add(BatchNorm2d::new(&path / "norm5", inputs)?).add(ReLU);
    let head = Linear::new(params / "classifier", inputs, a.classes)?;
    if let Some(bias) = &head.bias {
        bias.init(Init::Zeros)?;
    }
    let classifier = Sequential::new().add(global_mean).add(head);
    Ok(Box::new(Network { features, classifier, head: "classifier" }))
}
