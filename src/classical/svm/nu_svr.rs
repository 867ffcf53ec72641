//! Support vector regression with the share of errors given.

use super::expansion::{Expansion, expansion};
use super::solver::Problem;
use super::{hand_out, positive, share, svm_params};
use crate::Result;
use crate::classical::data::{Matrix, Training};
use crate::classical::estimator::{FitRegressor, Parameters, Regressor};
use crate::classical::params::model;
use ndarray::Axis;
use serde::{Deserialize, Serialize};

/// A fitted nu-support vector regression.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NuSvr {
    n_features: usize,
    expansion: Expansion,
}

svm_params! {
    /// Parameters of [`NuSvr`]: as [`SvrParams`](super::SvrParams), but instead of `epsilon` the share of
    /// targets that may lie farther off is given (Schölkopf, Smola, Williamson and Bartlett, 2000).
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[0.0], [1.0], [2.0], [3.0]];
    /// let model = NuSvr::params().c(100.0).nu(0.9).fit(&x, &[0.0, 1.0, 4.0, 9.0])?;
    /// assert!((model.predict(&array![[2.0]])?[0] - 4.0).abs() < 0.05);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    NuSvrParams for NuSvr = "NuSVR" {
        /// A bound above the share of errors and below that of support vectors; above 0, at most 1.
        nu: f64 = 0.5,
        /// What an error costs, against flatness; above 0.
        c: f64 = 1.0,
    }
    check(params) {
        positive(Self::NAME, "c", params.c)?;
        share(Self::NAME, "nu", params.nu)
    }
}

impl FitRegressor for NuSvrParams {
    type Model = NuSvr;

    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<NuSvr> {
        let x = data.x.dense();
        let rows: Vec<usize> = (0..x.nrows()).filter(|&row| data.weight(row) > 0.0).collect();
        let kernel = self.kernel_function(x.view())?;
        // A variable for errors above the function, then one for those below it; each kind is given half.
        let limits: Vec<f64> = rows.iter().map(|&row| self.c * data.weight(row)).collect();
        let given = hand_out(self.nu * limits.iter().sum::<f64>() / 2.0, limits.iter().copied());
        let none = std::iter::repeat_n(0.0, rows.len());
        let targets = || rows.iter().map(|&row| -data.y[row]);
        let solution = Problem {
            kernel: &kernel,
            rows: kernel.prepare(x.select(Axis(0), &rows).view()),
            linear: targets().chain(targets()).collect(),
            lower: none.clone().chain(limits.iter().map(|limit| -limit)).collect(),
            upper: limits.iter().copied().chain(none).collect(),
            start: given.iter().copied().chain(given.iter().map(|given| -given)).collect(),
            second: (0..2 * rows.len()).map(|variable| variable >= rows.len()).collect(),
        }
        .solve(Self::NAME, self.effort())?;
        Ok(NuSvr { n_features: x.ncols(), expansion: Expansion::new(kernel, x.view(), &rows, &solution) })
    }
}

impl Regressor for NuSvr {
    fn predict_rows(&self, x: &Matrix<'_>) -> Result<Vec<f64>> {
        Ok(self.expansion.decisions(x))
    }
}

expansion!(NuSvr);
model!(
    NuSvr = "NuSVR",
    fn is_consistent(&self) -> bool {
        self.expansion.fits(self.n_features)
    }
);
