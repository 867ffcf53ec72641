//! A run: a folder of images in, a folder with a classifier and its report out.

use super::finder::without_trace;
use super::quantize::dequantize;
use super::{
    EpochRecord, Evaluation, EventWriter, ImageClassifier, LearningRate, Precision, Report, Thumbnail,
    TrainOptions, Trainer, Watch, predict, read_metrics, write_metrics,
};
use crate::data::{Augment, Dataset, ImageSet, Images, Preprocessing};
use crate::device::DeviceKind;
use crate::io::{load_weights, write_atomic};
use crate::models::{Architecture, Head, load_pretrained};
use crate::{Engine, Error, Result, Tensor};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// How many images an update takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchSize {
    /// This many.
    Is(usize),
    /// 64, or fewer where an epoch would have fewer than 20 updates.
    Usual,
    /// The most that fit the device, up to 512 (64 on the CPU, where more gain nothing), with 20 updates in
    /// an epoch.
    Auto,
}

/// All that a run depends on, but for the device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// What [`ImageSet::open`] reads.
    pub data: PathBuf,
    /// The share of the images that the network is judged by; where the data has a part for that, that
    /// part unless a share is given, else 0.2.
    pub val: Option<f64>,
    /// Images to judge by, of the same classes.
    pub val_dir: Option<PathBuf>,
    /// One of [`names`](crate::models::names).
    pub model: String,
    /// Height and width of the network's input; that of the images, up to 64, unless set.
    pub image_size: Option<usize>,
    /// Weights to start from.
    pub weights: Option<PathBuf>,
    /// How images are varied; [`Augment::Strong`] blends them too, unless the training's options say how.
    pub augment: Augment,
    /// Whether images of rare classes count more, so that all classes count the same.
    pub balance: bool,
    /// Images per update.
    pub batch_size: BatchSize,
    /// The rest, of which `batch_size`, `checkpoint` and `class_weights` follow from the run.
    pub train: TrainOptions,
}

impl Settings {
    /// What `kiln train DATA` does.
    pub fn new(data: impl Into<PathBuf>) -> Settings {
        Settings {
            data: data.into(),
            val: None,
            val_dir: None,
            model: "kiln-small".into(),
            image_size: None,
            weights: None,
            augment: Augment::Light,
            balance: false,
            batch_size: BatchSize::Usual,
            train: TrainOptions::default(),
        }
    }

    /// The settings of an earlier run in folder `out`; none where there was no run.
    pub fn load(out: impl AsRef<Path>) -> Result<Option<Settings>> {
        let path = out.as_ref().join(SETTINGS);
        match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(&path, error)),
            Ok(bytes) => serde_json::from_slice::<Manifest>(&bytes)
                .map(|manifest| Some(manifest.settings))
                .map_err(|error| Error::file(&path, error.to_string())),
        }
    }
}

/// What a run's folder says of it.
#[derive(Serialize, Deserialize)]
struct Manifest {
    settings: Settings,
    /// The images that were seen, so that a run does not go on with others.
    images: u64,
}

const SETTINGS: &str = "settings.json";
const CHECKPOINT: &str = "checkpoint.safetensors";
const MODEL: &str = "model.safetensors";
const METRICS: &str = "metrics.csv";
const REPORT: &str = "report.html";
/// The most mistakes that the report shows.
const SHOWN: usize = 24;
/// Bytes of decoded images that are kept.
const CACHE: usize = 1 << 30;
/// Mixup and cutmix of strong augmentation, as in torchvision's recipes.
const STRONG: (f64, f64) = (0.2, 1.0);
/// The fewest updates of an epoch that batches are made smaller for.
const UPDATES: usize = 20;
/// The largest images that a network gets unless a size is asked for.
const USUAL_SIZE: usize = 64;

/// A run that is ready to train.
pub struct Run {
    settings: Settings,
    options: TrainOptions,
    classifier: ImageClassifier,
    train: ImageSet,
    validation: ImageSet,
    notes: Vec<String>,
}

/// What a run came to.
pub struct Outcome {
    /// The epochs that are complete.
    pub history: Vec<EpochRecord>,
    /// What the best epoch's network says of the validation images.
    pub evaluation: Evaluation,
    /// The model file of that network.
    pub model: PathBuf,
    /// The report.
    pub report: PathBuf,
}

