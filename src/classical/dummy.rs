//! Baselines that look at the target alone: what any model must beat.

use super::data::{Classes, Matrix, Training};
use super::estimator::{Classifier, FitClassifier, FitRegressor, Parameters, Regressor};
use super::params::{model, params};
use super::registry::{DynClassifier, DynRegressor, Entry, classifier, regressor};
use crate::Result;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

pub(super) const CLASSIFIERS: &[Entry<dyn DynClassifier, dyn Classifier>] =
    &[classifier::<DummyClassifierParams>()];
pub(super) const REGRESSORS: &[Entry<dyn DynRegressor, dyn Regressor>] =
    &[regressor::<DummyRegressorParams>()];

/// A classifier that always predicts the most frequent class, with the shares of the classes as
/// probabilities.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DummyClassifier {
    n_features: usize,
    classes: Vec<i64>,
    class_prior: Vec<f64>,
}

params! {
    /// Parameters of [`DummyClassifier`]; there are none (scikit-learn's strategy `prior`).
    DummyClassifierParams for DummyClassifier = "DummyClassifier" {}
}

impl FitClassifier for DummyClassifierParams {
    type Model = DummyClassifier;

    fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<DummyClassifier> {
        let counts = data.y.counts(data.weights.as_deref());
        let total: f64 = counts.iter().sum();
        let class_prior = counts.iter().map(|count| count / total).collect();
        Ok(DummyClassifier { n_features: data.x.columns(), classes: data.y.values.clone(), class_prior })
    }
}

impl Classifier for DummyClassifier {
    fn classes(&self) -> &[i64] {
        &self.classes
    }

    fn predict_codes(&self, x: &Matrix<'_>) -> Result<Vec<usize>> {
        let prior = &self.class_prior;
        let most =
            (0..prior.len()).fold(0, |best, class| if prior[class] > prior[best] { class } else { best });
        Ok(vec![most; x.rows()])
    }

    fn probabilities(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        Ok(Some(Array2::from_shape_fn((x.rows(), self.classes.len()), |(_, class)| self.class_prior[class])))
    }
}

model!(
    DummyClassifier = "DummyClassifier",
    fn is_consistent(&self) -> bool {
        !self.classes.is_empty() && self.class_prior.len() == self.classes.len()
    }
);

/// A regressor that always predicts the mean of the targets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DummyRegressor {
    n_features: usize,
    mean: f64,
}

params! {
    /// Parameters of [`DummyRegressor`]; there are none (scikit-learn's strategy `mean`).
    DummyRegressorParams for DummyRegressor = "DummyRegressor" {}
}

impl FitRegressor for DummyRegressorParams {
    type Model = DummyRegressor;

    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<DummyRegressor> {
        let weights = || (0..data.y.len()).map(|row| data.weight(row));
        let mean = weights().zip(&data.y).map(|(weight, y)| weight * y).sum::<f64>() / weights().sum::<f64>();
        if !mean.is_finite() {
            return Err(Self::error("the targets are too large"));
        }
        Ok(DummyRegressor { n_features: data.x.columns(), mean })
    }
}

impl Regressor for DummyRegressor {
    fn predict_rows(&self, x: &Matrix<'_>) -> Result<Vec<f64>> {
        Ok(vec![self.mean; x.rows()])
    }
}

model!(DummyRegressor = "DummyRegressor");
