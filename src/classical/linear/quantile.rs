//! Regression on a quantile: a linear programme.

use super::function::{linear_regressor, overflow};
use super::gram::gram;
use super::ridge::check_alpha;
use super::rows::dot;
use crate::Result;
use crate::classical::data::{Accepts, Training};
use crate::classical::estimator::{FitRegressor, Parameters};
use crate::classical::linalg;
use crate::classical::params::params;
use ndarray::{Array1, Array2, ArrayView2};

linear_regressor!(
    /// A fitted quantile regression: `y = x @ coef + intercept`.
    QuantileRegressor = "QuantileRegressor", accepts Accepts::PLAIN
);

params! {
    /// Parameters of [`QuantileRegressor`]: the mean pinball loss (Koenker and Bassett, 1978) and the
    /// penalty `alpha |w|_1`, which the intercept does not share, by an interior-point method with a
    /// predictor and a corrector step (Portnoy and Koenker, 1997).
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[0.0], [1.0], [2.0], [3.0], [4.0]];
    /// let model = QuantileRegressor::params().alpha(0.0).fit(&x, &[0.0, 2.0, 4.0, 6.0, 100.0])?;
    /// assert!((model.coef()[0] - 2.0).abs() < 1e-6 && model.intercept().abs() < 1e-6);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    QuantileRegressorParams for QuantileRegressor = "QuantileRegressor" {
        /// The share of the targets that should lie below the prediction, between 0 and 1.
        quantile: f64 = 0.5,
        /// Strength of the penalty, 0 or more.
        alpha: f64 = 1.0,
        /// Whether to learn an intercept.
        fit_intercept: bool = true,
    }

    fn check(&self) -> Result<()> {
        if !(self.quantile > 0.0 && self.quantile < 1.0) {
            return Err(Self::error(format!("quantile is {}; it must be above 0 and below 1", self.quantile)));
        }
        check_alpha::<Self>(self.alpha)
    }
}

impl FitRegressor for QuantileRegressorParams {
    type Model = QuantileRegressor;

    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<QuantileRegressor> {
        let x = data.x.dense();
        let (rows, features) = x.dim();
        let total: f64 = (0..rows).map(|row| data.weight(row)).sum();
        let penalty = self.alpha * total;
        // A penalised coefficient is one more sample: its feature alone is 1 and its target 0.
        let extra = if penalty > 0.0 { features } else { 0 };
        let programme = Programme {
            x: x.view(),
            constant: Array2::from_elem((rows, usize::from(self.fit_intercept)), 1.0),
            extra,
        };
        let above = (0..rows).map(|row| data.weight(row) * self.quantile).chain(vec![penalty; extra]);
        let below = (0..rows).map(|row| data.weight(row) * (1.0 - self.quantile)).chain(vec![penalty; extra]);
        let targets = data.y.iter().copied().chain(vec![0.0; extra]);
        // A sample without weight has an empty box, in whose inside nothing can be.
        let costs: Vec<(f64, f64)> =
            above.zip(below).map(|(a, b)| (a.max(f64::EPSILON), b.max(f64::EPSILON))).collect();
        let (mut coef, n_iter) =
            programme.solve(&targets.collect::<Vec<_>>(), &costs).ok_or_else(|| overflow(Self::NAME))?;
        let intercept = if self.fit_intercept { coef.pop().unwrap_or(0.0) } else { 0.0 };
        QuantileRegressor::new(coef, intercept, n_iter)
    }
}

/// The matrix of the programme: samples, a constant column if there is an intercept, and a row of the
/// identity for each penalised coefficient.
struct Programme<'a> {
    x: ArrayView2<'a, f64>,
    constant: Array2<f64>,
    extra: usize,
}

/// Steps after which the method is given up; 20 to 40 are usual.
const MAX_STEPS: usize = 200;
/// The duality gap that ends the method, as a share of the costs' size.
const GAP: f64 = 1e-13;
/// How far towards the edge of the feasible set a step goes.
const SHARE: f64 = 0.9995;

