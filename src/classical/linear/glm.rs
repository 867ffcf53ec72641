//! Generalised linear models: Poisson, gamma and Tweedie regression.

use super::elastic_net::check_descent;
use super::function::{linear_regressor, overflow};
use super::objective::Objective;
use super::ridge::check_alpha;
use super::rows::Rows;
use crate::Result;
use crate::classical::data::{Accepts, Training};
use crate::classical::estimator::{FitRegressor, Parameters};
use crate::classical::optimize::lbfgs;
use crate::classical::params::params;

/// Sparse matrices are used as they are.
const ACCEPTS: Accepts = Accepts { sparse: true, ..Accepts::PLAIN };

/// Half the unit deviance of a Tweedie distribution of this power, for the logarithm of the mean: the
/// value up to what depends on the target alone, and the derivative.
fn half_deviance(power: f64, target: f64, log_mean: f64) -> (f64, f64) {
    let mean = log_mean.exp();
    if power == 1.0 {
        (mean - target * log_mean, mean - target)
    } else if power == 2.0 {
        (log_mean + target / mean, 1.0 - target / mean)
    } else {
        let (a, b) = ((log_mean * (2.0 - power)).exp(), target * (log_mean * (1.0 - power)).exp());
        (a / (2.0 - power) - b / (1.0 - power), a - b)
    }
}

/// Coefficients, intercept and iterations of the model of this power, whose link is the logarithm, or none
/// for power 0.
fn fit<P: Parameters>(
    data: &Training<'_, Vec<f64>>,
    power: f64,
    alpha: f64,
    fit_intercept: bool,
    tol: f64,
    max_iter: usize,
) -> Result<(Vec<f64>, f64, usize)> {
    let refused = |target: f64| if power >= 2.0 { target <= 0.0 } else { power >= 1.0 && target < 0.0 };
    if let Some(row) = data.y.iter().position(|&target| refused(target)) {
        let least = if power >= 2.0 { "above 0" } else { "0 or more" };
        return Err(P::error(format!("y holds {} at row {row}; it must be {least}", data.y[row])));
    }
    let total: f64 = (0..data.y.len()).map(|row| data.weight(row)).sum();
    let objective = Objective { x: &data.x, rows: Rows::of(&data.x)?, outputs: 1, fit_intercept, l2: alpha };
    let mut start = vec![0.0; objective.size()];
    if fit_intercept {
        let mean =
            data.y.iter().enumerate().map(|(row, target)| data.weight(row) * target).sum::<f64>() / total;
        if power > 0.0 && mean <= 0.0 {
            return Err(P::error("every y with a weight is 0; the logarithm of the mean has no end"));
        }
        start[data.x.columns()] = if power == 0.0 { mean } else { mean.ln() };
    }
    let minimum = lbfgs(start, tol, max_iter, |point, gradient| {
        objective.evaluate(point, gradient, |row, values| {
            let (target, weight) = (data.y[row], data.weight(row) / total);
            let (loss, slope) = if power == 0.0 {
                let error = values[0] - target;
                (0.5 * error * error, error)
            } else {
                half_deviance(power, target, values[0])
            };
            values[0] = weight * slope;
            weight * loss
        })
    });
    let mut minimum = minimum.ok_or_else(|| overflow(P::NAME))?;
    let intercept = if fit_intercept { minimum.point.pop().unwrap_or(0.0) } else { 0.0 };
    Ok((minimum.point, intercept, minimum.iterations))
}

