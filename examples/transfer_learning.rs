//! Teaches a trained network other classes, from a few images of each.
//!
//!     cargo run --release -- train path/to/images --out runs/first
//!     cargo run --release --example transfer_learning -- runs/first/model.safetensors path/to/others
//!
//! The network keeps what it sees by and gets a new head. First the head is trained alone, then all of it.
//! A network of the same kind that starts from nothing learns the same images for comparison.

use anyhow::{Result, ensure};
use clap::Parser;
use kiln::data::{Augment, Dataset, ImageSet, Images};
use kiln::models::{Architecture, Head, load_pretrained};
use kiln::train::{EpochRecord, ImageClassifier, TrainOptions, Trainer, Watch};
use kiln::{Engine, Error};
use std::path::PathBuf;
use std::sync::Arc;

/// Teach a trained network other classes.
#[derive(Parser)]
struct Options {
    /// A model that `kiln train` saved
    model: PathBuf,
    /// A folder with a folder of images for each of the new classes
    data: PathBuf,
    /// Images of each class to learn from; the others judge
    #[arg(long, default_value_t = 20)]
    shots: usize,
    /// Passes over these images
    #[arg(long, default_value_t = 20)]
    epochs: u32,
    /// The first passes, in which the head alone is trained
    #[arg(long, default_value_t = 8)]
    freeze: u32,
    /// Seed of the weights and of the order and variation of the images
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// auto, cpu, gpu, or a part of an adapter's name or its number [default: $KILN_DEVICE, or auto]
    #[arg(long)]
    device: Option<String>,
}

/// Chosen images of a set: a data set of one's own, made of another.
struct Chosen {
    images: Images,
    members: Vec<usize>,
}

impl Chosen {
    fn member(&self, index: usize) -> kiln::Result<usize> {
        let missing = || Error::op("chosen", format!("no image {index} of {}", self.members.len()));
        self.members.get(index).copied().ok_or_else(missing)
    }
}

impl Dataset for Chosen {
    fn len(&self) -> usize {
        self.members.len()
    }

    fn shape(&self) -> &[usize] {
        self.images.shape()
    }

    fn classes(&self) -> &[String] {
        self.images.classes()
    }

    fn sample(&self, index: usize, input: &mut [f32]) -> kiln::Result<i32> {
        self.images.sample(self.member(index)?, input)
    }

    // The variants of the images, which change from epoch to epoch.
    fn sample_in(&self, index: usize, epoch: u64, input: &mut [f32]) -> kiln::Result<i32> {
        self.images.sample_in(self.member(index)?, epoch, input)
    }
}

/// The accuracy of a network after each epoch.
struct Print(&'static str);

impl Watch for Print {
    fn epoch(&mut self, record: &EpochRecord, _best: bool) -> kiln::Result<()> {
        println!("{}, epoch {}: accuracy {:.2} %", self.0, record.epoch, 100.0 * record.val_accuracy);
        Ok(())
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let engine = match &options.device {
        Some(name) => Engine::new(name)?,
        None => Engine::from_env()?,
    };
    println!("device: {}", engine.name());
    let old = ImageClassifier::load(&options.model, &engine)?;
    let set = ImageSet::open(&options.data)?.train;
    let classes = set.classes().to_vec();

    let mut order: Vec<usize> = (0..set.len()).collect();
    fastrand::Rng::with_seed(options.seed).shuffle(&mut order);
    let (mut few, mut others, mut taken) = (Vec::new(), Vec::new(), vec![0; classes.len()]);
    for index in order {
        let count = &mut taken[set.label(index)? as usize];
        *count += 1;
        if *count <= options.shots { few.push(index) } else { others.push(index) }
    }
    ensure!(
        !few.is_empty() && !others.is_empty(),
        "--shots {} of {} images leave none to learn from, or none to judge by",
        options.shots,
        set.len()
    );
    println!("{} images of {} to learn from, {} to judge by", few.len(), classes.join(", "), others.len());
    // How the network has learned to see images.
    let seen = old.preprocessing();
    let images = || Images::new(set.clone(), seen.clone());
    let train = Arc::new(Chosen { images: images()?.augment(Augment::Light, options.seed), members: few });
    let judge = Arc::new(Chosen { images: images()?, members: others });

    let fresh = || {
        let architecture = Architecture { classes: classes.len(), ..old.architecture().clone() };
        ImageClassifier::new(&engine, options.seed, architecture, classes.clone(), seen.clone())
    };
    let learn = |name, classifier: &ImageClassifier, freeze| -> Result<f64> {
        let settings = TrainOptions {
            epochs: options.epochs,
            freeze,
            batch_size: 16,
            seed: options.seed,
            ..Default::default()
        };
        let (network, params) = (classifier.network(), classifier.params());
        let mut trainer = Trainer::new(network, params, train.clone(), judge.clone(), settings)?;
        Ok(trainer.run(&mut Print(name))?.last().map_or(0.0, |record| 100.0 * record.val_accuracy))
    };

    let taught = fresh()?;
    match load_pretrained(taught.params(), taught.network(), &old.params().state_dict()?, &options.model)? {
        Head::Kept { file_classes } => println!("a new head in the place of that for {file_classes} classes"),
        Head::Loaded => println!("the head starts from the old one, which is for as many classes"),
    }
    let transferred = learn("transferred", &taught, options.freeze)?;
    let scratch = learn("from nothing", &fresh()?, 0)?;
    println!("accuracy {transferred:.2} % with the trained network, {scratch:.2} % from nothing");
    Ok(())
}
