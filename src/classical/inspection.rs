//! What a model looks at.

use super::data::{Features, Matrix, check_weights};
use super::estimator::Model;
use super::model_selection::Learner;
use super::random;
use crate::{Error, Result};
use rayon::prelude::*;

/// How much the score falls, on average over `n_repeats` shuffles, when the values of a column are shuffled:
/// one number for each column (Breiman, 2001). `scoring` is the name of a score, accuracy or R2 without
/// one; `L` is [`AnyClassifier`](super::AnyClassifier) or [`AnyRegressor`](super::AnyRegressor).
///
/// # Errors
/// Data that the model refuses, a `y` of another length, an unknown score.
pub fn permutation_importance<L: Learner>(
    model: &L::Model,
    x: &dyn Features,
    y: &L::Truth<'_>,
    scoring: Option<&str>,
    n_repeats: usize,
    seed: u64,
) -> Result<Vec<f64>> {
    let name = "permutation_importance";
    let input = model.input(x)?;
    let (truth, weights) = L::truth(y);
    if truth.len() != input.rows() || n_repeats == 0 {
        let message = format!("{} rows, {} of y, {n_repeats} repeats", input.rows(), truth.len());
        return Err(Error::op(name, message));
    }
    if let Some(weights) = &weights {
        check_weights(name, truth.len(), weights)?;
    }
    let scorer = L::scorer(scoring.unwrap_or(L::SCORING))?;
    let dense = input.dense();
    let whole = scorer(model, &input, &truth, weights.as_deref())?;
    let importance = |column: usize| -> Result<f64> {
        let mut rng = random::stream(seed, column);
        let mut shuffled = dense.to_owned();
        let mut sum = 0.0;
        for _ in 0..n_repeats {
            let order = random::permutation(&mut rng, truth.len());
            order.iter().enumerate().for_each(|(row, &from)| shuffled[[row, column]] = dense[[from, column]]);
            sum += whole - scorer(model, &Matrix::Dense(shuffled.view().into()), &truth, weights.as_deref())?;
        }
        Ok(sum / n_repeats as f64)
    };
    (0..dense.ncols()).into_par_iter().map(importance).collect()
}
