//! Layers, parameters and losses.
//!
//! A layer registers its parameters under a path of a [`Params`] registry and is then a [`Module`].
//!
//! ```
//! use kiln::nn::{Linear, Module, Params, ReLU, Sequential};
//! use kiln::{Engine, Tensor};
//!
//! let engine = Engine::cpu();
//! let params = Params::new(&engine, 0);
//! let net = Sequential::new()
//!     .add(Linear::new(&params / "fc1", 784, 128)?)
//!     .add(ReLU)
//!     .add(Linear::new(&params / "fc2", 128, 10)?);
//! let logits = net.forward(&Tensor::zeros([4, 784], &engine)?)?;
//! assert_eq!(logits.dims(), [4, 10]);
//! # Ok::<(), kiln::Error>(())
//! ```

mod activation;
mod attention;
mod batch_norm;
mod conv;
mod dropout;
mod embedding;
mod init;
mod linear;
pub mod loss;
mod norm;
mod params;
mod pool;
pub mod recurrent;
mod sequential;
mod transformer;

pub use activation::{
    ELU, GELU, Hardsigmoid, Hardswish, LeakyReLU, LogSigmoid, Mish, PReLU, ReLU, ReLU6, SELU, SiLU, Sigmoid,
    Softsign, Tanh,
};
pub use attention::MultiheadAttention;
pub use batch_norm::{BatchNorm1d, BatchNorm2d, BatchNorm3d};
pub use conv::{Conv1d, Conv2d, ConvTranspose2d};
pub use dropout::{Dropout, StochasticDepth};
pub use embedding::Embedding;
pub use init::{Fan, Init};
pub use linear::Linear;
pub use loss::{Reduction, cross_entropy, mse_loss};
pub use norm::{GroupNorm, InstanceNorm2d, LayerNorm, RMSNorm};
pub use params::{Param, Params};
pub(crate) use params::{from_host, to_host};
pub use pool::{AdaptiveAvgPool2d, AvgPool2d, MaxPool2d};
pub use recurrent::{GRU, LSTM, RNN};
pub use sequential::{Flatten, Sequential};
pub use transformer::{TransformerEncoderLayer, TransformerOptions};

use crate::{Result, Tensor};

/// What makes one tensor of another: a layer, a whole network, or a function such as
/// `|x: &Tensor| x.mul(2.0)`.
pub trait Module: Send + Sync {
    /// The output for this input.
    fn forward(&self, x: &Tensor) -> Result<Tensor>;
}

impl<F: Fn(&Tensor) -> Result<Tensor> + Send + Sync> Module for F {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self(x)
    }
}
