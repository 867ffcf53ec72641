//! The fully connected layer.

use super::{Init, Module, Param, Params};
use crate::{Result, Tensor};
use std::borrow::Borrow;

/// `x W^T + b`: `[..., in]` to `[..., out]`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Param,
    /// `[out]`.
    pub bias: Option<Param>,
}

impl Linear {
    /// A layer with PyTorch's initial values. An error where the path is taken.
    pub fn new(params: impl Borrow<Params>, inputs: usize, outputs: usize) -> Result<Linear> {
        let params = params.borrow();
        let layer = Linear::without_bias(params, inputs, outputs)?;
        Ok(Linear { bias: Some(params.parameter("bias", outputs, Init::bias(inputs))?), ..layer })
    }

    /// The layer without `b`.
    pub fn without_bias(params: impl Borrow<Params>, inputs: usize, outputs: usize) -> Result<Linear> {
        let weight = params.borrow().parameter("weight", [outputs, inputs], Init::weight())?;
        Ok(Linear { weight, bias: None })
    }
}

impl Module for Linear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let bias = self.bias.as_ref().map(Param::get);
        x.linear(&self.weight.get(), bias.as_ref())
    }
}