impl Run {
    /// Opens and checks the data and builds the network.
    ///
    /// An error where the data cannot be used, the model or the weights do not fit, or a setting is out of
    /// range.
    pub fn prepare(settings: &Settings, engine: &Engine) -> Result<Run> {
        let opened = ImageSet::open(&settings.data)?;
        let mut notes = Vec::new();
        let (train, validation) = match (&settings.val_dir, opened.test, settings.val) {
            (Some(folder), _, None) => (opened.train, ImageSet::open(folder)?.train),
            (Some(_), _, Some(_)) => {
                return Err(Error::op("train", "both a share and a folder to judge by: give one of them"));
            }
            (None, Some(test), None) => {
                notes.push("judged by the data's own validation or test part".to_string());
                (opened.train, test)
            }
            (None, _, share) => opened.train.split(share.unwrap_or(0.2), settings.train.seed)?,
        };
        if train.classes() != validation.classes() {
            let message = format!(
                "the classes to learn are {}, those to judge by {}: both need the same ones",
                train.classes().join(", "),
                validation.classes().join(", ")
            );
            return Err(Error::op("train", message));
        }
        let typical = train.typical();
        let usual = typical.height.max(typical.width).min(USUAL_SIZE);
        let size = settings.image_size.unwrap_or(usual);
        let preprocessing = Preprocessing::of(&train, size, typical.channels)?;
        let architecture = Architecture {
            name: settings.model.clone(),
            classes: train.classes().len(),
            channels: typical.channels,
            image_size: size,
        };
        let classes = train.classes().to_vec();
        let classifier =
            ImageClassifier::new(engine, settings.train.seed, architecture, classes, preprocessing)?;
        if let Some(weights) = &settings.weights {
            let state = dequantize(load_weights(weights)?, weights)?;
            let head = load_pretrained(classifier.params(), classifier.network(), &state, weights)?;
            notes.push(match head {
                Head::Loaded => "starts from all of the weights given".to_string(),
                Head::Kept { file_classes } => {
                    format!("starts from the weights given but for their head, which is for {file_classes} classes")
                }
            });
        }
        let mut options = settings.train.clone();
        if settings.balance {
            options.class_weights = Some(balanced(&train.counts()));
        }
        if settings.augment == Augment::Strong && (options.mixup, options.cutmix) == (0.0, 0.0) {
            (options.mixup, options.cutmix) = STRONG;
        }
        options.check(train.classes().len())?;
        let gentle = settings.weights.is_some()
            || ["vit", "convnext"].iter().any(|kind| settings.model.starts_with(kind));
        if gentle && options.lr == LearningRate::Usual {
            options.lr = LearningRate::Is(1e-3);
        }
        let mut run = Run { settings: settings.clone(), options, classifier, train, validation, notes };
        run.options.batch_size = run.batch_size()?;
        Ok(run)
    }

    /// Trains, and writes to folder `out`, which is made if need be: `model.safetensors`, the network of
    /// the best epoch, with `metrics.csv` after each epoch, `checkpoint.safetensors` for
    /// [`resume`](Run::resume), TensorBoard events, and at the end `report.html`.
    ///
    /// An error where `out` holds another run already, the training fails, or a file cannot be written.
    pub fn train(&self, out: impl AsRef<Path>, watch: &mut dyn Watch) -> Result<Outcome> {
        let out = out.as_ref();
        if Settings::load(out)?.is_some() {
            let message = "holds a run already: go on with it (--resume), or choose another folder (--out)";
            return Err(Error::file(out, message));
        }
        fs::create_dir_all(out).map_err(|error| Error::io(out, error))?;
        let manifest = Manifest { settings: self.settings.clone(), images: self.fingerprint()? };
        let path = out.join(SETTINGS);
        let text =
            serde_json::to_vec_pretty(&manifest).map_err(|error| Error::file(&path, error.to_string()))?;
        write_atomic(&path, |file| file.write_all(&text))?;
        self.run(out, watch)
    }

