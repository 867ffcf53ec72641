//! Naive Bayes with a normal distribution of each feature in each class.

use super::{class_counts, class_priors};
use crate::Result;
use crate::classical::data::{Classes, Matrix, Training};
use crate::classical::estimator::{Classifier, FitClassifier, Parameters};
use crate::classical::linear::function::{argmax, overflow, softmax};
use crate::classical::linear::rows::{Row, Rows, add_scaled};
use crate::classical::parallel;
use crate::classical::params::{model, params};
use crate::vectors::vectorised;
use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

/// A fitted Gaussian naive Bayes classifier.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GaussianNB {
    n_features: usize,
    classes: Vec<i64>,
    class_prior: Vec<f64>,
    theta: Vec<f64>,
    var: Vec<f64>,
}

params! {
    /// Parameters of [`GaussianNB`]: within each class every feature has a normal distribution of its own.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let (x, y) = (array![[0.0], [1.0], [8.0], [9.0]], [0, 0, 1, 1]);
    /// let model = GaussianNB::params().fit(&x, &y)?;
    /// assert_eq!(model.predict(&array![[2.0], [7.0]])?.to_vec(), [0, 1]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    GaussianNBParams for GaussianNB = "GaussianNB" {
        /// The probability of each class, ascending by label; none for their shares of the samples.
        priors: Option<Vec<f64>> = None,
        /// The share of the greatest variance of a feature that is added to all variances.
        var_smoothing: f64 = 1e-9,
    }

    fn check(&self) -> Result<()> {
        if self.var_smoothing >= 0.0 && self.var_smoothing.is_finite() {
            return Ok(());
        }
        Err(Self::error(format!("var_smoothing is {}; it must be 0 or more", self.var_smoothing)))
    }
}

/// Adds the weighted squared distance of a row from `mean` to `to`, feature by feature.
fn add_squares(to: &mut [f64], weight: f64, row: &[f64], mean: &[f64]) {
    vectorised(
        #[inline(always)]
        || {
            for ((to, value), mean) in to.iter_mut().zip(row).zip(mean) {
                *to += weight * (value - mean) * (value - mean);
            }
        },
    );
}

/// Weighted means and variances of each feature in each group of rows, `[groups, features]`.
fn moments(rows: &[&[f64]], groups: &[usize], weights: &[f64], counts: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let features = rows.first().map_or(0, |row| row.len());
    let size = counts.len() * features;
    let (mut means, mut variances) = (vec![0.0; size], vec![0.0; size]);
    for ((row, &group), &weight) in rows.iter().zip(groups).zip(weights) {
        add_scaled(&mut means[group * features..][..features], weight, row);
    }
    let divide = |sums: &mut [f64]| {
        for (sums, count) in sums.chunks_exact_mut(features).zip(counts) {
            sums.iter_mut().for_each(|sum| *sum /= count);
        }
    };
    divide(&mut means);
    for ((row, &group), &weight) in rows.iter().zip(groups).zip(weights) {
        let place = group * features..(group + 1) * features;
        add_squares(&mut variances[place.clone()], weight, row, &means[place]);
    }
    divide(&mut variances);
    (means, variances)
}

impl FitClassifier for GaussianNBParams {
    type Model = GaussianNB;

    fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<GaussianNB> {
        let counts = class_counts::<Self>(data)?;
        let class_prior = class_priors::<Self>(self.priors.as_ref(), &counts)?;
        let rows = Rows::of(&data.x)?;
        let count = data.x.rows();
        let rows: Vec<&[f64]> = (0..count)
            .map(|row| match rows.get(row) {
                Row::Dense(values) | Row::Sparse(_, values) => values,
            })
            .collect();
        let weights: Vec<f64> = (0..count).map(|row| data.weight(row)).collect();
        let ((theta, mut var), (_, overall)) = parallel::join(
            2 * count * data.x.columns(),
            || moments(&rows, &data.y.codes, &weights, &counts),
            // As in scikit-learn, what is added does not depend on the weights.
            || moments(&rows, &vec![0; count], &vec![1.0; count], &[count as f64]),
        );
        let added = self.var_smoothing * overall.iter().fold(0.0_f64, |a, &b| a.max(b));
        var.iter_mut().for_each(|var| *var += added);
        if !theta.iter().chain(&var).all(|value| value.is_finite()) {
            return Err(overflow(Self::NAME));
        }
        if let Some(place) = var.iter().position(|&var| var < f64::MIN_POSITIVE) {
            let (class, column) = (data.y.values[place / data.x.columns()], place % data.x.columns());
            return Err(Self::error(format!(
                "column {column} does not vary in class {class}, and nothing is added to its variance"
            )));
        }
        Ok(GaussianNB {
            n_features: data.x.columns(),
            classes: data.y.values.clone(),
            class_prior,
            theta,
            var,
        })
    }
}

