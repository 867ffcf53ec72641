//! Loss scaling for mixed precision.

use super::clip::found;
use crate::nn::Params;
use crate::{DType, Error, Gradients, Result, Tensor, no_grad};
use serde::{Deserialize, Serialize};

/// Updates without an overflow after which the scale doubles.
const GROWTH_INTERVAL: u32 = 2000;

/// Keeps gradients within what `f16` holds: the loss is multiplied by a scale before its gradients are
/// computed, and they are divided by it. The scale, 65536 at first, halves where a gradient overflows and
/// doubles after 2,000 updates without that. PyTorch's `GradScaler` (Micikevicius et al. 2018,
/// arXiv:1710.03740, section 3.2).
///
/// ```
/// use kiln::nn::{Init, Params};
/// use kiln::optim::{GradScaler, Optimizer, Sgd, SgdOptions};
/// use kiln::{Tensor, autocast};
///
/// let params = Params::new(&kiln::Engine::cpu(), 0);
/// let weight = params.parameter("weight", [2, 2], Init::Ones)?;
/// let x = Tensor::ones([1, 2], params.engine())?;
/// let mut optimizer = Sgd::new(&params, SgdOptions { lr: 2.0, ..Default::default() })?;
/// let mut scaler = GradScaler::default();
/// let loss = autocast(|| x.matmul(&weight.get())?.square()?.mean(.., false)?.mul(0.25))?;
/// let mut gradients = scaler.scale(&loss)?.backward()?;
/// if scaler.unscale(&mut gradients, &params)? {
///     optimizer.step(gradients)?;
/// }
/// assert_eq!(weight.get().to_vec::<f32>()?, [0.0; 4]);
/// # Ok::<(), kiln::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GradScaler {
    scale: f64,
    /// Updates since the scale changed.
    updates: u32,
}

impl Default for GradScaler {
    fn default() -> GradScaler {
        GradScaler { scale: 65536.0, updates: 0 }
    }
}

impl GradScaler {
    /// What the next loss is multiplied by.
    pub fn get_scale(&self) -> f64 {
        self.scale
    }

    /// The loss in `f32`, times the scale.
    pub fn scale(&self, loss: &Tensor) -> Result<Tensor> {
        loss.cast(DType::F32)?.mul(self.scale)
    }

    /// Divides the gradients of the parameters below `params` by the scale, in `f32`, and says whether all
    /// are finite. Where they are not, the scale has become smaller, and the update is to be left out.
    ///
    /// Computes the gradients, and so waits for the device. An error where no parameter has a gradient.
    pub fn unscale(&mut self, gradients: &mut Gradients, params: &Params) -> Result<bool> {
        let zero = no_grad(|| {
            let mut sum: Option<Tensor> = None;
            for (value, gradient) in found(gradients, params) {
                let gradient = gradient.cast(DType::F32)?.mul(1.0 / self.scale)?;
                // Nothing, or NaN.
                let zeros = gradient.mul(0.0)?.sum(.., false)?;
                sum = Some(sum.map_or(Ok(zeros.clone()), |sum| sum.add(&zeros))?);
                gradients.set(&value, gradient);
            }
            sum.ok_or_else(|| Error::op("GradScaler", "no parameter has a gradient"))
        })?;
        gradients.compute([params.buffers(), vec![zero.clone()]].concat())?;
        let finite = zero.item()? == 0.0;
        self.updates = if finite { self.updates + 1 } else { 0 };
        if !finite {
            self.scale /= 2.0;
        } else if self.updates == GROWTH_INTERVAL {
            (self.scale, self.updates) = (self.scale * 2.0, 0);
        }
        Ok(finite)
    }
}
