//! Linear regression that outliers pull at linearly only.

use super::elastic_net::check_descent;
use super::function::{linear_regressor, overflow};
use super::ridge::check_alpha;
use super::rows::{Rows, dot};
use crate::Result;
use crate::classical::data::{Accepts, Training};
use crate::classical::estimator::{FitRegressor, Parameters};
use crate::classical::optimize::lbfgs;
use crate::classical::params::params;

/// Sparse matrices are used as they are.
const ACCEPTS: Accepts = Accepts { sparse: true, ..Accepts::PLAIN };

linear_regressor!(
    /// A fitted Huber regression: `y = x @ coef + intercept`.
    HuberRegressor = "HuberRegressor", accepts ACCEPTS,
    /// The scale of the errors, in units of the target; those above `epsilon` times it count as outliers.
    scale: f64
);

params! {
    /// Parameters of [`HuberRegressor`]: the sum of `scale + h(error / scale) scale` and the penalty
    /// `alpha |w|^2`, where `h` is a square up to `epsilon` and then a straight line; the scale is learned
    /// with the coefficients (Huber, 1981; Owen, 2007).
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::Array2;
    ///
    /// let x = Array2::from_shape_fn((20, 1), |(i, _)| i as f64);
    /// let y: Vec<f64> = (0..20).map(|i| 2.0 * i as f64 + if i == 19 { 500.0 } else { (i % 3) as f64 }).collect();
    /// let model = HuberRegressor::params().fit(&x, &y)?;
    /// assert!((model.coef()[0] - 2.0).abs() < 0.1);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    HuberRegressorParams for HuberRegressor = "HuberRegressor" {
        /// Errors of more scales than this count linearly; above 1, the less the more robust.
        epsilon: f64 = 1.35,
        /// The most iterations; a model with that many in `n_iter` has not converged.
        max_iter: usize = 100,
        /// Strength of the penalty, 0 or more.
        alpha: f64 = 1e-4,
        /// Whether to learn an intercept.
        fit_intercept: bool = true,
        /// The largest component of the gradient at which the fit ends.
        tol: f64 = 1e-5,
    }

    fn accepts(&self) -> Accepts {
        ACCEPTS
    }

    fn check(&self) -> Result<()> {
        if !(self.epsilon > 1.0 && self.epsilon.is_finite()) {
            return Err(Self::error(format!("epsilon is {}; it must be above 1", self.epsilon)));
        }
        check_alpha::<Self>(self.alpha)?;
        check_descent::<Self>(self.max_iter, self.tol)
    }
}

impl FitRegressor for HuberRegressorParams {
    type Model = HuberRegressor;

    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<HuberRegressor> {
        let (rows, features) = (Rows::of(&data.x)?, data.x.columns());
        // The last element is the logarithm of the scale, which keeps it above 0; before it the intercept.
        let mut start = vec![0.0; features + 2];
        if self.fit_intercept {
            start[features] = median(data.y.clone());
        }
        let deviation = median(data.y.iter().map(|y| (y - start[features]).abs()).collect());
        start[features + 1] = if deviation > 0.0 { deviation.ln() } else { 0.0 };
        let minimum = lbfgs(start, self.tol, self.max_iter, |point, gradient| {
            let (coef, scale) = (&point[..features], point[features + 1].exp());
            gradient.fill(0.0);
            let mut value = self.alpha * dot(coef, coef);
            let mut scale_slope = 0.0;
            for (row, target) in data.y.iter().enumerate() {
                let weight = data.weight(row);
                let error = target - rows.get(row).dot(coef) - point[features];
                let relative = error / scale;
                let slope = if relative.abs() <= self.epsilon {
                    value += weight * scale * (1.0 + relative * relative);
                    scale_slope += weight * (1.0 - relative * relative);
                    2.0 * relative
                } else {
                    value += weight
                        * (scale + 2.0 * self.epsilon * error.abs() - scale * self.epsilon * self.epsilon);
                    scale_slope += weight * (1.0 - self.epsilon * self.epsilon);
                    2.0 * self.epsilon * error.signum()
                };
                rows.get(row).add_to(&mut gradient[..features], -weight * slope);
                gradient[features] -= weight * slope;
            }
            gradient[..features]
                .iter_mut()
                .zip(coef)
                .for_each(|(gradient, w)| *gradient += 2.0 * self.alpha * w);
            if !self.fit_intercept {
                gradient[features] = 0.0;
            }
            gradient[features + 1] = scale_slope * scale;
            value
        });
        let minimum = minimum.ok_or_else(|| overflow(Self::NAME))?;
        let coef = minimum.point[..features].to_vec();
        HuberRegressor::new(
            coef,
            minimum.point[features],
            minimum.iterations,
            minimum.point[features + 1].exp(),
        )
    }
}

/// The middle value; of an even number the upper one of the two.
fn median(mut values: Vec<f64>) -> f64 {
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}
