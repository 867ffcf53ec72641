//! A network of your own: a block of layers, a classifier made of blocks, trained and saved.
//!
//!     cargo run --release --example custom_model -- --limit 5000 --epochs 3
//!
//! Whatever implements `Module` can stand wherever a layer can, and what implements `Classifier` besides is
//! trained by `Trainer`, frozen, explained and given other weights like the networks of `kiln::models`.

use anyhow::{Context, Result};
use clap::Parser;
use kiln::data::{Dataset, Mnist, Split, Subset};
use kiln::models::{Classifier, summary};
use kiln::nn::{BatchNorm2d, Conv2d, Linear, Module, Params, Sequential};
use kiln::ops::Conv2dOptions;
use kiln::train::{EpochRecord, TrainOptions, Trainer, Watch, predict};
use kiln::{Engine, Tensor};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Train a network of one's own on MNIST.
#[derive(Parser)]
struct Options {
    /// auto, cpu, gpu, or a part of an adapter's name or its number [default: $KILN_DEVICE, or auto]
    #[arg(long)]
    device: Option<String>,
    /// Passes over the training images
    #[arg(long, default_value_t = 5)]
    epochs: u32,
    /// Train on the first N images, and test on half as many
    #[arg(long, value_name = "N", default_value_t = 60_000)]
    limit: usize,
    /// The weights to write
    #[arg(long, default_value = "runs/custom_model.safetensors")]
    out: PathBuf,
}

/// Two 3x3 convolutions, and a path around them: the sum of both goes on.
struct Residual {
    convs: [Conv2d; 2],
    norms: [BatchNorm2d; 2],
    /// Makes what goes around as large as what goes through.
    around: Conv2d,
}

impl Residual {
    /// Halves height and width, from `inputs` channels to `outputs`.
    fn new(params: &Params, inputs: usize, outputs: usize) -> kiln::Result<Residual> {
        let half = Conv2dOptions { stride: [2, 2], ..Default::default() };
        let pad = |options| Conv2dOptions { padding: [1, 1], ..options };
        Ok(Residual {
            convs: [
                Conv2d::without_bias(params / "conv1", inputs, outputs, [3, 3], pad(half))?,
                Conv2d::without_bias(params / "conv2", outputs, outputs, [3, 3], pad(Default::default()))?,
            ],
            norms: [BatchNorm2d::new(params / "bn1", outputs)?, BatchNorm2d::new(params / "bn2", outputs)?],
            around: Conv2d::new(params / "around", inputs, outputs, [1, 1], half)?,
        })
    }
}

impl Module for Residual {
    fn forward(&self, x: &Tensor) -> kiln::Result<Tensor> {
        let y = self.norms[0].forward(&self.convs[0].forward(x)?)?.relu()?;
        let y = self.norms[1].forward(&self.convs[1].forward(&y)?)?;
        y.add(&self.around.forward(x)?)?.relu()
    }
}

/// Two residual blocks and a linear layer.
struct Network {
    blocks: Sequential,
    fc: Linear,
}

impl Network {
    fn new(params: &Params, classes: usize) -> kiln::Result<Network> {
        let blocks = Sequential::new().add(Residual::new(&(params / "block1"), 1, 16)?).add(Residual::new(
            &(params / "block2"),
            16,
            32,
        )?);
        Ok(Network { blocks, fc: Linear::new(params / "fc", 32, classes)? })
    }
}

impl Module for Network {
    fn forward(&self, images: &Tensor) -> kiln::Result<Tensor> {
        self.classify(&self.features(images)?)
    }
}

impl Classifier for Network {
    fn features(&self, images: &Tensor) -> kiln::Result<Tensor> {
        self.blocks.forward(images)
    }

    fn classify(&self, features: &Tensor) -> kiln::Result<Tensor> {
        self.fc.forward(&features.mean([2, 3], false)?)
    }

    fn head(&self) -> &'static str {
        "fc"
    }
}

/// Prints each epoch and keeps the weights of the best one.
struct Keep<'a>(&'a Params, &'a Options);

impl Watch for Keep<'_> {
    fn epoch(&mut self, record: &EpochRecord, best: bool) -> kiln::Result<()> {
        let EpochRecord { epoch, train_loss, val_accuracy, seconds, .. } = record;
        println!(
            "epoch {epoch}: loss {train_loss:.4}, accuracy {:.2} %, {seconds:.1} s",
            100.0 * val_accuracy
        );
        if best { self.0.save(&self.1.out, BTreeMap::new()) } else { Ok(()) }
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let engine = match &options.device {
        Some(name) => Engine::new(name)?,
        None => Engine::from_env()?,
    };
    println!("device: {} ({})", engine.name(), engine.reason());
    if let Some(folder) = options.out.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let part = |split, count| -> Result<Arc<dyn Dataset>> {
        Ok(Arc::new(Subset::take(Arc::new(Mnist::load(split, None)?), count)))
    };
    let (train, test) = (part(Split::Train, options.limit)?, part(Split::Test, options.limit.div_ceil(2))?);

    let params = Params::new(&engine, 0);
    let network = Network::new(&params, train.classes().len())?;
    for row in summary(&network, &params, [1, 28, 28])? {
        println!("{:13} {:15} {:6} parameters", row.path, format!("{:?}", row.output), row.parameters);
    }
    let settings = TrainOptions { epochs: options.epochs, ..Default::default() };
    Trainer::new(&network, &params, train, test.clone(), settings)?.run(&mut Keep(&params, &options))?;

    let params = Params::new(&engine, 1);
    let network = Network::new(&params, test.classes().len())?;
    params.load(&options.out)?;
    let accuracy = predict(&network, &params, &test, 250)?.accuracy();
    println!("{}, read again: accuracy {:.2} %", options.out.display(), 100.0 * accuracy);
    Ok(())
}
