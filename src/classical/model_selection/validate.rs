//! Cross-validation.

use super::learner::{Learner, Scorer};
use super::split::{Fold, Splitter};
use crate::classical::data::{Matrix, check_weights, checked_features};
use crate::classical::{Features, Model};
use crate::parallel;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::time::Instant;

/// What cross-validation measured; each list has a number for each fold.
#[derive(Debug, Clone, PartialEq)]
pub struct CrossValidation {
    /// The scores on the rows judged, by their names.
    pub test_scores: BTreeMap<String, Vec<f64>>,
    /// The scores on the rows learned from, by their names.
    pub train_scores: BTreeMap<String, Vec<f64>>,
    /// Seconds of the fits.
    pub fit_seconds: Vec<f64>,
    /// Seconds of the scores on the rows judged.
    pub score_seconds: Vec<f64>,
}

/// Checked data that folds are cut from.
pub(super) struct Data<'a, L: Learner> {
    pub x: Matrix<'a>,
    pub y: Vec<L::Value>,
    pub weights: Option<Vec<f64>>,
}

/// Some rows of the data.
pub(super) struct Part<L: Learner> {
    pub x: Matrix<'static>,
    pub y: Vec<L::Value>,
    pub weights: Option<Vec<f64>>,
}

impl<'a, L: Learner> Data<'a, L> {
    pub fn checked(name: &'static str, learner: &L, x: &'a dyn Features, y: &L::Truth<'_>) -> Result<Self> {
        let x = checked_features(name, learner.accepts(), x)?;
        let (y, weights) = L::truth(y);
        if y.len() != x.rows() {
            return Err(Error::op(name, format!("x has {} rows but y has {}", x.rows(), y.len())));
        }
        if let Some(weights) = &weights {
            check_weights(name, y.len(), weights)?;
        }
        Ok(Data { x, y, weights })
    }

    pub fn folds(&self, cv: &dyn Splitter) -> Result<Vec<Fold>> {
        let folds = cv.split(self.y.len(), L::labels(&self.y).as_deref())?;
        let rows = self.y.len();
        let within = |fold: &Fold| fold.train.iter().chain(&fold.test).all(|&row| row < rows);
        if folds.is_empty() || !folds.iter().all(within) {
            return Err(Error::op("cross_validate", "the splitter gave no fold, or rows that are not there"));
        }
        Ok(folds)
    }

    pub fn part(&self, rows: &[usize]) -> Part<L> {
        Part {
            x: self.x.select(rows),
            y: rows.iter().map(|&row| self.y[row]).collect(),
            weights: self.weights.as_ref().map(|weights| rows.iter().map(|&row| weights[row]).collect()),
        }
    }
}

impl<L: Learner> Part<L> {
    pub fn learn(&self, learner: &L) -> Result<Box<L::Model>> {
        learner.learn(&self.x, &self.y, self.weights.as_deref())
    }

    pub fn score(&self, model: &L::Model, scorer: &Scorer<L>) -> Result<f64> {
        scorer(model, &model.input(&self.x)?, &self.y, self.weights.as_deref())
    }
}

