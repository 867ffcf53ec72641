//! A small convolutional network for grey digits.

use crate::nn::{Conv2d, Linear, Module, Params};
use crate::ops::{Conv2dOptions, Pool2dOptions};
use crate::{Result, Tensor};

/// Two 3x3 convolutions with pooling and two linear layers, for images `[n, 1, 28, 28]`; 421,642
/// parameters with ten classes.
///
/// conv1 1 to 32, relu, max pool 2, conv2 32 to 64, relu, max pool 2, fc1 3136 to 128, relu, fc2
/// 128 to `classes`.
pub struct Cnn {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
}

impl Cnn {
    /// Registers the network's parameters under `params`.
    pub fn new(params: &Params, classes: usize) -> Result<Cnn> {
        let same = Conv2dOptions { padding: [1, 1], ..Conv2dOptions::default() };
        Ok(Cnn {
            conv1: Conv2d::new(&(params / "conv1"), 1, 32, [3, 3], same)?,
            conv2: Conv2d::new(&(params / "conv2"), 32, 64, [3, 3], same)?,
            fc1: Linear::new(&(params / "fc1"), 64 * 7 * 7, 128)?,
            fc2: Linear::new(&(params / "fc2"), 128, classes)?,
        })
    }
}

impl Module for Cnn {
    /// Images `[n, 1, 28, 28]` to logits `[n, classes]`.
    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let pool = Pool2dOptions::new(2);
        let x = self.conv1.forward(images)?.relu()?.max_pool2d(pool)?;
        let x = self.conv2.forward(&x)?.relu()?.max_pool2d(pool)?;
        let x = self.fc1.forward(&x.flatten(1, -1)?)?.relu()?;
        self.fc2.forward(&x)
    }
}
