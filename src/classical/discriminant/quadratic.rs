//! Quadratic discriminant analysis.

use super::class_rows;
use crate::Result;
use crate::classical::bayes::class_priors;
use crate::classical::data::{Classes, Matrix, Training};
use crate::classical::estimator::{Classifier, FitClassifier, Model, Parameters};
use crate::classical::linalg;
use crate::classical::linear::function::{Linear, argmax, overflow, softmax};
use crate::classical::params::{model, params};
use ndarray::{Array2, Axis};
use serde::{Deserialize, Serialize};

/// A fitted quadratic discriminant analysis.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QuadraticDiscriminantAnalysis {
    n_features: usize,
    classes: Vec<i64>,
    /// For each class, the map to coordinates in which its distribution has variance 1.
    whitening: Vec<Linear>,
    /// For each class, the logarithm of its density at its mean, times its probability.
    constants: Vec<f64>,
}

params! {
    /// Parameters of [`QuadraticDiscriminantAnalysis`]: a normal distribution with a mean and a covariance
    /// for each class (Hastie, Tibshirani and Friedman, 2009, section 4.3).
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[0.0], [1.0], [-1.0], [4.0], [-6.0], [5.0]];
    /// let model = QuadraticDiscriminantAnalysis::params().fit(&x, &[0, 0, 0, 1, 1, 1])?;
    /// assert_eq!(model.predict(&array![[0.5], [-5.0], [5.0]])?.to_vec(), [0, 1, 1]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    QuadraticDiscriminantAnalysisParams for QuadraticDiscriminantAnalysis = "QuadraticDiscriminantAnalysis" {
        /// The probability of each class, ascending by label; none for their shares of the samples.
        priors: Option<Vec<f64>> = None,
        /// The share by which each covariance is moved towards the identity, between 0 and 1.
        reg_param: f64 = 0.0,
        /// A covariance with a smaller eigenvalue is refused.
        tol: f64 = 1e-4,
    }

    fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.reg_param) {
            return Err(Self::error(format!("reg_param is {}; it must be between 0 and 1", self.reg_param)));
        }
        if self.tol >= 0.0 && self.tol.is_finite() {
            return Ok(());
        }
        Err(Self::error(format!("tol is {}; it must be 0 or more", self.tol)))
    }
}

impl FitClassifier for QuadraticDiscriminantAnalysisParams {
    type Model = QuadraticDiscriminantAnalysis;

    fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<QuadraticDiscriminantAnalysis> {
        if data.weights.is_some() {
            return Err(Self::error("takes no sample_weight"));
        }
        let x = data.x.dense();
        let priors = class_priors::<Self>(self.priors.as_ref(), &data.y.counts(None))?;
        let (mut whitening, mut constants) = (Vec::new(), Vec::new());
        for (class, prior) in priors.into_iter().enumerate() {
            let (rows, mean) = class_rows(x.view(), &data.y, class);
            let covariance = linalg::gram(rows.view()) / rows.nrows() as f64;
            if !covariance.iter().all(|value| value.is_finite()) {
                return Err(overflow(Self::NAME));
            }
            let (values, vectors) = linalg::eigh(covariance.view())?;
            let values = values.mapv(|value| (1.0 - self.reg_param) * value.max(0.0) + self.reg_param);
            if rows.nrows() == 1 || !values.iter().all(|&value| value > self.tol.max(f64::MIN_POSITIVE)) {
                let label = data.y.values[class];
                return Err(Self::error(format!(
                    "the covariance of class {label} ({} samples) is singular; use a greater reg_param",
                    rows.nrows()
                )));
            }
            let map = (vectors / values.mapv(f64::sqrt)).t().to_owned();
            let shift = -map.dot(&mean);
            whitening.push(Linear::new(Self::NAME, map, shift.to_vec())?);
            constants.push(prior.ln() - 0.5 * values.mapv(f64::ln).sum());
        }
        Ok(QuadraticDiscriminantAnalysis {
            n_features: x.ncols(),
            classes: data.y.values.clone(),
            whitening,
            constants,
        })
    }
}

impl QuadraticDiscriminantAnalysis {
    /// The logarithm of the joint density of rows and classes, up to a constant, `[rows, classes]`.
    fn joint(&self, x: &Matrix<'_>) -> Result<Array2<f64>> {
        let mut joint = Array2::zeros((x.rows(), self.classes.len()));
        for ((mut column, map), constant) in
            joint.columns_mut().into_iter().zip(&self.whitening).zip(&self.constants)
        {
            let distances = map.apply(self.name(), x)?.mapv(|value| value * value).sum_axis(Axis(1));
            column.assign(&(distances * -0.5 + *constant));
        }
        if joint.iter().all(|value| value.is_finite()) { Ok(joint) } else { Err(overflow(self.name())) }
    }
}

impl Classifier for QuadraticDiscriminantAnalysis {
    fn classes(&self) -> &[i64] {
        &self.classes
    }

    fn predict_codes(&self, x: &Matrix<'_>) -> Result<Vec<usize>> {
        Ok(argmax(self.joint(x)?.view()))
    }

    fn probabilities(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        Ok(Some(softmax(self.joint(x)?)))
    }

    fn scores(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        let joint = self.joint(x)?;
        if self.classes.len() > 2 {
            return Ok(Some(joint));
        }
        Ok(Some((&joint.column(1) - &joint.column(0)).insert_axis(Axis(1))))
    }
}

model!(
    QuadraticDiscriminantAnalysis = "QuadraticDiscriminantAnalysis",
    fn is_consistent(&self) -> bool {
        let classes = self.classes.len();
        classes >= 2
            && self.constants.len() == classes
            && self.whitening.len() == classes
            && self.whitening.iter().all(|map| map.fits(self.n_features, map.intercept().len()))
    }
);
