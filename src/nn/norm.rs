//! Normalisation layers.

use super::{Init, Module, Param, Params};
use crate::{Error, IntoShape, Result, Tensor};
use std::borrow::Borrow;

/// Layer normalisation over the last dimensions (Ba et al. 2016, arXiv:1607.06450): see
/// [`Tensor::layer_norm`].
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// The scale, of the normalised dimensions' shape, 1 at first.
    pub weight: Param,
    /// The shift, of the same shape, 0 at first.
    pub bias: Param,
    /// Added to the variance; 1e-5 unless set.
    pub eps: f64,
}

impl LayerNorm {
    /// A layer over last dimensions of these sizes. An error where the path is taken.
    pub fn new(params: impl Borrow<Params>, shape: impl IntoShape) -> Result<LayerNorm> {
        let (params, shape) = (params.borrow(), shape.into_shape()?);
        Ok(LayerNorm {
            weight: params.parameter("weight", shape, Init::Ones)?,
            bias: params.parameter("bias", shape, Init::Zeros)?,
            eps: 1e-5,
        })
    }
}

impl Module for LayerNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (self.weight.get(), self.bias.get());
        x.layer_norm(weight.dims(), Some(&weight), Some(&bias), self.eps)
    }
}

/// Root-mean-square normalisation over the last dimensions (Zhang and Sennrich 2019,
/// arXiv:1910.07467): see [`Tensor::rms_norm`].
#[derive(Clone, Debug)]
pub struct RMSNorm {
    /// The scale, of the normalised dimensions' shape, 1 at first.
    pub weight: Param,
    /// Added to the mean square; the distance from 1 to the next `f32`, as in PyTorch, unless set.
    pub eps: f64,
}

impl RMSNorm {
    /// A layer over last dimensions of these sizes. An error where the path is taken.
    pub fn new(params: impl Borrow<Params>, shape: impl IntoShape) -> Result<RMSNorm> {
        let weight = params.borrow().parameter("weight", shape, Init::Ones)?;
        Ok(RMSNorm { weight, eps: f64::from(f32::EPSILON) })
    }
}

impl Module for RMSNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let weight = self.weight.get();
        x.rms_norm(weight.dims(), Some(&weight), self.eps)
    }
}

/// Group normalisation of `[N, C, ...]` (Wu and He 2018, arXiv:1803.08494): see
/// [`Tensor::group_norm`].
#[derive(Clone, Debug)]
pub struct GroupNorm {
    /// The scale, `[C]`, 1 at first.
    pub weight: Param,
    /// The shift, `[C]`, 0 at first.
    pub bias: Param,
    /// How many groups the channels are cut into.
    pub groups: usize,
    /// Added to the variance; 1e-5 unless set.
    pub eps: f64,
}

impl GroupNorm {
    /// A layer for this many groups of this many channels in all. An error where the path is taken
    /// or the groups do not divide the channels.
    pub fn new(params: impl Borrow<Params>, groups: usize, channels: usize) -> Result<GroupNorm> {
        if groups == 0 || !channels.is_multiple_of(groups) {
            return Err(Error::op("GroupNorm", format!("{groups} groups of {channels} channels")));
        }
        let params = params.borrow();
        Ok(GroupNorm {
            weight: params.parameter("weight", channels, Init::Ones)?,
            bias: params.parameter("bias", channels, Init::Zeros)?,
            groups,
            eps: 1e-5,
        })
    }
}

impl Module for GroupNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.group_norm(self.groups, Some(&self.weight.get()), Some(&self.bias.get()), self.eps)
    }
}

/// Instance normalisation of `[N, C, H, W]` (Ulyanov et al. 2016, arXiv:1607.08022), by a sample's own
/// statistics in evaluation too: see [`Tensor::instance_norm`].
#[derive(Clone, Debug)]
pub struct InstanceNorm2d {
    /// The number of channels.
    pub channels: usize,
    /// Scale and shift, `[C]` each, 1 and 0 at first; none in PyTorch unless asked for.
    pub affine: Option<[Param; 2]>,
    /// Added to the variance; 1e-5 unless set.
    pub eps: f64,
}

impl InstanceNorm2d {
    /// A layer without parameters for this many channels.
    pub fn new(channels: usize) -> InstanceNorm2d {
        InstanceNorm2d { channels, affine: None, eps: 1e-5 }
    }

    /// A layer with scale and shift. An error where the path is taken.
    pub fn affine(params: impl Borrow<Params>, channels: usize) -> Result<InstanceNorm2d> {
        let params = params.borrow();
        let weight = params.parameter("weight", channels, Init::Ones)?;
        let bias = params.parameter("bias", channels, Init::Zeros)?;
        Ok(InstanceNorm2d { affine: Some([weight, bias]), ..InstanceNorm2d::new(channels) })
    }
}

impl Module for InstanceNorm2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if x.rank() != 4 || x.dims()[1] != self.channels {
            let message = format!("expected [N, {}, H, W], got {}", self.channels, x.shape());
            return Err(Error::op("InstanceNorm2d", message));
        }
        let [weight, bias] = match &self.affine {
            Some(affine) => affine.each_ref().map(|param| Some(param.get())),
            None => [None, None],
        };
        x.instance_norm(weight.as_ref(), bias.as_ref(), self.eps)
    }
}
