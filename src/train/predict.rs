//! What a model says of a data set.

use crate::data::{DataLoader, Dataset};
use crate::models::Classifier;
use crate::nn::Params;
use crate::{Error, Result, no_grad};
use std::sync::Arc;

/// The probabilities that a model gives to the samples of a data set, and their labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    /// `[N, classes]`, row-major.
    pub probabilities: Vec<f32>,
    /// One for each sample.
    pub labels: Vec<i32>,
    loss: f64,
    right: usize,
}

impl Predictions {
    /// The share of samples whose most probable class is their label; the first of several.
    pub fn accuracy(&self) -> f64 {
        self.right as f64 / self.labels.len() as f64
    }

    /// The mean cross-entropy.
    pub fn loss(&self) -> f64 {
        self.loss / self.labels.len() as f64
    }
}

/// Runs a model over a data set in evaluation mode, `batch_size` samples at a time, or fewer where memory
/// runs out. The mode is what it was afterwards. An error where a sample cannot be read, or does not fit the model.
pub fn predict(
    model: &dyn Classifier,
    params: &Params,
    dataset: &Arc<dyn Dataset>,
    batch_size: usize,
) -> Result<Predictions> {
    let training = params.is_training();
    params.eval();
    let (mut size, mut predictions) = (batch_size, run(model, params, dataset, batch_size));
    while size > 1 && matches!(predictions, Err(Error::OutOfMemory { .. })) {
        size = size.div_ceil(2);
        predictions = run(model, params, dataset, size);
    }
    if training {
        params.train();
    }
    predictions
}

fn run(
    model: &dyn Classifier,
    params: &Params,
    dataset: &Arc<dyn Dataset>,
    batch_size: usize,
) -> Result<Predictions> {
    let mut all = Predictions { probabilities: Vec::new(), labels: Vec::new(), loss: 0.0, right: 0 };
    for batch in DataLoader::new(dataset.clone(), batch_size)?.epoch(0) {
        let batch = batch?;
        let (images, _) = batch.tensors(params.engine())?;
        let logs = no_grad(|| model.forward(&images)?.log_softmax(1))?;
        let classes = logs.dims().last().copied().unwrap_or(1).max(1);
        for (row, &label) in logs.to_vec::<f32>()?.chunks_exact(classes).zip(&batch.labels) {
            let label = label as usize;
            all.loss -= f64::from(row.get(label).copied().unwrap_or(f32::NEG_INFINITY));
            let highest =
                (0..classes).reduce(|best, class| if row[class] > row[best] { class } else { best });
            all.right += usize::from(highest == Some(label));
            all.probabilities.extend(row.iter().map(|log| log.exp()));
        }
        all.labels.extend(batch.labels);
    }
    Ok(all)
}
