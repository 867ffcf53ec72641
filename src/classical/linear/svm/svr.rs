//! Linear support vector regression.

use super::dual::{self, Descent};
use super::{ACCEPTS, Samples, check_scaling};
use crate::Result;
use crate::classical::data::{Accepts, Training};
use crate::classical::estimator::FitRegressor;
use crate::classical::linear::elastic_net::check_descent;
use crate::classical::linear::function::linear_regressor;
use crate::classical::linear::logistic::check_c;
use crate::classical::linear::rows::Rows;
use crate::classical::params::params;
use crate::classical::random;
use serde::{Deserialize, Serialize};

linear_regressor!(
    /// A fitted linear support vector regression: `y = x @ coef + intercept`.
    LinearSVR = "LinearSVR", accepts ACCEPTS
);

/// The loss of a prediction `f` of a target `y`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinearSVRLoss {
    /// `max(0, |y - f| - epsilon)`.
    #[default]
    EpsilonInsensitive,
    /// `max(0, |y - f| - epsilon)^2`.
    SquaredEpsilonInsensitive,
}

params! {
    /// Parameters of [`LinearSVR`]: `|w|^2 / 2` and `c` times the sum of the losses, by coordinate descent
    /// on the dual (Ho and Lin, 2012). The intercept is the coefficient of a constant column and shares the
    /// penalty.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[0.0], [1.0], [2.0], [3.0]];
    /// let model = LinearSVR::params().c(100.0).fit(&x, &[1.0, 3.0, 5.0, 7.0])?;
    /// assert!((model.coef()[0] - 2.0).abs() < 0.05);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    LinearSVRParams for LinearSVR = "LinearSVR" {
        /// Errors up to this size cost nothing; in units of the target.
        epsilon: f64 = 0.0,
        /// Weight of the losses against the penalty, above 0; the larger, the weaker the penalty.
        c: f64 = 1.0,
        /// The loss.
        loss: LinearSVRLoss = LinearSVRLoss::EpsilonInsensitive,
        /// Whether to learn an intercept.
        fit_intercept: bool = true,
        /// The value of the constant column; the larger, the less of the penalty the intercept feels.
        intercept_scaling: f64 = 1.0,
        /// The violation of the optimality conditions that ends the fit, as a share of that at the start.
        tol: f64 = 1e-4,
        /// The most iterations; a model with that many in `n_iter` has not converged.
        max_iter: usize = 1000,
        /// Where the random order of coordinate descent begins.
        seed: u64 = 0_u64,
    }

    fn accepts(&self) -> Accepts {
        ACCEPTS
    }

    fn check(&self) -> Result<()> {
        check_c::<Self>(self.c)?;
        check_scaling::<Self>(self.intercept_scaling)?;
        if !(self.epsilon >= 0.0 && self.epsilon.is_finite()) {
            return Err(Self::error(format!("epsilon is {}; it must be 0 or more", self.epsilon)));
        }
        check_descent::<Self>(self.max_iter, self.tol)
    }
}

impl FitRegressor for LinearSVRParams {
    type Model = LinearSVR;

    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<LinearSVR> {
        let (count, features) = (data.x.rows(), data.x.columns());
        let constant = if self.fit_intercept { self.intercept_scaling } else { 0.0 };
        let samples = Samples { rows: Rows::of(&data.x)?, count, features, constant };
        let costs: Vec<f64> = (0..count).map(|row| self.c * data.weight(row)).collect();
        let squared = self.loss == LinearSVRLoss::SquaredEpsilonInsensitive;
        let descent = Descent { tol: self.tol, max_iter: self.max_iter, rng: random::stream(self.seed, 0) };
        let (mut w, n_iter) = dual::regress(samples, &data.y, &costs, self.epsilon, squared, descent);
        let intercept = constant * w.pop().unwrap_or(0.0);
        LinearSVR::new(w, intercept, n_iter)
    }
}
