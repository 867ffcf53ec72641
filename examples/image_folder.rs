//! The library calls behind `kiln train`: from a folder of images to a model file, step by step.
//!
//!     cargo run --release --example image_folder -- path/to/images --image-size 32 --epochs 5
//!
//! The folder holds a folder of images for each class. `kiln::train::Run` does all of this in one call, with
//! a report, and can go on with a run that was stopped.

use anyhow::{Context, Result};
use clap::Parser;
use kiln::Engine;
use kiln::data::{Augment, Dataset, ImageSet, Images, Preprocessing};
use kiln::models::Architecture;
use kiln::train::{
    EpochRecord, Evaluation, ImageClassifier, Precision, TrainOptions, Trainer, Watch, predict,
};
use std::path::PathBuf;
use std::sync::Arc;

/// Train a classifier of the images in a folder.
#[derive(Parser)]
struct Options {
    /// A folder with a folder of images for each class
    data: PathBuf,
    /// The network: any name that `kiln info` lists
    #[arg(long, default_value = "kiln-small")]
    model: String,
    /// Height and width of the network's input
    #[arg(long, default_value_t = 64)]
    image_size: usize,
    /// Passes over the training images
    #[arg(long, default_value_t = 20)]
    epochs: u32,
    /// Images per update
    #[arg(long, default_value_t = 32)]
    batch_size: usize,
    /// How images are varied: none, light or strong
    #[arg(long, default_value = "light")]
    augment: Augment,
    /// Seed of the weights, the split, the order and the variation of the images
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// auto, cpu, gpu, or a part of an adapter's name or its number [default: $KILN_DEVICE, or auto]
    #[arg(long)]
    device: Option<String>,
    /// The model file to write
    #[arg(long, default_value = "runs/image_folder.safetensors")]
    out: PathBuf,
}

/// Prints each epoch and saves the classifier after the best one.
struct Keep<'a>(&'a ImageClassifier, &'a Options);

impl Watch for Keep<'_> {
    fn epoch(&mut self, record: &EpochRecord, best: bool) -> kiln::Result<()> {
        let EpochRecord { epoch, train_loss, val_accuracy, seconds, .. } = record;
        println!(
            "epoch {epoch}: loss {train_loss:.4}, accuracy {:.2} %, {seconds:.1} s",
            100.0 * val_accuracy
        );
        if best { self.0.save(&self.1.out, Precision::F32) } else { Ok(()) }
    }

    fn note(&mut self, text: &str) {
        println!("{text}");
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

    // What lies in the folder, and what of it cannot be used. Images that are the same file twice stay on
    // one side of the split.
    let opened = ImageSet::open(&options.data)?;
    let (train, validation) = match opened.test {
        Some(test) => (opened.train, test),
        None => opened.train.split(0.2, options.seed)?,
    };
    for file in train.skipped() {
        println!("skipped {}: {}", file.name, file.reason);
    }
    for warning in train.warnings() {
        println!("warning: {warning}");
    }
    for (class, count) in train.classes().iter().zip(train.counts()) {
        println!("{count:6} images of {class}");
    }

    // How an image becomes an input, which the model file remembers. Only what is learned from is measured.
    let channels = train.typical().channels;
    let preprocessing = Preprocessing::of(&train, options.image_size, channels)?;
    let classes = train.classes().to_vec();
    let architecture = Architecture {
        name: options.model.clone(),
        classes: classes.len(),
        channels,
        image_size: options.image_size,
    };
    let classifier =
        ImageClassifier::new(&engine, options.seed, architecture, classes, preprocessing.clone())?;
    println!("{}: {} parameters", options.model, classifier.params().count());

    // Images are decoded on background threads and kept; variants are drawn anew in each epoch.
    let train = Images::new(train, preprocessing.clone())?.augment(options.augment, options.seed);
    let validation: Arc<dyn Dataset> = Arc::new(Images::new(validation, preprocessing)?);
    let settings = TrainOptions {
        epochs: options.epochs,
        batch_size: options.batch_size,
        seed: options.seed,
        ..Default::default()
    };
    let (network, params) = (classifier.network(), classifier.params());
    Trainer::new(network, params, Arc::new(train), validation.clone(), settings)?
        .run(&mut Keep(&classifier, &options))?;

    // The file alone is enough to use the network of the best epoch.
    let best = ImageClassifier::load(&options.out, &engine)?;
    let predictions = predict(best.network(), best.params(), &validation, options.batch_size)?;
    println!("\n{}", Evaluation::new(best.classes(), &predictions.probabilities, &predictions.labels)?);
    println!("model: {}", options.out.display());
    Ok(())
}
