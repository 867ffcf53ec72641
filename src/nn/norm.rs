//! Normalisation layers.

use super::{Init, Module, Param, Params};
use crate::{DType, Error, Result, Tensor, no_grad};
use std::borrow::Borrow;

/// Batch normalisation of `[N, C, H, W]` (Ioffe and Szegedy 2015, arXiv:1502.03167).
///
/// In training each channel is normalised by the mean and the biased variance of its batch, and
/// the running statistics move towards its mean and unbiased variance; in evaluation the running
/// statistics normalise.
///
/// ```
/// use kiln::nn::{BatchNorm2d, Params};
/// let params = Params::new(&kiln::Engine::cpu(), 0);
/// let norm = BatchNorm2d { eps: 1e-3, ..BatchNorm2d::new(&params / "bn1", 16)? };
/// # Ok::<(), kiln::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BatchNorm2d {
    /// The scale, `[C]`, 1 at first.
    pub weight: Param,
    /// The shift, `[C]`, 0 at first.
    pub bias: Param,
    /// `[C]`, 0 at first.
    pub running_mean: Param,
    /// `[C]`, 1 at first.
    pub running_var: Param,
    /// How many batches the running statistics have seen: a scalar `I32`.
    pub num_batches_tracked: Param,
    /// Added to the variance; 1e-5 unless set.
    pub eps: f64,
    /// The share of a new batch in the running statistics; 0.1 unless set.
    pub momentum: f64,
    /// The registry whose mode decides.
    pub params: Params,
}

impl BatchNorm2d {
    /// A layer for this many channels. An error where the path is taken.
    pub fn new(params: impl Borrow<Params>, channels: usize) -> Result<BatchNorm2d> {
        let params = params.borrow();
        let engine = params.engine();
        let count = Tensor::full((), 0.0, DType::I32, engine)?;
        Ok(BatchNorm2d {
            weight: params.parameter("weight", channels, Init::Ones)?,
            bias: params.parameter("bias", channels, Init::Zeros)?,
            running_mean: params.buffer("running_mean", Tensor::zeros(channels, engine)?)?,
            running_var: params.buffer("running_var", Tensor::ones(channels, engine)?)?,
            num_batches_tracked: params.buffer("num_batches_tracked", count)?,
            eps: 1e-5,
            momentum: 0.1,
            params: params.clone(),
        })
    }

    /// Moves the running statistics towards those of a batch of `count` values a channel.
    fn track(&self, mean: &Tensor, variance: &Tensor, count: usize) -> Result<()> {
        let unbiased = count as f64 / (count - 1) as f64;
        no_grad(|| {
            for (running, batch, scale) in
                [(&self.running_mean, mean, 1.0), (&self.running_var, variance, unbiased)]
            {
                let batch = batch.detach().flatten(0, -1)?.mul(self.momentum * scale)?;
                running.set(settled(running)?.mul(1.0 - self.momentum)?.add(&batch)?)?;
            }
            self.num_batches_tracked.set(settled(&self.num_batches_tracked)?.add(1)?)
        })
    }
}

/// A running statistic. An optimiser's step computes it; what a forward pass without one left
/// pending is computed here, so that statistics never hold on to more than the last pass.
fn settled(running: &Param) -> Result<Tensor> {
    let value = running.get();
    value.eval()?;
    Ok(value)
}

impl Module for BatchNorm2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (self.weight.get(), self.bias.get());
        let channels = weight.elements();
        if x.rank() != 4 || x.dims()[1] != channels {
            let message = format!("expected [N, {channels}, H, W], got {}", x.shape());
            return Err(Error::op("BatchNorm2d", message));
        }
        let channel = |t: &Tensor| t.reshape([1, channels, 1, 1]);
        let (weight, bias) = (channel(&weight)?, channel(&bias)?);
        if !self.params.is_training() {
            let deviation = channel(&self.running_var.get())?.add(self.eps)?.sqrt()?;
            let scale = weight.div(&deviation)?;
            let shift = bias.sub(&channel(&self.running_mean.get())?.mul(&scale)?)?;
            return x.mul(&scale)?.add(&shift);
        }
        let count = x.elements().checked_div(channels).unwrap_or(0);
        if count < 2 {
            let message = format!("training needs more than one value a channel, got {}", x.shape());
            return Err(Error::op("BatchNorm2d", message));
        }
        let mean = x.mean([0, 2, 3], true)?;
        let centred = x.sub(&mean)?;
        let variance = centred.square()?.mean([0, 2, 3], true)?;
        self.track(&mean, &variance, count)?;
        let scale = weight.mul(&variance.add(self.eps)?.rsqrt()?)?;
        centred.mul(&scale)?.add(&bias)
    }
}
