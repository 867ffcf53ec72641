//! Initial values of parameters.

use crate::{DType, Engine, Error, Result, Shape, Tensor};

/// Which of a weight's connections its scale is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fan {
    /// Those into one output: keeps the variance of the forward pass.
    In,
    /// Those out of one input: keeps the variance of the backward pass.
    Out,
}

/// How a parameter starts. A weight is laid out `[out, in, kernel...]`, as in PyTorch: its fan-in is
/// `in * kernel...`, its fan-out `out * kernel...`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// 0 everywhere.
    Zeros,
    /// 1 everywhere.
    Ones,
    /// This value everywhere.
    Constant(f64),
    /// Uniform between two values.
    Uniform {
        /// The least value.
        low: f64,
        /// The bound above.
        high: f64,
    },
    /// Normally distributed.
    Normal {
        /// The mean.
        mean: f64,
        /// The standard deviation.
        std: f64,
    },
    /// Uniform within `sqrt(6 / ((1 + slope^2) * fan))` of 0, for layers followed by a leaky ReLU of
    /// this slope (He et al. 2015, arXiv:1502.01852).
    KaimingUniform {
        /// Slope of the leaky ReLU; 0 for a ReLU.
        slope: f64,
        /// The connections counted.
        fan: Fan,
    },
    /// Normal with standard deviation `sqrt(2 / ((1 + slope^2) * fan))`, as above.
    KaimingNormal {
        /// Slope of the leaky ReLU; 0 for a ReLU.
        slope: f64,
        /// The connections counted.
        fan: Fan,
    },
    /// Uniform within `sqrt(6 / (fan-in + fan-out))` of 0 (Glorot and Bengio 2010).
    XavierUniform,
}

impl Init {
    /// PyTorch's default for the weights of its linear and convolution layers, where `slope` is the
    /// square root of 5: uniform within `1 / sqrt(fan-in)` of 0.
    pub fn weight() -> Init {
        Init::KaimingUniform { slope: 5.0f64.sqrt(), fan: Fan::In }
    }

    /// PyTorch's default for the bias beside such a weight: uniform within `1 / sqrt(fan_in)` of 0.
    pub fn bias(fan_in: usize) -> Init {
        let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
        Init::Uniform { low: -bound, high: bound }
    }

    /// An `f32` tensor of these values, drawn from `seed` where they are random. An error where
    /// the scale follows from the shape and that has fewer than two dimensions.
    pub fn tensor(self, shape: Shape, seed: u64, engine: &Engine) -> Result<Tensor> {
        let full = |value| Tensor::full(shape, value, DType::F32, engine);
        let uniform = |low: f64, high: f64| Tensor::rand(shape, seed, engine)?.mul(high - low)?.add(low);
        let normal = |mean: f64, std: f64| Tensor::randn(shape, seed, engine)?.mul(std)?.add(mean);
        let variance = |slope: f64, fan| Ok::<_, Error>(2.0 / (1.0 + slope * slope) / fans(&shape, fan)?);
        match self {
            Init::Zeros => full(0.0),
            Init::Ones => full(1.0),
            Init::Constant(value) => full(value),
            Init::Uniform { low, high } => uniform(low, high),
            Init::Normal { mean, std } => normal(mean, std),
            Init::KaimingUniform { slope, fan } => {
                let bound = (3.0 * variance(slope, fan)?).sqrt();
                uniform(-bound, bound)
            }
            Init::KaimingNormal { slope, fan } => normal(0.0, variance(slope, fan)?.sqrt()),
            Init::XavierUniform => {
                let bound = (6.0 / (fans(&shape, Fan::In)? + fans(&shape, Fan::Out)?)).sqrt();
                uniform(-bound, bound)
            }
        }
    }
}

/// The number of connections; at least 1, so that an empty weight has a scale.
fn fans(shape: &Shape, fan: Fan) -> Result<f64> {
    if shape.rank() < 2 {
        let message = format!("the scale of a parameter of shape {shape} needs two dimensions or more");
        return Err(Error::op("init", message));
    }
    let kernel: usize = shape[2..].iter().product();
    let connections = kernel * if fan == Fan::In { shape[1] } else { shape[0] };
    Ok(connections.max(1) as f64)
}
