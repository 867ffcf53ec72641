//! The state of a training run in one file.

use super::EpochRecord;
use crate::io::StateDict;
use crate::optim::GradScaler;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// How far a run has come: with the tensors of a checkpoint, all that the rest of it depends on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Epochs that are complete.
    pub epoch: u32,
    /// Batches of the epoch after those.
    pub batch: usize,
    /// Updates since the start.
    pub step: usize,
    /// Sums over the batches of the unfinished epoch.
    pub sums: Sums,
    /// Random draws of the forward passes.
    pub draws: u64,
    /// In how many pieces an update's images pass through the network.
    pub pieces: usize,
    /// The greatest learning rate.
    pub lr: f64,
    pub scaler: GradScaler,
    pub history: Vec<EpochRecord>,
    /// The learning rate of every update.
    pub learning_rates: Vec<f32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sums {
    pub loss: f64,
    pub right: f64,
    pub images: usize,
    pub seconds: f64,
}

/// The parts of a checkpoint, each with the names of its tensors.
pub(super) struct Checkpoint {
    pub progress: Progress,
    pub model: StateDict,
    pub optimizer: StateDict,
    pub average: Option<StateDict>,
}

const PROGRESS: &str = "progress";

impl Checkpoint {
    pub fn save(self, path: &Path) -> Result<()> {
        let progress =
            serde_json::to_string(&self.progress).map_err(|error| Error::file(path, error.to_string()))?;
        let mut all = StateDict::default();
        let parts = [("model", Some(self.model)), ("optimizer", Some(self.optimizer)), ("ema", self.average)];
        for (part, state) in parts {
            let Some(state) = state else { continue };
            all.tensors
                .extend(state.tensors.into_iter().map(|(key, value)| (format!("{part}.{key}"), value)));
            let named = state.metadata.into_iter().map(|(key, value)| (format!("{part}.{key}"), value));
            all.metadata.extend(named);
        }
        all.metadata.insert(PROGRESS.into(), progress);
        all.save(path)
    }

    pub fn load(path: &Path) -> Result<Checkpoint> {
        let mut all = StateDict::load(path)?;
        let Some(progress) = all.metadata.remove(PROGRESS) else {
            return Err(Error::file(path, "not a checkpoint of a training run: it holds no progress"));
        };
        let progress = serde_json::from_str(&progress)
            .map_err(|error| Error::file(path, format!("its progress cannot be read: {error}")))?;
        let mut part = |name: &str| {
            let prefix = format!("{name}.");
            let mut state = StateDict::default();
            let strip = |key: &String| key.strip_prefix(&prefix).map(str::to_string);
            let keys: Vec<_> =
                all.tensors.keys().filter_map(|key| Some((key.clone(), strip(key)?))).collect();
            for (key, name) in keys {
                state.tensors.extend(all.tensors.remove(&key).map(|tensor| (name, tensor)));
            }
            state.metadata =
                all.metadata.iter().filter_map(|(key, value)| Some((strip(key)?, value.clone()))).collect();
            state
        };
        let (model, optimizer, average) = (part("model"), part("optimizer"), part("ema"));
        let average = (!average.tensors.is_empty()).then_some(average);
        Ok(Checkpoint { progress, model, optimizer, average })
    }
}
