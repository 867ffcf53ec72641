//! Ready-made networks. Names, shapes and initial values of parameters are those of their PyTorch
//! counterparts, so that checkpoints of torchvision load.
//!
//! ```
//! use kiln::models::Architecture;
//! use kiln::nn::Params;
//! use kiln::{Engine, Tensor};
//!
//! let engine = Engine::cpu();
//! let params = Params::new(&engine, 0);
//! let architecture = Architecture { name: "lenet".into(), classes: 10, channels: 1, image_size: 28 };
//! let model = architecture.build(&params)?;
//! assert_eq!(model.forward(&Tensor::zeros([2, 1, 28, 28], &engine)?)?.dims(), [2, 10]);
//! # Ok::<(), kiln::Error>(())
//! ```

mod architecture;
mod cnn;
mod convnext;
mod densenet;
mod efficientnet;
mod inverted_residual;
mod layers;
mod lenet;
mod mobilenet;
mod pretrained;
mod resnet;
mod shufflenet;
mod small;
mod squeezenet;
mod summary;
mod vgg;
mod vit;

pub use architecture::{Architecture, names};
pub use cnn::Cnn;
pub use lenet::LeNet;
pub use pretrained::{Head, load_pretrained};
pub use resnet::{ResNet, ResNetOptions};
pub use summary::{Row, summary};

use crate::nn::Module;
use crate::{Result, Tensor};

/// A network that ends in class scores, in two parts: what is seen, and what that is called.
/// [`forward`](Module::forward) is one after the other.
pub trait Classifier: Module {
    /// Images `[N, C, H, W]` to what the head classifies: a feature map `[N, K, h, w]` of
    /// convolutional networks, tokens `[N, T, D]` of transformers.
    fn features(&self, images: &Tensor) -> Result<Tensor>;

    /// What [`features`](Classifier::features) gives to logits `[N, classes]`.
    fn classify(&self, features: &Tensor) -> Result<Tensor>;

    /// The path of the layer that makes the logits, such as `fc` or `classifier.6`: all of a
    /// network that depends on the number of classes.
    fn head(&self) -> &'static str;
}
