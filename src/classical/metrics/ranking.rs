//! Gains of rankings.

use crate::classical::order;
use crate::{Error, Result};
use ndarray::{ArrayView1, ArrayView2};

/// Matrices of one shape, not empty, of finite numbers.
pub(super) fn check_matrices(
    name: &'static str,
    y_true: ArrayView2<'_, f64>,
    y_score: ArrayView2<'_, f64>,
) -> Result<()> {
    if y_true.dim() != y_score.dim() || y_true.is_empty() {
        let (truth, scores) = (y_true.dim(), y_score.dim());
        return Err(Error::op(
            name,
            format!("y_true is {truth:?} and y_score {scores:?}; they need one shape"),
        ));
    }
    match y_true.iter().chain(&y_score).find(|value| !value.is_finite()) {
        Some(value) => Err(Error::op(name, format!("the matrices hold {value}"))),
        None => Ok(()),
    }
}

pub(super) fn row_mean(
    y_true: ArrayView2<'_, f64>,
    y_score: ArrayView2<'_, f64>,
    score: impl Fn(ArrayView1<'_, f64>, ArrayView1<'_, f64>) -> f64,
) -> f64 {
    let rows = y_true.rows().into_iter().zip(y_score.rows());
    rows.map(|(truth, scores)| score(truth, scores)).sum::<f64>() / y_true.nrows() as f64
}

/// The gain of the first `k` places, divided by the binary logarithm of the place plus 1. Equal scores
/// share the mean of their gains.
fn gain(truth: ArrayView1<'_, f64>, scores: ArrayView1<'_, f64>, k: Option<usize>) -> f64 {
    let mut order: Vec<usize> = (0..truth.len()).collect();
    order::descending(&mut order, &scores.to_vec());
    let discount =
        |place: usize| if k.is_some_and(|k| place >= k) { 0.0 } else { 1.0 / (place as f64 + 2.0).log2() };
    let (mut total, mut place) = (0.0, 0);
    for tied in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let mean = tied.iter().map(|&at| truth[at]).sum::<f64>() / tied.len() as f64;
        total += mean * (place..place + tied.len()).map(discount).sum::<f64>();
        place += tied.len();
    }
    total
}

/// The discounted cumulative gain: the true relevances `[samples, items]` in the order of the scores,
/// each divided by the binary logarithm of its place plus 1; `k` limits the places (Järvelin and
/// Kekäläinen, 2002).
///
/// # Errors
/// Matrices of different shapes, or empty; numbers that are not finite.
pub fn dcg_score(y_true: ArrayView2<'_, f64>, y_score: ArrayView2<'_, f64>, k: Option<usize>) -> Result<f64> {
    check_matrices("dcg_score", y_true, y_score)?;
    Ok(row_mean(y_true, y_score, |truth, scores| gain(truth, scores, k)))
}

/// The discounted cumulative gain over that of the best order, between 0 and 1; 0 where nothing is
/// relevant.
///
/// # Errors
/// As [`dcg_score`], and negative relevances.
pub fn ndcg_score(
    y_true: ArrayView2<'_, f64>,
    y_score: ArrayView2<'_, f64>,
    k: Option<usize>,
) -> Result<f64> {
    check_matrices("ndcg_score", y_true, y_score)?;
    if y_true.iter().any(|&value| value < 0.0) {
        return Err(Error::op("ndcg_score", "y_true holds negative relevances"));
    }
    Ok(row_mean(y_true, y_score, |truth, scores| {
        let best = gain(truth, truth, k);
        if best == 0.0 { 0.0 } else { gain(truth, scores, k) / best }
    }))
}
