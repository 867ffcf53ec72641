//! Residual networks.

use crate::nn::{BatchNorm2d, Conv2d, Fan, Init, Linear, Module, Params};
use crate::ops::{Conv2dOptions, Pool2dOptions};
use crate::{Result, Tensor};

/// What goes around a block where it changes the shape: a 1x1 convolution and its batch norm.
type Downsample = (Conv2d, BatchNorm2d);

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

    /// The same network with the stem for small images.
    #[must_use]
    pub fn cifar(self) -> ResNetOptions {
        ResNetOptions { cifar_stem: true, ..self }
    }
}

struct Block {
    /// Each convolution with its batch norm; all but the last are followed by a ReLU.
    layers: Vec<(Conv2d, BatchNorm2d)>,
    downsample: Option<Downsample>,
}

impl Block {
    /// A block from `inputs` channels to `outputs`, by way of `width` in a bottleneck.
    fn new(
        params: &Params,
        inputs: usize,
        width: usize,
        outputs: usize,
        stride: usize,
        bottleneck: bool,
    ) -> Result<Block> {
        // The stride is at the 3x3 convolution, as in torchvision (version 1.5 of the network).
        let shapes = match bottleneck {
            true => vec![(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)],
            false => vec![(inputs, outputs, 3, stride), (outputs, outputs, 3, 1)],
        };
        let layers = (1..).zip(shapes).map(|(index, (from, to, kernel, stride))| {
            let name = |layer: &str| params / &format!("{layer}{index}");
            normalised(&name("conv"), &name("bn"), from, to, kernel, stride)
        });
        let layers = layers.collect::<Result<_>>()?;
        let around = params / "downsample";
        let downsample = (stride != 1 || inputs != outputs)
            .then(|| normalised(&(&around / "0"), &(&around / "1"), inputs, outputs, 1, stride))
            .transpose()?;
        Ok(Block { layers, downsample })
    }
}

impl Module for Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut y = x.clone();
        for (index, (convolution, norm)) in self.layers.iter().enumerate() {
            y = if index == 0 { y } else { y.relu()? };
            y = norm.forward(&convolution.forward(&y)?)?;
        }
        let around = match &self.downsample {
            Some((convolution, norm)) => norm.forward(&convolution.forward(x)?)?,
            None => x.clone(),
        };
        y.add(&around)?.relu()
    }
}

/// A convolution without bias that keeps the size but for its stride, and its batch norm.
fn normalised(
    conv: &Params,
    norm: &Params,
    inputs: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
) -> Result<(Conv2d, BatchNorm2d)> {
    let options = Conv2dOptions { stride: [stride; 2], padding: [kernel / 2; 2], ..Conv2dOptions::default() };
    let convolution = Conv2d::without_bias(conv, inputs, outputs, [kernel; 2], options)?;
    convolution.weight.init(Init::KaimingNormal { slope: 0.0, fan: Fan::Out })?;
    Ok((convolution, BatchNorm2d::new(norm, outputs)?))
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
    stem: (Conv2d, BatchNorm2d),
    pool: bool,
    blocks: Vec<Block>,
    fc: Linear,
}

impl ResNet {
    /// Registers the network's parameters under `params`. An error where a path is taken.
    pub fn new(params: &Params, options: ResNetOptions, classes: usize) -> Result<ResNet> {
        let (kernel, stride) = if options.cifar_stem { (3, 1) } else { (7, 2) };
        let stem = normalised(&(params / "conv1"), &(params / "bn1"), options.channels, 64, kernel, stride)?;
        let expansion = if options.bottleneck { 4 } else { 1 };
        let mut blocks = Vec::new();
        let mut inputs = 64;
        for (stage, count) in options.blocks.into_iter().enumerate() {
            let layer = params / &format!("layer{}", stage + 1);
            let (width, outputs) = (options.width_per_group << stage, (64 * expansion) << stage);
            for index in 0..count {
                let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                let path = &layer / &index.to_string();
                blocks.push(Block::new(&path, inputs, width, outputs, stride, options.bottleneck)?);
                inputs = outputs;
            }
        }
        Ok(ResNet {
            stem,
            pool: !options.cifar_stem,
            blocks,
            fc: Linear::new(&(params / "fc"), inputs, classes)?,
        })
    }
}

impl Module for ResNet {
    /// Images `[N, channels, H, W]` to logits `[N, classes]`.
    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let (convolution, norm) = &self.stem;
        let mut x = norm.forward(&convolution.forward(images)?)?.relu()?;
        if self.pool {
            x = x.max_pool2d(Pool2dOptions { stride: [2, 2], padding: [1, 1], ..Pool2dOptions::new(3) })?;
        }
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        self.fc.forward(&x.mean([2, 3], false)?)
    }
}
