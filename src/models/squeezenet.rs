//! SqueezeNet.

use super::layers::{Network, conv, global_mean};
use super::{Architecture, Classifier};
use crate::nn::{Conv2d, Dropout, Fan, Init, MaxPool2d, Module, Params, ReLU, Sequential};
use crate::ops::{Conv2dOptions, Pool2dOptions};
use crate::{Result, Tensor};

const BY_FAN_IN: Init = Init::KaimingUniform { slope: 0.0, fan: Fan::In };

/// A 1x1 convolution to few channels, and from there a 1x1 and a 3x3 convolution side by side.
struct Fire {
    squeeze: Conv2d,
    expand1x1: Conv2d,
    expand3x3: Conv2d,
}

impl Fire {
    fn new(params: &Params, inputs: usize, squeezed: usize, outputs: usize) -> Result<Fire> {
        let layer = |name: &str, inputs, outputs, kernel: usize| {
            let options = Conv2dOptions { padding: [kernel / 2; 2], ..Conv2dOptions::default() };
            conv(&(params / name), inputs, outputs, kernel, options, BY_FAN_IN)
        };
        Ok(Fire {
            squeeze: layer("squeeze", inputs, squeezed, 1)?,
            expand1x1: layer("expand1x1", squeezed, outputs / 2, 1)?,
            expand3x3: layer("expand3x3", squeezed, outputs / 2, 3)?,
        })
    }
}

impl Module for Fire {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.squeeze.forward(x)?.relu()?;
        Tensor::concat(&[&self.expand1x1.forward(&x)?.relu()?, &self.expand3x3.forward(&x)?.relu()?], 1)
    }
}

/// SqueezeNet (Iandola et al. 2016, arXiv:1602.07360), version 1.0, or its 1.1 with less work.
pub(super) fn squeezenet(params: &Params, a: &Architecture, small_stem: bool) -> Result<Box<dyn Classifier>> {
    let path = params / "features";
    let pool = MaxPool2d(Pool2dOptions { stride: [2, 2], ceil_mode: true, ..Pool2dOptions::new(3) });
    // Where the poolings stand among the steps, the first convolution and its activation being 0 and 1.
    let (mut inputs, kernel, pools) = if small_stem { (64, 3, [2, 5, 8]) } else { (96, 7, [2, 6, 11]) };
    let stride = Conv2dOptions { stride: [2, 2], ..Conv2dOptions::default() };
    let stem = conv(&(&path / 0), a.channels, inputs, kernel, stride, BY_FAN_IN)?;
    let mut features = Sequential::new().add(stem).add(ReLU);
    let mut fires = [128, 128, 256, 256, 384, 384, 512, 512].into_iter();
    for index in 2..13 {
        if pools.contains(&index) {
            features = features.add(pool.clone());
        } else if let Some(outputs) = fires.next() {
            features = features.add(Fire::new(&(&path / index), inputs, outputs / 8, outputs)?);
            inputs = outputs;
        }
    }
    let start = Init::Normal { mean: 0.0, std: 0.01 };
    let head = conv(&(params / "classifier" / 1), inputs, a.classes, 1, Conv2dOptions::default(), start)?;
    let classifier = Sequential::new().add(Dropout::new(params, 0.5)?).add(head).add(ReLU).add(global_mean);
    Ok(Box::new(Network { features, classifier, head: "classifier.1" }))
}
