//! Residual networks.

use super::Classifier;
use super::layers::{Activation, ConvNorm, ConvNormOptions, global_mean};
use crate::nn::{Linear, MaxPool2d, Module, Params, Sequential};
use crate::ops::Pool2dOptions;
use crate::{Result, Tensor};

/// Which network of the family: how many blocks each stage has, and of which kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResNetOptions {
    /// Blocks of the four stages.
    pub blocks: [usize; 4],
    /// Blocks of 1x1, 3x3 and 1x1 convolutions with four times the channels at their end, instead of
    /// two 3x3 convolutions.
    pub bottleneck: bool,
    /// Channels of the first stage's 3x3 convolutions in bottleneck blocks: 64, and 128 in the wide
    /// networks (Zagoruyko and Komodakis 2016, arXiv:1605.07146).
    pub width_per_group: usize,
    /// Start with a 3x3 convolution of stride 1 and no pooling, for images of about 32x32.
    pub cifar_stem: bool,
    /// Channels of the images.
    pub channels: usize,
}

impl ResNetOptions {
    const BASIC: ResNetOptions = ResNetOptions {
        blocks: [2, 2, 2, 2],
        bottleneck: false,
        width_per_group: 64,
        cifar_stem: false,
        channels: 3,
    };

    /// ResNet-18.
    pub const RESNET18: ResNetOptions = ResNetOptions::BASIC;
    /// ResNet-34.
    pub const RESNET34: ResNetOptions = ResNetOptions { blocks: [3, 4, 6, 3], ..ResNetOptions::BASIC };
    /// ResNet-50.
    pub const RESNET50: ResNetOptions = ResNetOptions { bottleneck: true, ..ResNetOptions::RESNET34 };
    /// ResNet-101.
    pub const RESNET101: ResNetOptions = ResNetOptions { blocks: [3, 4, 23, 3], ..ResNetOptions::RESNET50 };
    /// Wide ResNet-50-2.
    pub const WIDE_RESNET50_2: ResNetOptions =
        ResNetOptions { width_per_group: 128, ..ResNetOptions::RESNET50 };
    /// Wide ResNet-101-2.
    pub const WIDE_RESNET101_2: ResNetOptions =
        ResNetOptions { width_per_group: 128, ..ResNetOptions::RESNET101 };

    /// The same network with the stem for small images.
    #[must_use]
    pub fn cifar(self) -> ResNetOptions {
        ResNetOptions { cifar_stem: true, ..self }
    }
}

/// Two or three convolutions, and a path around them.
pub(super) struct Block {
    layers: Sequential,
    /// What goes around where the block changes the shape.
    downsample: Option<ConvNorm>,
}

impl Block {
    /// A block from `inputs` channels to `outputs`, by way of `width` in a bottleneck.
    pub fn new(
        params: &Params,
        inputs: usize,
        width: usize,
        outputs: usize,
        stride: usize,
        bottleneck: bool,
    ) -> Result<Block> {
        let shape = |inputs, outputs, kernel, stride| ConvNormOptions {
            stride,
            ..ConvNormOptions::new(inputs, outputs, kernel)
        };
        // The stride is at the 3x3 convolution, as in torchvision (version 1.5 of the network).
        let shapes = match bottleneck {
            true => {
                vec![shape(inputs, width, 1, 1), shape(width, width, 3, stride), shape(width, outputs, 1, 1)]
            }
            false => vec![shape(inputs, outputs, 3, stride), shape(outputs, outputs, 3, 1)],
        };
        let last = shapes.len();
        let mut layers = Sequential::new();
        for (index, shape) in (1..).zip(shapes) {
            let [conv, norm] = ["conv", "bn"].map(|layer| params / format!("{layer}{index}"));
            let activation = (index < last).then_some(Tensor::relu as Activation);
            layers = layers.add(ConvNorm::new(&conv, &norm, ConvNormOptions { activation, ..shape })?);
        }
        let around = params / "downsample";
        let downsample = (stride != 1 || inputs != outputs)
            .then(|| ConvNorm::nested(&around, shape(inputs, outputs, 1, stride)))
            .transpose()?;
        Ok(Block { layers, downsample })
    }
}

impl Module for Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let around = self.downsample.as_ref().map_or(Ok(x.clone()), |around| around.forward(x))?;
        self.layers.forward(x)?.add(&around)?.relu()
    }
}

/// A residual network (He et al. 2015, arXiv:1512.03385) for images `[N, channels, H, W]`, with the
/// names, shapes and initial values of torchvision's.
///
/// ```
/// use kiln::models::{ResNet, ResNetOptions};
/// use kiln::nn::{Module, Params};
/// use kiln::{Engine, Tensor};
///
/// let engine = Engine::cpu();
/// let params = Params::new(&engine, 0);
/// let model = ResNet::new(&params, ResNetOptions::RESNET18.cifar(), 10)?;
/// assert_eq!(params.count(), 11_173_962);
/// params.eval();
/// let logits = model.forward(&Tensor::zeros([2, 3, 32, 32], &engine)?)?;
/// assert_eq!(logits.dims(), [2, 10]);
/// # Ok::<(), kiln::Error>(())
/// ```
pub struct ResNet {
    features: Sequential,
    fc: Linear,
}

impl ResNet {
    /// Registers the network's parameters under `params`. An error where a path is taken.
    pub fn new(params: &Params, options: ResNetOptions, classes: usize) -> Result<ResNet> {
        let (kernel, stride) = if options.cifar_stem { (3, 1) } else { (7, 2) };
        let activation: Option<Activation> = Some(Tensor::relu);
        let stem =
            ConvNormOptions { stride, activation, ..ConvNormOptions::new(options.channels, 64, kernel) };
        let stem = ConvNorm::new(&(params / "conv1"), &(params / "bn1"), stem)?;
        let mut features = Sequential::new().add(stem);
        if !options.cifar_stem {
            let pool = Pool2dOptions { stride: [2, 2], padding: [1, 1], ..Pool2dOptions::new(3) };
            features = features.add(MaxPool2d(pool));
        }
        let expansion = if options.bottleneck { 4 } else { 1 };
        let mut inputs = 64;
        for (stage, count) in options.blocks.into_iter().enumerate() {
            let layer = params / format!("layer{}", stage + 1);
            let (width, outputs) = (options.width_per_group << stage, (64 * expansion) << stage);
            for index in 0..count {
                let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                let path = &layer / index;
                let block = Block::new(&path, inputs, width, outputs, stride, options.bottleneck)?;
                features = features.add(block);
                inputs = outputs;
            }
        }
        Ok(ResNet { features, fc: Linear::new(params / "fc", inputs, classes)? })
    }
}

impl Module for ResNet {
    /// Images `[N, channels, H, W]` to logits `[N, classes]`.
    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        self.classify(&self.features(images)?)
    }
}

impl Classifier for ResNet {
    fn features(&self, images: &Tensor) -> Result<Tensor> {
        self.features.forward(images)
    }

    fn classify(&self, features: &Tensor) -> Result<Tensor> {
        self.fc.forward(&global_mean(features)?)
    }

    fn head(&self) -> &'static str {
        "fc"
    }
}
