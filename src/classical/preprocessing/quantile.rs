//! Columns mapped to a uniform or normal distribution by their ranks.

use super::columns::{MISSING, map_columns, present, quantile_sorted, same_names, sorted};
use crate::Result;
use crate::classical::data::{Accepts, Matrix, Training};
use crate::classical::estimator::{FitTransformer, Parameters, Target, Transformer};
use crate::classical::params::{model, params};
use crate::classical::random;
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// The distribution of the transformed values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputDistribution {
    /// Between 0 and 1.
    #[default]
    Uniform,
    /// Mean 0 and variance 1.
    Normal,
}

/// A fitted quantile transformer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QuantileTransformer {
    n_features: usize,
    quantiles: Vec<Vec<f64>>,
    output_distribution: OutputDistribution,
}

params! {
    /// Parameters of [`QuantileTransformer`]: each column to a uniform or normal distribution.
    QuantileTransformerParams for QuantileTransformer = "QuantileTransformer" {
        /// How many quantiles are kept, at most as many as rows.
        n_quantiles: usize = 1000,
        /// The distribution to map to.
        output_distribution: OutputDistribution = OutputDistribution::Uniform,
        /// The quantiles are those of at most this many values, drawn at random.
        subsample: Option<usize> = Some(10_000),
        /// Seed of the draw.
        seed: u64 = 0,
    }

    fn accepts(&self) -> Accepts {
        MISSING
    }

    fn check(&self) -> Result<()> {
        if self.n_quantiles > 1 && self.subsample.is_none_or(|rows| rows > 1) {
            return Ok(());
        }
        Err(Self::error("n_quantiles and subsample must be 2 or more"))
    }
}

impl FitTransformer for QuantileTransformerParams {
    type Model = QuantileTransformer;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<QuantileTransformer> {
        let kept = self.n_quantiles.min(data.x.rows());
        let of_column = |(column, mut values): (usize, Vec<f64>)| {
            if let Some(rows) = self.subsample.filter(|&rows| rows < values.len()) {
                random::stream(self.seed, column).shuffle(&mut values);
                values.truncate(rows);
            }
            let sorted = sorted(&values);
            let last = (kept - 1).max(1) as f64;
            let mut quantiles: Vec<f64> =
                (0..kept).map(|at| quantile_sorted(&sorted, at as f64 / last)).collect();
            // Interpolation may round below the quantile before.
            for at in 1..kept {
                quantiles[at] = quantiles[at].max(quantiles[at - 1]);
            }
            quantiles
        };
        let quantiles: Vec<Vec<f64>> =
            present(Self::NAME, data)?.into_iter().enumerate().map(of_column).collect();
        let output_distribution = self.output_distribution;
        Ok(QuantileTransformer { n_features: quantiles.len(), quantiles, output_distribution })
    }
}

/// Nearer to 0 or 1 than this counts as there.
const BOUND: f64 = 1e-7;

impl QuantileTransformer {
    /// The quantiles of each column, ascending, equally spaced in probability.
    pub fn quantiles(&self) -> &[Vec<f64>] {
        &self.quantiles
    }

    fn forward(&self, column: usize, value: f64) -> f64 {
        let quantiles = &self.quantiles[column];
        if value.is_nan() {
            return value;
        }
        // Between repeated quantiles: the middle of the ranks of the first and the last of them.
        let last = (quantiles.len() - 1).max(1) as f64;
        let below = rank(quantiles, quantiles.partition_point(|&quantile| quantile <= value), value);
        let above = rank(quantiles, quantiles.partition_point(|&quantile| quantile < value), value);
        let (uniform, normal) = (OutputDistribution::Uniform, self.output_distribution);
        let (low, high) = (quantiles[0], quantiles[quantiles.len() - 1]);
        let bound = if normal == uniform { 0.0 } else { BOUND };
        let probability = match () {
            () if value + bound >= high && (value > high - bound || value == high) => 1.0,
            () if value - bound <= low && (value < low + bound || value == low) => 0.0,
            () => (below + above) / 2.0 / last,
        };
        if normal == uniform {
            return probability;
        }
        normal_quantile(probability.clamp(BOUND - f64::EPSILON, 1.0 - (BOUND - f64::EPSILON)))
    }

