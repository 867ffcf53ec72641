//! Training image classifiers: the loop, what is judged and written about it, and the model file.
//!
//! [`Run`] is `kiln train` as functions; [`Trainer`] is its loop, for any [`Classifier`](crate::models::Classifier)
//! and any [`Dataset`](crate::data::Dataset).
//!
//! ```no_run
//! use kiln::Engine;
//! use kiln::train::{ImageClassifier, Run, Settings};
//!
//! let engine = Engine::auto();
//! let run = Run::prepare(&Settings::new("photos"), &engine)?;
//! let outcome = run.train("runs/photos", &mut ())?;
//! println!("{}", outcome.evaluation);
//!
//! let classifier = ImageClassifier::load(outcome.model, &engine)?;
//! let image = kiln::data::decode_file("new.jpg")?;
//! println!("{:?}: {:?}", classifier.classes(), classifier.predict(&[image])?[0]);
//! # Ok::<(), kiln::Error>(())
//! ```

mod checkpoint;
mod classifier;
mod evaluation;
mod finder;
mod mix;
mod options;
mod predict;
mod quantize;
mod record;
mod report;
mod run;
mod tensorboard;
mod trainer;

pub use classifier::ImageClassifier;
pub use evaluation::{Calibration, CalibrationBin, ClassResult, ConfusedPair, Evaluation, Mistake, TopK};
pub use finder::{LearningRateCurve, find_learning_rate};
pub use options::{LearningRate, TrainOptions};
pub use predict::{Predictions, predict};
pub use quantize::Precision;
pub use record::{EpochRecord, read_metrics, write_metrics};
pub use report::{Report, Thumbnail};
pub use run::{BatchSize, Outcome, Run, Settings};
pub use tensorboard::EventWriter;
pub use trainer::{Trainer, Watch};
