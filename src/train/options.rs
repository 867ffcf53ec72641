//! What a training run is asked for.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The greatest learning rate of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LearningRate {
    /// 4e-3; for a [`Run`](super::Run) that starts from weights, or of a transformer or a network built like
    /// one (ConvNeXt), 1e-3.
    Usual,
    /// This one.
    Is(f64),
    /// What the [range test](super::find_learning_rate) says before the first epoch.
    Auto,
}

/// How a [`Trainer`](super::Trainer) trains; the default is what `kiln train` does.
///
/// The optimiser is AdamW, its rate a [`OneCycle`](crate::optim::OneCycle) over all epochs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainOptions {
    /// Passes over the training images; 20.
    pub epochs: u32,
    /// Images per update of the parameters; 64.
    pub batch_size: usize,
    /// In how many pieces the images of an update pass through the network, for large batches in
    /// little memory; 1. Doubled by itself where the device runs out of memory.
    pub accumulate: usize,
    /// The greatest learning rate; the usual one.
    pub lr: LearningRate,
    /// AdamW's decay of the weights; 0.05. Biases and the parameters of norms do not decay.
    pub weight_decay: f64,
    /// The share of each label that is spread over all classes; 0.1.
    pub label_smoothing: f64,
    /// A weight of the loss for each class; none.
    pub class_weights: Option<Vec<f64>>,
    /// The parameter of the Beta distribution that images are blended by (Zhang et al. 2017,
    /// arXiv:1710.09412); 0, which is never.
    pub mixup: f64,
    /// The parameter of the Beta distribution that says how much of an image is replaced by a part of
    /// another (Yun et al. 2019, arXiv:1905.04899); 0, which is never.
    pub cutmix: f64,
    /// The largest norm of all gradients together; 5.
    pub clip_norm: Option<f64>,
    /// The share of the old in an exponential moving average of the weights, an update at a time: the
    /// average is what is judged and saved; none.
    pub ema: Option<f64>,
    /// Whether the network runs in [mixed precision](crate::autocast): less memory; false.
    pub amp: bool,
    /// Epochs without a better result after which to stop; none.
    pub patience: Option<u32>,
    /// Epochs in which only the head is trained, before all of the network is; 0.
    pub freeze: u32,
    /// Seed of the order of the images, mixup and cutmix.
    pub seed: u64,
    /// The file that the state of the training is kept in; none.
    pub checkpoint: Option<PathBuf>,
    /// Seconds between two checkpoints within an epoch; 60. There is one at the end of each epoch too.
    pub checkpoint_seconds: f64,
}

impl Default for TrainOptions {
    fn default() -> TrainOptions {
        TrainOptions {
            epochs: 20,
            batch_size: 64,
            accumulate: 1,
            lr: LearningRate::Usual,
            weight_decay: 0.05,
            label_smoothing: 0.1,
            class_weights: None,
            mixup: 0.0,
            cutmix: 0.0,
            clip_norm: Some(5.0),
            ema: None,
            amp: false,
            patience: None,
            freeze: 0,
            seed: 0,
            checkpoint: None,
            checkpoint_seconds: 60.0,
        }
    }
}

impl TrainOptions {
    /// An error that names the first option out of its range; what the optimiser, the schedule and the
    /// loss check themselves is left to them.
    pub(super) fn check(&self, classes: usize) -> Result<()> {
        let refuse = |message: String| Err(Error::op("train", message));
        if self.epochs == 0 || self.batch_size == 0 || self.accumulate == 0 {
            return refuse(format!(
                "epochs, batch_size and accumulate must be 1 or more, got {}, {} and {}",
                self.epochs, self.batch_size, self.accumulate
            ));
        }
        if self.freeze >= self.epochs {
            return refuse(format!(
                "{} of {} epochs with a frozen network leave none to train it",
                self.freeze, self.epochs
            ));
        }
        for (name, alpha) in [("mixup", self.mixup), ("cutmix", self.cutmix)] {
            if !(alpha.is_finite() && alpha >= 0.0) {
                return refuse(format!("{name} is {alpha}, expected 0 or more"));
            }
        }
        if self.ema.is_some_and(|decay| !(0.0..1.0).contains(&decay)) {
            return refuse(format!("ema is {:?}, expected from 0 to below 1", self.ema));
        }
        if let Some(weights) = &self.class_weights {
            let usable = |weight: &f64| weight.is_finite() && *weight >= 0.0;
            if weights.len() != classes || !weights.iter().all(usable) || weights.iter().all(|&w| w == 0.0) {
                return refuse(format!(
                    "class_weights are {weights:?}, expected {classes} numbers of 0 or more, not all 0"
                ));
            }
        }
        Ok(())
    }
}
