//! Scores of multi-label rankings: `y_true` is 1 where a label belongs to a sample, else 0; `y_score` is
//! what each label was scored, `[samples, labels]` both.

use super::ranking::{check_matrices, row_mean};
use crate::{Error, Result};
use ndarray::{ArrayView1, ArrayView2};

type Row<'a> = ArrayView1<'a, f64>;

fn scored(
    name: &'static str,
    y_true: ArrayView2<'_, f64>,
    y_score: ArrayView2<'_, f64>,
    score: impl Fn(Row<'_>, Row<'_>) -> f64,
) -> Result<f64> {
    check_matrices(name, y_true, y_score)?;
    if y_true.iter().any(|&value| value != 0.0 && value != 1.0) {
        return Err(Error::op(name, "y_true holds other numbers than 0 and 1"));
    }
    Ok(row_mean(y_true, y_score, score))
}

/// How far down the ranking one must go, on average, to cover all true labels.
///
/// # Errors
/// Matrices of different shapes, or empty; truth other than 0 and 1; scores that are not finite.
pub fn coverage_error(y_true: ArrayView2<'_, f64>, y_score: ArrayView2<'_, f64>) -> Result<f64> {
    scored("coverage_error", y_true, y_score, |truth, scores| {
        let relevant = truth.iter().zip(scores).filter(|(truth, _)| **truth == 1.0).map(|(_, &score)| score);
        let lowest = relevant.fold(f64::INFINITY, f64::min);
        scores.iter().filter(|&&score| score >= lowest).count() as f64
    })
}

/// For each true label, the share of true labels among those ranked at least as high; the mean.
///
/// # Errors
/// As [`coverage_error`].
pub fn label_ranking_average_precision_score(
    y_true: ArrayView2<'_, f64>,
    y_score: ArrayView2<'_, f64>,
) -> Result<f64> {
    scored("label_ranking_average_precision_score", y_true, y_score, |truth, scores| {
        let relevant = truth.sum();
        if relevant == 0.0 || relevant == truth.len() as f64 {
            return 1.0;
        }
        let mut sum = 0.0;
        for (_, &score) in truth.iter().zip(scores).filter(|(truth, _)| **truth == 1.0) {
            let above = truth.iter().zip(scores).filter(|(_, other)| **other >= score);
            let (hits, all) = above.fold((0.0, 0.0), |(hits, all), (truth, _)| (hits + truth, all + 1.0));
            sum += hits / all;
        }
        sum / relevant
    })
}

/// The share of pairs of a true and a false label that are ranked the wrong way round or equal.
///
/// # Errors
/// As [`coverage_error`].
pub fn label_ranking_loss(y_true: ArrayView2<'_, f64>, y_score: ArrayView2<'_, f64>) -> Result<f64> {
    scored("label_ranking_loss", y_true, y_score, |truth, scores| {
        let (relevant, all) = (truth.sum(), truth.len() as f64);
        if relevant == 0.0 || relevant == all {
            return 0.0;
        }
        let pairs = || truth.iter().zip(scores);
        let wrong: usize = pairs()
            .filter(|(truth, _)| **truth == 1.0)
            .map(|(_, score)| pairs().filter(|(other, at)| **other == 0.0 && *at >= score).count())
            .sum();
        wrong as f64 / (relevant * (all - relevant))
    })
}
