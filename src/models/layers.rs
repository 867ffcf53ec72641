//! Parts that several networks share.

use super::Classifier;
use crate::nn::{BatchNorm2d, Conv2d, Fan, Init, Linear, Module, Param, Params, Sequential};
use crate::ops::Conv2dOptions;
use crate::{Result, Tensor};

/// A function of each element.
pub(super) type Activation = fn(&Tensor) -> Result<Tensor>;

/// torchvision's usual start for convolutions.
pub(super) const BY_FAN_OUT: Init = Init::KaimingNormal { slope: 0.0, fan: Fan::Out };

/// Modules one after the other, cut where a [`Classifier`] is.
pub(super) struct Network {
    pub features: Sequential,
    pub classifier: Sequential,
    pub head: &'static str,
}

impl Module for Network {
    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        self.classify(&self.features(images)?)
    }
}

impl Classifier for Network {
    fn features(&self, images: &Tensor) -> Result<Tensor> {
        self.features.forward(images)
    }

    fn classify(&self, features: &Tensor) -> Result<Tensor> {
        self.classifier.forward(features)
    }

    fn head(&self) -> &'static str {
        self.head
    }
}

/// The mean of each channel: `[N, C, H, W]` to `[N, C]`.
pub(super) fn global_mean(x: &Tensor) -> Result<Tensor> {
    x.mean([2, 3], false)
}

/// A square convolution without bias that keeps the size of its images but for its stride, its batch
/// norm, and what follows them.
#[derive(Clone, Copy)]
pub(super) struct ConvNormOptions {
    pub inputs: usize,
    pub outputs: usize,
    pub kernel: usize,
    pub stride: usize,
    pub groups: usize,
    pub init: Init,
    pub eps: f64,
    pub momentum: f64,
    pub activation: Option<Activation>,
}

impl ConvNormOptions {
    /// Of stride 1 and one group, with torchvision's usual initial values and batch norm, and
    /// nothing after it.
    pub fn new(inputs: usize, outputs: usize, kernel: usize) -> ConvNormOptions {
        let (stride, groups, init) = (1, 1, BY_FAN_OUT);
        let (eps, momentum, activation) = (1e-5, 0.1, None);
        ConvNormOptions { inputs, outputs, kernel, stride, groups, init, eps, momentum, activation }
    }
}

/// A convolution, its batch norm, and what follows them.
pub(super) struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm2d,
    activation: Option<Activation>,
}

impl ConvNorm {
    pub fn new(conv: &Params, norm: &Params, options: ConvNormOptions) -> Result<ConvNorm> {
        let ConvNormOptions { inputs, outputs, kernel, stride, groups, init, eps, momentum, activation } =
            options;
        let padding = [kernel / 2; 2];
        let shape = Conv2dOptions { stride: [stride; 2], padding, groups, ..Conv2dOptions::default() };
        let conv = Conv2d::without_bias(conv, inputs, outputs, [kernel; 2], shape)?;
        conv.weight.init(init)?;
        let norm = BatchNorm2d { eps, momentum, ..BatchNorm2d::new(norm, outputs)? };
        Ok(ConvNorm { conv, norm, activation })
    }

    /// With torchvision's names for the two: `0` and `1`.
    pub fn nested(params: &Params, options: ConvNormOptions) -> Result<ConvNorm> {
        ConvNorm::new(&(params / 0), &(params / 1), options)
    }
}

impl Module for ConvNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.norm.forward(&self.conv.forward(x)?)?;
        self.activation.map_or(Ok(y.clone()), |activation| activation(&y))
    }
}

/// A square convolution whose weight starts so and whose bias at 0.
pub(super) fn conv(
    params: &Params,
    inputs: usize,
    outputs: usize,
    kernel: usize,
    options: Conv2dOptions,
    init: Init,
) -> Result<Conv2d> {
    let layer = Conv2d::new(params, inputs, outputs, [kernel; 2], options)?;
    start(&layer.weight, layer.bias.as_ref(), init)?;
    Ok(layer)
}

/// A linear layer whose weight starts so and whose bias at 0.
pub(super) fn linear(params: &Params, inputs: usize, outputs: usize, init: Init) -> Result<Linear> {
    let layer = Linear::new(params, inputs, outputs)?;
    start(&layer.weight, layer.bias.as_ref(), init)?;
    Ok(layer)
}

fn start(weight: &Param, bias: Option<&Param>, init: Init) -> Result<()> {
    weight.init(init)?;
    bias.map_or(Ok(()), |bias| bias.init(Init::Zeros))
}