macro_rules! glm {
    ($model:ident, $params:ident = $name:literal, $what:literal, $power:expr, targets $targets:literal) => {
        linear_regressor!(
            #[doc = concat!("A fitted ", $what, " regression: `y = exp(x @ coef + intercept)`.")]
            $model = $name, accepts ACCEPTS; link |_, value| value.exp()
        );

        params! {
            #[doc = concat!("Parameters of [`", stringify!($model), "`]: the mean of half the ", $what)]
            /// deviances (McCullagh and Nelder, 1989) and the penalty `alpha |w|^2 / 2`, which the intercept
            /// does not share, by L-BFGS.
            ///
            /// ```
            /// use kiln::classical::prelude::*;
            /// use ndarray::array;
            ///
            /// let (x, y) = (array![[0.0], [1.0], [2.0], [3.0]], [1.0, 2.0, 4.0, 8.0]);
            #[doc = concat!("let model = ", stringify!($model), "::params().alpha(0.0).tol(1e-8).fit(&x, &y)?;")]
            /// assert!((model.coef()[0] - 2.0_f64.ln()).abs() < 1e-6);
            /// # Ok::<(), kiln::Error>(())
            /// ```
            $params for $model = $name {
                /// Strength of the penalty, 0 or more.
                alpha: f64 = 1.0,
                /// Whether to learn an intercept.
                fit_intercept: bool = true,
                /// The most iterations; a model with that many in `n_iter` has not converged.
                max_iter: usize = 100,
                /// The largest component of the gradient at which the fit ends.
                tol: f64 = 1e-4,
            }

            fn accepts(&self) -> Accepts {
                ACCEPTS
            }

            fn check(&self) -> Result<()> {
                check_alpha::<Self>(self.alpha)?;
                check_descent::<Self>(self.max_iter, self.tol)
            }
        }

        impl FitRegressor for $params {
            type Model = $model;

            #[doc = concat!("Targets must be ", $targets, ".")]
            fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<$model> {
                let (coef, intercept, n_iter) =
                    fit::<Self>(data, $power, self.alpha, self.fit_intercept, self.tol, self.max_iter)?;
                $model::new(coef, intercept, n_iter)
            }
        }
    };
}

glm!(PoissonRegressor, PoissonRegressorParams = "PoissonRegressor", "Poisson", 1.0, targets "0 or more");
glm!(GammaRegressor, GammaRegressorParams = "GammaRegressor", "gamma", 2.0, targets "above 0");

linear_regressor!(
    /// A fitted Tweedie regression: `y = exp(x @ coef + intercept)`, of power 0 without `exp`.
    TweedieRegressor = "TweedieRegressor", accepts ACCEPTS;
    link |model, value| if model.power == 0.0 { value } else { value.exp() },
    /// The power of the mean that the variance is proportional to.
    power: f64
);

params! {
    /// Parameters of [`TweedieRegressor`]: the mean of half the deviances of a Tweedie distribution
    /// (Jorgensen, 1987) and the penalty `alpha |w|^2 / 2`, which the intercept does not share, by L-BFGS.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let (x, y) = (array![[0.0], [1.0], [2.0], [3.0]], [1.0, 2.0, 4.0, 8.0]);
    /// let model = TweedieRegressor::params().power(1.5).alpha(0.0).tol(1e-8).fit(&x, &y)?;
    /// assert!((model.coef()[0] - 2.0_f64.ln()).abs() < 1e-6);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    TweedieRegressorParams for TweedieRegressor = "TweedieRegressor" {
        /// The power of the mean that the variance is proportional to: 0 is normal (and the prediction
        /// linear, otherwise the exponential of a linear function), 1 Poisson, 2 gamma, 3 inverse Gaussian;
        /// between 1 and 2 targets may be 0, from 2 on they must be above 0.
        power: f64 = 0.0,
        /// Strength of the penalty, 0 or more.
        alpha: f64 = 1.0,
        /// Whether to learn an intercept.
        fit_intercept: bool = true,
        /// The most iterations; a model with that many in `n_iter` has not converged.
        max_iter: usize = 100,
        /// The largest component of the gradient at which the fit ends.
        tol: f64 = 1e-4,
    }

    fn accepts(&self) -> Accepts {
        ACCEPTS
    }

    fn check(&self) -> Result<()> {
        if !(self.power == 0.0 || self.power >= 1.0 && self.power.is_finite()) {
            return Err(Self::error(format!("power is {}; it must be 0, or 1 or more", self.power)));
        }
        check_alpha::<Self>(self.alpha)?;
        check_descent::<Self>(self.max_iter, self.tol)
    }
}

impl FitRegressor for TweedieRegressorParams {
    type Model = TweedieRegressor;

    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<TweedieRegressor> {
        let (coef, intercept, n_iter) =
            fit::<Self>(data, self.power, self.alpha, self.fit_intercept, self.tol, self.max_iter)?;
        TweedieRegressor::new(coef, intercept, n_iter, self.power)
    }
}
