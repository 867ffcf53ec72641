//! Naive Bayes for categories.

use super::{class_counts, class_priors};
use crate::Result;
use crate::classical::data::{Classes, Matrix, Training};
use crate::classical::estimator::{Classifier, FitClassifier, Parameters};
use crate::classical::linear::function::{argmax, softmax};
use crate::classical::params::{model, params};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// A fitted categorical naive Bayes classifier.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CategoricalNB {
    n_features: usize,
    classes: Vec<i64>,
    class_log_prior: Vec<f64>,
    /// For each feature, a row of the categories' log-probabilities for each class.
    feature_log_prob: Vec<Vec<Vec<f64>>>,
}

params! {
    /// Parameters of [`CategoricalNB`]: each feature is a category from 0 to its number of categories,
    /// numbered as `OrdinalEncoder` does.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let (x, y) = (array![[0.0, 2.0], [0.0, 1.0], [1.0, 0.0]], [0, 0, 1]);
    /// let model = CategoricalNB::params().fit(&x, &y)?;
    /// assert_eq!(model.predict(&array![[0.0, 1.0], [1.0, 0.0]])?.to_vec(), [0, 1]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    CategoricalNBParams for CategoricalNB = "CategoricalNB" {
        /// Added to each count (Laplace, Lidstone); below 1e-10 it counts as that.
        alpha: f64 = 1.0,
        /// Whether classes are as probable as their shares of the samples; otherwise all the same.
        fit_prior: bool = true,
        /// The probability of each class, ascending by label.
        class_prior: Option<Vec<f64>> = None,
        /// The least number of categories of each feature, for those that training lacks.
        min_categories: Option<usize> = None,
    }

    fn check(&self) -> Result<()> {
        if self.alpha >= 0.0 && self.alpha.is_finite() {
            return Ok(());
        }
        Err(Self::error(format!("alpha is {}; it must be 0 or more", self.alpha)))
    }
}

/// More categories are taken for numbers that were not meant as such.
const MOST: f64 = 1e6;

/// The category that a value names.
///
/// # Errors
/// A value that is no whole number from 0.
fn category(value: f64, row: usize, column: usize) -> Result<usize> {
    if value < 0.0 || value.fract() != 0.0 || value > MOST {
        let message = format!(
            "x holds {value} at row {row}, column {column}; categories are whole numbers from 0 (see OrdinalEncoder)"
        );
        return Err(CategoricalNBParams::error(message));
    }
    Ok(value as usize)
}

impl FitClassifier for CategoricalNBParams {
    type Model = CategoricalNB;

    fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<CategoricalNB> {
        let class_weights = class_counts::<Self>(data)?;
        let counted = if self.fit_prior { class_weights } else { vec![1.0; data.y.values.len()] };
        let priors = class_priors::<Self>(self.class_prior.as_ref(), &counted)?;
        let x = data.x.dense();
        let alpha = self.alpha.max(1e-10);
        let mut feature_log_prob = Vec::with_capacity(x.ncols());
        for (column, values) in x.columns().into_iter().enumerate() {
            let codes: Vec<usize> = values
                .iter()
                .enumerate()
                .map(|(row, &value)| category(value, row, column))
                .collect::<Result<_>>()?;
            let found = codes.iter().max().map_or(1, |greatest| greatest + 1);
            let size = found.max(self.min_categories.unwrap_or(0));
            let mut counts = vec![vec![alpha; size]; data.y.values.len()];
            for (row, (&code, &class)) in codes.iter().zip(&data.y.codes).enumerate() {
                counts[class][code] += data.weight(row);
            }
            for counts in &mut counts {
                let total = counts.iter().sum::<f64>().ln();
                counts.iter_mut().for_each(|count| *count = count.ln() - total);
            }
            feature_log_prob.push(counts);
        }
        Ok(CategoricalNB {
            n_features: x.ncols(),
            classes: data.y.values.clone(),
            class_log_prior: priors.into_iter().map(f64::ln).collect(),
            feature_log_prob,
        })
    }
}

impl CategoricalNB {
    /// The logarithm of each class's probability.
    pub fn class_log_prior(&self) -> &[f64] {
        &self.class_log_prior
    }

    /// For each feature, the logarithm of each category's probability in each class.
    pub fn feature_log_prob(&self) -> &[Vec<Vec<f64>>] {
        &self.feature_log_prob
    }

    fn joint(&self, x: &Matrix<'_>) -> Result<Array2<f64>> {
        let x = x.dense();
        let mut joint = Array2::zeros((x.nrows(), self.classes.len()));
        joint += &ndarray::ArrayView1::from(&self.class_log_prior);
        for ((row, column), &value) in x.indexed_iter() {
            let code = category(value, row, column)?;
            for (class, logs) in self.feature_log_prob[column].iter().enumerate() {
                let log = logs.get(code).ok_or_else(|| {
                    CategoricalNBParams::error(format!(
                        "x holds category {code} at row {row}, column {column}; the fit knew {} (see min_categories)",
                        logs.len()
                    ))
                })?;
                joint[[row, class]] += log;
            }
        }
        Ok(joint)
    }
}

impl Classifier for CategoricalNB {
    fn classes(&self) -> &[i64] {
        &self.classes
    }

    fn predict_codes(&self, x: &Matrix<'_>) -> Result<Vec<usize>> {
        Ok(argmax(self.joint(x)?.view()))
    }

    fn probabilities(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        Ok(Some(softmax(self.joint(x)?)))
    }
}

model!(
    CategoricalNB = "CategoricalNB",
    fn is_consistent(&self) -> bool {
        let classes = self.classes.len();
        classes > 0
            && self.class_log_prior.len() == classes
            && self.feature_log_prob.len() == self.n_features
            && self.feature_log_prob.iter().all(|feature| feature.len() == classes)
    }
);
