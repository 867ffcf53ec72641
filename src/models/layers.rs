//! Parts that several networks share.

use crate::nn::{BatchNorm2d, Conv2d, Fan, Init, Module, Params};
use crate::ops::Conv2dOptions;
use crate::{Result, Tensor};

/// A function of each element.
pub(super) type Activation = fn(&Tensor) -> Result<Tensor>;

/// The shape of a square convolution that keeps the size of its images but for its stride.
#[derive(Clone, Copy)]
pub(super) struct ConvShape {
    pub inputs: usize,
    pub outputs: usize,
    pub kernel: usize,
    pub stride: usize,
    pub groups: usize,
}

impl ConvShape {
    /// Of stride 1 and one group.
    pub fn new(inputs: usize, outputs: usize, kernel: usize) -> ConvShape {
        ConvShape { inputs, outputs, kernel, stride: 1, groups: 1 }
    }

    /// The convolution without bias, with torchvision's initial values: normal, by the fan-out.
    pub fn without_bias(self, params: &Params) -> Result<Conv2d> {
        let ConvShape { inputs, outputs, kernel, stride, groups } = self;
        let padding = [kernel / 2; 2];
        let options = Conv2dOptions { stride: [stride; 2], padding, groups, ..Conv2dOptions::default() };
        let convolution = Conv2d::without_bias(params, inputs, outputs, [kernel; 2], options)?;
        convolution.weight.init(Init::KaimingNormal { slope: 0.0, fan: Fan::Out })?;
        Ok(convolution)
    }
}

/// A convolution without bias, its batch norm, and what follows them.
pub(super) struct ConvNorm {
    pub conv: Conv2d,
    pub norm: BatchNorm2d,
    pub activation: Option<Activation>,
}

impl ConvNorm {
    pub fn new(
        conv: &Params,
        norm: &Params,
        shape: ConvShape,
        activation: Option<Activation>,
    ) -> Result<ConvNorm> {
        let (conv, norm) = (shape.without_bias(conv)?, BatchNorm2d::new(norm, shape.outputs)?);
        Ok(ConvNorm { conv, norm, activation })
    }
}

impl Module for ConvNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.norm.forward(&self.conv.forward(x)?)?;
        self.activation.map_or(Ok(y.clone()), |activation| activation(&y))
    }
}
