//! Ready-made networks. Names and shapes of parameters are those of their PyTorch counterparts.

mod cnn;

pub use cnn::Cnn;
