//! Activations as modules; each is a method of [`Tensor`] too.

use super::{Init, Module, Param, Params};
use crate::{Result, Tensor};
use std::borrow::Borrow;

macro_rules! activations {
    ($($(#[$doc:meta])* $name:ident => $method:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name;

        impl Module for $name {
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                x.$method()
            }
        }
    )*};
}

activations! {
    /// `max(x, 0)`.
    ReLU => relu;
    /// `1 / (1 + exp(-x))`.
    Sigmoid => sigmoid;
    /// The hyperbolic tangent.
    Tanh => tanh;
    /// `x * Phi(x)`, the exact form (Hendrycks and Gimpel 2016, arXiv:1606.08415).
    GELU => gelu;
    /// `x * sigmoid(x)` (Elfwing et al. 2017, arXiv:1702.03118).
    SiLU => silu;
    /// `x * tanh(softplus(x))` (Misra 2019, arXiv:1908.08681).
    Mish => mish;
    /// `min(max(x, 0), 6)` (Krizhevsky 2010).
    ReLU6 => relu6;
    /// The self-normalising unit (Klambauer et al. 2017, arXiv:1706.02515).
    SELU => selu;
    /// `relu6(x + 3) / 6` (Howard et al. 2019, arXiv:1905.02244).
    Hardsigmoid => hardsigmoid;
    /// `x * relu6(x + 3) / 6` (Howard et al. 2019, arXiv:1905.02244).
    Hardswish => hardswish;
    /// `log(sigmoid(x))`.
    LogSigmoid => logsigmoid;
    /// `x / (1 + |x|)`.
    Softsign => softsign;
}

/// `x` where positive, the slope times `x` elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct LeakyReLU(
    /// The slope of the negative side; 0.01 in PyTorch unless set.
    pub f64,
);

impl Module for LeakyReLU {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.leaky_relu(self.0)
    }
}

/// `x` where positive, `alpha * (exp(x) - 1)` elsewhere (Clevert et al. 2015, arXiv:1511.07289).
#[derive(Clone, Copy, Debug)]
pub struct ELU(
    /// Minus the limit of the negative side; 1 in PyTorch unless set.
    pub f64,
);

impl Module for ELU {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.elu(self.0)
    }
}

/// `x` where positive, elsewhere `x` times a slope that is trained: one, or one for each channel (He et al.
/// 2015, arXiv:1502.01852).
///
/// ```
/// use kiln::nn::{PReLU, Params};
/// let params = Params::new(&kiln::Engine::cpu(), 0);
/// let activation = PReLU::new(&params / "act1", 16)?;
/// # Ok::<(), kiln::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PReLU {
    /// The slopes, 0.25 at first, as in PyTorch.
    pub weight: Param,
}

impl PReLU {
    /// A layer with this many slopes: 1, or the number of channels. An error where the path is taken.
    pub fn new(params: impl Borrow<Params>, slopes: usize) -> Result<PReLU> {
        Ok(PReLU { weight: params.borrow().parameter("weight", slopes, Init::Constant(0.25))? })
    }
}

impl Module for PReLU {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.prelu(&self.weight.get())
    }
}
