//! Scores of class probabilities and decision values.

use super::{same_length, sample_weights, weighted_mean};
use crate::classical::data::{Labels, Targets, checked_targets};
use crate::{Error, Result};
use ndarray::{ArrayView1, ArrayView2};
use serde::{Deserialize, Serialize};

/// The position of each true label in `classes`, and the weights; `scores` has a column for each class.
fn coded(
    name: &'static str,
    y_true: &dyn Labels,
    scores: ArrayView2<'_, f64>,
    classes: &[i64],
) -> Result<(Vec<usize>, Vec<f64>)> {
    let labels = y_true.labels();
    same_length(name, labels.len(), scores.nrows())?;
    if scores.ncols() != classes.len() {
        let message = format!("{} columns of scores for {} classes", scores.ncols(), classes.len());
        return Err(Error::op(name, message));
    }
    if let Some(((row, column), value)) = scores.indexed_iter().find(|(_, value)| !value.is_finite()) {
        return Err(Error::op(name, format!("the scores hold {value} at row {row}, column {column}")));
    }
    let code = |label: &i64| {
        let found = classes.iter().position(|class| class == label);
        found.ok_or_else(|| Error::op(name, format!("label {label} is not one of the classes {classes:?}")))
    };
    let codes = labels.iter().map(code).collect::<Result<_>>()?;
    Ok((codes, sample_weights(name, labels.len(), y_true.weights())?))
}

fn check_probabilities(name: &'static str, probabilities: ArrayView2<'_, f64>) -> Result<()> {
    for (row, values) in probabilities.rows().into_iter().enumerate() {
        if values.iter().any(|value| !(0.0..=1.0).contains(value)) || (values.sum() - 1.0).abs() > 1e-4 {
            return Err(Error::op(name, format!("row {row} is {values}: these are no probabilities")));
        }
    }
    Ok(())
}

/// Checked probabilities of the positive class, whether each sample is positive, and the weights.
pub(super) fn binary(
    name: &'static str,
    y_true: &dyn Labels,
    scores: &dyn Targets,
    positive: i64,
) -> Result<(Vec<bool>, Vec<f64>, Vec<f64>)> {
    let (labels, scores) = (y_true.labels(), checked_targets(name, scores)?);
    same_length(name, labels.len(), scores.len())?;
    let weights = sample_weights(name, labels.len(), y_true.weights())?;
    Ok((labels.iter().map(|&label| label == positive).collect(), scores, weights))
}

/// The mean of minus the logarithm of the true class's probability, in nats. `classes` are the labels
/// of the columns.
///
/// # Errors
/// Another number of rows or classes, a label that is none of the classes, numbers that are no
/// probabilities, wrong weights.
pub fn log_loss(y_true: &dyn Labels, probabilities: ArrayView2<'_, f64>, classes: &[i64]) -> Result<f64> {
    let (codes, weights) = coded("log_loss", y_true, probabilities, classes)?;
    check_probabilities("log_loss", probabilities)?;
    let probability = |(row, &code): (usize, &usize)| probabilities[[row, code]];
    let losses = codes.iter().enumerate().map(probability);
    Ok(weighted_mean(losses.map(|p| -p.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()), &weights))
}

/// The mean squared error of the positive class's probability (Brier, 1950).
///
/// # Errors
/// Columns of different lengths, or empty; numbers that are no probabilities; wrong weights.
pub fn brier_score_loss(y_true: &dyn Labels, probability: &dyn Targets, positive: i64) -> Result<f64> {
    let (truth, probability, weights) = binary("brier_score_loss", y_true, probability, positive)?;
    if let Some(row) = probability.iter().position(|p| !(0.0..=1.0).contains(p)) {
        let value = probability[row];
        return Err(Error::op("brier_score_loss", format!("{value} at row {row} is no probability")));
    }
    let errors = truth.iter().zip(&probability).map(|(&truth, p)| (p - f64::from(u8::from(truth))).powi(2));
    Ok(weighted_mean(errors, &weights))
}

