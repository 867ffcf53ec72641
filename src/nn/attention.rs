//! Attention with several heads.

use super::{Init, Linear, Module, Param, Params};
use crate::ops::AttentionOptions;
use crate::{Error, Result, Tensor};
use std::borrow::Borrow;

/// Attention in several subspaces at once (Vaswani et al. 2017, arXiv:1706.03762). Batch first: queries
/// `[N, L, E]`, keys and values `[N, S, E]` give `[N, L, E]`.
///
/// As a [`Module`] it is self-attention: queries, keys and values are its input.
#[derive(Clone, Debug)]
pub struct MultiheadAttention {
    /// The projections of queries, keys and values, one below the other: `[3 E, E]`.
    pub in_proj_weight: Param,
    /// `[3 E]`.
    pub in_proj_bias: Param,
    /// What makes one vector of the heads' results.
    pub out_proj: Linear,
    /// How many heads share a vector.
    pub heads: usize,
    /// The probability with which a weight is dropped in training; 0 unless set.
    pub dropout: f64,
    /// The registry whose mode decides.
    pub params: Params,
}

impl MultiheadAttention {
    /// A layer for vectors of `size` elements with PyTorch's initial values. An error where the path is
    /// taken or the heads do not divide the size.
    pub fn new(params: impl Borrow<Params>, size: usize, heads: usize) -> Result<MultiheadAttention> {
        let params = params.borrow();
        if heads == 0 || !size.is_multiple_of(heads) {
            let message = format!("{heads} heads do not divide vectors of {size} elements");
            return Err(Error::op("MultiheadAttention", message));
        }
        let in_proj_weight = params.parameter("in_proj_weight", [3 * size, size], Init::XavierUniform)?;
        let in_proj_bias = params.parameter("in_proj_bias", 3 * size, Init::Zeros)?;
        let out_proj = Linear::new(params / "out_proj", size, size)?;
        if let Some(bias) = &out_proj.bias {
            bias.init(Init::Zeros)?;
        }
        let params = params.clone();
        Ok(MultiheadAttention { in_proj_weight, in_proj_bias, out_proj, heads, dropout: 0.0, params })
    }

    /// What the queries find among the keys. The mask broadcasts to `[N, heads, L, S]`: truth values
    /// that say what may be seen (PyTorch's module says what may not), or floats to add to the scores.
    ///
    /// An error where shapes do not fit.
    pub fn attend(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        mask: Option<&Tensor>,
        is_causal: bool,
    ) -> Result<Tensor> {
        let (weight, bias) = (self.in_proj_weight.get(), self.in_proj_bias.get());
        let size = weight.dims()[1];
        let inputs = [query, key, value];
        if inputs.iter().any(|x| x.rank() != 3 || x.dims()[0] != query.dims()[0] || x.dims()[2] != size) {
            let [query, key, value] = inputs.map(Tensor::shape);
            let message = format!("query {query}, key {key} and value {value} are not [N, length, {size}]");
            return Err(Error::op("MultiheadAttention", message));
        }
        let same = |a: &Tensor, b: &Tensor| a.id() == b.id();
        let drops = self.params.is_training() && self.dropout > 0.0;
        let dropout = drops.then(|| (self.dropout, self.params.next_seed()));
        let options = AttentionOptions { mask, is_causal, dropout, ..Default::default() };
        let found = if same(query, key) && same(key, value) {
            // One product for the three of them.
            query.linear(&weight, Some(&bias))?.attention_of_projection(self.heads, options)?
        } else {
            let heads = [0, 1, 2].map(|part| {
                let (weight, bias) =
                    (weight.narrow(0, part * size, size)?, bias.narrow(0, part * size, size)?);
                let x = inputs[part].linear(&weight, Some(&bias))?;
                let [batch, length] = [x.dims()[0], x.dims()[1]];
                x.reshape([batch, length, self.heads, size / self.heads])?.transpose(1, 2)
            });
            let [query, key, value] = heads;
            query?.scaled_dot_product_attention(&key?, &value?, options)?
        };
        self.out_proj.forward(&found.transpose(1, 2)?.flatten(2, 3)?)
    }
}

impl Module for MultiheadAttention {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.attend(x, x, x, None, false)
    }
}
