//! `kiln train`: a classifier from a folder of images.

use super::progress::Progress;
use anyhow::{Context, Result, ensure};
use kiln::Engine;
use kiln::data::Augment;
use kiln::models::summary;
use kiln::train::{BatchSize, LearningRate, Outcome, Run, Settings};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What `kiln train` is asked. Nothing has a default here: a run that goes on takes what is not given
/// from its folder.
#[derive(clap::Args)]
pub struct Train {
    /// A folder with a folder of images for each class (or train/ and val/ with such), IDX or CIFAR
    /// binary files, or a CSV file of path,label
    data: PathBuf,
    /// The network, kiln-small unless given; any name that `kiln info` lists
    #[arg(long)]
    model: Option<String>,
    /// Passes over the training images [default: 20]
    #[arg(long)]
    epochs: Option<u32>,
    /// Height and width that images are resized to [default: theirs, up to 64]
    #[arg(long)]
    image_size: Option<usize>,
    /// Images per update: a number, or auto for the most that fit [default: 64, or fewer for few images]
    #[arg(long, value_parser = batch_size)]
    batch_size: Option<BatchSize>,
    /// The share of the images that the network is judged by [default: the data's own part for that, or 0.2]
    #[arg(long, conflicts_with = "val_dir")]
    val: Option<f64>,
    /// A folder of images to judge by
    #[arg(long)]
    val_dir: Option<PathBuf>,
    /// auto, cpu, gpu, or a part of an adapter's name or its number [default: $KILN_DEVICE, or auto]
    #[arg(long)]
    device: Option<String>,
    /// Seed of the weights, the split, the order and the variation of the images [default: 0]
    #[arg(long)]
    seed: Option<u64>,
    /// Weights to start from: safetensors or a PyTorch checkpoint
    #[arg(long)]
    weights: Option<PathBuf>,
    /// Train the head alone for the first epochs, N of them or 3
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "3")]
    freeze: Option<u32>,
    /// The greatest learning rate: a number, or auto to find it by a test [default: 0.004, or 0.001 with
    /// --weights and for transformers]
    #[arg(long, value_parser = learning_rate)]
    lr: Option<LearningRate>,
    /// How images are varied: none, light, or strong (with mixup and cutmix) [default: light]
    #[arg(long)]
    augment: Option<Augment>,
    /// Let rare classes count as much as frequent ones
    #[arg(long)]
    balance: bool,
    /// Judge and save a moving average of the weights that keeps this share of the old at each update
    #[arg(long, value_name = "DECAY")]
    ema: Option<f64>,
    /// Mixed precision: activations in half precision, for networks that are large for the memory
    #[arg(long)]
    amp: bool,
    /// Pass the images of an update through the network in N parts, each of the batch size
    #[arg(long, value_name = "N")]
    accumulate: Option<usize>,
    /// Stop after N epochs without a better result
    #[arg(long, value_name = "N")]
    patience: Option<u32>,
    /// Go on with the run in --out that was stopped
    #[arg(long, requires = "out")]
    resume: bool,
    /// Folder for the results [default: runs/train, or runs/train-2 and so on]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print one JSON object at the end, and progress to the standard error
    #[arg(long)]
    json: bool,
}

fn batch_size(text: &str) -> Result<BatchSize, String> {
    match text.parse() {
        Ok(size) if size > 0 => Ok(BatchSize::Is(size)),
        _ if text == "auto" => Ok(BatchSize::Auto),
        _ => Err("expected a number above 0, or auto".into()),
    }
}

fn learning_rate(text: &str) -> Result<LearningRate, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(LearningRate::Is(rate)),
        _ if text == "auto" => Ok(LearningRate::Auto),
        _ => Err("expected a number above 0, or auto".into()),
    }
}

impl Train {
    /// Changes what is given.
    fn apply(&self, settings: &mut Settings) {
        fn set<T: Clone>(field: &mut T, given: &Option<T>) {
            if let Some(given) = given {
                field.clone_from(given);
            }
        }
        settings.data.clone_from(&self.data);
        set(&mut settings.model, &self.model);
        set(&mut settings.batch_size, &self.batch_size);
        set(&mut settings.augment, &self.augment);
        let Settings { train, .. } = settings;
        set(&mut train.epochs, &self.epochs);
        set(&mut train.seed, &self.seed);
        set(&mut train.freeze, &self.freeze);
        set(&mut train.lr, &self.lr);
        set(&mut train.accumulate, &self.accumulate);
        train.ema = self.ema.or(train.ema);
        train.patience = self.patience.or(train.patience);
        settings.val = self.val.or(settings.val);
        settings.image_size = self.image_size.or(settings.image_size);
        settings.balance |= self.balance;
        train.amp |= self.amp;
        set(&mut settings.val_dir, &self.val_dir.clone().map(Some));
        set(&mut settings.weights, &self.weights.clone().map(Some));
    }
}

