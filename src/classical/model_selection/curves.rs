//! How scores change with the number of rows or with a parameter.

use super::learner::Learner;
use super::split::{Fold, Splitter};
use super::validate::Data;
use crate::classical::Features;
use crate::parallel;
use crate::{Error, Result};
use serde_json::{Map, Value};

/// One point of a curve; the lists have a score for each fold.
#[derive(Debug, Clone, PartialEq)]
pub struct CurvePoint {
    /// The rows learned from, or the parameter's value.
    pub at: Value,
    /// Scores on the rows learned from.
    pub train_scores: Vec<f64>,
    /// Scores on the rows left out.
    pub test_scores: Vec<f64>,
}

fn point<L: Learner>(
    learner: &L,
    data: &Data<'_, L>,
    folds: &[Fold],
    scoring: Option<&str>,
    at: Value,
) -> Result<CurvePoint> {
    let scorer = L::scorer(scoring.unwrap_or(L::SCORING))?;
    let run = |fold: &Fold| {
        let train = data.part(&fold.train);
        let model = train.learn(learner)?;
        Ok((train.score(&model, &scorer)?, data.part(&fold.test).score(&model, &scorer)?))
    };
    let scores = parallel::try_map(folds, run)?;
    let (train_scores, test_scores) = scores.into_iter().unzip();
    Ok(CurvePoint { at, train_scores, test_scores })
}

/// Scores after learning from the first rows of each fold: `train_sizes` are shares of them, above 0 and
/// at most 1.
///
/// # Errors
/// A share outside that range, and as [`super::cross_validate`].
pub fn learning_curve<L: Learner>(
    learner: &L,
    x: &dyn Features,
    y: &L::Truth<'_>,
    cv: &dyn Splitter,
    scoring: Option<&str>,
    train_sizes: &[f64],
) -> Result<Vec<CurvePoint>> {
    let data = Data::checked("learning_curve", learner, x, y)?;
    let folds = data.folds(cv)?;
    let most = folds.iter().map(|fold| fold.train.len()).min().unwrap_or(0);
    let at = |&share: &f64| {
        if !(share > 0.0 && share <= 1.0) {
            return Err(Error::op(
                "learning_curve",
                format!("a train size of {share}; it must be above 0, at most 1"),
            ));
        }
        let rows = (share * most as f64) as usize;
        let cut = |fold: &Fold| Fold { train: fold.train[..rows].to_vec(), test: fold.test.clone() };
        let folds: Vec<Fold> = folds.iter().map(cut).collect();
        point(learner, &data, &folds, scoring, rows.into())
    };
    train_sizes.iter().map(at).collect()
}

/// Scores for each value of the parameter called `name`.
///
/// # Errors
/// An unknown parameter, and as [`super::cross_validate`].
pub fn validation_curve<L: Learner>(
    learner: &L,
    x: &dyn Features,
    y: &L::Truth<'_>,
    cv: &dyn Splitter,
    scoring: Option<&str>,
    (name, values): (&str, &[Value]),
) -> Result<Vec<CurvePoint>> {
    let data = Data::checked("validation_curve", learner, x, y)?;
    let folds = data.folds(cv)?;
    let at = |value: &Value| {
        let learner = learner.with(&Map::from_iter([(name.to_owned(), value.clone())]))?;
        point(&learner, &data, &folds, scoring, value.clone())
    };
    values.iter().map(at).collect()
}
