//! Activations as modules; each is a method of [`Tensor`] too.

use super::Module;
use crate::{Result, Tensor};

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
