//! Logistic regression.

use super::elastic_net::{check_descent, check_ratio};
use super::function::{Linear, binary_probabilities, linear_classifier, overflow, sigmoid, softmax};
use super::objective::Objective;
use super::rows::Rows;
use super::sparse_logistic;
use crate::Result;
use crate::classical::ClassWeight;
use crate::classical::data::{Accepts, Classes, Training};
use crate::classical::estimator::{FitClassifier, Parameters};
use crate::classical::optimize::lbfgs;
use crate::classical::parallel;
use crate::classical::params::params;
use ndarray::Array2;

/// Sparse matrices are used as they are.
const ACCEPTS: Accepts = Accepts { sparse: true, ..Accepts::PLAIN };

linear_classifier!(
    /// A fitted logistic regression.
    LogisticRegression = "LogisticRegression", accepts ACCEPTS,
    probabilities |_, scores| Some(if scores.ncols() == 1 { binary_probabilities(scores.view()) } else { softmax(scores) })
);

params! {
    /// Parameters of [`LogisticRegression`]: the sum of the log-losses times `c`, with the penalty
    /// `l1_ratio |w|_1 + (1 - l1_ratio) |w|^2 / 2`, which the intercepts do not share. More than two
    /// classes are one multinomial model.
    ///
    /// Without an L1 penalty L-BFGS finds the minimum (Liu and Nocedal, 1989), with one coordinate descent
    /// on the quadratic model of Newton's method (Friedman, Hastie and Tibshirani, 2010).
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let (x, y) = (array![[0.0], [1.0], [3.0], [4.0]], [0, 0, 1, 1]);
    /// let model = LogisticRegression::params().c(10.0).fit(&x, &y)?;
    /// assert_eq!(model.predict(&x)?.to_vec(), [0, 0, 1, 1]);
    /// assert!((model.predict_proba(&array![[2.0]])?[[0, 1]] - 0.5).abs() < 1e-3);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    LogisticRegressionParams for LogisticRegression = "LogisticRegression" {
        /// Weight of the losses against the penalty, above 0; the larger, the weaker the penalty.
        c: f64 = 1.0,
        /// The share of the L1 penalty, between 0 (none, smooth) and 1 (all: many coefficients are 0).
        l1_ratio: f64 = 0.0,
        /// Whether to learn an intercept.
        fit_intercept: bool = true,
        /// How much the samples of each class count.
        class_weight: ClassWeight = ClassWeight::None,
        /// The most iterations; a model with that many in `n_iter` has not converged.
        max_iter: usize = 100,
        /// The largest component of the gradient of the mean loss at which the fit ends.
        tol: f64 = 1e-4,
    }

    fn accepts(&self) -> Accepts {
        ACCEPTS
    }

    fn check(&self) -> Result<()> {
        check_c::<Self>(self.c)?;
        check_ratio::<Self>(self.l1_ratio)?;
        check_descent::<Self>(self.max_iter, self.tol)
    }
}

/// Refuses a weight of the losses that is not above 0.
pub(super) fn check_c<P: Parameters>(c: f64) -> Result<()> {
    if c > 0.0 && c.is_finite() {
        return Ok(());
    }
    Err(P::error(format!("c is {c}; it must be above 0, and large (1e12, say) for hardly any penalty")))
}

impl FitClassifier for LogisticRegressionParams {
    type Model = LogisticRegression;

    fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<LogisticRegression> {
        let weights = self.class_weight.apply(Self::NAME, data)?;
        let weights = weights.as_deref();
        let (coef, intercept, n_iter) = if self.l1_ratio == 0.0 {
            self.smooth(data, weights)?
        } else {
            sparse_logistic::fit(self, data, weights)?
        };
        let linear = Linear::new(Self::NAME, coef, intercept)?;
        Ok(LogisticRegression {
            n_features: linear.features(),
            classes: data.y.values.clone(),
            linear,
            n_iter,
        })
    }
}

impl LogisticRegressionParams {
    /// Coefficients, intercepts and iterations without an L1 penalty.
    fn smooth(
        &self,
        data: &Training<'_, Classes>,
        weights: Option<&[f64]>,
    ) -> Result<(Array2<f64>, Vec<f64>, usize)> {
        let classes = data.y.values.len();
        let outputs = if classes == 2 { 1 } else { classes };
        // The mean loss, as in scikit-learn, so that `tol` does not depend on the number of samples.
        let total: f64 = weights.map_or(data.x.rows() as f64, |weights| weights.iter().sum());
        let weight = |row: usize| weights.map_or(1.0, |weights| weights[row]) / total;
        let objective = Objective {
            x: &data.x,
            rows: Rows::of(&data.x)?,
            outputs,
            fit_intercept: self.fit_intercept,
            l2: 1.0 / (self.c * total),
        };
        let codes = &data.y.codes;
        let start = vec![0.0; objective.size()];
        let minimum = parallel::within(objective.work(), || {
            lbfgs(start, self.tol, self.max_iter, |point, gradient| {
                objective.evaluate(point, gradient, |row, values| match values {
                    [value] => binary_loss(codes[row], weight(row), value),
                    values => multinomial_loss(codes[row], weight(row), values),
                })
            })
        });
        let minimum = minimum.ok_or_else(|| overflow(Self::NAME))?;
        let (coef, intercept) = minimum.point.split_at(outputs * data.x.columns());
        let coef = Array2::from_shape_fn((outputs, data.x.columns()), |(row, column)| {
            coef[row * data.x.columns() + column]
        });
        let intercept = if self.fit_intercept { intercept.to_vec() } else { vec![0.0; outputs] };
        Ok((coef, intercept, minimum.iterations))
    }
}

/// `ln(1 + exp(x))` without overflow.
pub(super) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The weighted log-loss of log-odds `value`, which becomes its derivative.
fn binary_loss(code: usize, weight: f64, value: &mut f64) -> f64 {
    let loss = softplus(if code == 1 { -*value } else { *value });
    *value = weight * (sigmoid(*value) - code as f64);
    weight * loss
}

/// The weighted log-loss of unnormalised log-probabilities, which become its derivatives.
fn multinomial_loss(code: usize, weight: f64, values: &mut [f64]) -> f64 {
    let greatest = values.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
    let own = values[code] - greatest;
    let mut sum = 0.0;
    for value in values.iter_mut() {
        *value = (*value - greatest).exp();
        sum += *value;
    }
    values.iter_mut().for_each(|value| *value *= weight / sum);
    values[code] -= weight;
    weight * (sum.ln() - own)
}
