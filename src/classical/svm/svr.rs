//! Support vector regression.

use super::expansion::{Expansion, expansion};
use super::solver::Problem;
use super::{positive, svm_params};
use crate::Result;
use crate::classical::data::{Matrix, Training};
use crate::classical::estimator::{FitRegressor, Parameters, Regressor};
use crate::classical::params::model;
use ndarray::Axis;
use serde::{Deserialize, Serialize};

/// A fitted support vector regression.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Svr {
    n_features: usize,
    expansion: Expansion,
}

svm_params! {
    /// Parameters of [`Svr`]: a function that is as flat as it can be while few targets lie farther than
    /// `epsilon` from it (Drucker and others, 1996), found by sequential minimal optimisation (Fan, Chen
    /// and Lin, 2005).
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[0.0], [1.0], [2.0], [3.0]];
    /// let model = Svr::params().c(100.0).epsilon(0.01).fit(&x, &[0.0, 1.0, 4.0, 9.0])?;
    /// assert!((model.predict(&array![[2.0]])?[0] - 4.0).abs() < 0.05);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    SvrParams for Svr = "SVR" {
        /// What an error beyond `epsilon` costs, against flatness; above 0.
        c: f64 = 1.0,
        /// Errors up to this cost nothing.
        epsilon: f64 = 0.1,
    }
    check(params) {
        positive(Self::NAME, "c", params.c)?;
        if params.epsilon >= 0.0 && params.epsilon.is_finite() {
            return Ok(());
        }
        Err(Self::error(format!("epsilon is {}; it must be 0 or more", params.epsilon)))
    }
}

impl FitRegressor for SvrParams {
    type Model = Svr;

    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<Svr> {
        let x = data.x.dense();
        let rows: Vec<usize> = (0..x.nrows()).filter(|&row| data.weight(row) > 0.0).collect();
        let kernel = self.kernel_function(x.view())?;
        // A variable for errors above the function, then one for those below it.
        let limits = rows.iter().map(|&row| self.c * data.weight(row));
        let targets = rows.iter().map(|&row| data.y[row]);
        let none = std::iter::repeat_n(0.0, rows.len());
        let solution = Problem {
            kernel: &kernel,
            rows: kernel.prepare(x.select(Axis(0), &rows).view()),
            linear: targets
                .clone()
                .map(|target| self.epsilon - target)
                .chain(targets.map(|target| -self.epsilon - target))
                .collect(),
            lower: none.clone().chain(limits.clone().map(|limit| -limit)).collect(),
            upper: limits.chain(none).collect(),
            start: vec![0.0; 2 * rows.len()],
            second: Vec::new(),
        }
        .solve(Self::NAME, self.effort())?;
        Ok(Svr { n_features: x.ncols(), expansion: Expansion::new(kernel, x.view(), &rows, &solution) })
    }
}

impl Regressor for Svr {
    fn predict_rows(&self, x: &Matrix<'_>) -> Result<Vec<f64>> {
        Ok(self.expansion.decisions(x))
    }
}

expansion!(Svr);
model!(
    Svr = "SVR",
    fn is_consistent(&self) -> bool {
        self.expansion.fits(self.n_features)
    }
);
