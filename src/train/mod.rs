//! What surrounds the training of an image classifier: how good it became, and what is written about it.

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
