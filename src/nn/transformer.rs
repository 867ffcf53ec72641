//! Layers of a transformer.

use super::{Dropout, LayerNorm, Linear, Module, MultiheadAttention, Params};
use crate::{Result, Tensor};
use std::borrow::Borrow;

/// The sizes and choices of a [`TransformerEncoderLayer`].
#[derive(Clone, Copy, Debug)]
pub struct TransformerOptions {
    /// Elements of a token's vector.
    pub size: usize,
    /// Heads of the attention.
    pub heads: usize,
    /// Elements between the two layers of the feed-forward part.
    pub feedforward: usize,
    /// The probability of every dropout.
    pub dropout: f64,
    /// Between those layers: `Tensor::relu`, `Tensor::gelu` or another function.
    pub activation: fn(&Tensor) -> Result<Tensor>,
    /// Whether each part normalises its input (Xiong et al. 2020, arXiv:2002.04745) and not the sum of
    /// its input and its result.
    pub norm_first: bool,
}

impl TransformerOptions {
    /// PyTorch's defaults: 2048 elements in the feed-forward part, dropout 0.1, ReLU, normalisation
    /// last.
    pub fn new(size: usize, heads: usize) -> TransformerOptions {
        TransformerOptions {
            size,
            heads,
            feedforward: 2048,
            dropout: 0.1,
            activation: Tensor::relu,
            norm_first: false,
        }
    }
}

/// Self-attention and a feed-forward part, each with a path around it (Vaswani et al. 2017,
/// arXiv:1706.03762): `[N, L, E]` to the same shape, PyTorch's layer with `batch_first`.
#[derive(Clone, Debug)]
pub struct TransformerEncoderLayer {
    /// The attention of tokens to each other.
    pub self_attn: MultiheadAttention,
    /// The feed-forward part's first layer.
    pub linear1: Linear,
    /// Its second.
    pub linear2: Linear,
    /// Normalises at the attention.
    pub norm1: LayerNorm,
    /// Normalises at the feed-forward part.
    pub norm2: LayerNorm,
    dropout: Dropout,
    options: TransformerOptions,
}

impl TransformerEncoderLayer {
    /// A layer with PyTorch's initial values. An error where the path is taken, the heads do not divide
    /// the size, or the dropout is no probability.
    pub fn new(params: impl Borrow<Params>, options: TransformerOptions) -> Result<TransformerEncoderLayer> {
        let params = params.borrow();
        let TransformerOptions { size, heads, feedforward, dropout, .. } = options;
        let attention = MultiheadAttention::new(params / "self_attn", size, heads)?;
        Ok(TransformerEncoderLayer {
            self_attn: MultiheadAttention { dropout, ..attention },
            linear1: Linear::new(params / "linear1", size, feedforward)?,
            linear2: Linear::new(params / "linear2", feedforward, size)?,
            norm1: LayerNorm::new(params / "norm1", size)?,
            norm2: LayerNorm::new(params / "norm2", size)?,
            dropout: Dropout::new(params, dropout)?,
            options,
        })
    }

    /// The output for tokens that see only what the mask lets them, or with `is_causal` only
    /// themselves and those before: see [`MultiheadAttention::attend`].
    pub fn encode(&self, x: &Tensor, mask: Option<&Tensor>, is_causal: bool) -> Result<Tensor> {
        let attention = |x: &Tensor| self.dropout.forward(&self.self_attn.attend(x, x, x, mask, is_causal)?);
        let feedforward = |x: &Tensor| {
            let inner = (self.options.activation)(&self.linear1.forward(x)?)?;
            self.dropout.forward(&self.linear2.forward(&self.dropout.forward(&inner)?)?)
        };
        if self.options.norm_first {
            let x = x.add(&attention(&self.norm1.forward(x)?)?)?;
            return x.add(&feedforward(&self.norm2.forward(&x)?)?);
        }
        let x = self.norm1.forward(&x.add(&attention(x)?)?)?;
        self.norm2.forward(&x.add(&feedforward(&x)?)?)
    }
}

impl Module for TransformerEncoderLayer {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.encode(x, None, false)
    }
}
