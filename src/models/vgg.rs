//! VGG.

use super::layers::{BY_FAN_OUT, Network, conv, linear};
use super::{Architecture, Classifier};
use crate::Result;
use crate::nn::{
    AdaptiveAvgPool2d, BatchNorm2d, Dropout, Flatten, Init, MaxPool2d, Params, ReLU, Sequential,
};
use crate::ops::{Conv2dOptions, Pool2dOptions};

/// VGG (Simonyan and Zisserman 2014, arXiv:1409.1556) with this many 3x3 convolutions before each
/// pooling, with or without batch norms.
pub(super) fn vgg(
    params: &Params,
    a: &Architecture,
    blocks: [usize; 5],
    batch_norm: bool,
) -> Result<Box<dyn Classifier>> {
    let same = Conv2dOptions { padding: [1, 1], ..Conv2dOptions::default() };
    let pool = MaxPool2d(Pool2dOptions::new(2));
    let mut features = Sequential::new();
    let (mut inputs, mut index) = (a.channels, 0);
    for (block, (count, outputs)) in blocks.into_iter().zip([64, 128, 256, 512, 512]).enumerate() {
        if block > 0 {
            features = features.add(pool.clone());
            index += 1;
        }
        for _ in 0..count {
            let path = params / "features";
            features = features.add(conv(&(&path / index), inputs, outputs, 3, same, BY_FAN_OUT)?);
            if batch_norm {
                index += 1;
                features = features.add(BatchNorm2d::new(&path / index, outputs)?);
            }
            features = features.add(ReLU);
            index += 2;
            inputs = outputs;
        }
    }
    let path = params / "classifier";
    let start = Init::Normal { mean: 0.0, std: 0.01 };
    // The last pooling comes after the cut: a map of features with four times the pixels.
    let classifier = Sequential::new()
        .add(pool)
        .add(AdaptiveAvgPool2d([7, 7]))
        .add(Flatten)
        .add(linear(&(&path / 0), 512 * 7 * 7, 4096, start)?)
        .add(ReLU)
        .add(Dropout::new(params, 0.5)?)
        .add(linear(&(&path / 3), 4096, 4096, start)?)
        .add(ReLU)
        .add(Dropout::new(params, 0.5)?)
        .add(linear(&(&path / 6), 4096, a.classes, start)?);
    Ok(Box::new(Network { features, classifier, head: "classifier.6" }))
}
