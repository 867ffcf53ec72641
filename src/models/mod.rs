//! Ready-made networks. Names and shapes of parameters are those of their PyTorch counterparts.

mod cnn;
mod resnet;

pub use cnn::Cnn;
pub use resnet::{ResNet, ResNetOptions};
