//! ConvNeXt.

use super::layers::{Network, conv, global_mean, linear};
use super::{Architecture, Classifier};
use crate::nn::{Conv2d, GELU, Init, LayerNorm, Module, Param, Params, Sequential, StochasticDepth};
use crate::ops::Conv2dOptions;
use crate::{Result, Tensor};

/// torchvision cuts this distribution off at 2, a hundred standard deviations out.
const START: Init = Init::Normal { mean: 0.0, std: 0.02 };

const EPS: f64 = 1e-6;

/// `[N, C, H, W]` to `[N, H, W, C]`.
fn channels_last(x: &Tensor) -> Result<Tensor> {
    x.permute(&[0, 2, 3, 1])
}

/// `[N, H, W, C]` to `[N, C, H, W]`.
fn channels_first(x: &Tensor) -> Result<Tensor> {
    x.permute(&[0, 3, 1, 2])
}

fn norm(params: Params, channels: usize) -> Result<LayerNorm> {
    Ok(LayerNorm { eps: EPS, ..LayerNorm::new(params, channels)? })
}

/// Layer normalisation of each pixel's channels.
fn norm2d(params: Params, channels: usize) -> Result<Sequential> {
    Ok(Sequential::new().add(channels_last).add(norm(params, channels)?).add(channels_first))
}

/// A convolution whose windows lie side by side.
fn patches(params: Params, inputs: usize, outputs: usize, size: usize) -> Result<Conv2d> {
    let options = Conv2dOptions { stride: [size; 2], ..Conv2dOptions::default() };
    conv(&params, inputs, outputs, size, options, START)
}

/// A 7x7 convolution of each channel for itself and two linear layers, with a path around.
struct Block {
    branch: Sequential,
    layer_scale: Param,
    depth: StochasticDepth,
}

impl Block {
    fn new(params: &Params, channels: usize, drop: f64) -> Result<Block> {
        let options = Conv2dOptions { padding: [3, 3], groups: channels, ..Conv2dOptions::default() };
        let layer_scale = params.parameter("layer_scale", [channels, 1, 1], Init::Constant(1e-6))?;
        let path = params / "block";
        let branch = Sequential::new()
            .add(conv(&(&path / 0), channels, channels, 7, options, START)?)
            .add(channels_last)
            .add(norm(&path / 2, channels)?)
            .add(linear(&(&path / 3), channels, 4 * channels, START)?)
            .add(GELU)
            .add(linear(&(&path / 5), 4 * channels, channels, START)?)
            .add(channels_first);
        Ok(Block { branch, layer_scale, depth: StochasticDepth::new(params, drop)? })
    }
}

impl Module for Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.depth.forward(&self.branch.forward(x)?.mul(&self.layer_scale.get())?)?.add(x)
    }
}

/// ConvNeXt-Tiny (Liu et al. 2022, arXiv:2201.03545).
pub(super) fn convnext_tiny(params: &Params, a: &Architecture) -> Result<Box<dyn Classifier>> {
    let path = params / "features";
    let stages = [(96, 3), (192, 3), (384, 9), (768, 3)];
    let last = stages.iter().map(|stage| stage.1).sum::<usize>() - 1;
    let mut features = Sequential::new();
    let (mut inputs, mut done) = (a.channels, 0);
    for (stage, (channels, blocks)) in stages.into_iter().enumerate() {
        // A stem of patches and a norm; later on a norm comes first.
        let step = &path / (2 * stage);
        features = match stage {
            0 => features.add(patches(&step / 0, inputs, channels, 4)?).add(norm2d(&step / 1, channels)?),
            _ => features.add(norm2d(&step / 0, inputs)?).add(patches(&step / 1, inputs, channels, 2)?),
        };
        for block in 0..blocks {
            let drop = 0.1 * done as f64 / last as f64;
            features = features.add(Block::new(&(&path / (2 * stage + 1) / block), channels, drop)?);
            done += 1;
        }
        inputs = channels;
    }
    let path = params / "classifier";
    let classifier = Sequential::new().add(global_mean).add(norm(&path / 0, inputs)?).add(linear(
        &(&path / 2),
        inputs,
        a.classes,
        START,
    )?);
    Ok(Box::new(Network { features, classifier, head: "classifier.2" }))
}
