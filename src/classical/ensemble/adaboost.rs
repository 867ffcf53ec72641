//! AdaBoost: SAMME for classes (Zhu, Zou, Rosset and Hastie: Multi-class AdaBoost, 2009) and R2 for
//! numbers (Drucker: Improving Regressors using Boosting Techniques, 1997).

use super::members::{dense_accepts, knows, member_codes};
use crate::Result;
use crate::classical::data::{Accepts, Classes, Matrix, Training};
use crate::classical::estimator::{Classifier, FitClassifier, FitRegressor, Parameters, Regressor};
use crate::classical::parallel;
use crate::classical::params::{model, params};
use crate::classical::persist::Boxed;
use crate::classical::random;
use crate::classical::registry::{AnyClassifier, AnyRegressor};
use crate::classical::tree::{DecisionTreeClassifier, DecisionTreeRegressor, largest, weighted_quantile};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// A fitted AdaBoost classifier.
#[derive(Debug, Serialize, Deserialize)]
pub struct AdaBoostClassifier {
    n_features: usize,
    classes: Vec<i64>,
    estimators: Vec<Boxed<dyn Classifier>>,
    estimator_weights: Vec<f64>,
    estimator_errors: Vec<f64>,
}

params! {
    /// Parameters of [`AdaBoostClassifier`]: each estimator learns with more weight on the samples that
    /// the ones before it got wrong.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let (x, y) = (array![[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]], [0, 0, 1, 1, 0, 0]);
    /// let model = AdaBoostClassifier::params().n_estimators(10).fit(&x, &y)?;
    /// assert_eq!(model.predict(&x)?.to_vec(), y);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    AdaBoostClassifierParams for AdaBoostClassifier = "AdaBoostClassifier" {
        /// What is boosted; it must take sample weights.
        estimator: AnyClassifier = DecisionTreeClassifier::params().max_depth(1).into(),
        /// The most estimators; fewer if one makes no error.
        n_estimators: usize = 50,
        /// How much each estimator counts, above 0.
        learning_rate: f64 = 1.0,
    }

    fn accepts(&self) -> Accepts {
        dense_accepts([self.estimator.0.accepts()])
    }

    fn check(&self) -> Result<()> {
        check(Self::NAME, self.n_estimators, self.learning_rate)
    }
}

fn check(name: &'static str, n_estimators: usize, learning_rate: f64) -> Result<()> {
    if n_estimators > 0 && learning_rate > 0.0 && learning_rate.is_finite() {
        return Ok(());
    }
    let message =
        format!("n_estimators is {n_estimators}, learning_rate {learning_rate}; both must be above 0");
    Err(crate::Error::op(name, message))
}

/// Scales weights to the sum 1; `false` if that is not possible.
fn normalise(weights: &mut [f64]) -> bool {
    let total: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|weight| *weight /= total);
    total.is_finite() && total > 0.0
}

impl FitClassifier for AdaBoostClassifierParams {
    type Model = AdaBoostClassifier;

    fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<AdaBoostClassifier> {
        // Each round sorts the columns for a tree.
        let work = 32 * data.x.rows() * data.x.columns();
        parallel::within(work, || self.boost(data))
    }
}

impl AdaBoostClassifierParams {
    fn boost(&self, data: &Training<'_, Classes>) -> Result<AdaBoostClassifier> {
        let classes = data.y.values.len() as f64;
        let mut weights: Vec<f64> = (0..data.x.rows()).map(|row| data.weight(row)).collect();
        normalise(&mut weights);
        let mut model = AdaBoostClassifier {
            n_features: data.x.columns(),
            classes: data.y.values.clone(),
            estimators: Vec::new(),
            estimator_weights: Vec::new(),
            estimator_errors: Vec::new(),
        };
        for _ in 0..self.n_estimators {
            let estimator = self.estimator.0.fit_boxed(&data.x, &data.y.codes, Some(&weights))?;
            let wrong = member_codes(&*estimator, &data.x)?;
            let wrong: Vec<bool> =
                wrong.iter().zip(&data.y.codes).map(|(code, truth)| code != truth).collect();
            let error: f64 =
                weights.iter().zip(&wrong).filter(|(_, wrong)| **wrong).map(|(weight, _)| weight).sum();
            if error >= 1.0 - 1.0 / classes {
                if model.estimators.is_empty() {
                    return Err(Self::error(format!(
                        "the estimator is wrong in {:.0} % of the weight, no better than chance; it cannot be boosted",
                        error * 100.0
                    )));
                }
                break;
            }
            let weight = if error <= 0.0 {
                1.0
            } else {
                self.learning_rate * (((1.0 - error) / error).ln() + (classes - 1.0).ln())
            };
            model.estimators.push(Boxed(estimator));
            model.estimator_weights.push(weight);
            model.estimator_errors.push(error);
            if error <= 0.0 {
                break;
            }
            for (sample, _) in weights.iter_mut().zip(&wrong).filter(|(_, wrong)| **wrong) {
                *sample *= weight.exp();
            }
            if !normalise(&mut weights) {
                return Err(Self::error("the sample weights overflow; use a smaller learning_rate"));
            }
        }
        Ok(model)
    }
}

