//! Batch normalisation layers, which differ in the inputs they take.

use super::{Init, Module, Param, Params};
use crate::tensor::replays;
use crate::{DType, Error, Result, Tensor, no_grad};
use std::borrow::Borrow;

/// A running statistic. An optimiser's step computes it; what a forward pass without one left
/// pending is computed here, so that statistics never hold on to more than the last pass.
fn settled(running: &Param) -> Result<Tensor> {
    let value = running.get();
    value.eval()?;
    Ok(value)
}

/// `batch_norm! { /// doc  NAME, ranks, "input"; }`.
macro_rules! batch_norm {
    ($($(#[$doc:meta])* $name:ident, $ranks:pat, $input:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
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

        impl $name {
            /// A layer for this many channels. An error where the path is taken.
            pub fn new(params: impl Borrow<Params>, channels: usize) -> Result<$name> {
                let params = params.borrow();
                let engine = params.engine();
                let count = Tensor::full((), 0.0, DType::I32, engine)?;
                Ok($name {
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
        }

        impl Module for $name {
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                let (weight, bias) = (self.weight.get(), self.bias.get());
                let channels = weight.elements();
                if !matches!(x.rank(), $ranks) || x.dims()[1] != channels {
                    let message = format!(concat!("expected ", $input, " with C = {}, got {}"), channels, x.shape());
                    return Err(Error::op(stringify!($name), message));
                }
                if !self.params.is_training() {
                    let (mean, variance) = (self.running_mean.get(), self.running_var.get());
                    return x.batch_norm(&mean, &variance, Some(&weight), Some(&bias), self.eps);
                }
                let (output, batch) = x.batch_norm_training(Some(&weight), Some(&bias), self.eps)?;
                if replays() {
                    return Ok(output);
                }
                no_grad(|| {
                    let (mean, variance) = (settled(&self.running_mean)?, settled(&self.running_var)?);
                    let [mean, variance] = batch.track(&mean, &variance, self.momentum)?;
                    self.running_mean.set(mean)?;
                    self.running_var.set(variance)?;
                    self.num_batches_tracked.set(settled(&self.num_batches_tracked)?.add(1)?)
                })?;
                Ok(output)
            }
        }
    )*};
}

batch_norm! {
    /// Batch normalisation of `[N, C]` or `[N, C, L]`; see [`BatchNorm2d`].
    BatchNorm1d, 2 | 3, "[N, C] or [N, C, L]";
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
    BatchNorm2d, 4, "[N, C, H, W]";
    /// Batch normalisation of `[N, C, D, H, W]`; see [`BatchNorm2d`].
    BatchNorm3d, 5, "[N, C, D, H, W]";
}
