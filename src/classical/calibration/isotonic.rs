//! Regression by a function that never falls.

use crate::Result;
use crate::classical::data::{Matrix, Training};
use crate::classical::estimator::{FitRegressor, Parameters, Regressor};
use crate::classical::order;
use crate::classical::params::{model, params};
use serde::{Deserialize, Serialize};

/// A fitted isotonic regression: straight lines between thresholds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IsotonicRegression {
    n_features: usize,
    x: Vec<f64>,
    y: Vec<f64>,
}

params! {
    /// Parameters of [`IsotonicRegression`]: the least squares fit of one column by a function that never
    /// falls (or never rises), by pooling adjacent violators (Barlow et al., 1972). New values beyond
    /// those fitted get the value at the end.
    ///
    /// ```
    /// use kiln::classical::calibration::IsotonicRegression;
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[1.0], [2.0], [3.0], [4.0]];
    /// let model = IsotonicRegression::params().fit(&x, &[1.0, 3.0, 2.0, 5.0])?;
    /// assert_eq!(model.predict(&x)?.to_vec(), [1.0, 2.5, 2.5, 5.0]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    IsotonicRegressionParams for IsotonicRegression = "IsotonicRegression" {
        /// Whether the function never falls, or else never rises.
        increasing: bool = true,
        /// The lowest value.
        y_min: Option<f64> = None,
        /// The highest value.
        y_max: Option<f64> = None,
    }
}

impl FitRegressor for IsotonicRegressionParams {
    type Model = IsotonicRegression;

    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<IsotonicRegression> {
        if data.x.columns() != 1 {
            return Err(Self::error(format!("x has {} columns; it takes 1", data.x.columns())));
        }
        let x: Vec<f64> = data.x.dense().iter().copied().collect();
        let sign = if self.increasing { 1.0 } else { -1.0 };
        let mut order: Vec<usize> = (0..x.len()).filter(|&row| data.weight(row) > 0.0).collect();
        order::ascending(&mut order, &x);
        // One point for each distinct x, then blocks of (sum, weight, points) whose means ascend.
        let mut places = Vec::new();
        let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
        for same in order.chunk_by(|&a, &b| x[a] == x[b]) {
            let weight: f64 = same.iter().map(|&row| data.weight(row)).sum();
            let sum: f64 = same.iter().map(|&row| sign * data.weight(row) * data.y[row]).sum();
            places.push(x[same[0]]);
            blocks.push((sum, weight, 1));
            while let [.., before, last] = blocks.as_slice() {
                if before.0 / before.1 < last.0 / last.1 {
                    break;
                }
                let merged = (before.0 + last.0, before.1 + last.1, before.2 + last.2);
                blocks.truncate(blocks.len() - 2);
                blocks.push(merged);
            }
        }
        let (low, high) = (self.y_min.unwrap_or(f64::NEG_INFINITY), self.y_max.unwrap_or(f64::INFINITY));
        if low.is_nan() || high.is_nan() || low > high {
            return Err(Self::error(format!("y_min is {low} and y_max {high}; they must ascend")));
        }
        let mean = |(sum, weight, points): (f64, f64, usize)| {
            std::iter::repeat_n((sign * sum / weight).clamp(low, high), points)
        };
        let y: Vec<f64> = blocks.into_iter().flat_map(mean).collect();
        if y.iter().any(|y| !y.is_finite()) {
            return Err(Self::error("the targets or weights are too large"));
        }
        Ok(IsotonicRegression { n_features: 1, x: places, y })
    }
}

impl IsotonicRegression {
    /// The value at one place.
    pub fn value(&self, x: f64) -> f64 {
        let next = self.x.partition_point(|&place| place < x);
        match (next.checked_sub(1), self.x.get(next)) {
            (None, _) => self.y[0],
            (Some(before), None) => self.y[before],
            (Some(before), Some(&after)) => {
                let share = (x - self.x[before]) / (after - self.x[before]);
                self.y[before] + share * (self.y[next] - self.y[before])
            }
        }
    }
}

impl Regressor for IsotonicRegression {
    fn predict_rows(&self, x: &Matrix<'_>) -> Result<Vec<f64>> {
        Ok(x.dense().iter().map(|&x| self.value(x)).collect())
    }
}

model!(
    IsotonicRegression = "IsotonicRegression",
    fn is_consistent(&self) -> bool {
        !self.x.is_empty() && self.x.len() == self.y.len()
    }
);