    fn backward(&self, column: usize, value: f64) -> f64 {
        let quantiles = &self.quantiles[column];
        if value.is_nan() {
            return value;
        }
        let (probability, bound) = match self.output_distribution {
            OutputDistribution::Uniform => (value, 0.0),
            OutputDistribution::Normal => (normal_distribution(value), BOUND),
        };
        match probability {
            p if p <= bound => quantiles[0],
            p if p >= 1.0 - bound => quantiles[quantiles.len() - 1],
            p => quantile_sorted(quantiles, p),
        }
    }
}

/// The place of a value among ascending quantiles, of which it lies before the one at `next`.
fn rank(quantiles: &[f64], next: usize, value: f64) -> f64 {
    match (next.checked_sub(1), quantiles.get(next)) {
        (None, _) => 0.0,
        (Some(before), None) => before as f64,
        (Some(before), Some(&after)) => {
            before as f64 + (value - quantiles[before]) / (after - quantiles[before])
        }
    }
}

impl Transformer for QuantileTransformer {
    fn transform_rows(&self, x: &Matrix<'_>) -> Result<Matrix<'static>> {
        map_columns("QuantileTransformer", x, self.n_features, |column, value| self.forward(column, value))
    }

    fn inverse_rows(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        let back = map_columns("QuantileTransformer", x, self.n_features, |column, value| {
            self.backward(column, value)
        })?;
        Ok(Some(back.dense().into_owned()))
    }

    fn feature_names_out(&self, input: &[String]) -> Vec<String> {
        same_names(input)
    }
}

model!(
    QuantileTransformer = "QuantileTransformer",
    fn accepts(&self) -> Accepts {
        MISSING
    },
    fn is_consistent(&self) -> bool {
        self.quantiles.len() == self.n_features && self.quantiles.iter().all(|of| !of.is_empty())
    }
);

/// `1 - erf(x)` for `x >= 0`: the series of the error function near 0 (Abramowitz and Stegun, 7.1.6), the
/// continued fraction further out (7.1.14).
fn erfc(x: f64) -> f64 {
    if x < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..80 {
            term *= 2.0 * x * x / (2 * n + 1) as f64;
            sum += term;
        }
        return 1.0 - 2.0 / PI.sqrt() * (-x * x).exp() * sum;
    }
    let fraction = (1..=60).rev().fold(x, |rest, n| x + n as f64 / 2.0 / rest);
    (-x * x).exp() / PI.sqrt() / fraction
}

/// The probability that a normal variate is at most `x`.
pub(super) fn normal_distribution(x: f64) -> f64 {
    let tail = erfc(x.abs() * FRAC_1_SQRT_2) / 2.0;
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// The value that a normal variate is at most with probability `p`, between 0 and 1: a rational start
/// (Abramowitz and Stegun, 26.2.23) and Halley's steps.
pub(super) fn normal_quantile(p: f64) -> f64 {
    let tail = p.min(1.0 - p);
    let t = (-2.0 * tail.ln()).sqrt();
    let mut x = (2.515_517 + 0.802_853 * t + 0.010_328 * t * t)
        / (1.0 + 1.432_788 * t + 0.189_269 * t * t + 0.001_308 * t * t * t)
        - t;
    for _ in 0..3 {
        let density = (-x * x / 2.0).exp() / (2.0 * PI).sqrt();
        let step = (normal_distribution(x) - tail) / density;
        x -= step / (1.0 + x * step / 2.0);
    }
    if p < 0.5 { x } else { -x }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_quantiles_are_the_tables() {
        // R's qnorm.
        for (p, x) in [
            (0.5, 0.0),
            (0.975, 1.959_963_984_540_054),
            (0.1, -1.281_551_565_544_600_4),
            (1e-7, -5.199_337_582_187_471),
            (0.999, 3.090_232_306_167_813),
        ] {
            assert!((normal_quantile(p) - x).abs() < 1e-9, "{p}: {}", normal_quantile(p));
            assert!((normal_distribution(x) - p).abs() < 1e-14, "{x}: {}", normal_distribution(x));
        }
    }
}