/// The share of samples whose class is among the `k` with the highest scores; of equal scores the later
/// columns come first.
///
/// # Errors
/// As [`log_loss`], and a `k` of 0.
pub fn top_k_accuracy_score(
    y_true: &dyn Labels,
    scores: ArrayView2<'_, f64>,
    classes: &[i64],
    k: usize,
) -> Result<f64> {
    let (codes, weights) = coded("top_k_accuracy_score", y_true, scores, classes)?;
    if k == 0 {
        return Err(Error::op("top_k_accuracy_score", "k is 0; it must be 1 or more"));
    }
    let found = codes.iter().zip(scores.rows()).map(|(&code, row)| {
        let before =
            |(column, &score): (usize, &f64)| score > row[code] || score == row[code] && column > code;
        f64::from(u8::from(row.iter().enumerate().filter(|&place| before(place)).count() < k))
    });
    Ok(weighted_mean(found, &weights))
}

/// The mean of `max(0, 1 - margin)`: the margin is the decision value towards the true class of two
/// (one column), or its lead over the best other class (Crammer and Singer, 2001).
///
/// # Errors
/// As [`log_loss`].
pub fn hinge_loss(y_true: &dyn Labels, decision: ArrayView2<'_, f64>, classes: &[i64]) -> Result<f64> {
    let name = "hinge_loss";
    if let ([_, positive], 1) = (classes, decision.ncols()) {
        let (truth, values, weights) = binary(name, y_true, &decision.column(0), *positive)?;
        let margins = truth.iter().zip(values).map(|(&truth, value)| if truth { value } else { -value });
        return Ok(weighted_mean(margins.map(|margin| (1.0 - margin).max(0.0)), &weights));
    }
    let (codes, weights) = coded(name, y_true, decision, classes)?;
    let margin = |code: usize, row: ArrayView1<'_, f64>| {
        let others = row.iter().enumerate().filter(|&(column, _)| column != code);
        row[code] - others.map(|(_, &score)| score).fold(f64::NEG_INFINITY, f64::max)
    };
    let losses = codes.iter().zip(decision.rows()).map(|(&code, row)| (1.0 - margin(code, row)).max(0.0));
    Ok(weighted_mean(losses, &weights))
}

/// How probabilities are put into bins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bins {
    /// Bins of equal width.
    #[default]
    Uniform,
    /// Bins of equally many samples.
    Quantile,
}

/// The share of positive samples against the mean predicted probability, bin by bin (empty bins are left
/// out): `(prob_true, prob_pred)`.
///
/// # Errors
/// As [`brier_score_loss`], and fewer than 1 bin.
pub fn calibration_curve(
    y_true: &dyn Labels,
    probability: &dyn Targets,
    positive: i64,
    n_bins: usize,
    strategy: Bins,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let name = "calibration_curve";
    let (truth, probability, _) = binary(name, y_true, probability, positive)?;
    if n_bins == 0 || probability.iter().any(|p| !(0.0..=1.0).contains(p)) {
        return Err(Error::op(name, "it needs at least 1 bin and probabilities between 0 and 1"));
    }
    let quantile = |q: f64| {
        let mut sorted = probability.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        crate::classical::preprocessing::quantile_sorted(&sorted, q)
    };
    let inner = (1..n_bins).map(|bin| bin as f64 / n_bins as f64);
    let edges: Vec<f64> = match strategy {
        Bins::Uniform => inner.collect(),
        Bins::Quantile => inner.map(quantile).collect(),
    };
    let bins = calibration_bins(&truth, &probability, &edges);
    Ok(bins.iter().filter(|bin| bin[2] > 0.0).map(|bin| (bin[0] / bin[2], bin[1] / bin[2])).unzip())
}

/// Positive samples, the sum of probabilities and all samples of each bin; `edges` are those between bins,
/// ascending, and belong to the lower one.
pub(crate) fn calibration_bins(truth: &[bool], probability: &[f64], edges: &[f64]) -> Vec<[f64; 3]> {
    let mut bins = vec![[0.0; 3]; edges.len() + 1];
    for (&truth, &p) in truth.iter().zip(probability) {
        let bin = &mut bins[edges.partition_point(|&edge| edge < p)];
        *bin = [bin[0] + f64::from(u8::from(truth)), bin[1] + p, bin[2] + 1.0];
    }
    bins
}