/// Rows that one task evaluates.
const TASK: usize = 256;

impl GaussianNB {
    /// The probability of each class.
    pub fn class_prior(&self) -> &[f64] {
        &self.class_prior
    }

    /// The mean of each feature in each class, `[classes, features]`.
    pub fn theta(&self) -> ArrayView2<'_, f64> {
        self.table(&self.theta)
    }

    /// The variance of each feature in each class, `[classes, features]`.
    pub fn var(&self) -> ArrayView2<'_, f64> {
        self.table(&self.var)
    }

    fn table<'a>(&self, values: &'a [f64]) -> ArrayView2<'a, f64> {
        // The vectors were made with an element for each class and feature.
        let shape = (self.classes.len(), self.n_features);
        ArrayView2::from_shape(shape, values).unwrap_or_else(|_| ndarray::aview2::<f64, 0>(&[]))
    }

    /// The logarithm of the joint probability of rows and classes, `[rows, classes]`.
    fn joint(&self, x: &Matrix<'_>) -> Result<Array2<f64>> {
        let classes = self.classes.len();
        let rows = Rows::of(x)?;
        let features = self.n_features;
        let inverse: Vec<f64> = self.var.iter().map(|var| 0.5 / var).collect();
        let constants: Vec<f64> = self
            .var
            .chunks_exact(features)
            .zip(&self.class_prior)
            .map(|(var, prior)| {
                prior.ln() - 0.5 * var.iter().map(|var| (std::f64::consts::TAU * var).ln()).sum::<f64>()
            })
            .collect();
        let mut out = vec![0.0; x.rows() * classes];
        let work = x.rows() * classes * features / 2;
        parallel::for_each(work, out.chunks_mut(TASK * classes).enumerate(), |(task, out)| {
            for (at, out) in out.chunks_exact_mut(classes).enumerate() {
                if let Row::Dense(row) = rows.get(task * TASK + at) {
                    for (class, out) in out.iter_mut().enumerate() {
                        let place = class * features..(class + 1) * features;
                        *out = constants[class] - distance(row, &self.theta[place.clone()], &inverse[place]);
                    }
                }
            }
        });
        if !out.iter().all(|value| value.is_finite()) {
            return Err(overflow("GaussianNB"));
        }
        Ok(Array2::from_shape_vec((x.rows(), classes), out).unwrap_or_default())
    }
}

/// The sum of the squared differences times `scale`, in lanes of a fixed number.
fn distance(row: &[f64], mean: &[f64], scale: &[f64]) -> f64 {
    const LANES: usize = 8;
    vectorised(
        #[inline(always)]
        || {
            let mut sums = [0.0; LANES];
            let whole = row.len() / LANES * LANES;
            for at in (0..whole).step_by(LANES) {
                let (row, mean, scale) =
                    (&row[at..at + LANES], &mean[at..at + LANES], &scale[at..at + LANES]);
                for lane in 0..LANES {
                    sums[lane] += (row[lane] - mean[lane]) * (row[lane] - mean[lane]) * scale[lane];
                }
            }
            let rest = (whole..row.len()).map(|at| (row[at] - mean[at]) * (row[at] - mean[at]) * scale[at]);
            sums.iter().sum::<f64>() + rest.sum::<f64>()
        },
    )
}

impl Classifier for GaussianNB {
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
    GaussianNB = "GaussianNB",
    fn is_consistent(&self) -> bool {
        let numbers = self.classes.len().saturating_mul(self.n_features);
        numbers > 0
            && self.class_prior.len() == self.classes.len()
            && self.theta.len() == numbers
            && self.var.len() == numbers
    }
);