impl AdaBoostClassifier {
    /// The fitted estimators; their classes are positions in [`Classifier::classes`].
    pub fn estimators(&self) -> &[Boxed<dyn Classifier>] {
        &self.estimators
    }

    /// How much each estimator counts.
    pub fn estimator_weights(&self) -> &[f64] {
        &self.estimator_weights
    }

    /// The weighted error of each estimator when it was fitted.
    pub fn estimator_errors(&self) -> &[f64] {
        &self.estimator_errors
    }

    /// For each class the weight of the estimators for it, less that of those against it shared between
    /// the other classes.
    fn votes(&self, x: &Matrix<'_>) -> Result<Array2<f64>> {
        let classes = self.classes.len();
        let total: f64 = self.estimator_weights.iter().sum();
        let mut votes = Array2::zeros((x.rows(), classes));
        for (estimator, &weight) in self.estimators.iter().zip(&self.estimator_weights) {
            for (code, mut row) in member_codes(&**estimator, x)?.into_iter().zip(votes.rows_mut()) {
                for (class, vote) in row.iter_mut().enumerate() {
                    *vote += if class == code { weight } else { -weight / (classes - 1) as f64 } / total;
                }
            }
        }
        Ok(votes)
    }
}

impl Classifier for AdaBoostClassifier {
    fn classes(&self) -> &[i64] {
        &self.classes
    }

    fn predict_codes(&self, x: &Matrix<'_>) -> Result<Vec<usize>> {
        Ok(self.votes(x)?.rows().into_iter().map(|row| largest(&row.to_vec())).collect())
    }

    fn probabilities(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        // Both for two classes and for more this is softmax of the votes over classes - 1.
        let mut shares = self.votes(x)? / (self.classes.len() - 1) as f64;
        for mut row in shares.rows_mut() {
            let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            row.mapv_inplace(|vote| (vote - top).exp());
            let total = row.sum();
            row /= total;
        }
        Ok(Some(shares))
    }

    fn scores(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        let votes = self.votes(x)?;
        if self.classes.len() > 2 {
            return Ok(Some(votes));
        }
        let scores = &votes.column(1) - &votes.column(0);
        Ok(Some(scores.insert_axis(ndarray::Axis(1))))
    }
}

model!(
    AdaBoostClassifier = "AdaBoostClassifier",
    fn accepts(&self) -> Accepts {
        dense_accepts(self.estimators.iter().map(|estimator| estimator.accepts()))
    },
    fn is_consistent(&self) -> bool {
        let classes = self.classes.len();
        classes >= 2
            && self.estimators.iter().all(|estimator| knows(&**estimator, self.n_features, classes))
            && self.estimator_weights.len() == self.estimators.len()
    }
);

/// How the error of a sample counts, as a share of the largest error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdaBoostLoss {
    /// The share itself.
    #[default]
    Linear,
    /// Its square.
    Square,
    /// 1 - exp(-share).
    Exponential,
}

/// A fitted AdaBoost regressor.
#[derive(Debug, Serialize, Deserialize)]
pub struct AdaBoostRegressor {
    n_features: usize,
    estimators: Vec<Boxed<dyn Regressor>>,
    estimator_weights: Vec<f64>,
    estimator_errors: Vec<f64>,
}

params! {
    /// Parameters of [`AdaBoostRegressor`]: each estimator learns from samples drawn with more weight where
    /// the ones before it were far off; the prediction is their weighted median.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::Array2;
    ///
    /// let x = Array2::from_shape_fn((100, 2), |(row, column)| (row * (column + 3)) as f64 % 11.0);
    /// let y = &x.column(0) * &x.column(1);
    /// let model = AdaBoostRegressor::params().seed(1).fit(&x, &y)?;
    /// assert!(model.score(&x, &y)? > 0.9);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    AdaBoostRegressorParams for AdaBoostRegressor = "AdaBoostRegressor" {
        /// What is boosted.
        estimator: AnyRegressor = DecisionTreeRegressor::params().max_depth(3).into(),
        /// The most estimators; fewer if one is exact, or as bad as chance.
        n_estimators: usize = 50,
        /// How much each estimator counts, above 0.
        learning_rate: f64 = 1.0,
        /// How errors count.
        loss: AdaBoostLoss = AdaBoostLoss::Linear,
        /// Seed of the samples drawn.
        seed: u64 = 0,
    }

    fn accepts(&self) -> Accepts {
        dense_accepts([self.estimator.0.accepts()])
    }

    fn check(&self) -> Result<()> {
        check(Self::NAME, self.n_estimators, self.learning_rate)
    }
}