    /// Goes on with the run in folder `out` from its checkpoint; from its start where there is none yet.
    /// The result is that of a run that was never stopped.
    ///
    /// An error where the folder holds no run, one with other settings or other images, or as for
    /// [`train`](Run::train).
    pub fn resume(&self, out: impl AsRef<Path>, watch: &mut dyn Watch) -> Result<Outcome> {
        let (out, path) = (out.as_ref(), out.as_ref().join(SETTINGS));
        let bytes = fs::read(&path).map_err(|error| Error::io(&path, error))?;
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|error| Error::file(&path, error.to_string()))?;
        if manifest.settings != self.settings {
            return Err(Error::file(&path, "the run has other settings than it began with"));
        }
        if manifest.images != self.fingerprint()? {
            let data = self.settings.data.display();
            return Err(Error::file(&path, format!("the images in {data} are not those the run began with")));
        }
        self.run(out, watch)
    }

    fn run(&self, out: &Path, watch: &mut dyn Watch) -> Result<Outcome> {
        let train = self.images(&self.train)?.augment(self.settings.augment, self.options.seed).cache(CACHE);
        let (train, judged) = (Arc::new(train), Arc::new(self.images(&self.validation)?.cache(CACHE)));
        let validation: Arc<dyn Dataset> = judged.clone();
        let checkpoint = out.join(CHECKPOINT);
        let options = TrainOptions { checkpoint: Some(checkpoint.clone()), ..self.options.clone() };
        let (network, params) = (self.classifier.network(), self.classifier.params());
        let mut trainer = Trainer::new(network, params, train.clone(), validation.clone(), options)?;
        let history = if checkpoint.exists() {
            trainer.resume(&checkpoint)?;
            read_metrics(&out.join(METRICS)).unwrap_or_default()
        } else {
            Vec::new()
        };
        let mut keeper = Keeper {
            out,
            classifier: &self.classifier,
            events: EventWriter::create(out)?,
            history,
            updates: trainer.updates_per_epoch(),
            watch,
        };
        let history = trainer.run(&mut keeper)?;
        for file in train.failed().iter().chain(&judged.failed()) {
            keeper.note(&format!("another image stood in for {}: {}", file.name, file.reason));
        }
        let model = out.join(MODEL);
        if history.is_empty() {
            let message =
                "stopped before the first epoch was complete: there is no model yet, --resume goes on";
            return Err(Error::file(out, message));
        }
        let best = ImageClassifier::load(&model, params.engine())?;
        let predictions = predict(best.network(), best.params(), &validation, self.options.batch_size)?;
        let evaluation = Evaluation::new(best.classes(), &predictions.probabilities, &predictions.labels)?;
        let report = out.join(REPORT);
        let html = self.report(&history, trainer.learning_rates(), &evaluation)?;
        write_atomic(&report, |file| file.write_all(html.as_bytes()))?;
        Ok(Outcome { history, evaluation, model, report })
    }

    /// The network, its classes and its preprocessing.
    pub fn classifier(&self) -> &ImageClassifier {
        &self.classifier
    }

    /// The images to learn from; their [`skipped`](ImageSet::skipped) and
    /// [`warnings`](ImageSet::warnings) are those of the data.
    pub fn training_images(&self) -> &ImageSet {
        &self.train
    }

    /// The images to judge by.
    pub fn validation_images(&self) -> &ImageSet {
        &self.validation
    }

    /// The training's options, with what follows from the data.
    pub fn options(&self) -> &TrainOptions {
        &self.options
    }

    /// What a user should know of the choices made.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    fn images(&self, set: &ImageSet) -> Result<Images> {
        Images::new(set.clone(), self.classifier.preprocessing().clone())
    }

    fn batch_size(&self) -> Result<usize> {
        let fitting = (self.train.len() / UPDATES / self.options.accumulate).max(1);
        // Rounded down to a power of two.
        let at_most =
            |limit: usize| fitting.clamp(8.min(limit), limit).checked_ilog2().map_or(1, |log| 1 << log);
        let engine = self.classifier.params().engine();
        match self.settings.batch_size {
            BatchSize::Is(size) => Ok(size),
            BatchSize::Usual => Ok(at_most(64)),
            BatchSize::Auto if engine.kind() == DeviceKind::Cpu => Ok(at_most(64)),
            BatchSize::Auto => {
                let mut size = at_most(512);
                while size > 1 && !self.fits(size)? {
                    size /= 2;
                }
                Ok(size)
            }
        }
    }

    /// Whether the device has memory for the gradients of this many images.
    fn fits(&self, images: usize) -> Result<bool> {
        let Preprocessing { channels, size, .. } = *self.classifier.preprocessing();
        let (network, params) = (self.classifier.network(), self.classifier.params());
        let attempt = || {
            let input = Tensor::zeros([images, channels, size, size], params.engine())?;
            let loss = network.forward(&input)?.square()?.mean(.., false)?;
            loss.backward()?.compute(params.buffers())
        };
        match without_trace(params, attempt) {
            Ok(()) => Ok(true),
            Err(Error::OutOfMemory { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn report(&self, history: &[EpochRecord], rates: &[f32], evaluation: &Evaluation) -> Result<String> {
        let thumbnail = |index: usize| {
            let (image, name) = (self.validation.decode(index)?, self.validation.name(index)?);
            Ok(Thumbnail { image, name })
        };
        let mistakes = evaluation.mistakes.iter().take(SHOWN).map(|mistake| thumbnail(mistake.index));
        let thumbnails = mistakes.collect::<Result<Vec<_>>>()?;
        let rates: Vec<(usize, f64)> = rates.iter().map(|&rate| f64::from(rate)).enumerate().collect();
        let counts = [
            ("training".to_string(), self.train.counts()),
            ("validation".to_string(), self.validation.counts()),
        ];
        let skipped =
            self.train.skipped().iter().map(|file| format!("skipped {}: {}", file.name, file.reason));
        let warnings: Vec<String> = self.train.warnings().iter().cloned().chain(skipped).collect();
        let engine = self.classifier.params().engine();
        let page = Report {
            title: &self.settings.data.display().to_string(),
            device: engine.name(),
            settings: &self.table()?,
            history,
            learning_rates: &rates,
            evaluation,
            counts: &counts,
            thumbnails: &thumbnails,
            warnings: &warnings,
        };
        page.html()
    }

    /// The settings as names and values.
    fn table(&self) -> Result<Vec<(String, String)>> {
        let Preprocessing { channels, size, .. } = self.classifier.preprocessing();
        let json = |settings: serde_json::Result<serde_json::Value>| {
            settings.map_err(|error| Error::op("report", error.to_string()))
        };
        let mut settings = json(serde_json::to_value(&self.settings))?;
        // What was made of them is more than what was asked for.
        settings["train"] = json(serde_json::to_value(&self.options))?;
        let mut rows = vec![
            ("input".to_string(), format!("{channels}x{size}x{size}")),
            ("parameters".to_string(), self.classifier.params().count().to_string()),
        ];
        let parts =
            [&settings, &settings["train"]].into_iter().filter_map(serde_json::Value::as_object).flatten();
        for (name, value) in parts.filter(|(_, value)| !value.is_null()) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_string);
            if name != "train" {
                rows.push((name.clone(), text));
            }
        }
        Ok(rows)
    }

    /// A number that other images, or the same with other labels, are unlikely to have.
    fn fingerprint(&self) -> Result<u64> {
        let mut hash = crc32fast::Hasher::new();
        for set in [&self.train, &self.validation] {
            for index in 0..set.len() {
                // The file's name, not where the data lies.
                let name = set.name(index)?;
                hash.update(Path::new(&name).file_name().unwrap_or_default().as_encoded_bytes());
                hash.update(&set.label(index)?.to_le_bytes());
            }
        }
        Ok(u64::from(hash.finalize()))
    }
}

/// Weights that make all classes count the same, with a mean of 1 over the images.
fn balanced(counts: &[usize]) -> Vec<f64> {
    let present = counts.iter().filter(|&&count| count > 0).count() as f64;
    let images = counts.iter().sum::<usize>() as f64;
    counts.iter().map(|&count| if count == 0 { 0.0 } else { images / (present * count as f64) }).collect()
}

/// Keeps what a run writes while it trains.
struct Keeper<'a> {
    out: &'a Path,
    classifier: &'a ImageClassifier,
    events: EventWriter,
    history: Vec<EpochRecord>,
    updates: usize,
    watch: &'a mut dyn Watch,
}

impl Watch for Keeper<'_> {
    fn images(&mut self, epoch: u32, images: usize, loss: f64) {
        self.watch.images(epoch, images, loss);
    }

    fn epoch(&mut self, record: &EpochRecord, best: bool) -> Result<()> {
        if best {
            self.classifier.save(self.out.join(MODEL), Precision::F32)?;
        }
        // An epoch that was cut off after its line was written is written again.
        self.history.retain(|old| old.epoch < record.epoch);
        self.history.push(*record);
        write_metrics(&self.out.join(METRICS), &self.history)?;
        let step = u64::from(record.epoch) * self.updates as u64;
        let now = SystemTime::now();
        for (tag, value) in [
            ("loss/train", record.train_loss),
            ("loss/validation", record.val_loss),
            ("accuracy/train", record.train_accuracy),
            ("accuracy/validation", record.val_accuracy),
            ("learning_rate", record.learning_rate),
            ("images_per_second", record.images_per_second),
        ] {
            self.events.scalar(tag, step, value, now)?;
        }
        self.events.flush()?;
        self.watch.epoch(record, best)
    }

    fn note(&mut self, text: &str) {
        self.watch.note(text);
    }

    fn stopped(&mut self) -> bool {
        self.watch.stopped()
    }
}