/// Learns from each fold and scores, with scores of these names, what was left out and what was learned
/// from. The weights of a `weighted` truth count in fits and scores.
///
/// ```
/// use kiln::classical::model_selection::{KFold, cross_validate};
/// use kiln::classical::{AnyRegressor, prelude::*};
/// use ndarray::Array2;
///
/// let x = Array2::from_shape_fn((20, 2), |(row, column)| (row * (column + 3) % 7) as f64);
/// let y: Vec<f64> = x.rows().into_iter().map(|row| 2.0 * row[0] - row[1]).collect();
/// let ridge = AnyRegressor::from(Ridge::params().alpha(1e-6));
/// let result = cross_validate(&ridge, &x, &y, &KFold::new(5), &["r2", "neg_mean_absolute_error"])?;
/// assert!(result.test_scores["r2"].iter().all(|&r2| r2 > 0.99));
/// # Ok::<(), kiln::Error>(())
/// ```
///
/// # Errors
/// Data that the estimator refuses, a splitter that does not fit it, an unknown score; the first fold that
/// cannot be learned from or scored.
pub fn cross_validate<L: Learner>(
    learner: &L,
    x: &dyn Features,
    y: &L::Truth<'_>,
    cv: &dyn Splitter,
    scoring: &[&str],
) -> Result<CrossValidation> {
    let data = Data::checked("cross_validate", learner, x, y)?;
    let scorers: Vec<Scorer<L>> = scoring.iter().map(|name| L::scorer(name)).collect::<Result<_>>()?;
    let run = |fold: &Fold| {
        let (train, test) = (data.part(&fold.train), data.part(&fold.test));
        let start = Instant::now();
        let model = train.learn(learner)?;
        let fitted = start.elapsed().as_secs_f64();
        let scores = |part: &Part<L>| -> Result<Vec<f64>> {
            scorers.iter().map(|scorer| part.score(&model, scorer)).collect()
        };
        let start = Instant::now();
        let of_test = scores(&test)?;
        let scored = start.elapsed().as_secs_f64();
        Ok(Outcome { of_test, of_train: scores(&train)?, fitted, scored })
    };
    let outcomes: Vec<Outcome> = parallel::try_map(&data.folds(cv)?, run)?;
    let named = |pick: fn(&Outcome) -> &[f64]| {
        let column = |(at, name): (usize, &&str)| {
            ((*name).to_owned(), outcomes.iter().map(|outcome| pick(outcome)[at]).collect())
        };
        scoring.iter().enumerate().map(column).collect()
    };
    Ok(CrossValidation {
        test_scores: named(|outcome| &outcome.of_test),
        train_scores: named(|outcome| &outcome.of_train),
        fit_seconds: outcomes.iter().map(|outcome| outcome.fitted).collect(),
        score_seconds: outcomes.iter().map(|outcome| outcome.scored).collect(),
    })
}

/// What one fold gave: scores in the order they were asked for, and seconds.
struct Outcome {
    of_test: Vec<f64>,
    of_train: Vec<f64>,
    fitted: f64,
    scored: f64,
}

/// The score of each fold on what was left out: `scoring`, or accuracy for classifiers and R2 for
/// regressors.
///
/// # Errors
/// As [`cross_validate`].
pub fn cross_val_score<L: Learner>(
    learner: &L,
    x: &dyn Features,
    y: &L::Truth<'_>,
    cv: &dyn Splitter,
    scoring: Option<&str>,
) -> Result<Vec<f64>> {
    let scoring = scoring.unwrap_or(L::SCORING);
    let mut result = cross_validate(learner, x, y, cv, &[scoring])?;
    Ok(result.test_scores.remove(scoring).unwrap_or_default())
}

/// For each row, the prediction of the model that did not learn from it.
///
/// # Errors
/// As [`cross_validate`], and a splitter that does not judge each row exactly once.
pub fn cross_val_predict<L: Learner>(
    learner: &L,
    x: &dyn Features,
    y: &L::Truth<'_>,
    cv: &dyn Splitter,
) -> Result<Vec<L::Value>> {
    let data = Data::checked("cross_val_predict", learner, x, y)?;
    let folds = data.folds(cv)?;
    let mut judged: Vec<usize> = folds.iter().flat_map(|fold| fold.test.iter().copied()).collect();
    judged.sort_unstable();
    if !judged.iter().copied().eq(0..data.y.len()) {
        return Err(Error::op("cross_val_predict", "the splitter must judge each row exactly once"));
    }
    let run = |fold: &Fold| {
        let model = data.part(&fold.train).learn(learner)?;
        L::predict(&model, &data.x.select(&fold.test))
    };
    let predictions: Vec<Vec<L::Value>> = parallel::try_map(&folds, run)?;
    let mut all = data.y.clone();
    for (fold, values) in folds.iter().zip(predictions) {
        fold.test.iter().zip(values).for_each(|(&row, value)| all[row] = value);
    }
    Ok(all)
}