impl Programme<'_> {
    /// The matrix times coefficients.
    fn times(&self, coef: &[f64]) -> Vec<f64> {
        let features = self.x.ncols();
        let shift = coef.get(features).copied().unwrap_or(0.0);
        let values = self.x.dot(&ndarray::ArrayView1::from(&coef[..features])) + shift;
        values.into_iter().chain(coef[..self.extra].iter().copied()).collect()
    }

    /// The transposed matrix times a value for each row.
    fn transposed_times(&self, values: &[f64]) -> Array1<f64> {
        let (own, extra) = values.split_at(self.x.nrows());
        let own = ndarray::ArrayView1::from(own);
        let mut product: Vec<f64> = self.x.t().dot(&own).to_vec();
        product.iter_mut().zip(extra).for_each(|(product, value)| *product += value);
        product.extend(self.constant.t().dot(&own));
        product.into()
    }

    /// Coefficients that minimise the sum of `above * error` where the error `target - prediction` is above
    /// 0 and `-below * error` where it is below, and the steps taken; `None` if numbers overflow.
    ///
    /// The dual gives each sample a variable `a` between 0 and `above + below`, and `s` is what is left
    /// below the upper end; `z` and `w` are their multipliers.
    fn solve(&self, targets: &[f64], costs: &[(f64, f64)]) -> Option<(Vec<f64>, usize)> {
        let mut a: Vec<f64> = costs.iter().map(|cost| cost.1).collect();
        let mut s: Vec<f64> = costs.iter().map(|cost| cost.0).collect();
        // The first multipliers are the parts above and below 0 of the errors of a least-squares fit.
        let ones = vec![1.0; targets.len()];
        let mut coef = self.weighted_fit(&ones, &self.transposed_times(targets))?.to_vec();
        let errors: Vec<f64> =
            targets.iter().zip(self.times(&coef)).map(|(target, value)| target - value).collect();
        let size = errors.iter().map(|error| error.abs()).sum::<f64>() / errors.len() as f64;
        let least = 1e-3 * size + f64::MIN_POSITIVE.sqrt();
        let mut z: Vec<f64> = errors.iter().map(|error| (-error).max(0.0) + least).collect();
        let mut w: Vec<f64> = errors.iter().map(|error| error.max(0.0) + least).collect();
        let scale =
            costs.iter().zip(targets).map(|(cost, target)| (cost.0 + cost.1) * target.abs()).sum::<f64>();
        for step in 0..MAX_STEPS {
            let gap = dot(&a, &z) + dot(&s, &w);
            if !gap.is_finite() {
                return None;
            }
            if gap <= GAP * scale + f64::MIN_POSITIVE {
                return Some((coef, step));
            }
            let q: Vec<f64> = (0..a.len()).map(|i| 1.0 / (z[i] / a[i] + w[i] / s[i])).collect();
            // The programme minimises `-targets . a`; its own multipliers are minus the coefficients.
            let r: Vec<f64> = z.iter().zip(&w).map(|(z, w)| z - w).collect();
            let solve = |shift: &[f64]| -> Option<(Vec<f64>, Vec<f64>)> {
                let pulled: Vec<f64> = (0..q.len()).map(|i| q[i] * (r[i] - shift[i])).collect();
                let dy = self.weighted_fit(&q, &self.transposed_times(&pulled))?.to_vec();
                let da = self
                    .times(&dy)
                    .iter()
                    .zip(&q)
                    .zip(&pulled)
                    .map(|((value, q), pulled)| q * value - pulled)
                    .collect();
                Some((dy, da))
            };
            let (mut dy, mut da) = solve(&vec![0.0; q.len()])?;
            let mut dz: Vec<f64> = (0..q.len()).map(|i| -z[i] * (da[i] / a[i] + 1.0)).collect();
            let mut dw: Vec<f64> = (0..q.len()).map(|i| w[i] * (da[i] / s[i] - 1.0)).collect();
            let (mut primal, mut dual) =
                (reach(&a, &da, 1.0).min(reach(&s, &da, -1.0)), reach(&z, &dz, 1.0).min(reach(&w, &dw, 1.0)));
            if primal.min(dual) < 1.0 {
                let ahead: f64 = (0..q.len())
                    .map(|i| {
                        (z[i] + dual * dz[i]) * (a[i] + primal * da[i])
                            + (w[i] + dual * dw[i]) * (s[i] - primal * da[i])
                    })
                    .sum();
                let mu = gap * (ahead / gap).powi(3) / (2 * q.len()) as f64;
                let corrections: Vec<(f64, f64)> = (0..q.len())
                    .map(|i| ((mu - da[i] * dz[i]) / a[i], (mu + da[i] * dw[i]) / s[i]))
                    .collect();
                let shift: Vec<f64> = corrections.iter().map(|(low, high)| low - high).collect();
                (dy, da) = solve(&shift)?;
                for (i, (low, high)) in corrections.into_iter().enumerate() {
                    dz[i] = low - z[i] - z[i] * da[i] / a[i];
                    dw[i] = high - w[i] + w[i] * da[i] / s[i];
                }
                primal = reach(&a, &da, 1.0).min(reach(&s, &da, -1.0));
                dual = reach(&z, &dz, 1.0).min(reach(&w, &dw, 1.0));
            }
            for i in 0..q.len() {
                a[i] += primal * da[i];
                s[i] -= primal * da[i];
                z[i] += dual * dz[i];
                w[i] += dual * dw[i];
            }
            coef.iter_mut().zip(&dy).for_each(|(coef, dy)| *coef -= dual * dy);
        }
        Some((coef, MAX_STEPS))
    }

    /// Solves the normal equations of the matrix with these weights; columns that depend on each other are
    /// kept apart by a shift of the diagonal below its rounding.
    fn weighted_fit(&self, weights: &[f64], right: &Array1<f64>) -> Option<Array1<f64>> {
        let (own, extra) = weights.split_at(self.x.nrows());
        let mut normal = gram(self.x, self.constant.view(), Some(own), None);
        for (at, weight) in extra.iter().enumerate() {
            normal[[at, at]] += weight;
        }
        let greatest = normal.diag().fold(0.0_f64, |a, &b| a.max(b));
        normal.diag_mut().map_inplace(|value| *value += 1e-14 * greatest);
        linalg::solve_positive(normal.view(), right.view())
    }
}

/// How much of a step keeps all values above 0, at most all of it.
fn reach(values: &[f64], steps: &[f64], sign: f64) -> f64 {
    let limits = values.iter().zip(steps).filter(|(_, step)| sign * **step < 0.0);
    limits.fold(1.0_f64, |share, (value, step)| share.min(-SHARE * value / (sign * step)))
}
