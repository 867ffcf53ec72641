//! The vision transformer.

use super::layers::{Network, conv, linear};
use super::{Architecture, Classifier};
use crate::nn::{Conv2d, GELU, Init, LayerNorm, Module, MultiheadAttention, Param, Params, Sequential};
use crate::ops::Conv2dOptions;
use crate::{Error, Result, Tensor};

/// The sizes of a vision transformer.
pub(super) struct VitOptions {
    /// Pixels of a patch a side.
    pub patch: usize,
    /// Elements of a token.
    pub width: usize,
    pub blocks: usize,
    pub heads: usize,
}

fn norm(params: Params, width: usize) -> Result<LayerNorm> {
    Ok(LayerNorm { eps: 1e-6, ..LayerNorm::new(params, width)? })
}

/// Images to tokens, one for each patch after one for the class, with their places added.
struct Patches {
    projection: Conv2d,
    class_token: Param,
    position: Param,
    /// Channels, height and width of the images that there are places for.
    expected: [usize; 3],
}

impl Patches {
    fn new(params: &Params, a: &Architecture, patch: usize, width: usize) -> Result<Patches> {
        let size = a.image_size;
        if !size.is_multiple_of(patch) {
            let message =
                format!("{}: images of {size} pixels a side do not divide into patches of {patch}", a.name);
            return Err(Error::op("models", message));
        }
        let class_token = params.parameter("class_token", [1, 1, width], Init::Zeros)?;
        let std = 1.0 / ((a.channels * patch * patch) as f64).sqrt();
        let options = Conv2dOptions { stride: [patch; 2], ..Conv2dOptions::default() };
        let start = Init::Normal { mean: 0.0, std };
        let projection = conv(&(params / "conv_proj"), a.channels, width, patch, options, start)?;
        let tokens = (size / patch).pow(2) + 1;
        let start = Init::Normal { mean: 0.0, std: 0.02 };
        let position = (params / "encoder").parameter("pos_embedding", [1, tokens, width], start)?;
        Ok(Patches { projection, class_token, position, expected: [a.channels, size, size] })
    }
}

impl Module for Patches {
    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        if images.rank() != 4 || images.dims()[1..] != self.expected {
            let [channels, height, width] = self.expected;
            let message =
                format!("expected images [N, {channels}, {height}, {width}], got {}", images.shape());
            return Err(Error::op("vision transformer", message));
        }
        let patches = self.projection.forward(images)?.flatten(2, 3)?.transpose(1, 2)?;
        let class = self.class_token.get();
        let class = class.broadcast_to([images.dims()[0], 1, class.elements()])?;
        Tensor::concat(&[&class, &patches], 1)?.add(&self.position.get())
    }
}

/// Attention of tokens to each other and two linear layers, each normalised first and with a path
/// around.
struct Block {
    attention: Sequential,
    mlp: Sequential,
}

impl Block {
    fn new(params: &Params, width: usize, heads: usize) -> Result<Block> {
        let attention = Sequential::new().add(norm(params / "ln_1", width)?).add(MultiheadAttention::new(
            params / "self_attention",
            width,
            heads,
        )?);
        let layer = |index: usize, inputs, outputs| {
            let layer = linear(&(params / "mlp" / index), inputs, outputs, Init::XavierUniform)?;
            if let Some(bias) = &layer.bias {
                bias.init(Init::Normal { mean: 0.0, std: 1e-6 })?;
            }
            Ok::<_, Error>(layer)
        };
        let mlp = Sequential::new()
            .add(norm(params / "ln_2", width)?)
            .add(layer(0, width, 4 * width)?)
            .add(GELU)
            .add(layer(3, 4 * width, width)?);
        Ok(Block { attention, mlp })
    }
}

impl Module for Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.attention.forward(x)?.add(x)?;
        self.mlp.forward(&x)?.add(&x)
    }
}

/// A vision transformer (Dosovitskiy et al. 2020, arXiv:2010.11929) for images of one size.
pub(super) fn vit(params: &Params, a: &Architecture, options: VitOptions) -> Result<Box<dyn Classifier>> {
    let VitOptions { patch, width, blocks, heads } = options;
    let mut features = Sequential::new().add(Patches::new(params, a, patch, width)?);
    let path = params / "encoder";
    for index in 0..blocks {
        let block = Block::new(&(&path / "layers" / format!("encoder_layer_{index}")), width, heads)?;
        features = features.add(block);
    }
    features = features.add(norm(&path / "ln", width)?);
    let head = linear(&(params / "heads" / "head"), width, a.classes, Init::Zeros)?;
    let classifier = Sequential::new().add(|tokens: &Tensor| tokens.select(1, 0)).add(head);
    Ok(Box::new(Network { features, classifier, head: "heads.head" }))
}
