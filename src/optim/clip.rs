//! Gradient clipping.

use super::check_not_negative;
use crate::nn::Params;
use crate::{Error, Gradients, Result, Tensor, no_grad};

/// Scales all gradients of the parameters below `params` so that their norm, taken together, is at
/// most `max_norm`. Returns the norm before; PyTorch's `clip_grad_norm_`.
///
/// An error where `max_norm` is negative or not finite, or no parameter has a gradient.
pub fn clip_grad_norm(gradients: &mut Gradients, params: &Params, max_norm: f64) -> Result<Tensor> {
    check_not_negative("the largest norm", max_norm)?;
    no_grad(|| {
        let found = found(gradients, params);
        let squares = found.iter().map(|(_, gradient)| gradient.square()?.sum(.., false));
        let total = squares.reduce(|sum, square| sum?.add(&square?)).transpose()?;
        let Some(total) = total else {
            return Err(Error::op("clip_grad_norm", "no parameter has a gradient"));
        };
        let norm = total.sqrt()?;
        let scale = norm.add(1e-6)?.reciprocal()?.mul(max_norm)?.minimum(1.0)?;
        for (value, gradient) in found {
            gradients.set(&value, gradient.mul(&scale)?);
        }
        Ok(norm)
    })
}

/// Moves every element of the gradients of the parameters below `params` into
/// `-max_value..=max_value`; PyTorch's `clip_grad_value_`.
///
/// An error where `max_value` is negative or not finite.
pub fn clip_grad_value(gradients: &mut Gradients, params: &Params, max_value: f64) -> Result<()> {
    check_not_negative("the largest value", max_value)?;
    no_grad(|| {
        for (value, gradient) in found(gradients, params) {
            gradients.set(&value, gradient.clamp(-max_value, max_value)?);
        }
        Ok(())
    })
}

/// The parameters that have a gradient, with it.
pub(super) fn found(gradients: &Gradients, params: &Params) -> Vec<(Tensor, Tensor)> {
    let values = params.trainable().into_iter().map(|(_, param)| param.get());
    values.filter_map(|value| gradients.get(&value).cloned().map(|gradient| (value, gradient))).collect()
}