/// Runs the command.
pub fn run(train: &Train) -> Result<ExitCode> {
    let engine = super::engine(train.device.as_deref())?;
    let out = train.out.clone().unwrap_or_else(free_folder);
    let earlier = if train.resume { Settings::load(&out)? } else { None };
    let mut settings = earlier.clone().unwrap_or_else(|| Settings::new(&train.data));
    train.apply(&mut settings);
    if let Some(earlier) = &earlier {
        let changed = differences(earlier, &settings)?;
        ensure!(
            changed.is_empty(),
            "{} began with other settings: {}; leave them out to go on, or choose another --out",
            out.display(),
            changed.join(", ")
        );
    }
    let run = Run::prepare(&settings, &engine)?;
    let mut progress = Progress::new(run.training_images().len(), &run, train.json)?;
    describe(&run, &engine, &mut progress)?;
    let outcome =
        if earlier.is_some() { run.resume(&out, &mut progress) } else { run.train(&out, &mut progress) }?;
    let stopped = progress.finish();
    conclude(&outcome, train.json)?;
    Ok(if stopped { ExitCode::from(130) } else { ExitCode::SUCCESS })
}

/// `runs/train`, or the first of `runs/train-2` and so on that does not exist.
fn free_folder() -> PathBuf {
    let names = (2..).map(|number| format!("runs/train-{number}"));
    let mut folders = std::iter::once("runs/train".to_string()).chain(names).map(PathBuf::from);
    folders.find(|folder| !folder.exists()).unwrap_or_default()
}

/// The settings that are not what they were, as `name: old, now new`.
fn differences(old: &Settings, new: &Settings) -> Result<Vec<String>> {
    fn walk(path: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
        match (old, new) {
            (Value::Object(old), Value::Object(new)) => {
                for (key, value) in old {
                    walk(key, value, new.get(key).unwrap_or(&Value::Null), found);
                }
            }
            _ if old != new => found.push(format!("{path} was {old}, now {new}")),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk("settings", &serde_json::to_value(old)?, &serde_json::to_value(new)?, &mut found);
    Ok(found)
}

/// Data, network and device, before the first epoch.
fn describe(run: &Run, engine: &Engine, progress: &mut Progress) -> Result<()> {
    let images = run.training_images();
    let skipped = images.skipped();
    for file in skipped.iter().take(10) {
        progress.say(&format!("skipped {}: {}", file.name, file.reason));
    }
    if skipped.len() > 10 {
        progress.say(&format!("skipped {} more files", skipped.len() - 10));
    }
    for warning in images.warnings().iter().chain(run.validation_images().warnings()) {
        progress.say(&format!("warning: {warning}"));
    }
    let counts = images.counts().into_iter().zip(run.validation_images().counts());
    let width = images.classes().iter().map(|class| class.chars().count()).max().unwrap_or(0).max(5);
    progress.say(&format!("{:width$}  {:>8}  {:>10}", "class", "training", "validation"));
    for (class, (train, validation)) in images.classes().iter().zip(counts) {
        progress.say(&format!("{class:width$}  {train:8}  {validation:10}"));
    }
    progress.say("");
    let classifier = run.classifier();
    let preprocessing = classifier.preprocessing();
    let size = preprocessing.size;
    let rows = summary(classifier.network(), classifier.params(), [preprocessing.channels, size, size])?;
    super::layers(&rows, |line| progress.say(line));
    run.notes().iter().for_each(|note| progress.say(note));
    progress.say(&format!("device: {} ({})", engine.name(), engine.reason()));
    let options = run.options();
    progress.say(&format!(
        "{} epochs, {} images an update",
        options.epochs,
        options.batch_size * options.accumulate
    ));
    Ok(())
}

fn conclude(outcome: &Outcome, json: bool) -> Result<()> {
    if json {
        let summary = json!({
            "model": path(&outcome.model)?,
            "report": path(&outcome.report)?,
            "epochs": outcome.history,
            "evaluation": outcome.evaluation,
        });
        println!("{summary}");
    } else {
        println!("{}", outcome.evaluation);
        println!("model:  {}\nreport: {}", outcome.model.display(), outcome.report.display());
    }
    Ok(())
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
