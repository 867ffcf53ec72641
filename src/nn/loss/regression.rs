//! Losses of the distance between numbers.

use super::{Reduction, check_shapes};
use crate::{Error, Result, Tensor};

/// `(x - y)^2`, the squared difference of two tensors of one shape. PyTorch's `mse_loss`.
///
/// An error where the shapes differ (they are not broadcast: that is a mistake more often than not),
/// or the mean is asked for and there are no elements.
pub fn mse_loss(input: &Tensor, target: &Tensor, reduction: Reduction) -> Result<Tensor> {
    check_shapes("mse_loss", input, target)?;
    reduction.apply("mse_loss", &input.sub(target)?.square()?)
}

/// `|x - y|`, the distance of two tensors of one shape. PyTorch's `l1_loss`. Errors as
/// [`mse_loss`].
pub fn l1_loss(input: &Tensor, target: &Tensor, reduction: Reduction) -> Result<Tensor> {
    check_shapes("l1_loss", input, target)?;
    reduction.apply("l1_loss", &input.sub(target)?.abs()?)
}

/// `d^2 / (2 beta)` where the distance `d = |x - y|` is below `beta`, `d - beta / 2` elsewhere
/// (Girshick 2015, arXiv:1504.08083). PyTorch's `smooth_l1_loss`, whose `beta` is 1 unless set; with 0
/// it is [`l1_loss`]. An error where `beta` is negative, else as [`mse_loss`].
pub fn smooth_l1_loss(input: &Tensor, target: &Tensor, beta: f64, reduction: Reduction) -> Result<Tensor> {
    const NAME: &str = "smooth_l1_loss";
    if beta.is_nan() || beta < 0.0 {
        return Err(Error::op(NAME, format!("beta {beta} is not 0 or more")));
    }
    if beta == 0.0 {
        return l1_loss(input, target, reduction);
    }
    check_shapes(NAME, input, target)?;
    let distance = input.sub(target)?.abs()?;
    let parabola = distance.square()?.mul(0.5 / beta)?;
    reduction.apply(NAME, &distance.lt(beta)?.where_(&parabola, &distance.sub(0.5 * beta)?)?)
}

/// `d^2 / 2` where the distance `d = |x - y|` is at most `delta`, `delta * (d - delta / 2)` elsewhere
/// (Huber 1964). PyTorch's `huber_loss`, whose `delta` is 1 unless set. An error unless `delta` is
/// positive, else as [`mse_loss`].
pub fn huber_loss(input: &Tensor, target: &Tensor, delta: f64, reduction: Reduction) -> Result<Tensor> {
    const NAME: &str = "huber_loss";
    if delta.is_nan() || delta <= 0.0 {
        return Err(Error::op(NAME, format!("delta {delta} is not positive")));
    }
    check_shapes(NAME, input, target)?;
    let distance = input.sub(target)?.abs()?;
    let line = distance.sub(0.5 * delta)?.mul(delta)?;
    let parabola = distance.square()?.mul(0.5)?;
    reduction.apply(NAME, &distance.le(delta)?.where_(&parabola, &line)?)
}
