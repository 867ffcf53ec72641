//! LeNet-5.

use super::Classifier;
use crate::nn::{Conv2d, Linear, Module, Params};
use crate::ops::{Conv2dOptions, Pool2dOptions};
use crate::{Result, Tensor};

/// LeNet-5 (LeCun et al. 1998) as it is trained today, with ReLU and max pooling, for images of
/// 28x28; of another size, means over 5x5 windows make what the first linear layer expects.
///
/// conv1 5x5 to 6, pool 2, conv2 5x5 to 16, pool 2, fc1 400 to 120, fc2 to 84, fc3 to `classes`.
pub struct LeNet {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

impl LeNet {
    /// Registers the network's parameters under `params`. An error where a path is taken.
    pub fn new(params: &Params, channels: usize, classes: usize) -> Result<LeNet> {
        let same = Conv2dOptions { padding: [2, 2], ..Conv2dOptions::default() };
        Ok(LeNet {
            conv1: Conv2d::new(params / "conv1", channels, 6, [5, 5], same)?,
            conv2: Conv2d::new(params / "conv2", 6, 16, [5, 5], Conv2dOptions::default())?,
            fc1: Linear::new(params / "fc1", 16 * 5 * 5, 120)?,
            fc2: Linear::new(params / "fc2", 120, 84)?,
            fc3: Linear::new(params / "fc3", 84, classes)?,
        })
    }
}

impl Module for LeNet {
    /// Images `[N, channels, H, W]` to logits `[N, classes]`.
    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        self.classify(&self.features(images)?)
    }
}

impl Classifier for LeNet {
    fn features(&self, images: &Tensor) -> Result<Tensor> {
        let x = self.conv1.forward(images)?.relu()?.max_pool2d(Pool2dOptions::new(2))?;
        self.conv2.forward(&x)?.relu()
    }

    fn classify(&self, features: &Tensor) -> Result<Tensor> {
        let x = features.max_pool2d(Pool2dOptions::new(2))?.adaptive_avg_pool2d([5, 5])?;
        let x = self.fc1.forward(&x.flatten(1, -1)?)?.relu()?;
        self.fc3.forward(&self.fc2.forward(&x)?.relu()?)
    }

    fn head(&self) -> &'static str {
        "fc3"
    }
}
