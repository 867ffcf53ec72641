//! Scores of predictions against the truth, with scikit-learn's names and meaning.
//!
//! Where scikit-learn takes `sample_weight`, give the truth as [`weighted`](super::weighted)`(&y, &weights)`.

mod classification;
mod clustering;
mod confusion;
mod curves;
mod labels;
mod probabilities;
mod ranking;
mod regression;
mod scorers;

pub use classification::*;
pub use clustering::*;
pub use confusion::{Average, ClassScores, ConfusionMatrix};
pub use curves::*;
pub use labels::*;
pub(crate) use probabilities::calibration_bins;
pub use probabilities::*;
pub use ranking::*;
pub use regression::*;
pub use scorers::{ClassifierScorer, RegressorScorer, classifier_scorer, regressor_scorer};

use super::data::{Labels, Targets, check_weights, checked_targets};
use crate::{Error, Result};

/// Columns of one length, at least 1.
fn same_length(name: &'static str, truth: usize, predicted: usize) -> Result<()> {
    if truth != predicted || truth == 0 {
        let message = format!(
            "y_true has {truth} values and y_pred {predicted}; they need the same number, at least 1"
        );
        return Err(Error::op(name, message));
    }
    Ok(())
}

/// The weight of each sample, 1 where none was given.
fn sample_weights(name: &'static str, rows: usize, given: Option<&[f64]>) -> Result<Vec<f64>> {
    match given {
        None => Ok(vec![1.0; rows]),
        Some(weights) => check_weights(name, rows, weights).map(|()| weights.to_vec()),
    }
}

/// Checked labels: truth, prediction and weights of one length.
fn label_pairs(
    name: &'static str,
    y_true: &dyn Labels,
    y_pred: &dyn Labels,
) -> Result<(Vec<i64>, Vec<i64>, Vec<f64>)> {
    let (truth, predicted) = (y_true.labels(), y_pred.labels());
    same_length(name, truth.len(), predicted.len())?;
    let weights = sample_weights(name, truth.len(), y_true.weights())?;
    Ok((truth, predicted, weights))
}

/// Checked targets: finite truth, prediction and weights of one length.
fn target_pairs(
    name: &'static str,
    y_true: &dyn Targets,
    y_pred: &dyn Targets,
) -> Result<(Vec<f64>, Vec<f64>, Vec<f64>)> {
    let (truth, predicted) = (checked_targets(name, y_true)?, y_pred.targets());
    if let Some(row) = predicted.iter().position(|value| !value.is_finite()) {
        return Err(Error::op(name, format!("y_pred holds {} at row {row}", predicted[row])));
    }
    same_length(name, truth.len(), predicted.len())?;
    let weights = sample_weights(name, truth.len(), y_true.weights())?;
    Ok((truth, predicted, weights))
}

/// The weighted mean of values.
fn weighted_mean(values: impl Iterator<Item = f64>, weights: &[f64]) -> f64 {
    values.zip(weights).map(|(value, weight)| value * weight).sum::<f64>() / weights.iter().sum::<f64>()
}
