//! Scores by name, as cross-validation and searches ask for them: more is always better.

use super::*;
use crate::classical::data::Matrix;
use crate::classical::estimator::{Classifier, Regressor};

/// A score of a classifier on checked rows with these labels (and weights, where they carry them).
pub type ClassifierScorer = fn(&dyn Classifier, &Matrix<'_>, &dyn Labels) -> Result<f64>;
/// A score of a regressor on checked rows with these targets.
pub type RegressorScorer = fn(&dyn Regressor, &Matrix<'_>, &dyn Targets) -> Result<f64>;

fn labels(model: &dyn Classifier, x: &Matrix<'_>) -> Result<Vec<i64>> {
    let codes = model.predict_codes(x)?;
    Ok(codes.into_iter().map(|code| model.classes()[code]).collect())
}

fn probabilities(model: &dyn Classifier, x: &Matrix<'_>) -> Result<ndarray::Array2<f64>> {
    model.probabilities(x)?.ok_or_else(|| Error::op(model.name(), "this model gives no probabilities"))
}

/// A score for the second of two classes: the decision function, or the probability.
fn ranking(model: &dyn Classifier, x: &Matrix<'_>) -> Result<(Vec<f64>, i64)> {
    let &[_, positive] = model.classes() else {
        let message = format!("{} classes; this score is for two", model.classes().len());
        return Err(Error::op(model.name(), message));
    };
    let scores = match model.scores(x)? {
        Some(scores) => scores,
        None => probabilities(model, x)?,
    };
    Ok((scores.column(scores.ncols() - 1).to_vec(), positive))
}

/// The greater of two labels, as scikit-learn's `pos_label = 1` has it.
fn positive(model: &dyn Classifier) -> Average {
    Average::Binary(model.classes().last().copied().unwrap_or(1))
}

fn multiclass(
    model: &dyn Classifier,
    x: &Matrix<'_>,
    y: &dyn Labels,
    multi_class: MultiClass,
) -> Result<f64> {
    if model.classes().len() == 2 {
        let (scores, positive) = ranking(model, x)?;
        return roc_auc_score(y, &scores, positive);
    }
    roc_auc_score_multiclass(y, probabilities(model, x)?.view(), model.classes(), multi_class)
}

const CLASSIFIER: &[(&str, ClassifierScorer)] = &[
    ("accuracy", |m, x, y| accuracy_score(y, &labels(m, x)?)),
    ("balanced_accuracy", |m, x, y| balanced_accuracy_score(y, &labels(m, x)?)),
    ("precision", |m, x, y| precision_score(y, &labels(m, x)?, positive(m))),
    ("precision_micro", |m, x, y| precision_score(y, &labels(m, x)?, Average::Micro)),
    ("precision_macro", |m, x, y| precision_score(y, &labels(m, x)?, Average::Macro)),
    ("precision_weighted", |m, x, y| precision_score(y, &labels(m, x)?, Average::Weighted)),
    ("recall", |m, x, y| recall_score(y, &labels(m, x)?, positive(m))),
    ("recall_micro", |m, x, y| recall_score(y, &labels(m, x)?, Average::Micro)),
    ("recall_macro", |m, x, y| recall_score(y, &labels(m, x)?, Average::Macro)),
    ("recall_weighted", |m, x, y| recall_score(y, &labels(m, x)?, Average::Weighted)),
    ("f1", |m, x, y| f1_score(y, &labels(m, x)?, positive(m))),
    ("f1_micro", |m, x, y| f1_score(y, &labels(m, x)?, Average::Micro)),
    ("f1_macro", |m, x, y| f1_score(y, &labels(m, x)?, Average::Macro)),
    ("f1_weighted", |m, x, y| f1_score(y, &labels(m, x)?, Average::Weighted)),
    ("jaccard", |m, x, y| jaccard_score(y, &labels(m, x)?, positive(m))),
    ("jaccard_macro", |m, x, y| jaccard_score(y, &labels(m, x)?, Average::Macro)),
    ("matthews_corrcoef", |m, x, y| matthews_corrcoef(y, &labels(m, x)?)),
    ("neg_log_loss", |m, x, y| Ok(-log_loss(y, probabilities(m, x)?.view(), m.classes())?)),
    ("neg_brier_score", |m, x, y| {
        let (_, positive) = ranking(m, x)?;
        Ok(-brier_score_loss(y, &probabilities(m, x)?.column(1), positive)?)
    }),
    ("roc_auc", |m, x, y| {
        let (scores, positive) = ranking(m, x)?;
        roc_auc_score(y, &scores, positive)
    }),
    ("roc_auc_ovr", |m, x, y| multiclass(m, x, y, MultiClass::Ovr)),
    ("roc_auc_ovr_weighted", |m, x, y| multiclass(m, x, y, MultiClass::OvrWeighted)),
    ("roc_auc_ovo", |m, x, y| multiclass(m, x, y, MultiClass::Ovo)),
    ("roc_auc_ovo_weighted", |m, x, y| multiclass(m, x, y, MultiClass::OvoWeighted)),
    ("average_precision", |m, x, y| {
        let (scores, positive) = ranking(m, x)?;
        average_precision_score(y, &scores, positive)
    }),
    ("top_k_accuracy", |m, x, y| top_k_accuracy_score(y, probabilities(m, x)?.view(), m.classes(), 2)),
];

const REGRESSOR: &[(&str, RegressorScorer)] = &[
    ("r2", |m, x, y| r2_score(y, &m.predict_rows(x)?)),
    ("explained_variance", |m, x, y| explained_variance_score(y, &m.predict_rows(x)?)),
    ("neg_mean_squared_error", |m, x, y| Ok(-mean_squared_error(y, &m.predict_rows(x)?)?)),
    ("neg_root_mean_squared_error", |m, x, y| Ok(-root_mean_squared_error(y, &m.predict_rows(x)?)?)),
    ("neg_mean_absolute_error", |m, x, y| Ok(-mean_absolute_error(y, &m.predict_rows(x)?)?)),
    ("neg_median_absolute_error", |m, x, y| Ok(-median_absolute_error(y, &m.predict_rows(x)?)?)),
    ("neg_mean_absolute_percentage_error", |m, x, y| {
        Ok(-mean_absolute_percentage_error(y, &m.predict_rows(x)?)?)
    }),
    ("neg_mean_squared_log_error", |m, x, y| Ok(-mean_squared_log_error(y, &m.predict_rows(x)?)?)),
    ("neg_max_error", |m, x, y| Ok(-max_error(y, &m.predict_rows(x)?)?)),
    ("neg_mean_poisson_deviance", |m, x, y| Ok(-mean_poisson_deviance(y, &m.predict_rows(x)?)?)),
    ("neg_mean_gamma_deviance", |m, x, y| Ok(-mean_gamma_deviance(y, &m.predict_rows(x)?)?)),
    ("d2_absolute_error_score", |m, x, y| d2_absolute_error_score(y, &m.predict_rows(x)?)),
];

fn by_name<S: Copy>(scorers: &[(&str, S)], name: &str) -> Result<S> {
    let found = scorers.iter().find(|(known, _)| *known == name).map(|(_, scorer)| *scorer);
    found.ok_or_else(|| {
        let names: Vec<&str> = scorers.iter().map(|(name, _)| *name).collect();
        Error::op("scoring", format!("no score is called {name:?}; there are {}", names.join(", ")))
    })
}

/// The score of classifiers with one of scikit-learn's names (`accuracy`, `f1_macro`, `roc_auc_ovr`,
/// `neg_log_loss`, ...).
///
/// # Errors
/// An unknown name; the error lists those there are.
pub fn classifier_scorer(name: &str) -> Result<ClassifierScorer> {
    by_name(CLASSIFIER, name)
}

/// The score of regressors with one of scikit-learn's names (`r2`, `neg_mean_squared_error`, ...).
///
/// # Errors
/// An unknown name; the error lists those there are.
pub fn regressor_scorer(name: &str) -> Result<RegressorScorer> {
    by_name(REGRESSOR, name)
}
