//! Linear regression by stochastic gradient descent.

use super::core::{Data, LearningRate, SGDLoss, SGDPenalty, Settings, Validate, descend};
use super::{ACCEPTS, check, split};
use crate::Result;
use crate::classical::data::{Accepts, Training};
use crate::classical::estimator::{FitRegressor, Parameters};
use crate::classical::linear::function::{linear_regressor, overflow};
use crate::classical::linear::rows::Rows;
use crate::classical::metrics::r2_score;
use crate::classical::params::params;
use crate::classical::random;

linear_regressor!(
    /// A fitted linear regression: `y = x @ coef + intercept`.
    SGDRegressor = "SGDRegressor", accepts ACCEPTS
);

params! {
    /// Parameters of [`SGDRegressor`]: the mean loss and `alpha` times the penalty, by stochastic gradient
    /// descent (Bottou, 2010). Features should be scaled to about 1.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::Array2;
    ///
    /// let x = Array2::from_shape_fn((200, 1), |(i, _)| (i % 10) as f64 / 10.0);
    /// let y: Vec<f64> = x.iter().map(|x| 2.0 * x + 1.0).collect();
    /// let model = SGDRegressor::params().alpha(1e-6).eta0(0.1).seed(1_u64).fit(&x, &y)?;
    /// assert!(model.score(&x, &y)? > 0.99);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    SGDRegressorParams for SGDRegressor = "SGDRegressor" {
        /// The loss.
        loss: SGDLoss = SGDLoss::SquaredError,
        /// The penalty.
        penalty: SGDPenalty = SGDPenalty::L2,
        /// Strength of the penalty, 0 or more.
        alpha: f64 = 1e-4,
        /// The share of the L1 penalty in `Elasticnet`.
        l1_ratio: f64 = 0.15,
        /// Whether to learn an intercept.
        fit_intercept: bool = true,
        /// The most passes over the data.
        max_iter: usize = 1000,
        /// A pass that lowers the objective (or raises the validation score) by less has not improved it.
        tol: f64 = 1e-3,
        /// Whether to shuffle the samples before each pass.
        shuffle: bool = true,
        /// The error at which some losses change; in units of the target.
        epsilon: f64 = 0.1,
        /// How long the steps are.
        learning_rate: LearningRate = LearningRate::Invscaling,
        /// The first step's length.
        eta0: f64 = 0.01,
        /// The exponent of `Invscaling`.
        power_t: f64 = 0.25,
        /// Whether a part of the samples, held back, tells when to stop.
        early_stopping: bool = false,
        /// The share held back.
        validation_fraction: f64 = 0.1,
        /// Passes without improvement that end the fit.
        n_iter_no_change: usize = 5,
        /// The number of the sample from which on coefficients are averaged; 0 for no averaging.
        average: usize = 0_usize,
        /// Where the random order begins.
        seed: u64 = 0_u64,
    }

    fn accepts(&self) -> Accepts {
        Accepts { rows: if self.early_stopping { 2 } else { 1 }, ..ACCEPTS }
    }

    fn check(&self) -> Result<()> {
        check::<Self>(&self.settings(), self.validation_fraction)
    }
}

impl SGDRegressorParams {
    fn settings(&self) -> Settings {
        Settings {
            loss: self.loss,
            penalty: self.penalty,
            alpha: self.alpha,
            l1_ratio: self.l1_ratio,
            fit_intercept: self.fit_intercept,
            max_iter: self.max_iter,
            tol: self.tol,
            shuffle: self.shuffle,
            epsilon: self.epsilon,
            learning_rate: self.learning_rate,
            eta0: self.eta0,
            power_t: self.power_t,
            n_iter_no_change: self.n_iter_no_change,
            average: self.average,
        }
    }
}

impl FitRegressor for SGDRegressorParams {
    type Model = SGDRegressor;

    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<SGDRegressor> {
        let rows = Rows::of(&data.x)?;
        let mut rng = random::stream(self.seed, 0);
        let all: Vec<usize> = (0..data.y.len()).collect();
        let (training, held) = if self.early_stopping {
            split(&vec![0; all.len()], self.validation_fraction, &mut rng)
        } else {
            (all, Vec::new())
        };
        let weights: Vec<f64> = (0..data.y.len()).map(|row| data.weight(row)).collect();
        let truth: Vec<f64> = held.iter().map(|&row| data.y[row]).collect();
        let score = |coef: &[f64], intercept: f64| {
            let predicted: Vec<f64> = held.iter().map(|&row| rows.get(row).dot(coef) + intercept).collect();
            r2_score(&truth, &predicted).unwrap_or(f64::NEG_INFINITY)
        };
        let samples = Data { rows, features: data.x.columns(), y: &data.y, weights: &weights, training };
        let validate: Option<Validate<'_>> = if self.early_stopping { Some(&score) } else { None };
        let fitted =
            descend(&self.settings(), &samples, &mut rng, validate).ok_or_else(|| overflow(Self::NAME))?;
        SGDRegressor::new(fitted.coef, fitted.intercept, fitted.epochs)
    }
}