impl FitRegressor for AdaBoostRegressorParams {
    type Model = AdaBoostRegressor;

    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<AdaBoostRegressor> {
        let rows = data.x.rows();
        let mut weights: Vec<f64> = (0..rows).map(|row| data.weight(row)).collect();
        normalise(&mut weights);
        let mut model = AdaBoostRegressor {
            n_features: data.x.columns(),
            estimators: Vec::new(),
            estimator_weights: Vec::new(),
            estimator_errors: Vec::new(),
        };
        for round in 0..self.n_estimators {
            let mut rng = random::stream(self.seed, round);
            let drawn = random::weighted_many(&mut rng, &weights, rows);
            let targets: Vec<f64> = drawn.iter().map(|&row| data.y[row]).collect();
            let estimator = self.estimator.0.fit_boxed(&data.x.select(&drawn), &targets, None)?;
            let predicted = estimator.predict_rows(&data.x)?;
            let mut errors: Vec<f64> = predicted.iter().zip(&data.y).map(|(p, y)| (p - y).abs()).collect();
            let counted = errors.iter().zip(&weights).filter(|(_, weight)| **weight > 0.0);
            let top = counted.map(|(error, _)| *error).fold(0.0, f64::max);
            for error in errors.iter_mut().filter(|_| top > 0.0) {
                // What has no weight may be further off than the rest.
                *error = (*error / top).min(1.0);
                *error = match self.loss {
                    AdaBoostLoss::Linear => *error,
                    AdaBoostLoss::Square => *error * *error,
                    AdaBoostLoss::Exponential => 1.0 - (-*error).exp(),
                };
            }
            let error: f64 = errors.iter().zip(&weights).map(|(error, weight)| error * weight).sum();
            // As bad as chance; the first is kept so that there is one.
            if error >= 0.5 && round > 0 {
                break;
            }
            let beta = error / (1.0 - error);
            let exact = top <= 0.0 || error <= 0.0;
            let weight = if exact || error >= 0.5 { 1.0 } else { self.learning_rate * (1.0 / beta).ln() };
            model.estimators.push(Boxed(estimator));
            model.estimator_weights.push(weight);
            model.estimator_errors.push(error);
            if exact || error >= 0.5 {
                break;
            }
            for (weight, error) in weights.iter_mut().zip(&errors) {
                *weight *= beta.powf((1.0 - error) * self.learning_rate);
            }
            if !normalise(&mut weights) {
                return Err(Self::error("the sample weights vanish; use a smaller learning_rate"));
            }
        }
        Ok(model)
    }
}

impl AdaBoostRegressor {
    /// The fitted estimators.
    pub fn estimators(&self) -> &[Boxed<dyn Regressor>] {
        &self.estimators
    }

    /// How much each estimator counts.
    pub fn estimator_weights(&self) -> &[f64] {
        &self.estimator_weights
    }

    /// The mean error of each estimator when it was fitted, between 0 and 1.
    pub fn estimator_errors(&self) -> &[f64] {
        &self.estimator_errors
    }
}

impl Regressor for AdaBoostRegressor {
    fn predict_rows(&self, x: &Matrix<'_>) -> Result<Vec<f64>> {
        let predicted: Vec<Vec<f64>> =
            self.estimators.iter().map(|estimator| estimator.predict_rows(x)).collect::<Result<_>>()?;
        let median = |row: usize| {
            let values = predicted.iter().map(|values| values[row]);
            let mut pairs: Vec<(f64, f64)> = values.zip(self.estimator_weights.iter().copied()).collect();
            pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
            weighted_quantile(&pairs, 0.5)
        };
        Ok((0..x.rows()).map(median).collect())
    }
}

model!(
    AdaBoostRegressor = "AdaBoostRegressor",
    fn accepts(&self) -> Accepts {
        dense_accepts(self.estimators.iter().map(|estimator| estimator.accepts()))
    },
    fn is_consistent(&self) -> bool {
        !self.estimators.is_empty()
            && self.estimators.iter().all(|estimator| estimator.n_features() == self.n_features)
            && self.estimator_weights.len() == self.estimators.len()
    }
);
