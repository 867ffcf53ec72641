//! Outliers as what lies outside of a region that holds most rows.

use super::expansion::{Expansion, expansion};
use super::solver::Problem;
use super::{hand_out, share, svm_params};
use crate::Result;
use crate::classical::data::{Matrix, Training};
use crate::classical::estimator::{FitOutlierDetector, OutlierDetector, Parameters};
use crate::classical::params::model;
use ndarray::Axis;
use serde::{Deserialize, Serialize};

/// A fitted one-class support vector machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OneClassSvm {
    n_features: usize,
    expansion: Expansion,
}

svm_params! {
    /// Parameters of [`OneClassSvm`]: the region, in the kernel's space, that lies farthest from the
    /// origin while about a share `nu` of the rows stay outside (Schölkopf and others, 2001).
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[0.0], [0.1], [0.2], [0.1], [0.15], [0.05]];
    /// let model = OneClassSvm::params().gamma(10.0).nu(0.2).fit(&x)?;
    /// assert_eq!(model.predict(&array![[0.1], [5.0]])?, array![1, -1]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    OneClassSvmParams for OneClassSvm = "OneClassSVM" {
        /// A bound above the share of outliers and below that of support vectors; above 0, at most 1.
        nu: f64 = 0.5,
    }
    check(params) {
        share(Self::NAME, "nu", params.nu)
    }
}

impl FitOutlierDetector for OneClassSvmParams {
    type Model = OneClassSvm;

    fn fit_checked(&self, data: &Training<'_, ()>) -> Result<OneClassSvm> {
        let x = data.x.dense();
        let rows: Vec<usize> = (0..x.nrows()).filter(|&row| data.weight(row) > 0.0).collect();
        let kernel = self.kernel_function(x.view())?;
        let upper: Vec<f64> = rows.iter().map(|&row| data.weight(row)).collect();
        // The sum is a share `nu` of what is allowed, given to the first rows to begin with.
        let start = hand_out(self.nu * upper.iter().sum::<f64>(), upper.iter().copied());
        let solution = Problem {
            kernel: &kernel,
            rows: kernel.prepare(x.select(Axis(0), &rows).view()),
            linear: vec![0.0; rows.len()],
            lower: vec![0.0; rows.len()],
            start,
            upper: upper.clone(),
            second: Vec::new(),
        }
        .solve(Self::NAME, self.effort())?;
        Ok(OneClassSvm {
            n_features: x.ncols(),
            expansion: Expansion::new(kernel, x.view(), &rows, &solution),
        })
    }
}

impl OutlierDetector for OneClassSvm {
    fn outlier_scores(&self, x: &Matrix<'_>) -> Result<Vec<f64>> {
        Ok(self.expansion.decisions(x))
    }
}

expansion!(OneClassSvm);
model!(
    OneClassSvm = "OneClassSVM",
    fn is_consistent(&self) -> bool {
        self.expansion.fits(self.n_features)
    }
);
